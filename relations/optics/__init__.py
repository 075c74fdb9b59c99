"""Optics: what the lens, the platform's motion and its pointing do to neighbouring pixels.

blur.py        gaussian_blur, motion_blur, defocus, box_blur, median_blur: light spread over neighbouring pixels
               stray_light: a share of it spread far
geometry.py    translation, rotation, zoom: the scene seen from elsewhere
               misregistration: its bands shifted against each other
"""

from relations.optics import blur, geometry

__all__ = ["blur", "geometry"]

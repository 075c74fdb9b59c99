"""Optics: what the lens, the platform's motion and its pointing do to neighbouring pixels.

blur.py        gaussian_blur: light spread over neighbouring pixels
"""

from relations.optics import blur

__all__ = ["blur"]

"""Spectral: what the spectrometer does to neighbouring bands of one pixel.

curve.py       the spectrum between its bands, as weights: read at a point, or through a Gaussian
response.py    band_shift, smile, bandwidth
loss.py        band_loss
"""

from relations.spectral import response, loss  # noqa: I001, the order of ALL

__all__ = ["loss", "response"]

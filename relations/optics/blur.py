"""Optics: what the lens and the platform's motion do to neighbouring pixels."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, farthest, relation
from relations.kernels import REACH, gaussian, separable


@relation(
    params=(Param("sigma", "pixels", in_spec=(0.0, 0.69), stress=(0.0, 1.7), neutral=0.0),),
    margin=lambda bounds, shape: REACH * farthest(bounds["sigma"]),
    source=(
        "in_spec: what turns a good camera's point spread of FWHM 1.1 px (HySpex) into PRISMA's 1.97 px (USGS OFR "
        "2021-1030-K), sqrt(1.97² - 1.1²) / 2.355; stress: FWHM 4 px, 4 / 2.355, engineering judgement"
    ),
)
def gaussian_blur(x: np.ndarray, field: None, sensor: Sensor, *, sigma: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch seen through a wider Gaussian point spread, the same in all bands.

    x'[i, j] = Σ_k Σ_l K[i, k] · K[j, l] · x[k, l],   K[i, k] ∝ Φ((|i − k| + ½) / σ) − Φ((|i − k| − ½) / σ)

    The light of a pixel lies evenly over its area, is spread by a Gaussian (Φ is its integral) and read at the
    centres. Unlike a Gaussian sampled at the centres, which does nothing below 0.3 px, this follows the analytic
    edge response at every σ. Beyond the array nothing is known: there the weights inside are scaled up to sum to
    1. With the declared margin around the patch this never reaches what is kept.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        sigma: (n, 1, 1, 1), standard deviation in pixels, at least 0; 0 changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: PRISMA, https://pubs.usgs.gov/publication/ofr20211030K ; HySpex,
        https://hyspex.com/hyperspectral-imaging/key-quality-parameters/scientific-grade-quality .
    """
    height, width = x.shape[1:3]
    down = gaussian(sigma, height)[:, trim : height - trim]
    across = down if width == height else gaussian(sigma, width)[:, trim : width - trim]
    return separable(x, down, across)

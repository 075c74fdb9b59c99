"""Spectral: where each band lies and how wide it is."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation
from relations.kernels import mixed
from relations.spectral.curve import read_at, read_through_gaussian

FWHM = float(2 * np.sqrt(2 * np.log(2)))
"""Full width at half maximum of a Gaussian in standard deviations."""

WIDEST = 17.3
"""Widening in nm that doubles the response of a 10 nm spectrometer, sqrt(20² − 10²)."""


@relation(
    params=(Param("shift", "nm", in_spec=(-2.2, 2.2), stress=(-10.0, 10.0), neutral=0.0),),
    needs_wavelengths=True,
    source=(
        "in_spec: HISUI's residual shift in the SWIR after correction, below 2.2 nm (initial analysis of spectral "
        "smile calibration); 2 nm near an absorption band 'may have a dramatic effect' (CATALYST, SHFTCW); "
        "stress: one band of a 10 nm spectrometer, engineering judgement"
    ),
)
def band_shift(x: np.ndarray, field: None, sensor: Sensor, *, shift: np.ndarray) -> np.ndarray:
    """The patch as a spectrometer sees it whose band centres have drifted, while their nominal values stay.

    x'[λ] = x(λ + shift), so a feature at λ0 turns up at λ0 − shift

    Between bands the spectrum is a cubic Hermite curve whose slopes are those of the parabola through three
    neighbours (Catmull-Rom on a regular grid). The curve is not carried across a gap, where absorption bands
    were removed, nor across the overlap of two detectors: a spacing more than 3 times wider or narrower than the
    median of the five around it ends a segment, and beyond the end of its segment a band sees the last value
    inside it.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the wavelengths.
        shift: (n, 1, 1, 1), in nm, positive towards longer waves; 0 changes nothing.

    Raises:
        ValueError: the scene has no wavelengths.

    Source: HISUI, Initial analysis of spectral smile calibration of Hyperspectral Imager Suite (HISUI) using
        atmospheric absorption bands; CATALYST, function SHFTCW of its help pages;
        R. Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981.
    """
    knots = sensor.require_wavelengths("band_shift").astype(np.float64)
    return mixed(x, read_at(knots, shift.reshape(-1, 1)))


def _place_across_swath(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Where the centre of each column lies in a swath of twice the scene's width, from −1 to 1, (1, W, 1)."""
    width = shape[1]
    column = rng.uniform(0, width) + np.arange(width) + 0.5
    return (column / width - 1).astype(np.float32)[None, :, None]


@relation(
    params=(Param("shift", "nm at the edge of the swath", in_spec=(-5.0, 5.0), stress=(-10.0, 10.0), neutral=0.0),),
    draw=_place_across_swath,
    needs_wavelengths=True,
    source=(
        "in_spec: PRISMA's smile, below 5 nm (Cogliati et al. 2021); HISUI's 1.8 nm in the VNIR and 4.3-4.5 nm in "
        "the SWIR lie inside; stress: one band of a 10 nm spectrometer, engineering judgement"
    ),
)
def smile(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, shift: np.ndarray) -> np.ndarray:
    """The patch as a pushbroom spectrometer sees it whose band centres bend across the swath.

    x'[i, j, λ] = x[i, j](λ + shift · u_j²), so a feature at λ0 turns up at λ0 − shift · u_j² in column j

    The image of the slit is curved on the detector: right at the middle of the swath, u = 0, and off by the whole
    shift at its edges, u = ±1. Nothing is known of where a scene lies in its swath: it is taken as a part, at a
    random place, of a swath of twice its width. The spectrum between bands is that of `band_shift`.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, 1, w, 1), place of each column across the swath, in [−1, 1].
        sensor: gives the wavelengths.
        shift: (n, 1, 1, 1), in nm at the edge of the swath, positive towards longer waves; 0 changes nothing.

    Raises:
        ValueError: the scene has no wavelengths.

    Source: PRISMA, https://juser.fz-juelich.de/record/892747 ; HISUI, Initial analysis of spectral smile
        calibration of Hyperspectral Imager Suite (HISUI) using atmospheric absorption bands.
    """
    knots = sensor.require_wavelengths("smile").astype(np.float64)
    rows, height, width, bands = x.shape
    taps = read_at(knots, (shift * field**2).reshape(-1, 1))
    # Each column is a row of its own to `mixed`.
    columns = np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(rows * width, height, 1, bands)
    bent = mixed(columns, taps).reshape(rows, width, height, bands)
    return np.ascontiguousarray(bent.transpose(0, 2, 1, 3))


@relation(
    params=(
        Param("widening", "nm of full width at half maximum", in_spec=(0.0, 6.9), stress=(0.0, WIDEST), neutral=0.0),
    ),
    needs_wavelengths=True,
    source=(
        "in_spec: from 11 to 13 nm, the two widths of PRISMA's detectors and their change across track (Cogliati et "
        "al. 2021), sqrt(13² - 11²); stress: twice the width of a 10 nm spectrometer, sqrt(20² - 10²), engineering "
        "judgement"
    ),
)
def bandwidth(x: np.ndarray, field: None, sensor: Sensor, *, widening: np.ndarray) -> np.ndarray:
    """The patch as a spectrometer sees it whose bands let in light from farther away.

    x'[λ] = ∫ x(λ + s) · G(s) ds,   G a Gaussian of σ = widening / (2 · √(2 ln 2))

    Gaussian responses add in quadrature: a band of width F becomes one of √(F² + widening²), and the variance of a
    spectral line grows by σ². The spectrum between bands is that of `band_shift`, and the integral over it is exact.
    No light comes across a gap: beyond the end of its segment a band sees the last value inside it.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the wavelengths.
        widening: (n, 1, 1, 1), full width at half maximum in nm of what widens the response; 0 changes nothing.

    Raises:
        ValueError: the scene has no wavelengths.

    Source: PRISMA, https://juser.fz-juelich.de/record/892747 ; R. Keys, Cubic convolution interpolation, IEEE
        TASSP 29(6), 1981; the stress bound is engineering judgement.
    """
    knots = sensor.require_wavelengths("bandwidth").astype(np.float64)
    sigma = widening.reshape(-1, 1) / np.float32(FWHM)
    if (sigma == sigma[:1]).all():
        sigma = sigma[:1]  # as all rows of one candidate: the integrals are taken once
    return mixed(x, read_through_gaussian(knots, sigma, WIDEST / FWHM))

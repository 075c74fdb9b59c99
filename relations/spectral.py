"""Spectral: what the spectrometer does to neighbouring bands of one pixel."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

from relations.core import Param, Sensor, relation
from relations.kernels import mixed

GAP = 3.0
"""Two bands lie across a gap when they are this many times farther apart than the bands around them."""


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
    spacing = np.diff(knots)
    usual = median_filter(spacing, size=5, mode="nearest") if len(spacing) else spacing
    joined = (spacing <= GAP * usual) & (spacing * GAP >= usual) & (spacing > 0)
    width = np.append(np.where(joined, spacing, 1.0), 1.0)
    # Slope at a band = before · x[-1] − (before + after) · x + after · x[+1], one-sided at the end of a segment.
    ahead = np.append(np.where(joined, 1 / width[:-1], 0.0), 0.0)
    behind = np.concatenate([[0.0], ahead[:-1]])
    share = np.divide(behind, behind + ahead, out=np.zeros_like(behind), where=behind + ahead > 0)
    before, after = np.append(-behind * share, 0.0), np.append(ahead * (1 - share), 0.0)

    starts = np.concatenate([[0], np.flatnonzero(~joined) + 1])
    ends = np.append(starts[1:] - 1, len(knots) - 1)
    segment = np.searchsorted(starts, np.arange(len(knots)), side="right") - 1
    first, last = starts[segment], ends[segment]

    target = np.clip(knots + shift.reshape(-1, 1), knots[first], knots[last])
    left = np.searchsorted(knots, target, side="right") - 1
    left = np.clip(left, first, np.maximum(first, last - 1))
    step = width[left]
    t = (target - knots[left]) / step
    value0, value1 = (1 + 2 * t) * (1 - t) ** 2, t**2 * (3 - 2 * t)
    slope0, slope1 = t * (1 - t) ** 2 * step, t**2 * (t - 1) * step
    right = left + 1
    taps = (
        (left - 1, slope0 * before[left]),
        (left, value0 - slope0 * (before + after)[left] + slope1 * before[right]),
        (right, value1 + slope0 * after[left] - slope1 * (before + after)[right]),
        (right + 1, slope1 * after[right]),
    )
    return mixed(x, taps)


def _per_band_uniform(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return rng.random((1, 1, shape[2]), dtype=np.float32)


@relation(
    params=(Param("share", "share of the bands", in_spec=(0.0, 0.05), stress=(0.0, 0.5), neutral=0.0),),
    draw=_per_band_uniform,
    source=(
        "stress: 0-50 % of the bands, interpolated from their neighbours (RSMT relation 5, Bouchoucha et al. 2023, "
        "code github.com/rached1997/RSMT); in_spec: engineering judgement"
    ),
)
def band_loss(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, share: np.ndarray) -> np.ndarray:
    """The patch with a share of its bands lost and filled in from the nearest bands that survive.

    x'[b] = x[l] + (x[r] − x[l]) · (λ_b − λ_l) / (λ_r − λ_l) where field[b] < share, with l and r the nearest
    survivors on both sides; x elsewhere

    Without wavelengths the band's number stands in for λ. Beyond the outermost survivor its value is held. The
    band with the highest number in the field is never lost. RSMT takes the mean of the two neighbours of the
    undamaged patch and spares the first and last band; where one band of an even grid is lost that is the same.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, 1, 1, b), uniform in [0, 1): the share at which each band is lost, so doses nest.
        sensor: gives the wavelengths, where there are any.
        share: (n, 1, 1, 1), expected share of the bands lost, in [0, 1]; 0 changes nothing.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code.
    """
    bands = x.shape[3]
    at = np.broadcast_to(field, (len(x), 1, 1, bands))[:, 0, 0]
    number = np.arange(bands)
    place = number.astype(np.float64) if sensor.wavelengths is None else sensor.wavelengths
    alive = (at >= share[:, 0, 0]) | (at == at.max(axis=1, keepdims=True))
    left = np.maximum.accumulate(np.where(alive, number, -1), axis=1)
    right = np.minimum.accumulate(np.where(alive, number, bands)[:, ::-1], axis=1)[:, ::-1]
    left, right = np.where(left < 0, right, left), np.where(right == bands, left, right)
    between = place[right] - place[left]
    weight = np.divide(place - place[left], between, out=np.zeros_like(between), where=between != 0)
    return mixed(x, ((left, 1 - weight), (right, weight)))

"""The spectrum between its bands: a cubic Hermite curve through them, read at a point or through a Gaussian.

The slopes at the bands are those of the parabola through three neighbours (Catmull-Rom on a regular grid), so that a
parabola is followed exactly on any grid. The curve is not carried across a gap, where absorption bands were removed,
nor across the overlap of two detectors; beyond the end of its segment a band sees the last value inside it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import ndtr

from relations.kernels import REACH, Taps

GAP = 3.0
"""Two bands lie across a gap when they are this many times farther apart than the bands around them."""

NEARBY = 2
"""A spacing is judged by so many others on either side."""

_NARROWEST = 1e-6
"""Standard deviation in nm below which a Gaussian is a point; it keeps 0 / 0 away."""


def _joined(knots: np.ndarray) -> np.ndarray:
    """Whether each band and the next lie in one segment, (b − 1,) bool.

    A spacing is compared with the median of the others near it, without itself, so that a gap at the end of the
    spectrum is one too. Of an even number of others the two middle ones both have to agree. Of two spacings the wider
    may be a gap, but the narrower no overlap: a lone other says too little. A lone spacing is no gap, however wide.
    """
    spacing = np.diff(knots)
    if len(spacing) < 2:
        return np.asarray(spacing > 0)
    framed = np.pad(spacing, NEARBY, constant_values=np.nan)
    others = np.sort(np.delete(sliding_window_view(framed, 2 * NEARBY + 1), NEARBY, axis=1), axis=1)  # nan last
    count = np.isfinite(others).sum(axis=1)
    number = np.arange(len(spacing))
    lower, upper = others[number, (count - 1) // 2], others[number, count // 2]
    gap, overlap = spacing > GAP * upper, (spacing * GAP < lower) & (count > 1)
    return np.asarray(~gap & ~overlap & (spacing > 0))


def _ends(joined: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last band of the segment that each band lies in, two (b,) int."""
    bands = np.arange(len(joined) + 1)
    starts = np.concatenate([[0], np.flatnonzero(~joined) + 1])
    ends = np.append(starts[1:] - 1, len(joined))
    segment = np.searchsorted(starts, bands, side="right") - 1
    return starts[segment], ends[segment]


def _slopes(knots: np.ndarray, joined: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distance of each band to the next (1 where a segment ends), and its slope as weights of its neighbours.

    Slope at a band = before · x[-1] − (before + after) · x + after · x[+1], one-sided at the end of a segment. All
    three are (b + 1,): the band after the last one is there to be looked up, with weight 0.
    """
    width = np.append(np.where(joined, np.diff(knots), 1.0), [1.0, 1.0])
    ahead = np.append(np.where(joined, 1 / width[:-2], 0.0), 0.0)
    behind = np.concatenate([[0.0], ahead[:-1]])
    share = np.divide(behind, behind + ahead, out=np.zeros_like(behind), where=behind + ahead > 0)
    return width, np.append(-behind * share, 0.0), np.append(ahead * (1 - share), 0.0)


def read_at(knots: np.ndarray, shift: np.ndarray) -> Taps:
    """The curve read `shift` nm beside each band.

    Args:
        knots: (b,) float64, ascending band centres in nm.
        shift: (n, 1), in nm, one for each row.
    """
    joined = _joined(knots)
    width, before, after = _slopes(knots, joined)
    first, last = _ends(joined)
    target = np.clip(knots + shift, knots[first], knots[last])
    left = np.searchsorted(knots, target, side="right") - 1
    left = np.clip(left, first, np.maximum(first, last - 1))
    step = width[left]
    t = (target - knots[left]) / step
    value0, value1 = (1 + 2 * t) * (1 - t) ** 2, t**2 * (3 - 2 * t)
    slope0, slope1 = t * (1 - t) ** 2 * step, t**2 * (t - 1) * step
    right = left + 1
    return (
        (left - 1, slope0 * before[left]),
        (left, value0 - slope0 * (before + after)[left] + slope1 * before[right]),
        (right, value1 + slope0 * after[left] - slope1 * (before + after)[right]),
        (right + 1, slope1 * after[right]),
    )


def read_through_gaussian(knots: np.ndarray, sigma: np.ndarray, widest: float) -> Taps:
    """The mean of the curve around each band under a Gaussian, the integral taken exactly; the band itself at 0.

    Because a parabola is followed exactly, the second moment that is added is sigma² on a regular grid, however
    narrow the Gaussian is beside the spacing.

    Args:
        knots: (b,) float64, ascending band centres in nm.
        sigma: (n, 1), standard deviation in nm, one for each row.
        widest: the largest sigma there can be: it decides how many neighbours are looked at.
    """
    joined = _joined(knots)
    width, before, after = _slopes(knots, joined)
    first, last = _ends(joined)
    number = np.arange(len(knots))
    sigma = sigma.astype(np.float64)
    far = np.minimum(np.searchsorted(knots, knots + REACH * widest), last) - number
    reach = int(max(1, far.max()))

    def up_to(band: np.ndarray) -> np.ndarray:
        """The integrals of 1, z, z², z³ under the normal density from −∞ to `band`, (4, n, b)."""
        z = (knots[band] - knots) / np.maximum(sigma, _NARROWEST)
        below, density = ndtr(z), np.exp(-0.5 * z * z) * np.float64((2 * np.pi) ** -0.5)
        return np.stack([below, -density, below - z * density, -(z * z + 2) * density])

    # Outside the segment an interval collapses to its end and weighs nothing.
    places = [np.clip(number + offset, first, last) for offset in range(-reach, reach + 1)]
    weights = np.zeros((2 * reach + 3, len(sigma), len(knots)), dtype=np.float32)
    start = up_to(places[0])
    tails = [(places[0], start[0])]
    for position, (left, right) in enumerate(pairwise(places)):
        end = up_to(right)
        m0, m1, m2, m3 = end - start
        start, step = end, width[left]
        # Moments of t = (λ − left) / step, which runs from 0 to 1 in the interval.
        s, d = sigma / step, (knots - knots[left]) / step
        t1 = s * m1 + d * m0
        t2 = s**2 * m2 + 2 * s * d * m1 + d**2 * m0
        t3 = s**3 * m3 + 3 * s**2 * d * m2 + 3 * s * d**2 * m1 + d**3 * m0
        value1 = 3 * t2 - 2 * t3
        slope0, slope1 = (t1 - 2 * t2 + t3) * step, (t3 - t2) * step
        weights[position] += slope0 * before[left]
        weights[position + 1] += m0 - value1 - slope0 * (before + after)[left] + slope1 * before[left + 1]
        weights[position + 2] += value1 + slope0 * after[left] - slope1 * (before + after)[left + 1]
        weights[position + 3] += slope1 * after[left + 1]
    tails.append((places[-1], 1 - start[0]))
    rows = (len(sigma), len(knots))
    taps = [(number + offset, weight) for offset, weight in zip(range(-reach - 1, reach + 2), weights, strict=True)]
    return tuple((np.broadcast_to(index, rows), weight) for index, weight in tails + taps)

"""Intervals that respect that neighbouring pixels are not independent."""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000
"""Bootstrap resamples: enough for the 2.5 % and 97.5 % quantiles to settle.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 14 (1,000 to 2,000)."""


def block_bootstrap(
    hits: np.ndarray, trials: np.ndarray, blocks: np.ndarray, *, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    """A rate with its interval: (rate, lower, upper), NaN without trials.

    Whole blocks are drawn with replacement and the ratio of sums is taken, so patches of one block stay
    together. Where resampling cannot spread (no hit at all, or nothing but hits) the exact binomial interval over
    the *blocks* stands in: no hit in twelve blocks is not no risk.

    Args:
        hits, trials: (n,) counts of each patch.
        blocks: (n,) the block of each patch.
        rng: draws the blocks.
        level: coverage of the interval.

    Source: Lahiri, Resampling Methods for Dependent Data, 2003, chapter 12 (spatial block bootstrap);
        Clopper and Pearson, Biometrika 26, 1934, for the ends.
    """
    from scipy.stats import binomtest

    if trials.sum() == 0:
        return float("nan"), float("nan"), float("nan")
    _, index = np.unique(blocks[trials > 0], return_inverse=True)
    hit = np.bincount(index, weights=hits[trials > 0])
    tried = np.bincount(index, weights=trials[trials > 0])
    count = len(tried)
    rate = float(hit.sum() / tried.sum())
    if 0 < hit.sum() < tried.sum():
        picked = rng.integers(0, count, size=(RESAMPLES, count))
        spread = hit[picked].sum(axis=1) / tried[picked].sum(axis=1)
        tail = (1 - level) / 2
        lower, upper = np.quantile(spread, [tail, 1 - tail])
        return rate, float(min(lower, rate)), float(max(upper, rate))
    ends = binomtest(count if rate == 1 else 0, count).proportion_ci(level, method="exact")
    return rate, float(ends.low), float(ends.high)

"""Intervals that respect that neighbouring pixels are not independent."""

from __future__ import annotations

import numpy as np

from experiments.comparison import clopper_pearson

RESAMPLES = 2000
"""Bootstrap resamples: enough for a variance to settle.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6."""

LEAST_CORRELATION = 0.05
"""Correlation inside a block that is taken for granted, because a handful of hits cannot show it (engineering
judgement). With it the design effect is at least 1 + (trials a block - 1) · 0.05 (Kish, Survey Sampling, 1965)."""


def block_bootstrap(
    hits: np.ndarray, trials: np.ndarray, blocks: np.ndarray, *, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float, float]:
    """A rate with its interval: (rate, lower, upper), NaN without trials.

    Whole blocks are drawn with replacement, and the variance of the rate over these resamples says how many
    independent trials the sample is worth. The interval is the exact binomial one (Clopper-Pearson) for that
    effective size, widened for the few blocks behind the variance. So it stays coherent down to no hit at all,
    where percentiles of resamples would have no width. One block alone tells nothing: (rate, 0, 1).

    Args:
        hits, trials: (n,) counts of each patch.
        blocks: (n,) the block of each patch.
        rng: draws the blocks.
        level: coverage of the interval.

    Source: Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts
        estimated from survey data, Survey Methodology 24(2), 1998; Lahiri, Resampling Methods for Dependent Data,
        2003, chapter 12 (spatial block bootstrap).
    """
    from scipy.stats import t

    total = float(trials.sum())
    if total == 0:
        return float("nan"), float("nan"), float("nan")
    _, index = np.unique(blocks[trials > 0], return_inverse=True)
    hit = np.bincount(index, weights=hits[trials > 0])
    tried = np.bincount(index, weights=trials[trials > 0])
    count = len(tried)
    rate = float(hit.sum() / total)
    if count == 1:
        return (rate, 0.0, 1.0)
    picked = rng.integers(0, count, size=(RESAMPLES, count))
    variance = float((hit[picked].sum(axis=1) / tried[picked].sum(axis=1)).var())
    effect = max(
        1 + (total / count - 1) * LEAST_CORRELATION,
        variance * total / (rate * (1 - rate)) if 0 < rate < 1 else 1.0,
    )
    tail = (1 - level) / 2
    few = (t.ppf(1 - tail, max(total - 1, 1)) / t.ppf(1 - tail, count - 1)) ** 2
    worth = max(total / effect * few, 1.0)
    x = rate * worth
    lower, upper = (float(end) for end in clopper_pearson(x, worth, level=level))
    return rate, lower, upper

"""Intervals and paired tests that respect that neighbouring pixels are not independent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from experiments.statistics.comparison import clopper_pearson

RESAMPLES = 2000
"""Bootstrap resamples: enough for a variance to settle.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6."""

LEAST_CORRELATION = 0.05
"""Correlation inside a block that is taken for granted, because a handful of hits cannot show it (engineering
judgement). With it the design effect is at least 1 + (trials a block - 1) · 0.05 (Kish, Survey Sampling, 1965)."""

EXACT_BLOCKS = 14
"""Blocks up to which all flips of their signs are looked at: 16 384 are no more work than as many random ones."""

FLIPS = 9999
"""Random flips beyond that: a p of 0.05 is then told to 0.004 (twice its binomial standard error)."""


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
    variance, few = _resampled(hit, tried, rng, level, trials=total)
    effect = max(
        1 + (total / count - 1) * LEAST_CORRELATION,
        variance * total / (rate * (1 - rate)) if 0 < rate < 1 else 1.0,
    )
    worth = max(total / effect * few, 1.0)
    x = rate * worth
    lower, upper = (float(end) for end in clopper_pearson(x, worth, level=level))
    return rate, lower, upper


@dataclass(frozen=True)
class Difference:
    """By how much two things differ on the same trials, second minus first.

    Attributes:
        value: the difference, NaN without trials.
        lower, upper: its interval, which takes whole blocks as what was sampled.
        trials, blocks: what it rests on.
        first_only, second_only: the discordant trials, hit in one alone; 0 where no hits were counted.
        mcnemar: p of McNemar's test, which takes trials as independent; NaN where no hits were counted.
        blockwise: p of the sign-flip test over blocks.
    """

    value: float
    lower: float
    upper: float
    trials: int
    blocks: int
    first_only: int
    second_only: int
    mcnemar: float
    blockwise: float


NOTHING_TRIED = Difference(math.nan, math.nan, math.nan, 0, 0, 0, 0, math.nan, math.nan)
"""Where there is nothing to compare."""


def mcnemar(first_only: int, second_only: int) -> float:
    """The exact two-sided p of McNemar's test that neither of two is hit more often on the same trials.

    Given the discordant trials, those of the first are binomial with a half. 1 without any. Trials must be
    independent: those of one spatial block are not, so the p is too small there (see `sign_flip`).

    Source: McNemar, Note on the sampling error of the difference between correlated proportions or percentages,
        Psychometrika 12(2), 1947; its exact form: Fay, Two-sided exact tests and matching confidence intervals for
        discrete data, The R Journal 2(1), 2010.
    """
    from scipy.stats import binomtest

    discordant = first_only + second_only
    return float(binomtest(first_only, discordant).pvalue) if discordant else 1.0


def sign_flip(sums: np.ndarray, *, rng: np.random.Generator) -> float:
    """The two-sided p that the sums of the differences of each block, (k,), lie evenly about 0.

    Without a difference the two sides of a block could be exchanged, which flips the sign of its sum. All flips are
    looked at up to `EXACT_BLOCKS` blocks that differ, else `FLIPS` random ones. So m blocks that differ give no p
    below 2 / 2^m, however many trials they hold.

    Source: Fisher, The Design of Experiments, 1935, section 21 (the test that bears his name, on pairs); Winkler et
        al., Multi-level block permutation, NeuroImage 123, 2015 (whole blocks flipped).
    """
    sums = sums[sums != 0]
    count = len(sums)
    if not count:
        return 1.0
    if count <= EXACT_BLOCKS:
        signs = 1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
    else:
        signs = np.vstack([np.ones(count, dtype=np.int64), rng.choice([-1, 1], size=(FLIPS, count))])
    reached = np.abs(signs @ sums) >= abs(sums.sum()) * (1 - 1e-9)
    return float(reached.mean())


def tango(first_only: float, second_only: float, trials: float, *, level: float = 0.95) -> tuple[float, float]:
    """The score interval of the difference of two rates on the same trials, second minus first; counts may be broken.

    It has a width even where the two never differ.

    Source: Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design, Statistics in Medicine 17(8), 1998.
    """
    from scipy.stats import norm

    critical = float(norm.ppf((1 + level) / 2))
    centre = (second_only - first_only) / trials

    def score(at: float) -> float:
        """How many standard errors the observed difference lies above a true one of `at`."""
        b = -first_only - second_only + (2 * trials - second_only + first_only) * at
        c = -first_only * at * (1 - at)
        lost = (math.sqrt(max(b * b - 8 * trials * c, 0.0)) - b) / (4 * trials)
        variance = trials * (2 * lost + at * (1 - at))
        return trials * (centre - at) / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, centre - at)

    def end(outer: float) -> float:
        inside, outside = centre, outer
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(score(middle)) <= critical:
                inside = middle
            else:
                outside = middle
        return (inside + outside) / 2

    return end(-1.0), end(1.0)


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    both: np.ndarray,
    blocks: np.ndarray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Difference:
    """The difference of two rates on the same trials, second minus first, with an interval and two tests.

    A bootstrap of whole blocks gives the variance of the difference and so how many independent trials the sample is
    worth, as in `block_bootstrap`; the interval is Tango's score interval for that many. One block alone tells
    nothing: (value, -1, 1).

    Args:
        first, second: (n, draws) bool, whether each trial of a patch is a hit.
        both: (n, draws) bool, the trials that count for both.
        blocks: (n,) the block of each patch.
        rng: draws blocks and signs.

    Source: Tango 1998 and Korn and Graubard 1998, see `tango` and `block_bootstrap`.
    """
    tried = both.sum(axis=1)
    lost, gained = (first & ~second & both).sum(axis=1), (second & ~first & both).sum(axis=1)
    total, b, c = int(tried.sum()), int(lost.sum()), int(gained.sum())
    if not total:
        return NOTHING_TRIED
    _, index = np.unique(blocks[tried > 0], return_inverse=True)
    change = np.bincount(index, weights=(gained - lost)[tried > 0])
    size = np.bincount(index, weights=tried[tried > 0])
    count, value = len(size), (c - b) / total
    test = mcnemar(b, c), sign_flip(change, rng=rng)
    if count == 1:
        return Difference(value, -1.0, 1.0, total, 1, b, c, *test)
    variance, few = _resampled(change, size, rng, level, trials=total)
    alone = (b + c - (c - b) ** 2 / total) / total**2
    effect = max(1 + (total / count - 1) * LEAST_CORRELATION, variance / alone if alone > 0 else 1.0)
    worth = max(total / effect * few, 1.0)
    lower, upper = tango(b * worth / total, c * worth / total, worth, level=level)
    return Difference(value, lower, upper, total, count, b, c, *test)


def mean_difference(
    change: np.ndarray, blocks: np.ndarray, *, rng: np.random.Generator, level: float = 0.95
) -> Difference:
    """The mean of `change`, (n,) a patch, with a t interval whose variance comes from a bootstrap of whole blocks.

    One block alone tells nothing: (value, -1, 1). Where nothing changed the interval has no width.

    Args:
        change: differences that lie in [-1, 1]; blocks: (n,) the block of each patch.
        rng: draws blocks and signs.

    Source: Lahiri 2003, see `block_bootstrap`.
    """
    from scipy.stats import t

    if not len(change):
        return NOTHING_TRIED
    _, index = np.unique(blocks, return_inverse=True)
    sums, size = np.bincount(index, weights=change), np.bincount(index).astype(np.float64)
    count, value = len(size), float(change.mean())
    p = sign_flip(sums, rng=rng)
    if count == 1:
        return Difference(value, -1.0, 1.0, len(change), 1, 0, 0, math.nan, p)
    variance, _ = _resampled(sums, size, rng, level, trials=len(change))
    reach = float(t.ppf((1 + level) / 2, count - 1)) * math.sqrt(variance)
    return Difference(value, max(value - reach, -1.0), min(value + reach, 1.0), len(change), count, 0, 0, math.nan, p)


def _resampled(
    sums: np.ndarray, size: np.ndarray, rng: np.random.Generator, level: float, *, trials: float
) -> tuple[float, float]:
    """The variance of a ratio of sums over resamples of blocks, and by how much few blocks shrink a sample's worth.

    Resamples of k blocks vary about their own mean, as deviations divided by k and not by k - 1 do, so their variance
    is too small by (k - 1) / k; it is multiplied by k / (k - 1) (`unbiased`). That is one thing, the t quantile in
    `few` another: it answers for not knowing the variance better than k blocks tell.
    """
    from scipy.stats import t

    count, tail = len(size), (1 - level) / 2
    picked = rng.integers(0, count, size=(RESAMPLES, count))
    variance = float(unbiased((sums[picked].sum(axis=1) / size[picked].sum(axis=1)).var(), count))
    few = (t.ppf(1 - tail, max(trials - 1, 1)) / t.ppf(1 - tail, count - 1)) ** 2
    return variance, float(few)


def unbiased(variance: np.ndarray | float, blocks: int) -> np.ndarray | float:
    """The variance over resamples of `blocks` blocks, at least two, without the bias of resampling.

    Source: Rao and Wu, Resampling inference with complex survey data, JASA 83(401), 1988 (as many draws as units give
        a variance that is too small by (n - 1) / n).
    """
    return variance * blocks / (blocks - 1)

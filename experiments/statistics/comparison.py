"""How two samples of a search compare: effect size, test, correction, medians and curves with censored values.

A value that was not reached within the budget is inf: the worst rank, tied with all others like it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LEVEL = 0.95
"""Coverage of bands and, as 1 - 0.95, the level of tests: the convention of the field."""


def a12(x: np.ndarray, y: np.ndarray) -> float:
    """The chance that a value of `x` is greater than one of `y`, ties counted half; 0.5 means no difference.

    Args:
        x: (m,) values, inf allowed; y: (n,) values.

    Raises:
        ValueError: a sample is empty or holds NaN.

    Source: Vargha and Delaney, A critique and improvement of the CL common language effect size statistics of McGraw
        and Wong, Journal of Educational and Behavioral Statistics 25(2), 2000, formula (14).
    """
    from scipy.stats import rankdata

    _refuse_unusable(x, y)
    m, n = len(x), len(y)
    ranks = rankdata(np.concatenate([x, y]))[:m].sum()
    return float((2 * ranks - m * (m + 1)) / (2 * m * n))


def mann_whitney(x: np.ndarray, y: np.ndarray) -> float:
    """The two-sided p of the Mann-Whitney U test that neither sample tends to greater values; 1 where all are tied.

    Args:
        x: (m,) values, inf allowed; y: (n,) values.

    Raises:
        ValueError: a sample is empty or holds NaN.

    Source: Mann and Whitney, On a test of whether one of two random variables is stochastically larger than the other,
        Annals of Mathematical Statistics 18(1), 1947.
    """
    from scipy.stats import mannwhitneyu, rankdata

    _refuse_unusable(x, y)
    ranks = rankdata(np.concatenate([x, y]))
    if np.ptp(ranks) == 0:
        return 1.0
    return float(mannwhitneyu(ranks[: len(x)], ranks[len(x) :], alternative="two-sided").pvalue)


def _refuse_unusable(x: np.ndarray, y: np.ndarray) -> None:
    for sample in (x, y):
        if not len(sample) or np.isnan(sample).any():
            what = "NaN among them" if len(sample) else "an empty sample"
            raise ValueError(f"Expected numbers or infinity to compare, got {what}; leave that comparison out.")


def repeated(p: np.ndarray) -> float:
    """One p-value of the same test on repeats of a search, (r,), however they depend on each other.

    n / k times the k-th least of n p-values, at most 1, with k = ⌈n / 2⌉.

    Source: Rüger, Das maximale Signifikanzniveau des Tests "Lehne H0 ab, wenn k unter n gegebenen Tests zur Ablehnung
        führen", Metrika 25, 1978.
    """
    n, k = len(p), -(-len(p) // 2)
    return float(min(1.0, np.sort(p)[k - 1] * n / k))


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values, (k,) in the order given: below alpha is rejected with a family-wise error of alpha.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2),
        1979.
    """
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def holm_by_test(family: Sequence[Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """Holm's adjusted p of every row of a family, by the name of the test: each test is a family of its own.

    Args:
        family: for each row p by test, the same tests in all; None where a row has no such test.
    """
    adjusted: list[dict[str, Any]] = [dict(tests) for tests in family]
    for name in adjusted[0] if adjusted else ():
        tested = [tests for tests in adjusted if tests[name] is not None]
        for tests, p in zip(tested, holm(np.array([tests[name] for tests in tested], dtype=np.float64)), strict=True):
            tests[name] = float(p)
    return adjusted


def censored_median(values: np.ndarray, *, censored_at: np.ndarray | float) -> float:
    """The Kaplan-Meier median: the least value that at most half exceed; inf where it lies beyond the censoring.

    Args:
        values: (n,) values, inf where only known to lie beyond `censored_at`; NaN for an empty sample.
        censored_at: up to where an inf was looked for, one for all or (n,).

    Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, Journal of the American
        Statistical Association 53(282), 1958.
    """
    from scipy.stats import CensoredData, ecdf

    if not len(values):
        return math.nan
    unknown = np.isinf(values)
    if unknown.all():
        return math.inf
    survival = ecdf(CensoredData.right_censored(np.where(unknown, censored_at, values), unknown)).sf
    half = np.flatnonzero(survival.probabilities <= 0.5 + 1e-12)
    return float(survival.quantiles[half[0]]) if len(half) else math.inf


def clopper_pearson(hits: np.ndarray | float, trials: float, *, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of the exact binomial interval for each entry of `hits`, (k,) and (k,); counts need not be whole.

    Source: Clopper and Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 26(4), 1934.
    """
    from scipy.stats import beta

    tail = (1 - level) / 2
    hits = np.asarray(hits, dtype=np.float64)
    lower = np.where(hits > 0, beta.ppf(tail, np.where(hits > 0, hits, 1), trials - hits + 1), 0.0)
    upper = np.where(hits < trials, beta.ppf(1 - tail, hits + 1, np.where(hits < trials, trials - hits, 1)), 1.0)
    return lower, upper


def success(reached: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The share of patches that have reached something by each of `at`, and a band: three arrays (g,).

    The share is the mean over repeats, the band the exact binomial interval of that share over the patches: repeats
    tell of the search and not of other patches, so they do not narrow it.

    Args:
        reached: (repeats, patches) when or how far, inf for never.
        at: (g,) ascending.
    """
    ordered = np.sort(reached, axis=1)
    hits = np.stack([np.searchsorted(row, at, side="right") for row in ordered])
    mean = hits.mean(axis=0)
    lower, upper = clopper_pearson(mean, reached.shape[1])
    return mean / reached.shape[1], lower, upper

"""Survival curves: the share of subjects to which nothing has happened by a severity, some of them lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diverget.lockstep import QUERIES
from diverget.randomness import Purpose, generator, key
from experiments.record import Row, Run
from experiments.statistics import LEAST_CORRELATION, RESAMPLES, unbiased
from experiments.statistics.comparison import clopper_pearson
from experiments.statistics.remains import first, sure
from experiments.statistics.trials import MOST

SHARES = (0.05, 0.1, 0.25, 0.5)
"""Shares whose severity is told: few sources are ever revealed along one relation, so the median alone says little
(engineering judgement)."""

NORMAL = 1.959964
"""Standard errors that an interval of 95 % reaches where subjects are independent: the normal quantile."""


@dataclass(frozen=True)
class Survival:
    """A Kaplan-Meier curve; the arrays have one entry a distinct severity at which something happened, ascending.

    Attributes:
        at: severities; surviving, lower, upper: the share that is left after each, with its 95 % interval.
        subjects, events: how many there were, and to how many it happened.
        end: the greatest severity of any subject, that of an event or of the censoring.
    """

    at: np.ndarray
    surviving: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    subjects: int
    events: int
    end: float

    def reached(self, share: float) -> float | None:
        """The least severity by which it had happened to `share` of them, None where that was not reached."""
        gone = np.flatnonzero(1 - self.surviving >= share * (1 - 1e-12))
        return float(self.at[gone[0]]) if len(gone) else None

    def staircase(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Corners of the curve and its interval, from 1 at severity 0 to the end: (x, surviving, lower, upper)."""
        x = np.concatenate([[0.0], np.repeat(self.at, 2), [max(self.end, float(self.at[-1]) if len(self.at) else 0.0)]])
        columns = (np.repeat(np.concatenate([[1.0], y]), 2) for y in (self.surviving, self.lower, self.upper))
        surviving, lower, upper = columns
        return x, surviving, lower, upper


def kaplan_meier(
    severity: np.ndarray, happened: np.ndarray, *, effect: np.ndarray | float = 1.0, quantile: float = NORMAL
) -> Survival:
    """The product-limit estimate of n subjects, at least one, with intervals by Greenwood on the log-log scale.

    A subject that is lost at a severity at which something happens to others is still at risk there. Where nobody is
    left Greenwood's variance is undefined, and the upper end is that of `none_left`, no higher than the one before.

    Args:
        severity: (n,) at which it happened, or up to which the subject was seen unharmed.
        happened: (n,) bool, whether it did.
        effect: by what Greenwood's variance is multiplied, one or one a distinct severity (`design_effect`).
        quantile: how many standard errors the intervals reach; those of independent subjects by default.

    Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958; Kalbfleisch and
        Prentice, The Statistical Analysis of Failure Time Data, 2002, section 1.4 (the log-log interval).
    """
    at, place = np.unique(severity[happened], return_inverse=True)
    deaths = np.bincount(place, minlength=len(at))
    at_risk = len(severity) - np.searchsorted(np.sort(severity), at, side="left")
    surviving = np.cumprod(1 - deaths / at_risk)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        spread = np.sqrt(effect * np.cumsum(deaths / (at_risk * (at_risk - deaths)))) / np.log(surviving)
        ends = [surviving ** np.exp(sign * quantile * spread) for sign in (-1, 1)]
    lower, upper = (np.where(surviving > 0, end, 0.0) for end in (np.minimum(*ends), np.maximum(*ends)))
    if len(at) and surviving[-1] == 0:
        before, above = (surviving[-2], upper[-2]) if len(at) > 1 else (1.0, 1.0)
        last = float(np.broadcast_to(effect, at.shape)[-1])
        upper[-1] = min(above, none_left(at_risk[-1] / before, effect=last, quantile=quantile))
    return Survival(at, surviving, lower, upper, len(severity), int(happened.sum()), float(severity.max()))


def none_left(subjects: float, *, effect: float = 1.0, quantile: float = NORMAL) -> float:
    """The upper end for the share that is left where none of `subjects` is: 0.308 for 10 independent ones.

    It is the exact binomial end for none of the effective number, which is one at least. Without any, under an
    infinite effect, it is 1.

    Args:
        subjects: those at risk at the last event over the share that was left before it: all of them where nobody was
            lost, fewer otherwise.
        effect, quantile: as in `kaplan_meier`.

    Source: Clopper and Pearson, see `experiments.statistics.comparison.clopper_pearson`; Peto et al., Design and
        analysis of randomized clinical trials requiring prolonged observation of each patient II, British Journal of
        Cancer 35, 1977 (those at risk over the share left, as an effective number); Dorey and Korn, Effective sample
        sizes for confidence intervals for survival probabilities, Statistics in Medicine 6, 1987 (exact ends on it);
        Korn and Graubard 1998, see `block_bootstrap` (its division by the design effect).
    """
    if np.isinf(effect):
        return 1.0
    worth = max(subjects / effect * (NORMAL / quantile) ** 2, 1.0)
    return float(clopper_pearson(0.0, worth)[1])


def design_effect(
    severity: np.ndarray, happened: np.ndarray, blocks: np.ndarray, *, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """By what Greenwood's variance is too small at each distinct severity, and the t quantile for so many blocks.

    Whole blocks are drawn with replacement, and the variance of the curve over these resamples is set against that of
    Greenwood's formula. As of the rates (`experiments.statistics.block_bootstrap`) some correlation inside a block is
    taken for granted, because a handful of events cannot show it. One block alone tells nothing: the effect is
    infinite, and the interval goes from 0 to 1.

    Args:
        severity, happened: (n,) as in `kaplan_meier`; blocks: (n,) the block of each subject.
        rng: draws the blocks.

    Source: Williams, Product-limit survival functions with correlated survival times, Lifetime Data Analysis 1, 1995
        (Greenwood's formula is too narrow for clusters); Lahiri 2003, see `block_bootstrap`.
    """
    from scipy.stats import t

    at = np.unique(severity[happened])
    _, block = np.unique(blocks, return_inverse=True)
    count = int(block.max()) + 1
    if count == 1:
        return np.full(len(at), np.inf), 1.0
    deaths, ends = np.zeros((2, count, len(at) + 1))
    np.add.at(deaths, (block[happened], np.searchsorted(at, severity[happened])), 1)
    np.add.at(ends, (block, np.searchsorted(at, severity, side="right")), 1)
    at_risk = ends[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # whose end lies at a severity or beyond
    times = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)
    died, risked = times @ deaths[:, :-1], times @ at_risk
    varied = unbiased(np.cumprod(1 - died / np.maximum(risked, 1), axis=1).var(axis=0), count)
    d, n = deaths[:, :-1].sum(axis=0), at_risk.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.cumprod(1 - d / n) ** 2 * np.cumsum(d / (n * (n - d)))
        seen = np.nan_to_num(varied / alone, nan=1.0, posinf=1.0)
    if len(at) > 1 and d[-1] == n[-1]:
        seen[-1] = seen[-2]  # Nobody is left there, and the effect of the step before goes on.
    least = 1 + (len(severity) / count - 1) * LEAST_CORRELATION
    return np.maximum(seen, least), float(t.ppf(0.975, count - 1))


@dataclass(frozen=True)
class Subjects:
    """Subjects of one group.

    Attributes:
        severity, happened: (n,) as in `kaplan_meier`.
        left: (n,) bool, whether float's leaving ended the look.
        patches: (n,) positions among the assessed patches.
        blocks: the spatial block of every assessed patch; None where the run kept none, and each patch is one then.
        seed: of the run.
    """

    group: str
    severity: np.ndarray
    happened: np.ndarray
    left: np.ndarray
    patches: np.ndarray
    blocks: np.ndarray | None
    seed: int

    @cached_property
    def curve(self) -> Survival:
        """The curve with its band over whole blocks."""
        mine = self.patches if self.blocks is None else self.blocks[self.patches]
        rng = generator(self.seed, Purpose.BOOTSTRAP, key("survival"), key(self.group))
        effect, quantile = design_effect(self.severity, self.happened, mine, rng=rng)
        return kaplan_meier(self.severity, self.happened, effect=effect, quantile=quantile)


def rays(rows: Sequence[Row], group: str, *, blocks: np.ndarray | None, seed: int) -> Subjects:
    """Rays of `gaps.parquet` as subjects: REVEALED where the quantised model leaves for sure while float stays.

    Every other ray is censored: where float leaves or the tie of the two begins, else at its end.
    """
    seen = []
    for row in rows:
        float_at, other_at = row["severity_reference"], row["severity_quantised"]
        if sure(row) or (float_at is None and first(row) > 0):
            seen.append((other_at, True, False))
        elif float_at is None:
            seen.append((row["severity_end"], False, False))
        else:
            seen.append((float_at if other_at is None else min(float_at, other_at), False, True))
    severity, happened, left = zip(*seen, strict=True)
    patches = np.array([row["patch"] for row in rows])
    return Subjects(
        group, np.array(severity, dtype=np.float64), np.array(happened), np.array(left), patches, blocks, seed
    )


def mildest(rows: Sequence[Row], *, without: float) -> dict[int, float]:
    """The mildest severity that reveals each patch over rows of `patchwise.parquet`; `without` where none does."""
    found: dict[int, float] = {}
    for row in rows:
        severity = without if row["severity"] is None else row["severity"]
        found[row["patch"]] = min(found.get(row["patch"], without), severity)
    return found


def any_inside(rows: Sequence[Row]) -> bool:
    """Whether any query of these rows of `patchwise.parquet` was of a follow-up inside the limits."""
    return any(row["spent"] > QUERIES * row["invalid"] for row in rows)


def searched(rows: Sequence[Row], group: str, *, blocks: np.ndarray | None, seed: int) -> Subjects:
    """Patches of `patchwise.parquet` as subjects, each with its mildest REVEALED over natural arms and repeats.

    Patches without one are censored at `MOST`: nothing was found within the budget, at whatever severity.
    """
    found = mildest(rows, without=np.inf)
    patches, severity = np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.float64)
    happened = np.isfinite(severity)
    left = np.zeros(len(severity), dtype=bool)
    return Subjects(group, np.where(happened, severity, MOST), happened, left, patches, blocks, seed)


def grouped(run: Run, pair: str, blocks: np.ndarray | None) -> dict[str, list[Subjects]]:
    """The subjects of a pair: `relation` and `class` from the boundary gaps, `searched` by class, a rung at a time.

    A rung in which nothing was inside the limits has none.

    Args:
        blocks: of every assessed patch, None where the run kept none.
    """
    seed = run.manifest["config"].get("seed", 0)
    mine = [row for row in run.gaps if row["pair"] == pair]
    found: dict[str, list[Subjects]] = {}
    if mine:
        relations = list(dict.fromkeys(row["relation"] for row in mine))
        classes = sorted({row["own"] for row in mine})
        found["relation"] = [
            rays([row for row in mine if row["relation"] == name], name, blocks=blocks, seed=seed) for name in relations
        ]
        found["class"] = [
            rays([row for row in mine if row["own"] == c], run.class_name(c), blocks=blocks, seed=seed) for c in classes
        ]
    walked = [row for row in run.patchwise if row["pair"] == pair and row["natural"]]
    for rung in dict.fromkeys(row["rung"] for row in walked):
        there = [row for row in walked if row["rung"] == rung]
        if not any_inside(there):
            continue
        classes = sorted({row["own"] for row in there})
        found[f"searched, {rung}"] = [
            searched([row for row in there if row["own"] == c], run.class_name(c), blocks=blocks, seed=seed)
            for c in classes
        ]
    return found

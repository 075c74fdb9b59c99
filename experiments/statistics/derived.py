"""What a comparison of arms comes to over one or several cells: ratios to the published rivals and to random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.statistics.trials import DIFFCHASER, MEASURES, MOST, RANDOM, SHIPPED, Cell, Trial, median_severity


@dataclass(frozen=True)
class Derived:
    """One number that is derived from others.

    Attributes:
        name: its key in a study's `bars`.
        words: what it is; `more`: whether more of it is better.
        value: None where it has none; inf where the rival found nothing.
        of: how many cells it rests on.
        missed: in how many of them the rival has no such number and one was put in its place.
    """

    name: str
    words: str
    more: bool
    value: float | None
    of: int
    missed: int = 0


WORDS = {
    "success_to_diffchaser": ("share of patches REVEALED over that of the best DiffChaser arm", True),
    "disagreement_to_diffchaser": ("share of patches with any disagreement over that of the best DiffChaser arm", True),
    "queries_to_diffchaser": ("times fewer queries to the first REVEALED than the best DiffChaser arm", True),
    "queries_to_dflare_as_shipped": ("times fewer queries to the first REVEALED than DFLARE as shipped", True),
    "disagreement_queries_to_diffchaser": (
        "times fewer queries to the first disagreement than the best DiffChaser arm",
        True,
    ),
    "disagreement_queries_to_dflare_as_shipped": (
        "times fewer queries to the first disagreement than DFLARE as shipped",
        True,
    ),
    "a12_queries": ("A12 against random in queries to the first REVEALED", True),
    "a12_apart": ("A12 against random in queries to the first disagreement", True),
    "a12_severity": ("A12 against random in the mildest severity", True),
    "severity_to_random": ("median mildest severity over that of random with its whole budget", False),
}
"""By name: what the number is, and whether more of it is better."""


def ours(cells: Sequence[Cell]) -> list[str]:
    """The arms that move through natural distortions, without random, in their order."""
    return list(dict.fromkeys(t.arm for cell in cells for t in cell.trials if t.natural and t.arm != RANDOM))


def derived(cells: Sequence[Cell], arm: str) -> list[Derived]:
    """The ratios of `arm`, shares and mean queries averaged over `cells` first; in the order of `WORDS`.

    Shares and A12 are compared within equal queries, mean queries within the budget of each (`_queries`).
    The ratio of severities is the mean over the cells; a median that is not reached counts as 1 (`_severities`).
    """
    values: dict[str, tuple[float | None, int]] = {}
    for prefix, reached in (("success", "revealed"), ("disagreement", "apart")):
        values[f"{prefix}_to_diffchaser"] = _shares(cells, arm, reached)
    for prefix, reached in (("queries", "revealed"), ("disagreement_queries", "apart")):
        values[f"{prefix}_to_diffchaser"] = _queries(cells, arm, DIFFCHASER, reached)
        values[f"{prefix}_to_dflare_as_shipped"] = _queries(cells, arm, (SHIPPED,), reached)
    for measure in MEASURES:
        values[f"a12_{measure}"] = _effects(cells, arm, measure)
    ratio, of, missed = _severities(cells, arm)
    values["severity_to_random"] = ratio, of
    return [
        Derived(name, words, more, *values[name], missed=missed if name == "severity_to_random" else 0)
        for name, (words, more) in WORDS.items()
    ]


def _pairs(cells: Sequence[Cell], arm: str, rival: str, *, equal: bool = True) -> list[tuple[Trial, Trial]]:
    """Both arms of every cell in which both took part, within equal queries or each within its own."""
    found = []
    for cell in cells:
        mine, theirs = cell.arm(arm), cell.arm(rival)
        if mine is not None and theirs is not None:
            budget = min(mine.budget, theirs.budget)
            found.append((mine.within(budget), theirs.within(budget)) if equal else (mine, theirs))
    return found


def _shares(cells: Sequence[Cell], arm: str, reached: str) -> tuple[float | None, int]:
    """The ratio of the mean shares, to the rival with the most."""
    best: tuple[float, float, int] | None = None
    for rival in DIFFCHASER:
        pairs = _pairs(cells, arm, rival)
        if pairs:
            mine, theirs = (float(np.mean([np.isfinite(getattr(t[i], reached)).mean() for t in pairs])) for i in (0, 1))
            if best is None or theirs > best[1]:
                best = mine, theirs, len(pairs)
    if best is None:
        return None, 0
    mine, theirs, of = best
    return (mine / theirs if theirs else np.inf if mine else None), of


def _queries(cells: Sequence[Cell], arm: str, rivals: Sequence[str], reached: str) -> tuple[float | None, int]:
    """The ratio of the mean queries, the rival's over the arm's.

    Each may use its own budget; a patch that it found nothing for counts at the larger budget of the two, so the means
    are bounds from below, more so for whoever found less. Of several rivals the one with the most patches is taken.
    """
    best: tuple[float, float, int] | None = None
    for rival in rivals:
        pairs = _pairs(cells, arm, rival, equal=False)
        if pairs:
            share = float(np.mean([np.isfinite(getattr(theirs, reached)).mean() for _, theirs in pairs]))
            means = [
                [
                    float(np.minimum(getattr(one, reached), max(mine.budget, theirs.budget)).mean())
                    for one in (mine, theirs)
                ]
                for mine, theirs in pairs
            ]
            ours_, theirs_ = np.mean(means, axis=0)
            if best is None or share > best[0]:
                best = share, float(theirs_ / ours_), len(pairs)
    return (best[1], best[2]) if best else (None, 0)


def _effects(cells: Sequence[Cell], arm: str, measure: str) -> tuple[float | None, int]:
    """The mean of A12 against random."""
    found = [cell.tested[arm, measure].a12 for cell in cells if (arm, measure) in cell.tested]
    return (float(np.mean(found)) if found else None), len(found)


def _severities(cells: Sequence[Cell], arm: str) -> tuple[float | None, int, int]:
    """The mean ratio of the medians; one that is not reached counts as `MOST`, the end of all bounds. Then the cells,
    and those of them in which random did not reach its median. Random itself is compared with nothing."""
    ratios, missed = [], 0
    if arm == RANDOM:
        return None, 0, 0
    for cell in cells:
        mine, theirs = cell.arm(arm), cell.arm(RANDOM)
        medians = [median_severity(one) for one in (mine, theirs) if one is not None]
        known = [min(median, MOST) for median in medians if median is not None]
        if len(known) == 2 and known[1] > 0:
            ratios.append(known[0] / known[1])
            missed += medians[1] == np.inf
    return (float(np.mean(ratios)) if ratios else None), len(ratios), missed

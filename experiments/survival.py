"""Survival curves: the share of subjects to which nothing has happened by a severity, some of them lost on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from experiments.record import Row, Run
from experiments.remains import first, sure

SHARES = (0.05, 0.1, 0.25, 0.5)
"""Shares whose severity is told: few sources are ever revealed along one relation, so the median alone says little
(engineering judgement)."""


@dataclass(frozen=True)
class Survival:
    """A Kaplan-Meier curve; the arrays have one entry a distinct severity at which something happened, ascending.

    Attributes:
        at: severities; surviving, lower, upper: the share that is left after each, with its 95 % interval.
        subjects, events: how many there were, and to how many it happened.
        end: the greatest severity at which a subject was still looked at.
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


def kaplan_meier(severity: np.ndarray, happened: np.ndarray) -> Survival:
    """The product-limit estimate of n subjects, at least one, with intervals by Greenwood on the log-log scale.

    A subject that is lost at a severity at which something happens to others is still at risk there.

    Args:
        severity: (n,) at which it happened, or up to which the subject was seen unharmed.
        happened: (n,) bool, whether it did.

    Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, JASA 53, 1958; Kalbfleisch and
        Prentice, The Statistical Analysis of Failure Time Data, 2002, section 1.4 (the log-log interval).
    """
    at, place = np.unique(severity[happened], return_inverse=True)
    deaths = np.bincount(place, minlength=len(at))
    at_risk = len(severity) - np.searchsorted(np.sort(severity), at, side="left")
    surviving = np.cumprod(1 - deaths / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.cumsum(deaths / (at_risk * (at_risk - deaths)))) / np.log(surviving)
        ends = [surviving ** np.exp(sign * 1.959964 * spread) for sign in (-1, 1)]
    lower, upper = (np.where(surviving > 0, end, 0.0) for end in (np.minimum(*ends), np.maximum(*ends)))
    return Survival(at, surviving, lower, upper, len(severity), int(happened.sum()), float(severity.max()))


@dataclass(frozen=True)
class Subjects:
    """Subjects of one group: severities (n,), whether it happened, and whether float's leaving ended the look."""

    group: str
    severity: np.ndarray
    happened: np.ndarray
    left: np.ndarray

    @cached_property
    def curve(self) -> Survival:
        return kaplan_meier(self.severity, self.happened)


def rays(rows: Sequence[Row], group: str) -> Subjects:
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
    return Subjects(group, np.array(severity, dtype=np.float64), np.array(happened), np.array(left))


def mildest(rows: Sequence[Row], *, without: float) -> dict[int, float]:
    """The mildest severity that reveals each patch over rows of `patchwise.parquet`; `without` where none does."""
    found: dict[int, float] = {}
    for row in rows:
        severity = without if row["severity"] is None else row["severity"]
        found[row["patch"]] = min(found.get(row["patch"], without), severity)
    return found


def searched(rows: Sequence[Row], group: str, *, end: float) -> Subjects:
    """Patches of `patchwise.parquet` as subjects, each with its mildest REVEALED over natural arms and repeats.

    Patches without one are censored at `end`: nothing was found within the budget, at whatever severity.
    """
    severity = np.array(list(mildest(rows, without=np.inf).values()), dtype=np.float64)
    happened = np.isfinite(severity)
    return Subjects(group, np.where(happened, severity, end), happened, np.zeros(len(severity), dtype=bool))


def grouped(run: Run, pair: str) -> dict[str, list[Subjects]]:
    """The subjects of a pair: `relation` and `class` from the boundary gaps, `searched` by class, a rung at a time."""
    mine = [row for row in run.gaps if row["pair"] == pair]
    found: dict[str, list[Subjects]] = {}
    if mine:
        relations = list(dict.fromkeys(row["relation"] for row in mine))
        classes = sorted({row["own"] for row in mine})
        found["relation"] = [rays([row for row in mine if row["relation"] == name], name) for name in relations]
        found["class"] = [rays([row for row in mine if row["own"] == c], run.class_name(c)) for c in classes]
    walked = [row for row in run.patchwise if row["pair"] == pair and row["natural"]]
    for rung in dict.fromkeys(row["rung"] for row in walked):
        there = [row for row in walked if row["rung"] == rung]
        end = max((row["severity"] for row in there if row["severity"] is not None), default=1.0)
        classes = sorted({row["own"] for row in there})
        found[f"searched, {rung}"] = [
            searched([row for row in there if row["own"] == c], run.class_name(c), end=end) for c in classes
        ]
    return found

"""The rows of `patchwise.parquet` as arrays: what each arm did on a pair under a rung of limits, and against random."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from diverget.lockstep import QUERIES
from diverget.store import Damaged
from experiments.statistics.comparison import LEVEL, a12, censored_median, clopper_pearson, holm, mann_whitney, repeated

Row = Mapping[str, Any]

RANDOM = "random"
"""The arm that every other has to beat."""

DIFFCHASER = ("diffchaser_basic", "diffchaser", "diffchaser_targeted")
"""The arms that do what DiffChaser's authors published."""

SHIPPED = "dflare_as_shipped"
"""DFLARE as its public code behaves."""

BOUNDARY = ("boundary", "boundary_alone")
"""The arms that show many rows to float alone, for one query in place of two. They ask one row a patch and round, so
that every row shown is paid for; of the other arms a row is two queries."""

BETTER, NO_BETTER, WORSE = "better", "no better", "worse"
"""What a test says of an arm against random; no better where no difference was shown."""

MOST = 1.0
"""Up to which severity one is looked for: the end of all bounds."""


@dataclass(frozen=True)
class Trial:
    """One arm on one pair under one rung; arrays are (repeats, patches), inf where nothing was found.

    Attributes:
        budget: queries a patch.
        own: the arm's whole budget; `budget` is less where only the first part of its search counts.
        spent: queries; apart, revealed: queries up to and with the first disagreement, the first REVEALED.
        severity: of the mildest REVEALED; inf for arms whose follow-ups have none.
        invalid: share of the rows paid for that were outside the limits, over its whole budget; None where there were
            none or their number was not kept. Those that float alone saw count as within.
        outside: (repeats, patches) rows outside the limits.
        milder: (k, 3) owner (repeat · patches + patch), queries and severity of every improvement.
        front: (k, 3) owner, severity and divergence of the follow-ups of a patch that no other beats.
        seconds: wall time of all repeats, None where it was not kept.
    """

    arm: str
    natural: bool
    budget: int
    own: int
    spent: np.ndarray
    apart: np.ndarray
    revealed: np.ndarray
    severity: np.ndarray
    invalid: float | None
    outside: np.ndarray
    milder: np.ndarray
    front: np.ndarray
    seconds: float | None

    @property
    def repeats(self) -> int:
        return self.spent.shape[0]

    @property
    def patches(self) -> int:
        return self.spent.shape[1]

    @property
    def label(self) -> str:
        """The arm's name, with the budget where it is a part of its own."""
        return self.arm if self.budget == self.own else f"{self.arm}, first {self.budget}"

    @property
    def inside(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Queries without those of rows outside the limits, (repeats, patches) each: up to and with the first
        REVEALED, inf without, and those beyond which a patch without one is censored, the budget as of `revealed`. None
        where that is not known.

        What was outside is counted over a whole search, so it is known where that ended with its first REVEALED, or
        within its budget without one, or was never outside.
        """
        ended = self.spent == self.revealed
        known = ended | np.isinf(self.revealed) if self.budget == self.own else ended & (self.revealed < self.budget)
        if not (known | (self.outside == 0)).all():
            return None
        lost = QUERIES * self.outside
        return self.revealed - lost, np.where(np.isfinite(self.revealed), self.revealed, self.budget) - lost

    def within(self, budget: int) -> Trial:
        """What this arm had found after `budget` queries a patch."""
        if budget >= self.budget:
            return self
        severity = np.full(self.severity.size, np.inf)
        early = self.milder[self.milder[:, 1] <= budget]
        np.minimum.at(severity, early[:, 0].astype(np.int64), early[:, 2])
        return replace(
            self,
            budget=budget,
            spent=np.minimum(self.spent, budget),
            apart=np.where(self.apart <= budget, self.apart, np.inf),
            revealed=np.where(self.revealed <= budget, self.revealed, np.inf),
            severity=severity.reshape(self.severity.shape),
        )


@dataclass(frozen=True)
class Cell:
    """All arms on one pair under one rung of limits."""

    pair: str
    rung: str
    control: bool
    trials: tuple[Trial, ...]

    def arm(self, name: str) -> Trial | None:
        """The trial of one arm, None where it did not take part."""
        return next((trial for trial in self.trials if trial.arm == name), None)

    @property
    def budget(self) -> int:
        """Queries a patch within which all arms are compared: the least budget of any."""
        return min(trial.budget for trial in self.trials)

    @cached_property
    def tested(self) -> dict[tuple[str, str], Against]:
        """Every arm against random (`against_random`)."""
        return against_random(self)

    @property
    def any_inside(self) -> bool:
        """Whether any query of any arm was of a follow-up inside the limits; without, nothing follows from the cell."""
        return any((trial.spent > QUERIES * trial.outside).any() for trial in self.trials)

    @property
    def found(self) -> int:
        """Patches and repeats, over all arms, on which the two models parted in any way: none in a control."""
        return int(sum(np.isfinite(trial.apart).sum() for trial in self.trials))


def cells(rows: Sequence[Row], times: Sequence[Row] = ()) -> list[Cell]:
    """The rows by pair and rung, in the order in which they stand.

    Args:
        rows: of `patchwise.parquet`; times: of `patchwise.json`.

    Raises:
        Damaged: an arm lacks a patch in one of its repeats.
    """
    timed: dict[tuple[str, str, str], list[Row]] = {}
    for entry in times:
        timed.setdefault((entry["pair"], entry["rung"], entry["arm"]), []).append(entry)
    grouped: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault((row["pair"], row["rung"]), {}).setdefault(row["arm"], []).append(row)
    return [
        Cell(
            pair,
            rung,
            bool(next(iter(arms.values()))[0]["control"]),
            tuple(_trial(found, timed.get((pair, rung, arm), [])) for arm, found in arms.items()),
        )
        for (pair, rung), arms in grouped.items()
    ]


def _trial(rows: Sequence[Row], times: Sequence[Row]) -> Trial:
    patches = sorted({row["patch"] for row in rows})
    repeats = sorted({row["repeat"] for row in rows})
    first = rows[0]
    place = {(row["repeat"], row["patch"]): row for row in rows}
    if len(place) != len(rows) or len(rows) != len(patches) * len(repeats):
        raise Damaged(
            f"Expected in patchwise.parquet every patch once in each repeat of {first['arm']} on {first['pair']}, got "
            f"{len(rows)} rows for {len(patches)} patches and {len(repeats)} repeats",
            "remove that file and run again.",
        )
    ordered = [place[repeat, patch] for repeat in repeats for patch in patches]
    shape = (len(repeats), len(patches))

    def numbers(column: str) -> np.ndarray:
        return np.array([math.inf if row[column] is None else row[column] for row in ordered], dtype=float)

    spent = numbers("spent").reshape(shape)
    looks = sum(entry["rows"] for entry in times) if first["arm"] in BOUNDARY else spent.sum() / QUERIES
    return Trial(
        arm=first["arm"],
        natural=bool(first["natural"]),
        budget=first["budget"],
        own=first["budget"],
        spent=spent,
        apart=numbers("apart").reshape(shape),
        revealed=numbers("revealed").reshape(shape),
        severity=numbers("severity").reshape(shape),
        invalid=float(numbers("invalid").sum() / looks) if looks else None,
        outside=numbers("invalid").reshape(shape),
        milder=_points(ordered, "milder", "queries", "severity"),
        front=_points(ordered, "front", "severity", "divergence"),
        seconds=sum(entry["seconds"] for entry in times) if times else None,
    )


def _points(rows: Sequence[Row], column: str, first: str, second: str) -> np.ndarray:
    """The entries of a list column as (k, 3): owner and two numbers; entries without both numbers are left out."""
    found = [
        (i, entry[first], entry[second])
        for i, row in enumerate(rows)
        for entry in row[column] or ()
        if entry[first] is not None and entry[second] is not None
    ]
    return np.array(found, dtype=float).reshape(-1, 3)


@dataclass(frozen=True)
class Against:
    """One arm against random within equal queries, repeat by repeat.

    Attributes:
        measure: one of `MEASURES`: `queries` to the first REVEALED, those to the first disagreement of any kind
            (`apart`), or `severity` of the mildest REVEALED.
        a12: the mean over repeats; above 0.5 the arm is better than random.
        p, adjusted: of the Mann-Whitney tests of the repeats (`repeated`), and after Holm over all tests of the cell.
    """

    arm: str
    measure: str
    a12: float
    p: float
    adjusted: float

    @property
    def words(self) -> str:
        """What the test says."""
        if self.adjusted >= 1 - LEVEL or self.a12 == 0.5:
            return NO_BETTER
        return BETTER if self.a12 > 0.5 else WORSE


MEASURES: Mapping[str, Callable[[Trial], np.ndarray]] = {
    "queries": lambda trial: trial.revealed,
    "apart": lambda trial: trial.apart,
    "severity": lambda trial: trial.severity,
}
"""What arms are compared by, a value a repeat and patch, the smaller the better."""


def against_random(cell: Cell) -> dict[tuple[str, str], Against]:
    """Every arm against random within equal queries, the least budget of any arm, by arm and measure; empty without a
    random arm, and where nothing was inside the limits. Severity only for natural arms."""
    rival = cell.arm(RANDOM)
    if rival is None or not cell.any_inside:
        return {}
    tested = []
    for trial in cell.trials:
        if trial.arm == RANDOM:
            continue
        for name, measure in MEASURES.items():
            if name != "severity" or trial.natural:
                mine, theirs = (measure(one.within(cell.budget)) for one in (trial, rival))
                effect = float(np.mean([a12(other, own) for own, other in zip(mine, theirs, strict=False)]))
                p = [mann_whitney(own, other) for own, other in zip(mine, theirs, strict=False)]
                tested.append((trial.arm, name, effect, repeated(np.array(p))))
    adjusted = holm(np.array([p for *_, p in tested]))
    return {
        (arm, name): Against(arm, name, effect, p, float(corrected))
        for (arm, name, effect, p), corrected in zip(tested, adjusted, strict=True)
    }


def summary(trial: Trial) -> dict[str, Any]:
    """One arm in numbers: shares of patches with their exact interval over patches, censored medians over all patches
    and repeats, cost."""
    told: dict[str, Any] = {"patches": trial.patches, "repeats": trial.repeats, "budget": trial.budget}
    for name, reached in (("apart", trial.apart), ("revealed", trial.revealed)):
        share = float(np.isfinite(reached).mean())
        lower, upper = clopper_pearson(share * trial.patches, trial.patches)
        told[f"{name}_share"] = share
        told[f"{name}_lower"], told[f"{name}_upper"] = float(lower), float(upper)
        told[f"{name}_median"] = censored_median(reached.ravel(), censored_at=trial.budget)
        told[f"{name}_mean"] = float(np.minimum(reached, trial.budget).mean())
    told["severity_median"] = median_severity(trial)
    told["invalid"] = trial.invalid if trial.budget == trial.own else None
    inside = trial.inside
    told["inside_median"] = inside and censored_median(inside[0].ravel(), censored_at=inside[1].ravel())
    told["inside_spent"] = float((trial.spent - QUERIES * trial.outside).mean()) if trial.budget == trial.own else None
    told["spent"] = float(trial.spent.mean())
    told["seconds"] = trial.seconds if trial.budget == trial.own else None
    return told


def median_severity(trial: Trial) -> float | None:
    """The censored median over patches and repeats of the mildest REVEALED; inf beyond half, None where arms have no
    severity."""
    return censored_median(trial.severity.ravel(), censored_at=MOST) if trial.natural else None

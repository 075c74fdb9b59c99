"""Findings as folds over stored rows: of each patch and pair of classes the mildest candidate, of each kind the mildest
finding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget.problem import Revealed
from diverget.space import Values, rows_of


@dataclass(frozen=True)
class Lead:
    """Where a distinct finding was first seen at its mildest: a patch, its two classes, a candidate."""

    seen: Revealed
    candidate: int
    severity: float


def mildest(rows: Iterable[tuple[int, float, Iterable[Revealed]]]) -> list[Lead]:
    """One lead for each (patch, reference class, quantised class), ordered by these three.

    Args:
        rows: (candidate, severity, its REVEALED rows) of every candidate, in the order of evaluation; of
            equally severe candidates the earlier one stays.
    """
    best: dict[tuple[int, int, int], Lead] = {}
    for candidate, severity, revealed in rows:
        for seen in revealed:
            place = (seen.patch, seen.reference_class, seen.quantised_class)
            if place not in best or severity < best[place].severity:
                best[place] = Lead(seen, candidate, severity)
    return [best[place] for place in sorted(best)]


def gather(leads: list[Lead], values: Values) -> tuple[Values, np.ndarray]:
    """The values and the patches of `leads`, row by row; `values` holds every candidate in order."""
    candidates = np.array([lead.candidate for lead in leads], dtype=np.int64)
    return rows_of(values, candidates), np.array([lead.seen.patch for lead in leads], dtype=np.int64)


KIND = ("pair", "control", "tier", "family", "reference_class", "quantised_class")


def kinds(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The archive of diversity: for each kind of confirmed finding how many there are and the mildest of them.

    A kind is a pair of models, a tier, the family of the relation that weighs most in the chain, and a pair of classes.
    Of equally severe findings the earlier one stays.
    """
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in findings:
        if not row["confirmed"]:
            continue
        place = tuple(row[column] for column in KIND)
        entry = best.setdefault(place, {**dict(zip(KIND, place, strict=True)), "findings": 0, "severity": np.inf})
        entry["findings"] += 1
        if row["severity"] < entry["severity"]:
            entry.update(severity=row["severity"], mildest=row["finding"])
    return [best[place] for place in sorted(best)]

"""Findings as folds over stored rows: the mildest candidate of each patch, pair of classes and heaviest relation, the
mildest finding of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget.problem import Revealed
from diverget.space import Values, rows_of


@dataclass(frozen=True)
class Lead:
    """Where a distinct finding was first seen at its mildest.

    Attributes:
        seen: the patch and its two classes.
        slot: of the space, the one that weighs most in the severity.
        candidate: in the order of evaluation.
    """

    seen: Revealed
    slot: int
    candidate: int
    severity: float


def mildest(rows: Iterable[tuple[int, float, int, Iterable[Revealed]]]) -> list[Lead]:
    """One lead for each (patch, reference class, quantised class, heaviest slot), ordered by these four.

    Args:
        rows: (candidate, severity, heaviest slot, its REVEALED rows) of every candidate, in the order of evaluation;
            of equally severe candidates the earlier one stays.
    """
    best: dict[tuple[int, int, int, int], Lead] = {}
    for candidate, severity, slot, revealed in rows:
        for seen in revealed:
            place = (seen.patch, seen.reference_class, seen.quantised_class, slot)
            if place not in best or severity < best[place].severity:
                best[place] = Lead(seen, slot, candidate, severity)
    return [best[place] for place in sorted(best)]


def gather(leads: list[Lead], values: Values) -> tuple[Values, np.ndarray]:
    """The values and the patches of `leads`, row by row; `values` holds every candidate in order."""
    candidates = np.array([lead.candidate for lead in leads], dtype=np.int64)
    return rows_of(values, candidates), np.array([lead.seen.patch for lead in leads], dtype=np.int64)


KIND = ("pair", "control", "tier", "family", "reference_class", "quantised_class")


def kinds(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The archive of diversity: for each kind of confirmed finding on how many patches it is, and the mildest of them.

    A kind is a pair of models, a tier, the family of the relation that weighs most in the chain, and a pair of classes.
    Of equally severe findings the earlier one stays.
    """
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    patches: dict[tuple[Any, ...], set[int]] = {}
    for row in findings:
        if not row["confirmed"]:
            continue
        place = tuple(row[column] for column in KIND)
        entry = best.setdefault(place, {**dict(zip(KIND, place, strict=True)), "severity": np.inf})
        patches.setdefault(place, set()).add(row["patch"])
        if row["severity"] < entry["severity"]:
            entry.update(severity=row["severity"], mildest=row["finding"])
    return [{**best[place], "patches": len(patches[place])} for place in sorted(best)]


def distinct(findings: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """`findings` without those that shrinking made one of a kind with a milder one: of each patch, pair of classes and
    heaviest relation the mildest stays, in the given order."""
    best: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for row in findings:
        place = row["patch"], row["reference_class"], row["quantised_class"], row["relation"]
        if place not in best or row["severity"] < best[place]["severity"]:
            best[place] = row
    kept = {id(row) for row in best.values()}
    return [row for row in findings if id(row) in kept]

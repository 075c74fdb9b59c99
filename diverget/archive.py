"""Findings as a fold over stored rows: of each patch and pair of classes, the mildest candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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

"""The columns of what a run stores, in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from diverget.archive import Lead, mildest
from diverget.objectives import Objective
from diverget.outcome import Outcome
from diverget.problem import Bounded, Evaluation, Revealed
from diverget.space import Space, Values

REVEALED = pa.list_(
    pa.struct([("patch", pa.int64()), ("reference_class", pa.int32()), ("quantised_class", pa.int32())])
)

FINDINGS = pa.schema(
    [
        ("finding", pa.int64()),
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("patch", pa.int64()),
        ("row", pa.int64()),
        ("col", pa.int64()),
        ("label", pa.int32()),
        ("reference_class", pa.int32()),
        ("quantised_class", pa.int32()),
        ("severity", pa.float64()),
        ("severity_found", pa.float64()),
        ("psnr", pa.float64()),
        ("spectral_angle", pa.float64()),
        ("reference_margin", pa.float64()),
        ("quantised_margin", pa.float64()),
        ("chain", pa.string()),
        ("values", pa.string()),
        ("candidate", pa.int64()),
        ("confirmed", pa.bool_()),
        ("file", pa.string()),
    ]
)

RATES = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("tier", pa.string()),
        ("relation", pa.string()),
        *[(name, pa.int64()) for name in ("draws", "eligible", "rejected", "inherited", "tied", "moved_together")],
        *[(name, pa.int64()) for name in ("moved_apart", "revealed", "blocks")],
        *[
            (f"{kind}_{end}", pa.float64())
            for kind in ("revealed", "disagreement")
            for end in ("rate", "lower", "upper")
        ],
    ]
)


PATCHWISE = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("arm", pa.string()),
        ("natural", pa.bool_()),
        *[(name, pa.int64()) for name in ("budget", "patch", "spent", "apart", "revealed")],
        ("severity", pa.float64()),
        ("invalid", pa.int64()),
    ]
)
"""One row a pair, arm and patch; `apart` and `revealed` are queries, null where nothing was found."""


def evaluations(space: Space, objectives: Sequence[Objective], limits: Sequence[Bounded]) -> pa.Schema:
    """The columns of one search's candidates; units stand in the fields' metadata."""
    return pa.schema(
        [
            ("pair", pa.string()),
            ("control", pa.bool_()),
            ("generation", pa.int64()),
            ("candidate", pa.int64()),
            ("feasible", pa.bool_()),
            ("severity", pa.float64()),
            *[
                pa.field(_column(space, slot, param.name), pa.float64(), metadata={"unit": param.unit})
                for slot, param, _ in space.axes
            ],
            *[(f"score:{objective.name}", pa.float64()) for objective in objectives],
            *[(f"limit:{bounded.limit.name}", pa.float64()) for bounded in limits],
            *[(f"outcome:{outcome.name}", pa.int64()) for outcome in Outcome],
            ("queries", pa.int64()),
            ("revealed", REVEALED),
        ]
    )


def rows(
    evaluation: Evaluation,
    space: Space,
    objectives: Sequence[Objective],
    limits: Sequence[Bounded],
    *,
    pair: str,
    control: bool,
    generation: int,
    first: int,
    queries_each: int,
) -> list[dict[str, Any]]:
    """The rows of one generation, decoded and named."""
    return [
        {
            "pair": pair,
            "control": control,
            "generation": generation,
            "candidate": first + i,
            "feasible": bool(evaluation.feasible[i]),
            "severity": float(evaluation.severity[i]),
            **{
                _column(space, slot, param.name): float(evaluation.values[slot][param.name][i])
                for slot, param, _ in space.axes
            },
            **{f"score:{o.name}": float(evaluation.scores[i, j]) for j, o in enumerate(objectives)},
            **{f"limit:{b.limit.name}": float(evaluation.limits[i, j]) for j, b in enumerate(limits)},
            **{f"outcome:{o.name}": int(evaluation.counts[i, o]) for o in Outcome},
            "queries": (first + i + 1) * queries_each,
            "revealed": [vars(seen) for seen in evaluation.revealed[i]],
        }
        for i in range(len(evaluation.u))
    ]


def scored(
    stored: Sequence[dict[str, Any]], objectives: Sequence[Objective], limits: Sequence[Bounded]
) -> tuple[np.ndarray, np.ndarray]:
    """What an optimiser is told of stored rows: scores to minimise (m, objectives), excess (m, limits)."""
    scores = [[-r[f"score:{o.name}"] if o.maximise else r[f"score:{o.name}"] for o in objectives] for r in stored]
    excess = [[float(b.limit.excess(r[f"limit:{b.limit.name}"], b.bound)) for b in limits] for r in stored]
    return np.array(scores), np.array(excess).reshape(len(stored), len(limits))


def values_of(stored: Sequence[dict[str, Any]], space: Space) -> Values:
    """The values of stored candidates, in the space's order."""
    return tuple(
        {
            param.name: np.array([row[_column(space, slot, param.name)] for row in stored])
            for param in space.slots[slot].relation.params
        }
        for slot in range(len(space.slots))
    )


def leads_of(stored: Iterable[dict[str, Any]]) -> list[Lead]:
    """The distinct leads in stored candidates, each at its mildest."""
    return mildest(
        (row["candidate"], row["severity"], [Revealed(**seen) for seen in row["revealed"]]) for row in stored
    )


def _column(space: Space, slot: int, param: str) -> str:
    return f"value:{space.slots[slot].relation.name}.{param}"

"""The columns of what a run stores, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from diverget.objectives import Objective, novelty
from diverget.outcome import Outcome
from diverget.problem import Bounded, Evaluation
from diverget.selection import remembered
from diverget.space import Space, Values

REVEALED = pa.list_(
    pa.struct([("patch", pa.int64()), ("reference_class", pa.int32()), ("quantised_class", pa.int32())])
)

STATES = pa.list_(pa.struct([("patch", pa.int64()), ("probabilities", pa.list_(pa.float32()))]))
"""What a candidate showed that was not known: of a patch both models' probabilities side by side."""

FINDINGS = pa.schema(
    [
        ("finding", pa.int64()),
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("rung", pa.string()),
        ("tier", pa.string()),
        ("found_by", pa.string()),
        ("candidate", pa.int64()),
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
        ("relation", pa.string()),
        ("family", pa.string()),
        ("chain", pa.string()),
        ("values", pa.string()),
        ("confirmed", pa.bool_()),
        ("file", pa.string()),
    ]
)
"""One row a finding; `found_by` is the optimiser or the arm, `candidate` that of the optimiser, null of an arm;
`relation` weighs most in the severity, `family` is its family."""

ARCHIVE = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("tier", pa.string()),
        ("family", pa.string()),
        ("reference_class", pa.int32()),
        ("quantised_class", pa.int32()),
        ("patches", pa.int64()),
        ("severity", pa.float64()),
        ("mildest", pa.int64()),
    ]
)
"""One row a kind of finding (`diverget.archive.kinds`); `mildest` is the number of its mildest finding."""

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

DOSES = pa.schema([*list(RATES)[:4], ("severity", pa.float64()), *list(RATES)[4:]])
"""One row a pair, tier, relation and severity: what `RATES` tells, of draws at that severity alone."""

FLIPS = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        *[(name, pa.string()) for name in ("tier", "relation", "outcome")],
        *[(name, pa.int32()) for name in ("own", "reference_class", "quantised_class")],
        ("draws", pa.int64()),
    ]
)
"""How the classes moved under the draws of `DOSES`, all severities together: `own` is the reference's class on the
source, the others are on the follow-up, of INHERITED on the source. SAME and INVALID, which move nobody, are left
out."""

PLACES = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("tier", pa.string()),
        *[(name, pa.int64()) for name in ("patch", "row", "col")],
        *[(name, pa.int32()) for name in ("label", "own")],
        *[(name, pa.int64()) for name in ("block", "draws", "rejected", "inherited", "tied", "moved_together")],
        *[(name, pa.int64()) for name in ("moved_apart", "revealed")],
    ]
)
"""One row a pair, tier and rated patch: where it lies and what became of its draws of `DOSES`, all relations and
severities together; `own` is the reference's class on the source."""

BANDS = pa.schema(
    [
        ("pair", pa.string()),
        ("finding", pa.int64()),
        *[(name, pa.int64()) for name in ("group", "first", "last")],
        ("share", pa.float64()),
        ("restored", pa.float64()),
        *[(name, pa.string()) for name in ("undone", "alone")],
    ]
)
"""One row a confirmed finding and group of neighbouring bands, `first` to `last`: the group's share of the squared
change, how much of the quantised model's swing undoing it takes back, the outcome where it is undone, and where it
alone is changed (`diverget.bands`)."""


PATCHWISE = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        ("rung", pa.string()),
        ("arm", pa.string()),
        ("natural", pa.bool_()),
        *[(name, pa.int64()) for name in ("repeat", "budget", "patch")],
        ("own", pa.int32()),
        *[(name, pa.int64()) for name in ("spent", "apart", "revealed")],
        ("severity", pa.float64()),
        ("psnr", pa.float64()),
        ("invalid", pa.int64()),
        ("milder", pa.list_(pa.struct([("queries", pa.int64()), ("severity", pa.float64())]))),
        ("front", pa.list_(pa.struct([("severity", pa.float64()), ("divergence", pa.float64())]))),
        (
            "kinds",
            pa.list_(
                pa.struct(
                    [
                        ("quantised_class", pa.int32()),
                        ("relation", pa.string()),
                        ("severity", pa.float64()),
                        ("values", pa.string()),
                    ]
                )
            ),
        ),
    ]
)
"""One row a pair, rung, arm, repeat and patch; `own` is the class of both on the source; `apart` and `revealed` are
queries, null where nothing was found; `severity` and `psnr` are those of the mildest REVEALED; `milder` is every
improvement of it; `front` what no other follow-up beats in severity and Jensen-Shannon divergence; `kinds` the mildest
REVEALED for each class that the quantised model gave and each relation that weighed most, in natural units."""

GAPS = pa.schema(
    [
        ("pair", pa.string()),
        ("control", pa.bool_()),
        *[(name, pa.string()) for name in ("tier", "relation", "direction", "param", "unit")],
        ("jumps", pa.bool_()),
        ("patch", pa.int64()),
        ("own", pa.int32()),
        *[(f"dose_{at}", pa.float64()) for at in ("end", "reference", "quantised")],
        *[(name, pa.float64()) for name in ("gap", "tied_reference", "tied_quantised")],
        *[(f"severity_{at}", pa.float64()) for at in ("end", "reference", "quantised")],
        ("gap_severity", pa.float64()),
        *[(f"value_{at}", pa.float64()) for at in ("reference", "quantised")],
        ("gap_value", pa.float64()),
        *[(name, pa.int64()) for name in ("crossings_reference", "crossings_quantised", "queries")],
    ]
)
"""One row a ray: a pair, relation, direction and patch. `own` is the class of both on the source; a dose is null where
the model does not leave that class before the end of the ray, `gap` (t_f − t_q, also as a severity and, from neutral,
in the unit of `param`) where one of the two does not. `tied_` tells how long a stretch of doses about its own a model
is tied on."""


ATTRIBUTION = pa.schema(
    [
        ("finding", pa.int64()),
        *[(name, pa.string()) for name in ("pair", "kind", "side", "varied", "setting", "outcome")],
        *[(name, pa.bool_()) for name in ("survives", "vanishes", "speaks")],
        ("said", pa.int32()),
    ]
)
"""One row a confirmed finding and variation (`diverget.attribution`); `kind` is that of the finding, the same in all
its rows; `outcome` is null where the runtime refuses the variation, and so is `said`, the class that the varied side
gives the follow-up."""

KERNELS = pa.schema(
    [
        *[(name, pa.string()) for name in ("pair", "side", "kernels")],
        ("own", pa.bool_()),
        ("patches", pa.int64()),
        *[(name, pa.float64()) for name in ("agreement", "accuracy")],
        ("tied", pa.int64()),
        ("drift", pa.float64()),
    ]
)
"""One row a pair, side and kernel set, on clean patches: how often that side, run so, agrees with the other as the run
had it. `own` marks the kernels of the run; `drift` is the largest difference of probability from those; all but the
count of patches is null where the runtime refuses the kernels, and the accuracy where nothing is labelled."""


REPAIR = pa.schema(
    [
        *[(name, pa.string()) for name in ("pair", "method", "chosen")],
        *[(name, pa.bool_()) for name in ("recommended", "confirmed")],
        *[(name, pa.int64()) for name in ("repair_findings", "repair_mended", "findings", "mended", "mended_tied")],
        *[(name, pa.int64()) for name in ("clean", "new_clean", "gone_clean")],
        *[(name, pa.float64()) for name in ("accuracy_reference", "accuracy_before", "accuracy")],
        *[(name, pa.float64()) for name in ("agreement_before", "agreement")],
        *[(name, pa.int64()) for name in ("drawn", "drawn_before", "drawn_apart", "new_drawn", "gone_drawn")],
        *[(name, pa.int64()) for name in ("searched", "revealed_before", "revealed")],
        *[(name, pa.float64()) for name in ("revealed_p", "queries_before", "queries")],
        *[(name, pa.int64()) for name in ("size_before", "size")],
        *[(name, pa.float64()) for name in ("coverage_before", "coverage")],
    ]
)
"""One row a pair and repair that could be made. `findings` are held out and `repair_findings` are not; `mended` ones
show no disagreement beyond ties, `mended_tied` of them a tie. `new_*` are deviations that the unrepaired model does
not show, `gone_*` the reverse, on clean patches and random draws. `revealed` counts patches of the fresh search,
and `revealed_p` is McNemar's p that there are as many of them before and after."""


def evaluations(space: Space, objectives: Sequence[Objective], limits: Sequence[Bounded]) -> pa.Schema:
    """The columns of one search's candidates; units stand in the fields' metadata.

    Where novelty is an objective, what was new stands beside the score, so that a search that is resumed knows it too.
    """
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
            *([("novel", STATES)] if any(objective.score is novelty for objective in objectives) else []),
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
            "novel": [
                {"patch": int(patch), "probabilities": evaluation.states[i, patch].tolist()}
                for patch in np.flatnonzero(evaluation.novel[i])
            ],
        }
        for i in range(len(evaluation.u))
    ]


def remembered_of(stored: Sequence[dict[str, Any]], known: np.ndarray) -> np.ndarray:
    """What is known after stored candidates, in their order: `known` (slots, n, 2k) and what they showed of new."""
    known = known.copy()
    for row in stored:
        states = known[0].copy()  # what is known already is not remembered twice
        for new in row["novel"]:
            states[new["patch"]] = new["probabilities"]
        known = remembered(known, states)[1]
    return known


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


def _column(space: Space, slot: int, param: str) -> str:
    return f"value:{space.slots[slot].relation.name}.{param}"

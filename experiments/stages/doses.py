"""The stage that draws relations at several severities: `doses.parquet`, `flips.parquet` and `places.parquet`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from diverget import tables
from diverget.outcome import Outcome
from diverget.patches import Patches
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from diverget.rates import Dosed, dose_outcomes
from experiments.config.schema import RunConfig
from experiments.pairs import Pair, Subjects
from experiments.stages import Run, join, rate_row

TABLES: dict[str, pa.Schema] = {"flips": tables.FLIPS, "places": tables.PLACES, "doses": tables.DOSES}
"""The tables of the stage; each pair has a part of every one."""

STILL = (Outcome.SAME, Outcome.INVALID)
"""Outcomes that move no class."""


def doses(asked: Run, number: int, pair: Pair) -> None:
    """Draw one pair at every severity: one part of each table under `doses/`."""
    config = asked.config
    if not config.rates.doses or all(asked.store.has(_part(name, number)) for name in TABLES):
        return
    wanted = [(tier, entry.name) for tier in config.rates.tiers for entry in config.relations]
    problem = asked.pose(pair, asked.material.rated)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    totals: dict[str, np.ndarray] = {}
    with asked.screen.stage(f"doses   {pair.name}", total=len(wanted)) as stage:
        for done, (tier, relation) in enumerate(wanted):
            stage.to(done, f"{tier} {relation}")
            space = config.space_in(tier, relation)
            patches = asked.material.patches(asked.material.rated, space)
            seen = dose_outcomes(
                problem,
                space,
                patches,
                severities=config.rates.doses,
                draws=draws_of(config, control=pair.control),
                seed=config.seed,
                name=relation,
            )
            for severity, outcomes in zip(config.rates.doses, seen.outcomes, strict=True):
                rng = generator(config.seed, Purpose.BOOTSTRAP, key("doses"), key(tier), key(relation))
                row = rate_row(pair, tier, relation, outcomes, patches.blocks, rng)
                rows["doses"].append({**row, "severity": severity})
            rows["flips"] += _flips(pair, tier, relation, problem, seen)
            counts = np.stack([(seen.outcomes == outcome).sum(axis=(0, 2)) for outcome in Outcome], axis=1)
            totals[tier] = totals.get(tier, 0) + counts
    patches = asked.material.patches(asked.material.rated)
    rows["places"] = [row for tier, counts in totals.items() for row in _places(pair, tier, problem, patches, counts)]
    for name, schema in TABLES.items():
        asked.store.write_table(_part(name, number), rows[name], schema)


def joined(asked: Run, subjects: Subjects) -> None:
    """Write the three tables, the parts of all pairs in their order."""
    if not asked.config.rates.doses:
        return
    for name, schema in TABLES.items():
        join(asked.store, f"{name}.parquet", [_part(name, number) for number in range(len(subjects.pairs))], schema)


def queries_of(config: RunConfig, patches: int, *, control: bool) -> int:
    """What the stage costs for one pair."""
    spaces = len(config.rates.tiers) * len(config.relations)
    return 2 * patches * spaces * len(config.rates.doses) * draws_of(config, control=control)


def draws_of(config: RunConfig, *, control: bool) -> int:
    """Draws a patch, relation, tier and severity; of a control one is enough to see whether it ever parts."""
    return 1 if control else config.rates.dose_draws


def _part(name: str, number: int) -> str:
    return f"doses/part-{name}-{number:02d}.parquet"


def _flips(pair: Pair, tier: str, relation: str, problem: Problem, seen: Dosed) -> list[dict[str, Any]]:
    """The class moves of one relation, counted."""
    levels, _, draws = seen.outcomes.shape
    own = np.tile(np.repeat(problem.reference_source.argmax(axis=1), draws), levels)
    other = np.tile(np.repeat(problem.quantised_source.argmax(axis=1), draws), levels)
    outcomes = seen.outcomes.ravel()
    inherited = outcomes == Outcome.INHERITED
    moves = np.stack(
        [
            outcomes.astype(np.int64),
            own,
            np.where(inherited, own, seen.reference.ravel()),
            np.where(inherited, other, seen.quantised.ravel()),
        ],
        axis=1,
    )
    kinds, counts = np.unique(moves[~np.isin(outcomes, STILL)], axis=0, return_counts=True)
    return [
        {
            "pair": pair.name,
            "control": pair.control,
            "tier": tier,
            "relation": relation,
            "outcome": Outcome(outcome).name,
            "own": left,
            "reference_class": reference,
            "quantised_class": quantised,
            "draws": count,
        }
        for (outcome, left, reference, quantised), count in zip(kinds.tolist(), counts.tolist(), strict=True)
    ]


def _places(pair: Pair, tier: str, problem: Problem, patches: Patches, counts: np.ndarray) -> Sequence[dict[str, Any]]:
    """Where each patch lies and what became of its draws; `counts` (n, outcomes) by `Outcome`."""
    own = problem.reference_source.argmax(axis=1)
    told = {
        "rejected": Outcome.INVALID,
        "inherited": Outcome.INHERITED,
        "tied": Outcome.TIED,
        "moved_together": Outcome.MOVED_TOGETHER,
        "moved_apart": Outcome.MOVED_APART,
        "revealed": Outcome.REVEALED,
    }
    return [
        {
            "pair": pair.name,
            "control": pair.control,
            "tier": tier,
            "patch": i,
            "row": row,
            "col": col,
            "label": int(patches.labels[i]),
            "own": int(own[i]),
            "block": int(patches.blocks[i]),
            "draws": int(counts[i].sum()),
            **{name: int(counts[i, outcome]) for name, outcome in told.items()},
        }
        for i, (row, col) in enumerate(patches.places.tolist())
    ]

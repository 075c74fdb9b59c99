"""The stage that measures the boundary gaps of every pair, relation by relation: `gaps.parquet`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from diverget import tables
from diverget.gaps import BRACKETS, BoundaryGaps, directions, measure
from diverget.lockstep import QUERIES, eligible
from diverget.objectives import keep_label
from diverget.patches import draw_field
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from experiments.config.schema import RunConfig
from experiments.pairs import Pair, Subjects
from experiments.stages import Run, join


def gaps(asked: Run, number: int, pair: Pair) -> None:
    """Measure the gaps of one pair: one part `gaps/part-NN-*.parquet` a relation, written before the next is asked."""
    config = asked.config.gaps
    if config is None:
        return
    wanted = [(entry.name, _part(number, entry.name)) for entry in asked.config.relations]
    if all(asked.store.has(part) for _, part in wanted):
        return
    problem = asked.pose(pair, asked.material.assessed)
    members = eligible(problem, labelled=False)
    with asked.screen.stage(f"gaps    {pair.name}", total=len(wanted)) as stage:
        for done, (relation, part) in enumerate(wanted):
            stage.to(done, relation)
            if asked.store.has(part):
                continue
            found = measure(
                _of_one(asked, problem, config.tier, relation),
                members=members,
                rng=generator(asked.config.seed, Purpose.GAPS, key(config.tier), key(relation)),
                grid=config.grid,
                halvings=config.halvings,
            )
            asked.store.write_table(part, _rows(pair, config.tier, relation, found), tables.GAPS)


def joined(asked: Run, subjects: Subjects) -> None:
    """Write `gaps.parquet`, the parts of all pairs in their order."""
    if asked.config.gaps is None:
        return
    parts = [_part(number, entry.name) for number in range(len(subjects.pairs)) for entry in asked.config.relations]
    join(asked.store, "gaps.parquet", parts, tables.GAPS)


def most_queries(config: RunConfig, patches: int) -> int:
    """What the gaps of one pair cost at most: every patch takes part and both models leave on every ray."""
    if config.gaps is None:
        return 0
    tier, each = config.gaps.tier, QUERIES * (config.gaps.grid + len(BRACKETS) * config.gaps.halvings)
    return each * patches * sum(len(directions(config.space_in(tier, entry.name))) for entry in config.relations)


def _part(number: int, relation: str) -> str:
    return f"gaps/part-{number:02d}-{relation}.parquet"


def _of_one(asked: Run, problem: Problem, tier: str, relation: str) -> Problem:
    """The problem on the space of one relation; what the models say of the sources is known.

    That the reference keeps its class is no limit here: where it leaves is what is measured.
    """
    space = asked.config.space_in(tier, relation)
    patches = asked.material.patches(asked.material.assessed, space)
    fields = tuple(draw_field(slot.relation, patches, seed=asked.config.seed) for slot in space.slots)
    limits = tuple(bounded for bounded in problem.limits if bounded.limit.score is not keep_label)
    return replace(problem, space=space, patches=patches, fields=fields, limits=limits)


def _rows(pair: Pair, tier: str, relation: str, found: BoundaryGaps) -> list[dict[str, Any]]:
    columns = {
        "direction": found.directions,
        "patch": found.patches,
        "own": found.classes,
        "dose_end": found.end,
        "dose_reference": found.reference,
        "dose_quantised": found.quantised,
        "gap": found.gap,
        "tied_reference": found.tied_reference,
        "tied_quantised": found.tied_quantised,
        "severity_end": found.severity_end,
        "severity_reference": found.severity_reference,
        "severity_quantised": found.severity_quantised,
        "gap_severity": found.gap_severity,
        "value_reference": found.value_reference,
        "value_quantised": found.value_quantised,
        "gap_value": found.gap_value,
        "crossings_reference": found.crossings_reference,
        "crossings_quantised": found.crossings_quantised,
        "queries": found.queries,
    }
    same = {
        "pair": pair.name,
        "control": pair.control,
        "tier": tier,
        "relation": relation,
        "param": found.param,
        "unit": found.unit,
        "jumps": found.jumps,
    }
    told = {name: _or_null(column) for name, column in columns.items()}
    return [{**same, **{name: told[name][i] for name in told}} for i in range(len(found.patches))]


def _or_null(column: np.ndarray) -> list[Any]:
    """The column in Python's own types; NaN, where a model does not leave, is None."""
    return [None if value != value else value for value in column.tolist()]

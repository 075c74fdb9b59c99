"""The stage that makes findings of what the searches revealed: shrunk, confirmed, kept apart by kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget import tables
from diverget.archive import distinct, kinds, mildest
from diverget.findings import Finding, distil, replay
from diverget.problem import Problem, Revealed
from diverget.space import Space, Values
from experiments.config.methods import RungConfig
from experiments.pairs import Pair, Subjects
from experiments.stages import Run


@dataclass(frozen=True)
class Candidates:
    """Chains that revealed, from all searches of a pair on one rung; lists and values have one entry each.

    Attributes:
        found_by: the optimiser or the arm.
        numbers: of the candidates of the search over all patches; None for those of an arm.
    """

    found_by: list[str]
    numbers: list[int | None]
    severity: list[float]
    revealed: list[list[Revealed]]
    values: Values

    def joined(self, other: Candidates) -> Candidates:
        return Candidates(
            self.found_by + other.found_by,
            self.numbers + other.numbers,
            self.severity + other.severity,
            self.revealed + other.revealed,
            tuple(
                {name: np.concatenate([mine[name], theirs[name]]) for name in mine}
                for mine, theirs in zip(self.values, other.values, strict=True)
            ),
        )


def findings(asked: Run, subjects: Subjects) -> list[dict[str, Any]]:
    """Shrink and confirm what was revealed, a part of `findings/` a pair and rung, then `archive.parquet` and, last of
    all, `findings.parquet`."""
    store = asked.store
    if store.has("findings.parquet"):
        return store.read_table("findings.parquet")
    walked = store.read_table("patchwise.parquet") if store.has("patchwise.parquet") else []
    rungs = {rung.name: rung for rung in (asked.config.own_rung, *asked.config.rungs)}
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(subjects.pairs):
        for step, rung in enumerate(rungs.values()):
            part = f"findings/part-{number:02d}-{step}.parquet"
            if not store.has(part):
                mine = [row for row in walked if row["pair"] == pair.name and row["rung"] == rung.name]
                store.write_table(part, _distilled(asked, number, pair, rung, mine, len(rows)), tables.FINDINGS)
            rows += store.read_table(part)
    store.write_table("archive.parquet", kinds(rows), tables.ARCHIVE)
    store.write_table("findings.parquet", rows, tables.FINDINGS)
    return rows


def _distilled(
    asked: Run, number: int, pair: Pair, rung: RungConfig, walked: Sequence[dict[str, Any]], first: int
) -> list[dict[str, Any]]:
    """The findings of a pair on a rung, numbered from `first`; their arrays are written."""
    searched = rung.name == asked.config.own_rung.name
    if not searched and not any(row["kinds"] for row in walked):
        return []
    with asked.screen.stage(f"shrink  {pair.name}", total=1) as stage:
        problem = asked.pose(pair, asked.material.assessed, rung)
        found = _by_arms(walked, problem.space)
        if searched:
            found = _searched(asked, number, problem).joined(found)
        slots = problem.space.weights(found.values).argmax(axis=1)
        leads = mildest(zip(range(len(found.severity)), found.severity, slots.tolist(), found.revealed, strict=True))
        if not leads:
            stage.to(1, f"{rung.name}: nothing was revealed")
            return []
        shrunk = distil(problem, leads, found.values, step=lambda done, steps: stage.to(done / steps))
        told = [
            {
                **row,
                "pair": pair.name,
                "control": pair.control,
                "rung": rung.name,
                "found_by": found.found_by[lead.candidate],
                "candidate": found.numbers[lead.candidate],
                "finding": place,
            }
            for place, (lead, row) in enumerate(zip(leads, shrunk.rows, strict=True))
        ]
        rows: list[dict[str, Any]] = []
        for row in distinct(told):
            finding = shrunk.finding(row["finding"])
            name = f"findings/{first + len(rows):04d}.npz"
            asked.store.write_arrays(name, finding.arrays)
            sure = _confirmed(asked, pair, finding)
            rows.append({**row, "finding": first + len(rows), "confirmed": sure, "file": name})
        stage.to(1, f"{rung.name}: {sum(row['confirmed'] for row in rows)} of {len(rows)} confirmed")
    return rows


def _searched(asked: Run, number: int, problem: Problem) -> Candidates:
    """What the search over all patches revealed."""
    store = asked.store
    parts = sorted(store.path("evaluations").glob(f"part-{number:02d}-*.parquet"))
    stored = [row for part in parts for row in store.read_table(str(part.relative_to(store.root)))]
    return Candidates(
        found_by=[asked.config.search.optimiser] * len(stored),
        numbers=[row["candidate"] for row in stored],
        severity=[row["severity"] for row in stored],
        revealed=[[Revealed(**seen) for seen in row["revealed"]] for row in stored],
        values=tables.values_of(stored, problem.space),
    )


def _by_arms(walked: Sequence[dict[str, Any]], space: Space) -> Candidates:
    """What the arms of the per-patch search revealed, those whose follow-ups are chains of the space."""
    told = [(row, kind, json.loads(kind["values"])) for row in walked for kind in row["kinds"]]
    return Candidates(
        found_by=[row["arm"] for row, _, _ in told],
        numbers=[None] * len(told),
        severity=[kind["severity"] for _, kind, _ in told],
        revealed=[[Revealed(row["patch"], row["own"], kind["quantised_class"])] for row, kind, _ in told],
        values=tuple(
            {
                param.name: np.array([values[slot.relation.name][param.name] for _, _, values in told], np.float64)
                for param in slot.relation.params
            }
            for slot in space.slots
        ),
    )


def _confirmed(asked: Run, pair: Pair, finding: Finding) -> bool:
    """Whether a finding reproduces alone, at batch size 1, in interpreters made for it."""
    models = (pair.reference.fresh(), pair.quantised.fresh())
    return replay(finding.row, finding.arrays, models, asked.material.sensor).revealed

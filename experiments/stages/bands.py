"""The stage that asks which bands a finding needs: `bands.parquet`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from diverget import tables
from diverget.attribution import predicted
from diverget.bands import groups, restored, shares, undone
from diverget.findings import inputs
from diverget.outcome import Outcome, judge
from experiments.pairs import Pair, Subjects
from experiments.record import mildness
from experiments.stages import Run
from experiments.stages.attribution import seen_of

MOST = 200
"""Findings of a pair that are asked about, the mildest: a share of them is known to 7 points (1 / sqrt(200))."""


def bands(asked: Run, subjects: Subjects, findings: Sequence[Mapping[str, Any]]) -> None:
    """Ask both models about the confirmed findings of every pair, band group by band group.

    It belongs to attribution and is left out with it, and of data of one band.
    """
    store = asked.store
    among = groups(asked.material.patch_shape[2])
    if not asked.config.attribution or len(among) < 2 or store.has("bands.parquet"):
        return
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(subjects.pairs):
        part = f"attribution/bands-{number:02d}.parquet"
        if not store.has(part):
            mine = [row for row in findings if row["pair"] == pair.name and row["confirmed"]]
            store.write_table(part, _asked(asked, pair, sorted(mine, key=mildness)[:MOST], among), tables.BANDS)
        rows += store.read_table(part)
    store.write_table("bands.parquet", rows, tables.BANDS)


def _asked(asked: Run, pair: Pair, findings: Sequence[Mapping[str, Any]], among: np.ndarray) -> list[dict[str, Any]]:
    if not findings:
        return []
    stored = [asked.store.read_arrays(row["file"]) for row in findings]
    sources, follow_ups = inputs(stored)
    seen = seen_of(pair, stored)
    classes = [np.array([row[f"{side}_class"] for row in findings]) for side in ("reference", "quantised")]
    part = shares(sources, follow_ups, among)
    rows = []
    with asked.screen.stage(f"bands   {pair.name}", total=len(among)) as stage:
        for number, group in enumerate(among):
            stage.to(number)
            outcomes, said = {}, {}
            for kind, x in (
                ("undone", undone(sources, follow_ups, group)),
                ("alone", undone(follow_ups, sources, group)),
            ):
                found = replace(
                    seen,
                    reference=predicted(pair.reference, x, asked.pool),
                    quantised=predicted(pair.quantised, x, asked.pool),
                )
                outcomes[kind], said[kind] = judge(found), found.quantised
            back = restored(seen.quantised_source, seen.quantised, said["undone"], *classes)
            rows += [
                {
                    "pair": pair.name,
                    "finding": row["finding"],
                    "group": number,
                    "first": int(group[0]),
                    "last": int(group[1]),
                    "share": float(part[i, number]),
                    "restored": float(back[i]),
                    **{kind: Outcome(which[i]).name for kind, which in outcomes.items()},
                }
                for i, row in enumerate(findings)
            ]
    return sorted(rows, key=lambda row: (row["finding"], row["group"]))

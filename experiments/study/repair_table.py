"""The table of every repair that was tried in the runs of a study, and what each quantisation's repairs mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from diverget.repair import METHODS, created, removed
from experiments.record import Row, Run

REPAIRS = pa.schema(
    [
        *[(name, pa.string()) for name in ("run", "reference", "quantised", "method", "chosen")],
        ("recommended", pa.bool_()),
        *[(name, pa.int64()) for name in ("findings", "mended", "created", "removed")],
        *[(name, pa.int64()) for name in ("searched", "revealed_before", "revealed")],
        *[(name, pa.float64()) for name in ("accuracy_before", "accuracy", "agreement_before", "agreement")],
    ]
)
"""One row a pair and repair: counts of held-out findings, of deviations on clean patches and random draws, of patches
of a fresh search; shares of clean patches."""


def repairs(name: str, run: Run) -> Iterator[dict[str, Any]]:
    """The rows of `REPAIRS` of one run, called `name` in its study."""
    pairs = {pair["pair"]: pair for pair in run.tested()}
    for row in run.repaired:
        pair = pairs.get(row["pair"])
        if pair is not None:
            told = {key: row[key] for key in REPAIRS.names if key in row}
            same = {"run": name, "reference": pair["reference"], "quantised": pair["quantised"]}
            yield {**told, **same, "created": created(row), "removed": removed(row)}


def by_method(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What each method did over all pairs it was tried on, sums of counts."""
    found = []
    for method in METHODS:
        mine = [row for row in rows if row["method"] == method.name]
        if mine:
            names = ("findings", "mended", "created", "removed", "searched", "revealed_before", "revealed")
            sums = {name: sum(row[name] for row in mine) for name in names}
            best = max(row["mended"] / max(1, row["findings"]) for row in mine)
            found.append(
                {
                    "method": method.name,
                    "pairs": len(mine),
                    "recommended": sum(row["recommended"] for row in mine),
                    "share": sums["mended"] / max(1, sums["findings"]),
                    "best": best,
                    **sums,
                }
            )
    return found

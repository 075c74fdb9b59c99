"""The numbers of a sweep: a row a cell and pair, ranked within one tier and its limits, repeats over seeds together."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from diverget.store import Store
from experiments.config.criteria import state
from experiments.config.methods import RungConfig
from experiments.gate import metrics
from experiments.record import Row, read
from experiments.record.contents import damage
from experiments.record.reading import read_json
from experiments.sweep import DAMAGED, ELSEWHERE, worded
from relations import TIERS

METRICS = (
    ("agreement", pa.float64()),
    ("accuracy_drop", pa.float64()),
    *((f"revealed_rate.{tier}{end}", pa.float64()) for tier in TIERS for end in ("", ".lower", ".upper")),
    ("findings", pa.int64()),
    ("minimal_severity", pa.float64()),
    ("control_passed", pa.bool_()),
    ("criteria_met", pa.bool_()),
    ("criteria_missed", pa.string()),
)
"""The columns of cells.csv after the cell, what it has of each swept key, the pair and its rung: each metric means what
it means in `criteria`, and null is what was not measured."""

NOTHING: Row = MappingProxyType({"pair": None, "rung": None, **{name: None for name, _ in METRICS}})
"""What a row has of a cell without numbers."""

MOST_ROWS, FEWEST_ROWS = 300, 10
"""Rows of all leaderboards together, and of one that is shown: who needs more sorts cells.csv (engineering
judgement)."""


def rows_of(told: Row, place: Path, damaged: dict[str, str]) -> list[dict[str, Any]]:
    """One row a cell and pair under test, in the order of the sweep; of a cell without pairs one row without numbers.

    Args:
        damaged: the cells of which a file cannot be read, with what to do; receives those in which one is found. They
            have no numbers; see `blanked`.
    """
    found = []
    for cell in told["cells"]:
        store, name = Store(Store(place).beside(cell["directory"])), cell["name"]
        # What another process holds is told when that is done: until then it may be judged by other criteria.
        pairs: Sequence[Row] = []
        if store.has("summary.json") and cell["state"] != ELSEWHERE and name not in damaged:
            try:
                pairs = _pairs(store)
            except (ValueError, OSError) as error:
                damaged[name] = str(damage(error, store))
        same = {
            "cell": name,
            "directory": cell["directory"],
            "state": cell["state"],
            "message": cell["message"],
            "values": {key: worded(key, cell["values"][key]) for key in told["keys"] if key in cell["values"]},
            "raw": cell["values"],
            "repeats": 1,
        }
        found += [{**same, **pair} for pair in pairs or [NOTHING]]
    return found


def blanked(rows: Sequence[Row], damaged: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of `rows_of`, with one row without numbers in place of all those of a damaged cell."""
    found: list[dict[str, Any]] = []
    told: set[str] = set()
    for row in rows:
        name = row["cell"]
        if name not in damaged:
            found.append(dict(row))
        elif name not in told:
            told.add(name)
            found.append({**row, **NOTHING, "state": DAMAGED, "message": damaged[name]})
    return found


def _pairs(store: Store) -> list[dict[str, Any]]:
    summary, manifest = read_json(store, "summary.json"), read_json(store, "manifest.json")
    config = manifest["config"]
    rows = []
    for pair, measured in _measured(store, summary).items():
        stated = [each for each in summary["criteria"] if each["pair"] == pair and each.get("level", "fail") == "fail"]
        missed = [each["criterion"] for each in stated if state(each) == "fail"]
        rows.append(
            {
                "pair": pair,
                "rung": RungConfig(tier=config["tier"], limits=config["limits"]).name,
                **{name: measured.get(name) for name, _ in METRICS},
                "control_passed": summary.get("control_passed") if config["control"] else None,
                "criteria_met": not missed if stated else None,
                "criteria_missed": "; ".join(missed) or None,
            }
        )
    return rows


def _measured(store: Store, summary: Row) -> Mapping[str, Mapping[str, Any]]:
    """The metrics of each pair under test, as the gate left them; counted anew of a run that kept none."""
    kept: Mapping[str, Mapping[str, Any]] | None = summary.get("metrics")
    if kept is not None:
        return kept
    run = read(store.root)
    return {pair["pair"]: metrics(run, pair["pair"]) for pair in run.tested()}


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows from the pair that parts least to the one that parts most; those without numbers come last.

    Met criteria come before missed ones; then the lower in-spec rate, its lower upper end, the higher severity of the
    mildest finding.
    """
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[Any, ...]:
    rate, upper = row["revealed_rate.in_spec"], row["revealed_rate.in_spec.upper"]
    return (
        row["pair"] is None,
        row["criteria_met"] is False,
        math.inf if rate is None else rate,
        math.inf if upper is None else upper,
        -(row["minimal_severity"] or 0.0),
        row["cell"],
    )


@dataclass(frozen=True)
class Board:
    """A leaderboard: the rows of one rung, ranked, as many as are shown, and how many there are.

    Rows of one setting that differ in seeds alone follow on a row of their medians, whose `repeats` says how many.

    Attributes:
        keys: the swept keys that the rung does not tell already, each a column.
    """

    rung: str
    rows: Sequence[Row]
    whole: int
    keys: Sequence[str] = ()


def boards(rows: Sequence[Row], keys: Sequence[str]) -> list[Board]:
    """The rows with numbers, a board a rung, in the order of the sweep: limits and tiers decide what can be found.

    Boards beyond the room of `MOST_ROWS` are left without rows.
    """
    by_rung: dict[str, list[Row]] = {}
    for row in rows:
        if row["pair"] is not None:
            by_rung.setdefault(row["rung"], []).append(row)
    each = max(FEWEST_ROWS, MOST_ROWS // max(len(by_rung), 1))
    found = []
    for number, (rung, mine) in enumerate(by_rung.items()):
        order = _in_order(mine, keys)
        room = each if (number + 1) * each <= MOST_ROWS else 0
        found.append(Board(rung, order[:room], len(order), [key for key in keys if not _in_rung(key)]))
    return found


def _in_rung(key: str) -> bool:
    """Whether the name of a rung says what a cell has of a swept key."""
    return key.split(".")[0] in ("tier", "limits")


def is_seed(key: str) -> bool:
    """Whether cells that differ in a swept key alone are repeats of one setting."""
    return key.split(".")[-1] == "seed"


def _in_order(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """The rows ranked, those of one setting together behind their medians."""
    settings: dict[str, list[Row]] = {}
    fixed = [key for key in keys if not is_seed(key)]
    for row in rows:
        setting = json.dumps([row["pair"], {key: row["raw"].get(key) for key in fixed}], sort_keys=True)
        settings.setdefault(setting, []).append(row)
    groups = [[median_of(group, fixed), *ranked(group)] if len(group) > 1 else group for group in settings.values()]
    return [row for group in sorted(groups, key=lambda group: _rank(group[0])) for row in group]


def median_of(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, Any]:
    """One row for repeats: the medians of what was measured, those of both ends of each rate's interval among them.

    Args:
        keys: what the repeats share.
    """
    first = rows[0]
    found = {**first, "repeats": len(rows), "values": {k: v for k, v in first["values"].items() if k in keys}}
    rates = [f"revealed_rate.{tier}{end}" for tier in TIERS for end in ("", ".lower", ".upper")]
    for name in ("agreement", "accuracy_drop", "findings", "minimal_severity", *rates):
        measured = [row[name] for row in rows if row[name] is not None]
        found[name] = float(np.median(measured)) if measured else None
    missed = sum(row["criteria_met"] is False for row in rows)
    stated = any(row["criteria_met"] is not None for row in rows)
    found |= {"criteria_met": not missed if stated else None, "criteria_missed": f"{missed} of {len(rows)} miss some"}
    return found


def table(rows: Sequence[Row], keys: Sequence[str]) -> pa.Table:
    """The rows as cells.csv has them."""
    words = ("cell", "directory", "state", "pair", "rung")
    schema = pa.schema(
        [
            *[(name, pa.string()) for name in words[:3]],
            *[(key, pa.string()) for key in keys],
            *[(name, pa.string()) for name in words[3:]],
            *METRICS,
            ("message", pa.string()),
        ]
    )
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in (*words, "message")}
    columns |= {key: [row["values"].get(key) for row in rows] for key in keys}
    columns |= {name: [row[name] for row in rows] for name, _ in METRICS}
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)

"""The page of a sweep and its numbers as a table, a pure function of `sweep.json` and the run directories beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from diverget.store import Store, appearing
from experiments.contents import check
from experiments.figures import SERIES, chart
from experiments.methods import RungConfig
from experiments.page import Alert, Plot
from experiments.record import EVERYTHING, Row
from experiments.sweep import COMPLETE, ELSEWHERE, FAILED, worded
from experiments.wording import cut, plural
from relations import TIERS

SWEEP = {
    "schema": int,
    "name": str,
    "keys": [str],
    "cells": [
        {
            **dict.fromkeys(("name", "directory", "digest", "state", "message"), str),
            "also": [str],
            "values": {...: None},
        }
    ],
}
"""What `sweep.json` must hold."""

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
"""The columns of cells.csv after the cell, what it has of each swept key, and the pair: each metric means what it means
in `criteria`, and null is what was not measured."""

MOST_PLOTS, MOST_PAIRS = 6, 6
"""Figures of a page, and pairs in one: more say less (engineering judgement)."""

PANEL_HEIGHT = 236


def rows_of(told: Row, place: Path) -> list[dict[str, Any]]:
    """One row a cell and pair under test, in the order of the sweep; of a cell without pairs one row without numbers.

    Raises:
        ValueError: a file of a run is damaged.
    """
    found = []
    for cell in told["cells"]:
        run = Store(place).beside(cell["directory"])
        same = {
            "cell": cell["name"],
            "directory": cell["directory"],
            "state": cell["state"],
            "message": cell["message"],
            "values": {key: worded(key, cell["values"][key]) for key in told["keys"] if key in cell["values"]},
            "raw": cell["values"],
        }
        store = Store(run)
        whole = store.has("card.json") and store.has("summary.json")
        pairs = _pairs(store) if whole else []
        found += [same | pair for pair in pairs or [{"pair": None, **{name: None for name, _ in METRICS}}]]
    return found


def _pairs(store: Store) -> list[dict[str, Any]]:
    card, config = store.read_json("card.json"), store.read_json("manifest.json")["config"]
    rung = RungConfig(tier=config["tier"], limits=config["limits"]).name
    findings = store.read_table("findings.parquet") if store.has("findings.parquet") else []
    rows = []
    for pair in card["pairs"]:
        if pair["control"]:
            continue
        name, base = pair["pair"], pair["baseline"] or {}
        mine = [row for row in findings if row["pair"] == name and row["rung"] == rung and row["confirmed"]]
        right, kept = base.get("accuracy_reference"), base.get("accuracy_quantised")
        stated = [each for each in card["criteria"] if each["pair"] == name and each.get("level", "fail") == "fail"]
        missed = [each["criterion"] for each in stated if not each["met"]]
        rates: dict[str, float | None] = {}
        for tier in TIERS:
            rate = pair["rates"][tier].get(EVERYTHING) or {"enough": False}
            for end, key in (("", "revealed_rate"), (".lower", "revealed_lower"), (".upper", "revealed_upper")):
                rates[f"revealed_rate.{tier}{end}"] = rate[key] if rate["enough"] else None
        rows.append(
            {
                "pair": name,
                "agreement": base.get("agreement"),
                "accuracy_drop": None if right is None or kept is None else right - kept,
                **rates,
                "findings": len(mine),
                "minimal_severity": min((row["severity"] for row in mine), default=1.0),
                "control_passed": card["control"]["passed"],
                "criteria_met": not missed if stated else None,
                "criteria_missed": "; ".join(missed) or None,
            }
        )
    return rows


def ranked(rows: Sequence[Row]) -> list[Row]:
    """The rows from the pair that parts least to the one that parts most; those without numbers come last.

    Met criteria come before missed ones; then the lower in-spec rate, its lower upper end, the higher severity of the
    mildest finding.
    """

    def key(row: Row) -> tuple[Any, ...]:
        rate, upper = row["revealed_rate.in_spec"], row["revealed_rate.in_spec.upper"]
        return (
            row["pair"] is None,
            row["criteria_met"] is False,
            math.inf if rate is None else rate,
            math.inf if upper is None else upper,
            -(row["minimal_severity"] or 0.0),
            row["cell"],
        )

    return sorted(rows, key=key)


def table(rows: Sequence[Row], keys: Sequence[str]) -> pa.Table:
    """The rows as cells.csv has them."""
    words = ("cell", "directory", "state", "pair")
    schema = pa.schema(
        [
            *[(name, pa.string()) for name in words[:3]],
            *[(key, pa.string()) for key in keys],
            ("pair", pa.string()),
            *METRICS,
            ("message", pa.string()),
        ]
    )
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in (*words, "message")}
    columns |= {key: [row["values"].get(key) for row in rows] for key in keys}
    columns |= {name: [row[name] for row in rows] for name, _ in METRICS}
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def plots(rows: Sequence[Row], keys: Sequence[str]) -> list[Plot]:
    """A figure for every swept number: the rate of each cell against it."""
    known = [row for row in rows if row["revealed_rate.in_spec"] is not None]
    pairs = list(dict.fromkeys(row["pair"] for row in known))[:MOST_PAIRS]
    drawn: list[Plot] = []
    for key in keys:
        at = [_on_axis(row["raw"].get(key)) for row in known]
        # A seed is a number, but no cell has more of it than another.
        if key.split(".")[-1] == "seed" or None in at or len(set(at)) < 2:
            continue
        name = f"axis-{len(drawn)}"
        drawn.append(
            Plot(
                f"Rate against {key}",
                _against(known, np.array(at, dtype=np.float64), pairs, key=key, name=name),
                "Each dot is a cell, with the 95 % interval of its in-spec REVEALED rate; the line joins the medians "
                "of the cells at one value, whatever else they differ in.",
            )
        )
    return drawn[:MOST_PLOTS]


def _on_axis(value: Any) -> float | None:
    """Where a swept value stands on an axis: a number where it is, bounds at their upper end, all else nowhere."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, (int, float)) for end in value):
        return float(value[1])
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _against(rows: Sequence[Row], at: np.ndarray, pairs: Sequence[str], *, key: str, name: str) -> Markup:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for number, pair in enumerate(pairs):
            mine = np.array([row["pair"] == pair for row in rows])
            if not mine.any():
                continue
            colour, x = SERIES[number], at[mine]
            rate, lower, upper = (
                np.array([row[f"revealed_rate.in_spec{end}"] for row in rows], dtype=np.float64)[mine]
                for end in ("", ".lower", ".upper")
            )
            places = np.unique(x)
            axes.vlines(x, lower, upper, color=colour, lw=1, alpha=0.3)
            axes.plot(x, rate, "o", color=colour, ms=4, alpha=0.6)
            axes.plot(places, [np.median(rate[x == place]) for place in places], color=colour, label=cut(pair, 30))
        axes.set_xlabel(f"{key}, upper end" if isinstance(rows[0]["raw"][key], list) else key)
        axes.set_ylabel("REVEALED, in spec")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        if len(pairs) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2)

    words = f"In-spec REVEALED rate of {plural(len(rows), 'cell and pair', 'cells and pairs')} against {key}."
    return chart(draw, name=name, label=words, height=PANEL_HEIGHT)


def alerts(told: Row, rows: Sequence[Row]) -> list[Alert]:
    """Cells that failed or are not complete, and controls that failed."""
    states = [cell["state"] for cell in told["cells"]]
    failed, held = states.count(FAILED), states.count(ELSEWHERE)
    bad = dict.fromkeys(row["cell"] for row in rows if row["control_passed"] is False)
    found = []
    if bad:
        found.append(Alert("bad", f"The control failed in {plural(len(bad), 'cell')} ({', '.join(bad)})."))
    if failed:
        found.append(Alert("bad", f"{plural(failed, 'cell')} failed; the last table says why."))
    if held:
        found.append(Alert("warn", f"{plural(held, 'cell')} {ELSEWHERE}; start the same command again after that."))
    open_cells = len(states) - states.count(COMPLETE) - failed - held
    if open_cells:
        found.append(Alert("warn", f"{plural(open_cells, 'cell')} not complete; start the same command again."))
    return found


def render_sweep(place: Path) -> None:
    """Write `report.html` and `cells.csv` into the sweep's folder.

    Raises:
        FileNotFoundError: `place` has no sweep.json.
        ValueError: a file of the sweep or of a run is damaged.
    """
    from experiments.report import environment

    store = Store(Path(place))
    if not store.has("sweep.json"):
        raise FileNotFoundError(
            f"Expected sweep.json in {place}, got none; start the sweep with `diverget sweep FILE`."
        )
    told: Mapping[str, Any] = store.read_json("sweep.json")
    check(told, SWEEP, file=store.path("sweep.json"))
    rows = rows_of(told, store.root)
    with appearing(store.path("cells.csv")) as temporary:
        pyarrow.csv.write_csv(table(rows, told["keys"]), temporary)
    order = ranked(rows)
    page = (
        environment()
        .get_template("sweep.html")
        .render(
            name=told["name"],
            version=_version(told, store.root),
            keys=told["keys"],
            cells=told["cells"],
            alerts=alerts(told, rows),
            rows=[row for row in order if row["pair"] is not None],
            criteria=any(row["criteria_met"] is not None for row in rows),
            plots=plots(rows, told["keys"]),
            shown={cell["name"]: {key: worded(key, v) for key, v in cell["values"].items()} for cell in told["cells"]},
        )
    )
    with appearing(store.path("report.html")) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _version(told: Mapping[str, Any], place: Path) -> str:
    for cell in told["cells"]:
        run = Store(Store(place).beside(cell["directory"]))
        if run.has("manifest.json"):
            return str(run.read_json("manifest.json")["versions"]["diverget"])
    return ""

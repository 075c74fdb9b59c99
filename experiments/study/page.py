"""The page of a study and its numbers as tables, a pure function of `study.json` and the run directories beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from diverget.store import Store, appearing
from experiments.charts import arms as arm_figures
from experiments.record import Row, Run, read, spoken
from experiments.record.contents import check
from experiments.record.reading import telling_damage
from experiments.sections.arms import (
    failed,
    first_words,
    overview,
    parted,
    terms,
    told_controls,
    told_pairs,
    ways,
    why_empty,
)
from experiments.sections.page import Alert
from experiments.statistics.derived import WORDS, Derived, derived, ours
from experiments.statistics.trials import RANDOM, Cell, Trial, cells, summary
from experiments.study.models_table import MODELS, accuracies, models
from experiments.study.repair_table import REPAIRS, by_method, repairs
from experiments.wording import number

GROUPS = {"scene": "the hyperspectral pairs", "images": "the image pairs"}
"""By the kind of a run's data, what the pairs of all such runs are called together."""

STUDY = {
    "schema": int,
    "name": str,
    "bars": {...: (int, float)},
    "runs": [{"name": str, "directory": str, "digest": str}],
}
"""What `study.json` must hold."""

COMPARISON = pa.schema(
    [
        *[(name, pa.string()) for name in ("run", "pair", "rung")],
        ("control", pa.bool_()),
        ("arm", pa.string()),
        ("budget", pa.int64()),
        ("quantity", pa.string()),
        *[(name, pa.float64()) for name in ("at", "value", "lower", "upper")],
    ]
)
"""One row a number of the page. `run` is a group's name and `pair` null for averages; `at` is the place on a curve; inf
is beyond what was looked for."""


@dataclass(frozen=True)
class Studied:
    """One run of a study: `run` is None where nothing of it lies on the disk, or where it is damaged, which is told."""

    name: str
    directory: str
    run: Run | None
    cells: Sequence[Cell]
    damaged: str = ""

    @property
    def tested(self) -> list[tuple[str, Cell]]:
        """What each pair under test is called in the study, and its cells."""
        if self.run is None:
            return []
        names = {pair["pair"]: f"{self.name}: {spoken(pair)}" for pair in self.run.tested()}
        return [(names[cell.pair], cell) for cell in self.cells if cell.pair in names]

    @property
    def group(self) -> str | None:
        return GROUPS.get(self.run.data["kind"]) if self.run is not None and self.run.data else None


def gathered(place: Path) -> tuple[Row, list[Studied]]:
    """What `study.json` says, and the runs it names as far as they are there and whole.

    Raises:
        FileNotFoundError: there is no study.json.
        ValueError: that is damaged.
    """
    store = Store(place)
    if not store.has("study.json"):
        raise FileNotFoundError(
            f"Expected study.json in {place}, got none; start the study with `diverget study FILE`."
        )
    told = store.read_json("study.json")
    check(told, STUDY, file=store.path("study.json"))
    runs = []
    for entry in told["runs"]:
        folder = store.beside(entry["directory"])
        try:
            run, found = _read(folder)
            runs.append(Studied(entry["name"], entry["directory"], run, found))
        except (ValueError, OSError) as error:
            runs.append(Studied(entry["name"], entry["directory"], None, (), damaged=str(error)))
    return told, runs


def _read(folder: Path) -> tuple[Run | None, Sequence[Cell]]:
    """A run and its cells; None where nothing of it lies in `folder`.

    Raises:
        ValueError, OSError: a file of it is damaged.
    """
    if not any(not path.name.startswith(".") for path in folder.glob("*")):
        return None, ()
    run = read(folder)
    with telling_damage(Store(folder)):
        return run, cells(run.patchwise, run.patchwise_times)


def grouped(runs: Sequence[Studied]) -> dict[str, list[Cell]]:
    """The cells under test of each group that has some; where nothing was inside the limits, nothing follows."""
    found: dict[str, list[Cell]] = {}
    for studied in runs:
        kept = [cell for _, cell in studied.tested if cell.any_inside]
        if studied.group is not None and kept:
            found.setdefault(studied.group, []).extend(kept)
    return found


def controls(runs: Sequence[Studied], group: str) -> list[Cell]:
    """The cells of the group's models against themselves."""
    return [cell for studied in runs if studied.group == group for cell in studied.cells if cell.control]


def averages(found: Sequence[Cell]) -> list[dict[str, Any]]:
    """Each arm over all cells of a group, every cell with the same weight, within equal queries."""
    arms = dict.fromkeys(t.arm for cell in found for t in cell.trials)
    rows = []
    for arm in arms:
        kept = [(cell, trial) for cell in found if (trial := cell.arm(arm))]
        equal = [summary(trial.within(cell.budget)) for cell, trial in kept]
        whole = [summary(trial) for _, trial in kept]
        names = ("apart_share", "revealed_share", "apart_mean", "revealed_mean")
        known = [row["seconds"] for row in whole if row["seconds"] is not None]
        rows.append(
            {
                "arm": arm,
                "is_random": arm == RANDOM,
                "cells": len(kept),
                **{name: float(np.mean([row[name] for row in equal])) for name in names},
                "invalid": _mean([row["invalid"] for row in whole]),
                "seconds": float(np.sum(known)) if known else None,
            }
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def reached(value: Derived, bar: float | None) -> bool | None:
    """Whether a derived number reaches its bar; None without a bar or a number."""
    if bar is None or value.value is None:
        return None
    return value.value >= bar if value.more else value.value <= bar


def compared(found: Sequence[Cell]) -> list[str]:
    """The arms whose derived numbers are shown: those that move through natural distortions, random last."""
    return [*ours(found), *([RANDOM] if any(cell.arm(RANDOM) for cell in found) else [])]


def control_row(found: Sequence[Cell]) -> dict[str, Any] | None:
    """The arm that parted models from themselves most, averaged over the cells of controls; None without one."""
    rows = averages(found)
    return max(rows, key=lambda row: (row["apart_share"], row["revealed_share"])) if rows else None


def derived_table(
    found: Sequence[Cell], bars: Mapping[str, float], against_themselves: Sequence[Cell] = ()
) -> dict[str, Any]:
    """The derived numbers of each natural arm and of random over some cells, a row a number, with its bar, and what
    came of the arms in the cells of models `against_themselves`."""
    arms = compared(found)
    by_arm = {arm: {d.name: d for d in derived(found, arm)} for arm in arms}
    rows = []
    for name, (words, more) in WORDS.items():
        told = []
        for arm in arms:
            one = by_arm[arm][name]
            value = "no finding of the rival" if one.value is not None and math.isinf(one.value) else number(one.value)
            partly = f"in {one.of} of {len(found)}" if 0 < one.of < len(found) else ""
            if one.missed:
                partly = f"{partly} {one.missed} medians of random not reached".strip()
            told.append({"value": value, "met": reached(one, bars.get(name)), "partly": partly})
        bar = f"{'≥' if more else '≤'} {number(bars[name])}" if name in bars else ""
        rows.append({"words": words, "bar": bar, "values": told})
    return {"arms": arms, "rows": rows, "control": {arm: parted(against_themselves, [arm]) for arm in arms}}


def alerts(runs: Sequence[Studied]) -> list[Alert]:
    """Runs that are damaged, missing, incomplete or empty, and controls that failed; the gravest first."""
    found = []
    for studied in runs:
        if studied.damaged:
            found.append(Alert("bad", f"{studied.name} is damaged, and in no number of this page. {studied.damaged}"))
            continue
        if studied.run is None:
            found.append(Alert("warn", f"{studied.name} has not begun; it is in no number of this page."))
            continue
        parted = failed(studied.cells)
        if parted:
            found.append(Alert("bad", f"{studied.name}: {parted.text}"))
        if studied.run.manifest["config"].get("patchwise") is None:
            if not studied.run.complete:
                found.append(Alert("warn", f"{studied.name} is incomplete; start the same command again."))
        elif not studied.tested:
            found.append(Alert("warn", f"{studied.name} is in no number of this page. {why_empty(studied.run)}"))
        elif not studied.run.complete:
            found.append(Alert("note", f"{studied.name} is incomplete, but its per-patch search is whole."))
        for name, cell in studied.tested:
            if not cell.any_inside:
                text = f"{name}, {cell.rung}: no follow-up of any arm was inside the limits; it is in no average."
                found.append(Alert("note", text))
    return sorted(found, key=lambda alert: ("bad", "warn", "note").index(alert.level))


def numbers(runs: Sequence[Studied]) -> Iterator[Row]:
    """Everything that the page shows, as rows of `COMPARISON`."""
    for studied in runs:
        for cell in studied.cells:
            place = {"run": studied.name, "pair": cell.pair, "rung": cell.rung, "control": cell.control}
            for trial in cell.trials:
                parts = [trial] if trial.budget == cell.budget else [trial.within(cell.budget), trial]
                for part in parts:
                    yield from _rows({**place, "arm": part.arm, "budget": part.budget}, summary(part))
            for against in cell.tested.values():
                told = {f"{what}_{against.measure}": getattr(against, what) for what in ("a12", "p", "adjusted")}
                yield from _rows({**place, "arm": against.arm, "budget": cell.budget}, told)
            yield from _curves(place, cell)
    for group, found in grouped(runs).items():
        place = {"run": group, "pair": None, "rung": None, "control": False}
        for row in averages(found):
            told = {name: value for name, value in row.items() if name not in ("arm", "is_random")}
            yield from _rows({**place, "arm": row["arm"], "budget": None}, told)
        for arm in compared(found):
            told = {one.name: one.value for one in derived(found, arm)}
            yield from _rows({**place, "arm": arm, "budget": None}, told)


def _rows(place: Row, told: Row) -> Iterator[Row]:
    for name, value in told.items():
        if value is not None and not math.isnan(value):
            yield {**place, "quantity": name, "at": None, "value": float(value), "lower": None, "upper": None}


def _curves(place: Row, cell: Cell) -> Iterator[Row]:
    if cell.control:
        return
    look = arm_figures.looks(cell.trials)
    drawn: list[tuple[str, list[arm_figures.Line]]] = [
        ("curve_revealed", arm_figures.success_lines(cell, "revealed", look)),
        ("curve_apart", arm_figures.success_lines(cell, "apart", look)),
        ("curve_severity", arm_figures.severity_lines(cell, look)),
        ("curve_front", arm_figures.front_lines(cell, look)),
    ]
    for name, lines in drawn:
        for line in lines:
            whole = line.faint or name == "curve_front"
            trial: Trial | None = cell.arm(line.look.arm)
            assert trial is not None
            same = {**place, "arm": line.look.arm, "budget": trial.budget if whole else cell.budget, "quantity": name}
            lower = line.y if line.lower is None else line.lower
            upper = line.y if line.upper is None else line.upper
            for at, value, low, high in zip(line.x, line.y, lower, upper, strict=True):
                yield {**same, "at": float(at), "value": float(value), "lower": float(low), "upper": float(high)}


def render_study(place: Path) -> None:
    """Write the page of a study and its tables (`models`, `repairs`, `comparison`) into its folder.

    Raises:
        FileNotFoundError: `place` has no study.json.
        ValueError: that is damaged.
    """
    from experiments.report import environment

    place = Path(place)
    told, runs = gathered(place)
    found = grouped(runs)
    look = arm_figures.looks([t for studied in runs for cell in studied.cells for t in cell.trials])
    named = [each for studied in runs for each in studied.tested]
    table = pa.Table.from_pylist(list(numbers(runs)), schema=COMPARISON)
    with appearing(place / "comparison.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    with appearing(place / "comparison.csv") as temporary:
        pyarrow.csv.write_csv(table, temporary)
    rows = [row for studied in runs if studied.run is not None for row in models(studied.name, studied.run)]
    with appearing(place / "models.csv") as temporary:
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows, schema=MODELS), temporary)
    mended = [row for studied in runs if studied.run is not None for row in repairs(studied.name, studied.run)]
    with appearing(place / "repairs.csv") as temporary:
        pyarrow.csv.write_csv(pa.Table.from_pylist(mended, schema=REPAIRS), temporary)
    page = (
        environment()
        .get_template("study.html")
        .render(
            name=told["name"],
            version=next((s.run.manifest["versions"]["diverget"] for s in runs if s.run is not None), ""),
            alerts=alerts(runs),
            first=first_words(named) if named else "",
            models=rows,
            accuracies=accuracies(rows),
            repairs=mended,
            methods=by_method(mended),
            groups=[
                {
                    "name": group,
                    "cells": len(mine),
                    "rows": averages(mine),
                    "control": told_controls(controls(runs, group)),
                    "control_row": control_row(controls(runs, group)),
                    "derived": derived_table(mine, told["bars"], controls(runs, group)),
                }
                for group, mine in found.items()
            ],
            overview=overview(named, [cell for studied in runs for cell in studied.cells if cell.control]),
            looks=list(look.values()),
            runs=[_told_run(studied, look, number=i) for i, studied in enumerate(runs)],
        )
    )
    with appearing(place / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def _told_run(studied: Studied, look: dict[str, arm_figures.Look], *, number: int) -> dict[str, Any]:
    run = studied.run
    same = {"name": studied.name, "directory": studied.directory, "anchor": f"run-{number}"}
    if run is None:
        return {
            **same,
            "data": "",
            "state": "damaged" if studied.damaged else "not begun",
            "terms": "",
            "ways": "",
            "pairs": [],
        }
    config = run.manifest["config"].get("patchwise")
    return {
        **same,
        "data": run.data["name"] if run.data else "",
        "state": "complete" if run.complete else "incomplete",
        "terms": terms(config) if config else "",
        "ways": ways(run.manifest["config"]),
        "pairs": told_pairs(run, studied.cells, look, anchor=str(same["anchor"])),
    }

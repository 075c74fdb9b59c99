"""The page of a sweep and its numbers as a table, a pure function of `sweep.json` and the run directories beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from diverget.randomness import Purpose, generator
from diverget.randomness import key as key_of
from diverget.store import Store, appearing
from experiments.charts.figures import SERIES, chart
from experiments.record import EVERYTHING, FEWEST_BLOCKS, FEWEST_DRAWS, Row
from experiments.record.contents import check
from experiments.sections.page import Alert, Plot
from experiments.statistics.comparison import LEVEL
from experiments.sweep import COMPLETE, DAMAGED, ELSEWHERE, FAILED, worded
from experiments.sweep.pairs import MOST_COUPLES, paired
from experiments.sweep.pairs import table as paired_table
from experiments.sweep.rows import blanked, boards, is_seed, rows_of, table
from experiments.wording import count, cut, listed, plural

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

MOST_PLOTS, MOST_PAIRS = 6, 6
"""Figures of a page, and pairs in one: more say less (engineering judgement)."""

MOST_PAIRED, MOST_CELLS, MOST_WORDS = 200, 400, 400
"""Rows of the paired tests and of the cells on the page, and characters of a message: a page of a thousand cells must
open at once (engineering judgement)."""

MOST_DOTS, MOST_PLACES = 1000, 60
"""Dots of a figure, and values of a key whose cells are joined by their medians: more are a cloud, and no page for a
browser (engineering judgement)."""

PANEL_HEIGHT = 236


def plots(rows: Sequence[Row], keys: Sequence[str]) -> list[Plot]:
    """A figure for every swept number: the rate of each cell against it."""
    known = [row for row in rows if row["revealed_rate.in_spec"] is not None]
    pairs = list(dict.fromkeys(row["pair"] for row in known))[:MOST_PAIRS]
    drawn: list[Plot] = []
    for key in keys:
        at = [_on_axis(row["raw"].get(key)) for row in known]
        # A seed is a number, but no cell has more of it than another.
        if is_seed(key) or None in at or len(set(at)) < 2:
            continue
        name = f"axis-{len(drawn)}"
        drawn.append(
            Plot(
                f"Rate against {key}",
                _against(known, np.array(at, dtype=np.float64), pairs, key=key, name=name),
                _reading(len(known), len(set(at))),
            )
        )
        if len(drawn) == MOST_PLOTS:
            break
    return drawn


def _reading(rows: int, places: int) -> str:
    line = "; the line joins the medians of the cells at one value, whatever else they differ in"
    some = f" Drawn are {count(MOST_DOTS)} of {count(rows)} cells and pairs, by chance." if rows > MOST_DOTS else ""
    return (
        "Each dot is a cell, with the 95 % interval of its in-spec REVEALED rate"
        f"{line if places <= MOST_PLACES else ''}.{some}"
    )


def _on_axis(value: Any) -> float | None:
    """Where a swept value stands on an axis: a number where it is, bounds at their upper end, all else nowhere."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(end, (int, float)) for end in value):
        return float(value[1])
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _against(rows: Sequence[Row], at: np.ndarray, pairs: Sequence[str], *, key: str, name: str) -> Markup:
    dots = generator(0, Purpose.BOOTSTRAP, key_of("dots")).permutation(len(rows)) < MOST_DOTS

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
            places, told = np.unique(x), dots[mine]
            axes.vlines(x[told], lower[told], upper[told], color=colour, lw=1, alpha=0.3)
            line = len(places) <= MOST_PLACES
            axes.plot(x[told], rate[told], "o", color=colour, ms=4, alpha=0.6, label=None if line else cut(pair, 30))
            if line:
                medians = [np.median(rate[x == place]) for place in places]
                axes.plot(places, medians, color=colour, label=cut(pair, 30))
        axes.set_xlabel(f"{key}, upper end" if isinstance(rows[0]["raw"][key], list) else key)
        axes.set_ylabel("REVEALED, in spec")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        if len(pairs) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2)

    words = f"In-spec REVEALED rate of {plural(len(rows), 'cell and pair', 'cells and pairs')} against {key}."
    return chart(draw, name=name, label=words, height=PANEL_HEIGHT)


def alerts(told: Row, rows: Sequence[Row]) -> list[Alert]:
    """Cells that failed, are damaged or not complete, and controls that failed."""
    states = [cell["state"] for cell in told["cells"]]
    failed, held, damaged = (states.count(state) for state in (FAILED, ELSEWHERE, DAMAGED))
    bad = dict.fromkeys(row["cell"] for row in rows if row["control_passed"] is False)
    found = []
    if bad:
        found.append(Alert("bad", f"The control failed in {plural(len(bad), 'cell')} ({listed(list(bad), most=12)})."))
    if failed:
        found.append(Alert("bad", f"{plural(failed, 'cell')} failed; the last table says why."))
    if damaged:
        words = f"{plural(damaged, 'cell')} damaged and without numbers here; the last table says what to do."
        found.append(Alert("bad", words))
    if held:
        found.append(Alert("warn", f"{plural(held, 'cell')} {ELSEWHERE}; start the same command again after that."))
    open_cells = len(states) - states.count(COMPLETE) - failed - held - damaged
    if open_cells:
        found.append(Alert("warn", f"{plural(open_cells, 'cell')} not complete; start the same command again."))
    return found


def page(told: Row, rows: Sequence[Row], beside: Sequence[Row], *, couples: int, version: str) -> str:
    """The page as HTML, its tables cut to what can be read.

    Args:
        rows: as `rows_of` gives them; beside, couples: as `paired` gives them.
    """
    from experiments.report import environment

    cells = _shown(told["cells"])
    template = environment().get_template("sweep.html")
    return template.render(
        name=told["name"],
        version=version,
        keys=told["keys"],
        seeds=[key for key in told["keys"] if is_seed(key)],
        whole=len(told["cells"]),
        cells=[{**cell, "message": cut(cell["message"], MOST_WORDS)} for cell in cells],
        alerts=alerts(told, rows),
        boards=boards(rows, told["keys"]),
        criteria=any(row["criteria_met"] is not None for row in rows),
        beside=beside[:MOST_PAIRED],
        compared=len(beside),
        couples=couples,
        most_couples=MOST_COUPLES,
        everything=EVERYTHING,
        level=LEVEL,
        fewest=(FEWEST_DRAWS, FEWEST_BLOCKS),
        plots=plots(rows, told["keys"]),
        shown={cell["name"]: {key: worded(key, v) for key, v in cell["values"].items()} for cell in cells},
    )


def _shown(cells: Sequence[Row]) -> list[Row]:
    """As many cells as are told, in their order; those that failed or are held before all others."""
    urgent = {cell["name"] for cell in [each for each in cells if each["message"]][:MOST_CELLS]}
    names = [cell["name"] for cell in cells if cell["name"] not in urgent]
    rest = set(names[: MOST_CELLS - len(urgent)])
    return [cell for cell in cells if cell["name"] in urgent or cell["name"] in rest]


def _write_csv(store: Store, name: str, content: pa.Table) -> None:
    with appearing(store.path(name)) as temporary:
        pyarrow.csv.write_csv(content, temporary)


def render_sweep(place: Path) -> dict[str, str]:
    """Write `report.html`, `cells.csv` and, where cells can be paired, `paired.csv` into the sweep's folder.

    Returns the cells of which a file cannot be read, by name, each with the file and what to do; the page tells them.

    Raises:
        FileNotFoundError: `place` has no sweep.json.
        ValueError: that is damaged.
    """
    store = Store(Path(place))
    if not store.has("sweep.json"):
        raise FileNotFoundError(
            f"Expected sweep.json in {place}, got none; start the sweep with `diverget sweep FILE`."
        )
    told: Mapping[str, Any] = store.read_json("sweep.json")
    check(told, SWEEP, file=store.path("sweep.json"))
    damaged = {cell["name"]: cell["message"] for cell in told["cells"] if cell["state"] == DAMAGED}
    rows = rows_of(told, store.root, damaged)
    # What is damaged must be known before: a cell without numbers has no weight in a correction for many tests.
    beside, couples = paired(told, store.root, damaged)
    rows = blanked(rows, damaged)
    told = {**told, "cells": [_as_found(cell, damaged) for cell in told["cells"]]}
    _write_csv(store, "cells.csv", table(rows, told["keys"]))
    if beside:
        _write_csv(store, "paired.csv", paired_table(beside))
    else:
        store.path("paired.csv").unlink(missing_ok=True)
    text = page(told, rows, beside, couples=couples, version=_version(told, store.root))
    with appearing(store.path("report.html")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return damaged


def _as_found(cell: Row, damaged: Mapping[str, str]) -> Row:
    """What `sweep.json` says of a cell, damaged where a file of it could not be read."""
    return {**cell, "state": DAMAGED, "message": damaged[cell["name"]]} if cell["name"] in damaged else cell


def _version(told: Mapping[str, Any], place: Path) -> str:
    """The version that made the first cell whose manifest can be read."""
    for cell in told["cells"]:
        run = Store(Store(place).beside(cell["directory"]))
        try:
            manifest = run.read_json("manifest.json")
            check(manifest, {"versions": {"diverget": str}}, file=run.path("manifest.json"))
        except (ValueError, OSError):
            continue
        return str(manifest["versions"]["diverget"])
    return ""

"""The page of a sweep: what is ranked against what, what is paired, and that it stays small."""

from __future__ import annotations

import csv
import json
import re
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverget.outcome import Outcome
from diverget.store import Store
from experiments.record import EVERYTHING
from experiments.sweep import Sweep, load_sweep
from experiments.sweep.page import MOST_CELLS, alerts, page, render_sweep
from experiments.sweep.pairs import paired
from experiments.sweep.rows import FEWEST_ROWS, METRICS, MOST_ROWS, Board, boards, rows_of
from experiments.sweep.run import note
from tests.experiments import fake_cells
from tests.experiments.small import CONFIG, write


def row(cell: str, rate: float | None, *, rung: str = "stress", **more: Any) -> dict[str, Any]:
    ends = {"": 0, ".lower": -0.1, ".upper": 0.1}
    rates = {f"revealed_rate.in_spec{end}": None if rate is None else rate + by for end, by in ends.items()}
    same = {"cell": cell, "pair": "a/int8", "rung": rung, "values": {}, "raw": {}, "repeats": 1, "directory": "x"}
    return {**{name: None for name, _ in METRICS}, **same, "state": "complete", "message": "", **rates, **more}


def shown(board: Board) -> list[tuple[str, int]]:
    return [(each["cell"], each["repeats"]) for each in board.rows]


def test_cells_are_ranked_within_one_rung() -> None:
    rows = [row("1", 0.3), row("2", 0.01, rung="in_spec, psnr 20"), row("3", 0.2), row("4", None, pair=None)]
    rows = [{**each, "raw": {"level": each["cell"]}} for each in rows]
    found = boards(rows, ("level",))
    assert [(board.rung, shown(board)) for board in found] == [
        ("stress", [("3", 1), ("1", 1)]),
        ("in_spec, psnr 20", [("2", 1)]),
    ]


def test_repeats_over_seeds_follow_on_their_medians() -> None:
    rates = {"a": [0.5, 0.1, 0.3], "b": [0.2, 0.25, 0.9]}
    rows = [
        row(f"{level}{seed}", rate, findings=seed, raw={"level": level, "seed": seed}, values={"level": level})
        for level, mine in rates.items()
        for seed, rate in enumerate(mine)
    ]
    (board,) = boards(rows, ("level", "seed"))
    assert shown(board) == [
        ("b0", 3), ("b0", 1), ("b1", 1), ("b2", 1), ("a0", 3), ("a1", 1), ("a2", 1), ("a0", 1),
    ]  # fmt: skip
    for median, mine in ((board.rows[0], rates["b"]), (board.rows[4], rates["a"])):
        assert median["revealed_rate.in_spec"] == statistics.median(mine)
        for end, by in ((".lower", -0.1), (".upper", 0.1)):
            assert median[f"revealed_rate.in_spec{end}"] == pytest.approx(statistics.median(mine) + by)
        assert median["findings"] == 1 and "seed" not in median["values"]


def test_a_page_of_a_thousand_cells_opens_at_once() -> None:
    rng = np.random.default_rng(0)
    rows, cells = [], []
    for number in range(1000):
        values = {"level": [0, float(rng.random())], "limits": {"psnr": number % 50}}
        message = "Expected room, got none. " * 100 if number == 999 else ""
        cell = {"name": f"{number:04d}", "also": [], "directory": f"tiny-{number:08x}", "digest": "0" * 64}
        cells.append({**cell, "values": values, "state": "failed" if message else "complete", "message": message})
        for pair in ("hybridsn/int8", "hybridsn/float16"):
            rows.append(
                row(f"{number:04d}", float(rng.random()), rung=f"stress, psnr {number % 50}", pair=pair, raw=values,
                    values={"level": "[0, 0.5]", "limits": "psnr 20"})
            )  # fmt: skip
    told = {"name": "tiny", "keys": ["level", "limits"], "cells": cells}
    text = page(told, rows, [], couples=0, version="")
    assert len(text.encode()) < 2e6
    assert f"The first {FEWEST_ROWS} of 40 rows; all cells and pairs stand in cells.csv" in text
    assert text.count("<tbody>") == MOST_ROWS // FEWEST_ROWS + 1 and "20 more leaderboards" in text
    assert "0999" in text and text.count('class="text mono"') == MOST_CELLS
    assert "Drawn are 1 000 of 2 000 cells and pairs, by chance" in text
    assert len(alerts(told, rows)) == 1


def drawn(run: Path, pairs: dict[str, np.ndarray], *, reference: str = "f") -> None:
    """Stand for the models of a run and for what it keeps of its draws."""
    store = Store(run)
    models = json.loads((run / "models.json").read_text())
    (like,) = [pair for pair in models["pairs"] if not pair["control"]]
    models["pairs"] = [
        {
            **like,
            **{"pair": name, "reference": name.partition("/")[0], "quantised": name.partition("/")[2]},
            "reference_model": {**like["reference_model"], "digest": reference},
            "quantised_model": {**like["quantised_model"], "digest": str(number) + name},
        }
        for number, name in enumerate(pairs)
    ]
    store.write_json("models.json", models)
    for number, (name, outcomes) in enumerate(pairs.items()):
        n = len(outcomes)
        arrays = {"pair": np.array(name), "patches": np.arange(n), "blocks": np.arange(n) // 10}
        store.write_arrays(f"rates/outcomes-{number:02d}.npz", {**arrays, f"stress:{EVERYTHING}": outcomes})


def outcomes(seed: int, rate: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kinds = [Outcome.REVEALED, Outcome.SAME, Outcome.INVALID]
    return rng.choice(kinds, p=[rate, 0.9 - rate, 0.1], size=(100, 2)).astype(np.uint8)


def two_quantisations(folder: Path, other: str) -> Sweep:
    """A sweep over the key and values `other` and, within each, over two quantised networks."""
    golden = "%(golden)s"
    grid = (
        f"sweep:\n  grid:\n    {other}\n"
        f"    quantisations: [[{{path: {golden}/int8.tflite}}], [{{path: {golden}/float16.tflite}}]]\n"
    )
    return load_sweep(write(folder, CONFIG + grid))


def test_cells_that_differ_in_their_quantisations_alone_are_paired_by_their_draws(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = two_quantisations(tmp_path, "seed: [0, 1]")
    kept = [outcomes(1, 0.05), outcomes(2, 0.6), outcomes(3, 0.1), outcomes(4, 0.1)]
    for number, cell in enumerate(sweep.cells):
        run = fake_cells.complete(cell, out, findings=0)
        # The float networks of the second seed are not the same, byte for byte.
        drawn(run, {f"float/q{number}": kept[number]}, reference=f"f{number if number > 1 else 0}")
    place = note(sweep, out, {})
    told = json.loads((place / "sweep.json").read_text())
    (found,), couples = paired(told, place, {})
    assert couples == 1 and found["cells"] == ["1", "2"] and found["pairs"] == ["float/q0", "float/q1"]
    both = (kept[0] != Outcome.INVALID) & (kept[1] != Outcome.INVALID)
    hits = [(each == Outcome.REVEALED) & both for each in kept]
    assert found["found"].trials == both.sum()
    assert found["found"].first_only == (hits[0] & ~hits[1]).sum()
    assert found["found"].second_only == (hits[1] & ~hits[0]).sum()
    assert found["words"] == "q1 float leaves more often"
    render_sweep(place)
    text = (place / "report.html").read_text()
    assert "q1 float − q0 float" in text and '<td class="text">2&nbsp;−&nbsp;1</td>' in text
    with open(place / "paired.csv", newline="") as file:
        (told_row,) = csv.DictReader(file)
    assert int(told_row["draws"]) == both.sum() and float(told_row["p_sign_flip"]) == found["found"].blockwise


@pytest.mark.parametrize("file", ["baseline.json", "models.json", "rates/outcomes-00.npz"])
def test_a_damaged_cell_stands_in_no_table(tmp_path: Path, file: str) -> None:
    golden, names = "%(golden)s", ("int8", "float16", "dynamic")
    grid = ", ".join(f"[{{path: {golden}/int8.tflite, name: {name}}}]" for name in names)
    out = tmp_path / "out"
    sweep = load_sweep(write(tmp_path, CONFIG + f"sweep: {{grid: {{quantisations: [{grid}]}}}}\n"))
    for number, cell in enumerate(sweep.cells):
        drawn(fake_cells.complete(cell, out, findings=0), {f"float/q{number}": outcomes(number, 0.2)})
    place = note(sweep, out, {})

    def told(name: str) -> list[dict[str, str]]:
        with open(place / name, newline="") as table:
            return list(csv.DictReader(table))

    assert not render_sweep(place) and len(told("paired.csv")) == 3
    # Without the metrics that the gate left, the numbers of a cell are read from all its files.
    run = out / sweep.cells[1].folder
    summary = json.loads((run / "summary.json").read_text())
    del summary["metrics"]
    (run / "summary.json").write_text(json.dumps(summary))
    if file.endswith(".npz"):
        (run / file).unlink()
    else:
        (run / file).write_text("{")
    (message,) = render_sweep(place).values()
    assert str(run / file) in message and f": remove the folder {run} and" in message
    assert [(row["first_cell"], row["second_cell"]) for row in told("paired.csv")] == [("1", "3")]
    states = [(row["cell"], row["state"], bool(row["agreement"])) for row in told("cells.csv")]
    assert states == [("1", "complete", True), ("2", "damaged", False), ("3", "complete", True)]


def test_cells_that_met_the_same_draws_with_the_same_networks_are_compared_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = two_quantisations(tmp_path, "tier: [in_spec, stress]")
    for number, cell in enumerate(sweep.cells):
        # The tier decides what is searched, not what is drawn: cells 1 and 3 are of one network, as 2 and 4 are.
        drawn(fake_cells.complete(cell, out, findings=0), {f"float/q{number % 2}": outcomes(number % 2, 0.2)})
    place = note(sweep, out, {})
    told = json.loads((place / "sweep.json").read_text())
    found, couples = paired(told, place, {})
    assert couples == 1 and [row["cells"] for row in found] == [["1", "2"]]
    # Other draws are another comparison.
    drawn(out / sweep.cells[3].folder, {"float/q1": outcomes(7, 0.2)})
    found, couples = paired(told, place, {})
    assert couples == 2 and [row["cells"] for row in found] == [["1", "2"], ["3", "4"]]


def test_a_couple_is_one_whichever_side_is_first(tmp_path: Path) -> None:
    out, golden = tmp_path / "out", "%(golden)s"
    int8, float16 = (f"{{path: {golden}/{name}.tflite}}" for name in ("int8", "float16"))
    grid = f"[[{float16}], [{int8}], [{int8}, {float16}]]"
    sweep = load_sweep(write(tmp_path, CONFIG + f"sweep: {{grid: {{quantisations: {grid}}}}}\n"))
    kept = {"float/0": outcomes(0, 0.05), "float/1": outcomes(1, 0.6)}
    for cell, names in zip(sweep.cells, (["float/0"], ["float/1"], [*kept]), strict=True):
        drawn(fake_cells.complete(cell, out, findings=0), {name: kept[name] for name in names})
        store = Store(out / cell.folder)
        models = store.read_json("models.json")
        for pair in models["pairs"]:
            pair["quantised_model"]["digest"] = pair["pair"]
        store.write_json("models.json", models)
    place = note(sweep, out, {})
    found, couples = paired(json.loads((place / "sweep.json").read_text()), place, {})
    assert couples == 1 and [row["cells"] for row in found] == [["1", "2"]]


def test_what_the_heading_of_a_board_tells_is_no_column_and_words_are_explained(tmp_path: Path) -> None:
    keys = ("seed", "tier", "limits.psnr", "level")
    rows = [
        row(str(seed), 0.1, raw={"seed": seed, "level": 1}, values={"seed": seed, "level": 1}, findings=0)
        for seed in (0, 1)
    ]
    (board,) = boards(rows, keys)
    assert board.keys == ["seed", "level"]
    cells = [{"name": "0", "state": "complete", "message": "", "values": {}, "also": [], "directory": "x"}]
    text = page({"name": "s", "keys": keys, "cells": cells}, rows, [], couples=0, version="1")
    heads = re.findall(r"<thead>.*?</thead>", text, re.S)
    assert ">seed<" in heads[0] and ">tier<" not in heads[0] and ">tier<" in heads[-1]
    assert ">median</th>" in text and ">2&nbsp;seeds</td>" in text
    assert "A cell is one run of the sweep" in text and "A rung is a tier" in text
    assert text.index("A cell is") < text.index("<table>")


def test_numbers_are_those_of_the_gate(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = load_sweep(write(tmp_path, CONFIG + "criteria: [agreement >= 1.0]\nsweep: {grid: {seed: [0]}}\n"))
    run = fake_cells.complete(sweep.cells[0], out)
    place = note(sweep, out, {})
    told = json.loads((place / "sweep.json").read_text())
    (found,) = rows_of(told, place, {})
    base = json.loads((run / "baseline.json").read_text())["hybridsn/int8"]
    assert found["agreement"] == base["agreement"]
    assert found["accuracy_drop"] == pytest.approx(0.931 - 0.9235)
    assert found["revealed_rate.in_spec.lower"] == pytest.approx(found["revealed_rate.in_spec"] * 0.61)
    assert found["rung"] == "stress, psnr 12"
    assert found["criteria_met"] is False and found["criteria_missed"] == "agreement >= 1.0"
    # A run whose summary keeps no metrics has the same numbers.
    summary = json.loads((run / "summary.json").read_text())
    assert summary.pop("metrics")
    (run / "summary.json").write_text(json.dumps(summary))
    assert rows_of(told, place, {}) == [found]

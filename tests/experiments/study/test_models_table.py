"""The table of networks and versions: what the runs of a study stored, and nothing that they did not."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.record import read
from experiments.study.models_table import MODELS, accuracies, models
from experiments.study.page import render_study
from tests.experiments.fake_run import build


def studied(place: Path, *runs: Path) -> Path:
    told = [{"name": run.parent.name, "directory": f"{run.parent.name}-run", "digest": "0"} for run in runs]
    for run, row in zip(runs, told, strict=True):
        run.rename(place / row["directory"])
    folder = place / "zoo-study"
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({"schema": 1, "name": "zoo", "bars": {}, "runs": told}))
    return folder


def test_every_version_is_a_row_with_what_its_run_measured(tmp_path: Path) -> None:
    run = read(build(tmp_path / "one"))
    rows = list(models("one", run))
    assert [(row["reference"], row["quantised"]) for row in rows] == [
        (pair["reference"], pair["quantised"]) for pair in run.tested()
    ]
    for row, pair in zip(rows, run.tested(), strict=True):
        assert set(row) == set(MODELS.names)
        base = run.baseline[pair["pair"]]
        assert row["accuracy_delta"] == base["accuracy_quantised"] - base["accuracy_reference"]
        assert row["agreement"] == base["agreement"]
        assert row["size"] == pair["quantised_model"]["size_bytes"] / pair["reference_model"]["size_bytes"]
        assert row["findings"] == len(run.found(pair["pair"]))
        rate = run.rate(pair["pair"], "in_spec")
        if rate is not None and rate["enough"]:
            assert row["revealed_in_spec"] == rate["revealed_rate"] <= row["upper_in_spec"]


def test_the_page_and_the_table_hold_the_same_rows(tmp_path: Path) -> None:
    folder = studied(tmp_path, build(tmp_path / "one"), build(tmp_path / "two"))
    render_study(folder)
    with (folder / "models.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert {row["run"] for row in written} == {"one", "two"}
    text = (folder / "report.html").read_text(encoding="utf-8")
    # Once for every version, and once among the runs.
    assert text.count("<th>one</th>") == sum(row["run"] == "one" for row in written) + 1


def test_accuracies_are_told_by_protocol() -> None:
    def row(reference: str, protocol: str, accuracy: float | None) -> dict[str, object]:
        return {"data": "scene", "reference": reference, "protocol": protocol, "accuracy_reference": accuracy}

    told = accuracies(
        [row("a", "blocks", 0.5), row("a", "blocks", 0.5), row("a", "random", 0.9), row("b", "blocks", None)]
    )
    assert told == [
        {"data": "scene", "reference": "a", "blocks": 0.5, "random": 0.9},
        {"data": "scene", "reference": "b"},
    ]


@pytest.mark.parametrize("missing", ["baseline.json", "rates.parquet"])
def test_what_a_run_has_not_come_to_is_left_open(tmp_path: Path, missing: str) -> None:
    place = build(tmp_path / "one")
    for name in (missing, "summary.json"):
        (place / name).unlink()
    rows = list(models("one", read(place)))
    assert rows
    empty = ("agreement", "accuracy_delta", "speed") if missing == "baseline.json" else ("revealed_in_spec",)
    assert all(row[name] is None for row in rows for name in empty)
    render_study(studied(tmp_path, place))

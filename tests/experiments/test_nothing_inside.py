"""Where no follow-up of a search was inside the limits nothing follows from it, neither a pass nor a difference."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from experiments.compare import compare
from experiments.gate import gate, metrics
from experiments.record import read
from experiments.report import render
from tests.experiments.page import Page
from tests.experiments.small import CONFIG, diverget, run_directory, write

TIGHT = CONFIG.replace("limits: {psnr: 12}", "limits: {psnr: 150}").replace("budget: 9600", "budget: 1920")
TIGHT = TIGHT.replace("{assessed: 40, baseline: 200}", "{assessed: 80, baseline: 200, block: 6}")
CRITERIA = ["findings <= 0", "minimal_severity >= 0.2", "findings.kernel <= 0", "minimal_severity.median >= 0.2"]


def rewritten(run: Path, to: Path, **columns: Any) -> Path:
    """A copy of a run in which columns of the per-patch search say something else."""
    shutil.copytree(run, to)
    table = pq.read_table(to / "patchwise.parquet")
    for name, column in columns.items():
        where = table.schema.get_field_index(name)
        table = table.set_column(where, table.schema.field(name), column(table).cast(table.schema.field(name).type))
    pq.write_table(table, to / "patchwise.parquet")
    return to


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run under limits that no chain of the search keeps, and no row of the per-patch search, as it says."""
    folder = tmp_path_factory.mktemp("tight")
    done = diverget("run", write(folder, TIGHT + "patchwise: {arms: [ga], budget: 8}\n"), "--out", folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    finished = run_directory(folder / "out")
    return rewritten(finished, folder / "none", invalid=lambda table: pc.divide(table["spent"], 2))


def test_the_gate_passes_nothing_that_was_not_seen(run: Path, tmp_path: Path) -> None:
    told = gate(run, texts=CRITERIA)
    assert [row["state"] for row in told.rows] == ["fail"] * 4
    assert all("no follow-up of a search was inside the limits" in row["told"] for row in told.rows)
    assert told.lines()[-1] == "verdict: fail"
    # One row inside is enough to say that it found nothing.
    inside = rewritten(run, tmp_path / "inside", invalid=lambda table: pc.subtract(table["invalid"], 1))
    found = metrics(read(inside), "float/int8")
    assert [found[name] for name in ("findings", "minimal_severity", "minimal_severity.median")] == [0, 1, 1]


def test_what_was_not_seen_is_not_compared_and_has_no_curve(run: Path, tmp_path: Path) -> None:
    rows = {row["quantity"]: row for row in compare(run, run)["pairs"][0]["rows"]}
    severity = rows["minimal_severity"]
    assert (severity["judged"], severity["unjudged"]) == (
        "not judged",
        "no follow-up of a search was inside the limits",
    )
    assert severity["a"] is None and not severity["guarded"]
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    render(copy)
    text = Page((copy / "report.html").read_text(encoding="utf-8")).text
    assert "nothing follows from" in text and "searched, stress, psnr 150" not in text


def test_an_arm_that_only_one_run_searched_so_shows_nothing_of_the_others(run: Path, tmp_path: Path) -> None:
    """Both runs searched `ga` alike and saw nothing inside; each had another arm of its own that did."""
    sides = []
    for budget in (20, 30):
        side = tmp_path / str(budget)
        shutil.copytree(run, side)
        table = pq.read_table(side / "patchwise.parquet")
        rows = table.to_pylist()
        rows += [row | {"arm": "pso", "budget": budget, "spent": budget, "invalid": 0} for row in rows]
        pq.write_table(table.schema.empty_table().from_pylist(rows, schema=table.schema), side / "patchwise.parquet")
        manifest = json.loads((side / "manifest.json").read_text())
        manifest["config"]["patchwise"] |= {"arms": ["ga", "pso"], "budgets": {"pso": budget}}
        (side / "manifest.json").write_text(json.dumps(manifest))
        sides.append(side)
    rows = {row["quantity"]: row for row in compare(*sides)["pairs"][0]["rows"]}
    assert rows["minimal_severity"]["judged"] == "not judged"


def test_a_severity_is_a_share_of_the_bounds_of_its_own_tier(tmp_path: Path) -> None:
    ladder = "{arms: [boundary], budget: 60, ladder: [{tier: in_spec}, {tier: stress, limits: {psnr: 12}}]}"
    done = diverget("run", write(tmp_path, CONFIG + f"patchwise: {ladder}\n"), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    run = read(run_directory(tmp_path / "out"))
    found = run.found("float/int8")
    tiers = [row["tier"] for row in found]
    assert tiers == sorted(tiers) and set(tiers) == {"in_spec", "stress"}
    for tier in ("in_spec", "stress"):
        severities = [row["severity"] for row in found if row["tier"] == tier]
        assert severities == sorted(severities)
    # Told by severity alone another would be the mildest.
    assert min(found, key=lambda row: row["severity"])["tier"] == "stress" != found[0]["tier"]
    card = json.loads((run.path / "card.json").read_text())
    assert "Mildest found in spec: " in card["verdict"]
    assert card["pairs"][0]["findings"]["mildest"]["tier"] == "in_spec"
    text = Page((run.path / "report.html").read_text(encoding="utf-8")).text
    assert "mildest severity " in text and ", in spec" in text

"""The boundary gaps as a stage of a run: stored relation by relation, resumed, told in the report."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from diverget.tables import GAPS
from experiments.record import read
from experiments.sections.gaps import gaps as section
from tests.experiments.small import CONFIG, diverget, run_directory, write

WITH_GAPS = CONFIG + "gaps: {grid: 6, halvings: 7}\n"
ONE_SIDED = ("gaussian_blur", "gaussian_noise", "impulse_noise", "stripes")
TWO_SIDED = ("brightness", "offset")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gaps")
    done = diverget("run", write(folder, WITH_GAPS), "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    return folder


def stored(folder: Path) -> list[dict]:
    table = pq.read_table(run_directory(folder / "runs") / "gaps.parquet")
    assert table.schema.equals(GAPS)
    rows: list[dict] = table.to_pylist()
    return rows


def test_every_patch_has_a_ray_for_every_relation_and_direction(finished: Path) -> None:
    rows = stored(finished)
    for pair in {row["pair"] for row in rows}:
        mine = [row for row in rows if row["pair"] == pair]
        patches = {row["patch"] for row in mine}
        rays = Counter((row["relation"], row["direction"]) for row in mine)
        assert rays == Counter(
            {(name, "high"): len(patches) for name in (*ONE_SIDED, *TWO_SIDED)}
            | {(name, "low"): len(patches) for name in TWO_SIDED}
        )
        assert 30 < len(patches) <= 40
    assert len({row["pair"] for row in rows}) == 2
    assert {row["unit"] for row in rows if row["relation"] == "gaussian_blur"} == {"pixels"}
    assert {row["relation"] for row in rows if row["jumps"]} == {"impulse_noise", "stripes"}


def test_gaps_and_doses_agree(finished: Path) -> None:
    rows = stored(finished)
    tested = [row for row in rows if not row["control"]]
    assert any(row["gap"] for row in tested)
    for row in rows:
        left = [row["dose_reference"], row["dose_quantised"]]
        for dose, side in zip(left, ("reference", "quantised"), strict=True):
            assert (dose is None) == (row[f"severity_{side}"] is None) == (row[f"value_{side}"] is None)
            assert (dose is None) <= (row[f"crossings_{side}"] == 0)
            assert dose is None or 0 < dose <= row["dose_end"] <= 1
        if None in left:
            assert row["gap"] is None and row["gap_severity"] is None and row["gap_value"] is None
        else:
            assert row["gap"] == left[0] - left[1]
            assert np.sign(row["gap"]) == np.sign(row["gap_value"]) or row["jumps"]
        assert row["queries"] in range(12, 2 * (6 + 4 * 7) + 1) or row["dose_end"] == 0


def test_a_model_against_itself_leaves_where_it_leaves(finished: Path) -> None:
    control = [row for row in stored(finished) if row["control"]]
    both = [row for row in control if row["gap"] is not None]
    assert both and all(row["gap"] == row["gap_severity"] == row["gap_value"] == 0 for row in both)
    assert all(row["dose_reference"] == row["dose_quantised"] for row in control)
    assert section(read(run_directory(finished / "runs"))).values["control"] == {"rays": len(control), "alert": None}


def test_the_report_tells_what_the_table_holds(finished: Path) -> None:
    root = run_directory(finished / "runs")
    (block,) = section(read(root)).values["blocks"]
    tested = [row for row in stored(finished) if not row["control"]]
    lines = {line["name"]: line for line in block["relations"]}
    assert set(lines) == {*ONE_SIDED, "brightness ↑", "brightness ↓", "offset ↑", "offset ↓"}
    darker = [row for row in tested if (row["relation"], row["direction"]) == ("offset", "low")]
    line = lines["offset ↓"]
    known = [row["gap_value"] for row in darker if row["gap_value"] is not None]
    assert line["value"]["median"] == pytest.approx(np.median(known)) and line["value"]["n"] == len(known) > 5
    assert line["value"]["width"] == pytest.approx(np.median(np.abs(known)))
    assert line["float_leaves"] == sum(row["dose_reference"] is not None for row in darker) / len(darker)
    assert line["censored"] == 1 - len(known) / len(darker)
    never = np.inf
    doses = [(row["dose_reference"] or never, row["dose_quantised"] or never) for row in darker]
    some = [pair for pair in doses if min(pair) < never]
    assert line["quantised_first"] == sum(f > q for f, q in some) / len(some)
    assert line["float_first"] == sum(f < q for f, q in some) / len(some)
    sure = [
        row["dose_quantised"] + row["tied_quantised"] / 2 < row["dose_reference"] - row["tied_reference"] / 2
        for row in darker
        if row["gap"] is not None
    ]
    assert line["beyond_ties"] == sum(sure) / len(known) and sum(sure) > 0
    assert sum(row["rays"] for row in block["classes"]) == len(tested)
    page = (root / "report.html").read_text(encoding="utf-8")
    told = page[page.index('id="gaps"') : page.index('id="search"')]
    for words in (
        "brightness ↓",
        'aria-label="Boundary gaps of int8 float as severities',
        "as they must",
        "share of the",
    ):
        assert words in told


def test_a_control_that_parts_is_told(finished: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run"
    shutil.copytree(run_directory(finished / "runs"), kept)
    rows = pq.read_table(kept / "gaps.parquet").to_pylist()
    row = next(row for row in rows if row["control"] and row["dose_quantised"] is not None)
    row["dose_quantised"] /= 2
    (kept / "gaps.parquet").unlink()
    pq.write_table(
        pq.read_table(next(kept.glob("gaps/*.parquet"))).from_pylist(rows, schema=GAPS), kept / "gaps.parquet"
    )
    assert diverget("report", kept).returncode == 0
    page = (kept / "report.html").read_text(encoding="utf-8")
    assert "Control: on 1 ray of" in page and "Trust no gap until that is understood." in page


def test_a_run_without_it_says_how_to_have_it(finished: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run"
    shutil.copytree(run_directory(finished / "runs"), kept)
    (kept / "gaps.parquet").unlink()
    shutil.rmtree(kept / "gaps")
    manifest = json.loads((kept / "manifest.json").read_text(encoding="utf-8"))
    manifest["config"]["gaps"] = None
    (kept / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert diverget("report", kept).returncode == 0
    assert "add <code>gaps: {}</code> to its config" in (kept / "report.html").read_text(encoding="utf-8")


def test_what_is_stored_is_kept_and_the_rest_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "again")
    root = run_directory(tmp_path / "again" / "runs")
    before = (root / "gaps.parquet").read_bytes()
    parts = sorted((root / "gaps").glob("part-*.parquet"))
    assert len(parts) == 2 * 6
    for gone in (root / "summary.json", root / "gaps.parquet", parts[1], parts[8]):
        gone.unlink()
    kept = {path: path.stat().st_mtime_ns for path in parts if path.exists()}
    config = tmp_path / "again" / "small.yaml"
    done = diverget("run", config, "--out", tmp_path / "again" / "runs", "--set", "workers=1")
    assert done.returncode == 0, done.stderr
    assert (root / "gaps.parquet").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_it_is_counted_before_it_is_run(tmp_path: Path) -> None:
    done = diverget("check", write(tmp_path, CONFIG + "gaps: {}\n"))
    assert done.returncode == 0, done.stderr
    # 40 patches, 8 rays each, 12 + 4 · 10 looks at most, 2 queries a look, the pair and its control.
    assert f"gaps at most {40 * 8 * 52 * 2 * 2:,}," in done.stdout
    shown = json.loads(done.stdout[: done.stdout.index("\n}\n") + 2])
    assert shown["gaps"] == {"tier": "stress", "grid": 12, "halvings": 10}


@pytest.mark.parametrize(
    ("gaps", "told"),
    [
        ("{tier: mild}", "gaps.tier"),
        ("{grid: 0}", "gaps.grid"),
        ("{halvings: -1}", "gaps.halvings"),
        ("{halving: 3}", "gaps.halving"),
    ],
)
def test_a_wrong_block_is_refused(tmp_path: Path, gaps: str, told: str) -> None:
    done = diverget("check", write(tmp_path, CONFIG + f"gaps: {gaps}\n"))
    assert done.returncode == 2
    assert told in done.stderr and "Traceback" not in done.stderr

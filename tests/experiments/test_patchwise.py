"""The per-patch search as a stage of a run: stored round by round, resumed, reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.experiments.small import CONFIG, diverget, run_directory, write

ARMS = ("boundary", "random", "dflare_as_described", "diffchaser_basic")
PATCHWISE = CONFIG + f"patchwise: {{arms: [{', '.join(ARMS)}], budget: 40}}\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patchwise")
    done = diverget("run", write(folder, PATCHWISE), "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    return folder


def test_every_arm_has_a_row_for_every_patch_and_pair(finished: Path) -> None:
    rows = pq.read_table(run_directory(finished / "runs") / "patchwise.parquet").to_pylist()
    patches = {row["patch"] for row in rows}
    pairs = {row["pair"] for row in rows}
    assert {(row["pair"], row["arm"], row["patch"]) for row in rows} == {
        (pair, arm, patch) for pair in pairs for arm in ARMS for patch in patches
    }
    assert len(rows) == len(pairs) * len(ARMS) * len(patches) and len(pairs) == 2
    assert all(0 < row["spent"] <= 40 for row in rows)
    assert all(row["revealed"] is None for row in rows if row["control"])
    tested = [row for row in rows if not row["control"]]
    found = {arm: sum(row["revealed"] is not None for row in tested if row["arm"] == arm) for arm in ARMS}
    assert found["boundary"] > max(found["random"], found["diffchaser_basic"]) >= 0


def test_the_report_tells_every_arm(finished: Path) -> None:
    page = (run_directory(finished / "runs") / "report.html").read_text(encoding="utf-8")
    section = page[page.index('id="patches"') :]
    for arm in ARMS:
        assert arm in section
    assert "Patches revealed against queries" in section


def test_a_run_without_it_says_how_to_have_it(tmp_path: Path, finished: Path) -> None:
    kept = tmp_path / "run"
    shutil.copytree(run_directory(finished / "runs"), kept)
    (kept / "patchwise.parquet").unlink()
    assert diverget("report", kept).returncode == 0
    assert "add <code>patchwise:</code> to its config" in (kept / "report.html").read_text(encoding="utf-8")


def test_what_was_looked_at_is_read_and_the_rest_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "again")
    root = run_directory(tmp_path / "again" / "runs")
    before = (root / "patchwise.parquet").read_bytes()
    for gone in ("summary.json", "patchwise.parquet", "patchwise/00-boundary.parquet", "patchwise/00-random.parquet"):
        (root / gone).unlink()
    rounds = sorted((root / "patchwise" / "00-boundary").glob("*.npz"))
    for late in rounds[3:]:
        late.unlink()
    kept = [path.stat().st_mtime_ns for path in rounds[:3]]
    done = diverget("run", tmp_path / "again" / "small.yaml", "--out", tmp_path / "again" / "runs")
    assert done.returncode == 0, done.stderr
    assert (root / "patchwise.parquet").read_bytes() == before
    assert [path.stat().st_mtime_ns for path in rounds[:3]] == kept


def test_rounds_of_another_run_are_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "again")
    root = run_directory(tmp_path / "again" / "runs")
    for gone in ("summary.json", "patchwise.parquet", "patchwise/00-random.parquet"):
        (root / gone).unlink()
    shutil.copy(root / "patchwise/00-random/00001.npz", root / "patchwise/00-random/00000.npz")
    done = diverget("run", tmp_path / "again" / "small.yaml", "--out", tmp_path / "again" / "runs")
    assert done.returncode == 2
    assert "Expected the follow-ups that the arm asks for now in" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("patchwise", "told"),
    [
        ("{arms: [boundry]}", "did you mean boundary"),
        ("{arms: []}", "one or more different arms"),
        ("{budget: 1}", "patchwise.budget"),
        ("{until: soon}", "patchwise.until"),
    ],
)
def test_a_wrong_patchwise_block_is_refused(tmp_path: Path, patchwise: str, told: str) -> None:
    done = diverget("check", write(tmp_path, CONFIG + f"patchwise: {patchwise}\n"))
    assert done.returncode == 2
    assert told in done.stderr


def test_the_arms_are_listed() -> None:
    rows = json.loads(diverget("list", "arms", "--json").stdout)
    assert {"boundary", "random", "dflare_as_shipped", "diffchaser"} <= {row["name"] for row in rows}

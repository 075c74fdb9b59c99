"""The per-patch search as a stage of a run: stored round by round, resumed, reported."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from diverget.arms import NamedArm
from diverget.lockstep import Arena, Asked, Seen
from diverget.scene import Scene
from diverget.store import Store
from experiments.config.methods import PatchwiseConfig, RungConfig
from experiments.data import refuse_arms
from experiments.stages import patchwise
from tests.conftest import toy_problem
from tests.experiments.small import CONFIG, diverget, kill_once, run_directory, write

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
    assert "REVEALED against queries" in section


def test_a_run_without_it_says_why_and_how_to_have_it(tmp_path: Path, finished: Path) -> None:
    kept = tmp_path / "run"
    shutil.copytree(run_directory(finished / "runs"), kept)
    (kept / "patchwise.parquet").unlink()
    refused = diverget("report", kept)
    assert (
        refused.returncode == 2 and f"patchwise.parquet, got no such file: remove the folder {kept}" in refused.stderr
    )
    (kept / "summary.json").unlink()
    assert diverget("report", kept).returncode == 0
    assert "interrupted before this stage" in (kept / "report.html").read_text(encoding="utf-8")
    manifest = json.loads((kept / "manifest.json").read_text(encoding="utf-8"))
    manifest["config"]["patchwise"] = None
    (kept / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert diverget("report", kept).returncode == 0
    assert "add `patchwise:` to its config" in (kept / "report.html").read_text(encoding="utf-8")


LADDER = CONFIG.replace("small", "ladder") + (
    "patchwise: {arms: [boundary, dflare_uniform], budget: 30, budgets: {boundary: 44}, until: spent, repeats: 2, "
    "ladder: [{limits: {psnr: 12}}, {tier: in_spec, limits: {psnr: 16}}]}\n"
)
"""The first rung is the run's own."""


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ladder")
    done = diverget("run", write(folder, LADDER), "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    (found,) = [path for path in (folder / "runs").iterdir() if path.name.startswith("ladder-")]
    return found


def test_a_ladder_is_climbed_as_often_as_asked_and_the_control_once(climbed: Path) -> None:
    rows = pq.read_table(climbed / "patchwise.parquet").to_pylist()
    assert {(row["control"], row["rung"], row["arm"], row["repeat"], row["budget"]) for row in rows} == {
        (control, rung, arm, repeat, 44 if arm == "boundary" else 30)
        for control in (False, True)
        for rung in ("stress, psnr 12", "in_spec, psnr 16")
        for arm in ("boundary", "dflare_uniform")
        for repeat in range(1 if control else 2)
    }
    by_course = [
        [row for row in rows if (row["arm"], row["repeat"], row["control"]) == ("boundary", repeat, False)]
        for repeat in range(2)
    ]
    assert [row["severity"] for row in by_course[0]] != [row["severity"] for row in by_course[1]]
    for row in rows:
        assert row["spent"] <= row["budget"]
        if row["natural"] and row["milder"]:
            assert row["milder"][0]["queries"] == row["revealed"]
            assert row["milder"][-1]["severity"] == row["severity"]
            assert min(kind["severity"] for kind in row["kinds"]) == row["severity"]
        if not row["natural"]:
            assert row["kinds"] == [] and row["front"] == [] and row["spent"] == (row["revealed"] or 30)
    assert not list((climbed / "patchwise").glob("*/*.npz"))
    assert {row["arm"] for row in json.loads((climbed / "patchwise.json").read_text())} == {
        "boundary",
        "dflare_uniform",
    }


def test_what_an_arm_reveals_becomes_a_finding_that_replays(climbed: Path) -> None:
    walked = pq.read_table(climbed / "patchwise.parquet").to_pylist()
    found = pq.read_table(climbed / "findings.parquet").to_pylist()
    assert {row["rung"] for row in found} == {"stress, psnr 12", "in_spec, psnr 16"}
    assert "boundary" in {row["found_by"] for row in found} <= {"boundary", "nsga2"}
    assert all((row["candidate"] is None) == (row["found_by"] == "boundary") for row in found)
    for rung in ("stress, psnr 12", "in_spec, psnr 16"):
        kinds = {
            (row["patch"], row["own"], kind["quantised_class"])
            for row in walked
            if row["rung"] == rung and not row["control"]
            for kind in row["kinds"]
        }
        assert kinds <= {
            (row["patch"], row["reference_class"], row["quantised_class"]) for row in found if row["rung"] == rung
        }
        assert kinds
    assert all(row["confirmed"] and row["severity"] <= row["severity_found"] for row in found)
    assert diverget("replay", climbed, "--all").returncode == 0
    archive = pq.read_table(climbed / "archive.parquet").to_pylist()
    assert {row["tier"] for row in archive} == {"stress", "in_spec"}
    places = [
        (row["rung"], row["patch"], row["reference_class"], row["quantised_class"], row["relation"]) for row in found
    ]
    assert len(set(places)) == len(places) > len({place[:4] for place in places})
    for row in archive:
        mildest = found[row["mildest"]]
        assert (row["severity"], row["family"], row["tier"]) == (
            mildest["severity"],
            mildest["family"],
            mildest["tier"],
        )


def test_a_search_stopped_in_a_round_goes_on_to_the_same_bytes(tmp_path: Path, climbed: Path) -> None:
    config = write(tmp_path, LADDER)
    runs = tmp_path / "runs"
    kill_once(lambda: any(runs.glob("ladder-*/patchwise/*-boundary-1/00003.npz")), config, runs)
    (root,) = (tmp_path / "runs").glob("ladder-*")
    (begun,) = (root / "patchwise").glob("*/")
    kept = {path.name: path.stat().st_mtime_ns for path in sorted(begun.glob("*.npz"))[:3]}
    assert not (root / "patchwise.parquet").exists() and len(kept) == 3
    done = diverget("run", config, "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    for name in ("patchwise.parquet", "findings.parquet", "archive.parquet"):
        assert (root / name).read_bytes() == (climbed / name).read_bytes()


def test_rounds_of_another_run_are_refused(tmp_path: Path) -> None:
    config = write(tmp_path, PATCHWISE)
    runs, third = tmp_path / "runs", "small-*/patchwise/*-random-0/00002.npz"
    kill_once(lambda: any(runs.glob(third)), config, runs)
    (found,) = runs.glob(third)
    shutil.copy(found, found.with_name("00000.npz"))
    done = diverget("run", config, "--out", tmp_path / "runs")
    assert done.returncode == 2
    assert "Expected the follow-ups that the arm asks for now in" in done.stderr and "Traceback" not in done.stderr


def test_an_arm_that_needs_more_classes_is_refused_before_anything_is_searched() -> None:
    def asked(*arms: str) -> Any:
        return SimpleNamespace(patchwise=PatchwiseConfig(arms=arms))

    refuse_arms(asked("boundary", "diffchaser_basic"), 2)
    with pytest.raises(ValueError, match="at least 3 classes for the arm diffchaser, got models of 2; leave it out"):
        refuse_arms(asked("boundary", "diffchaser"), 2)


PAUSE = 0.2


def asks(rounds: int) -> NamedArm:
    """An arm that asks so many rounds, each after a pause, and pauses once more before it ends."""

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        for _ in range(rounds):
            time.sleep(PAUSE)
            yield Asked(np.flatnonzero(arena.active), u=np.full((len(arena), arena.problem.space.dimensions), 0.5))
        time.sleep(PAUSE)

    return NamedArm("slow", arm, True, "Pauses.")


@pytest.mark.parametrize("rounds", [0, 1])
def test_the_time_of_an_arm_reaches_to_its_end(
    tmp_path: Path, scene: Scene, pool: ThreadPoolExecutor, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def stage(*_: Any, **__: Any) -> Any:
        yield SimpleNamespace(to=lambda *_: None)

    def seconds() -> float:
        patchwise._carry_out(asked, course, problem, np.arange(4))
        return float(store.read_json("patchwise/slow.json")["seconds"])

    store, problem = Store(tmp_path), toy_problem(scene, pool, patches=4)
    config = SimpleNamespace(patchwise=PatchwiseConfig(until="spent"), seed=1)
    asked: Any = SimpleNamespace(config=config, store=store, screen=SimpleNamespace(stage=stage))
    pair: Any = SimpleNamespace(name="toy/toy", control=False)
    course = patchwise.Course("patchwise/slow", pair, RungConfig(), asks(rounds), 0)
    monkeypatch.setattr(store, "remove", lambda name: None)
    first = seconds()
    assert first >= PAUSE * (rounds + 1)
    # Taken up again, the rounds that are there count as they took, and the end anew.
    assert abs(seconds() - first) < PAUSE


@pytest.mark.parametrize(
    ("patchwise", "told"),
    [
        ("{arms: [boundry]}", "did you mean boundary"),
        ("{arms: []}", "one or more different arms"),
        ("{budget: 1}", "patchwise.budget"),
        ("{until: soon}", "patchwise.until"),
        ("{repeats: 0}", "patchwise.repeats"),
        ("{budgets: {boundry: 4}}", "arms of this search (boundary, random), got 'boundry'"),
        ("{ladder: [{}, {tier: stress}]}", "expected every rung once"),
        ("{ladder: [{limits: {psnrr: 3}}]}", "did you mean psnr"),
        ("{arms: [diffchaser], ladder: [{limits: {severity: 0.1}}]}", "expected no limit on the severity beside arms"),
    ],
)
def test_a_wrong_patchwise_block_is_refused(tmp_path: Path, patchwise: str, told: str) -> None:
    done = diverget("check", write(tmp_path, CONFIG + f"patchwise: {patchwise}\n"))
    assert done.returncode == 2
    assert told in done.stderr


def test_check_says_which_relations_boundary_leaves_to_others(tmp_path: Path) -> None:
    done = diverget("check", write(tmp_path, PATCHWISE))
    assert (
        "boundary moves along brightness, offset, gaussian_blur and gaussian_noise. What jumps is left to other arms: "
        "impulse_noise and stripes.\n"
    ) in done.stdout
    assert "moves along" not in diverget("check", write(tmp_path, CONFIG)).stdout


def test_the_arms_are_listed() -> None:
    rows = json.loads(diverget("list", "arms", "--json").stdout)
    assert {"boundary", "random", "dflare_as_shipped", "diffchaser"} <= {row["name"] for row in rows}

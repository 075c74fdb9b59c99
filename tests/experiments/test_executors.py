"""Every executor ends with the same bytes, whatever is killed on the way."""

from __future__ import annotations

import csv
import importlib.util
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diverget.locks import locked
from diverget.store import Store
from experiments.cli import app
from experiments.executors import EXECUTORS, Asked, Job
from experiments.executors.slurm import Resumable, submitting
from experiments.sweep import load_sweep
from tests.experiments import sweeps
from tests.experiments.small import ROOT


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cells, one after another."""
    folder = tmp_path_factory.mktemp("serial")
    code, told = sweeps.sweep(sweeps.write(folder), "--out", folder / "out")
    assert code == 0, told
    return folder / "out"


def assert_same(out: Path, finished: Path, cells: int) -> None:
    """Every run under `out` has the bytes of its twin."""
    assert sweeps.complete(out) == cells
    for run in sweeps.runs(out):
        mine, theirs = sweeps.content(run), sweeps.content(finished / run.name)
        assert list(mine) == list(theirs)
        assert [name for name in mine if mine[name] != theirs[name]] == []
        assert any(name.startswith("evaluations/part-") for name in mine)


def test_the_cells_are_runs_and_the_page_ranks_them(finished: Path) -> None:
    assert len(sweeps.runs(finished)) == sweeps.complete(finished) == 6
    place = finished / "tiny-sweep"
    told = json.loads((place / "sweep.json").read_text())
    assert [cell["state"] for cell in told["cells"]] == ["complete"] * 6
    with open(place / "cells.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["cell"] for row in rows] == [str(number) for number in range(1, 7)]
    assert {row["rates.draws"] for row in rows} == {"1", "2"}
    base = json.loads((finished / rows[0]["directory"] / "baseline.json").read_text())["depthwise/float16"]
    assert float(rows[0]["agreement"]) == base["agreement"]
    page = (place / "report.html").read_text()
    assert all(f'href="../{row["directory"]}/report.html"' in page for row in rows)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_a_second_start_repeats_nothing(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for run in sweeps.runs(finished) for path in run.rglob("*")}
    code, told = sweeps.sweep(finished.parent / "tiny.yaml", "--out", finished)
    assert code == 0, told
    assert "6 complete already" in told
    assert {path: path.stat().st_mtime_ns for run in sweeps.runs(finished) for path in run.rglob("*")} == before


def test_two_processes_give_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    code, told = sweeps.sweep(sweeps.write(tmp_path), "--out", out, "--engine", "processes", "--processes", "2")
    assert code == 0, told
    assert "6 of 6" in told and "left" in told
    assert_same(out, finished, 6)


def test_a_killed_worker_costs_its_cell_a_retry(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    process = sweeps.started(
        sweeps.write(tmp_path, sweeps.FOUR), "--out", out, "--engine", "processes", "--processes", "2"
    )
    sweeps.wait_for(lambda: sweeps.under_way(out) == 2 == len(sweeps.telling(out)), process)
    before = sweeps.workers_of(process)
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    told, _ = process.communicate(timeout=sweeps.WAIT_SECONDS)
    assert process.returncode == 0, told
    assert told.count("a worker killed by SIGKILL; it is tried again") == 1
    assert_same(out, finished, 4)
    assert not sweeps.telling(out)


def test_a_cell_that_kills_every_worker_fails_alone(tmp_path: Path) -> None:
    # A log in a folder that cannot be made ends the worker before it can answer.
    (tmp_path / "file").write_text("")
    bad = Job("1", "{}", tmp_path, tmp_path / "file" / "log.txt", 1)
    good = Job("2", "{}", tmp_path, tmp_path / "log.txt", 1)
    said: list[str] = []
    ended = list(EXECUTORS["processes"]([bad, good], Asked(1, tmp_path, said.append, retries=1)))
    by_name = {done.name: done for done in ended}
    assert len(said) == 1 and "cell 1" in said[0]
    assert by_name["1"].met is None and "2 times" in by_name["1"].message
    # The other one came as far as its config, which is none.
    assert by_name["2"].met is None and "Field required" in by_name["2"].message


def test_ctrl_c_stops_the_workers_and_says_how_to_go_on(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    file = sweeps.write(tmp_path, sweeps.FOUR)
    process = sweeps.started(file, "--out", out, "--engine", "processes", "--processes", "2")
    sweeps.wait_for(lambda: sweeps.complete(out) >= 1 and sweeps.under_way(out) > 0, process)
    workers = sweeps.workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # As a terminal does: to all of them.
    told, _ = process.communicate(timeout=sweeps.WAIT_SECONDS)
    assert process.returncode == 130, told
    assert "the same command goes on from there" in told and "Traceback" not in told
    assert not [pid for pid in workers if sweeps.alive(pid)]
    states = [cell["state"] for cell in json.loads((out / "tiny-sweep" / "sweep.json").read_text())["cells"]]
    assert states.count("complete") == sweeps.complete(out) < 4
    code, told = sweeps.sweep(file, "--out", out)
    assert code == 0, told
    assert_same(out, finished, 4)


def test_a_cell_that_cannot_be_carried_out_is_told_and_the_others_go_on(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    file = sweeps.write(tmp_path, sweeps.TWO)
    broken = out / load_sweep(file).cells[1].folder
    broken.mkdir()
    (broken / "manifest.json").write_text('{"versions": {"numpy": "0"}}')
    code, told = sweeps.sweep(file, "--out", out)
    assert code == 2
    assert "1 of 2 cells failed" in told and "results of both must not be mixed" in told
    assert sweeps.complete(out) == 1
    assert "results of both" in (out / "tiny-sweep" / "report.html").read_text()


def test_missed_criteria_end_with_one(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    config = sweeps.CONFIG.replace(
        "control: false", "control: false\ncriteria: ['agreement >= 1.0', 'accuracy_drop >= 1']"
    )
    code, told = sweeps.sweep(sweeps.write(tmp_path, sweeps.TWO, config=config), "--out", out)
    assert code == 1, told
    assert "complete, criteria not met" in told


@needs("distributed")
def test_dask_with_a_killed_worker_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    process = sweeps.started(sweeps.write(tmp_path, sweeps.FOUR), "--out", out, "--engine", "dask", "--processes", "2")
    sweeps.wait_for(lambda: sweeps.under_way(out) == 2, process)
    workers = sweeps.workers_of(process)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    told, _ = process.communicate(timeout=sweeps.WAIT_SECONDS)
    assert process.returncode == 0, told
    assert "4 of 4" in told and "Traceback" not in told
    assert_same(out, finished, 4)


@needs("submitit")
def test_slurm_on_this_machine_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = sweeps.with_cache(tmp_path / "out", finished)
    code, told = sweeps.sweep(
        sweeps.write(tmp_path, sweeps.TWO), "--out", out,
        "--engine", "slurm", "--address", "local", "--processes", "2",
    )  # fmt: skip
    assert code == 0, told
    assert_same(out, finished, 2)


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder first in PATH whose `sbatch` keeps the script that it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("srun", "sbatch"):
        (folder / name).write_text(f'#!/bin/sh\ncp "$1" {folder}/script.sh\necho Submitted batch job 12\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@needs("submitit")
def test_the_job_script_is_the_one_that_the_document_shows(fake_slurm: Path, tmp_path: Path) -> None:
    asked = Asked(200, tmp_path, print, settings={"partition": "long", "time": "240"})
    executor = submitting(asked, threads=2)
    jobs = [Job(str(number), "{}", tmp_path, tmp_path / "log.txt", 2) for number in range(1000)]
    executor.map_array(Resumable(), jobs)
    script = (fake_slurm / "script.sh").read_text().splitlines()
    shown = (ROOT / "docs" / "cluster.md").read_text()
    block = shown[shown.index("#!/bin/bash") :].partition("```")[0].splitlines()
    essential = [line for line in block if line.startswith("#SBATCH")]
    assert len(essential) >= 6
    assert [line for line in essential if line not in script] == []
    assert any("submitit.core._submit" in line for line in script)


@needs("submitit")
def test_a_job_that_must_stop_is_queued_again() -> None:
    job = Job("1", "{}", Path("out"), Path("log"), 1)
    again = Resumable().checkpoint(job)
    assert isinstance(again.function, Resumable) and again.args == (job,)


@needs("submitit")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--engine", "slurm", "--address", "there"), "Expected no --address beside --engine slurm"),
        (("--engine", "slurm", "--slurm", "partition"), "Expected --slurm KEY=VALUE"),
        (("--engine", "dask", "--slurm", "partition=x"), "Expected no --slurm beside --engine dask"),
        (
            ("--engine", "slurm", "--address", "local", "--slurm", "partition=x"),
            "Expected no --slurm beside --engine slurm --address local",
        ),
        (("--engine", "serial", "--processes", "2"), "Expected no --processes beside --engine serial"),
        (("--engine", "ray"), "Expected one of serial, processes, dask, slurm"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    file = sweeps.write(tmp_path, sweeps.TWO)
    done = CliRunner().invoke(app, ["sweep", str(file), "--out", str(tmp_path / "out"), *arguments])
    assert done.exit_code == 2
    assert expected in done.stderr and "Traceback" not in done.stderr


def hold(path: Path, notes: Path, name: str) -> None:
    """Enter and leave the lock, noting both."""
    with locked(path), open(notes, "a") as file:
        file.write(f"{name} in\n")
        file.flush()
        time.sleep(0.3)
        file.write(f"{name} out\n")


def test_the_same_work_is_done_by_one_while_the_other_waits(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    notes = tmp_path / "notes"
    both = [spawn.Process(target=hold, args=(tmp_path / "network.keras", notes, name)) for name in ("a", "b")]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    lines = [line.split() for line in notes.read_text().splitlines()]
    assert [what for _, what in lines] == ["in", "out", "in", "out"]
    assert lines[0][0] == lines[1][0] != lines[2][0] == lines[3][0]


def keep_held(root: Path, held: str) -> None:
    """Hold a run directory until killed."""
    with Store(root).alone():
        Path(held).touch()
        time.sleep(60)


def test_a_run_directory_is_free_once_its_holder_is_killed(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = tmp_path / "held"
    process = spawn.Process(target=keep_held, args=(tmp_path / "run", str(held)))
    process.start()
    while not held.exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(ValueError, match=r"Expected .* to be free"), Store(tmp_path / "run").alone():
        pass
    process.kill()
    process.join()
    with Store(tmp_path / "run").alone():
        pass

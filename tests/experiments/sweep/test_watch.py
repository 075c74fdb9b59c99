"""How far cells are, told by whoever carries them out and shown by whoever waits."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from experiments.executors import Job, far
from experiments.executors import job as jobs
from experiments.executors.far import Far, Teller, forget, path_of, read_far
from experiments.executors.job import job_of
from experiments.progress import Screen
from experiments.sweep import watch as watching_module
from experiments.sweep.costs import Cost
from experiments.sweep.watch import Watch, watching
from tests.experiments.small import ROOT


def jobs_in(folder: Path, count: int) -> list[Job]:
    (folder / "logs").mkdir()
    return [
        job_of(str(n), "{}", out=folder / "runs", log=folder / "logs" / f"cell-{n}.txt", workers=1)
        for n in range(1, count + 1)
    ]


def test_a_stage_is_told_where_it_begins_and_then_now_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(far.time, "monotonic", lambda: now[0])
    teller = Teller(tmp_path / "cell.json")
    told = []
    for stage, share, later in (
        ("rates   a/int8", 0.0, 0.1),
        ("rates   a/int8", 0.2, 0.1),
        ("search  a/int8", 0.0, 0.5),
        ("search  a/int8", 0.3, 0.6),
        ("search  a/int8", 0.5, 0.0),
    ):
        teller.hear(stage, share)
        told.append(str(read_far(teller.path)))
        now[0] += later
    assert told == ["rates a/int8", "rates a/int8", "search a/int8", "search a/int8", "search a/int8 50 %"]
    assert [file.name for file in tmp_path.iterdir()] == ["cell.json"]
    teller.end()
    assert not list(tmp_path.iterdir()) and read_far(teller.path) is None


def test_what_another_sweep_tells_of_the_same_cell_stays(tmp_path: Path) -> None:
    (job,) = jobs_in(tmp_path, 1)
    file = path_of(job.log)
    first, second = Teller(file), Teller(file)
    first.hear("train a", 0.5)
    watch = Watch([job], {job.name: Cost(10, 1.0)})
    with watching(watch, Screen(Console(file=io.StringIO()))):
        assert read_far(file) == Far("train a", 0.5) and not watch.running()  # It may be as good as dead elsewhere.
        second.hear("rates a", 0.25)
        assert watch.running() == [Far("rates a", 0.25)]
        first.end()
        assert read_far(file) == Far("rates a", 0.25)
    assert read_far(file) == Far("rates a", 0.25)
    second.end()
    assert [path.name for path in file.parent.iterdir()] == []


def test_what_a_killed_process_told_is_forgotten(tmp_path: Path) -> None:
    told = "import sys, pathlib; from experiments.executors.far import Teller; "
    told += "Teller(pathlib.Path(sys.argv[1])).hear('train a', 0.5)"
    file = tmp_path / "cell.json"
    subprocess.run([sys.executable, "-c", told, str(file)], check=True, cwd=ROOT)
    assert read_far(file) == Far("train a", 0.5)
    forget(file)
    assert not file.exists()
    file.write_text(json.dumps({"stage": "train a", "share": 0.5, "owner": "another-machine 1 00"}))
    forget(file)
    assert file.exists()


def test_what_cannot_be_written_or_read_ends_nothing(tmp_path: Path) -> None:
    Teller(tmp_path / "nowhere" / "cell.json").hear("rates", 0.5)
    for content in ("", "[]", "{", '{"stage": "rates"}', '{"stage": "rates", "share": "x"}', "\x00"):
        (tmp_path / "cell.json").write_text(content)
        assert read_far(tmp_path / "cell.json") is None
    (tmp_path / "cell.json").write_text('{"stage": "rates", "share": 7}')
    assert read_far(tmp_path / "cell.json") == Far("rates", 1.0)


def test_a_cell_tells_its_stages_outside_its_run_directory_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    (job,) = jobs_in(tmp_path, 1)

    def run(config: object, out: Path, screen: Screen) -> tuple[Path, bool]:
        with screen.stage("search  a/int8", total=8) as stage:
            seen.append(str(read_far(path_of(job.log))))
            monkeypatch.setattr(far, "WRITE_SECONDS", 0.0)
            stage.to(2, "1 finding")
            seen.append(str(read_far(path_of(job.log))))
        raise ValueError("Expected nothing.")

    monkeypatch.setattr("experiments.run.run", run)
    monkeypatch.setattr("experiments.config.schema.RunConfig.model_validate", lambda tree: tree)
    assert jobs.carry_out(job).message == "Expected nothing."
    assert seen == ["search a/int8", "search a/int8 25 %"]
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["cell-1.txt"]


def test_the_words_tell_ended_and_running_cells_and_the_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(watching_module.time, "monotonic", lambda: now[0])
    asked = jobs_in(tmp_path, 8)
    watch = Watch(asked, {job.name: Cost(100, 1.0) for job in asked})
    assert watch.words() == "0 of 8 cells"
    for number, (stage, share) in enumerate([("rates a/int8", 0.4), ("train a", 0.0)]):
        path_of(asked[number].log).write_text(json.dumps({"stage": stage, "share": share}))
    assert watch.words() == "0 of 8 cells · 2 running (rates a/int8 40 %; train a)"
    now[0] = 60.0
    watch.end("1")
    # One and a half of eight were done in a minute, the half by the other that ran; half a minute passes.
    now[0] = 90.0
    assert watch.words() == "1 of 8 cells · 1 running (train a) · about 3.8\u202fmin left"
    for job in asked[2:6]:
        path_of(job.log).write_text(json.dumps({"stage": "train b", "share": 0.5}))
    assert "5 running (train a; train b 50 %; train b 50 %; and 2 more)" in watch.words()


@pytest.mark.parametrize("at_a_time", [1, 4, 48])
def test_the_time_left_heeds_how_many_cells_run_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """Cells of a minute that begin one after another, so that their ends are spread as evenly."""
    now = [0.0]
    monkeypatch.setattr(watching_module.time, "monotonic", lambda: now[0])
    asked = jobs_in(tmp_path, 96)
    watch = Watch(asked, {job.name: Cost(100, 1.0) for job in asked})
    starts = [60.0 * i / at_a_time for i in range(len(asked))]
    for ended, job in enumerate(asked):
        now[0] = starts[ended] + 60
        for other, start in zip(asked, starts, strict=True):
            if start < now[0] <= start + 60:
                path_of(other.log).write_text('{"stage": "train", "share": 0.0}')
        watch.words()
        watch.end(job.name)
        path_of(job.log).unlink(missing_ok=True)
        truly = starts[-1] + 60 - now[0]
        if ended >= at_a_time:
            assert watch.left() == pytest.approx(truly, rel=0.3, abs=30), ended


def test_the_end_of_a_cell_looks_at_no_other(tmp_path: Path) -> None:
    asked = jobs_in(tmp_path, 5)
    looked: list[str] = []

    class Costs(dict[str, Cost]):
        def __getitem__(self, name: str) -> Cost:
            looked.append(name)
            return super().__getitem__(name)

    watch = Watch(asked, Costs({job.name: Cost(10 * int(job.name), 1.0) for job in asked}))
    looked.clear()
    for name in ("2", "5", "1"):
        watch.end(name)
    assert looked == ["2", "5", "1"] and (watch.spent, watch.whole) == (80, 150)


def test_a_line_now_and_again_where_there_is_no_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watching_module, "SAY_SECONDS", 0.0)
    asked = jobs_in(tmp_path, 2)
    said = io.StringIO()
    left_behind = path_of(asked[1].log)
    left_behind.write_text('{"stage": "stale", "share": 0.5}')
    watch = Watch(asked, {job.name: Cost(10, 1.0) for job in asked})
    before = threading.active_count()
    with watching(watch, Screen(Console(file=said, width=200))):
        Teller(path_of(asked[0].log)).hear("search  a/int8", 0.25)
        until = time.monotonic() + 10
        while "search" not in said.getvalue() and time.monotonic() < until:
            time.sleep(0.01)
        watch.end("1")
        watch.end("2")
    assert threading.active_count() == before
    assert "0 of 2 cells · 1 running (search a/int8 25 %)\n" in said.getvalue()
    assert "stale" not in said.getvalue() and "2 of 2 cells" in said.getvalue().splitlines()[-1]


def test_the_bar_over_cells_guesses_at_no_time_beside_the_one_that_is_told(tmp_path: Path) -> None:
    shown = []
    for foretold in (False, True):
        said = io.StringIO()
        console = Console(file=said, width=200, force_terminal=True, color_system=None)
        with Screen(console).stage("cells", total=4, foretold=foretold) as stage:
            stage.to(1, "about 6 min left")
        shown.append("-:--:--" in said.getvalue() or "0:00:00 left" in said.getvalue())
        assert "about 6 min left" in said.getvalue()
    assert shown == [True, False]

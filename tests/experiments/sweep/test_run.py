"""How a sweep ends whose cells are complete, held by others or failed, without running a model."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from diverget.store import Store
from experiments.cli import app
from experiments.executors import Asked, Done, Job, job
from experiments.executors.executor import cores
from experiments.progress import Screen
from experiments.sweep import Cell, Sweep, load_sweep
from experiments.sweep import costs as sweep_costs
from experiments.sweep import run as sweep_run
from experiments.sweep.run import ARRAY, Ended, carry_out, ended_in_words, processes_of
from tests.experiments import fake_cells, sweeps
from tests.experiments.small import CONFIG, write

ONE = "sweep: {grid: {seed: [0]}}\n"
TWO = "sweep: {grid: {seed: [0, 1]}}\n"


def sweep_of(folder: Path, criteria: str = "", swept: str = TWO) -> Sweep:
    return load_sweep(write(folder, CONFIG + criteria + swept))


def carried_out(sweep: Sweep, out: Path) -> tuple[Ended, str]:
    said = io.StringIO()
    return carry_out(sweep, out, Screen(Console(file=said, width=300))), said.getvalue()


def summary(cell: Cell, out: Path) -> dict:
    found: dict = json.loads((out / cell.folder / "summary.json").read_text())
    return found


def test_complete_cells_are_judged_by_the_criteria_that_stand_in_the_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = sweep_of(tmp_path, "criteria: [agreement >= 0.1]\n", ONE)
    runs = [fake_cells.complete(cell, out, findings=0) for cell in sweep.cells]
    ended, said = carried_out(sweep, out)
    assert ended.complete and ended.met and "judged anew" not in said
    assert (runs[0] / "report.html").read_text() == "stands for a report"
    stricter = sweep_of(tmp_path, "criteria: [agreement >= 1.0]\n", ONE)
    assert [cell.folder for cell in stricter.cells] == [run.name for run in runs]
    ended, said = carried_out(stricter, out)
    assert ended.complete and not ended.met
    assert said.count("judged anew") == 1
    for cell in stricter.cells:
        found = summary(cell, out)
        assert found["asked"] == [{"fail": "agreement >= 1.0"}] and not found["criteria_met"]
        assert "agreement &gt;= 1.0" in (out / cell.folder / "report.html").read_text()
    assert "agreement &gt;= 1.0" in (ended.place / "report.html").read_text()


def test_only_a_cluster_is_asked_for_more_cells_than_there_are_cores() -> None:
    assert processes_of("slurm", None) == ARRAY > cores()
    for engine, address in (("slurm", "local"), ("processes", None), ("dask", None)):
        assert processes_of(engine, None, address) == cores()
    assert processes_of("slurm", 3, "local") == 3 and processes_of("serial", None) == 1


def test_a_sweep_that_takes_the_place_of_another_of_its_name_says_so(tmp_path: Path) -> None:
    out, (old, new) = tmp_path / "out", (sweep_of(tmp_path), sweep_of(tmp_path, swept=ONE))
    for cell in old.cells:
        fake_cells.complete(cell, out, findings=0)
    assert "are replaced" not in carried_out(old, out)[1] + carried_out(old, out)[1]
    assert f"showed {len(old.cells) - 1} cell" in carried_out(new, out)[1]


@pytest.mark.parametrize("content", [b"[]", b"3", b"{}", b'{"complete": tr', b"\xff\xfe", b""])
def test_a_cell_with_a_damaged_summary_is_told_and_the_others_have_their_page(tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out"
    sound, damaged = sweep_of(tmp_path).cells
    fake_cells.complete(sound, out)
    fake_cells.complete(damaged, out)
    file = out / damaged.folder / "summary.json"
    file.write_bytes(content)
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "small.yaml"), "--out", str(out)])
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit)
    assert "cell 2 (seed 1) damaged: Expected" in done.output and f"{file}, got" in done.output
    assert f"remove the folder {file.parent} and" in done.output and "1 of 2 cells damaged" in done.output
    assert "failed" not in done.output and "Traceback" not in done.output
    place = out / "small-sweep"
    told = json.loads((place / "sweep.json").read_text())["cells"]
    assert [cell["state"] for cell in told] == ["complete", "damaged"]
    page = (place / "report.html").read_text()
    assert "1 cell damaged and without numbers here" in page and "damaged: Expected" in page
    with open(place / "cells.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert {(row["cell"], row["state"], bool(row["agreement"])) for row in rows} == {
        ("1", "complete", True),
        ("2", "damaged", False),
    }


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sweep of two quantisations that was carried out, under `out`."""
    folder = tmp_path_factory.mktemp("paired")
    quantisations = ", ".join(f"{{path: %(golden)s/{name}.tflite, name: {name}}}" for name in ("int8", "float16"))
    more = "control: false\nattribution: false\n"
    write(folder, CONFIG + more + f"sweep: {{grid: {{quantisations: [{quantisations}]}}}}\n")
    code, told = swept(folder, folder / "out")
    assert code == 0, told
    return folder


def swept(folder: Path, out: Path) -> tuple[int, str]:
    """The exit code of the sweep in `folder`, and all that it said."""
    fewer = ("search.budget=480", "search.population=6", "rates.draws=1", "relations=[brightness, gaussian_noise]")
    line = ["sweep", str(folder / "small.yaml"), "--out", str(out)]
    done = CliRunner().invoke(app, [*line, *(word for key in fewer for word in ("--set", key))])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("models.json", b"nothing"),
        ("manifest.json", b"nothing"),
        ("manifest.json", None),
        ("rates/outcomes-00.npz", b"nothing"),
        ("rates/outcomes-00.npz", None),
        ("summary.json", b"{}"),
    ],
)
def test_who_follows_what_is_told_of_a_damaged_file_has_the_whole_sweep_again(
    paired: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    out = tmp_path / "out"
    shutil.copytree(paired / "out", out)
    place = out / "small-sweep"
    first, second = json.loads((place / "sweep.json").read_text())["cells"]
    run = out / first["directory"]

    def numbers() -> list[object]:
        tables = [(place / table).read_bytes() for table in ("cells.csv", "paired.csv")]
        return [tables, sweeps.content(run), sweeps.content(out / second["directory"])]

    before = numbers()
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(content)
    code, told = swept(paired, out)
    assert code == 2 and "Errno" not in told and "Traceback" not in told and "failed" not in told
    assert "1 of 2 cells damaged" in told and str(run / name) in told
    assert f": remove the folder {run} and run again." in told
    assert "remove that" not in told and "remove it" not in told
    cells = json.loads((place / "sweep.json").read_text())["cells"]
    assert [cell["state"] for cell in cells] == ["damaged", "complete"]
    assert "1 cell damaged" in (place / "report.html").read_text() and not (place / "paired.csv").exists()
    shutil.rmtree(run)
    code, told = swept(paired, out)
    assert code == 0 and "damaged" not in told, told
    assert numbers() == before


def test_a_file_that_lacks_when_a_complete_cell_is_judged_anew_is_damage(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (cell,) = sweep_of(tmp_path, swept=ONE).cells
    run = fake_cells.complete(cell, out)
    (run / "manifest.json").unlink()
    for _ in range(2):  # The report is gone after the first.
        ended, _ = carried_out(sweep_of(tmp_path, "criteria: [agreement >= 0.1]\n", ONE), out)
        (told,) = [*ended.damaged.values(), *ended.failed.values()]
        assert told == (f"Expected {run / 'manifest.json'}, got no such file: remove the folder {run} and run again.")


def test_a_cell_that_another_process_holds_is_under_way_and_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "HELD_SECONDS", -1)
    out = tmp_path / "out"
    sweep = sweep_of(tmp_path)
    done, held = sweep.cells
    fake_cells.complete(done, out)
    with Store(out / held.folder).alone():
        ended, said = carried_out(sweep, out)
        again = CliRunner().invoke(app, ["sweep", str(tmp_path / "small.yaml"), "--out", str(out)])
    assert again.exit_code == 2 and "cell 2 under way elsewhere" in again.stdout
    assert not ended.failed and ended.elsewhere == ["2"] and not ended.complete
    assert "failed" not in said
    assert "cell 2 under way elsewhere: other processes write" in next(iter(ended_in_words(sweep, ended)))
    cells = json.loads((ended.place / "sweep.json").read_text())["cells"]
    assert [cell["state"] for cell in cells] == ["complete", "under way elsewhere"]
    page = (ended.place / "report.html").read_text()
    assert "1 cell under way elsewhere" in page and "failed" not in page


def test_a_damaged_summary_of_a_cell_that_another_process_held_leaves_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    sweep = sweep_of(tmp_path)
    sound, held = sweep.cells
    fake_cells.complete(sound, out)

    def ends_damaged(jobs: Sequence[Job], asked: Asked) -> Iterator[Done]:
        run = fake_cells.complete(held, out)
        (run / "summary.json").write_text("{")
        yield Done(jobs[0].name, None, "Expected it to be free, got a run.", held=True)

    monkeypatch.setattr(sweep_run, "EXECUTORS", {"serial": ends_damaged})
    ended, _ = carried_out(sweep, out)
    assert list(ended.damaged) == ["2"] and not ended.elsewhere and not ended.failed
    assert f"remove the folder {out / held.folder} and" in ended.damaged["2"]
    cells = json.loads((ended.place / "sweep.json").read_text())["cells"]
    assert [cell["state"] for cell in cells] == ["complete", "damaged"]
    assert "1 cell damaged and without numbers here" in (ended.place / "report.html").read_text()


def test_a_damaged_cell_is_told_while_the_others_are_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    sweep = sweep_of(tmp_path, swept="sweep: {grid: {seed: [0, 1, 2]}}\n")
    (fake_cells.complete(sweep.cells[0], out) / "summary.json").write_text("{")
    told: list[list[str]] = []

    def looks(jobs: Sequence[Job], asked: Asked) -> Iterator[Done]:
        for number, cell in zip("23", sweep.cells[1:], strict=True):
            cells = json.loads((out / "small-sweep" / "sweep.json").read_text())["cells"]
            told.append([each["state"] for each in cells])
            fake_cells.complete(cell, out)
            yield Done(number, True)

    monkeypatch.setattr(sweep_run, "EXECUTORS", {"serial": looks})
    monkeypatch.setattr(sweep_run, "WRITE_SECONDS", -1.0)
    ended, _ = carried_out(sweep, out)
    assert told == [["damaged", "not begun", "not begun"], ["damaged", "complete", "not begun"]]
    assert list(ended.damaged) == ["1"]


def test_a_complete_cell_that_is_held_is_not_judged_under_the_other_process(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (cell,) = sweep_of(tmp_path, swept=ONE).cells
    fake_cells.complete(cell, out)
    other = sweep_of(tmp_path, "criteria: [agreement >= 1.0]\n", ONE)
    with Store(out / cell.folder).alone():
        ended, _ = carried_out(other, out)
    assert ended.elsewhere == ["1"] and summary(cell, out)["asked"] == []


def test_a_look_at_many_cells_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_costs, "SAY_SECONDS", 0.0)
    file = write(tmp_path, CONFIG + "sweep: {grid: {seed: [0, 1, 2]}}\n")
    told = CliRunner().invoke(
        app,
        ["sweep", str(file), "--out", str(tmp_path / "out"), "--dry-run", "--engine", "dask", "--address", "nowhere"],
    )
    assert told.exit_code == 0, told.stderr
    assert "checked 1 of 3\nchecked 2 of 3\n" in told.stderr and "checked 3 of 3" in told.stderr
    assert "checked" not in told.stdout and "3 cells, 0 complete" in told.stdout

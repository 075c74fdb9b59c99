"""One assessment from the command line to the replay, stopped and continued at any instant."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments import stages
from tests.experiments.small import CONFIG, ROOT, command, diverget, kill_once, process, run_directory, write


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("finished")
    done = diverget("run", write(folder), "--out", folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return run_directory(folder / "out")


def content(run: Path) -> dict[str, bytes]:
    """What must not depend on how a run came to its end."""
    found = {name: (run / name).read_bytes() for name in ("findings.parquet", "rates.parquet", "summary.json")}
    for folder in ("findings", "evaluations", "rates", "models"):
        for path in sorted((run / folder).glob("*.*")):
            if not path.name.startswith("done-"):
                found[f"{folder}/{path.name}"] = path.read_bytes()
    return found


def test_it_finds_confirms_and_reports(finished: Path) -> None:
    findings = pq.read_table(finished / "findings.parquet").to_pylist()
    assert len(findings) > 3
    assert all(row["confirmed"] and not row["control"] for row in findings)
    assert all(row["severity"] <= row["severity_found"] for row in findings)
    assert all(row["reference_class"] != row["quantised_class"] for row in findings)
    assert json.loads((finished / "summary.json").read_text())["control_findings"] == 0
    assert (finished / "report.html").stat().st_size < 10_000_000
    assert json.loads((finished / "card.json").read_text())["verdict"]


def test_the_budget_is_met(finished: Path) -> None:
    rows = [
        row for part in sorted((finished / "evaluations").glob("part-00-*")) for row in pq.read_table(part).to_pylist()
    ]
    assert [row["candidate"] for row in rows] == list(range(120))
    assert rows[-1]["queries"] == 9600
    assert all(sum(row[name] for name in row if name.startswith("outcome:")) == 40 for row in rows)


def test_a_search_that_ends_early_tells_what_it_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An optimiser may find no point that it has not asked for."""
    whole = stages.generations
    monkeypatch.setattr(stages, "generations", lambda *given, **named: islice(whole(*given, **named), 3))
    done = diverget("run", write(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    root = run_directory(tmp_path / "out")
    told = [json.loads(path.read_text()) for path in sorted((root / "evaluations").glob("done-*.json"))]
    assert [one["queries"] for one in told] == [3 * 12 * 2 * 40, 12 * 2 * 40]
    last = pq.read_table(root / "evaluations" / "part-00-00002.parquet").to_pylist()[-1]
    assert last["queries"] == told[0]["queries"] < 9600


def test_every_finding_replays_from_a_copy_of_the_run_alone(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(finished, copy)
    done = diverget("replay", copy, "--all", "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) == pq.read_table(copy / "findings.parquet").num_rows
    assert all(result["reproduced"] and result["identical"] for result in results)


def test_a_replay_that_fails_is_said(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "changed"
    shutil.copytree(finished, copy)
    with np.load(copy / "findings" / "0000.npz") as stored:
        arrays = dict(stored)
    arrays["source"] = arrays["source"][::-1] * np.float32(0.2)
    np.savez_compressed(copy / "findings" / "0000.npz", **arrays)
    done = diverget("replay", copy, "--finding", "0")
    assert done.returncode == 1
    assert "0 of 1 findings reproduce" in done.stdout


def test_another_number_of_workers_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    done = diverget("run", write(tmp_path), "--out", tmp_path / "out", "--set", "workers=3")
    assert done.returncode == 0, done.stderr
    assert content(run_directory(tmp_path / "out")) == content(finished)


def parts(out: Path) -> int:
    return len(list(out.glob("small-*/*/part-*.parquet"))) + len(list(out.glob("small-*/findings/*.npz")))


@pytest.mark.parametrize("after", [2, 14])
def test_killed_at_any_instant_it_ends_with_the_same_bytes(finished: Path, tmp_path: Path, after: int) -> None:
    config, out = write(tmp_path), tmp_path / "out"
    kill_once(lambda: parts(out) >= after, config, out)
    stopped = run_directory(out)
    assert not (stopped / "summary.json").exists()
    kept = {path: path.read_bytes() for path in stopped.rglob("part-*.parquet")}
    done = diverget("run", config, "--out", out)
    assert done.returncode == 0, done.stderr
    assert content(stopped) == content(finished)
    assert all(path.read_bytes() == before for path, before in kept.items()), "a part was written again"


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    config, out = write(tmp_path), tmp_path / "out"
    process = subprocess.Popen(
        command("run", config, "--out", out, "--set", "search.budget=4000000"),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A suite started in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while parts(out) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "goes on from there" in errors
    assert "Traceback" not in errors
    assert "incomplete" in (run_directory(out) / "report.html").read_text().lower()


def test_a_finished_run_is_not_repeated(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "evaluations").iterdir()}
    done = diverget("run", finished.parents[1] / "small.yaml", "--out", finished.parent)
    assert done.returncode == 0
    assert "complete already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (finished / "evaluations").iterdir()} == before


def test_a_scene_without_labels_is_assessed_and_criteria_decide_the_exit_code(tmp_path: Path) -> None:
    config = write(tmp_path, CONFIG + "criteria: ['findings <= 0', 'agreement >= 0.5']\n")
    with np.load(tmp_path / "scene.npz") as stored:
        np.savez(tmp_path / "scene.npz", cube=stored["cube"])
    done = diverget("run", config, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    run = run_directory(tmp_path / "out")
    assert json.loads((run / "baseline.json").read_text())["float/int8"]["accuracy_reference"] is None
    assert pq.read_table(run / "findings.parquet").num_rows > 0
    statements = json.loads((run / "summary.json").read_text())["criteria"]
    assert [statement["met"] for statement in statements] == [False, True]


def test_without_tensorflow_one_worker_in_a_process_of_its_own_gives_the_same_bytes(
    finished: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    for package in ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"):
        (blocked / package).mkdir(parents=True)
        (blocked / package / "__init__.py").write_text("raise ImportError('blocked')\n")
    places = os.pathsep.join([str(blocked), str(ROOT)])
    done = process("run", write(tmp_path), "--out", tmp_path / "out", "--set", "workers=1", PYTHONPATH=places)
    assert done.returncode == 0, done.stderr
    assert "INFO" not in done.stderr and "TensorFlow" not in done.stderr
    assert content(run_directory(tmp_path / "out")) == content(finished)


def test_check_tells_the_cost_and_runs_nothing(tmp_path: Path) -> None:
    done = diverget("check", write(tmp_path), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "search 10,560" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", ["relations", "optimisers", "objectives", "limits", "models", "quantisations", "metrics"]
)
def test_list_as_table_and_as_json(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = json.loads(diverget("list", kind, "--json").stdout)
    assert rows and all(row["name"] for row in rows)
    table = diverget("list", kind).stdout
    assert all(row["name"] in table for row in rows)


def test_help_answers_at_once() -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5

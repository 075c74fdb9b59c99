"""What comes back of a cell that does not come to its end."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from pathlib import Path
from typing import NoReturn

import pytest

import experiments.run
from diverget.store import Store
from experiments.config import load
from experiments.executors import Asked, Job, carry_out, job
from experiments.executors.executor import died
from experiments.executors.job import job_of
from experiments.run import directory
from tests.experiments.small import write


def job_in(folder: Path) -> Job:
    config = load(write(folder))
    return job_of("1", json.dumps(config.effective()), out=folder / "out", log=folder / "logs" / "1.txt", workers=1)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("no kernel\nmore words"), "got RuntimeError: no kernel; see"),
        (ZeroDivisionError("division by zero"), "got ZeroDivisionError: division by zero; see"),
        (KeyError("gone"), "got KeyError: 'gone'; see"),
        (TypeError(), "got TypeError:; see"),
        (zlib.error("incorrect header check"), "got error: incorrect header check; see"),
    ],
)
def test_what_a_library_raises_ends_its_cell_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fails(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(experiments.run, "run", fails)
    asked = job_in(tmp_path)
    done = carry_out(asked)
    assert done.met is None and not done.held
    assert done.message.startswith("Expected the cell to come to its end") and told in done.message
    assert str(asked.log) in done.message and "Traceback" not in done.message
    log = asked.log.read_text()
    assert "Traceback" in log and type(error).__name__ in log


def test_a_directory_that_another_process_holds_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "HELD_SECONDS", -1)
    asked = job_in(tmp_path)
    with Store(directory(load(tmp_path / "small.yaml"), tmp_path / "out")).alone():
        done = carry_out(asked)
    assert done.held and done.met is None and "to be free" in done.message


def test_a_death_costs_a_retry_until_none_is_left(tmp_path: Path) -> None:
    said: list[str] = []
    asked, deaths = Asked(1, tmp_path, said.append, retries=1), Counter[str]()
    one = Job("1", "{}", tmp_path, tmp_path / "log.txt", 1)
    assert died(one, "a lost node", deaths, asked) is None
    given_up = died(one, "a lost node", deaths, asked)
    assert given_up is not None and "got a lost node, 2 times" in given_up.message
    assert said == ["cell 1: a lost node; it is tried again"]

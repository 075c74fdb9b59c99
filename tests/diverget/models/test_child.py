from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from diverget.models.child import ModelError, run
from tests.diverget.models import networks
from tests.diverget.models.networks import SAID


def gone(pid: int, *, within: float = 5.0) -> bool:
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_result_and_events_come_back_and_prints_do_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    events: list[dict[str, Any]] = []
    result = run(networks.echo, {"count": 3, "text": "é"}, **SAID, timeout=60, on_event=events.append)
    assert result["back"] == {"count": 3, "text": "é"}
    assert [event["number"] for event in events] == [0, 1, 2]
    environment = result["environment"]
    assert "TF_USE_LEGACY_KERAS" not in environment
    assert environment["KERAS_BACKEND"] == "tensorflow"
    assert environment["TF_CPP_MIN_LOG_LEVEL"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert capfd.readouterr() == ("", "")
    assert result["pid"] != os.getpid()


def test_a_crash_is_an_error_with_the_last_words() -> None:
    with pytest.raises(ModelError, match=r"the test.*SIGSEGV.*about to fall.*look again"):
        run(networks.crash, {}, **SAID, timeout=60)


@pytest.mark.parametrize(("code", "told"), [(3, "exit code 3"), (139, "SIGSEGV"), (0, "exit code 0")])
def test_a_child_that_leaves_without_a_result_is_an_error(code: int, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        run(networks.leave, {"code": code}, **SAID, timeout=60)


def test_an_exception_is_an_error_in_one_line() -> None:
    with pytest.raises(ModelError, match=r"RuntimeError: first line \| second line; look again") as caught:
        run(networks.fail, {}, **SAID, timeout=60)
    assert "\n" not in str(caught.value)


def test_a_missing_tensorflow_names_the_extra() -> None:
    with pytest.raises(ModelError, match=r'pip install "diverget\[tensorflow\]"'):
        run(networks.lack, {}, **SAID, timeout=60)


def test_the_time_limit_kills() -> None:
    seen: list[dict[str, Any]] = []
    start = time.monotonic()
    with pytest.raises(ModelError, match="within 2 s"):
        run(networks.sleep, {}, **SAID, timeout=2, on_event=seen.append)
    assert time.monotonic() - start < 20
    assert gone(seen[0]["pid"])


def test_an_interrupt_in_the_parent_kills_the_child() -> None:
    seen: list[int] = []

    def interrupt(event: dict[str, Any]) -> None:
        seen.append(event["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(networks.sleep, {}, **SAID, timeout=60, on_event=interrupt)
    assert gone(seen[0])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_child_dies_with_its_parent(how: signal.Signals) -> None:
    code = (
        "from diverget.models.child import run; from tests.diverget.models import networks; "
        "run(networks.sleep, {}, task='t', advice='a', timeout=None, on_event=lambda e: print(e['pid'], flush=True))"
    )
    root = Path(__file__).resolve().parents[3]
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A suite started in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(how)
    parent.wait(30)
    parent.stdout.close()
    assert gone(pid)


def test_two_threads_may_run_children_at_once() -> None:
    found: list[int] = []
    workers = [
        threading.Thread(target=lambda: found.append(run(networks.echo, {"count": 1}, **SAID, timeout=60)["pid"]))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(found)) == 2

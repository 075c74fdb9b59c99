"""Heavy work in a process of its own: what it prints, hogs or breaks stays there.

TensorFlow writes to every terminal it finds, keeps its memory, and on some networks dies of SIGSEGV. So a job
is a function `job(payload, emit) -> result` of JSON values, run by `python -m diverget.models.child`: the
request comes on stdin as one line, events go to stdout as JSON lines, everything else into a log. Arrays
travel as files, by path.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import IO, Any

Emit = Callable[[dict[str, Any]], None]
Job = Callable[[dict[str, Any], Emit], dict[str, Any]]

HEAVY = ("tensorflow", "keras", "tf_keras")
TAIL_LINES, TAIL_CHARACTERS = 6, 700
PR_SET_PDEATHSIG = 1


class ModelError(ValueError):
    """Work on a model that failed in its own process; the message says how and what to do."""


def run(
    job: Job,
    payload: dict[str, Any],
    *,
    task: str,
    advice: str,
    timeout: float | None,
    on_event: Emit | None = None,
) -> dict[str, Any]:
    """The result of `job(payload, emit)` in a child process that leaves no trace in this one.

    The process group of the child is killed when the time is up, when this call is left by any exception
    (Ctrl-C, say), and when this process dies.

    Args:
        job: an importable function; its module is imported in the child only.
        payload: JSON values.
        task: the work in words, "the conversion of net.keras to int8", for the error.
        advice: what to do when it fails, for the error.
        timeout: seconds, or None for no limit.
        on_event: called here with every event the job emits.

    Raises:
        ModelError: the job raised, crashed, or took too long; the last lines of its log are in the message.
    """
    result: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    expired = threading.Event()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            program(job),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(),
            start_new_session=True,
            encoding="utf-8",
        )
        assert process.stdin is not None and process.stdout is not None

        def expire() -> None:
            expired.set()
            _kill(process)

        timer = threading.Timer(timeout, expire) if timeout is not None else None
        try:
            if timer:
                timer.daemon = True
                timer.start()
            request = {"job": f"{job.__module__}:{job.__qualname__}", "payload": payload, "parent": os.getpid()}
            _send(process.stdin, json.dumps(request) + "\n")
            for line in process.stdout:
                if not line.endswith("\n"):
                    break  # Killed in the middle of a line.
                event = json.loads(line)
                if event.get("event") == "result":
                    result = event["result"]
                elif event.get("event") == "error":
                    failure = event
                elif on_event:
                    on_event(event)
            code = process.wait()
        finally:
            if timer:
                timer.cancel()
            _kill(process)
            process.wait()
            process.stdout.close()
            _close(process.stdin)
        tail = _tail(log)
    if expired.is_set() and result is None:
        raise ModelError(
            f"Expected {task} to finish within {timeout:g} s, got no result in that time{_quoted(tail)}; "
            f"allow more time, or {advice}."
        )
    if failure is not None and failure["kind"] == "missing":
        raise ModelError(
            f"Expected TensorFlow for {task}, found no module {failure['message']!r} in {sys.executable}; "
            'install the extra: pip install "diverget[tensorflow]".'
        )
    if failure is not None and failure["kind"] == "answer":
        raise ModelError(failure["message"])
    if failure is not None:
        raise ModelError(f"Expected {task} to succeed, got {failure['message']}; {advice}.")
    if result is None or code != 0:
        raise ModelError(
            f"Expected {task} to succeed, but its process ended with {_ending(code)}{_quoted(tail)}; {advice}."
        )
    return result


def program(job: Job) -> list[str]:
    """The command line of the child that does `job`, which it reads from its stdin."""
    # -P keeps the working directory out of the child's import path: a keras.py there would be imported.
    return [sys.executable, "-P", "-W", "ignore", "-m", "diverget.models.child"]


def environment() -> dict[str, str]:
    """The environment of a child: this one's import path, Keras 3 on TensorFlow, no GPU, no chatter."""
    dropped = ("TF_USE_LEGACY_KERAS", "KERAS_BACKEND", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    settings = {
        "PYTHONPATH": path,
        "PYTHONHASHSEED": "0",
        "PYTHONIOENCODING": "utf-8",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    return kept | settings


def _send(stream: IO[str], text: str) -> None:
    # Of a child that is dead already, exit code and log say why.
    with contextlib.suppress(BrokenPipeError):
        stream.write(text)
        stream.flush()


def _close(stream: IO[str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    number = -code if code < 0 else code - 128 if code > 128 else 0
    if number in {int(known) for known in signal.Signals}:
        return f"the signal {signal.Signals(number).name} (exit code {code})"
    return f"exit code {code}"


def _tail(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 64 * 1024))
    lines = (line.strip() for line in log.read().decode("utf-8", "replace").splitlines())
    told = [line for line in lines if line and not line.startswith(("WARNING", "INFO", "I0000", "W0000"))]
    return " | ".join(told[-TAIL_LINES:])[-TAIL_CHARACTERS:]


def _quoted(tail: str) -> str:
    return f" (its last words: {tail})" if tail else " (it left no message)"


def _die_with(parent: int) -> None:
    """Let this process end when its parent does: by the kernel on Linux, by the end of stdin elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _explained(error: BaseException) -> dict[str, Any]:
    """The last event of a job that raised. A ModelError is an answer for the user; anything else is a failure."""
    if isinstance(error, ModelError):
        return {"event": "error", "kind": "answer", "message": str(error)}
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing in HEAVY:
        return {"event": "error", "kind": "missing", "message": missing}
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = " | ".join(lines if len(lines) <= TAIL_LINES else [lines[0], *lines[1 - TAIL_LINES :]])
    return {"event": "error", "kind": "raised", "message": f"{type(error).__name__}: {told}"[:TAIL_CHARACTERS]}


def main() -> None:
    """Read one request, do it, write its events."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # What a library prints, at whatever level, joins the log.

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    sys.excepthook = lambda kind, error, trace: emit(_explained(error))
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            return
        line += more
    request = json.loads(line)
    _die_with(request["parent"])
    module, _, name = request["job"].partition(":")
    result = getattr(importlib.import_module(module), name)(request["payload"], emit)
    emit({"event": "result", "result": result})
    os._exit(0)  # TensorFlow's own teardown can crash after the work is done.


if __name__ == "__main__":
    # This file runs as `__main__`; the jobs import it by name and must meet the same ModelError.
    importlib.import_module("diverget.models.child").main()

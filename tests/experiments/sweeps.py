"""A sweep of 24 cells over the embedded scene with one small network, and which bytes must not depend on who ran it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from experiments.executors.far import read_far
from tests.experiments.small import ROOT, command

CONFIG = """
name: tiny
seed: 1
scene: {synthetic: {height: 64, width: 64}, patch: 7}
split: {assessed: 12, baseline: 80}
references: [{zoo: depthwise, epochs: 4, train_limit: 400}]
quantisations: [float16]
relations: [brightness, gaussian_noise]
rates: {draws: 1, doses: []}
search: {population: 6, budget: 288}
control: false
attribution: false
sweep:
"""

GRID = """
  grid:
    tier: [in_spec, stress]
    limits: [{psnr: 20}, {psnr: 18}, {}]
    search.optimiser: [nsga2, random]
    rates.draws: [1, 2]
"""

SIX = """
  grid:
    limits: [{psnr: 20}, {psnr: 18}, {}]
    rates.draws: [1, 2]
"""

FOUR = """
  grid:
    limits: [{psnr: 20}, {psnr: 18}]
    rates.draws: [1, 2]
"""

TWO = """
  grid: {rates.draws: [1, 2]}
"""

PASSING = ("timing.json", "card.json", "report.html", "manifest.json", "baseline.json", "models.json")
"""Files of a run that tell seconds, speeds or workers. `report.html` and `card.json` tell them again."""


WAIT_SECONDS = 900
"""For a whole sweep, on a machine that does other things as well."""


def write(folder: Path, swept: str = SIX, *, config: str = CONFIG) -> Path:
    """The sweep in `folder`; the path of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.yaml"
    path.write_text(config + swept)
    return path


def runs(out: Path) -> list[Path]:
    """The run directories under `out`."""
    if not out.exists():
        return []
    return sorted(path for path in out.iterdir() if path.name.startswith("tiny-") and path.name != "tiny-sweep")


def content(run: Path) -> dict[str, bytes]:
    """The files that determine the result of a run, byte by byte."""
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in PASSING and not path.name.startswith((".", "done-"))
    }


def with_cache(out: Path, done: Path) -> Path:
    """The folder `out` with the trained and converted networks of the finished sweep under `done`."""
    shutil.copytree(done / "cache", out / "cache")
    return out


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    """`diverget sweep` in a process of its own that goes on beside the test."""
    return subprocess.Popen(
        command("sweep", *arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A suite started in the background ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def sweep(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of `diverget sweep`, and all that it said."""
    process = started(*arguments)
    told, _ = process.communicate(timeout=WAIT_SECONDS)
    return process.returncode, told


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The ids of the worker processes below `process`."""
    parents, spawned = {}, set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"spawn_main" in (folder / "cmdline").read_bytes():
                spawned.add(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    below = {process.pid}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below & spawned)


def wait_for(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Return as soon as something is `reached` while `process` lives."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not reached():
        assert process.poll() is None, f"it was over before: {process.stdout.read() if process.stdout else ''}"
        assert time.monotonic() < deadline, "it did not come so far in time"
        time.sleep(0.01)


def under_way(out: Path) -> int:
    """How many runs under `out` are begun and not complete."""
    return sum((run / "manifest.json").exists() and not (run / "summary.json").exists() for run in runs(out))


def telling(out: Path) -> list[str]:
    """The stages that cells under `out` tell to be in."""
    found = (read_far(path) for path in (out / "tiny-sweep" / "logs").glob("*.json"))
    return [far.stage for far in found if far is not None]


def complete(out: Path) -> int:
    """How many runs under `out` are complete."""
    return sum((run / "summary.json").exists() and (run / "report.html").exists() for run in runs(out))


def alive(pid: int) -> bool:
    """Whether a process still runs (a zombie does not)."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False

"""How much faster two processes carry out a sweep of 24 cells than one, and whether all ends with the same bytes, on
dask with a killed worker too: `python -m tests.bench.sweep`.

The networks are trained and converted before, so that all do the same work. The bar is a ratio of wall times of at most
0.6 on two idle cores. The load of the machine is told, for on a busy one the ratio says little.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from tests.experiments import sweeps

BAR = 0.6

CONFIG = sweeps.CONFIG.replace("doses: []", "doses: [0.2, 0.4, 0.6, 0.8, 1.0]").replace("budget: 288", "budget: 5760")
"""Cells of several seconds: in those of the tests, which take two, starting a worker would be what is measured."""


def seconds(file: Path, out: Path, *engine: str) -> float:
    """Wall time of the sweep in `file`."""
    started = time.perf_counter()
    code, told = sweeps.sweep(file, "--out", out, *engine)
    if code:
        raise SystemExit(told)
    return time.perf_counter() - started


def with_a_death(file: Path, out: Path) -> None:
    """Carry out the sweep on dask with two workers, one of them killed on the way."""
    process = sweeps.started(file, "--out", out, "--engine", "dask", "--processes", "2")
    sweeps.wait_for(lambda: sweeps.complete(out) > 0 and sweeps.under_way(out) == 2, process)
    os.kill(sweeps.workers_of(process)[0], signal.SIGKILL)
    told, _ = process.communicate(timeout=sweeps.WAIT_SECONDS)
    if process.returncode:
        raise SystemExit(told)


def alike(out: Path, first: Path) -> int:
    """How many runs under `out` have the bytes of their twins under `first`."""
    return sum(sweeps.content(run) == sweeps.content(first / run.name) for run in sweeps.runs(out))


def main() -> None:
    """Print the times, their ratio, and how many cells are the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(sweeps.write(folder / "first", sweeps.TWO, config=CONFIG), folder / "first" / "out")
        file = sweeps.write(folder, sweeps.GRID, config=CONFIG)
        outs = [sweeps.with_cache(folder / side, folder / "first" / "out") for side in ("serial", "processes", "dask")]
        before = os.getloadavg()[0]
        serial = seconds(file, outs[0])
        between = os.getloadavg()[0]
        two = seconds(file, outs[1], "--engine", "processes", "--processes", "2")
        after = os.getloadavg()[0]
        with_a_death(file, outs[2])
        same = [alike(out, outs[0]) for out in outs[1:]]
    print(f"24 cells: serial {serial:.1f} s, two processes {two:.1f} s, ratio {two / serial:.2f} (bar: {BAR})")
    print(f"same bytes as serial: {same[0]} of 24 on processes, {same[1]} of 24 on dask with a killed worker")
    print(f"load of the machine before, between and after: {before:.1f}, {between:.1f}, {after:.1f}")


if __name__ == "__main__":
    main()

"""How much faster two processes carry out a sweep of 24 cells than one: `python -m tests.bench.sweep`.

The networks are trained and converted before, so that both sides do the same work. The bar is a ratio of wall times of
at most 0.6 on two idle cores. The load of the machine is told, for on a busy one the ratio says little.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.experiments import sweeps

BAR = 0.6


def seconds(file: Path, out: Path, *engine: str) -> float:
    """Wall time of the sweep in `file`."""
    started = time.perf_counter()
    code, told = sweeps.sweep(file, "--out", out, *engine)
    if code:
        raise SystemExit(told)
    return time.perf_counter() - started


def main() -> None:
    """Print both times and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds(sweeps.write(folder / "first", sweeps.TWO), folder / "first" / "out")
        file = sweeps.write(folder)
        outs = [sweeps.with_cache(folder / side, folder / "first" / "out") for side in ("serial", "processes")]
        before = os.getloadavg()[0]
        serial = seconds(file, outs[0])
        between = os.getloadavg()[0]
        two = seconds(file, outs[1], "--engine", "processes", "--processes", "2")
        after = os.getloadavg()[0]
    print(f"24 cells: serial {serial:.1f} s, two processes {two:.1f} s, ratio {two / serial:.2f} (bar: {BAR})")
    print(f"load of the machine before, between and after: {before:.1f}, {between:.1f}, {after:.1f}")


if __name__ == "__main__":
    main()

"""Whether memory stays flat and time grows in proportion as budgets grow tenfold: `python -m tests.bench.budget`.

Two whole runs on a pair of golden .tflite files, each in a process of its own; the second searches with ten times the
budget, over all patches and patch by patch. Told are the peak of resident memory of the whole run, and for each of the
two searches the seconds and how many times those of the first it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tests.experiments import small

SEARCH, PATCH = 96_000, 200
"""Queries over all patches and for each patch, of the first run."""


def measured(folder: Path, factor: int) -> tuple[float, dict[str, float]]:
    """Peak of resident memory in MB, and the seconds of each stage, of a run with `factor` times the budgets."""
    text = small.CONFIG.replace("budget: 9600", f"budget: {factor * SEARCH}") + (
        f"patchwise: {{arms: [boundary, random], budget: {factor * PATCH}, until: spent}}\ncontrol: false\n"
    )
    config = small.write(folder, text)
    process = subprocess.Popen(
        small.command("run", config, "--out", folder / "out"), cwd=small.ROOT, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the run with {factor} times the budgets ended with {os.waitstatus_to_exitcode(status)}")
    told = json.loads((small.run_directory(folder / "out") / "timing.json").read_text())["stages"]
    return usage.ru_maxrss / 1024, {entry["stage"].split()[0]: entry["seconds"] for entry in told}


def main() -> None:
    """Print both runs and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        (once, first), (tenfold, second) = (measured(Path(name) / str(factor), factor) for factor in (1, 10))
    print(f"peak memory: {once:.0f} MB, with ten times the budgets {tenfold:.0f} MB, ratio {tenfold / once:.2f}")
    for stage, words in (("search", "over all patches"), ("patches", "patch by patch")):
        print(
            f"search {words}: {first[stage]:.1f} s and {second[stage]:.1f} s, {second[stage] / first[stage]:.1f} times"
        )


if __name__ == "__main__":
    main()

"""A whole assessment in seconds and without TensorFlow: a small scene and a pair of golden .tflite files."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from experiments.cli import app
from tests.diverget.models.networks import CLASSES, SHAPE

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "models"

CONFIG = """
name: small
seed: 5
scene: {path: scene.npz, patch: 5}
split: {assessed: 40, baseline: 200}
references: [{path: %(golden)s/float32.tflite, name: float}]
quantisations: [{path: %(golden)s/int8.tflite, name: int8}]
relations: [brightness, offset, gaussian_blur, gaussian_noise, impulse_noise, stripes]
limits: {psnr: 12}
rates: {draws: 2}
search: {population: 12, budget: 9600}
"""


def scene_arrays(*, side: int = 36) -> dict[str, np.ndarray]:
    """Three classes in fields, the spectra of the golden networks in twice the noise they learnt in."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, 1, 1, SHAPE[2]))[:, 0, 0]
    row, col = np.mgrid[:side, :side]
    truth = ((row // 6 + 2 * (col // 6)) % CLASSES).astype(np.uint8)
    noise = np.random.default_rng(4).normal(size=(side, side, SHAPE[2]))
    return {"cube": (centres[truth] + 0.9 * noise).astype(np.float32), "gt": truth + 1}


def write(folder: Path, text: str = CONFIG) -> Path:
    """The config and its scene in `folder`; the path of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "scene.npz", **scene_arrays())
    path = folder / "small.yaml"
    path.write_text(text % {"golden": GOLDEN})
    return path


def command(*arguments: str | Path) -> list[str]:
    """The command line of `diverget` under this interpreter."""
    return [sys.executable, "-m", "experiments.cli", *map(str, arguments)]


def diverget(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`diverget` in this process, which has imported everything already; what no command may raise is raised."""
    line = [str(argument) for argument in arguments]
    with chdir(ROOT):
        done = CliRunner().invoke(app, line, prog_name="diverget")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(line, done.exit_code, done.stdout, done.stderr)


def process(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`diverget` in a process of its own."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def kill_once(reached: Callable[[], bool], config: Path, out: Path) -> None:
    """Start a run of `config` into `out` and kill it as soon as it has `reached` something."""
    process = subprocess.Popen(
        command("run", config, "--out", out), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, "the run was over before it could be killed"
    process.kill()
    process.wait()
    assert reached(), "the run did not come so far in time"


def run_directory(out: Path) -> Path:
    """The only run under `out`."""
    (found,) = [path for path in out.iterdir() if path.name.startswith("small-")]
    return found

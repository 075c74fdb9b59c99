"""How close a search comes to the raw speed of its two models: `make bench`.

For each network: the queries a second of `Problem.evaluate` (distort, prepare, ask both, measure, judge, score)
over those of nothing but the two interpreters fed with prepared inputs, on the same rows with the same worker
threads, in turn within one process. 1.00 would mean that everything but inference is free.
"""

from __future__ import annotations

import os
import sys

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from diverget.problem import Problem
from diverget.scene import Scene
from diverget.store import Store
from experiments import data
from experiments.config import load
from experiments.pairs import prepare
from experiments.progress import Screen
from experiments.stages import Run

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
FOUR = "[gaussian_blur, brightness, offset, gaussian_noise]"


def search_seconds(problem: Problem, u: np.ndarray) -> float:
    """Seconds of one generation."""
    started = time.perf_counter()
    problem.evaluate(u)
    return time.perf_counter() - started


def raw_seconds(problem: Problem, prepared: np.ndarray, rows: int) -> float:
    """Seconds of both models over as many prepared rows, in chunks as the search makes them."""
    chunks = [prepared[np.arange(start, min(start + 64, rows)) % len(prepared)] for start in range(0, rows, 64)]

    def both(z: np.ndarray) -> None:
        problem.reference.infer(z)
        problem.quantised.infer(z)

    started = time.perf_counter()
    list(problem.pool.map(both, chunks))
    return time.perf_counter() - started


def measure(name: str, *, patch: int, candidates: int, every: int = 1, relations: str | None = None) -> None:
    """Print the ratio for one network: median of the rounds, each with both in turn.

    Args:
        name: of the zoo.
        patch: side of the patches.
        candidates: of one generation.
        every: only each so many-th band of the embedded scene.
        relations: those of the space, as YAML; without it, those of the quickstart.
    """
    label = f"{name}-{patch}-{every}"
    config = load(
        ROOT / "configs" / "quickstart.yaml",
        overrides=[
            f"name=bench-{label}",
            f"references=[{{zoo: {name}, epochs: 1, train_limit: 200}}]",
            "quantisations=[int8]",
            "control=false",
            f"scene.patch={patch}",
            "split.assessed=96",
            *([f"relations={relations}"] if relations else []),
        ],
    )
    material = data.gather(config)
    scene = material.data
    assert isinstance(scene, Scene) and scene.wavelengths is not None
    scene = replace(scene, cube=np.ascontiguousarray(scene.cube[:, :, ::every]), wavelengths=scene.wavelengths[::every])
    material = replace(material, data=scene, sensor=scene.sensor())
    store = Store(ROOT / "runs" / f"bench-{label}")
    screen = Screen(Console(file=sys.stderr))
    with ThreadPoolExecutor(config.workers) as pool:
        run = Run(config, store, screen, material, pool)
        pair = prepare(config, material, store, screen, cache=ROOT / "runs" / "cache").pairs[0]
        problem = run.pose(pair, material.assessed)
        u = np.random.default_rng(1).random((candidates, problem.space.dimensions))
        prepared = problem.reference.preprocessing.apply(problem.patches.source())
        rows = candidates * len(problem.patches)
        search_seconds(problem, u[:2])
        raw_seconds(problem, prepared, 200)
        pairs = [(search_seconds(problem, u), raw_seconds(problem, prepared, rows)) for _ in range(ROUNDS)]
    ratios = sorted(raw / search for search, raw in pairs)
    speed = 2 * rows / np.median([search for search, _ in pairs])
    print(
        f"{pair.name:<15} {len(problem.space.slots)} relations on {patch} × {patch} × {scene.bands}: "
        f"{speed:8,.0f} queries/s, {np.median(ratios):.2f} of raw inference ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    measure("hybridsn", patch=15, candidates=4)
    measure("depthwise", patch=11, candidates=40)
    measure("depthwise", patch=25, candidates=10)
    measure("depthwise", patch=25, candidates=10, every=4, relations=FOUR)

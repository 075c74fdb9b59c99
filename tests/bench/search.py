"""How close a search comes to the raw speed of its two models: `make bench`.

For each network: the queries a second of `Problem.evaluate` (distort, prepare, ask both, measure, judge, score)
over those of nothing but the two interpreters fed with prepared inputs, on the same rows with the same worker
threads, in turn within one process. 1.00 would mean that everything but inference is free. The same for the walk to
the boundary, every patch a search of its own. It is set beside a loop over single patches as well, which distorts,
measures and asks but searches nothing, and beside the same search of one patch after the other. There the time that
the workers spend inside the two models is measured within the search too, which other load blurs less.
"""

from __future__ import annotations

import os
import sys

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from diverget import lockstep
from diverget.boundary import boundary
from diverget.models.model import Model
from diverget.problem import Problem
from diverget.scene import Scene
from diverget.store import Store
from experiments import data
from experiments.config import load
from experiments.pairs import prepare
from experiments.progress import Screen
from experiments.stages import Run
from relations import psnr

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
PATCHES = 256
BUDGET = 40
"""Queries a patch of the walk to the boundary."""

SINGLES = 200
"""Rows of the loop over single patches."""

ALONE = 10
"""Patches that are searched one after the other."""

FOUR = "[gaussian_blur, brightness, offset, gaussian_noise]"


def search_seconds(problem: Problem, u: np.ndarray) -> float:
    """Seconds of one generation."""
    started = time.perf_counter()
    problem.evaluate(u)
    return time.perf_counter() - started


def raw_seconds(problem: Problem, prepared: np.ndarray, rows: int, alone: int = 0) -> float:
    """Seconds of both models over as many prepared rows, in chunks as the search makes them.

    Args:
        alone: so many more rows for the reference only.
    """
    starts = range(0, rows + alone, 64)
    chunks = [(prepared[np.arange(a, min(a + 64, rows + alone)) % len(prepared)], a < rows) for a in starts]

    def infer(chunk: tuple[np.ndarray, bool]) -> None:
        z, both = chunk
        problem.reference.infer(z)
        if both:
            problem.quantised.infer(z)

    started = time.perf_counter()
    list(problem.pool.map(infer, chunks))
    return time.perf_counter() - started


@dataclass(frozen=True)
class Clocked:
    """A model that writes down how long each call of it takes."""

    model: Model
    seconds: list[float]

    def infer(self, z: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        found = self.model.infer(z)
        self.seconds.append(time.perf_counter() - started)
        return found

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.infer(self.model.preprocessing.apply(x))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


@contextmanager
def posed(name: str, *, patch: int, every: int = 1, relations: str | None = None) -> Iterator[tuple[str, Problem]]:
    """The pair and the problem of one network of the zoo and its int8 version, hardly trained.

    Args:
        patch: side of the patches.
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
            f"split.assessed={PATCHES}",
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
        yield f"{pair.name:<15} {len(problem.space.slots)} relations on {patch} × {patch} × {scene.bands}", problem


def together(label: str, problem: Problem, *, rows: int) -> None:
    """Print what the search over all patches reaches: median of the rounds, each with both in turn."""
    m = max(2, rows // len(problem.patches))
    u = np.random.default_rng(1).random((m, problem.space.dimensions))
    prepared = problem.reference.preprocessing.apply(problem.patches.source())
    rows = m * len(problem.patches)
    search_seconds(problem, u[:2])
    raw_seconds(problem, prepared, 200)
    pairs = [(search_seconds(problem, u), raw_seconds(problem, prepared, rows)) for _ in range(ROUNDS)]
    ratios = sorted(raw / search for search, raw in pairs)
    speed = 2 * rows / np.median([search for search, _ in pairs])
    print(
        f"{label}: {speed:8,.0f} queries/s, {np.median(ratios):.2f} of raw inference "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def by_patch(label: str, problem: Problem) -> None:
    """Print what the walk to the boundary reaches on every patch, beside a loop that takes one patch at a time."""
    members = np.arange(len(problem.patches))
    prepared = problem.reference.preprocessing.apply(problem.patches.source())
    raw_seconds(problem, prepared, 200)
    walks = []
    for turn in range(ROUNDS // 2):
        inside: list[float] = []
        clocked = replace(
            problem, reference=Clocked(problem.reference, inside), quantised=Clocked(problem.quantised, inside)
        )
        started = time.perf_counter()
        trace = lockstep.run(
            clocked,
            boundary,
            members=members,
            budget=BUDGET,
            rng=np.random.default_rng(turn),
            until=lockstep.Until.SPENT,
        )
        seconds, queries = time.perf_counter() - started, int(trace.spent.sum())
        both = queries - trace.rows  # two queries a row that both saw, one a row that the reference alone did
        raw = raw_seconds(problem, prepared, both, trace.rows - both)
        share = sum(inside) / (problem.pool._max_workers * seconds)
        walks.append((seconds, raw, queries, share))
    ratio = np.median([raw / seconds for seconds, raw, _, _ in walks])
    speed = np.median([queries / seconds for seconds, _, queries, _ in walks])
    share = np.median([share for *_, share in walks])
    single, alone = one_at_a_time(problem), searched_alone(problem)
    print(
        f"{label}, patch by patch: {speed:8,.0f} queries/s, {ratio:.2f} of raw inference, "
        f"{share:.2f} of the time inside the models, {speed / single:.1f} times a loop over single patches, "
        f"{speed / alone:.1f} times the same search of one patch after the other"
    )


def one_at_a_time(problem: Problem) -> float:
    """Queries a second of a loop that distorts, measures and asks one patch after the other, in one thread."""
    rng, neutral = np.random.default_rng(3), problem.space.neutral()
    started = time.perf_counter()
    for row in range(SINGLES):
        patch = np.array([row % len(problem.patches)])
        u = neutral + 0.1 * (rng.random((1, len(neutral))) - neutral)
        follow_up = problem.follow_ups(problem.space.decode(u), patch)
        psnr(problem.patches.source(patch), follow_up, peak=problem.sensor.high - problem.sensor.low)
        problem.reference.predict_proba(follow_up)
        problem.quantised.predict_proba(follow_up)
    return 2 * SINGLES / (time.perf_counter() - started)


def searched_alone(problem: Problem) -> float:
    """Queries a second of the walk to the boundary on one patch after the other."""
    queries, started = 0, time.perf_counter()
    for patch in range(ALONE):
        trace = lockstep.run(
            problem,
            boundary,
            members=np.array([patch]),
            budget=BUDGET,
            rng=np.random.default_rng(patch),
            until=lockstep.Until.SPENT,
        )
        queries += int(trace.spent.sum())
    return queries / (time.perf_counter() - started)


if __name__ == "__main__":
    for network, side, bands, chain, rows in (
        ("hybridsn", 25, 1, None, 256),  # the published window
        ("hybridsn", 15, 1, None, 400),
        ("depthwise", 11, 1, None, 4000),
        ("depthwise", 25, 1, None, 1000),
        ("depthwise", 25, 4, FOUR, 1000),
    ):
        with posed(network, patch=side, every=bands, relations=chain) as (told, problem):
            together(told, problem, rows=rows)
            by_patch(told, problem)

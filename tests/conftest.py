"""Fixtures for the whole suite: where the real data lies, and a toy pair of models that needs no TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import numpy as np
import pytest

from diverget.objectives import LIMITS
from diverget.patches import cut
from diverget.problem import Bounded, Problem, pose
from diverget.scene import Scene
from diverget.space import Space
from relations import get
from tests.forking import forked_children
from tests.toys import BLACK_BOX, linear_pair, toy_scene


@pytest.fixture(scope="session", autouse=True)
def forking() -> Iterator[None]:
    """TensorFlow is imported once for the jobs of all tests; each job has a process of its own all the same."""
    with forked_children():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scenes: $DIVERGET_DATA, or shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    place = Path(os.environ.get("DIVERGET_DATA", default))
    if not place.is_dir():
        pytest.skip(f"real scenes are not at {place}; set DIVERGET_DATA to their folder")
    return place


@pytest.fixture(scope="session")
def scene() -> Scene:
    return toy_scene()


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as workers:
        yield workers


TOY = ("brightness", "gaussian_blur", "impulse_noise", "stripes")


def toy_problem(
    scene: Scene,
    pool: ThreadPoolExecutor,
    *,
    seed: int = 3,
    patches: int = 40,
    tier: str = "stress",
    names: tuple[str, ...] = TOY,
) -> Problem:
    """A whole problem in milliseconds: real relations, a linear softmax model and its rounded twin."""
    space = Space.of([get(name) for name in names], tier=tier)
    ids = np.random.default_rng(0).choice(scene.valid.size, size=patches, replace=False)
    reference, quantised = linear_pair(scene)
    return pose(
        reference,
        quantised,
        cut(scene, ids, size=5, margin=sum(space.margins((5, 5))), blocks=ids // 100),
        space,
        scene.sensor(),
        objectives=BLACK_BOX,
        limits=[Bounded(LIMITS[0], 10.0)],
        pool=pool,
        seed=seed,
    )


@pytest.fixture(scope="session")
def problem(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    return toy_problem(scene, pool)

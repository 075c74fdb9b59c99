"""What the tests of the rivals share: image sets with a pair of models, and an arena without an engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from diverget.lockstep import Arena, Asked, Seen
from diverget.objectives import LIMITS
from diverget.outcome import judge
from diverget.patches import cut
from diverget.problem import Bounded, Problem, pose
from diverget.scene import ImageSet
from diverget.space import Space
from relations import get
from tests.toys import BLACK_BOX, Linear


@dataclass(frozen=True)
class Flat(Linear):
    """softmax(all values @ weights + bias)."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (28, 28, 1)

    def infer(self, z: np.ndarray) -> np.ndarray:
        logits = (z.reshape(len(z), 1, -1) * self.weights.T).sum(axis=2, dtype=np.float64) + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def image_problem(pool: ThreadPoolExecutor, *, count: int = 12, low: float = 0.0, high: float = 1.0) -> Problem:
    """Images of 28 × 28 × 1 in three classes, and a nearest-mean model with a rounded twin."""
    rng = np.random.default_rng(2)
    means = rng.random((3, 28, 28, 1))
    labels = np.arange(count) % 3
    levels = np.clip(np.rint(255 * (0.3 * means[labels] + 0.7 * rng.random((count, 28, 28, 1)))), 0, 255)
    images = (low + levels * ((high - low) / 255)).astype(np.float32)
    data = ImageSet("toy images", images, labels.astype(np.int32), ("a", "b", "c"), (low, high), "0" * 64)
    weights = (means.reshape(3, -1).T - 0.5) / (high - low)
    bias = -0.5 * weights.sum(axis=0) * (low + high) + 0.01
    models = (Flat("flat", weights * 2, bias * 2), Flat("flat rounded", np.round(weights * 1.5) / 1.5 * 2, bias * 2))
    space = Space.of([get("brightness")], tier="stress")
    return pose(
        *models,
        cut(data, np.arange(count), size=28, margin=sum(space.margins((28, 28))), blocks=np.arange(count)),
        space,
        data.sensor(),
        objectives=BLACK_BOX,
        limits=[Bounded(LIMITS[0], 5.0)],
        pool=pool,
        seed=3,
    )


def arena_of(problem: Problem, members: np.ndarray, *, seed: int = 0) -> Arena:
    """An arena in which everybody is active."""
    return Arena(
        problem=problem,
        members=members,
        classes=problem.reference_source[members].argmax(axis=1),
        rng=np.random.default_rng(seed),
        budget=1000,
        active=np.ones(len(members), dtype=bool),
        spent=np.zeros(len(members), dtype=np.int64),
    )


def seen(arena: Arena, asked: Asked, reference: np.ndarray, quantised: np.ndarray) -> Seen:
    """All rows of active patches, with scripted probabilities of the rows that were asked."""
    rows = np.flatnonzero(arena.active[asked.patches])
    assert asked.x is not None
    evidence = replace(
        arena.problem.shown(asked.x[rows], arena.members[asked.patches[rows]]),
        reference=np.asarray(reference, dtype=np.float32)[rows],
        quantised=np.asarray(quantised, dtype=np.float32)[rows],
    )
    return Seen(rows, evidence, judge(evidence))

"""Scores whose best points are known, and searches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from diverget.optimisers import OPTIMISERS, Optimiser
from diverget.search import Generation, Scored, search

Evaluate = Callable[[Generation], Scored]


def bowl(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    distance = ((generation.u - 0.3) ** 2).sum(axis=1, keepdims=True)
    return distance, 0.1 - generation.u[:, :1]


def two_bowls(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    scores, excess = bowl(generation)
    return np.hstack([scores, ((generation.u - 0.8) ** 2).sum(axis=1, keepdims=True)]), excess


def walled(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    """The best points of `two_bowls` lie outside the limit, that of the first far outside."""
    return two_bowls(generation)[0], 0.6 - generation.u[:, :1]


def level(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    """Everything tied: one score has two values, the other is always 0, and the limit is broken by 0.5 or not."""
    step = (generation.u[:, :1] > 0.5).astype(np.float64)
    return np.hstack([step, 0 * step]), 0.5 * (generation.u[:, 1:2] > 0.3)


def asked(
    optimiser: Optimiser, evaluate: Evaluate, *, seed: int, budget: int = 103, dimensions: int = 4, limits: int = 1
) -> Iterator[Generation]:
    """A search told the first score where the optimiser weighs one, and the limit where it can and `limits` is 1."""
    count, bounds = (1 if optimiser.most == 1 else 2), limits * optimiser.limits

    def told(generation: Generation) -> Scored:
        scores, excess = evaluate(generation)
        return scores[:, :count], excess[:, :bounds]

    return search(
        told,
        dimensions=dimensions,
        objectives=count,
        limits=bounds,
        optimiser=optimiser,
        population=10,
        budget=budget,
        seed=seed,
    )


def points(rounds: Iterable[Generation]) -> np.ndarray:
    return np.concatenate([generation.u for generation in rounds])


def trace(optimiser: Optimiser, *, seed: int, budget: int = 103) -> np.ndarray:
    return points(asked(optimiser, two_bowls, seed=seed, budget=budget))


BY_NAME = {optimiser.name: optimiser for optimiser in OPTIMISERS}

"""How often: outcomes under random draws of natural distortions. Never from inputs that a search found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diverget.outcome import judge
from diverget.patches import Patches, draw_field
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from diverget.space import Space


def in_space(problem: Problem, space: Space, patches: Patches, *, seed: int) -> Problem:
    """The same pair and sources under another space; `patches` are the same ones cut with its margin."""
    return replace(
        problem,
        space=space,
        patches=patches,
        fields=tuple(draw_field(slot.relation, patches, seed=seed) for slot in space.slots),
    )


def draw_outcomes(problem: Problem, *, draws: int, seed: int, name: str) -> np.ndarray:
    """The `Outcome` of every patch under `draws` chains of its own, uniform in the space: (n, draws) uint8.

    The draws depend on the seed, the space's tier and `name` alone, so every pair meets the same ones.
    """
    n = len(problem.patches)
    rng = generator(seed, Purpose.RATE, key(problem.space.tier), key(name))
    u = rng.random((n * draws, problem.space.dimensions))
    evidence = problem.rows(problem.space.decode(u), np.repeat(np.arange(n), draws))
    return judge(evidence).reshape(n, draws)

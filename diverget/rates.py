"""How often: outcomes under random draws of natural distortions. Never from inputs that a search found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diverget.outcome import judge
from diverget.patches import Patches, draw_field
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from diverget.space import Space


def draw_outcomes(problem: Problem, space: Space, patches: Patches, *, draws: int, seed: int, name: str) -> np.ndarray:
    """The `Outcome` of every patch under `draws` chains of its own, uniform in the space: (n, draws) uint8.

    Every draw has fields of its own, so that no rate hangs on one realisation of the noise. Values and fields
    depend on the seed, the space's tier and `name` alone, so every pair meets the same ones.

    Args:
        problem: the pair with its predictions on the sources.
        space: where the chains are drawn, in place of the problem's own.
        patches: the problem's patches, cut with the margin of `space`.
        name: tells the streams of one tier apart.
    """
    n = len(patches)
    rng = generator(seed, Purpose.RATE, key(space.tier), key(name))
    outcomes = np.empty((n, draws), dtype=np.uint8)
    for draw in range(draws):
        fields = tuple(draw_field(slot.relation, patches, seed=seed, draw=draw + 1) for slot in space.slots)
        drawn = replace(problem, space=space, patches=patches, fields=fields)
        values = space.decode(rng.random((n, space.dimensions)))
        outcomes[:, draw] = judge(drawn.rows(values, np.arange(n)))
    return outcomes

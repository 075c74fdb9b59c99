"""Rays from neutral: how far along one the validity limits hold, which costs no query, and random doses on them."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from diverget.lockstep import Arena, Asked, Seen
from diverget.problem import Problem
from diverget.space import Space

TRIES = 5
"""Doses tried on a ray before the largest one that held is taken."""

SLACK = 0.05
"""dB by which a guess stays inside a limit on PSNR, and"""

ENOUGH = 0.3
"""dB within which of it a dose is far enough."""


def along(space: Space, u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The points at dose `t` (r,) of the rays from neutral to `u` (r, d): strengths scale, shape params stay."""
    strengths = space.strength_columns()
    points = u.copy()
    neutral = space.neutral()[strengths]
    points[:, strengths] = neutral + t[:, None] * (u[:, strengths] - neutral)
    return points


def reach(problem: Problem, u: np.ndarray, patches: np.ndarray) -> np.ndarray:
    """The largest dose found in [0, 1] at which the limits hold along each ray, (r,) float64; 0 where none held.

    A small dose changes a patch in proportion, so PSNR tells where its bound lies: 20 dB are a factor of ten. Other
    limits are halved down to. A ray may leave the limits and come back: what is returned holds, and was looked at.

    Args:
        u: (r, d) the ends of the rays; patches: (r,) positions in the problem.
    """
    low, high = np.zeros(len(u)), np.full(len(u), np.inf)
    dose = np.ones(len(u))
    open_ = np.arange(len(u))
    bounds = {bounded.limit.name: bounded for bounded in problem.limits}
    for _ in range(TRIES):
        if not len(open_):
            break
        at = dose[open_]
        evidence = problem.measured(problem.space.decode(along(problem.space, u[open_], at)), patches[open_])
        holds = evidence.within
        low[open_] = np.where(holds, np.maximum(low[open_], at), low[open_])
        high[open_] = np.where(holds, high[open_], np.minimum(high[open_], at))
        if "psnr" in bounds:
            spare = evidence.psnr - bounds["psnr"].bound
            guess = at * 10 ** (np.clip(spare - SLACK, -60, 60) / 20)
            near = holds & (spare <= ENOUGH)
        else:
            guess, near = np.where(holds, 2 * at, at / 2), np.zeros(len(at), dtype=bool)
        inside = (guess > low[open_]) & (guess < high[open_])
        middle = (low[open_] + np.minimum(high[open_], 1.0)) / 2
        dose[open_] = np.minimum(np.where(inside, guess, middle), 1.0)
        done = near | (low[open_] >= 1) | (high[open_] - low[open_] < 1e-3 * high[open_])
        open_ = open_[~done]
    return low


def random_doses(arena: Arena) -> Generator[Asked, Seen, None]:
    """The arm to beat: a random ray for each patch and round, and on it a random dose within the limits.

    Drawing points of the cube instead would spend almost all queries outside the limits; the rays are as free of
    queries here as they are for the walk to the boundary.
    """
    problem, space = arena.problem, arena.problem.space
    while True:
        act = np.flatnonzero(arena.active)
        u = arena.rng.random((len(act), space.dimensions))
        dose = reach(problem, u, arena.members[act]) * arena.rng.random(len(act))
        yield Asked(act, u=along(space, u, dose))

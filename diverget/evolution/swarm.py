"""Particle swarms with adaptive coefficients, pymoo's defaults, over many patches at once."""

from __future__ import annotations

import numpy as np

from diverget.evolution.population import Population, by_fitness, improved, into_cube, mutated, summed
from diverget.evolution.streams import Streams

INERTIA = 0.9
"""Share of the velocity that is kept, at first."""

PULL = 2.0
"""Pull towards a particle's own best place and towards the swarm's, at first, within"""

LEAST_PULL, MOST_PULL = 1.5, 2.5
"""these, and together at most"""

BOTH_PULLS = 4.0
"""this."""

FASTEST = 0.2
"""Greatest velocity, a share of the cube's side."""

TRIES = 20
"""Times that a particle which leaves the cube is moved anew; then what is outside is drawn anew."""

NUDGED = 0.9
"""Chance that the best place is mutated, in the place of its particle's move, with"""

NUDGE_ETA = (5.0, 30.0)
"""a distribution index between these. All of them are pymoo's defaults."""


class Swarm:
    """Particle swarm; coefficients follow how far the best lies from the others.

    Source: Kennedy and Eberhart, Particle swarm optimization, ICNN 1995; the coefficients: Zhan et al., Adaptive
        particle swarm optimization, IEEE Trans. Systems, Man, and Cybernetics B 39(6), 2009.
    """

    def __init__(self, people: Population, streams: Streams) -> None:
        self.people, self.streams = people, streams
        n, p, d = people.x.shape
        self.at = np.zeros((n, p, d))
        self.velocity = np.zeros((n, p, d))
        self.moving = np.zeros((n, p, d))
        self.towards = np.zeros((n, d))
        self.inertia = np.full(n, INERTIA)
        self.pulls = np.full((n, 2), PULL)

    def begin(self, patches: np.ndarray) -> None:
        """The first population has been looked at."""
        _, p, d = self.people.x.shape
        self.at[patches] = self.people.x[patches]
        drawn = self.streams.random(patches, np.full(len(patches), p), d)
        self.velocity[patches] = drawn.reshape(-1, p, d) * FASTEST

    def children(self, patches: np.ndarray) -> np.ndarray:
        """Where the particles fly next, (a, p, d)."""
        from pymoo.algorithms.soo.nonconvex.pso import pso_equation

        best = self.people[patches]
        a, p, d = best.x.shape
        each = np.arange(a)
        self.towards[patches] = best.x[each, leading(best)]
        at, own, velocity = (x.reshape(-1, d) for x in (self.at[patches], best.x, self.velocity[patches]))
        swarm = np.repeat(self.towards[patches], p, axis=0)
        inertia, to_own, to_swarm = (
            np.repeat(column, p)[:, None] for column in (self.inertia[patches], *self.pulls[patches].T)
        )
        moved, speed = np.empty_like(at), np.empty_like(at)
        out, counts = np.arange(a * p), np.full(a, p)
        for _ in range(1 + TRIES):
            r1, r2 = (self.streams.random(patches, counts, d) for _ in range(2))
            moved[out], speed[out] = pso_equation(
                at[out],
                own[out],
                swarm[out],
                velocity[out],
                np.full(d, FASTEST),
                inertia[out],
                to_own[out],
                to_swarm[out],
                r1=r1,
                r2=r2,
            )
            outside = np.any((moved < 0) | (moved > 1), axis=1)
            out, counts = np.flatnonzero(outside), summed(np.asarray(outside), np.full(a, p))
            if not len(out):
                break
        moved = into_cube(self.streams, patches, np.full(a, p), moved, at).reshape(a, p, d)
        one = np.ones(a, dtype=np.int64)
        low, high = NUDGE_ETA
        eta = low + (high - low) * self.streams.random(patches, one)
        first = by_fitness(best)[:, 0]
        moved[each, first] = mutated(
            self.streams, patches, one, best.x[each, first], prob=NUDGED, eta=eta, at_least_once=False
        )
        self.moving[patches] = speed.reshape(a, p, d)
        return moved

    def tell(self, patches: np.ndarray, children: Population) -> None:
        """What came of the places the particles flew to."""
        self.at[patches], self.velocity[patches] = children.x, self.moving[patches]
        self.people.replace(patches, improved(self.people[patches], children), children)
        f = evolutionary_factor(self.people.x[patches], self.towards[patches])
        delta = 0.05 + self.streams.random(patches, np.ones(len(patches), dtype=np.int64)) * 0.05
        self.pulls[patches] = adapted(self.pulls[patches], f, delta)
        self.inertia[patches] = 1 / (1 + 1.5 * np.exp(-2.6 * f))


def leading(best: Population) -> np.ndarray:
    """The place (a,) of the best feasible individual, or where there is none of the mildest violation."""
    feasible = best.violation <= 0
    fittest = np.where(feasible, best.f[:, :, 0], np.inf).argmin(axis=1)
    return np.where(feasible.any(axis=1), fittest, best.violation.argmin(axis=1))


def evolutionary_factor(x: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """How far the swarm's best `towards` (a, d) lies from the others, (a,): 0 as near as the most central of the places
    x (a, p, d), 1 as far as the most remote; beyond both where it is none of them any more."""
    distance = np.stack([np.sqrt(((x - one[:, None]) ** 2).sum(axis=2)) for one in np.moveaxis(x, 1, 0)], axis=1)
    mean = distance.sum(axis=2) / (x.shape[1] - 1)
    low, high = mean.min(axis=1), mean.max(axis=1)
    own = np.sqrt(((x - towards[:, None]) ** 2).sum(axis=2)).mean(axis=1)
    return np.asarray((own - low) / (high - low + 1e-32))


def adapted(pulls: np.ndarray, f: np.ndarray, delta: np.ndarray) -> np.ndarray:
    """The pulls (a, 2) after a step `delta` (a,) towards the state that the factor `f` (a,) belongs to most:
    exploration, exploitation, convergence, jumping out; the earlier of two on a tie."""
    belongs = np.stack(
        [
            np.interp(f, [0.4, 0.6, 0.7, 0.8], [0, 1, 1, 0]),
            np.interp(f, [0.2, 0.3, 0.4, 0.6], [0, 1, 1, 0]),
            np.interp(f, [0.1, 0.3], [1, 0]),
            np.interp(f, [0.7, 0.9], [0, 1]),
        ]
    )
    step = np.array([[1, -1], [0.5, -0.5], [0.5, 0.5], [-1, 1]])[belongs.argmax(axis=0)]
    moved = np.clip(pulls + step * delta[:, None], LEAST_PULL, MOST_PULL)
    # pymoo scales the first pull, then the second by the sum that this leaves.
    scaled = moved.copy()
    for side in range(2):
        scaled[:, side] = BOTH_PULLS * scaled[:, side] / scaled.sum(axis=1)
    return np.where(moved.sum(axis=1, keepdims=True) > BOTH_PULLS, scaled, moved)

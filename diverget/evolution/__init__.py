"""Evolutionary arms of the per-patch search: every patch has a population of its own, and all advance in lock-step.

A generation of all patches is one batch for the models. The update rules are those of pymoo with its defaults, over all
patches at once; a test holds them against pymoo's own classes. One pymoo object a patch takes about ten times as long a
row as the rules here (`python -m tests.bench.evolution`), a good part of what a small network takes.

The first population lies within the limits, which costs no query. What then leaves them is looked at all the same and
counts as infeasible, as in pymoo. Drawing it back to where the limits hold would cost several distortions a row; on
Indian Pines one row in fifty to one in six left them, and drawing back revealed hardly more patches (measured).

`streams` draws a patch's random numbers from a stream of its own, so that its course does not depend on the others;
`population` holds the arrays and what the rules share; `genetic` and `pareto` are GA and NSGA-II, `swarm` is PSO,
`differential` is DE.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

import numpy as np

from diverget.evolution.differential import Differential
from diverget.evolution.genetic import Genetic, NonDominated
from diverget.evolution.population import Population
from diverget.evolution.streams import Streams
from diverget.evolution.swarm import Swarm
from diverget.lockstep import Arena, Arm, Asked, Seen
from diverget.objectives import Score, margin_gap, severity
from diverget.rays import along, reach

INDIVIDUALS = 10
"""Individuals of a patch. A budget of 200 queries is 100 rows: ten generations. Engineering judgement; even, so that
two permutations make the tournaments of a generation."""


class Species(Protocol):
    """An update rule over the populations `people` of all patches, of which it moves those it is asked for."""

    people: Population

    def begin(self, patches: np.ndarray) -> None:
        """The first populations of these patches have been looked at."""

    def children(self, patches: np.ndarray) -> np.ndarray:
        """The next generation of these patches, (a, p, d) in the unit cube."""

    def tell(self, patches: np.ndarray, children: Population) -> None:
        """What came of the children of these patches."""


def evolved(species: Callable[[Population, Streams], Species], *scores: tuple[Score, float]) -> Arm:
    """An arm of one rule that makes the `scores`, each times its sign, as small as it can."""

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        n, d = len(arena), arena.problem.space.dimensions
        shape = (n, INDIVIDUALS)
        people = Population(np.zeros((*shape, d)), np.zeros((*shape, len(scores))), np.zeros(shape))
        streams = Streams.of(arena.rng, arena.members)
        rule = species(people, streams)
        patches = np.flatnonzero(arena.active)
        if not len(patches):
            return
        x, holds = first(arena, patches, streams)
        rows = np.flatnonzero(holds.ravel())
        begun = False
        while len(rows):
            seen = yield Asked(np.repeat(patches, INDIVIDUALS)[rows], u=x.reshape(-1, d)[rows])
            born = weighed(arena, x, rows, seen, scores)
            on = arena.active[patches]
            patches, born = patches[on], born[on]
            if not len(patches):
                return
            if begun:
                rule.tell(patches, born)
            else:
                people.put(patches, born)
                rule.begin(patches)
                begun = True
            x = rule.children(patches)
            rows = np.arange(x.shape[0] * x.shape[1])

    return arm


def first(arena: Arena, patches: np.ndarray, streams: Streams) -> tuple[np.ndarray, np.ndarray]:
    """The first populations (a, p, d): random rays, and on each a random dose within the limits; and where the limits
    hold at all, (a, p)."""
    counts, d = np.full(len(patches), INDIVIDUALS), arena.problem.space.dimensions
    u = streams.random(patches, counts, d)
    dose = reach(arena.problem, u, np.repeat(arena.members[patches], INDIVIDUALS))
    points = along(arena.problem.space, u, dose * (1 - streams.random(patches, counts)))
    return points.reshape(-1, INDIVIDUALS, d), (dose > 0).reshape(-1, INDIVIDUALS)


def weighed(
    arena: Arena, x: np.ndarray, rows: np.ndarray, seen: Seen, scores: tuple[tuple[Score, float], ...]
) -> Population:
    """The individuals x (a, p, d) with what was seen of them; those not looked at break every limit."""
    f = np.full((x.shape[0] * x.shape[1], len(scores)), np.inf)
    violation = np.full(len(f), np.inf)
    at = rows[seen.rows]
    f[at] = np.stack([sign * score(seen.evidence) for score, sign in scores], axis=1)
    limits = [limit.limit.excess(limit.limit.score(seen.evidence), limit.bound) for limit in arena.problem.limits]
    violation[at] = np.mean(np.maximum(limits, 0.0), axis=0) if limits else 0.0
    return Population(x, f.reshape(*x.shape[:2], -1), violation.reshape(x.shape[:2]))


ga = evolved(Genetic, (margin_gap, -1.0))
"""A genetic algorithm for every patch, after the margin gap."""

pso = evolved(Swarm, (margin_gap, -1.0))
"""A particle swarm for every patch, after the margin gap."""

de = evolved(Differential, (margin_gap, -1.0))
"""Differential evolution for every patch, after the margin gap."""

nsga2 = evolved(NonDominated, (margin_gap, -1.0), (severity, 1.0))
"""NSGA-II for every patch: a wide margin gap at a low severity."""

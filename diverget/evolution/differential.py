"""Differential evolution, DE/best/1/bin, pymoo's defaults, over many patches at once."""

from __future__ import annotations

import numpy as np

from diverget.evolution.population import Population, binomial_of, by_fitness, improved, into_cube, mutated
from diverget.evolution.streams import Dealt, Streams

WEIGHT = 0.5
"""Weight of the difference, and"""

TAKEN = 0.2
"""chance of a gene to come from the donor, at least one of them does; then"""

MUTATED = 0.1
"""chance that the trial is mutated, at least one gene of it, with"""

MUTATION_ETA = 20.0
"""this distribution index; and"""

TRIES = 10
"""times that a position which is the target's own or a chosen one is drawn: pymoo's defaults. Its `fast_fill_random`
draws anew for other rows than those that clash from the second time on; here it is those that do."""


class Differential:
    """Differential evolution: the best plus a weighted difference of two others.

    Source: Storn and Price, Differential evolution, J. Global Optimization 11, 1997.
    """

    def __init__(self, people: Population, streams: Streams) -> None:
        self.people, self.streams = people, streams

    def begin(self, patches: np.ndarray) -> None:
        """The first population has been looked at."""

    def children(self, patches: np.ndarray) -> np.ndarray:
        """A trial for every individual, (a, p, d)."""
        from pymoo.algorithms.soo.nonconvex.de import de_differential

        people = self.people[patches]
        a, p, d = people.x.shape
        counts, each = np.full(a, p), np.arange(a)[:, None]
        best = by_fitness(people)[:, :1]
        left = others(self.streams, patches, [np.tile(np.arange(p), (a, 1))])
        right = others(self.streams, patches, [left, np.tile(np.arange(p), (a, 1))])
        parents = np.stack([people.x[each, chosen].reshape(-1, d) for chosen in (best.repeat(p, axis=1), left, right)])
        donor = de_differential(parents, np.full(a * p, WEIGHT), np.zeros(a * p, dtype=bool), random_state=Dealt(()))
        donor = into_cube(self.streams, patches, counts, donor, parents[0])
        drawn = self.streams.random(patches, counts, d)
        hit, _ = binomial_of(self.streams, patches, counts, drawn, TAKEN, at_least_once=True)
        trial = np.where(hit, donor, people.x.reshape(-1, d))
        eta = np.full(a * p, MUTATION_ETA)
        trial = mutated(self.streams, patches, counts, trial, prob=MUTATED, eta=eta, at_least_once=True)
        return trial.reshape(a, p, d)

    def tell(self, patches: np.ndarray, children: Population) -> None:
        """What came of the trials."""
        self.people.replace(patches, improved(self.people[patches], children), children)


def others(streams: Streams, patches: np.ndarray, besides: list[np.ndarray]) -> np.ndarray:
    """For each individual (a, p) another one, none of `besides` (each (a, p)): permutations, the clashes drawn anew."""
    a, p = besides[0].shape
    chosen = np.empty((a, p), dtype=np.int64)
    clash = np.ones((a, p), dtype=bool)
    for _ in range(TRIES):
        some = np.flatnonzero(clash.any(axis=1))
        if not len(some):
            break
        drawn = streams.permutations(patches[some], np.ones(len(some), dtype=np.int64), np.full(len(some), p))
        row, column = np.nonzero(clash[some])
        place = np.arange(len(row)) - np.searchsorted(row, row)
        chosen[some[row], column] = drawn.reshape(-1, p)[row, place]
        clash[:] = np.logical_or.reduce([chosen == taken for taken in besides])
    return chosen

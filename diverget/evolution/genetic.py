"""The genetic algorithm and NSGA-II, pymoo's defaults, over many patches at once.

Binary tournaments, simulated binary crossover (chance 0.9, half of the genes, eta 15), polynomial mutation (chance 0.9,
eta 20), as many children as individuals and no child twice; the better half of old and new survives.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diverget.evolution.pareto import crowding_of, ranks_of, survivors
from diverget.evolution.population import Population, by_fitness, mutated, repeated, same, summed
from diverget.evolution.streams import Dealt, Streams

MOST_MATINGS = 100
"""Times that mating is repeated while children are missing that were not there already: pymoo's number."""

CROSSED = 0.9
"""Chance of a crossover, and"""

CROSSED_GENES = 0.5
"""of each gene in it, and"""

SWAPPED_GENES = 0.5
"""of the two children's to be swapped, with"""

CROSSOVER_ETA = 15.0
"""the distribution index of the crossover, and"""

TOO_CLOSE = 1e-14
"""the distance up to which two genes are left as they are: pymoo's `SBX`."""

MUTATED = 0.9
"""Chance of a mutation, with"""

MUTATION_ETA = 20.0
"""its distribution index: pymoo's `PM`."""

Better = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""`better(patch, left, right)`: -1 where the left of two individuals wins, 1 where the right does, 0 on a tie."""


class Genetic:
    """The genetic algorithm: fitness with feasibility first.

    Source: Deb, An efficient constraint handling method for genetic algorithms, Computer Methods in Applied Mechanics
        and Engineering 186, 2000.
    """

    def __init__(self, people: Population, streams: Streams) -> None:
        self.people, self.streams = people, streams

    def begin(self, patches: np.ndarray) -> None:
        """The first population has been looked at."""

    def children(self, patches: np.ndarray) -> np.ndarray:
        """The next generation (a, p, d)."""

        def better(patch: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return _lower_violation_or(self.people, patch, left, right, self.people.f[:, :, 0])

        return mated(self.people, self.streams, patches, better)

    def tell(self, patches: np.ndarray, children: Population) -> None:
        """What came of the children."""
        both = self.people[patches].joined(children)
        self.people.put(patches, both.picked(by_fitness(both)[:, : children.x.shape[1]]))


class NonDominated:
    """NSGA-II: fronts of several objectives, spread by crowding.

    Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE TEVC 6(2), 2002.
    """

    def __init__(self, people: Population, streams: Streams) -> None:
        self.people, self.streams = people, streams
        self.crowding = np.zeros(people.violation.shape)

    def begin(self, patches: np.ndarray) -> None:
        """The first population has been looked at."""
        self._survive(patches, self.people[patches])

    def children(self, patches: np.ndarray) -> np.ndarray:
        """The next generation (a, p, d)."""

        def better(patch: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
            one, two = self.people.f[patch, left], self.people.f[patch, right]
            lower, higher = (one < two).any(axis=1), (two < one).any(axis=1)
            dominance = higher.astype(int) * ~lower - lower.astype(int) * ~higher
            wide = np.sign(_difference(self.crowding[patch, right], self.crowding[patch, left]))
            feasible = np.where(dominance != 0, dominance, wide)
            broken = _lower_violation_or(self.people, patch, left, right, None)
            return np.where(_both_feasible(self.people, patch, left, right), feasible, broken)

        return mated(self.people, self.streams, patches, better)

    def tell(self, patches: np.ndarray, children: Population) -> None:
        """What came of the children."""
        self._survive(patches, self.people[patches].joined(children))

    def _survive(self, patches: np.ndarray, both: Population) -> None:
        keep = self.people.x.shape[1]
        ranks = ranks_of(both)
        crowding = crowding_of(both.f, ranks)
        order = survivors(both, ranks, crowding, keep, self.streams, patches)
        self.people.put(patches, both.picked(order))
        self.crowding[patches] = np.take_along_axis(crowding, order, axis=1)


def mated(people: Population, streams: Streams, patches: np.ndarray, better: Better) -> np.ndarray:
    """A generation of children (a, p, d) of the patches, none of them a point of the population or another child.

    Where some are, mating is repeated for those that are missing. Children that are missing after `MOST_MATINGS` are
    copies of the first individual.
    """
    _, p, d = people.x.shape
    children = np.repeat(people.x[patches][:, :1], p, axis=1)
    have = np.zeros(len(patches), dtype=np.int64)
    for _ in range(MOST_MATINGS):
        short = np.flatnonzero(have < p)
        if not len(short):
            break
        missing = p - have[short]
        matings = -(-missing // 2)
        here = patches[short]
        owner = np.repeat(np.arange(len(here)), matings)
        parents = chosen(streams, here, matings, p, better)
        pairs = people.x[here[owner][:, None], parents].swapaxes(0, 1)
        pairs = crossed(streams, here, matings, np.ascontiguousarray(pairs))
        # pymoo lists the first children of all matings of a patch, then the second ones.
        flat = pairs.reshape(-1, d)[np.argsort(np.tile(owner, 2), kind="stable")]
        eta = np.full(len(flat), MUTATION_ETA)
        flat = mutated(streams, here, 2 * matings, flat, prob=MUTATED, eta=eta, at_least_once=False)
        real = np.arange(2 * matings.max()) < 2 * matings[:, None]
        born = np.full((*real.shape, d), np.nan)
        born[real] = flat
        so_far = np.where((np.arange(p) < have[short][:, None])[:, :, None], children[short], np.nan)
        new = real & ~repeated(born) & ~same(born, people.x[here]).any(axis=2) & ~same(born, so_far).any(axis=2)
        place = np.cumsum(new, axis=1)
        taken = new & (place <= missing[:, None])
        row, column = np.nonzero(taken)
        children[short[row], have[short[row]] + place[row, column] - 1] = born[row, column]
        have[short] += taken.sum(axis=1)
    return children


def chosen(streams: Streams, patches: np.ndarray, matings: np.ndarray, p: int, better: Better) -> np.ndarray:
    """The parents of the matings, (sum of matings, 2) positions: winners of tournaments of two; ties are drawn."""
    times = -(-4 * matings // p)
    drawn = streams.permutations(patches, times, np.full(len(patches), p))
    start = np.repeat(np.cumsum(times * p) - times * p, 4 * matings)
    within = np.arange(len(start)) - np.repeat(np.cumsum(4 * matings) - 4 * matings, 4 * matings)
    contests = drawn[start + within].reshape(-1, 2)
    sign = better(np.repeat(patches, 2 * matings), contests[:, 0], contests[:, 1])
    side = (sign > 0).astype(np.int64)
    side[sign == 0] = streams.integers(patches, summed(sign == 0, 2 * matings), 2)
    return np.take_along_axis(contests, side[:, None], axis=1)[:, 0].reshape(-1, 2)


def crossed(streams: Streams, patches: np.ndarray, matings: np.ndarray, parents: np.ndarray) -> np.ndarray:
    """Simulated binary crossover of the parents (2, matings in all, d): pymoo's `SBX`.

    Source: Deb and Agrawal, Simulated binary crossover for continuous search space, Complex Systems 9, 1995.
    """
    from pymoo.operators.crossover.sbx import cross_sbx

    d = parents.shape[2]
    executed = streams.random(patches, matings) < CROSSED
    some = summed(executed, matings) > 0
    rows = np.repeat(some, matings)
    if not some.any():
        return parents
    here, counts, some_parents = patches[some], matings[some], parents[:, rows]
    streams.random(here, counts, 1)  # pymoo draws whether the children swap genes at all, which they always may
    drawn = streams.random(here, counts, d)
    hit = (drawn < CROSSED_GENES) & (np.abs(some_parents[0] - some_parents[1]) > TOO_CLOSE)
    genes = summed(hit.sum(axis=1), counts)
    spread, swap = streams.random(here, genes), streams.random(here, genes)
    full = (rows.sum(), 1)
    born = parents.copy()
    born[:, rows] = cross_sbx(
        some_parents,
        np.zeros(d),
        np.ones(d),
        np.full(full, CROSSOVER_ETA),
        np.full(full, CROSSED_GENES),
        np.full(full, SWAPPED_GENES),
        eps=TOO_CLOSE,
        random_state=Dealt((drawn, spread, swap)),
    )
    return np.where(executed[:, None], born, parents)


def bred(best: np.ndarray, drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A child (r, d) of each point that proved good and a drawn one: pymoo's `SBX`, then its `PM`, both always carried
    out, and at least one gene mutated, so that no child is its parent.

    Source: Deb and Agrawal, Simulated binary crossover for continuous search space, Complex Systems 9, 1995; Deb and
        Goyal, A combined genetic adaptive search (GeneAS) for engineering design, Computer Science and Informatics
        26(4), 1996.
    """
    from pymoo.operators.crossover.sbx import cross_sbx
    from pymoo.operators.mutation.pm import mut_pm

    rows, d = best.shape
    least, most, every = np.zeros(d), np.ones(d), np.ones((rows, 1))
    children = cross_sbx(
        np.stack([best, drawn]),
        least,
        most,
        CROSSOVER_ETA * every,
        CROSSED_GENES * every,
        SWAPPED_GENES * every,
        eps=TOO_CLOSE,
        random_state=rng,
    )
    chance = np.full(rows, min(0.5, 1 / d))
    return np.asarray(mut_pm(children[0], least, most, np.full(rows, MUTATION_ETA), chance, True, random_state=rng))


def _both_feasible(people: Population, patch: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray((people.violation[patch, left] <= 0) & (people.violation[patch, right] <= 0))


def _lower_violation_or(
    people: Population, patch: np.ndarray, left: np.ndarray, right: np.ndarray, score: np.ndarray | None
) -> np.ndarray:
    """-1 where the left is better, 1 where the right is, 0 on a tie; by `score` (n, p) where both are feasible."""
    broken = _difference(people.violation[patch, left], people.violation[patch, right])
    if score is None:
        return np.sign(broken)
    fitter = _difference(score[patch, left], score[patch, right])
    return np.sign(np.where(_both_feasible(people, patch, left, right), fitter, broken))


def _difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left - right, 0 where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return np.where(left == right, 0.0, left - right)

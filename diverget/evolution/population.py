"""Populations of many patches as arrays, and what pymoo does to one population done to all of them.

Everywhere: a patches, p individuals each, d genes, m objectives, all minimised. Violation 0 is feasible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diverget.evolution.streams import Dealt, Streams


@dataclass
class Population:
    """Attributes: x (a, p, d) in the unit cube; f (a, p, m); violation (a, p), pymoo's mean excess over the limits."""

    x: np.ndarray
    f: np.ndarray
    violation: np.ndarray

    def __getitem__(self, patches: np.ndarray) -> Population:
        return Population(self.x[patches], self.f[patches], self.violation[patches])

    def put(self, patches: np.ndarray, other: Population) -> None:
        """Write `other` in the place of these patches."""
        self.x[patches], self.f[patches], self.violation[patches] = other.x, other.f, other.violation

    def replace(self, patches: np.ndarray, where: np.ndarray, other: Population) -> None:
        """Put those of `other` who are `where` (a, p) in the place of these patches' individuals."""
        row, column = np.nonzero(where)
        self.x[patches[row], column] = other.x[row, column]
        self.f[patches[row], column] = other.f[row, column]
        self.violation[patches[row], column] = other.violation[row, column]

    def joined(self, other: Population) -> Population:
        """Both populations of every patch, one behind the other."""
        pairs = ((self.x, other.x), (self.f, other.f), (self.violation, other.violation))
        return Population(*(np.concatenate(pair, axis=1) for pair in pairs))

    def picked(self, order: np.ndarray) -> Population:
        """The individuals `order` (a, q) of every patch."""
        row = np.arange(len(order))[:, None]
        return Population(self.x[row, order], self.f[row, order], self.violation[row, order])


def by_fitness(people: Population) -> np.ndarray:
    """Individuals (a, p) from best to worst by violation, then by the one objective; the earlier first on a tie."""
    return np.lexsort((people.f[:, :, 0], people.violation), axis=-1)


def same(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which of the points x (a, p, d) are which of y (a, q, d), (a, p, q); pymoo allows a distance of 1e-16."""
    equal = x[:, :, None, 0] == y[:, None, :, 0]
    patch, left, right = np.nonzero(equal)
    equal[patch, left, right] = (x[patch, left] == y[patch, right]).all(axis=1)
    return equal


def repeated(x: np.ndarray) -> np.ndarray:
    """Which points (a, p, d) are there already further ahead, (a, p)."""
    return np.asarray(np.tril(same(x, x), -1).any(axis=2))


def improved(old: Population, new: Population) -> np.ndarray:
    """Where the new individual is to replace the old one in its place, (a, p): better by feasibility first, and new.

    Source: Deb, An efficient constraint handling method for genetic algorithms, Computer Methods in Applied Mechanics
        and Engineering 186, 2000.
    """
    was, is_ = old.violation <= 0, new.violation <= 0
    better = (~was & ~is_ & (new.violation < old.violation)) | (~was & is_)
    better |= was & is_ & (new.f[:, :, 0] < old.f[:, :, 0])
    return better & ~repeated(new.x) & ~same(new.x, old.x).any(axis=2)


def mutated(
    streams: Streams,
    patches: np.ndarray,
    counts: np.ndarray,
    x: np.ndarray,
    *,
    prob: float,
    eta: np.ndarray,
    at_least_once: bool,
) -> np.ndarray:
    """Polynomial mutation of the rows x (r, d), `counts` of them a patch: pymoo's `PM`.

    Args:
        prob: of a row to be mutated at all; a gene of it mutates with 1 / d, at most 0.5.
        eta: (r,) distribution index; at_least_once: one gene of a row always does.

    Source: Deb and Goyal, A combined genetic adaptive search (GeneAS) for engineering design, Computer Science and
        Informatics 26(4), 1996.
    """
    from pymoo.operators.mutation.pm import mut_pm

    d = x.shape[1]
    chance = min(0.5, 1 / d)
    drawn = streams.random(patches, counts, d)
    hit, lone = binomial_of(streams, patches, counts, drawn, chance, at_least_once=at_least_once)
    step = streams.random(patches, summed(hit.sum(axis=1), counts))
    moved = mut_pm(
        x,
        np.zeros(d),
        np.ones(d),
        eta,
        np.full(len(x), chance),
        at_least_once,
        random_state=Dealt((drawn, step), lone),
    )
    return np.where(streams.random(patches, counts)[:, None] <= prob, moved, x)


def binomial_of(
    streams: Streams, patches: np.ndarray, counts: np.ndarray, drawn: np.ndarray, chance: float, *, at_least_once: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The genes that `drawn` (r, d) hits with `chance`, and for each row without any the gene that is hit instead."""
    hit = drawn < chance
    if not at_least_once:
        return hit, np.zeros(0, dtype=np.int64)
    bare = np.asarray(~hit.any(axis=1))
    lone = streams.integers(patches, summed(bare, counts), drawn.shape[1])
    hit[np.flatnonzero(bare), lone] = True
    return hit, lone


def into_cube(
    streams: Streams, patches: np.ndarray, counts: np.ndarray, x: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Genes of x (r, d) beyond a side of the cube drawn anew between that side and those of `inside` (r, d)."""
    from pymoo.operators.repair.bounds_repair import repair_random_init

    d = x.shape[1]
    below, above = (streams.random(patches, summed(out.sum(axis=1), counts)) for out in (x < 0, x > 1))
    repaired = repair_random_init(x.copy(), inside, np.zeros(d), np.ones(d), random_state=Dealt((below, above)))
    return np.asarray(repaired)


def summed(per_row: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The sum over the rows of each patch, where patch i has `counts[i]` rows."""
    ends = np.concatenate([[0], np.cumsum(per_row, dtype=np.int64)])[np.concatenate([[0], np.cumsum(counts)])]
    return np.diff(ends)

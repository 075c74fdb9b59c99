"""Metropolis-Hastings by ask and tell: parallel chains in the unit cube, mutated one coordinate at a time."""

from __future__ import annotations

import numpy as np

from diverget.selection import NONE, from_the_last, moved


class Chains:
    """As many chains as the population has points; each is a search of its own that shares what helped.

    The operators of DFLARE are the coordinates: an optimiser sees the cube and knows no relations. All chains minimise
    the same score, so success is counted over all of them; a chain alone is too short to tell so many coordinates
    apart. A candidate becomes the chain when it is not worse: not beyond the limits by more, and where both keep them
    not with a higher score (Deb, An efficient constraint handling method for genetic algorithms, CMAME 186, 2000).
    """

    def __init__(self, population: int, dimensions: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._asked = self._chain = rng.random((population, dimensions))
        self._score, self._excess = np.full((2, population), np.inf)
        self._useful, self._tried = np.zeros((2, dimensions), dtype=np.int64)
        self._operator = self._last = np.full(population, NONE)

    def ask(self) -> np.ndarray:
        """The next points, (population, dimensions) in [0, 1]; the first are drawn from the whole cube."""
        if np.isfinite(self._excess).all():
            shape = self._chain.shape
            useful, tried = np.broadcast_to(self._useful, shape), np.broadcast_to(self._tried, shape)
            self._operator = from_the_last(useful, tried, self._last, self._rng)
            self._asked = moved(self._chain, np.arange(shape[1]) == self._operator[:, None], self._rng)
        return self._asked

    def tell(self, scores: np.ndarray, excess: np.ndarray) -> None:
        """Learn from the points asked for last: scores to minimise (m,), excess over the limits (m,), 0 within."""
        closer = excess < self._excess
        taken = closer | ((excess == self._excess) & ((scores <= self._score) | (excess > 0)))
        chosen = self._operator != NONE
        np.add.at(self._tried, self._operator[chosen], 1)
        np.add.at(self._useful, self._operator[chosen], taken[chosen])
        self._last = np.where(taken, self._operator, self._last)
        self._chain = np.where(taken[:, None], self._asked, self._chain)
        self._score = np.where(taken, scores, self._score)
        self._excess = np.where(taken, excess, self._excess)

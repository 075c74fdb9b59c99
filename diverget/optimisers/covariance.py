"""CMA-ES by ask and tell, in the unit cube, with limits, drawing from a generator of its own."""

from __future__ import annotations

import numpy as np

STEP = 0.25
"""First standard deviation: about a quarter of the width of the space, as the documentation of `cma` advises."""


class CovarianceSearch:
    """A covariance matrix adaptation of the package `cma`, started anew at a random place when it has converged.

    pymoo's own interface to `cma` reseeds NumPy's global generator and draws from it. Here `cma` is handed `rng`, so
    nothing else in the process can change what is asked for, and the same scores give the same points.

    A candidate that breaks the limits ranks after all that keep them, and the more it breaks them the later (Deb, An
    efficient constraint handling method for genetic algorithms, CMAME 186, 2000): CMA-ES heeds ranks alone.
    """

    def __init__(self, population: int, dimensions: int, rng: np.random.Generator) -> None:
        self._population, self._dimensions, self._rng = population, dimensions, rng
        # `cma` does not support a single coordinate: an idle one stands beside it.
        self._inner = max(2, dimensions)
        self._start(np.full(self._inner, 0.5))

    def ask(self) -> np.ndarray:
        """The next points, (population, dimensions) in [0, 1]."""
        if self._strategy.stop():
            self._start(self._rng.random(self._inner))
        self._asked = self._strategy.ask()
        return np.clip(np.stack(self._asked)[:, : self._dimensions], 0.0, 1.0)

    def tell(self, scores: np.ndarray, excess: np.ndarray) -> None:
        """Learn from the points asked for last: scores to minimise (m,), excess over the limits (m,), 0 within."""
        kept = excess <= 0
        worst = scores[kept].max() if kept.any() else 0.0
        self._strategy.tell(self._asked, np.where(kept, scores, worst + excess).tolist())

    def _start(self, at: np.ndarray) -> None:
        import cma

        self._strategy = cma.CMAEvolutionStrategy(
            at,
            STEP,
            {
                "bounds": [0, 1],
                "BoundaryHandler": "BoundTransform",
                "popsize": self._population,
                "randn": lambda *shape: self._rng.standard_normal(shape),
                "seed": np.nan,  # leaves the global generator alone
                "verbose": -9,
                "verb_disp": 0,
                "verb_log": 0,
                "signals_filename": "",  # else a file of this name in the working folder would steer it
            },
        )

"""Search by ask and tell, and the shrinking of what it found to its mildest form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget.optimisers import Optimiser, fitting

Scored = tuple[np.ndarray, np.ndarray]
"""(m, objectives) scores to minimise, and (m, limits) excess over the limits, 0 or less where they hold."""


@dataclass(frozen=True)
class Generation:
    """One round of a search: the points asked for and what was told back."""

    number: int
    first: int
    u: np.ndarray


def search(
    evaluate: Callable[[Generation], Scored],
    *,
    dimensions: int,
    objectives: int,
    limits: int,
    optimiser: Optimiser,
    population: int,
    budget: int,
    seed: int,
) -> Iterator[Generation]:
    """Generations of an optimiser until `budget` candidates were evaluated, no more.

    The same seed asks for the same points as long as the same scores come back, so a search goes on from
    stored scores as if it had never stopped: `evaluate` may read instead of compute. The last generation is
    cut to the budget. The search ends before it where an optimiser finds no point that it has not asked for.

    Args:
        evaluate: scores the points of a generation, (m, d) in the unit cube.
        budget: candidates in all. An optimiser that plans ahead plans for so many.

    Raises:
        ValueError: the optimiser cannot weigh so many objectives or keep limits; a score is not finite, and then the
            candidate that caused it is named.
    """
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem as Box
    from pymoo.problems.static import StaticProblem

    if not optimiser.fits(objectives, limits=limits > 0):
        raise ValueError(
            f"Expected an optimiser for {objectives} objectives and {limits} limits, got {optimiser.name!r}; choose "
            f"one of {', '.join(fitting(objectives, limits=limits > 0))}."
        )
    box = Box(n_var=dimensions, n_obj=objectives, n_ieq_constr=limits, xl=0.0, xu=1.0)
    algorithm = optimiser.build(population, objectives)
    algorithm.setup(box, termination=_planned(-(-budget // population)), seed=seed, evaluator=Evaluator())
    spent = 0
    number = 0
    while spent < budget and algorithm.has_next():
        asked = algorithm.ask()
        if asked is None:  # every child was a point already there
            return
        generation = Generation(number, spent, np.asarray(asked.get("X"), dtype=np.float64)[: budget - spent])
        scores, excess = evaluate(generation)
        _check_finite(scores, excess, generation)
        spent += len(generation.u)
        number += 1
        yield generation
        if len(generation.u) < len(asked):
            return
        told = {"F": scores, "G": excess} if limits else {"F": scores}
        algorithm.evaluator.eval(StaticProblem(box, **told), asked)
        algorithm.tell(infills=asked)


def _planned(generations: int) -> Any:
    """A termination that tells how many generations there will be and never ends the search: the budget does."""
    from pymoo.termination.max_gen import MaximumGenerationTermination

    class Planned(MaximumGenerationTermination):  # type: ignore[misc]
        """Its `n_max_gen` is read by an optimiser whose steps depend on how much of the search is left."""

        def _update(self, algorithm: Any) -> float:
            return 0.0

    return Planned(generations)


def _check_finite(scores: np.ndarray, excess: np.ndarray, generation: Generation) -> None:
    broken = ~(np.isfinite(scores).all(axis=1) & np.isfinite(excess).all(axis=1))
    if broken.any():
        row = int(np.flatnonzero(broken)[0])
        raise ValueError(
            f"Expected finite scores, got {scores[row].tolist()} and limits {excess[row].tolist()} for candidate "
            f"{generation.first + row} at {generation.u[row].round(6).tolist()}; a model or a relation returned "
            "NaN or infinity there: replay that chain and look at its output."
        )

"""The optimisers: named pymoo algorithms behind closed signatures. All of them see the unit cube and minimise.

pymoo swallows misspelt keywords, so nothing is passed through: a factory takes the population and no more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Optimiser:
    """A named optimiser.

    Attributes:
        build: `build(population) -> pymoo algorithm`.
        objectives: "one" or "many": how many scores it can weigh.
    """

    build: Callable[[int], Any]
    objectives: str

    @property
    def name(self) -> str:
        return self.build.__name__

    @property
    def summary(self) -> str:
        return (self.build.__doc__ or "").partition("\n")[0]


def random(population: int) -> Any:
    """Uniform draws from the cube: the null hypothesis of every comparison."""
    from pymoo.algorithms.soo.nonconvex.random_search import RandomSearch

    return RandomSearch(n_points_per_iteration=population)


def ga(population: int) -> Any:
    """Genetic algorithm with simulated binary crossover and polynomial mutation, elitist."""
    from pymoo.algorithms.soo.nonconvex.ga import GA

    return GA(pop_size=population)


def pso(population: int) -> Any:
    """Particle swarm, adaptive coefficients.

    Source: Kennedy and Eberhart, Particle swarm optimization, ICNN 1995.
    """
    from pymoo.algorithms.soo.nonconvex.pso import PSO

    return PSO(pop_size=population)


def de(population: int) -> Any:
    """Differential evolution, DE/rand/1/bin.

    Source: Storn and Price, Differential evolution, J. Global Optimization 11, 1997.
    """
    from pymoo.algorithms.soo.nonconvex.de import DE

    return DE(pop_size=population)


def nsga2(population: int) -> Any:
    """NSGA-II: the Pareto front of several objectives at once.

    Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE TEVC 6(2), 2002.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2

    return NSGA2(pop_size=population)


OPTIMISERS = (
    Optimiser(random, objectives="many"),
    Optimiser(ga, objectives="one"),
    Optimiser(pso, objectives="one"),
    Optimiser(de, objectives="one"),
    Optimiser(nsga2, objectives="many"),
)

"""The optimisers: named algorithms behind closed signatures. All of them see the unit cube and minimise.

pymoo swallows misspelt keywords, so nothing is passed through: a factory takes the population and the number of
objectives and no more. What an optimiser cannot do is declared here, and refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

SHARPEST = 4
"""Most objectives of SMS-EMOA. A generation of 24 takes it 0.01 s with 4, 0.2 s with 5, 1.5 s with 6 and 90 s with 8
objectives; one of 100 takes 3 s with 4 and 38 s with 5 (measured)."""

NEIGHBOURS = 20
"""Neighbours of a direction of MOEA/D, pymoo's own number; no more than there are directions."""


@dataclass(frozen=True)
class Optimiser:
    """A named optimiser.

    Attributes:
        build: `build(population, objectives) -> pymoo algorithm`.
        least, most: how many scores it can weigh; `most` is None where any number will do.
        limits: whether it can search under limits. `random` can: it heeds neither scores nor limits.
        directed: whether it shares out its population among directions, at least one an objective. The population
            is then cut to the number of directions where these come in a lattice.
    """

    build: Callable[[int, int], Any]
    least: int = 1
    most: int | None = None
    limits: bool = True
    directed: bool = False

    @property
    def name(self) -> str:
        return self.build.__name__

    @property
    def summary(self) -> str:
        return (self.build.__doc__ or "").partition("\n")[0]

    @property
    def objectives(self) -> str:
        """How many scores it can weigh, in words."""
        if self.most == 1:
            return "one"
        return f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"

    def weighs(self, objectives: int) -> bool:
        """Whether it can weigh so many scores."""
        return self.least <= objectives and (self.most is None or objectives <= self.most)

    def fits(self, objectives: int, *, limits: bool) -> bool:
        """Whether it can weigh so many scores, and keep limits where there are some."""
        return self.weighs(objectives) and (self.limits or not limits)


def random(population: int, objectives: int) -> Any:
    """Uniform draws from the cube: the null hypothesis of every comparison."""
    from pymoo.algorithms.soo.nonconvex.random_search import RandomSearch

    return RandomSearch(n_points_per_iteration=population)


def ga(population: int, objectives: int) -> Any:
    """Genetic algorithm with simulated binary crossover and polynomial mutation, elitist."""
    from pymoo.algorithms.soo.nonconvex.ga import GA

    return GA(pop_size=population)


def pso(population: int, objectives: int) -> Any:
    """Particle swarm, adaptive coefficients.

    Source: Kennedy and Eberhart, Particle swarm optimization, ICNN 1995.
    """
    from pymoo.algorithms.soo.nonconvex.pso import PSO

    return PSO(pop_size=population)


def de(population: int, objectives: int) -> Any:
    """Differential evolution, pymoo's default variant DE/best/1/bin.

    Source: Storn and Price, Differential evolution, J. Global Optimization 11, 1997.
    """
    from pymoo.algorithms.soo.nonconvex.de import DE

    return DE(pop_size=population)


def cmaes(population: int, objectives: int) -> Any:
    """CMA-ES: a normal distribution that learns scale and correlations, started anew where it has converged.

    Source: Hansen and Ostermeier, Completely derandomized self-adaptation in evolution strategies, Evolutionary
        Computation 9(2), 2001.
    """
    from diverget.optimisers.covariance import CovarianceSearch

    return _asked_and_told(lambda dimensions, rng: CovarianceSearch(population, dimensions, rng))


def metropolis(population: int, objectives: int) -> Any:
    """Metropolis-Hastings: chains in parallel, one coordinate mutated at a time, chosen by rank of success.

    Source: Tian et al., Finding deviated behaviors of the compressed DNN models for image classifications (DFLARE),
        ACM TOSEM 32(5), 2023: how the next operator is chosen; here the operators are coordinates.
    """
    from diverget.optimisers.chains import Chains

    return _asked_and_told(lambda dimensions, rng: Chains(population, dimensions, rng))


def nsga2(population: int, objectives: int) -> Any:
    """NSGA-II: the Pareto front of several objectives at once.

    Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE TEVC 6(2), 2002.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2

    return NSGA2(pop_size=population)


def nsga3(population: int, objectives: int) -> Any:
    """NSGA-III: the Pareto front, kept wide by reference directions.

    pymoo's tournament draws from an unseeded generator where two candidates break the limits equally, so it is held
    here.

    Source: Deb and Jain, An evolutionary many-objective optimization algorithm using reference-point-based
        nondominated sorting approach, IEEE TEVC 18(4), 2014.
    """
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.operators.selection.tournament import TournamentSelection

    return NSGA3(
        ref_dirs=directions(population, objectives),
        pop_size=population,
        selection=TournamentSelection(func_comp=_less_broken),
    )


def moead(population: int, objectives: int) -> Any:
    """MOEA/D: the Pareto front as many weighted searches that help their neighbours, a whole generation at once.

    Source: Zhang and Li, MOEA/D: a multiobjective evolutionary algorithm based on decomposition, IEEE TEVC 11(6),
        2007.
    """
    from pymoo.algorithms.moo.moead import ParallelMOEAD

    towards = directions(population, objectives)
    return ParallelMOEAD(ref_dirs=towards, n_neighbors=min(NEIGHBOURS, len(towards)))


def agemoea(population: int, objectives: int) -> Any:
    """AGE-MOEA: the Pareto front, spread by a measure of distance that learns the front's shape.

    Source: Panichella, An adaptive evolutionary algorithm based on non-Euclidean geometry for many-objective
        optimization, GECCO 2019.
    """
    from pymoo.algorithms.base.genetic import GeneticAlgorithm
    from pymoo.algorithms.moo.nsga2 import binary_tournament
    from pymoo.core.survival import Survival
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.sampling.rnd import FloatRandomSampling
    from pymoo.operators.selection.tournament import TournamentSelection
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    from diverget.optimisers.geometry import survive

    class Spread(Survival):  # type: ignore[misc]
        """`survive` as pymoo selects; candidates that break the limits come last."""

        def _do(self, problem: Any, pop: Any, *_: Any, n_survive: int, **__: Any) -> Any:
            scores = pop.get("F")
            fronts = NonDominatedSorting().do(scores, n_stop_if_ranked=n_survive)
            kept, rank, crowding = survive(scores, fronts, n_survive)
            pop.set("rank", rank)
            pop.set("crowding", crowding)
            return pop[kept]

    algorithm = GeneticAlgorithm(
        pop_size=population,
        sampling=FloatRandomSampling(),
        selection=TournamentSelection(func_comp=binary_tournament),
        crossover=SBX(eta=15, prob=0.9),
        mutation=PM(eta=20),
        survival=Spread(),
        advance_after_initial_infill=True,
    )
    algorithm.tournament_type = "comp_by_rank_and_crowding"
    return algorithm


def smsemoa(population: int, objectives: int) -> Any:
    """SMS-EMOA: the Pareto front that dominates most volume; slow with many objectives.

    Source: Beume, Naujoks and Emmerich, SMS-EMOA: multiobjective selection based on dominated hypervolume, EJOR
        181(3), 2007.
    """
    from pymoo.algorithms.moo.sms import SMSEMOA

    return SMSEMOA(pop_size=population)


def rvea(population: int, objectives: int) -> Any:
    """RVEA: the Pareto front along reference vectors, the nearer to them the later in the search.

    pymoo scales its vectors by the range of the scores, and by 0 where all scores are one: here such an objective
    keeps its scale.

    Source: Cheng et al., A reference vector guided evolutionary algorithm for many-objective optimization, IEEE TEVC
        20(5), 2016.
    """
    from pymoo.algorithms.moo.rvea import RVEA, APDSurvival, calc_V

    class Guided(APDSurvival):  # type: ignore[misc]
        """The survival of RVEA for scores that may not vary."""

        def adapt(self) -> None:
            if self.nadir is None:
                return
            span = self.nadir - self.ideal
            self.V = calc_V(calc_V(self.ref_dirs) * np.where(span > 1e-12, span, 1.0))
            cosine = np.clip(self.V @ self.V.T, -1, 1)
            np.fill_diagonal(cosine, -1)
            self.gamma = np.maximum(np.arccos(cosine.max(axis=1)), 1e-64)

    towards = directions(population, objectives)
    return RVEA(ref_dirs=towards, survival=Guided(towards))


def directions(population: int, objectives: int) -> np.ndarray:
    """Directions spread over the objectives, (n, objectives), rows that add up to 1; n at most `population`.

    The largest regular lattice that fits, which for two objectives is as many as asked for. Where only its corners
    fit, points that keep away from each other instead, as many as asked for.

    Raises:
        ValueError: `population` is less than `objectives`, or there is but one objective.

    Source: Das and Dennis, Normal-boundary intersection, SIAM J. Optimization 8(3), 1998 (lattice); Blank et al.,
        Generating well-spaced points on a unit simplex for evolutionary many-objective optimization, IEEE TEVC
        25(1), 2021 (points).
    """
    from pymoo.util.ref_dirs import get_reference_directions
    from pymoo.util.reference_direction import get_partition_closest_to_points

    if not 2 <= objectives <= population:
        raise ValueError(
            f"Expected 2 or more objectives and a population no smaller, got {objectives} objectives and a population "
            f"of {population}; enlarge the population."
        )
    steps = get_partition_closest_to_points(population, objectives)
    if steps > 1 or population == objectives:
        towards = get_reference_directions("das-dennis", objectives, n_partitions=steps)
    else:
        towards = get_reference_directions("energy", objectives, population, seed=1)
    return np.asarray(towards, dtype=np.float64)


class _Inner(Protocol):
    """A search by ask and tell that knows nothing of pymoo."""

    def ask(self) -> np.ndarray: ...
    def tell(self, scores: np.ndarray, excess: np.ndarray) -> None: ...


def _asked_and_told(start: Callable[[int, np.random.Generator], _Inner]) -> Any:
    """`start(dimensions, rng)` as pymoo asks and tells, drawing from pymoo's seeded generator."""
    from pymoo.core.algorithm import Algorithm
    from pymoo.core.population import Population

    class Adapted(Algorithm):  # type: ignore[misc]
        """It weighs one score."""

        def _setup(self, problem: Any, **_: Any) -> None:
            self.inner = start(problem.n_var, self.random_state)

        def _initialize_infill(self) -> Any:
            return self._infill()

        def _infill(self) -> Any:
            return Population.new("X", self.inner.ask())

        def _initialize_advance(self, infills: Any = None, **_: Any) -> None:
            self._advance(infills)

        def _advance(self, infills: Any = None, **_: Any) -> None:
            self.inner.tell(infills.get("F")[:, 0], infills.get("CV")[:, 0])
            self.pop = infills

    return Adapted()


def _less_broken(pop: Any, P: np.ndarray, *, random_state: np.random.Generator, **_: Any) -> np.ndarray:
    """The winners of NSGA-III's tournaments: who breaks the limits less, by lot where both break them equally."""
    excess = pop.get("CV")[:, 0][P]
    lot = random_state.integers(2, size=len(P))
    first = np.where(excess[:, 0] == excess[:, 1], lot, excess.argmin(axis=1))
    winners: np.ndarray = np.take_along_axis(P, first[:, None], axis=1)
    return winners


OPTIMISERS = (
    Optimiser(random),
    Optimiser(ga, most=1),
    Optimiser(pso, most=1),
    Optimiser(de, most=1),
    Optimiser(cmaes, most=1),
    Optimiser(metropolis, most=1),
    Optimiser(nsga2),
    Optimiser(nsga3, least=2, directed=True),
    Optimiser(moead, least=2, limits=False, directed=True),
    Optimiser(agemoea, least=2),
    Optimiser(smsemoa, least=2, most=SHARPEST),
    Optimiser(rvea, least=2, directed=True),
)


def fitting(objectives: int, *, limits: bool) -> list[str]:
    """The names of the optimisers that can weigh so many scores, and keep limits where there are some."""
    return [optimiser.name for optimiser in OPTIMISERS if optimiser.fits(objectives, limits=limits)]

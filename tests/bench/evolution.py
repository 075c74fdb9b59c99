"""What the update rules of the evolutionary arms cost: `python -m tests.bench.evolution`.

Milliseconds of the processor a row, for populations of 40 genes: one pymoo object a patch, asked and told, and the
rules of `diverget.evolution` over 200 patches at once. Compare with what the models take for a row.
"""

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import time

import numpy as np

from diverget.evolution import Differential, Genetic, NonDominated, Population, Streams, Swarm
from diverget.optimisers import de, ga, nsga2, pso

RULES = ((ga, Genetic, 1), (pso, Swarm, 1), (de, Differential, 1), (nsga2, NonDominated, 2))

GENES, PATCHES, WARM, GENERATIONS = 40, 200, 5, 30


def scored(x: np.ndarray, objectives: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances from as many points, and the excess over a limit that half of the cube breaks."""
    f = np.stack([((x - 0.3 - 0.2 * k) ** 2).sum(axis=-1) for k in range(objectives)], axis=-1)
    return f, x.mean(axis=-1) - 0.5


def of_pymoo(build, individuals: int, objectives: int) -> float:  # type: ignore[no-untyped-def]
    """Milliseconds a row of one object."""
    from pymoo.core.evaluator import Evaluator
    from pymoo.core.problem import Problem
    from pymoo.problems.static import StaticProblem

    box = Problem(n_var=GENES, n_obj=objectives, n_ieq_constr=1, xl=0.0, xu=1.0)
    algorithm = build(individuals, objectives)
    algorithm.setup(box, termination=("n_gen", 10**6), seed=1, evaluator=Evaluator())
    taken = 0.0
    for number in range(WARM + GENERATIONS):
        start = time.process_time()
        asked = algorithm.ask()
        f, excess = scored(asked.get("X"), objectives)
        algorithm.evaluator.eval(StaticProblem(box, F=f, G=excess[:, None]), asked)
        algorithm.tell(infills=asked)
        taken += (time.process_time() - start) * (number >= WARM)
    return taken / GENERATIONS / individuals * 1e3


def of_ours(species, individuals: int, objectives: int) -> float:  # type: ignore[no-untyped-def]
    """Milliseconds a row of all patches at once."""

    def seen(x: np.ndarray) -> Population:
        f, excess = scored(x, objectives)
        return Population(x, f, np.maximum(excess, 0.0))

    patches = np.arange(PATCHES)
    first = np.random.default_rng(1).random((PATCHES, individuals, GENES))
    rule = species(seen(first), Streams.of(np.random.default_rng(2), patches))
    rule.begin(patches)
    taken = 0.0
    for number in range(WARM + GENERATIONS):
        start = time.process_time()
        rule.tell(patches, seen(rule.children(patches)))
        taken += (time.process_time() - start) * (number >= WARM)
    return taken / GENERATIONS / individuals / PATCHES * 1e3


def main() -> None:
    """Print the table."""
    print("rule    individuals  pymoo   here")
    for build, species, objectives in RULES:
        for individuals in (10, 20):
            pymoo, here = of_pymoo(build, individuals, objectives), of_ours(species, individuals, objectives)
            print(f"{build.__name__:<7} {individuals:>11}  {pymoo:.3f}  {here:.3f}")


if __name__ == "__main__":
    main()

"""The arms of the per-patch search by name: our own, the one to beat, and the rivals as published."""

from __future__ import annotations

from dataclasses import dataclass

from diverget.baselines.dflare import dflare
from diverget.baselines.diffchaser import diffchaser
from diverget.boundary import boundary, boundary_alone
from diverget.evolution import de, ga, nsga2, pso
from diverget.lockstep import Arm
from diverget.metropolis import metropolis
from diverget.rays import random_doses


@dataclass(frozen=True)
class NamedArm:
    """An arm under a name.

    Attributes:
        arm: the generator; it keeps no state between searches.
        natural: whether it moves through chains of the space; the others change pixels as they were published.
        classes: how many it needs at least.
    """

    name: str
    arm: Arm
    natural: bool
    summary: str
    classes: int = 2


ARMS = (
    NamedArm(
        "boundary",
        boundary,
        True,
        "Walks along rays to where the two models leave their class, past params that jump; patches share rays.",
    ),
    NamedArm("boundary_alone", boundary_alone, True, "The same, every patch by itself."),
    NamedArm("random", random_doses, True, "Random rays and random doses on them within the limits: to beat."),
    NamedArm(
        "metropolis",
        metropolis,
        True,
        "DFLARE's Metropolis-Hastings over the relations: a chain a patch, mutated one relation at a time.",
    ),
    NamedArm("ga", ga, True, "A genetic algorithm for every patch, after the margin gap."),
    NamedArm("pso", pso, True, "A particle swarm for every patch, after the margin gap."),
    NamedArm("de", de, True, "Differential evolution for every patch, after the margin gap."),
    NamedArm("nsga2", nsga2, True, "NSGA-II for every patch: a wide margin gap at a low severity."),
    NamedArm(
        "dflare_as_described",
        dflare("as_described"),
        False,
        "DFLARE's Metropolis-Hastings over image mutations, as its paper describes it.",
    ),
    NamedArm("dflare_as_shipped", dflare("as_shipped"), False, "DFLARE as its public code behaves."),
    NamedArm("dflare_uniform", dflare("uniform"), False, "DFLARE with mutations chosen uniformly."),
    NamedArm(
        "dflare_without_novelty", dflare("without_novelty"), False, "DFLARE with the difference alone as its fitness."
    ),
    NamedArm("dflare_any_step", dflare("any_step"), False, "DFLARE without a fitness: every mutant is accepted."),
    NamedArm("diffchaser_basic", diffchaser("basic"), False, "DiffChaser's genetic algorithm, basic fitness."),
    NamedArm("diffchaser", diffchaser("k_uncertainty"), False, "DiffChaser with k-uncertainty.", classes=3),
    NamedArm("diffchaser_targeted", diffchaser("targeted"), False, "DiffChaser towards a class drawn for each patch."),
)
"""A new arm is a generator (see `diverget.lockstep`) and one name here."""

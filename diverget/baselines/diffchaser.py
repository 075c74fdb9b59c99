"""DiffChaser: a genetic algorithm on the pixels of every patch, towards a model's own decision boundary.

A population of variants of the patch is shown to both models. As long as none makes them disagree, the best stays and
every other is replaced: two selected individuals are crossed pixel by pixel, and the child is mutated. Fitness is a gap
between two probabilities of *one* model, and small is fit.

Settings and where they come from. The authors' code is not public; what is known of the paper is second-hand.

    population, elitism, crossover and mutation of pixels, stop at the first disagreement    the paper's Algorithm 1
    basic, k-uncertainty and t-targeted fitness    the paper; written out as in a third-party PyTorch version, which
                                                   takes them of logits, where here they are of probabilities
    population 50                           a guess from "50ps" in the names of the seed sets that DFLARE compared on
    crossover 0.5                           the PyTorch version, not the authors; here a whole spectrum is taken at once
    mutation rate 0.01 per value, adding up to 8/255 of the range, upwards only    the PyTorch version, not the authors
    a cap of 8/255 on each mutation step, none on the distance from the source     the PyTorch version, not the authors
    tournament of 4, half of the parents by the reference's gap, half by the quantised's    the PyTorch version, not
                                                   the authors; that a child has one of each is our reading
    elitism by the reference's gap          the PyTorch version, which keeps that one twice, a slip; here once
    k = 2 without further notice            ours; 1 is basic
    the first population                    ours: the patch, mutated once for every individual

What else is ours: the one that stays is not shown again, since it would cost queries and tell nothing. An individual on
which the two disagree and which the engine does not count (outside the limits, tied, the reference moved) is bred from
like any other. A targeted search pulls towards its class, and is stopped by any disagreement. Without a class each
patch is given one, drawn from those that are not its own: the "average case" of Carlini and Wagner, Towards evaluating
the robustness of neural networks, IEEE S&P 2017.

Memory: four populations of the patches under way (parents, children, the engine's copy, and those still active apart
from those that were done), in at most `HELD_BYTES` (256 MiB): at 11 × 11 × 200 values and 50 individuals 13 patches at
a time. Further patches wait until a group is done.
A generation is one round, so that the models are given 50 rows a patch at once.

Source: Xie et al., DiffChaser: Detecting Disagreements for Deep Neural Networks, IJCAI 2019, pp. 5772-5778,
    https://www.ijcai.org/proceedings/2019/800 ; PyTorch version https://github.com/Artistzq/dnc_toolkit (known by its
    settings; no code is taken from it).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from diverget.baselines import groups
from diverget.lockstep import Arena, Arm, Asked, Seen
from diverget.outcome import preference
from relations.core import Sensor

FITNESS = ("basic", "k_uncertainty", "targeted")

POPULATIONS = 4
"""How many populations are in memory at once, at worst."""

BLOCK_VALUES = 1 << 20
"""Values of the children that are made at a time, 4 MiB: what else is needed to make them stays as small."""


@dataclass(frozen=True)
class Settings:
    """What the search is run with; the arguments of `diffchaser`. `k` is None with "targeted"."""

    k: int | None
    target: int | None
    population: int
    crossover: float
    rate: float
    step: float
    tournament: int


def diffchaser(
    fitness: str = "k_uncertainty",
    k: int = 2,
    *,
    target: int | None = None,
    population: int = 50,
    crossover: float = 0.5,
    rate: float = 0.01,
    step: float = 8 / 255,
    tournament: int = 4,
) -> Arm:
    """DiffChaser as an arm of the per-patch search; the head of the file says where each setting comes from.

    Args:
        fitness: "basic": the gap between the first and the second probability; "k_uncertainty": between the first and
            the k-th runner-up; "targeted": between the first and that of class `target`.
        k: of "k_uncertainty", from 1 to classes − 1.
        target: of "targeted", a class; without it one is drawn for each patch. A patch of that class has no gap at its
            source, hence nothing to be pulled by.
        population: individuals of a patch. A generation costs 2 · (population − 1) queries, the first 2 more; what the
            budget has no room for is not looked at.
        crossover: probability that a pixel comes from the second parent.
        rate: probability that a value is mutated.
        step: the most that a mutation adds, a share of the sensor's range.
        tournament: how many individuals a parent has to beat, itself among them.

    Raises:
        ValueError: a setting is out of its range; from the arm also, `k` or `target` is too large for the models.
    """
    if fitness not in FITNESS:
        raise ValueError(f"Expected a fitness of DiffChaser, got {fitness!r}; choose one of {', '.join(FITNESS)}.")
    if fitness != "targeted" and target is not None:
        raise ValueError(f"Expected a target with the fitness 'targeted' only, got {target} with {fitness!r}.")
    if k < 1 or (target is not None and target < 0):
        raise ValueError(f"Expected k of at least 1 and a target of at least 0, got {k} and {target}.")
    if population < 2 or tournament < 1:
        raise ValueError(f"Expected at least 2 individuals and tournaments of 1, got {population} and {tournament}.")
    if not (0 <= crossover <= 1 and 0 < rate <= 1 and 0 < step <= 1):
        raise ValueError(
            f"Expected crossover, rate and step in 0..1, the last two positive, got {crossover}, {rate}, {step}."
        )
    ranked = None if fitness == "targeted" else 1 if fitness == "basic" else k
    how = Settings(ranked, target, population, crossover, rate, step, tournament)

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        classes = arena.problem.reference.classes
        if max(how.k or 0, how.target or 0) >= classes:
            raise ValueError(
                f"Expected k and target below the {classes} classes, got {how.k} and {how.target}; take a smaller one."
            )
        targets = _targets(arena, how)
        for group in groups(arena, POPULATIONS * population):
            yield from _search(arena, group, how, targets)

    return arm


def gap(p: np.ndarray, k: int | None, target: np.ndarray) -> np.ndarray:
    """By how much the first probability leads the k-th runner-up, or without k class `target` (r,), (r,); smaller is
    fitter."""
    if k is None:
        return preference(p, target)
    return p.max(axis=1) - np.partition(p, -k - 1, axis=1)[:, -k - 1]


def winners(gaps: np.ndarray, count: int, tournament: int, rng: np.random.Generator) -> np.ndarray:
    """The individuals that win `count` tournaments in each patch, (count, n).

    Args:
        gaps: (population, n). Entrants are drawn with replacement.
    """
    population, patches = gaps.shape
    entrants = rng.integers(population, size=(tournament, count, patches))
    best = gaps[entrants, np.arange(patches)].argmin(axis=0)
    return np.take_along_axis(entrants, best[None], axis=0)[0]


def crossed(
    one: np.ndarray, other: np.ndarray, share: float, rng: np.random.Generator, *, out: np.ndarray
) -> np.ndarray:
    """Into `out` the pixels of `one`, or, with probability `share` each, of `other`; all (r, h, w, b)."""
    np.copyto(out, one)
    np.copyto(out, other, where=rng.random((*one.shape[:3], 1), dtype=np.float32) < share)
    return out


def mutate(x: np.ndarray, rate: float, step: float, rng: np.random.Generator, *, sensor: Sensor) -> None:
    """Add up to `step` of the range to each value with probability `rate`, in place; the result is in the range.

    Args:
        x: contiguous, float32, inside the sensor's range.
    """
    flat = x.reshape(-1, copy=False)
    hits = _hits(flat.size, rate, rng)
    more = rng.random(len(hits), dtype=np.float32) * np.float32(step * (sensor.high - sensor.low))
    flat[hits] = np.minimum(flat[hits] + more, np.float32(sensor.high))


def _hits(size: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Positions below `size`, each with probability `rate`: the gaps between them are geometric."""
    expected = size * rate
    parts, reached = [], -1
    while reached < size:
        parts.append(reached + np.cumsum(rng.geometric(rate, size=int(expected + 4 * expected**0.5) + 8)))
        reached = int(parts[-1][-1])
    hits = np.concatenate(parts)
    return hits[: np.searchsorted(hits, size)]


def _targets(arena: Arena, how: Settings) -> np.ndarray:
    """The class that each patch is pulled towards, (n,); of no meaning with another fitness."""
    if how.k is None and how.target is None:
        classes = arena.problem.reference.classes
        return np.asarray((arena.classes + arena.rng.integers(1, classes, size=len(arena))) % classes)
    return np.full(len(arena), how.target or 0)


def _search(arena: Arena, group: np.ndarray, how: Settings, targets: np.ndarray) -> Generator[Asked, Seen, None]:
    problem, sensor = arena.problem, arena.problem.sensor
    source = np.clip(problem.patches.source(arena.members[group]), np.float32(sensor.low), np.float32(sensor.high))
    # One individual of all patches after another, so that all but the first of them lie in one piece.
    population = np.empty((how.population, *source.shape), dtype=np.float32)
    population[:] = source
    for block in _blocks(population):
        mutate(block, how.rate, how.step, arena.rng, sensor=sensor)
    gaps = np.full((2, how.population, len(group)), np.inf)
    old = 0
    while True:
        shown = population[old:].reshape(-1, *source.shape[1:])
        seen = yield Asked(np.tile(group, how.population - old), x=shown)
        active = arena.active[group]
        if not active.any():
            return
        told = np.full((2, len(shown)), np.inf)
        towards = targets[np.tile(group, how.population - old)[seen.rows]]
        told[0, seen.rows] = gap(seen.evidence.reference, how.k, towards)
        told[1, seen.rows] = gap(seen.evidence.quantised, how.k, towards)
        gaps[:, old:] = told.reshape(2, -1, len(group))
        del shown
        if not active.all():
            group, population, gaps = group[active], population.compress(active, axis=1), gaps[:, :, active]
        population, gaps = _next(population, gaps, how, arena)
        old = 1


def _next(population: np.ndarray, gaps: np.ndarray, how: Settings, arena: Arena) -> tuple[np.ndarray, np.ndarray]:
    """The next generation: the best first, with its gaps, then the children, their gaps still to be seen."""
    each, rng = np.arange(population.shape[1]), arena.rng
    one, other = (winners(side, how.population - 1, how.tournament, rng) * len(each) + each for side in gaps)
    one, other = one.reshape(-1), other.reshape(-1)
    parents = population.reshape(-1, *population.shape[2:])
    children = np.empty(population.shape, dtype=np.float32)
    best = gaps[0].argmin(axis=0)
    children[0] = population[best, each]
    gaps[:, 0] = gaps[:, best, each]
    done = 0
    for block in _blocks(children[1:]):
        rows = slice(done, done + len(block))
        crossed(parents[one[rows]], parents[other[rows]], how.crossover, rng, out=block)
        mutate(block, how.rate, how.step, rng, sensor=arena.problem.sensor)
        done += len(block)
    return children, gaps


def _blocks(individuals: np.ndarray) -> list[np.ndarray]:
    """Views of `individuals` (m, n, h, w, b), C order, that hold `BLOCK_VALUES` values at most, (r, h, w, b) each."""
    rows = individuals.reshape((-1, *individuals.shape[2:]), copy=False)
    size = max(1, BLOCK_VALUES // rows[0].size)
    return [rows[first : first + size] for first in range(0, len(rows), size)]

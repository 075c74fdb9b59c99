"""DFLARE: a chain of image mutations for every patch, each stacked on the last accepted one.

Round by round every patch has one operator chosen, applied to its last accepted image, and shown to both models. The
mutant is accepted if its fitness says so; an operator's score is how often it was useful. Statistics start afresh for
every patch. There is no limit on the distance from the source: the published search has none.

Settings and where they come from:

    seven operators                         the authors' code (mutations.py)
    p = 1/7, score = useful / (tried + 1e-7), ties shuffled, uniform until the first acceptance    the authors' code
    δ = 1e-3                                the threshold of the authors' code; in H(x) an independent port's
    H(x) = |difference| / δ + novelty, accept when H(x) ≥ H(best)    that port; that the paper prints it is unverified
    novelty beyond a squared distance of 0.5    the authors' code; here the nearest neighbour is exact, there FLANN's
    iteration cap and time limit            not taken over: the budget of queries stands in their place

The rules that do not depend on what is mutated stand in `diverget.selection`.

What is ours: a disagreement ends the published search, while here the engine decides (the follow-up may lie outside the
limits, be tied, or the reference may have moved). Where it goes on, the operator is credited as for a find and the
fitness decides about the mutant as about any other.

Memory: at most `HELD_BYTES` (256 MiB) of images, eight for each patch under way: accepted, mutant, the engine's copy of
it, the same of those still active, and what an operator works with. Further patches wait until a group is done.

Source: Tian et al., Finding Deviated Behaviors of the Compressed DNN Models for Image Classifications, ACM TOSEM 2023,
    doi 10.1145/3583564; code https://github.com/yqtianust/DFlare ; port https://github.com/Artistzq/dnc_toolkit
    (read for the facts; no code is taken from either).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from diverget.baselines import groups
from diverget.baselines.mutations import OPERATORS, mutated
from diverget.lockstep import Arena, Arm, Asked, Seen
from diverget.selection import DELTA, NONE, drawn, from_the_last, not_below, ranked, remembered

STAY = 1 - 1 / len(OPERATORS)
"""1 − p: a proposal k ranks worse than the last accepted operator is taken with probability (1 − p)^k."""

IMAGES = 8
"""Images that are held for each patch under way, at worst."""

Choice = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""`choice(useful, tried, last, rng)`: (n, 7), (n, 7) and (n,) to the operators (n,) to try next."""

Acceptance = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""`acceptance(difference, novel, best)`, all (n,): which mutants are accepted, and each one's merit. A `best` is the
merit of the last accepted one, 0 at the source."""


def from_nowhere(useful: np.ndarray, tried: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The look-up as shipped: it compares names with objects and always returns rank −1.

    So the choice has no memory: probability proportional to (1 − p)^rank, 0.216 for the best to 0.086 for the worst.
    """
    return drawn(np.where(last[:, None] == NONE, 1.0, STAY ** (ranked(useful, tried, rng) + 1)), rng)


def at_random(useful: np.ndarray, tried: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uniform: what shows whether ranks are worth anything."""
    return rng.integers(useful.shape[1], size=len(last))


def changed_or_new(difference: np.ndarray, novel: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As shipped: accepted when |difference| changed by more than δ, up or down, or when novel."""
    merit = np.abs(difference)
    return (np.abs(merit - best) > DELTA) | novel, merit


def not_nearer(difference: np.ndarray, novel: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The difference alone: accepted when |difference| does not fall, however new the states are."""
    return not_below(difference, np.zeros_like(novel), best)


def always(difference: np.ndarray, novel: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """No fitness at all: every mutant is accepted."""
    return np.ones_like(novel), np.abs(difference)


@dataclass(frozen=True)
class Variant:
    """One reading of DFLARE; `eight_bit`: its images have 256 levels."""

    choice: Choice
    acceptance: Acceptance
    eight_bit: bool


VARIANTS = {
    "as_described": Variant(from_the_last, not_below, eight_bit=False),
    "as_shipped": Variant(from_nowhere, changed_or_new, eight_bit=True),
    "uniform": Variant(at_random, not_below, eight_bit=False),
    "without_novelty": Variant(from_the_last, not_nearer, eight_bit=False),
    "any_step": Variant(from_the_last, always, eight_bit=False),
}
"""`as_described`: what paper and code mean; `as_shipped`: what the public code does, 8-bit images and all; the others
are as described, but for one thing: `uniform` chooses the operator uniformly, `without_novelty` has the difference
alone for its fitness, `any_step` has none."""


def dflare(variant: str = "as_described") -> Arm:
    """DFLARE as an arm of the per-patch search.

    Args:
        variant: a name in `VARIANTS`.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"Expected a variant of DFLARE, got {variant!r}; choose one of {', '.join(VARIANTS)}.")
    how = VARIANTS[variant]

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        for group in groups(arena, IMAGES):
            yield from _search(arena, group, how)

    return arm


def _search(arena: Arena, group: np.ndarray, how: Variant) -> Generator[Asked, Seen, None]:
    problem, sensor, members = arena.problem, arena.problem.sensor, arena.members[group]
    current = np.array(problem.patches.source(members))
    useful, tried = np.zeros((2, len(group), len(OPERATORS)), dtype=np.int64)
    last, best = np.full(len(group), NONE), np.zeros(len(group))
    known = np.concatenate([problem.reference_source[members], problem.quantised_source[members]], axis=1)[None]
    while True:
        operator = how.choice(useful, tried, last, arena.rng)
        mutant = mutated(current, operator, arena.rng, sensor=sensor, eight_bit=how.eight_bit)
        seen = yield Asked(group, x=mutant)
        # Whoever is still active was looked at.
        active = arena.active[group]
        if not active.any():
            return
        rows = active[seen.rows]
        reference, quantised = seen.evidence.reference[rows], seen.evidence.quantised[rows]
        if not active.all():
            group, current, mutant, operator = group[active], current[active], mutant[active], operator[active]
            useful, tried, last, best = useful[active], tried[active], last[active], best[active]
            known = known[:, active]
        novel, known = remembered(known, np.concatenate([reference, quantised], axis=1))
        difference = reference.max(axis=1).astype(np.float64) - quantised.max(axis=1)
        accepted, merit = how.acceptance(difference, novel, best)
        each = np.arange(len(group))
        tried[each, operator] += 1
        useful[each, operator] += accepted | (reference.argmax(axis=1) != quantised.argmax(axis=1))
        best, last = np.where(accepted, merit, best), np.where(accepted, operator, last)
        current[accepted] = mutant[accepted]

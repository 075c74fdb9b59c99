"""Per-patch search in lock-step: every patch is a search of its own, and all of them are one batch a round.

An *arm* is a generator: it yields the follow-ups that it wants to see of any patches and is sent what the two models
said of them. The engine owns the rules that all arms share: which patches take part, what a query is, the budget, the
validity limits, when a patch is done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from diverget.outcome import Evidence, Outcome, clear, judge
from diverget.problem import Problem

QUERIES = 2
"""What one row costs: a query is one patch through one model."""

NEVER = -1
"""In place of a number of queries, where nothing was found within the budget."""


ENDLESS = np.iinfo(np.int64).max


class Until(Enum):
    """When a patch is done."""

    REVEALED = "revealed"
    """At its first REVEALED follow-up."""
    APART = "apart"
    """At its first disagreement, the reference moved or not: what the published rivals stop at."""
    SPENT = "spent"
    """When its budget is used up: the search goes on for milder findings."""


@dataclass(frozen=True)
class Asked:
    """Rows that an arm wants to see: row i is a follow-up of the patch `patches[i]`.

    Attributes:
        patches: (r,) positions among the arena's patches.
        u: (r, d) points of the space, or None.
        x: (r, h, w, b) float32 follow-ups that the arm made itself, where there is no `u`.
    """

    patches: np.ndarray
    u: np.ndarray | None = None
    x: np.ndarray | None = None


@dataclass(frozen=True)
class Seen:
    """What came of the rows that were asked.

    Attributes:
        rows: (s,) which of the asked rows were looked at: those beyond a patch's budget are not.
        evidence: of these rows; outcomes: their `Outcome`, (s,) uint8.
    """

    rows: np.ndarray
    evidence: Evidence
    outcomes: np.ndarray


@dataclass
class Arena:
    """What an arm may know.

    Attributes:
        problem: the pair, the space, the limits. Its positions are those of `members`.
        members: (n,) positions in the problem of the patches that take part.
        classes: (n,) the class on which both models agree on the source.
        rng: the arm's own stream.
        budget: queries a patch.
        active: (n,) bool, which patches are not done; the engine keeps it.
        spent: (n,) queries so far; the engine keeps it.
    """

    problem: Problem
    members: np.ndarray
    classes: np.ndarray
    rng: np.random.Generator
    budget: int
    active: np.ndarray
    spent: np.ndarray

    def __len__(self) -> int:
        return len(self.members)


Arm = Callable[[Arena], Generator[Asked, Seen, None]]


@dataclass(frozen=True)
class Trace:
    """How an arm fared, patch by patch.

    Attributes:
        members: (n,) positions of the patches in the problem.
        spent: (n,) queries.
        apart, revealed: (n,) queries up to and with the first disagreement, the first REVEALED; `NEVER` without.
        severity: (n,) of the mildest REVEALED follow-up; inf without one, NaN where the arm knows no severity.
        mildest: (n, d) the point of that follow-up, NaN without one.
        invalid: (n,) rows outside the limits.
        rounds: of the whole search.
    """

    members: np.ndarray
    spent: np.ndarray
    apart: np.ndarray
    revealed: np.ndarray
    severity: np.ndarray
    mildest: np.ndarray
    invalid: np.ndarray
    rounds: int


def eligible(problem: Problem, *, labelled: bool = True) -> np.ndarray:
    """Positions of the patches on whose sources both models clearly agree and, with `labelled`, are right if known."""
    own = problem.reference_source.argmax(axis=1)
    agreed = (
        (own == problem.quantised_source.argmax(axis=1))
        & clear(problem.reference_source, problem.reference.output_step)
        & clear(problem.quantised_source, problem.quantised.output_step)
    )
    labels = problem.patches.labels
    return np.flatnonzero(agreed & ((labels < 0) | (labels == own) | (not labelled)))


def run(
    problem: Problem,
    arm: Arm,
    *,
    members: np.ndarray,
    budget: int,
    rng: np.random.Generator,
    until: Until = Until.REVEALED,
    look: Callable[[int, Asked], Evidence] | None = None,
) -> Trace:
    """One arm over the patches `members` of `problem`, until all are done.

    Args:
        budget: queries a patch; never exceeded.
        rng: the arm's stream.
        look: `look(round, asked)`, what the models say; a store may answer in their place. By default they are asked.

    Raises:
        ValueError: a model answers with NaN; the row that caused it is named.
    """
    n = len(members)
    arena = Arena(
        problem=problem,
        members=members,
        classes=problem.reference_source[members].argmax(axis=1),
        rng=rng,
        budget=budget,
        active=np.full(n, budget >= QUERIES),
        spent=np.zeros(n, dtype=np.int64),
    )
    ask = look or (lambda number, asked: seen_by_models(problem, members, asked))
    apart, revealed = np.full(n, NEVER), np.full(n, NEVER)
    severity, mildest = np.full(n, np.inf), np.full((n, problem.space.dimensions), np.nan)
    invalid = np.zeros(n, dtype=np.int64)
    turns = arm(arena)
    rounds = 0
    try:
        asked = next(turns)
        while True:
            place = _place_of_each(asked.patches)
            cost = arena.spent[asked.patches] + QUERIES * (place + 1)
            rows = np.flatnonzero(arena.active[asked.patches] & (cost <= budget))
            looked = Asked(asked.patches[rows], *(None if a is None else a[rows] for a in (asked.u, asked.x)))
            if not len(rows):
                break
            evidence = ask(rounds, looked)
            _check_finite(evidence, looked, members)
            outcomes = judge(evidence)
            rounds += 1
            patches, cost = looked.patches, cost[rows]
            if until is not Until.SPENT:
                # What comes after the row at which a patch is done was looked at in one batch, but is not paid for.
                hit = outcomes == Outcome.REVEALED
                hit |= (outcomes == Outcome.MOVED_APART) & (until is Until.APART)
                paid = cost <= _least(n, patches[hit], cost[hit])[patches]
            else:
                paid = np.ones(len(patches), dtype=bool)
            judged, patches, cost = outcomes[paid], patches[paid], cost[paid]
            np.add.at(invalid, patches[judged == Outcome.INVALID], 1)
            _first(apart, patches, cost, (judged == Outcome.REVEALED) | (judged == Outcome.MOVED_APART))
            _first(revealed, patches, cost, judged == Outcome.REVEALED)
            for row in np.flatnonzero(paid & (outcomes == Outcome.REVEALED)):
                patch = looked.patches[row]
                if not evidence.severity[row] >= severity[patch]:
                    severity[patch] = evidence.severity[row]
                    if looked.u is not None:
                        mildest[patch] = looked.u[row]
            arena.spent += QUERIES * np.bincount(patches, minlength=n)
            # A patch whose rows did not all fit has not enough left for what the arm does with it.
            starved = np.zeros(n, dtype=bool)
            starved[np.delete(asked.patches, rows)] = True
            arena.active &= ~starved & (arena.spent + QUERIES <= budget)
            if until is not Until.SPENT:
                arena.active &= (revealed if until is Until.REVEALED else apart) == NEVER
            asked = turns.send(Seen(rows, evidence, outcomes))
    except StopIteration:
        pass
    turns.close()
    return Trace(members, arena.spent, apart, revealed, severity, mildest, invalid, rounds)


def seen_by_models(problem: Problem, members: np.ndarray, asked: Asked) -> Evidence:
    """What the two models say of `asked`; `members` are the positions in the problem of the arena's patches."""
    patches = members[asked.patches]
    if asked.u is not None:
        return problem.rows(problem.space.decode(asked.u), patches)
    assert asked.x is not None
    return problem.shown(asked.x, patches)


def _place_of_each(patches: np.ndarray) -> np.ndarray:
    """For each row how many earlier rows belong to the same patch."""
    order = np.argsort(patches, kind="stable")
    ordered = patches[order]
    start = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else np.zeros(0, int)
    place = np.empty(len(patches), dtype=np.int64)
    place[order] = np.arange(len(patches)) - np.repeat(start, np.diff(np.append(start, len(patches))))
    return place


def _first(found: np.ndarray, patches: np.ndarray, cost: np.ndarray, hit: np.ndarray) -> None:
    """Write into `found` the least cost of a hit of each patch that has none yet."""
    least = _least(len(found), patches[hit], cost[hit])
    new = (found == NEVER) & (least < ENDLESS)
    found[new] = least[new]


def _least(n: int, patches: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The least cost of a row of each of `n` patches, `ENDLESS` where a patch has none."""
    least = np.full(n, ENDLESS)
    np.minimum.at(least, patches, cost)
    return least


def _check_finite(evidence: Evidence, asked: Asked, members: np.ndarray) -> None:
    broken = ~(np.isfinite(evidence.reference).all(axis=1) & np.isfinite(evidence.quantised).all(axis=1))
    if broken.any():
        row = int(broken.argmax())
        where = f"at {asked.u[row].round(6).tolist()}" if asked.u is not None else "of an image of its own"
        raise ValueError(
            f"Expected finite probabilities, got NaN or infinity for patch {int(members[asked.patches[row]])} {where}; "
            "look at the model's output there."
        )

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

from diverget.front import Front
from diverget.objectives import js_divergence
from diverget.outcome import Evidence, Outcome, clear, judge, refuse_nan
from diverget.problem import Problem

QUERIES = 2
"""What one row costs: a query is one patch through one model. A row that the reference alone sees costs 1, a row that
no model sees nothing."""

UNJUDGED = 255
"""In place of an `Outcome`, where the reference alone saw a row."""

MOST_UNSEEN = 1000
"""Rounds in a row in which no model sees anything of a patch, after which it is given up: what 50 rays may take."""

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
        halves: (r,) bool, with `u`: the rows that the reference alone is to see; their outcome is `UNJUDGED`.
        refuse: with `u`: rows outside the limits, as far as the follow-up itself tells of them, are shown to no model.
    """

    patches: np.ndarray
    u: np.ndarray | None = None
    x: np.ndarray | None = None
    halves: np.ndarray | None = None
    refuse: bool = False

    def __post_init__(self) -> None:
        if self.u is None and (self.halves is not None or self.refuse):
            raise ValueError("Expected `halves` and `refuse` beside points `u`, got them beside images `x`.")

    def of(self, rows: np.ndarray) -> Asked:
        """Some of the rows."""
        u, x, halves = (None if column is None else column[rows] for column in (self.u, self.x, self.halves))
        return Asked(self.patches[rows], u, x, halves, self.refuse)

    @property
    def price(self) -> np.ndarray:
        """The queries that each row costs where it is shown, (r,)."""
        return np.full(len(self.patches), QUERIES) if self.halves is None else QUERIES - self.halves


@dataclass(frozen=True)
class Seen:
    """What came of the rows that were asked.

    Attributes:
        rows: (s,) which of the asked rows were looked at: those beyond a patch's budget are not.
        evidence: of these rows, with NaN for the probabilities of a model that did not see one.
        outcomes: their `Outcome` or `UNJUDGED`, (s,) uint8.
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
        rng: the arm's own stream. Its patches share it, so the course of one can depend on which others take part.
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
class Milder:
    """Every improvement of the mildest REVEALED follow-up of a patch, in the order of the queries, (e,) each."""

    patches: np.ndarray
    queries: np.ndarray
    severity: np.ndarray


@dataclass(frozen=True)
class Kinds:
    """The mildest REVEALED follow-up of every kind that was seen of a patch, (r,) each, ordered by the first three.

    Attributes:
        patches: positions in the arena.
        classes: what the quantised model gave the follow-up.
        slots: which slot of the space weighs most in the severity.
        severity: of the follow-up; u: (r, d) its point.
    """

    patches: np.ndarray
    classes: np.ndarray
    slots: np.ndarray
    severity: np.ndarray
    u: np.ndarray


@dataclass(frozen=True)
class Trace:
    """How an arm fared, patch by patch.

    Attributes:
        members: (n,) positions of the patches in the problem.
        spent: (n,) queries.
        apart, revealed: (n,) queries up to and with the first disagreement, the first REVEALED; `NEVER` without.
        severity: (n,) of the mildest REVEALED follow-up; inf without one, and where the arm knows no severity.
        psnr: (n,) of that follow-up, of the first where the arm knows no severity; NaN without.
        milder: how the severity fell.
        kinds: what was revealed, each kind at its mildest; empty where the arm knows no severity.
        front: (patch, severity, divergence) of the follow-ups within the limits that no other of their patch beats in
            both; empty where the arm knows no severity.
        invalid: (n,) rows outside the limits.
        rounds, rows: of the whole search.
    """

    members: np.ndarray
    spent: np.ndarray
    apart: np.ndarray
    revealed: np.ndarray
    severity: np.ndarray
    psnr: np.ndarray
    milder: Milder
    kinds: Kinds
    front: Front
    invalid: np.ndarray
    rounds: int
    rows: int


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
        ValueError: a model answers with NaN (`seen_by_models`).
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
    books = _Books.of(n, problem)
    turns = arm(arena)
    rounds = rows_seen = 0
    unseen = np.zeros(n, dtype=np.int64)
    try:
        asked = next(turns)
        while True:
            cost = arena.spent[asked.patches] + _summed(asked.patches, asked.price)
            rows = np.flatnonzero(arena.active[asked.patches] & (cost <= budget))
            looked = asked.of(rows)
            if not len(rows):
                break
            evidence = ask(rounds, looked)
            outcomes = judge(evidence)
            shown = np.broadcast_to(evidence.shown, len(rows))
            if looked.halves is not None:
                outcomes[shown & looked.halves] = UNJUDGED
            unseen[looked.patches] += 1  # Once each, however many of its rows.
            unseen[looked.patches[shown]] = 0
            rounds, rows_seen = rounds + 1, rows_seen + int(shown.sum())
            price = np.where(shown, looked.price, 0)
            cost = arena.spent[looked.patches] + _summed(looked.patches, price)
            paid = shown.copy()
            if until is not Until.SPENT:
                # What comes after the row at which a patch is done was looked at in one batch, but is not paid for.
                hit = outcomes == Outcome.REVEALED
                hit |= (outcomes == Outcome.MOVED_APART) & (until is Until.APART)
                paid &= cost <= _least(n, looked.patches[hit], cost[hit])[looked.patches]
            books.enter(looked, evidence, outcomes, cost, np.flatnonzero(paid))
            arena.spent += np.bincount(looked.patches[paid], price[paid], minlength=n).astype(np.int64)
            # A patch whose rows did not all fit has too little left, unless some that did were shown to nobody.
            starved = np.zeros(n, dtype=bool)
            starved[np.delete(asked.patches, rows)] = True
            starved[looked.patches[~shown]] = False
            arena.active &= ~starved & (arena.spent + QUERIES <= budget) & (unseen < MOST_UNSEEN)
            if until is not Until.SPENT:
                arena.active &= (books.revealed if until is Until.REVEALED else books.apart) == NEVER
            asked = turns.send(Seen(rows, evidence, outcomes))
    except StopIteration:
        pass
    turns.close()
    return books.trace(members, arena.spent, rounds, rows_seen)


@dataclass
class _Books:
    """What is kept of the rows that were paid for; its size does not grow with the budget."""

    problem: Problem
    apart: np.ndarray
    revealed: np.ndarray
    severity: np.ndarray
    psnr: np.ndarray
    invalid: np.ndarray
    milder: list[tuple[int, int, float]]
    kinds: dict[tuple[int, int, int], tuple[float, np.ndarray]]
    front: Front

    @classmethod
    def of(cls, n: int, problem: Problem) -> _Books:
        return cls(
            problem=problem,
            apart=np.full(n, NEVER),
            revealed=np.full(n, NEVER),
            severity=np.full(n, np.inf),
            psnr=np.full(n, np.nan),
            invalid=np.zeros(n, dtype=np.int64),
            milder=[],
            kinds={},
            front=Front.empty(),
        )

    def enter(
        self, looked: Asked, evidence: Evidence, outcomes: np.ndarray, cost: np.ndarray, paid: np.ndarray
    ) -> None:
        judged, patches, cost_paid = outcomes[paid], looked.patches[paid], cost[paid]
        np.add.at(self.invalid, patches[judged == Outcome.INVALID], 1)
        _first(self.apart, patches, cost_paid, (judged == Outcome.REVEALED) | (judged == Outcome.MOVED_APART))
        _first(self.revealed, patches, cost_paid, judged == Outcome.REVEALED)
        hit = paid[judged == Outcome.REVEALED]
        for row in hit:
            patch, severity = int(looked.patches[row]), float(evidence.severity[row])
            if severity < self.severity[patch]:
                self.severity[patch] = severity
                self.milder.append((patch, int(cost[row]), severity))
                self.psnr[patch] = evidence.psnr[row]
            elif np.isnan(severity) and np.isnan(self.psnr[patch]):
                self.psnr[patch] = evidence.psnr[row]
        if looked.u is None:
            return
        space = self.problem.space
        slots = space.weights(space.decode(looked.u[hit])).argmax(axis=1)
        for row, slot in zip(hit, slots, strict=True):
            kind = int(looked.patches[row]), int(evidence.quantised[row].argmax()), int(slot)
            if kind not in self.kinds or evidence.severity[row] < self.kinds[kind][0]:
                self.kinds[kind] = float(evidence.severity[row]), looked.u[row]
        valid = paid[(judged != Outcome.INVALID) & (judged != UNJUDGED)]
        self.front = self.front.joined(
            Front(looked.patches[valid], evidence.severity[valid], js_divergence(evidence)[valid])
        )

    def trace(self, members: np.ndarray, spent: np.ndarray, rounds: int, rows: int) -> Trace:
        milder = np.array(self.milder, dtype=[("patch", np.int64), ("queries", np.int64), ("severity", np.float64)])
        kinds = np.array(sorted(self.kinds), dtype=np.int64).reshape(-1, 3)
        mildest = [self.kinds[kind] for kind in sorted(self.kinds)]
        return Trace(
            members=members,
            spent=spent,
            apart=self.apart,
            revealed=self.revealed,
            severity=self.severity,
            psnr=self.psnr,
            milder=Milder(milder["patch"], milder["queries"], milder["severity"]),
            kinds=Kinds(
                kinds[:, 0],
                kinds[:, 1],
                kinds[:, 2],
                severity=np.array([severity for severity, _ in mildest]),
                u=np.array([u for _, u in mildest]).reshape(-1, self.problem.space.dimensions),
            ),
            front=self.front,
            invalid=self.invalid,
            rounds=rounds,
            rows=rows,
        )


def seen_by_models(problem: Problem, members: np.ndarray, asked: Asked) -> Evidence:
    """What the two models say of `asked`; `members` are the positions in the problem of the arena's patches.

    Raises:
        ValueError: a model answers with NaN; the row that caused it is named.
    """
    patches = members[asked.patches]
    if asked.u is not None:
        values = problem.space.decode(asked.u)
        evidence = problem.rows(values, patches, refuse=asked.refuse, halves=asked.halves)
    else:
        assert asked.x is not None
        evidence = problem.shown(asked.x, patches)
    refuse_nan(
        evidence.reference,
        evidence.quantised,
        patches,
        lambda row: "under an image of the arm's own" if asked.u is None else f"at {asked.u[row].round(6).tolist()}",
        shown=evidence.shown,
        halves=False if asked.halves is None else asked.halves,
    )
    return evidence


def _summed(patches: np.ndarray, price: np.ndarray) -> np.ndarray:
    """For each row what it and the earlier rows of the same patch cost together."""
    order = np.argsort(patches, kind="stable")
    total = np.cumsum(price[order])
    start = np.flatnonzero(np.diff(patches[order], prepend=-1))
    before = np.repeat(total[start] - price[order][start], np.diff(np.append(start, len(patches))))
    summed = np.empty(len(patches), dtype=np.int64)
    summed[order] = total - before
    return summed


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

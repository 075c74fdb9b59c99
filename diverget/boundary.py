"""Walk to the boundary: along rays from neutral, where do the reference and the quantised model leave their class?

On a ray both models keep the class at neutral and, if the ray is worth anything, have left it at its end. In between
the reference leaves at a dose t_f and the quantised model at t_q; every dose between the two is a disagreement,
REVEALED where t_q < t_f. The log-odds of the class against its strongest rival fall through 0 there, so a few looks
find the crossing. Far from it the reference alone is asked, at half the price, but for the end of a ray. The difference
of the two models' log-odds near the crossing tells which of them leaves first long before the two crossings are told
apart: rays on which the reference leaves first are dropped there. Later rays are bred by pymoo's operators from the
best so far, the one with the mildest finding or on which the quantised model fell behind most, or from that of another
patch of the class with a finding; so what is found for a patch depends on the patches it is searched beside. Where a
ray crosses more than once, the crossing taken is one between the last dose seen to hold and the first seen to have
left.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from diverget.evolution.genetic import bred
from diverget.lockstep import UNJUDGED, Arena, Asked, Seen
from diverget.outcome import Evidence, Outcome, taken
from diverget.problem import Problem
from diverget.rays import MOST_TRIES, along, guess, milder
from diverget.space import Space
from relations import Relation

STEEP = 16.0
"""Log-odds are held within ±16: beyond, a probability is below 1.2e-7, the rounding of a float32 beside 1."""

NEAR = 0.6
"""Log-odds at which a crossing is near: there the difference of the two models is taken for that at the crossing."""

CLOSE = 3.0
"""A look with log-odds within this is close enough to draw a line from: farther out int8 outputs are too coarse."""

AIMED = 3.0
"""Log-odds of the reference from which the next look is likely to come near: both models are asked from there on
(measured: 2 to 5 are alike)."""

MOST_LOOKS = 20
"""Looks at one ray; a crossing that is not near by then is a jump, which both models take together (measured: 16 to 20
are alike, 12 and fewer lose findings of networks that are sure of themselves)."""

LOCAL = 0.8
"""Share of the rays that grow from the best one so far; the others are drawn anew."""

LENT = 0.4
"""Share of the rays that, where they grow, grow from the best one of another patch of the class that has a finding:
what parts the two models on one patch often does on the next (measured: 0.2 to 0.4 are alike)."""

LATE = 100
"""Queries after which a patch without any disagreement follows the rays on which the reference leaves first too: there
the two disagree between the crossings, though quantisation alone is not to blame (measured: 60 and 100 are alike)."""

SPARSE = (0.0, 0.3, 0.6)
"""Of a new ray so many strengths are left neutral, one of these shares at random: chains of few steps are milder."""

FARTHER = 1.05
"""A guessed end at which the limits hold is moved on where that lengthens the ray by so much."""

BEYOND = 1.15
"""Log-odds that have not reached 0 are drawn on in a straight line, to this many times as far as it says."""


def log_odds(p: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The log-odds of class `own` (r,) against the strongest other, within ±`STEEP`, and the larger probability of
    the two, (r,) float64 each."""
    others = p.astype(np.float64)
    mine = np.take_along_axis(others, own[:, None], axis=1)[:, 0]
    np.put_along_axis(others, own[:, None], 0.0, axis=1)
    rival = others.max(axis=1)
    with np.errstate(divide="ignore"):
        odds = np.log(mine) - np.log(rival)
    return np.clip(np.nan_to_num(odds, nan=0.0), -STEEP, STEEP), np.maximum(mine, rival)


def walk(arena: Arena, *, lent: float) -> Generator[Asked, Seen, None]:
    """Rays for every patch, one look a patch and round.

    Args:
        lent: share of the rays that may grow from those of other patches.
    """
    problem, n = arena.problem, len(arena)
    space, d = problem.space, problem.space.dimensions
    neutral_odds, _ = log_odds(problem.reference_source[arena.members], arena.classes)
    neutral_behind = log_odds(problem.quantised_source[arena.members], arena.classes)[0] - neutral_odds
    rays = _Rays.none(n, d)
    best, best_gap, best_dose = np.zeros((n, d)), np.full(n, np.inf), np.ones(n)
    severity, apart = np.full(n, np.inf), np.zeros(n, dtype=bool)
    fresh, aimed = np.ones(n, dtype=bool), np.zeros(n, dtype=bool)
    while arena.active.any():
        act = np.flatnonzero(arena.active)
        new = act[fresh[act]]
        if len(new):
            lender = lenders(new, arena.classes, np.isfinite(severity), arena.rng, share=lent)
            rays.u[new], grown = proposed(problem, best[lender], np.isfinite(best_gap[lender]), arena.rng)
            # How far a ray reaches is learnt from the looks at it.
            ends = milder(problem, rays.u[new], severity[new])
            first = np.where(grown, np.minimum(best_dose[lender], ends), ends)
            rays.start(new, ends, first, neutral_odds[new], neutral_behind[new])
            fresh[new], aimed[new] = False, False
        doses = rays.next_dose(act)
        # At its end a ray on which the reference stays may yet be one that the quantised model leaves.
        alone = ~aimed[act] & (doses < rays.end[act])
        seen = yield Asked(act, u=along(space, rays.u[act], doses), halves=alone, refuse=True)
        act, doses = act[seen.rows], doses[seen.rows]
        shown = seen.evidence.shown
        beyond = act[~shown]
        rays.shorten(beyond, doses[~shown], taken(seen.evidence, ~shown), problem)
        # A ray that leaves the limits and comes back, or on which no dose is found that holds them, is not followed.
        lost = (rays.end[beyond] <= rays.low[beyond]) | (rays.tries[beyond] >= MOST_TRIES)
        fresh[beyond] = lost | np.isfinite(rays.high[beyond])
        act, dose, outcomes, evidence = act[shown], doses[shown], seen.outcomes[shown], taken(seen.evidence, shown)
        own, half = arena.classes[act], outcomes == UNJUDGED
        odds_f, top_f = log_odds(evidence.reference, own)
        odds_q, top_q = log_odds(evidence.quantised, own)
        behind = np.where(half, np.nan, odds_q - odds_f)
        # Close to both crossings the middle of the two is where they differ most surely; elsewhere only the reference
        # is precise.
        close = ~half & (np.abs(odds_f) <= 2 * NEAR) & (np.abs(odds_q) <= CLOSE)
        middle = np.where(close, (odds_f + odds_q) / 2, odds_f)
        needed = problem.reference.output_step / top_f + problem.quantised.output_step / top_q
        found = outcomes == Outcome.REVEALED
        severity[act[found]] = np.minimum(severity[act[found]], evidence.severity[found])

        rays.lengthen(act, dose, evidence, problem)
        unreached = (middle > 0) & (dose >= rays.end[act])
        at_crossing = rays.drawn_on(act, middle, behind)
        rays.tell(act, dose, middle, behind)
        near = ~half & ~unreached & (np.abs(middle) < NEAR)
        aimed[act] = np.abs(odds_f) < AIMED
        # The milder a finding, the better a ray to grow from; then the one that fell behind most.
        worth = np.where(near, at_crossing * np.minimum(top_f, top_q), np.where(unreached, 100 + middle, np.inf))
        worth = np.where(found, -1 / np.maximum(evidence.severity, 1e-9) - STEEP, worth)
        better = worth < best_gap[act]
        best[act[better]], best_gap[act[better]] = rays.u[act[better]], worth[better]
        best_dose[act[better]] = dose[better]
        apart[act] |= found | (outcomes == Outcome.MOVED_APART)
        either = ~apart[act] & (arena.spent[act] > LATE)
        hopeless = near & (at_crossing > -needed) & (~either | (at_crossing < needed))
        done = found | unreached | hopeless | (rays.looks[act] >= MOST_LOOKS)
        fresh[act[done]] = True


boundary = partial(walk, lent=LENT)
"""The arm: patches of a class learn from each other."""

boundary_alone = partial(walk, lent=0.0)
"""The arm in which every patch is by itself, as with all other arms."""


@dataclass(frozen=True)
class _Rays:
    """The ray each patch is on, (n,) each: the dose `low` at which the class holds, `high` at which it is left.

    The first look is at the end, or where the ray it grew from was crossed. While nobody has left, the log-odds are
    drawn on to 0; then a secant of them, halved where one side does not move (Illinois), goes on inside the bracket: it
    needs no derivative and cannot leave the bracket.
    """

    u: np.ndarray
    end: np.ndarray
    most: np.ndarray
    over: np.ndarray
    over_spare: np.ndarray
    first: np.ndarray
    low: np.ndarray
    high: np.ndarray
    odds_start: np.ndarray
    odds_low: np.ndarray
    odds_high: np.ndarray
    last_odds: np.ndarray
    last_behind: np.ndarray
    side: np.ndarray
    looks: np.ndarray
    tries: np.ndarray

    @classmethod
    def none(cls, n: int, d: int) -> _Rays:
        return cls(np.zeros((n, d)), *np.zeros((12, n)), *np.zeros((3, n), dtype=np.int64))

    def start(self, rows: np.ndarray, end: np.ndarray, first: np.ndarray, odds: np.ndarray, behind: np.ndarray) -> None:
        self.end[rows], self.most[rows], self.first[rows] = end, end, first
        self.over[rows], self.over_spare[rows] = np.inf, np.nan
        self.low[rows], self.high[rows] = 0.0, np.inf
        self.odds_start[rows], self.odds_low[rows] = odds, odds
        self.last_odds[rows], self.last_behind[rows] = odds, behind
        self.side[rows], self.looks[rows], self.tries[rows] = 0, 0, 0

    def shorten(self, rows: np.ndarray, dose: np.ndarray, evidence: Evidence, problem: Problem) -> None:
        """The limits are left at `dose`: the end is guessed to lie before it."""
        end, spare = guess(problem, evidence, dose, self.over[rows], self.over_spare[rows])
        self.over[rows], self.over_spare[rows] = dose, spare
        self.end[rows], self.first[rows] = end, np.minimum(self.first[rows], end)
        self.tries[rows] += 1

    def lengthen(self, rows: np.ndarray, dose: np.ndarray, evidence: Evidence, problem: Problem) -> None:
        """The limits hold at `dose`: an end that was guessed too near is moved on."""
        end, _ = guess(problem, evidence, dose, self.over[rows], self.over_spare[rows])
        end = np.minimum(end, np.minimum(self.most[rows], (self.over[rows] + dose) / 2))
        farther = (dose >= self.end[rows]) & (end > FARTHER * dose)
        self.end[rows[farther]] = end[farther]

    def next_dose(self, rows: np.ndarray) -> np.ndarray:
        low, high, end = self.low[rows], self.high[rows], self.end[rows]
        up, down = np.maximum(self.odds_low[rows], 1e-9), np.minimum(self.odds_high[rows], -1e-9)
        share = np.clip(up / (up - down), 0.01, 0.99)
        share = np.where(self.looks[rows] > MOST_LOOKS // 2, 0.5, share)
        bracketed = np.isfinite(high)
        inside = low + share * (np.where(bracketed, high, end) - low)
        fall = np.maximum(self.odds_start[rows] - self.odds_low[rows], 1e-9) / np.maximum(low, 1e-12)
        onward = np.minimum(low + BEYOND * up / fall, end)
        return np.where(self.looks[rows] == 0, self.first[rows], np.where(bracketed, inside, onward))

    def drawn_on(self, rows: np.ndarray, odds: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """What `behind` comes to at the crossing, in a straight line from both models' last look, if it was close."""
        before, step = self.last_odds[rows], self.last_odds[rows] - odds
        share = np.divide(odds, step, out=np.zeros(len(rows)), where=step != 0)
        useful = (np.abs(before) < CLOSE) & (np.abs(share) <= 1)
        return behind + np.where(useful, share * (behind - self.last_behind[rows]), 0.0)

    def tell(self, rows: np.ndarray, dose: np.ndarray, odds: np.ndarray, behind: np.ndarray) -> None:
        """Enter a look; `behind` is NaN where the reference alone was asked."""
        held = odds > 0
        bracketed = np.isfinite(self.high[rows])
        again = bracketed & (self.side[rows] == np.where(held, 1, -1))
        self.odds_high[rows[again & held]] /= 2
        self.odds_low[rows[again & ~held]] /= 2
        self.low[rows[held]], self.odds_low[rows[held]] = dose[held], odds[held]
        self.high[rows[~held]], self.odds_high[rows[~held]] = dose[~held], odds[~held]
        both = np.isfinite(behind)
        self.last_odds[rows[both]], self.last_behind[rows[both]] = odds[both], behind[both]
        self.side[rows] = np.where(bracketed, np.where(held, 1, -1), 0)
        self.looks[rows] += 1


def lenders(
    new: np.ndarray, classes: np.ndarray, found: np.ndarray, rng: np.random.Generator, *, share: float
) -> np.ndarray:
    """For each patch of `new` (r,) the one whose best ray it may grow from: itself, or with a chance of `share` one of
    its class drawn from those `found` (n,), where there are some."""
    ready = np.flatnonzero(found)
    ready = ready[np.argsort(classes[ready], kind="stable")]
    first, last = (np.searchsorted(classes[ready], classes[new], side=side) for side in ("left", "right"))
    drawn = first + np.floor(rng.random(len(new)) * (last - first)).astype(np.int64)
    asks = (rng.random(len(new)) < share) & (last > first)
    lender = new.copy()
    lender[asks] = ready[drawn[asks]]
    return lender


def followed(relations: Sequence[Relation]) -> list[str]:
    """The names of those of a space's relations that rays move along: those in which no strength jumps.

    Along a strength that jumps a crossing is no continuous one, and both models take it together; where it is neutral
    nothing is hit, so the other strengths of its relation do nothing but count as severity. In a space of such
    relations alone all are followed.
    """
    smooth = [
        relation.name
        for relation in relations
        if not any(param.neutral is not None and (param.jumps or param.integer) for param in relation.params)
    ]
    return smooth or [relation.name for relation in relations]


def moved_along(space: Space) -> np.ndarray:
    """Which columns rays move along, (d,) bool: the strengths of the relations that are `followed`."""
    names = followed([slot.relation for slot in space.slots])
    return np.array(
        [param.neutral is not None and space.slots[slot].relation.name in names for slot, param, _ in space.axes]
    )


def proposed(
    problem: Problem, best: np.ndarray, known: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of new rays, (r, d), and which of them grew: children of a drawn one and the best one so far, where that
    is known; the others are drawn from the whole cube."""
    space = problem.space
    rows, d = best.shape
    neutral, used = space.neutral(), moved_along(space)
    strengths = np.isin(np.arange(d), space.strength_columns())
    new = rng.random((rows, d))
    dropped = used & (rng.random((rows, d)) < rng.choice(SPARSE, size=(rows, 1)))
    dropped &= ~(dropped | ~used).all(axis=1, keepdims=True)  # a ray leads somewhere
    new = np.where(dropped, neutral, new)
    new[:, strengths & ~used] = neutral[strengths & ~used]
    grown = bred(best, new, rng)
    grown[:, strengths & ~used] = neutral[strengths & ~used]
    local = known & (rng.random(rows) < LOCAL)
    ends = np.where(local[:, None], grown, new)
    return ends, local

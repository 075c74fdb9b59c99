"""Walk to the boundary: along rays from neutral, where do the reference and the quantised model leave their class?

On a ray both models keep the class at neutral and, if the ray is worth anything, have left it at its end. In between
the reference leaves at a dose t_f and the quantised model at t_q; every dose between the two is a disagreement,
REVEALED where t_q < t_f. The log-odds of the class against its strongest rival fall through 0 there, so a few looks
find the crossing, and the difference of the two models' log-odds near it tells which of them leaves first long before
the two crossings are told apart: rays on which the reference leaves first are dropped there. Later rays grow from the
one on which the quantised model fell behind most. Where a ray crosses more than once, the crossing taken is one between
the last dose seen to hold and the first seen to have left.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from diverget.lockstep import Arena, Asked, Seen
from diverget.outcome import Outcome
from diverget.problem import Problem
from diverget.rays import along, reach

STEEP = 8.0
"""Log-odds are held within ±8: beyond, a probability is below 3e-4 and an int8 output knows no more of it."""

NEAR = 0.6
"""Log-odds at which a crossing is near: there the difference of the two models is taken for that at the crossing."""

CLOSE = 3.0
"""A look with log-odds within this is close enough to draw a line from: farther out int8 outputs are too coarse."""

MOST_LOOKS = 12
"""Looks at one ray; a crossing that is not near by then is a jump, which both models take together."""

LOCAL = 0.8
"""Share of the rays that grow from the best one so far; the others are drawn anew."""

SPARSE = (0.0, 0.3, 0.6)
"""Of a new ray so many strengths are left neutral, one of these shares at random: chains of few steps are milder."""

MUTATED = 0.25
"""Share of the coordinates of a grown ray that are drawn anew; the others move by"""

MOVED = 0.05
"""this standard deviation, in the unit cube."""

WITHOUT_JUMPS = 1.0
"""Share of the rays that leave params alone which jump, in a space that has others: along them a crossing is no
continuous one, and both models take it together."""

BEYOND = 1.15
"""Log-odds that have not reached 0 are drawn on in a straight line, to this many times as far as it says."""

MILDER = 0.98
"""After a finding a ray goes at most so far in severity beside it."""


@dataclass(frozen=True)
class Gaps:
    """The boundary gaps met on the way, one a ray that came near a crossing.

    Attributes:
        patches: (g,) positions in the arena.
        dose: (g,) where on the ray the crossing lies; severity: (g,) the severity there.
        gap: (g,) t_f − t_q as a severity, positive where the quantised model leaves first; an estimate, from the
            log-odds of the two models and their fall at the last look, which need not be at the crossing.
        u: (g, d) the end of the ray.
    """

    patches: np.ndarray
    dose: np.ndarray
    severity: np.ndarray
    gap: np.ndarray
    u: np.ndarray


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


class Boundary:
    """The arm; `gaps` are the boundary gaps it met, once it is done."""

    def __init__(self) -> None:
        self._gaps: list[tuple[np.ndarray, ...]] = []

    @property
    def gaps(self) -> Gaps:
        columns = (
            [np.concatenate(column) for column in zip(*self._gaps, strict=True)] if self._gaps else [np.zeros(0)] * 5
        )
        return Gaps(*columns)

    def __call__(self, arena: Arena) -> Generator[Asked, Seen, None]:
        """Rays for every patch, one look a patch and round."""
        problem, n = arena.problem, len(arena)
        space, d = problem.space, problem.space.dimensions
        neutral_odds, _ = log_odds(problem.reference_source[arena.members], arena.classes)
        neutral_behind = log_odds(problem.quantised_source[arena.members], arena.classes)[0] - neutral_odds
        rays = _Rays.none(n, d)
        best, best_gap, best_dose = np.zeros((n, d)), np.full(n, np.inf), np.ones(n)
        severity = np.full(n, np.inf)
        fresh = np.ones(n, dtype=bool)
        self._gaps.clear()
        while arena.active.any():
            act = np.flatnonzero(arena.active)
            new = act[fresh[act]]
            if len(new):
                rays.u[new], grown = proposed(problem, best[new], np.isfinite(best_gap[new]), arena.rng)
                ends = reach(problem, rays.u[new], arena.members[new])
                whole = space.severity(space.decode(rays.u[new]))
                milder = MILDER * severity[new] / np.maximum(whole, 1e-12)
                ends = np.minimum(ends, milder)
                first = np.where(grown, np.minimum(best_dose[new], ends), ends)
                rays.start(new, ends, first, neutral_odds[new], neutral_behind[new])
                fresh[new] = False
            dose = rays.next_dose(act)
            seen = yield Asked(act, u=along(space, rays.u[act], dose))
            act, dose = act[seen.rows], dose[seen.rows]
            evidence, own = seen.evidence, arena.classes[act]
            odds_f, top_f = log_odds(evidence.reference, own)
            odds_q, top_q = log_odds(evidence.quantised, own)
            behind = odds_q - odds_f
            # Far away only the reference is precise; close by the middle of the two is where they differ most surely.
            middle = np.where(np.abs(odds_f) > 2 * NEAR, odds_f, (odds_f + odds_q) / 2)
            needed = problem.reference.output_step / top_f + problem.quantised.output_step / top_q
            found = seen.outcomes == Outcome.REVEALED
            severity[act[found]] = np.minimum(severity[act[found]], evidence.severity[found])

            unreached = (middle > 0) & (dose >= rays.end[act])
            at_crossing = rays.drawn_on(act, middle, behind)
            fall = rays.fall(act, dose, middle)
            rays.tell(act, dose, middle, behind)
            near = ~unreached & (np.abs(middle) < NEAR)
            # The milder a finding, the better a ray to grow from; then the one that fell behind most.
            worth = np.where(near, at_crossing * np.minimum(top_f, top_q), np.where(unreached, 100 + middle, np.inf))
            worth = np.where(found, -1 / np.maximum(evidence.severity, 1e-9) - STEEP, worth)
            better = worth < best_gap[act]
            best[act[better]], best_gap[act[better]] = rays.u[act[better]], worth[better]
            best_dose[act[better]] = dose[better]
            hopeless = near & (at_crossing > -needed)
            done = found | unreached | hopeless | (rays.looks[act] >= MOST_LOOKS)
            gap = np.divide(-at_crossing, fall, out=np.full(len(act), np.nan), where=fall > 0)
            self._keep(problem, rays.u[act], act, dose, gap, near & done)
            fresh[act[done]] = True

    def _keep(
        self, problem: Problem, u: np.ndarray, act: np.ndarray, dose: np.ndarray, gap: np.ndarray, rows: np.ndarray
    ) -> None:
        """Note the gaps, in doses, of the rays that end with the given rows."""
        whole = problem.space.severity(problem.space.decode(u[rows]))
        self._gaps.append((act[rows], dose[rows], dose[rows] * whole, gap[rows] * whole, u[rows].copy()))


@dataclass(frozen=True)
class _Rays:
    """The ray each patch is on, (n,) each: the dose `low` at which the class holds, `high` at which it is left.

    The first look is at the end, or where the ray it grew from was crossed. While nobody has left, the log-odds are
    drawn on to 0; then a secant of them, halved where one side does not move (Illinois), goes on inside the bracket: it
    needs no derivative and cannot leave the bracket.
    """

    u: np.ndarray
    end: np.ndarray
    first: np.ndarray
    low: np.ndarray
    high: np.ndarray
    odds_start: np.ndarray
    odds_low: np.ndarray
    odds_high: np.ndarray
    last_dose: np.ndarray
    last_odds: np.ndarray
    last_behind: np.ndarray
    side: np.ndarray
    looks: np.ndarray

    @classmethod
    def none(cls, n: int, d: int) -> _Rays:
        end, first, low, high, odds_start, odds_low, odds_high, last_dose, last_odds, behind = np.zeros((10, n))
        side, looks = np.zeros((2, n), dtype=np.int64)
        odds = odds_start, odds_low, odds_high, last_dose, last_odds, behind
        return cls(np.zeros((n, d)), end, first, low, high, *odds, side, looks)

    def start(self, rows: np.ndarray, end: np.ndarray, first: np.ndarray, odds: np.ndarray, behind: np.ndarray) -> None:
        self.end[rows], self.first[rows], self.low[rows], self.high[rows] = end, first, 0.0, np.inf
        self.odds_start[rows], self.odds_low[rows] = odds, odds
        self.last_dose[rows], self.last_odds[rows], self.last_behind[rows] = 0.0, odds, behind
        self.side[rows], self.looks[rows] = 0, 0

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

    def fall(self, rows: np.ndarray, dose: np.ndarray, odds: np.ndarray) -> np.ndarray:
        """How fast the log-odds fall with the dose, from the look before to this one."""
        further = dose - self.last_dose[rows]
        return (self.last_odds[rows] - odds) / np.where(further == 0, np.inf, further)

    def drawn_on(self, rows: np.ndarray, odds: np.ndarray, behind: np.ndarray) -> np.ndarray:
        """What `behind` comes to at the crossing, in a straight line from the look before, if that was close enough."""
        before, step = self.last_odds[rows], self.last_odds[rows] - odds
        share = np.divide(odds, step, out=np.zeros(len(rows)), where=step != 0)
        useful = (np.abs(before) < CLOSE) & (np.abs(share) <= 1)
        return behind + np.where(useful, share * (behind - self.last_behind[rows]), 0.0)

    def tell(self, rows: np.ndarray, dose: np.ndarray, odds: np.ndarray, behind: np.ndarray) -> None:
        held = odds > 0
        bracketed = np.isfinite(self.high[rows])
        again = bracketed & (self.side[rows] == np.where(held, 1, -1))
        self.odds_high[rows[again & held]] /= 2
        self.odds_low[rows[again & ~held]] /= 2
        self.low[rows[held]], self.odds_low[rows[held]] = dose[held], odds[held]
        self.high[rows[~held]], self.odds_high[rows[~held]] = dose[~held], odds[~held]
        self.last_dose[rows], self.last_odds[rows], self.last_behind[rows] = dose, odds, behind
        self.side[rows] = np.where(bracketed, np.where(held, 1, -1), 0)
        self.looks[rows] += 1


def proposed(
    problem: Problem, best: np.ndarray, known: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The ends of new rays, (r, d), and which of them grew from the best one so far, where it is known; the others are
    drawn from the whole cube."""
    space = problem.space
    rows, d = best.shape
    strengths = np.zeros(d, dtype=bool)
    strengths[space.strength_columns()] = True
    jumps = np.array([param.neutral is not None and (param.jumps or param.integer) for _, param, _ in space.axes])
    new = rng.random((rows, d))
    dropped = strengths & (rng.random((rows, d)) < rng.choice(SPARSE, size=(rows, 1)))
    smooth_ones = strengths & ~jumps if (strengths & ~jumps).any() else strengths
    dropped &= ~(dropped | ~smooth_ones).all(axis=1, keepdims=True)  # a ray leads somewhere
    new = np.where(dropped, space.neutral(), new)
    drawn_anew = rng.random((rows, d)) < MUTATED
    grown = np.where(drawn_anew, new, np.clip(best + MOVED * rng.standard_normal((rows, d)), 0, 1))
    local = known & (rng.random(rows) < LOCAL)
    ends = np.where(local[:, None], grown, new)
    smooth = rng.random((rows, 1)) < WITHOUT_JUMPS
    if (strengths & ~jumps).any():
        ends = np.where(smooth & jumps, space.neutral(), ends)
    return ends, local

"""Rays from neutral: how far along one the validity limits hold, which costs no query, and random doses on them."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from diverget.lockstep import Arena, Asked, Seen
from diverget.outcome import Evidence
from diverget.problem import Problem
from diverget.space import Space

MOST_TRIES = 20
"""Doses tried on a ray until one is inside the limits."""

MOST_BARREN = 50
"""Rays, or steps of a chain, in a row of which no model sees anything, after which an arm gives up; the walk to the
boundary, which takes a round for each dose, after `lockstep.MOST_UNSEEN`: engineering judgement."""

REFINED = 4
"""Doses tried at most, after one that holds the limits, to come closer to them."""

SLACK = 0.05
"""dB by which a guess stays inside a limit on PSNR, and"""

ENOUGH = 0.3
"""dB within which of it a dose is far enough."""

MILDER = 0.98
"""After a finding a ray is of interest up to this share of its severity: engineering judgement."""

UNSEEN = {"severity", "keep_label"}
"""Limits that the distorted patch itself does not tell of: the one is known, the other asks a model."""

DOSES = 4
"""Random doses on each random ray: how far a ray reaches costs several distortions, and a second dose on it is as
likely to find something as one on another ray (measured)."""


def along(space: Space, u: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The points at dose `t` (r,) of the rays from neutral to `u` (r, d): strengths scale, shape params stay."""
    strengths = space.strength_columns()
    points = u.copy()
    neutral = space.neutral()[strengths]
    points[:, strengths] = neutral + t[:, None] * (u[:, strengths] - neutral)
    return points


def milder(problem: Problem, u: np.ndarray, severity: np.ndarray) -> np.ndarray:
    """The doses (r,) in [0, 1] up to which the rays to `u` (r, d) are milder than `severity` (r,) by `MILDER`, and
    within a limit on it."""
    bounds = {bounded.limit.name: bounded.bound for bounded in problem.limits}
    whole = np.maximum(problem.space.severity(problem.space.decode(u)), 1e-12)
    within = (1 - 1e-9) * bounds.get("severity", np.inf)
    return np.asarray(np.minimum(1.0, np.minimum(MILDER * severity, within) / whole))


def guess(
    problem: Problem, evidence: Evidence, dose: np.ndarray, over: np.ndarray, over_spare: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where on each ray the limits are just held, after a look at `dose` (r,), and the dB `spare` there were.

    Where values move in proportion to the dose, 20 dB are a factor of ten; a second dose on the ray tells better. Where
    other limits than that on PSNR are left, half the dose.

    Args:
        over, over_spare: (r,) a dose that left the limits, inf without one, and its dB.
    """
    bound = next((bounded.bound for bounded in problem.limits if bounded.limit.name == "psnr"), None)
    if bound is None:
        spare = np.full(len(dose), np.nan)
        return np.where(evidence.within, np.inf, dose / 2), spare
    spare = np.clip(evidence.psnr - bound, -60.0, 60.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (spare - over_spare) / np.log10(over / dose)
    slope = np.clip(np.where(np.isfinite(slope), slope, 20.0), 10.0, 40.0)
    onward = dose * 10 ** ((spare - SLACK) / slope)
    return np.where(evidence.within | (spare < 0), onward, dose / 2), spare


def reach(problem: Problem, u: np.ndarray, patches: np.ndarray, *, most: float | np.ndarray = 1.0) -> np.ndarray:
    """The largest dose found in [0, `most`] at which the limits hold along each ray, (r,) float64; 0 where none held.

    PSNR tells how far its bound is: where values move in proportion to the dose, 20 dB are a factor of ten; where a
    share of the values is hit, 10 dB are. Steps down take the second, steps up the first, so both stay inside. The
    severity is linear in the dose and needs no try; other limits are halved down to. A ray may leave the limits and
    come back: what is returned holds, and was looked at.

    Args:
        u: (r, d) the ends of the rays; patches: (r,) positions in the problem.
        most: the largest dose of interest, at most 1, one or (r,): tried first.
    """
    bounds = {bounded.limit.name: bounded.bound for bounded in problem.limits}
    whole = problem.space.severity(problem.space.decode(u))
    dose = np.minimum(most, (1 - 1e-9) * bounds.get("severity", np.inf) / np.maximum(whole, 1e-12))
    if bounds.keys() <= UNSEEN:
        return dose
    low, high, held = np.zeros(len(u)), np.full(len(u), np.inf), np.zeros(len(u), dtype=np.int64)
    end = dose.copy()
    open_ = np.arange(len(u))
    for _ in range(MOST_TRIES):
        if not len(open_):
            break
        at = dose[open_]
        evidence = problem.measured(problem.space.decode(along(problem.space, u[open_], at)), patches[open_])
        holds = evidence.within
        low[open_] = np.where(holds, np.maximum(low[open_], at), low[open_])
        high[open_] = np.where(holds, high[open_], np.minimum(high[open_], at))
        held[open_] += holds | (low[open_] > 0)
        tried, near = np.where(holds, 2 * at, at / 2), np.zeros(len(at), dtype=bool)
        if "psnr" in bounds:
            spare = np.clip(evidence.psnr - bounds["psnr"], -60, 60)
            steps = at * 10 ** ((spare - SLACK) / np.where(holds, 20, 10))
            tried = np.where(holds | (spare < 0), steps, tried)
            near = holds & (spare <= ENOUGH)
        inside = (tried > low[open_]) & (tried < high[open_])
        middle = (low[open_] + np.minimum(high[open_], end[open_])) / 2
        dose[open_] = np.minimum(np.where(inside, tried, middle), end[open_])
        close = high[open_] - low[open_] < 1e-2 * high[open_]
        done = near | (low[open_] >= end[open_]) | ((low[open_] > 0) & (close | (held[open_] > REFINED)))
        open_ = open_[~done]
    return low


def random_doses(arena: Arena) -> Generator[Asked, Seen, None]:
    """The arm to beat: random rays for each patch, and on each of them `DOSES` random doses within the limits.

    Drawing points of the cube instead would spend almost all queries outside the limits; how far a ray reaches costs
    no query, nor does a look outside the limits for the walk to the boundary. Nor is one spent on an undistorted
    source.
    """
    problem, space = arena.problem, arena.problem.space
    barren = 0
    while arena.active.any() and barren < MOST_BARREN:
        act = np.flatnonzero(arena.active)
        u = arena.rng.random((len(act), space.dimensions))
        far = reach(problem, u, arena.members[act])
        barren += 1
        for _ in range(DOSES):
            points = along(space, u, far * (1 - arena.rng.random(len(act))))
            # A whole strength can come to nothing.
            some = arena.active[act] & (space.severity(space.decode(points)) > 0)
            if some.any():
                barren = 0
                yield Asked(act[some], u=points[some])

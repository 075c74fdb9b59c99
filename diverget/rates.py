"""How often: outcomes under random draws of natural distortions. Never from inputs that a search found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from diverget.outcome import Evidence, judge, refuse_nan
from diverget.patches import Patches, draw_field
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from diverget.space import Space


def draw_outcomes(problem: Problem, space: Space, patches: Patches, *, draws: int, seed: int, name: str) -> np.ndarray:
    """The `Outcome` of every patch under `draws` chains of its own, uniform in the space: (n, draws) uint8.

    Every draw has fields of its own, so that no rate hangs on one realisation of the noise. Values and fields
    depend on the seed, the space's tier and `name` alone, so every pair meets the same ones.

    Args:
        problem: the pair with its predictions on the sources.
        space: where the chains are drawn, in place of the problem's own.
        patches: the problem's patches, cut with the margin of `space`.
        name: tells the streams of one tier apart.

    Raises:
        ValueError: a model answers with NaN.
    """
    n = len(patches)
    rng = generator(seed, Purpose.RATE, key(space.tier), key(name))
    outcomes = np.empty((n, draws), dtype=np.uint8)
    for draw in range(draws):
        fields = tuple(draw_field(slot.relation, patches, seed=seed, draw=draw + 1) for slot in space.slots)
        drawn = replace(problem, space=space, patches=patches, fields=fields)
        values = space.decode(rng.random((n, space.dimensions)))
        evidence = drawn.rows(values, np.arange(n))
        _refuse_nan(evidence, np.arange(n), f"under draw {draw} of {name}, {space.tier}")
        outcomes[:, draw] = judge(evidence)
    return outcomes


@dataclass(frozen=True)
class Dosed:
    """What came of draws at several severities; arrays are (severities, n, draws).

    Attributes:
        outcomes: uint8, an `Outcome` each.
        reference, quantised: int64, the class that each model gives the follow-up.
    """

    outcomes: np.ndarray
    reference: np.ndarray
    quantised: np.ndarray


def at_severity(space: Space, u: np.ndarray, severity: float, *, largest: float = 1.0) -> np.ndarray:
    """The points `u` (r, d) with every strength at `severity` of the way to the farther end of its bounds.

    Shape params stay. A strength goes up where its coordinate is at least 0.5 and down elsewhere, and to the other side
    where its bounds end before `largest`. So the severity of the chain is the one asked for (to the nearest whole value
    of an integer param), and the chains of one row at two severities lie on the same side and differ in nothing else.

    Args:
        severity: at most `largest`, the greatest severity at which the draws are looked at.
    """
    points = u.copy()
    neutral = space.neutral()
    for column in space.strength_columns():
        _, param, bounds = space.axes[column]
        low, high = (float(param.encode(end, bounds)) for end in bounds)
        middle = neutral[column]
        whole = max(middle - low, high - middle)
        away, most = severity * whole, largest * whole
        up, down = most <= (high - middle) * (1 + 1e-9), most <= (middle - low) * (1 + 1e-9)
        rises = np.where(u[:, column] >= 0.5, up, up and not down)
        points[:, column] = np.clip(np.where(rises, middle + away, middle - away), low, high)
    return points


def dose_outcomes(
    problem: Problem,
    space: Space,
    patches: Patches,
    *,
    severities: Sequence[float],
    draws: int,
    seed: int,
    name: str,
) -> Dosed:
    """Outcomes and classes of every patch under `draws` chains of its own at each of `severities`.

    A draw is a side for each strength, shape params and fields, and stays the same at all severities: what changes
    along them is the severity alone. Everything depends on the seed, the space's tier and `name`, so every pair meets
    the same draws; the sides also on the largest of `severities` where bounds are not symmetric around neutral.

    Args:
        problem, space, patches, name: as in `draw_outcomes`; `space` is usually that of one relation.
        severities: in (0, 1].

    Raises:
        ValueError: a model answers with NaN.
    """
    n, levels, largest = len(patches), len(severities), max(severities)
    rng = generator(seed, Purpose.DOSE, key(space.tier), key(name))
    rows = np.tile(np.arange(n), levels)
    seen = Dosed(*(np.empty((levels, n, draws), dtype=kind) for kind in (np.uint8, np.int64, np.int64)))
    for draw in range(draws):
        fields = tuple(draw_field(slot.relation, patches, seed=seed, draw=draw + 1) for slot in space.slots)
        drawn = replace(problem, space=space, patches=patches, fields=fields)
        u = rng.random((n, space.dimensions))
        points = np.concatenate([at_severity(space, u, severity, largest=largest) for severity in severities])
        evidence = drawn.rows(space.decode(points), rows)
        _refuse_nan(evidence, rows, f"under draw {draw} of {name} at some severity, {space.tier}")
        seen.outcomes[:, :, draw] = judge(evidence).reshape(levels, n)
        seen.reference[:, :, draw] = evidence.reference.argmax(axis=1).reshape(levels, n)
        seen.quantised[:, :, draw] = evidence.quantised.argmax(axis=1).reshape(levels, n)
    return seen


def _refuse_nan(evidence: Evidence, patches: np.ndarray, where: str) -> None:
    refuse_nan(evidence.reference, evidence.quantised, patches, lambda row: where)

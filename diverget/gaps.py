"""The boundary gap, measured: at which dose of one relation does the reference leave its class, at which the quantised?

On a ray from neutral to an end of a relation's bounds the reference leaves at the dose t_f and the quantised model at
t_q. The boundary gap is t_f − t_q: positive where the quantised model leaves first, and then what lies between the two
is REVEALED, up to ties. It exists on every ray that both leave, so it tells two models apart where no count does.

A model keeps its class while that leads all others by at least one output step, and has left where another leads it by
one. Between the two it is tied, and the dose at which it leaves is the middle of that stretch: an output of whole steps
is tied for longer than a float one, and either end of the stretch alone would lean to one side by more than many a gap.
On a ray a class may be left, taken up again and left once more: the crossing measured is the first, the one nearest
neutral, for both models; how often each crosses is counted on the same looks. What happens between two neighbouring
looks of the grid and is over before the second is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diverget.lockstep import QUERIES
from diverget.outcome import clear, decided, refuse_nan
from diverget.problem import Problem
from diverget.rays import along, reach
from diverget.space import Space

GRID = 12
"""Equally spaced looks at a ray, the last at its end: an excursion of a twelfth of the ray is not missed, and the
grid costs about as much as the halvings that follow (engineering judgement)."""

HALVINGS = 10
"""Halvings of the cell of the grid in which a class is left: 2⁻¹⁰ of a twelfth is 8 · 10⁻⁵ of the ray (engineering
judgement)."""

KEEPS, TIED, LEFT = 1, 0, -1
"""What a model does with its class at one dose."""

BRACKETS = ("reference tied", "reference left", "quantised tied", "quantised left")
"""What is bracketed on a ray: where each model first no longer keeps its class, and where it has left."""

MODEL, BELOW = np.array([0, 0, 1, 1]), np.array([KEEPS, TIED, KEEPS, TIED])
"""For each bracket the model whose it is, and the state below which its upper end lies."""

HIGH, LOW = "high", "low"
"""To which end of their bounds the strengths go."""


@dataclass(frozen=True)
class BoundaryGaps:
    """Where the two models leave their class, one entry a ray. What a model does not do is NaN.

    Attributes:
        patches: (g,) positions in the problem.
        directions: (g,) `HIGH` or `LOW`.
        classes: (g,) the class on which both models agree on the source.
        end: (g,) the dose in [0, 1] at which the ray ends, because the bounds or the limits do; a model that has not
            left by then is censored there. 0 where no dose was found within the limits.
        reference, quantised: (g,) t_f and t_q; NaN where the model does not leave before the end.
        tied_reference, tied_quantised: (g,) the length of the stretch of doses about t_f, t_q on which it is tied.
        severity_end, severity_reference, severity_quantised: (g,) the severities at these doses.
        value_reference, value_quantised: (g,) the value of `param` at these doses, in `unit`.
        neutral: of `param`, in `unit`.
        crossings_reference, crossings_quantised: (g,) how often each leaves or takes up its class, on the grid.
        queries: (g,) spent on each ray.
        param, unit: the first strength that moves along the rays.
        jumps: whether a strength that moves is whole or jumps: then a crossing is a jump, and a dose within the step.
    """

    patches: np.ndarray
    directions: np.ndarray
    classes: np.ndarray
    end: np.ndarray
    reference: np.ndarray
    quantised: np.ndarray
    tied_reference: np.ndarray
    tied_quantised: np.ndarray
    severity_end: np.ndarray
    severity_reference: np.ndarray
    severity_quantised: np.ndarray
    value_reference: np.ndarray
    value_quantised: np.ndarray
    neutral: float
    crossings_reference: np.ndarray
    crossings_quantised: np.ndarray
    queries: np.ndarray
    param: str
    unit: str
    jumps: bool

    @property
    def gap(self) -> np.ndarray:
        """t_f − t_q, (g,) in doses; NaN where one of the two does not leave."""
        return self.reference - self.quantised

    @property
    def gap_severity(self) -> np.ndarray:
        """The gap as a difference of severities, (g,)."""
        return self.severity_reference - self.severity_quantised

    @property
    def gap_value(self) -> np.ndarray:
        """The gap as a difference of distances from neutral, (g,) in `unit`."""
        return np.abs(self.value_reference - self.neutral) - np.abs(self.value_quantised - self.neutral)


def directions(space: Space) -> dict[str, np.ndarray]:
    """The ends of the rays of a space by direction: points (d,), shape params as at neutral.

    Strengths with room on both sides of neutral give two rays, to their high and to their low ends; a strength with
    room on one side goes to its one end on both. Where none has two sides there is one ray, called by the end of the
    first that moves; where none has room there is no ray.
    """
    neutral = space.neutral()
    ends = {HIGH: neutral.copy(), LOW: neutral.copy()}
    first, two_sided = "", False
    for column in space.strength_columns():
        _, param, (low, high) = space.axes[column]
        below, above = param.neutral > low, param.neutral < high  # type: ignore[operator]
        if below or above:
            ends[HIGH][column], ends[LOW][column] = (1.0 if above else 0.0), (0.0 if below else 1.0)
            first = first or (HIGH if above else LOW)
            two_sided |= below and above
    return ends if two_sided else {first: ends[first]} if first else {}


def measure(
    problem: Problem, *, members: np.ndarray, rng: np.random.Generator, grid: int = GRID, halvings: int = HALVINGS
) -> BoundaryGaps:
    """The boundary gaps of the patches `members`, along every direction of the problem's one relation.

    The ends of the ties are known to within 2^-`halvings` of a cell of the grid. The brackets of both ends, both models
    and all rays are halved together, and a look tells of all four, so a gap within one last bracket is exactly 0.

    Args:
        problem: posed on the space of one relation.
        members: (n,) positions of the patches; both models must clearly agree on their sources.
        rng: draws the shape params, once for each patch of the problem, whether it is a member or not.
        grid: looks at a ray; halvings: of the cell in which a model first leaves.

    Raises:
        ValueError: a model answers with NaN; the row that caused it is named.
    """
    space = problem.space
    ends = directions(space)
    strengths = space.strength_columns()
    shapes = rng.random((len(problem.patches), space.dimensions))[members]
    u = np.concatenate([shapes[:0], *[_with(shapes, strengths, end) for end in ends.values()]])
    patches = np.tile(members, len(ends))
    own = problem.reference_source[patches].argmax(axis=1)
    end, low, high, crossings, queries = _on_the_grid(problem, u, patches, own, grid)
    for _ in range(halvings):
        middle = (low + high) / 2
        # A look at a dose that two brackets share is asked for the first of them alone.
        asker = (middle[:, None] == middle[None]).argmax(axis=1)
        asked = np.isfinite(middle) & (asker == np.arange(len(BRACKETS))[:, None])
        bracket, ray = np.nonzero(asked)
        if not len(ray):
            break
        states = np.zeros((len(BRACKETS), 2, len(u)), dtype=np.int8)
        states[bracket, :, ray] = _states(problem, u[ray], patches[ray], own[ray], middle[bracket, ray])[0].T
        gone = states[asker, MODEL[:, None], np.arange(len(u))] < BELOW[:, None]
        low, high = np.where(gone, low, middle), np.where(gone, middle, high)
        queries += QUERIES * asked.sum(axis=0)
    leaves, tied = (high[0::2] + high[1::2]) / 2, high[1::2] - high[0::2]
    moving = _moving(space)
    severity, value = _told(space, u, np.stack([end, *leaves]), moving[:1])
    first = [space.axes[column][1] for column in moving[:1]]
    return BoundaryGaps(
        patches=patches,
        directions=np.repeat(np.array(list(ends), dtype=np.str_), len(members)),
        classes=own,
        end=end,
        reference=leaves[0],
        quantised=leaves[1],
        tied_reference=tied[0],
        tied_quantised=tied[1],
        severity_end=severity[0],
        severity_reference=severity[1],
        severity_quantised=severity[2],
        value_reference=value[1],
        value_quantised=value[2],
        neutral=first[0].neutral if first and first[0].neutral is not None else float("nan"),
        crossings_reference=crossings[0],
        crossings_quantised=crossings[1],
        queries=queries,
        param=first[0].name if first else "",
        unit=first[0].unit if first else "",
        jumps=any(space.axes[column][1].jumps or space.axes[column][1].integer for column in moving),
    )


def _with(shapes: np.ndarray, strengths: list[int], end: np.ndarray) -> np.ndarray:
    """The points `shapes` (n, d) with the strengths of `end` (d,)."""
    u = shapes.copy()
    u[:, strengths] = end[strengths]
    return u


def _moving(space: Space) -> list[int]:
    """The columns of the strengths that have room beside neutral."""
    axes = space.axes
    return [column for column in space.strength_columns() if axes[column][2][0] < axes[column][2][1]]


def _on_the_grid(
    problem: Problem, u: np.ndarray, patches: np.ndarray, own: np.ndarray, grid: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Equally spaced looks at the rays to `u` (g, d), all in one batch: (end, low, high, crossings, queries).

    `end` (g,) is the last dose before a look outside the limits; `low` and `high` (4, g) are the looks between which
    each of the `BRACKETS` lies, NaN where a model does not leave; `crossings` (2, g), `queries` (g,).
    """
    far = reach(problem, u, patches)
    rays, rows = np.flatnonzero(far > 0), np.arange(len(u))
    doses = far[:, None] * np.arange(grid + 1) / grid
    states = np.full((2, len(u), grid + 1), KEEPS, dtype=np.int8)
    within = np.zeros((len(u), grid + 1), dtype=bool)
    within[:, 0] = True
    if len(rays):
        each = np.repeat(rays, grid)
        seen = _states(problem, u[each], patches[each], own[each], doses[rays, 1:].ravel())
        states[:, rays, 1:] = seen[0].reshape(2, len(rays), grid)
        within[rays, 1:] = seen[1].reshape(len(rays), grid)
    within = np.logical_and.accumulate(within, axis=1)
    end = doses[rows, within.sum(axis=1) - 1]
    # A tie goes on with what was before it, and so does all beyond the end.
    sure = np.maximum.accumulate(np.where((states != TIED) & within, np.arange(grid + 1), 0), axis=2)
    left = np.take_along_axis(states, sure, axis=2) == LEFT
    crossings = (left[:, :, 1:] != left[:, :, :-1]).sum(axis=2)
    first = left.argmax(axis=2)
    before = np.maximum(first - 1, 0)
    kept = np.take_along_axis(sure, before[:, :, None], axis=2)[:, :, 0]
    some = left.any(axis=2)
    low, high = (
        np.where(some[MODEL], doses[rows, np.stack([tied[0], gone[0], tied[1], gone[1]])], np.nan)
        for tied, gone in ((kept, before), (np.minimum(kept + 1, grid), first))
    )
    queries = np.zeros(len(u), dtype=np.int64)
    queries[rays] = QUERIES * grid
    return end, low, high, crossings, queries


def _states(
    problem: Problem, u: np.ndarray, patches: np.ndarray, own: np.ndarray, dose: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the reference and the quantised model do with class `own` (r,) at these doses, `KEEPS`, `TIED` or `LEFT`,
    (2, r) int8, and whether the limits hold there, (r,) bool.

    Raises:
        ValueError: a model answers with NaN.
    """
    seen = problem.rows(problem.space.decode(along(problem.space, u, dose)), patches)
    name = problem.space.slots[0].relation.name
    refuse_nan(seen.reference, seen.quantised, patches, lambda row: f"at dose {dose[row]:.6g} of {name}")
    sides = ((seen.reference, seen.reference_step), (seen.quantised, seen.quantised_step))
    states = [
        np.select([decided(p, own, step), clear(p, step) & (p.argmax(axis=1) == own)], [LEFT, KEEPS], TIED)
        for p, step in sides
    ]
    return np.stack(states).astype(np.int8), seen.within


def _told(space: Space, u: np.ndarray, doses: np.ndarray, column: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The severity and the value of the strength in `column` at `doses` (s, g) of the rays to `u` (g, d), (s, g) each;
    NaN where the dose is."""
    severity, value = np.full(doses.shape, np.nan), np.full(doses.shape, np.nan)
    side, ray = np.nonzero(np.isfinite(doses))
    values = space.decode(along(space, u[ray], doses[side, ray]))
    severity[side, ray] = space.severity(values)
    for slot, param, _ in [space.axes[at] for at in column]:
        value[side, ray] = values[slot][param.name]
    return severity, value

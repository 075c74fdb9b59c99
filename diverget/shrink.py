"""Shrinking: from a finding to the mildest distortion of its kind that still reveals.

All findings shrink together, one batch a step, each by itself: a proposal is kept where the patch is still
REVEALED with the same two classes, within the limits, and no more severe.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diverget.outcome import Outcome, judge
from diverget.problem import Problem
from diverget.space import Values

HALVINGS = 12
"""Bisections along the ray to neutral: the dose is known to 1/4096 of the space, below any sensor's accuracy."""

PARAM_HALVINGS = 6
"""Bisections of a single strength afterwards: 1/64 of what is left of it."""


def shrink(
    problem: Problem,
    values: Values,
    patches: np.ndarray,
    classes: np.ndarray,
    *,
    step: Callable[[int, int], None] = lambda done, steps: None,
) -> Values:
    """The mildest values found for each row, none more severe than it came.

    First each relation in turn is set to neutral, then the rest is drawn towards neutral along the ray, then
    each strength alone; what has become too weak to matter is set to neutral at the end. Where the REVEALED doses
    are not one interval, the result is mild, not the mildest.

    Args:
        values: (r,) values of each finding; patches: (r,) their patches.
        classes: (r, 2) class of reference and quantised model that must stay.
        step: told after every batch how many of how many are done.

    Returns:
        values of the same shape.
    """
    space = problem.space
    found = space.encode(values)
    best = found.copy()
    neutral = space.neutral()
    strengths = space.strength_columns()
    axes = space.axes
    by_slot = [[c for c in strengths if axes[c][0] == slot] for slot in range(len(space.slots))]
    steps = 2 * len(by_slot) + HALVINGS + PARAM_HALVINGS * len(strengths)
    done = 0

    def still(proposal: np.ndarray, best: np.ndarray) -> np.ndarray:
        nonlocal done
        evidence = problem.rows(space.decode(proposal), patches)
        seen = np.stack([evidence.reference.argmax(axis=1), evidence.quantised.argmax(axis=1)], axis=1)
        milder = evidence.severity <= space.severity(space.decode(best))
        done += 1
        step(done, steps)
        return (judge(evidence) == Outcome.REVEALED) & (seen == classes).all(axis=1) & milder

    def without_each(best: np.ndarray) -> np.ndarray:
        # The last of the chain first: what the sensor adds is dropped before what the scene did.
        for columns in reversed([columns for columns in by_slot if columns]):
            proposal = best.copy()
            proposal[:, columns] = neutral[columns]
            best = np.where(still(proposal, best)[:, None], proposal, best)
        return best

    best = without_each(best)
    for columns, halvings in [(strengths, HALVINGS), *(([column], PARAM_HALVINGS) for column in strengths)]:
        mild = np.zeros(len(best))
        away = best[:, columns] - neutral[columns]
        reached = np.ones(len(best))
        for _ in range(halvings):
            dose = (mild + reached) / 2
            proposal = best.copy()
            proposal[:, columns] = neutral[columns] + dose[:, None] * away
            kept = still(proposal, best)
            best = np.where(kept[:, None], proposal, best)
            reached = np.where(kept, dose, reached)
            mild = np.where(kept, mild, dose)
    best = without_each(best)
    # Encoding and decoding rounds, so what was not made milder keeps the very values that revealed it.
    same = (best == found).all(axis=1)
    shrunk = space.decode(best)
    return tuple(
        {name: np.where(same, old[name], new[name]) for name in new} for old, new in zip(values, shrunk, strict=True)
    )

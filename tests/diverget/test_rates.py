"""Draws at fixed severities: each at the severity asked for, nested, the same whatever stands beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diverget.outcome import Outcome, judge
from diverget.patches import draw_field
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from diverget.rates import at_severity, dose_outcomes
from diverget.space import Space
from relations import ALL, TIERS, get

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ALL)
def test_every_relation_stands_at_the_severity_asked_for(name: str, tier: str) -> None:
    space = Space.of([get(name)], tier=tier)
    u = np.random.default_rng(3).random((40, space.dimensions))
    shapes = [i for i in range(space.dimensions) if i not in space.strength_columns()]
    moving = [space.axes[i] for i in space.strength_columns() if np.ptp(space.axes[i][2]) > 0]
    whole = [param for _, param, _ in moving if param.integer]
    assert moving
    for severity in LEVELS:
        points = at_severity(space, u, severity)
        np.testing.assert_array_equal(points[:, shapes], u[:, shapes])
        assert points.min() >= 0 and points.max() <= 1
        reached = space.severity(space.decode(points)) * len(space.strength_columns()) / len(moving)
        if whole:
            coarse = max(1 / np.ptp(bounds) for _, param, bounds in moving if param.integer)
            assert np.abs(reached - severity).max() <= coarse
        else:
            np.testing.assert_allclose(reached, severity, rtol=1e-6)


def test_a_side_that_ends_before_the_largest_severity_is_no_choice() -> None:
    space = Space.of([get("brightness")], tier="stress", narrowed={"brightness": {"gain": (-0.1, 0.4)}})
    ((_, param, bounds),) = space.axes
    assert bounds == (-0.1, 0.4) and param.neutral == 0
    u = np.array([[0.1], [0.9]])  # down, up

    def gain(severity: float, largest: float) -> np.ndarray:
        return space.decode(at_severity(space, u, severity, largest=largest))[0]["gain"]

    np.testing.assert_allclose(gain(0.2, 0.25), [-0.08, 0.08], atol=1e-12)
    np.testing.assert_allclose(gain(0.2, 0.6), [0.08, 0.08], atol=1e-12)
    np.testing.assert_allclose(gain(0.6, 0.6), [0.24, 0.24], atol=1e-12)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", ALL)
def test_no_draw_changes_its_side_along_the_severities(name: str, tier: str) -> None:
    space = Space.of([get(name)], tier=tier)
    u = np.random.default_rng(4).random((40, space.dimensions))
    strengths = space.strength_columns()
    for levels in (LEVELS, LEVELS[:2]):
        points = np.stack([at_severity(space, u, severity, largest=max(levels)) for severity in levels])
        sides = np.sign((points - space.neutral())[..., strengths].round(12))
        assert (sides.max(axis=0) - sides.min(axis=0) <= 1).all()  # 0 where there is no room on either side


def drawn(problem: Problem, levels: tuple[float, ...], name: str = "brightness") -> np.ndarray:
    found = dose_outcomes(problem, problem.space, problem.patches, severities=levels, draws=2, seed=9, name=name)
    assert found.outcomes.shape == found.reference.shape == (len(levels), len(problem.patches), 2)
    return found.outcomes


def test_a_severity_alone_is_what_it_is_beside_others(problem: Problem) -> None:
    together = drawn(problem, LEVELS)
    for i, level in enumerate(LEVELS):
        np.testing.assert_array_equal(drawn(problem, (level,))[0], together[i])
    assert (together == Outcome.REVEALED).any() and (together[0] != together[-1]).any()
    assert (drawn(problem, LEVELS, name="haze") != together).any()


def test_a_draw_is_as_by_hand(problem: Problem) -> None:
    n = len(problem.patches)
    seen = dose_outcomes(problem, problem.space, problem.patches, severities=(0.5,), draws=1, seed=9, name="x")
    u = generator(9, Purpose.DOSE, key(problem.space.tier), key("x")).random((n, problem.space.dimensions))

    fields = tuple(draw_field(slot.relation, problem.patches, seed=9, draw=1) for slot in problem.space.slots)
    values = problem.space.decode(at_severity(problem.space, u, 0.5))
    evidence = replace(problem, fields=fields).rows(values, np.arange(n))
    np.testing.assert_array_equal(seen.outcomes[0, :, 0], judge(evidence))
    np.testing.assert_array_equal(seen.quantised[0, :, 0], evidence.quantised.argmax(axis=1))

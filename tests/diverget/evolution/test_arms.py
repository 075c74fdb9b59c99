"""The evolutionary arms on a pair whose boundaries are known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from diverget import evolution, lockstep
from diverget.evolution import INDIVIDUALS
from diverget.lockstep import NEVER, Asked, Until, eligible
from diverget.objectives import LIMITS
from diverget.problem import Bounded, Problem
from diverget.scene import Scene
from tests.conftest import toy_problem
from tests.toys import Linear

NAMES = ("ga", "pso", "de", "nsga2")
arms = pytest.mark.parametrize("arm", [getattr(evolution, name) for name in NAMES], ids=NAMES)


@pytest.fixture(scope="module")
def limited(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    names = ("brightness", "offset", "gaussian_blur", "gaussian_noise", "band_shift")
    problem = toy_problem(scene, pool, patches=60, names=names)
    close = Linear("toy, finely rounded", np.round(problem.reference.weights / 0.1) * 0.1, problem.reference.bias)  # type: ignore[attr-defined]
    return replace(
        problem,
        quantised=close,
        quantised_source=close.predict_proba(problem.patches.source()),
        limits=(Bounded(LIMITS[0], 15.0),),
    )


def course(problem: Problem, arm, members: np.ndarray, *, budget: int = 100, until: Until = Until.SPENT):  # type: ignore[no-untyped-def]
    """The trace, and for every member of the problem all the points that were asked for it, in order."""
    points: dict[int, list[np.ndarray]] = {int(member): [] for member in members}

    def look(number: int, asked: Asked):  # type: ignore[no-untyped-def]
        assert asked.u is not None
        for member, u in zip(members[asked.patches], asked.u, strict=True):
            points[int(member)].append(u)
        return lockstep.seen_by_models(problem, members, asked)

    trace = lockstep.run(
        problem, arm, members=members, budget=budget, rng=np.random.default_rng(1), until=until, look=look
    )
    return trace, points


@arms
def test_a_patchs_course_does_not_depend_on_which_others_take_part(limited: Problem, arm) -> None:  # type: ignore[no-untyped-def]
    members = eligible(limited, labelled=False)
    _, all_points = course(limited, arm, members)
    some = members[1::3]
    _, some_points = course(limited, arm, some)
    for member in some:
        np.testing.assert_array_equal(some_points[int(member)], all_points[int(member)])
    assert len({np.stack(points).tobytes() for points in all_points.values()}) == len(members)


@arms
def test_a_course_ends_early_where_a_patch_is_done_and_is_the_same_until_there(limited: Problem, arm) -> None:  # type: ignore[no-untyped-def]
    members = eligible(limited, labelled=False)
    on, all_points = course(limited, arm, members)
    first, points = course(limited, arm, members, until=Until.REVEALED)
    np.testing.assert_array_equal(first.revealed, on.revealed)
    assert 0 < (first.revealed != NEVER).sum() < len(members)
    for member in members:
        own = points[int(member)]
        np.testing.assert_array_equal(own, all_points[int(member)][: len(own)])


@arms
def test_budgets_that_cut_a_generation_are_spent_whole(limited: Problem, arm) -> None:  # type: ignore[no-untyped-def]
    members = eligible(limited, labelled=False)
    for budget in (2, 2 * INDIVIDUALS + 6):
        trace, _ = course(limited, arm, members, budget=budget)
        assert (trace.spent == budget).all()


@arms
def test_the_first_points_are_within_the_limits(limited: Problem, arm) -> None:  # type: ignore[no-untyped-def]
    trace, _ = course(limited, arm, eligible(limited), budget=2 * INDIVIDUALS)
    assert (trace.invalid == 0).all() and (trace.spent == 2 * INDIVIDUALS).all()


@arms
def test_a_population_gets_better(limited: Problem, arm) -> None:  # type: ignore[no-untyped-def]
    """The widest margin gap of a patch, late against early."""
    members = eligible(limited, labelled=False)[:20]
    _, points = course(limited, arm, members, budget=600)
    early, late = [], []
    for member, u in points.items():
        evidence = limited.rows(limited.space.decode(np.stack(u)), np.full(len(u), member))
        gap = np.where(evidence.within, evolution.margin_gap(evidence), -np.inf)
        early.append(gap[:INDIVIDUALS].max())
        late.append(gap[-5 * INDIVIDUALS :].max())
    assert np.median(late) > 1.3 * np.median(early)


@arms
def test_a_model_against_itself_is_never_apart(limited: Problem, arm) -> None:  # type: ignore[no-untyped-def]
    same = replace(limited, quantised=limited.reference, quantised_source=limited.reference_source)
    trace, _ = course(same, arm, eligible(same), budget=60)
    assert (trace.apart == NEVER).all()

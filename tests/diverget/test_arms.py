"""What every arm must keep: its seed, its budget, its course after an interruption, and its silence on one model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from diverget import lockstep
from diverget.arms import ARMS, NamedArm
from diverget.lockstep import NEVER, Asked, Trace, Until, eligible
from diverget.objectives import LIMITS
from diverget.outcome import Evidence
from diverget.problem import Bounded, Problem
from diverget.scene import Scene
from tests.conftest import toy_problem
from tests.toys import Linear

SEVERAL = 121
"""Queries a patch: DiffChaser's first generation of 50 and a part of its second; odd, so that what costs two queries
leaves one."""

FEW = 61
"""Queries a patch where a course need not be long."""

FIELDS = ("members", "spent", "apart", "revealed", "severity", "psnr", "invalid")


@pytest.fixture(scope="module")
def posed(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    """A pair that parts, under a limit that matters."""
    problem = toy_problem(scene, pool, patches=20, names=("brightness", "offset", "gaussian_noise", "impulse_noise"))
    return replace(problem, limits=(Bounded(LIMITS[0], 18.0),))


class Course:
    """A course of an arm: what was asked and seen round by round, of which the first `kept` come from an earlier one.

    `disturbing`: whether something else draws from NumPy's global generator between the rounds.
    """

    def __init__(self, problem: Problem, kept: list[tuple[Asked, Evidence]] | None = None, *, disturbing: bool = False):
        self.problem, self.kept, self.disturbing = problem, kept or [], disturbing
        self.members = eligible(problem)
        self.rounds: list[tuple[Asked, Evidence]] = []

    def run(self, arm: NamedArm, *, budget: int, seed: int = 1, until: Until = Until.SPENT) -> Trace:
        rng = np.random.default_rng(seed)
        return lockstep.run(
            self.problem, arm.arm, members=self.members, budget=budget, rng=rng, until=until, look=self._look
        )

    def _look(self, number: int, asked: Asked) -> Evidence:
        assert number == len(self.rounds)
        if self.disturbing:
            np.random.seed(number)  # noqa: NPY002
            np.random.standard_normal(5)  # noqa: NPY002
        if number < len(self.kept):
            assert same_rows(asked, self.kept[number][0])
            seen = self.kept[number][1]
        else:
            seen = lockstep.seen_by_models(self.problem, self.members, asked)
        self.rounds.append((asked, seen))
        return seen


def same_rows(one: Asked, other: Asked) -> bool:
    """Whether both ask for the very same rows, to the bit."""
    told = [
        [getattr(asked, name) for name in ("patches", "u", "x", "halves")] + [np.array(asked.refuse)]
        for asked in (one, other)
    ]
    return all((a is None and b is None) or np.array_equal(a, b) for a, b in zip(*told, strict=True))


def same_courses(one: Course, other: Course) -> bool:
    return len(one.rounds) == len(other.rounds) and all(
        same_rows(a, b) for (a, _), (b, _) in zip(one.rounds, other.rounds, strict=True)
    )


def assert_same(one: Trace, other: Trace) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("milder", "kinds", "front"):
        mine, theirs = vars(getattr(one, name)), vars(getattr(other, name))
        for column, value in mine.items():
            np.testing.assert_array_equal(value, theirs[column])
    assert (one.rounds, one.rows) == (other.rounds, other.rows)


Walked = tuple[Course, Trace]


@pytest.fixture(scope="module")
def walked(posed: Problem) -> Callable[[NamedArm], Walked]:
    """The course of each arm with the seed 1 and `SEVERAL` queries a patch, run once for all tests."""

    @cache
    def of(arm: NamedArm) -> Walked:
        course = Course(posed)
        return course, course.run(arm, budget=SEVERAL)

    return of


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
class TestEveryArm:
    def test_the_same_seed_asks_for_the_same_rows_whatever_else_draws(
        self, posed: Problem, walked: Callable[[NamedArm], Walked], arm: NamedArm
    ) -> None:
        first, trace = walked(arm)
        state = np.random.get_state()  # noqa: NPY002
        again = Course(posed, disturbing=True)
        assert_same(trace, again.run(arm, budget=SEVERAL))
        np.random.set_state(state)  # noqa: NPY002
        assert same_courses(first, again)

    def test_another_seed_asks_for_others_and_the_global_generator_is_left_alone(
        self, posed: Problem, walked: Callable[[NamedArm], Walked], arm: NamedArm
    ) -> None:
        before = np.random.get_state()  # noqa: NPY002
        other = Course(posed)
        other.run(arm, budget=4, seed=2)
        assert not same_rows(other.rounds[0][0], walked(arm)[0].rounds[0][0])
        after = np.random.get_state()  # noqa: NPY002
        assert before[0] == after[0] and before[2:] == after[2:]
        np.testing.assert_array_equal(before[1], after[1])

    @pytest.mark.parametrize("share", [0.5, 1.0])
    def test_stopped_after_some_rounds_it_goes_on_to_the_same_end(
        self, posed: Problem, walked: Callable[[NamedArm], Walked], arm: NamedArm, share: float
    ) -> None:
        whole, trace = walked(arm)
        resumed = Course(posed, whole.rounds[: round(share * len(whole.rounds))])
        assert_same(trace, resumed.run(arm, budget=SEVERAL))
        assert same_courses(whole, resumed)

    @pytest.mark.parametrize("budget", [1, 2, 11, SEVERAL])
    def test_no_patch_is_shown_more_than_its_budget_has_room_for(
        self, posed: Problem, walked: Callable[[NamedArm], Walked], arm: NamedArm, budget: int
    ) -> None:
        """What the models saw of each patch is counted anew, a query a row and model."""
        course = Course(posed)
        course, trace = walked(arm) if budget == SEVERAL else (course, course.run(arm, budget=budget))
        paid = np.zeros(len(course.members), dtype=np.int64)
        for asked, seen in course.rounds:
            both = np.isfinite(seen.reference).all(axis=1).astype(int) + np.isfinite(seen.quantised).all(axis=1)
            np.add.at(paid, asked.patches, both)
        np.testing.assert_array_equal(paid, trace.spent)
        assert (trace.spent <= budget).all()
        assert (trace.spent >= budget - 1).all(), "and uses it up, but for a single query"

    def test_it_stops_with_a_patch_at_its_first_disagreement(self, posed: Problem, arm: NamedArm) -> None:
        trace = Course(posed).run(arm, budget=FEW, until=Until.APART)
        done = trace.apart != NEVER
        assert (trace.spent[done] == trace.apart[done]).all() and (trace.spent[~done] >= FEW - 1).all()

    def test_a_model_against_itself_is_never_apart(self, posed: Problem, arm: NamedArm) -> None:
        same = replace(posed, quantised=posed.reference, quantised_source=posed.reference_source)
        trace = Course(same).run(arm, budget=FEW)
        assert (trace.apart == NEVER).all() and (trace.revealed == NEVER).all() and not len(trace.kinds.u)

    def test_an_answer_that_is_no_number_is_refused_with_its_patch(self, posed: Problem, arm: NamedArm) -> None:
        quantised = posed.quantised
        assert isinstance(quantised, Linear)
        broken = replace(posed, quantised=Mute("mute", quantised.weights, quantised.bias))
        with pytest.raises(ValueError, match=r"NaN or infinity for patch \d+ (at \[|under an image).*quantised model"):
            Course(broken).run(arm, budget=FEW)


@dataclass(frozen=True)
class Mute(Linear):
    """A `Linear` that answers with NaN alone."""

    def infer(self, z: np.ndarray) -> np.ndarray:
        return np.full_like(Linear.infer(self, z), np.nan)

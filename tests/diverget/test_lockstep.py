"""The engine's rules, on arms that do what they are told."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from diverget import lockstep, rays
from diverget.lockstep import NEVER, Arena, Asked, Seen, Until, eligible, run
from diverget.objectives import LIMITS
from diverget.outcome import Evidence, Outcome
from diverget.problem import Bounded, Problem
from diverget.scene import Scene
from tests.conftest import toy_problem


def uniform(rows_each: int):
    """An arm that draws so many points for every active patch in each round."""

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        while True:
            patches = np.repeat(np.flatnonzero(arena.active), rows_each)
            yield Asked(patches, u=arena.rng.random((len(patches), arena.problem.space.dimensions)))

    return arm


@pytest.fixture(scope="module")
def loose(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    return toy_problem(scene, pool, patches=60)


def traced(problem: Problem, *, rows: int = 1, budget: int = 60, seed: int = 1, until: Until = Until.REVEALED):
    return run(
        problem,
        uniform(rows),
        members=eligible(problem),
        budget=budget,
        rng=np.random.default_rng(seed),
        until=until,
    )


def recorder(problem: Problem, members: np.ndarray):
    """A list of what is asked and seen, and the `look` that fills it."""
    kept: list[tuple[Asked, Evidence]] = []

    def recorded(number: int, asked: Asked) -> Evidence:
        kept.append((asked, lockstep.seen_by_models(problem, members, asked)))
        return kept[-1][1]

    return kept, recorded


def test_only_patches_on_which_both_clearly_agree_take_part(loose: Problem) -> None:
    members = eligible(loose, labelled=False)
    own = loose.reference_source.argmax(axis=1)
    assert (own[members] == loose.quantised_source.argmax(axis=1)[members]).all()
    labels = loose.patches.labels
    right = eligible(loose)
    assert set(right) == {m for m in members if labels[m] < 0 or labels[m] == own[m]}
    assert 0 < len(right) < len(own)


@pytest.mark.parametrize(("rows", "budget"), [(1, 60), (7, 60), (7, 5), (50, 10), (1, 2)])
def test_no_patch_spends_more_than_its_budget(loose: Problem, rows: int, budget: int) -> None:
    trace = traced(loose, rows=rows, budget=budget, until=Until.SPENT)
    assert (trace.spent <= budget).all()
    assert (trace.spent == budget // 2 * 2).all()


def test_a_patch_leaves_when_it_is_done_and_spends_no_more(loose: Problem) -> None:
    first, on = traced(loose), traced(loose, until=Until.SPENT)
    found = first.revealed != NEVER
    assert found.any() and not found.all()
    assert (first.spent[found] == first.revealed[found]).all()
    assert (first.spent[~found] == 60).all() and (on.spent == 60).all()
    apart = traced(loose, until=Until.APART)
    assert (apart.spent[apart.apart != NEVER] == apart.apart[apart.apart != NEVER]).all()


def test_the_first_of_several_rows_of_a_patch_is_counted_by_its_place(loose: Problem) -> None:
    """Rows of a patch are queried in order, so a finding in the third costs six queries, not the whole round."""
    members = eligible(loose)
    d = loose.space.dimensions
    points = np.random.default_rng(5).random((40, d))
    alone = [
        run(loose, _listed(points, one=True), members=members, budget=80, rng=np.random.default_rng(0)),
        run(loose, _listed(points, one=False), members=members, budget=80, rng=np.random.default_rng(0)),
    ]
    np.testing.assert_array_equal(alone[0].revealed, alone[1].revealed)
    np.testing.assert_array_equal(
        alone[0].apart[alone[0].revealed == NEVER], alone[1].apart[alone[0].revealed == NEVER]
    )


def _listed(points: np.ndarray, *, one: bool):
    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        blocks = points[:, None] if one else points[None]
        for block in blocks:
            act = np.flatnonzero(arena.active)
            yield Asked(np.repeat(act, len(block)), u=np.tile(block, (len(act), 1)))

    return arm


def test_the_same_seed_gives_the_same_trace_and_another_another(loose: Problem) -> None:
    one, again, other = traced(loose), traced(loose), traced(loose, seed=2)
    for name in ("spent", "apart", "revealed", "severity"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
    np.testing.assert_array_equal(one.kinds.u, again.kinds.u)
    assert (one.revealed != other.revealed).any()


def test_what_a_store_answers_is_told_in_the_models_place(loose: Problem) -> None:
    members = eligible(loose)
    kept, recorded = recorder(loose, members)
    first = run(loose, uniform(3), members=members, budget=60, rng=np.random.default_rng(1), look=recorded)
    again = run(
        loose,
        uniform(3),
        members=members,
        budget=60,
        rng=np.random.default_rng(1),
        look=lambda number, asked: kept[number][1],
    )
    np.testing.assert_array_equal(first.revealed, again.revealed)
    np.testing.assert_array_equal(first.kinds.u, again.kinds.u)


def test_the_mildest_revealed_point_of_each_kind_is_kept(loose: Problem) -> None:
    members = eligible(loose)
    kept, recorded = recorder(loose, members)
    trace = run(
        loose, uniform(5), members=members, budget=100, rng=np.random.default_rng(1), until=Until.SPENT, look=recorded
    )
    expected: dict[tuple[int, int, int], float] = {}
    for asked, evidence in kept:
        weights = loose.space.weights(loose.space.decode(asked.u))
        np.testing.assert_allclose(weights.sum(axis=1), evidence.severity)
        for row in np.flatnonzero(lockstep.judge(evidence) == Outcome.REVEALED):
            kind = (int(asked.patches[row]), int(evidence.quantised[row].argmax()), int(weights[row].argmax()))
            expected[kind] = min(float(evidence.severity[row]), expected.get(kind, np.inf))
    kinds = trace.kinds
    told = list(zip(kinds.patches, kinds.classes, kinds.slots, strict=True))
    assert told == sorted(expected) and len({slot for *_, slot in told}) > 1
    np.testing.assert_array_equal(kinds.severity, [expected[kind] for kind in sorted(expected)])
    evidence = loose.rows(loose.space.decode(kinds.u), members[kinds.patches])
    assert (lockstep.judge(evidence) == Outcome.REVEALED).all()
    np.testing.assert_array_equal(evidence.quantised.argmax(axis=1), kinds.classes)
    np.testing.assert_array_equal(evidence.severity, kinds.severity)
    for row in np.flatnonzero(kinds.severity == trace.severity[kinds.patches]):
        assert trace.psnr[kinds.patches[row]] == pytest.approx(evidence.psnr[row])
    assert (np.isfinite(trace.severity) == (trace.revealed != NEVER)).all()


def test_every_improvement_is_told_with_its_queries(loose: Problem) -> None:
    members = eligible(loose)
    kept, recorded = recorder(loose, members)
    trace = run(
        loose, uniform(3), members=members, budget=90, rng=np.random.default_rng(4), until=Until.SPENT, look=recorded
    )
    told = list(zip(*vars(trace.milder).values(), strict=True))
    expected = []
    for patch in range(len(members)):
        queries, least = 0, np.inf
        for asked, evidence in kept:
            outcomes = lockstep.judge(evidence)
            for row in np.flatnonzero(asked.patches == patch):
                queries += 2
                if outcomes[row] == Outcome.REVEALED and evidence.severity[row] < least:
                    least = evidence.severity[row]
                    expected.append((patch, queries, least))
    assert sorted(told) == sorted(expected) and len(expected) > len({patch for patch, *_ in expected})
    assert {patch: queries for patch, queries, _ in reversed(told)} == {
        patch: trace.revealed[patch] for patch in np.flatnonzero(trace.revealed != NEVER)
    }


def test_the_front_is_of_what_lies_within_the_limits(loose: Problem) -> None:
    trace = traced(loose, rows=4, budget=80, until=Until.SPENT)
    front = trace.front
    assert set(front.patches) == set(range(len(trace.members)))
    for patch in range(len(trace.members)):
        mine = front.patches == patch
        assert (np.diff(front.severity[mine]) > 0).all() and (np.diff(front.divergence[mine]) > 0).all()


def test_images_of_an_arms_own_are_judged_like_points(loose: Problem) -> None:
    members = eligible(loose)
    d = loose.space.dimensions

    def painted(arena: Arena) -> Generator[Asked, Seen, None]:
        while True:
            act = np.flatnonzero(arena.active)
            u = arena.rng.random((len(act), d))
            x = loose.follow_ups(loose.space.decode(u), members[act])
            yield Asked(act, x=x)

    by_image = run(loose, painted, members=members, budget=60, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(by_image.revealed, traced(loose).revealed)
    assert np.isinf(by_image.severity).all() and len(by_image.kinds.u) == 0


def test_an_arm_may_stop_by_itself(loose: Problem) -> None:
    members = eligible(loose)
    trace = run(
        loose, _listed(np.full((3, loose.space.dimensions), 0.5), one=True), members=members, budget=60,
        rng=np.random.default_rng(0), until=Until.SPENT,
    )  # fmt: skip
    assert (trace.spent == 6).all() and trace.rounds == 3


def test_nan_of_a_model_is_refused_with_its_patch(loose: Problem) -> None:
    broken = replace(loose, quantised=replace(loose.quantised, weights=loose.quantised.weights * np.nan))
    with pytest.raises(ValueError, match=r"finite probabilities, got NaN or infinity for patch \d+ at \["):
        run(broken, uniform(1), members=eligible(loose), budget=60, rng=np.random.default_rng(1))


def _with_shown(rows_each: int, *, halves: bool, refuse: bool, told: list[np.ndarray] | None = None):
    """An arm whose every second row is for the reference alone, or whose rows outside the limits nobody sees; what it
    is told of the outcomes goes into `told`."""

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        while True:
            patches = np.repeat(np.flatnonzero(arena.active), rows_each)
            alone = np.arange(len(patches)) % 2 == 0 if halves else None
            u = arena.rng.random((len(patches), arena.problem.space.dimensions))
            seen = yield Asked(patches, u=u, halves=alone, refuse=refuse)
            if told is not None:
                told.append(seen.outcomes)

    return arm


def test_a_row_for_the_reference_alone_costs_one_query_and_is_judged_by_nobody(loose: Problem) -> None:
    members = eligible(loose)
    kept, recorded = recorder(loose, members)
    told: list[np.ndarray] = []
    arm = _with_shown(3, halves=True, refuse=False, told=told)
    trace = run(loose, arm, members=members, budget=31, rng=np.random.default_rng(1), until=Until.SPENT, look=recorded)
    spent, judged = np.zeros(len(members), dtype=int), 0
    for asked, seen in kept:
        assert asked.halves is not None
        np.add.at(spent, asked.patches, np.where(asked.halves, 1, 2))
        assert np.isnan(seen.quantised[asked.halves]).all() and np.isfinite(seen.quantised[~asked.halves]).all()
        assert np.isfinite(seen.reference).all()
        judged += int((lockstep.judge(seen)[~asked.halves] == Outcome.REVEALED).sum())
        whole = loose.rows(loose.space.decode(asked.u), members[asked.patches])
        np.testing.assert_array_equal(seen.reference, whole.reference)
        np.testing.assert_array_equal(seen.quantised[~asked.halves], whole.quantised[~asked.halves])
    np.testing.assert_array_equal(trace.spent, spent)
    assert (spent <= 31).all() and judged > 0
    assert (trace.revealed != NEVER).sum() <= judged
    for (asked, seen), outcomes in zip(kept, told, strict=True):
        assert (outcomes[asked.halves] == lockstep.UNJUDGED).all()
        np.testing.assert_array_equal(outcomes[~asked.halves], lockstep.judge(seen)[~asked.halves])
    assert np.isfinite(trace.front.divergence).all()


def test_rows_outside_the_limits_cost_nothing_where_nobody_sees_them(scene: Scene, pool: ThreadPoolExecutor) -> None:
    strict = replace(toy_problem(scene, pool, patches=60), limits=(Bounded(LIMITS[0], 26.0),))
    members = eligible(strict)
    kept, recorded = recorder(strict, members)
    arm = _with_shown(2, halves=False, refuse=True)
    trace = run(strict, arm, members=members, budget=20, rng=np.random.default_rng(1), until=Until.SPENT, look=recorded)
    spent = np.zeros(len(members), dtype=int)
    for asked, seen in kept:
        np.testing.assert_array_equal(seen.shown, seen.within)
        assert np.isnan(seen.reference[~seen.shown]).all() and np.isfinite(seen.reference[seen.shown]).all()
        np.add.at(spent, asked.patches[seen.shown], 2)
    assert sum(int((~seen.shown).sum()) for _, seen in kept) > 0 < spent.sum()
    np.testing.assert_array_equal(trace.spent, spent)
    assert (trace.invalid == 0).all() and (trace.spent <= 20).all()
    with pytest.raises(ValueError, match="beside points"):
        Asked(np.zeros(1, dtype=int), x=np.zeros((1, 5, 5, 3)), refuse=True)


def test_an_arm_that_only_asks_outside_the_limits_ends(scene: Scene, pool: ThreadPoolExecutor) -> None:
    strict = replace(toy_problem(scene, pool, patches=20), limits=(Bounded(LIMITS[0], 500.0),))
    trace = run(
        strict,
        _with_shown(1, halves=False, refuse=True),
        members=eligible(strict),
        budget=20,
        rng=np.random.default_rng(1),
    )
    assert (trace.spent == 0).all() and trace.rounds == lockstep.MOST_UNSEEN == rays.MOST_BARREN * rays.MOST_TRIES


def test_a_patch_is_given_up_by_its_own_rounds_alone(scene: Scene, pool: ThreadPoolExecutor) -> None:
    """One is inside the limits every 60th round, one never, one always: none ends another."""
    strict = replace(toy_problem(scene, pool, patches=20), limits=(Bounded(LIMITS[0], 60.0),))
    neutral = strict.space.neutral()

    def arm(arena: Arena) -> Generator[Asked, Seen, None]:
        for number in count():
            act = np.flatnonzero(arena.active)
            inside = (act == 2) | ((act == 0) & (number % 60 == 59))
            yield Asked(act, u=np.where(inside[:, None], neutral, 1.0 - neutral), refuse=True)

    members = eligible(strict)[:3]
    together = run(strict, arm, members=members, budget=20, rng=np.random.default_rng(1), until=Until.SPENT)
    assert together.spent.tolist() == [20, 0, 20] and together.rounds == lockstep.MOST_UNSEEN
    pair = run(strict, arm, members=members[:2], budget=20, rng=np.random.default_rng(1), until=Until.SPENT)
    assert pair.spent.tolist() == [20, 0] and pair.rounds == lockstep.MOST_UNSEEN

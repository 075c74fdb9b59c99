from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import diverget.baselines as baselines
from diverget.baselines import diffchaser as module
from diverget.baselines.diffchaser import Settings, _targets, crossed, diffchaser, gap, mutate, winners
from diverget.lockstep import Arena, Arm, Asked, Trace, Until, eligible, run
from diverget.outcome import Evidence
from diverget.problem import Problem
from relations.core import Sensor
from tests.diverget.baselines.fakes import arena_of, image_problem, seen

UNIT = Sensor(0.0, 1.0, signal=np.zeros(1))


def rng(seed: int = 4) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_fitness_by_hand() -> None:
    p = np.array([[0.5, 0.1, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]], dtype=np.float32)
    none = np.zeros(3, dtype=np.int64)
    np.testing.assert_allclose(gap(p, 1, none), [0.2, 0.1, 0], atol=1e-6)
    np.testing.assert_allclose(gap(p, 2, none), [0.4, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(gap(p, 3, none), [0.4, 0.3, 0], atol=1e-6)
    np.testing.assert_allclose(gap(p, None, np.full(3, 0)), [0, 0.3, 0], atol=1e-6)
    np.testing.assert_allclose(gap(p, None, np.array([2, 2, 2])), [0.2, 0.1, 0], atol=1e-6)


def test_tournaments_of_four_are_won_by_the_smallest_gap() -> None:
    gaps = np.stack([np.arange(10.0), np.arange(10.0)[::-1]], axis=1)
    won = winners(gaps, 20_000, 4, rng())
    assert won.shape == (20_000, 2)
    # The winner is i when all four are at least i and not all beyond: ((10 - i)^4 - (9 - i)^4) / 10^4.
    expected = [((10 - i) ** 4 - (9 - i) ** 4) / 1e4 for i in range(10)]
    for patch, order in ((0, slice(None)), (1, slice(None, None, -1))):
        np.testing.assert_allclose(np.bincount(won[:, patch], minlength=10)[order] / 20_000, expected, atol=0.012)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_crossover_takes_each_pixel_from_a_parent(share: float) -> None:
    one, other = rng(1).random((2, 60, 9, 8, 5), dtype=np.float32)
    child = crossed(one, other, share, rng(), out=np.empty_like(one))
    from_one, from_other = (child == one).all(axis=3), (child == other).all(axis=3)
    assert (from_one ^ from_other).all(), "a whole spectrum from one of the two"
    assert from_other.mean() == pytest.approx(share, abs=0.03)


def test_a_mutation_adds_to_a_hundredth_of_the_values_up_to_the_step() -> None:
    x = np.full((200, 20, 20, 5), 0.5, dtype=np.float32)
    mutate(x, 0.01, 8 / 255, rng(), sensor=UNIT)
    more = x[x != 0.5] - 0.5
    assert len(more) / x.size == pytest.approx(0.01, rel=0.03)
    assert more.min() > 0 and more.max() <= 8 / 255 + 1e-6
    assert more.mean() == pytest.approx(4 / 255, rel=0.03)
    hit = np.flatnonzero(x.ravel() != 0.5)
    assert np.histogram(hit, bins=10, range=(0, x.size))[0] == pytest.approx([len(hit) / 10] * 10, rel=0.1)


def test_a_mutation_knows_the_range_and_ends_at_its_top() -> None:
    x = np.full((5, 20, 20, 5), 8990, dtype=np.float32)
    mutate(x, 0.2, 8 / 255, rng(), sensor=Sensor(-1000.0, 9000.0, signal=np.zeros(5)))
    assert x.max() == 9000 and (x >= 8990).all()
    wide = np.zeros((5, 20, 20, 5), dtype=np.float32)
    mutate(wide, 1.0, 8 / 255, rng(), sensor=Sensor(-1000.0, 9000.0, signal=np.zeros(5)))
    assert (wide > 0).mean() > 0.999 and 310 < wide.max() <= 10_000 * 8 / 255


def test_all_but_the_best_are_replaced_by_children_of_the_population(problem: Problem) -> None:
    arena = arena_of(problem, eligible(problem)[:3])
    turns = diffchaser("basic", population=6)(arena)
    asked = next(turns)
    assert asked.patches.tolist() == [0, 1, 2] * 6
    assert asked.x is not None
    source = problem.patches.source(arena.members)
    first = asked.x.reshape(6, 3, *source.shape[1:]).copy()
    assert ((first >= source) & (first <= source + 8 / 255 + 1e-6)).all()
    told = np.tile([0.7, 0.1, 0.1, 0.1], (18, 1))
    asked = turns.send(seen(arena, asked, told, told))
    assert asked.patches.tolist() == [0, 1, 2] * 5, "the best is known and not asked again"
    assert asked.x is not None
    for row, child in enumerate(asked.x):
        grown = child - first[:, row % 3]
        parents = (grown == 0).any(axis=0)
        assert (parents | ((grown > 0) & (grown <= 8 / 255 + 1e-6)).any(axis=0)).all()
        assert parents.mean() > 0.95


def test_one_parent_is_the_reference_s_choice_and_one_the_quantised_model_s(problem: Problem) -> None:
    arena = arena_of(problem, eligible(problem)[:1])
    turns = diffchaser("basic", population=4, tournament=300, rate=0.3)(arena)
    asked = next(turns)
    assert asked.x is not None
    first = asked.x.copy()
    unsure, sure = [0.4, 0.35, 0.15, 0.1], [0.9, 0.1, 0, 0]
    next_asked = turns.send(
        seen(arena, asked, np.array([sure, unsure, sure, sure]), np.array([sure, sure, sure, unsure]))
    )
    assert next_asked.x is not None
    # Of the values that no mutation touched, half are individual 1's, half individual 3's.
    differ = first[1] != first[3]
    for child in next_asked.x:
        one, three = (child == first[1])[differ].mean(), (child == first[3])[differ].mean()
        assert 0.15 < one < 0.55 and 0.15 < three < 0.55


@pytest.mark.parametrize("best", [0, 3])
def test_the_best_stays_as_it_is_until_somebody_is_better(problem: Problem, best: int) -> None:
    """Where all parents are the best, every child is one mutation away from it, however many generations pass."""
    arena = arena_of(problem, eligible(problem)[:1])
    turns = diffchaser("basic", population=5, tournament=300, rate=0.3)(arena)
    asked = next(turns)
    assert asked.x is not None
    kept = asked.x[best].copy()
    told = np.tile([0.9, 0.1, 0, 0], (5, 1))
    told[best] = [0.5, 0.3, 0.1, 0.1]
    for _ in range(4):
        asked = turns.send(seen(arena, asked, told, told))
        told = np.tile([0.9, 0.1, 0, 0], (4, 1))
        assert asked.x is not None
        grown = asked.x - kept
        assert ((grown >= 0) & (grown <= 8 / 255 + 1e-6)).all()
        assert 0.2 < (grown > 0).mean() < 0.4
    better = asked.x[2].copy()
    told[2] = [0.4, 0.3, 0.2, 0.1]
    asked = turns.send(seen(arena, asked, told, told))
    assert asked.x is not None
    assert (asked.x >= better).all() and 0.2 < (asked.x > better).mean() < 0.4


def searched(
    problem: Problem, arm: Arm, *, seed: int = 1, budget: int = 300, until: Until = Until.APART
) -> tuple[Trace, list[Asked]]:
    shown: list[Asked] = []
    members = eligible(problem)

    def look(_: int, asked: Asked) -> Evidence:
        shown.append(asked)
        assert asked.x is not None
        grown = asked.x - problem.patches.source(members[asked.patches])
        assert grown.min() >= 0 and grown.max() <= len(shown) * 8 / 255 + 1e-5, "a mutation a generation, upwards"
        return problem.shown(asked.x, members[asked.patches])

    return run(problem, arm, members=members, budget=budget, rng=rng(seed), until=until, look=look), shown


ARMS = {
    "basic": diffchaser("basic", population=10),
    "k_uncertainty": diffchaser(k=3, population=10),
    "targeted": diffchaser("targeted", target=1, population=10),
    "each its own": diffchaser("targeted", population=10),
}

ANY = np.zeros(1, dtype=np.int64)
"""The target where there is a k, which needs none."""


@pytest.mark.parametrize("name", ARMS)
def test_a_seed_gives_the_same_rows_and_the_budget_holds(problem: Problem, name: str) -> None:
    trace, shown = searched(problem, ARMS[name])
    _, again = searched(problem, ARMS[name])
    _, other = searched(problem, ARMS[name], seed=2)
    for one, two in zip(shown, again, strict=True):
        np.testing.assert_array_equal(one.patches, two.patches)
        np.testing.assert_array_equal(one.x, two.x)
    assert not np.array_equal(shown[0].x, other[0].x)
    assert trace.spent.max() <= 300 and (trace.spent[trace.apart < 0] == 300).all()
    assert (np.bincount(shown[0].patches) == 10).all()
    assert set(np.bincount(shown[1].patches)) <= {0, 9}


def test_basic_is_k_1(problem: Problem) -> None:
    rows = [
        np.concatenate([asked.x for asked in searched(problem, arm, budget=100, until=Until.SPENT)[1]])
        for arm in (diffchaser("basic", population=10), diffchaser(k=1, population=10), diffchaser(k=2, population=10))
    ]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[1], rows[2])


def test_a_budget_below_a_population_cuts_the_first_generation(problem: Problem) -> None:
    trace, shown = searched(problem, diffchaser(), budget=15, until=Until.SPENT)
    assert (trace.spent == 14).all() and len(shown) == 1
    assert (np.bincount(shown[0].patches) == 7).all()


def test_it_finds_disagreements_of_the_toy_pair(problem: Problem) -> None:
    found = {name: (searched(problem, arm, budget=2000)[0].apart > 0).mean() for name, arm in ARMS.items()}
    assert found["basic"] > 0.1, found


def test_smaller_gaps_are_what_it_breeds(problem: Problem) -> None:
    members = eligible(problem)
    before = gap(problem.reference_source[members], 1, ANY)
    trace, shown = searched(problem, ARMS["basic"], budget=2000, until=Until.SPENT)
    assert (trace.spent == 2000).all()
    last = np.concatenate([asked.x for asked in shown[-3:]])
    where = members[np.concatenate([asked.patches for asked in shown[-3:]])]
    after = gap(problem.shown(last, where).reference, 1, ANY)
    source = gap(problem.reference_source[where], 1, ANY)
    assert (after < source).mean() > 0.9 and before.mean() > after.mean()


def test_each_patch_is_pulled_towards_a_class_that_is_not_its_own(problem: Problem) -> None:
    members = eligible(problem)
    own, classes = problem.reference_source[members].argmax(axis=1), problem.reference.classes
    arena = Arena(problem, members, own, rng(1), 100, np.ones(len(own), dtype=bool), np.zeros(len(own), dtype=np.int64))
    drawn = _targets(arena, Settings(None, None, 10, 0.5, 0.01, 8 / 255, 4))
    assert (drawn != own).all() and set(drawn) == set(range(classes))
    _, shown = searched(problem, ARMS["each its own"], budget=2000, until=Until.SPENT)
    last, where = shown[-1].x, shown[-1].patches
    assert last is not None
    towards = _targets(replace(arena, rng=rng(1)), Settings(None, None, 10, 0.5, 0.01, 8 / 255, 4))[where]
    after = gap(problem.shown(last, members[where]).reference, None, towards)
    assert (after < gap(problem.reference_source[members[where]], None, towards)).mean() > 0.9


@pytest.mark.parametrize("name", ["basic", "targeted"])
def test_it_works_on_images(pool: ThreadPoolExecutor, name: str) -> None:
    problem = image_problem(pool)
    _, shown = searched(problem, ARMS[name], budget=100, until=Until.SPENT)
    x = np.concatenate([asked.x for asked in shown])
    assert x.shape[1:] == (28, 28, 1) and x.dtype == np.float32 and x.min() >= 0 and x.max() <= 1


def test_groups_wait_for_each_other_and_blocks_change_no_count(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "HELD_BYTES", 5 * 5 * 12 * 4 * module.POPULATIONS * 10 * 6)
    monkeypatch.setattr(module, "BLOCK_VALUES", 5 * 5 * 12 * 7)
    trace, shown = searched(problem, ARMS["basic"], budget=60)
    assert max(len(asked.patches) for asked in shown) == 60
    assert (trace.spent[trace.apart < 0] == 60).all()


def test_settings_out_of_range_are_refused(problem: Problem) -> None:
    for broken, message in (
        ({"fitness": "best"}, "choose one of basic"),
        ({"target": 1}, "a target with"),
        ({"k": 0}, "k of at least 1"),
        ({"population": 1}, "at least 2 individuals"),
        ({"rate": 0.0}, "crossover, rate and step"),
    ):
        settings: dict[str, Any] = dict(broken)
        with pytest.raises(ValueError, match=message):
            diffchaser(**settings)
    for arm in (diffchaser(k=4), diffchaser("targeted", target=4)):
        with pytest.raises(ValueError, match="below the 4 classes"):
            searched(problem, arm)

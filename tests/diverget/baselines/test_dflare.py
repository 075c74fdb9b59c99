from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import diverget.baselines as baselines
from diverget import selection
from diverget.baselines import dflare as module
from diverget.baselines.dflare import STAY, VARIANTS, changed_or_new, dflare
from diverget.lockstep import Arena, Asked, Seen, Trace, Until, eligible, run
from diverget.outcome import Evidence
from diverget.problem import Problem
from diverget.selection import NONE, from_the_last, not_below, ranked, remembered
from tests.diverget.baselines.fakes import arena_of, image_problem, seen

SEVEN = np.arange(7)
GEOMETRIC = STAY**SEVEN / (STAY**SEVEN).sum()


def rng(seed: int = 4) -> np.random.Generator:
    return np.random.default_rng(seed)


def scores(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Operator 3 is the best, then 2, 1, 0, 6, 5, 4."""
    return np.tile([4, 5, 6, 7, 1, 2, 3], (count, 1)), np.full((count, 7), 10)


RANK = np.array([3, 2, 1, 0, 6, 5, 4])


def shares(chosen: np.ndarray) -> np.ndarray:
    """How often each rank was chosen, best first."""
    return np.bincount(RANK[chosen], minlength=7) / len(chosen)


def test_ranks_are_by_usefulness_and_ties_are_shuffled() -> None:
    assert (ranked(*scores(5), rng()) == RANK).all()
    useful, tried = np.zeros((7000, 7)), np.zeros((7000, 7))
    useful[:, 2] = tried[:, 2] = 1
    ranks = ranked(useful, tried, rng())
    assert (ranks[:, 2] == 0).all()
    assert (np.sort(ranks, axis=1) == SEVEN).all()
    assert ranks[:, 0].mean() == pytest.approx(3.5, abs=0.1)
    # 1 of 2 beats 2 of 5.
    assert ranked(np.array([[2, 1]]), np.array([[5, 2]]), rng()).tolist() == [[1, 0]]


@pytest.mark.parametrize("variant", VARIANTS)
def test_operators_are_uniform_until_the_first_acceptance(variant: str) -> None:
    chosen = VARIANTS[variant].choice(*scores(70_000), np.full(70_000, NONE), rng())
    np.testing.assert_allclose(shares(chosen), 1 / 7, atol=0.006)


@pytest.mark.parametrize("last", range(7))
def test_the_shipped_choice_has_no_memory(last: int) -> None:
    chosen = module.from_nowhere(*scores(100_000), np.full(100_000, last), rng())
    np.testing.assert_allclose(shares(chosen), [0.216, 0.186, 0.159, 0.136, 0.117, 0.100, 0.086], atol=0.006)
    np.testing.assert_allclose(GEOMETRIC, [0.216, 0.186, 0.159, 0.136, 0.117, 0.100, 0.086], atol=0.001)


@pytest.mark.parametrize("last", range(7))
def test_the_mended_choice_is_what_repeated_proposals_give(last: int) -> None:
    chosen = from_the_last(*scores(100_000), np.full(100_000, last), rng())
    # The published loop, in plain Python.
    stream, counts = rng(8), np.zeros(7)
    for _ in range(20_000):
        while True:
            proposal = stream.integers(7)
            if stream.random() < min(1.0, (6 / 7) ** (int(RANK[proposal]) - int(RANK[last]))):
                break
        counts[RANK[proposal]] += 1
    np.testing.assert_allclose(shares(chosen), counts / 20_000, atol=0.013)


def test_the_mended_rule_has_the_geometric_distribution_as_its_target() -> None:
    """Metropolis-Hastings proper stays where a proposal is refused; the published loop proposes anew instead.

    With staying, the stationary distribution is geometric over ranks. Proposing anew divides row k by the chance that
    a proposal is taken there, Z_k, so that ranks weigh (1 - p)^k Z_k: what the arm is measured to do.
    """
    taken = np.minimum(1, STAY ** (SEVEN[None, :] - SEVEN[:, None]))
    proper = taken / 7
    proper[SEVEN, SEVEN] += 1 - proper.sum(axis=1)
    np.testing.assert_allclose(np.linalg.matrix_power(proper, 500)[0], GEOMETRIC, atol=1e-12)

    last, stream = rng(5).integers(7, size=40_000), rng()
    for _ in range(12):
        last = from_the_last(*scores(len(last)), last, stream)
    expected = GEOMETRIC * taken.sum(axis=1)
    np.testing.assert_allclose(shares(last), expected / expected.sum(), atol=0.008)

    # Staying put with the chance that was divided out gives the geometric one back.
    last = rng(5).integers(7, size=40_000)
    for _ in range(60):
        moves = stream.random(len(last)) < (taken.sum(axis=1) / 7)[RANK[last]]
        last = np.where(moves, from_the_last(*scores(len(last)), last, stream), last)
    np.testing.assert_allclose(shares(last), GEOMETRIC, atol=0.008)


def test_as_described_accepts_whatever_is_not_below_the_best() -> None:
    difference = np.array([0.0, 0.1, -0.1, 0.0999, 0.0999, 0.0985])
    novel = np.array([False, False, False, False, True, True])
    best = np.array([0.0, 100.0, 100.0, 100.0, 100.0, 100.0])
    accepted, merit = not_below(difference, novel, best)
    np.testing.assert_allclose(merit, [0, 100, 100, 99.9, 100.9, 99.5])
    assert accepted.tolist() == [True, True, True, False, True, False]


def test_as_shipped_accepts_a_change_either_way_or_novelty() -> None:
    difference = np.array([0.1015, 0.0985, -0.1015, 0.1005, 0.1005, -0.1])
    novel = np.array([False, False, False, False, True, False])
    accepted, merit = changed_or_new(difference, novel, np.full(6, 0.1))
    np.testing.assert_allclose(merit, np.abs(difference))
    assert accepted.tolist() == [True, True, True, False, True, False]


def test_novelty_is_a_squared_distance_of_half_to_the_nearest_known_state() -> None:
    known = np.zeros((1, 3, 4), np.float32)
    states = np.array([[0.7, 0, 0, 0], [0.71, 0, 0, 0], [0.5, 0.5, 0.2, 0]], np.float32)
    novel, known = remembered(known, states)
    assert novel.tolist() == [False, True, True]
    again, known = remembered(known, states)
    assert again.tolist() == [False, False, False], "each patch knows its own"
    novel, known = remembered(known, np.full((3, 4), 0.5, np.float32) + np.array([0, 0.3, 0], np.float32)[:, None])
    assert novel.tolist() == [True, True, False]
    assert np.isfinite(known[:, :, 0]).sum(axis=0).tolist() == [2, 3, 2]


class Script:
    """Drives an arm by hand; every mutation adds 1 to the image, so that an image tells how many were accepted."""

    def __init__(self, problem: Problem, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "mutated", lambda x, operators, rng, **_: x + np.float32(1))
        self.arena: Arena = arena_of(problem, eligible(problem)[:2])
        self.source = problem.patches.source(self.arena.members)
        self.turns: Generator[Asked, Seen, None] = dflare(variant)(self.arena)
        self.asked = next(self.turns)

    def answer(self, *tops: tuple[float, float]) -> list[int]:
        """Tell the top probabilities of both models, patch by patch; how many mutations each new mutant carries."""
        assert (self.asked.patches == np.arange(len(tops))).all()
        sides = np.full((2, len(tops), 4), 0.0)
        for row, (side, top) in ((row, pair) for row, both in enumerate(tops) for pair in enumerate(both)):
            sides[side, row] = (1 - top) / 3
            sides[side, row, self.arena.classes[row]] = top
        self.asked = self.turns.send(seen(self.arena, self.asked, *sides))
        assert self.asked.x is not None
        return [round(float((x - s).mean())) for x, s in zip(self.asked.x, self.source, strict=True)]


def near(problem: Problem, gap: float, patch: int) -> tuple[float, float]:
    """Top probabilities close to those at the source (not novel), apart by `gap`."""
    top = float(problem.reference_source[eligible(problem)[patch]].max()) * 0.9
    return top, top - gap


@pytest.mark.parametrize(
    ("variant", "carried"),
    [
        # gaps 0.010, 0.005, 0.012, 0.0124, 0.0118, each of them shown on the last accepted image
        ("as_described", [2, 2, 3, 4, 4]),
        ("uniform", [2, 2, 3, 4, 4]),
        ("as_shipped", [2, 3, 4, 4, 4]),
    ],
)
def test_mutants_are_stacked_on_the_last_accepted_image(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, variant: str, carried: list[int]
) -> None:
    monkeypatch.setattr(selection, "NOVEL", 10.0)
    script = Script(problem, variant, monkeypatch)
    for gap, expected in zip([0.010, 0.005, 0.012, 0.0124, 0.0118], carried, strict=True):
        # The second patch sees no difference at all: accepted as described (H = 0 is not below 0), never as shipped.
        first, second = script.answer(near(problem, gap, 0), near(problem, 0.0, 1))
        assert first == expected
    assert second == (1 if variant == "as_shipped" else 6)


def test_as_shipped_takes_the_novel(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(problem, "as_shipped", monkeypatch)
    monkeypatch.setattr(selection, "NOVEL", -1.0)
    assert script.answer((0.8, 0.8), (0.8, 0.8)) == [2, 2]
    monkeypatch.setattr(selection, "NOVEL", 10.0)
    assert script.answer((0.8, 0.8), (0.8, 0.8)) == [2, 2]


def test_a_patch_that_is_done_leaves_and_the_others_go_on(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(problem, "as_described", monkeypatch)
    script.answer((0.9, 0.8), (0.9, 0.8))
    told = seen(script.arena, script.asked, np.full((2, 4), 0.25), np.full((2, 4), 0.25))
    script.arena.active[0] = False
    asked = script.turns.send(told)
    assert asked.patches.tolist() == [1]
    assert asked.x is not None
    np.testing.assert_allclose(asked.x, script.source[1:] + 2, atol=1e-5)


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param(rng().dirichlet([0.3] * 4, size=(2, 12, 5)), id="by their difference"),
        # The first probabilities are always equal: only what is new is accepted.
        pytest.param(rng().permuted(np.tile([0.7, 0.1, 0.1, 0.1], (2, 12, 5, 1)), axis=3), id="by novelty"),
    ],
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_patch_remembers_stays_with_it_when_others_leave(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, variant: str, answers: np.ndarray
) -> None:
    """Patches 2 and 4 of five, of which 0, 1 and 3 leave one after another, fare as in a search by themselves."""
    monkeypatch.setattr(
        module, "mutated", lambda x, operators, rng, **_: x + np.float32(operators[:, None, None, None] + 1)
    )

    def fared(patches: list[int], leaving: dict[int, int]) -> list[list[np.ndarray]]:
        story: list[list[np.ndarray]] = []

        def choice(useful: np.ndarray, tried: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
            story.append([useful.copy(), tried.copy(), last.copy()])
            return (tried.sum(axis=1) + 3 * useful.sum(axis=1) + 2 * last + useful[:, 0]) % 7

        how = VARIANTS[variant]
        monkeypatch.setitem(VARIANTS, variant, module.Variant(choice, how.acceptance, how.eight_bit))
        arena = arena_of(problem, eligible(problem)[patches])
        turns = dflare(variant)(arena)
        asked = next(turns)
        for step in range(12):
            asked_of = np.array(patches)[asked.patches]
            told = seen(arena, asked, answers[0, step, asked_of], answers[1, step, asked_of])
            story[-1].append(asked.x if asked.x is not None else np.zeros(0))
            if step in leaving:
                arena.active[leaving[step]] = False
            asked = turns.send(told)
        story[-1].append(asked.x if asked.x is not None else np.zeros(0))
        monkeypatch.setitem(VARIANTS, variant, how)
        return story

    together, alone = fared([0, 1, 2, 3, 4], {2: 0, 5: 3, 6: 1}), fared([2, 4], {})
    for one, two in zip(together, alone, strict=True):
        rows = {5: [2, 4], 4: [1, 3], 3: [1, 2], 2: [0, 1]}[len(one[0])]
        for part, expected in zip(one, two, strict=True):
            np.testing.assert_array_equal(part[rows], expected)
    assert {len(one[0]) for one in together} == {5, 4, 3, 2}


def test_operators_are_credited_for_acceptances(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = []

    def choice(useful: np.ndarray, tried: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        tallies.append((useful.copy(), tried.copy(), last.copy()))
        return np.array([len(tallies), 0])

    monkeypatch.setitem(VARIANTS, "as_described", module.Variant(choice, not_below, eight_bit=False))
    monkeypatch.setattr(selection, "NOVEL", 10.0)
    script = Script(problem, "as_described", monkeypatch)
    script.answer((0.9, 0.8), (0.9, 0.8))
    script.answer((0.9, 0.85), (0.9, 0.8))
    script.answer((0.9, 0.2), (0.9, 0.9))  # a disagreement of the first patch that was not counted
    assert tallies[2][2].tolist() == [1, 0], "the operator of the last accepted mutant, not of the last tried"
    useful, tried, last = tallies[-1]
    assert tried[0].tolist() == [0, 1, 1, 1, 0, 0, 0] and tried[1].tolist() == [3, 0, 0, 0, 0, 0, 0]
    assert useful[0].tolist() == [0, 1, 0, 1, 0, 0, 0] and useful[1].tolist() == [2, 0, 0, 0, 0, 0, 0]
    assert last.tolist() == [3, 0]


def searched(
    problem: Problem, variant: str, *, seed: int = 1, budget: int = 121, until: Until = Until.APART
) -> tuple[Trace, list[Asked]]:
    shown: list[Asked] = []
    members = eligible(problem)

    def look(_: int, asked: Asked) -> Evidence:
        shown.append(asked)
        assert asked.x is not None
        return problem.shown(asked.x, members[asked.patches])

    trace = run(problem, dflare(variant), members=members, budget=budget, rng=rng(seed), until=until, look=look)
    return trace, shown


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_seed_gives_the_same_rows_and_the_budget_holds(problem: Problem, variant: str) -> None:
    trace, shown = searched(problem, variant)
    _, again = searched(problem, variant)
    _, other = searched(problem, variant, seed=2)
    for one, two in zip(shown, again, strict=True):
        np.testing.assert_array_equal(one.patches, two.patches)
        np.testing.assert_array_equal(one.x, two.x)
    assert not np.array_equal(shown[0].x, other[0].x)
    assert trace.spent.max() <= 120
    assert (trace.spent[trace.apart < 0] == 120).all()
    assert all(len(np.unique(asked.patches)) == len(asked.patches) for asked in shown), "one row a patch a round"


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_finds_disagreements_of_the_toy_pair(problem: Problem, variant: str) -> None:
    trace, _ = searched(problem, variant, budget=400)
    assert (trace.apart > 0).mean() > 0.3
    np.testing.assert_array_equal(trace.spent[trace.apart > 0], trace.apart[trace.apart > 0])
    assert np.isinf(trace.severity).all() and len(trace.kinds.u) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_works_on_images(pool: ThreadPoolExecutor, variant: str) -> None:
    problem = image_problem(pool, low=0.0, high=255.0)
    trace, shown = searched(problem, variant, until=Until.SPENT)
    assert (trace.spent == 120).all() and len(shown) == 60
    levels = np.concatenate([asked.x for asked in shown])
    assert levels.shape[1:] == (28, 28, 1) and levels.dtype == np.float32
    assert levels.min() >= 0 and levels.max() <= 255
    assert bool((levels == np.rint(levels)).all()) == (variant == "as_shipped")


def test_groups_wait_for_each_other(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "HELD_BYTES", 5 * 5 * 12 * 4 * module.IMAGES * 7)
    trace, shown = searched(problem, "as_described", budget=40)
    assert max(len(asked.patches) for asked in shown) == 7
    assert (trace.spent[trace.apart < 0] == 40).all() and (trace.spent > 0).all()
    first = np.array([asked.patches.min() // 7 for asked in shown])
    assert (np.diff(first) >= 0).all()


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of as_described, as_shipped, uniform"):
        dflare("shipped")


def test_each_ablation_changes_one_thing_of_the_fitness() -> None:
    difference, best = np.array([0.0, 0.002, 0.002, 0.001]), np.array([0.0, 3.0, 2.0, 0.0])
    novel = np.array([True, True, False, False])
    accepted, merit = VARIANTS["as_described"].acceptance(difference, novel, best)
    assert accepted.tolist() == [True, True, True, True] and merit.tolist() == [1, 3, 2, 1]
    accepted, merit = VARIANTS["without_novelty"].acceptance(difference, novel, best)
    assert accepted.tolist() == [True, False, True, True] and merit.tolist() == [0, 2, 2, 1]
    assert VARIANTS["any_step"].acceptance(difference, novel, best + 9)[0].all()
    for name in ("without_novelty", "any_step"):
        assert VARIANTS[name].choice is VARIANTS["as_described"].choice
        assert VARIANTS[name].eight_bit == VARIANTS["as_described"].eight_bit

"""Metropolis-Hastings over relations: what it asks, what it accepts, and what it does not waste."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from diverget import metropolis as module
from diverget.lockstep import Asked, Trace, Until, eligible, run, seen_by_models
from diverget.metropolis import metropolis
from diverget.objectives import LIMITS
from diverget.outcome import Evidence, Outcome, judge
from diverget.problem import Bounded, Problem
from diverget.scene import Scene
from diverget.selection import ANEW, STEP, moved
from tests.conftest import toy_problem

Story = list[tuple[Asked, Evidence]]


def searched(
    problem: Problem, *, seed: int = 1, budget: int = 121, until: Until = Until.REVEALED, answers: int | None = None
) -> tuple[Trace, Story]:
    """A search, with what it asked; with `answers` both models say what a stream of that seed says."""
    members, story = eligible(problem), []
    stream = np.random.default_rng(answers)

    def look(_: int, asked: Asked) -> Evidence:
        evidence = seen_by_models(problem, members, asked)
        if answers is not None:
            said = stream.dirichlet([0.3] * 4, size=(2, len(asked.patches))).astype(np.float32)
            evidence = replace(evidence, reference=said[0], quantised=said[1])
        story.append((asked, evidence))
        return evidence

    rng = np.random.default_rng(seed)
    return run(problem, metropolis, members=members, budget=budget, rng=rng, until=until, look=look), story


@pytest.fixture(scope="module")
def unlimited(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    names = ("brightness", "offset", "gaussian_blur", "gaussian_noise", "impulse_noise", "stripes")
    return replace(toy_problem(scene, pool, names=names), limits=())


@pytest.fixture(scope="module")
def limited(unlimited: Problem) -> Problem:
    return replace(unlimited, limits=(Bounded(LIMITS[0], 14.0),))


def test_a_mutation_moves_what_it_is_told_to_and_stays_in_the_cube() -> None:
    rng = np.random.default_rng(1)
    u = rng.choice([0.0, 0.02, 0.5, 1.0], size=(20_000, 3))
    which = np.tile([True, False, True], (20_000, 1))
    other = moved(u, which, rng)
    np.testing.assert_array_equal(other[:, 1], u[:, 1])
    assert other.min() >= 0 and other.max() <= 1
    middle = np.abs(other[:, 0] - 0.5)[u[:, 0] == 0.5]
    # Some rows take a normal step, the others land anywhere.
    assert (middle < STEP).mean() == pytest.approx((1 - ANEW) * 0.6827 + ANEW * 2 * STEP, abs=0.03)
    edge = other[:, 0][u[:, 0] == 0.0]
    assert (edge < STEP).mean() == pytest.approx((1 - ANEW) * 0.6827 + ANEW * STEP, abs=0.03), "reflected"
    far = (np.abs(other - u)[:, ::2] > 4 * STEP).any(axis=1)
    assert 0.4 * ANEW < far.mean() < ANEW


def test_the_chain_is_what_was_last_accepted(unlimited: Problem) -> None:
    """A twin in plain Python judges every answer; each candidate must be one relation away from the twin's chain."""
    _, story = searched(unlimited, answers=5, budget=60, until=Until.REVEALED)
    space, members = unlimited.space, eligible(unlimited)
    slot_of = np.array([slot for slot, _, _ in space.axes])
    chain = {patch: space.neutral() for patch in range(len(members))}
    best = dict.fromkeys(chain, 0.0)
    known = {
        patch: [np.concatenate([unlimited.reference_source[m], unlimited.quantised_source[m]])]
        for patch, m in enumerate(members)
    }
    verdicts = []
    for asked, evidence in story:
        assert asked.u is not None
        for row, patch in enumerate(asked.patches):
            differs = ~np.isclose(asked.u[row], chain[patch], rtol=0, atol=1e-12)
            assert len(np.unique(slot_of[differs])) == 1
            p, q = evidence.reference[row].astype(float), evidence.quantised[row].astype(float)
            state = np.concatenate([p, q])
            novel = all(((state - old) ** 2).sum() > 0.5 for old in known[patch])
            if novel:
                known[patch].append(state)
            own = evidence.reference_source[row].argmax()
            fitness = abs(p[p.argmax()] - q[p.argmax()]) / 1e-3 + novel
            taken = fitness >= best[patch] and p.argmax() == own
            if taken:
                chain[patch], best[patch] = asked.u[row], fitness
            verdicts.append((taken, fitness >= best[patch], novel))
    shares = np.mean(verdicts, axis=0)
    assert 0.05 < shares[0] < 0.6 and shares[1] > shares[0] and 0 < shares[2] < 1


def test_relations_are_credited_for_acceptances(unlimited: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = []

    def first(useful: np.ndarray, tried: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        tallies.append((useful.sum(axis=0), tried.sum(axis=0), last.copy()))
        return np.full(len(last), len(tallies) % 2)

    monkeypatch.setattr(module, "from_the_last", first)
    _, story = searched(unlimited, answers=3, budget=8, until=Until.SPENT)
    n = len(eligible(unlimited))
    assert [tried.tolist() for _, tried, _ in tallies] == [
        [0] * 6,
        [0, n, 0, 0, 0, 0],
        [n, n, 0, 0, 0, 0],
        [n, 2 * n, 0, 0, 0, 0],
    ]
    useful, _, last = tallies[-1]
    assert 0 < useful[0] < n and 0 < useful[1] < 2 * n
    assert set(last) <= {-1, 0, 1}
    assert len(story) == 4


def test_no_query_is_spent_outside_the_limits_or_on_what_is_known(limited: Problem) -> None:
    trace, story = searched(limited, until=Until.SPENT)
    assert trace.invalid.sum() == 0 and (trace.spent == 120).all()
    for asked, evidence in story:
        assert evidence.within.all() and (evidence.severity > 0).all()
        assert len(np.unique(asked.patches)) == len(asked.patches), "one row a patch a round"
    close = np.concatenate([evidence.psnr for _, evidence in story])
    assert np.median(close) < 18, "it goes up to the limit"


def test_where_nothing_holds_the_limits_it_ends(unlimited: Problem) -> None:
    impossible = replace(unlimited, limits=(Bounded(next(x for x in LIMITS if x.name == "severity"), 0.0),))
    trace, story = searched(impossible)
    assert not story and (trace.spent == 0).all()


def test_after_a_finding_it_looks_for_milder_ones(limited: Problem) -> None:
    trace, story = searched(limited, budget=400, until=Until.SPENT)
    found = np.full(len(trace.members), np.inf)
    improved = np.zeros(len(trace.members), dtype=int)
    for asked, evidence in story:
        assert (evidence.severity < found[asked.patches]).all()
        revealed = judge(evidence) == Outcome.REVEALED
        found[asked.patches[revealed]] = evidence.severity[revealed]
        improved[asked.patches[revealed]] += 1
    assert (improved > 0).mean() > 0.3 and (improved > 1).mean() > 0.1


def test_a_seed_gives_the_same_rows(limited: Problem) -> None:
    (trace, story), (again, repeated), (_, other) = (searched(limited, seed=seed) for seed in (1, 1, 2))
    for (one, _), (two, _) in zip(story, repeated, strict=True):
        np.testing.assert_array_equal(one.patches, two.patches)
        np.testing.assert_array_equal(one.u, two.u)
    np.testing.assert_array_equal(trace.revealed, again.revealed)
    assert not np.array_equal(story[0][0].u, other[0][0].u)
    assert (trace.revealed > 0).mean() > 0.3, "it finds something"

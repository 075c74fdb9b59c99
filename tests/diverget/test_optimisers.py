"""What single optimisers do beyond the contract of all: directions, restarts, chains, survival."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from diverget.optimisers import Optimiser, directions, fitting
from diverget.optimisers.chains import Chains
from diverget.optimisers.covariance import CovarianceSearch
from diverget.optimisers.geometry import survive
from tests.diverget.bowls import BY_NAME, asked, bowl, points, trace, walled


def test_which_optimisers_weigh_what() -> None:
    assert fitting(1, limits=True) == ["random", "ga", "pso", "de", "cmaes", "metropolis", "nsga2"]
    assert fitting(2, limits=True) == ["random", "nsga2", "nsga3", "agemoea", "smsemoa", "rvea"]
    assert fitting(5, limits=False) == ["random", "nsga2", "nsga3", "moead", "agemoea", "rvea"]
    assert [BY_NAME[name].objectives for name in ("ga", "random", "moead", "smsemoa")] == [
        "one",
        "1 or more",
        "2 or more",
        "2 to 4",
    ]


def test_pymoo_itself_refuses_limits_for_moead() -> None:
    from pymoo.core.problem import Problem as Box

    with pytest.raises(AssertionError, match="does not support any constraints"):
        BY_NAME["moead"].build(10, 2).setup(Box(n_var=2, n_obj=2, n_ieq_constr=1, xl=0.0, xu=1.0), seed=1)


@pytest.mark.parametrize(
    ("population", "objectives", "count"), [(24, 2, 24), (24, 3, 21), (24, 5, 15), (12, 5, 12), (4, 4, 4), (4, 3, 4)]
)
def test_directions_are_spread_over_the_objectives(population: int, objectives: int, count: int) -> None:
    towards = directions(population, objectives)
    assert towards.shape == (count, objectives)
    np.testing.assert_allclose(towards.sum(axis=1), 1)
    assert towards.min() >= 0
    for axis in np.eye(objectives):
        assert np.abs(towards - axis).sum(axis=1).min() < 1e-6, "each objective has a direction of its own"
    np.testing.assert_array_equal(towards, directions(population, objectives))
    with pytest.raises(ValueError, match="enlarge the population"):
        directions(objectives - 1, objectives)


def test_cmaes_finds_the_bottom_and_starts_anew_when_it_is_there() -> None:
    u = points(asked(BY_NAME["cmaes"], bowl, seed=1, budget=4000, limits=0))
    away = np.abs(u - 0.3).max(axis=1)
    assert away.min() < 1e-5
    there = int(np.argmax(away < 1e-5))
    assert away[there:].max() > 0.3, "it looks elsewhere"
    assert away[-400:].min() < 0.1


def test_cmaes_writes_no_file_and_heeds_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trace(BY_NAME["cmaes"], seed=1, budget=300)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cma_signals.in").write_text("{'maxiter': 1}")
    np.testing.assert_array_equal(trace(BY_NAME["cmaes"], seed=1, budget=300), before)
    assert [path.name for path in tmp_path.iterdir()] == ["cma_signals.in"]


def test_cmaes_ranks_what_breaks_the_limits_last(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[float]] = []
    arm = CovarianceSearch(5, 3, np.random.default_rng(0))
    monkeypatch.setattr(arm._strategy, "tell", lambda x, values: told.append(values))
    arm.ask()
    arm.tell(np.array([7.0, -9.0, 5.0, -8.0, 6.0]), np.array([0.0, 0.2, 0.0, 0.1, 0.0]))
    assert np.argsort(told[0]).tolist() == [2, 4, 0, 3, 1]
    arm.tell(np.array([7.0, -9.0, 5.0, -8.0, 6.0]), np.array([0.5, 0.2, 0.3, 0.1, 0.4]))
    assert np.argsort(told[1]).tolist() == [3, 1, 2, 4, 0]


def test_metropolis_moves_one_coordinate_of_chains_that_never_get_worse() -> None:
    """A twin in plain Python keeps the chains, and the tally that all of them share."""
    chains = Chains(6, 5, np.random.default_rng(2))
    chain = chains.ask().copy()
    state = [(np.inf, np.inf)] * 6
    useful, tried = np.zeros((2, 5), dtype=int)
    taken_in_all = 0
    for step in range(200):
        asked = chains.ask()
        scores, excess = ((asked - 0.3) ** 2).sum(axis=1), np.maximum(0.45 - asked[:, 0], 0)
        for row in range(6):
            moved = np.flatnonzero(asked[row] != chain[row])
            assert len(moved) <= (1 if step else 0)
            new = (float(excess[row]), 0.0 if excess[row] > 0 else float(scores[row]))
            taken = new <= state[row]
            if step and len(moved):
                tried[moved] += 1
                useful[moved] += taken
            if taken:
                chain[row], state[row] = asked[row], new
                taken_in_all += step > 0
        chains.tell(scores, excess)
        np.testing.assert_array_equal(chains._tried, tried)
        np.testing.assert_array_equal(chains._useful, useful)
    assert all(broken == 0 for broken, _ in state) and 0.1 < taken_in_all / 1194 < 0.9
    np.testing.assert_allclose(chain, np.tile([0.45, 0.3, 0.3, 0.3, 0.3], (6, 1)), atol=0.06)


@pytest.fixture
def pymoo_age(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """pymoo's AGE-MOEA, with plain Python in the place of Numba."""
    numba = ModuleType("numba")
    vars(numba).update(jit=lambda **_: lambda function: function, intp=np.intp, boolean=np.bool_, float64=np.float64)
    monkeypatch.setitem(sys.modules, "numba", numba)
    monkeypatch.delitem(sys.modules, "pymoo.algorithms.moo.age", raising=False)
    module = importlib.import_module("pymoo.algorithms.moo.age")
    monkeypatch.delitem(sys.modules, "pymoo.algorithms.moo.age")
    return module


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_agemoea_survives_as_in_pymoo(pymoo_age: ModuleType, objectives: int) -> None:
    from pymoo.core.population import Population
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    rng = np.random.default_rng(objectives)
    for members, count in ((40, 20), (24, 12), (9, 3), (30, 29), (6, 6)):
        for exponent in (0.5, 1.0, 2.0):
            scores = rng.random((members, objectives))
            scores /= (scores**exponent).sum(axis=1, keepdims=True) ** (1 / exponent)
            scores *= 1 + 0.4 * rng.random((members, 1))
            pop = Population.new("F", scores, "number", np.arange(members))
            with np.errstate(all="ignore"):
                theirs = pymoo_age.AGEMOEASurvival()._do(None, pop, n_survive=count)
            kept, rank, crowding = survive(scores, NonDominatedSorting().do(scores, n_stop_if_ranked=count), count)
            assert theirs.get("number").tolist() == np.flatnonzero(kept).tolist()
            np.testing.assert_array_equal(pop.get("rank"), rank)
            np.testing.assert_allclose(pop.get("crowding").astype(float), crowding, rtol=1e-9)


def test_agemoea_asks_what_pymoos_asks(pymoo_age: ModuleType) -> None:
    theirs = Optimiser(lambda population, objectives: pymoo_age.AGEMOEA(pop_size=population), least=2)
    with np.errstate(all="ignore"):
        expected = points(asked(theirs, walled, seed=3, budget=300))
    np.testing.assert_allclose(points(asked(BY_NAME["agemoea"], walled, seed=3, budget=300)), expected, atol=1e-9)

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from diverget import tables
from diverget.archive import Lead, distinct, kinds, mildest
from diverget.findings import Finding, distil, replay
from diverget.optimisers import OPTIMISERS, Optimiser, directions, fitting
from diverget.optimisers.chains import Chains
from diverget.optimisers.covariance import CovarianceSearch
from diverget.optimisers.geometry import survive
from diverget.outcome import Outcome, judge
from diverget.problem import Evaluation, Problem, Revealed
from diverget.search import Generation, Scored, search
from diverget.store import Store

Evaluate = Callable[[Generation], Scored]


def bowl(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    distance = ((generation.u - 0.3) ** 2).sum(axis=1, keepdims=True)
    return distance, 0.1 - generation.u[:, :1]


def two_bowls(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    scores, excess = bowl(generation)
    return np.hstack([scores, ((generation.u - 0.8) ** 2).sum(axis=1, keepdims=True)]), excess


def walled(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    """The best points of `two_bowls` lie outside the limit, that of the first far outside."""
    return two_bowls(generation)[0], 0.6 - generation.u[:, :1]


def level(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    """Everything tied: one score has two values, the other is always 0, and the limit is broken by 0.5 or not."""
    step = (generation.u[:, :1] > 0.5).astype(np.float64)
    return np.hstack([step, 0 * step]), 0.5 * (generation.u[:, 1:2] > 0.3)


def asked(
    optimiser: Optimiser, evaluate: Evaluate, *, seed: int, budget: int = 103, dimensions: int = 4, limits: int = 1
) -> Iterator[Generation]:
    """A search told the first score where the optimiser weighs one, and the limit where it can and `limits` is 1."""
    count, bounds = (1 if optimiser.most == 1 else 2), limits * optimiser.limits

    def told(generation: Generation) -> Scored:
        scores, excess = evaluate(generation)
        return scores[:, :count], excess[:, :bounds]

    return search(
        told,
        dimensions=dimensions,
        objectives=count,
        limits=bounds,
        optimiser=optimiser,
        population=10,
        budget=budget,
        seed=seed,
    )


def points(rounds: Iterable[Generation]) -> np.ndarray:
    return np.concatenate([generation.u for generation in rounds])


def trace(optimiser: Optimiser, *, seed: int, budget: int = 103) -> np.ndarray:
    return points(asked(optimiser, two_bowls, seed=seed, budget=budget))


def global_state() -> bytes:
    _, keys, *place = np.random.get_state()  # noqa: NPY002
    return keys.tobytes() + repr(place).encode()


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=lambda o: o.name)
class TestEveryOptimiser:
    def test_same_seed_same_points(self, optimiser: Optimiser) -> None:
        np.testing.assert_array_equal(trace(optimiser, seed=1), trace(optimiser, seed=1))
        assert (trace(optimiser, seed=1) != trace(optimiser, seed=2)).any()

    def test_the_budget_is_met_exactly_inside_the_cube(self, optimiser: Optimiser) -> None:
        u = trace(optimiser, seed=3)
        assert u.shape == (103, 4)
        assert u.min() >= 0 and u.max() <= 1

    def test_it_leaves_the_global_generator_alone(self, optimiser: Optimiser) -> None:
        before = global_state()
        trace(optimiser, seed=4, budget=30)
        assert global_state() == before

    def test_draws_from_the_global_generator_change_nothing(self, optimiser: Optimiser) -> None:
        def drawing(generation: Generation) -> Scored:
            np.random.seed(generation.number)  # noqa: NPY002
            np.random.standard_normal(7)  # noqa: NPY002
            return two_bowls(generation)

        state = np.random.get_state()  # noqa: NPY002
        disturbed = points(asked(optimiser, drawing, seed=6))
        np.random.set_state(state)  # noqa: NPY002
        np.testing.assert_array_equal(disturbed, trace(optimiser, seed=6))

    def test_it_goes_on_from_stored_scores_as_if_it_had_never_stopped(self, optimiser: Optimiser) -> None:
        stored: dict[int, Scored] = {}
        computed: list[int] = []

        def remembered(generation: Generation) -> Scored:
            if generation.number not in stored:
                computed.append(generation.number)
                stored[generation.number] = two_bowls(generation)
            return stored[generation.number]

        begun = asked(optimiser, remembered, seed=7)
        for _ in range(4):
            next(begun)
        begun.close()
        resumed = points(asked(optimiser, remembered, seed=7))
        np.testing.assert_array_equal(resumed, trace(optimiser, seed=7))
        assert computed == list(range(len(stored)))

    @pytest.mark.parametrize("dimensions", [2, 12, 40])
    def test_tied_scores_and_tied_limits_are_repeated_too(self, optimiser: Optimiser, dimensions: int) -> None:
        first, again = (points(asked(optimiser, level, seed=8, dimensions=dimensions)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert len(first) == 103

    def test_a_space_of_one_dimension_is_searched(self, optimiser: Optimiser) -> None:
        u = points(asked(optimiser, two_bowls, seed=9, dimensions=1))
        assert u.shape == (103, 1)
        assert u.min() >= 0 and u.max() <= 1

    def test_it_climbs(self, optimiser: Optimiser) -> None:
        if optimiser.name == "random":
            pytest.skip("random search does not climb: that is its purpose")
        u = trace(optimiser, seed=5, budget=600)
        scores = two_bowls(Generation(0, 0, u))[0][:, : 1 if optimiser.most == 1 else 2].sum(axis=1)
        assert scores[-50:].mean() < 0.8 * scores[:50].mean()

    def test_it_keeps_the_limits_that_it_says_it_keeps(self, optimiser: Optimiser) -> None:
        if optimiser.name == "random":
            pytest.skip("random search heeds neither scores nor limits")
        u = points(asked(optimiser, walled, seed=10, budget=600))
        within = (u[-100:, 0] >= 0.6).mean()
        free = (points(asked(optimiser, walled, seed=10, budget=600, limits=0))[-100:, 0] >= 0.6).mean()
        if optimiser.limits:
            assert within > 0.5 and within > 1.3 * free, "it went where the limit let it"
            assert u[u[:, 0] >= 0.6][-50:, 1:].std() < 0.25, "and climbed there"
        else:
            assert within < 0.4, "the limit was not even told"

    def test_a_score_that_is_not_a_number_names_its_candidate(self, optimiser: Optimiser) -> None:
        def broken(generation: Generation) -> Scored:
            scores, excess = two_bowls(generation)
            if generation.number == 1:
                scores[2] = np.nan
            return scores, excess

        with pytest.raises(ValueError, match="candidate 12 at"):
            points(asked(optimiser, broken, seed=1, budget=100))

    def test_what_it_cannot_do_is_refused_before_anything_is_asked(self, optimiser: Optimiser) -> None:
        def never(generation: Generation) -> Scored:
            raise AssertionError("it was asked")

        for objectives in (1, 2, 4, 5):
            for limits in (0, 2):
                if optimiser.fits(objectives, limits=limits > 0):
                    continue
                with pytest.raises(ValueError, match=f"{objectives} objectives and {limits} limits.*random, ") as told:
                    list(
                        search(
                            never,
                            dimensions=3,
                            objectives=objectives,
                            limits=limits,
                            optimiser=optimiser,
                            population=10,
                            budget=20,
                            seed=0,
                        )
                    )
                assert all(name in str(told.value) for name in fitting(objectives, limits=limits > 0))


BY_NAME = {optimiser.name: optimiser for optimiser in OPTIMISERS}


@pytest.mark.parametrize("optimiser", [o for o in OPTIMISERS if o.weighs(3)], ids=lambda o: o.name)
def test_three_objectives_are_weighed_and_one_may_say_nothing(optimiser: Optimiser) -> None:
    def told(generation: Generation) -> Scored:
        scores, excess = two_bowls(generation)
        return np.hstack([scores, np.zeros((len(scores), 1))]), excess[:, : optimiser.limits]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as where a range of 0 is divided by
        u = points(
            search(
                told,
                dimensions=4,
                objectives=3,
                limits=int(optimiser.limits),
                optimiser=optimiser,
                population=12,
                budget=601,
                seed=2,
            )
        )
    assert u.shape == (601, 4)
    assert len(np.unique(u[-60:].round(3), axis=0)) > 20, "it has not collapsed into a point"
    if optimiser.name != "random":
        first, last = (two_bowls(Generation(0, 0, part))[0].sum(axis=1).mean() for part in (u[:12], u[-60:]))
        assert last < 0.8 * first


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


def test_the_mildest_of_each_patch_class_pair_and_heaviest_slot_leads() -> None:
    a, b = Revealed(3, 0, 1), Revealed(3, 0, 2)
    leads = mildest([(0, 0.5, 0, [a]), (1, 0.2, 0, [a, b]), (2, 0.2, 0, [a]), (3, 0.1, 0, [b]), (4, 0.4, 1, [a])])
    assert [(lead.seen, lead.slot, lead.candidate, lead.severity) for lead in leads] == [
        (a, 0, 1, 0.2),
        (a, 1, 4, 0.4),
        (b, 0, 3, 0.1),
    ]


def test_the_archive_keeps_the_mildest_of_each_kind_and_counts_patches() -> None:
    def row(finding: int, patch: int, severity: float, relation: str = "offset", **more: object) -> dict:
        family = {"offset": "radiometry", "brightness": "radiometry", "stripes": "sensor"}[relation]
        shared = {"pair": "a/b", "control": False, "tier": "stress", "reference_class": 0, "quantised_class": 1}
        return {
            **shared, "finding": finding, "patch": patch, "severity": severity, "relation": relation,
            "family": family, "confirmed": True, **more,
        }  # fmt: skip

    rows = [
        row(0, 7, 0.5), row(1, 7, 0.2, "brightness"), row(2, 8, 0.3), row(3, 8, 0.1, confirmed=False),
        row(4, 8, 0.4, "stripes"), row(5, 8, 0.4, tier="in_spec"),
    ]  # fmt: skip
    told = [(kind["tier"], kind["family"], kind["patches"], kind["mildest"]) for kind in kinds(rows)]
    assert told == [("in_spec", "radiometry", 1, 5), ("stress", "radiometry", 2, 1), ("stress", "sensor", 1, 4)]
    twice = [row(0, 7, 0.5), row(1, 7, 0.2), row(2, 7, 0.2, "stripes"), row(3, 7, 0.2)]
    assert [entry["finding"] for entry in distinct(twice)] == [1, 2]


@pytest.fixture(scope="module")
def evaluation(problem: Problem) -> Evaluation:
    return problem.evaluate(np.random.default_rng(9).random((40, problem.space.dimensions)))


def rows(problem: Problem, evaluation: Evaluation) -> list[dict]:
    return tables.rows(
        evaluation,
        problem.space,
        problem.objectives,
        problem.limits,
        pair="toy/rounded",
        control=False,
        generation=0,
        first=0,
        queries_each=problem.queries(1),
    )


def leads(evaluation: Evaluation) -> list[Lead]:
    every = range(len(evaluation.u))
    return mildest((i, float(evaluation.severity[i]), 0, evaluation.revealed[i]) for i in every)


def found(problem: Problem, evaluation: Evaluation) -> list[Finding]:
    distilled = distil(problem, leads(evaluation), evaluation.values)
    return [distilled.finding(i) for i in range(len(distilled.rows))]


def test_shrinking_keeps_the_outcome_and_is_never_more_severe(problem: Problem, evaluation: Evaluation) -> None:
    findings = found(problem, evaluation)
    assert len(findings) == len(leads(evaluation)) > 5
    assert all(finding.row["severity"] <= finding.row["severity_found"] for finding in findings)
    assert np.mean([f.row["severity"] < 0.5 * f.row["severity_found"] for f in findings]) > 0.5


def test_every_finding_replays_alone_bit_for_bit(problem: Problem, evaluation: Evaluation) -> None:
    findings = found(problem, evaluation)
    for finding in findings:
        came = replay(finding.row, finding.arrays, (problem.reference, problem.quantised), problem.sensor)
        assert came.revealed and came.identical


def test_a_tampered_finding_does_not_replay(problem: Problem, evaluation: Evaluation) -> None:
    finding = found(problem, evaluation)[0]
    models = (problem.reference, problem.quantised)
    changed = {**finding.arrays, "source": finding.arrays["source"] * np.float32(0.9)}
    assert not replay(finding.row, changed, models, problem.sensor).identical
    assert not replay(finding.row, finding.arrays, models[:1] * 2, problem.sensor).revealed


def test_stored_rows_give_back_what_the_optimiser_was_told(
    problem: Problem, evaluation: Evaluation, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    schema = tables.evaluations(problem.space, problem.objectives, problem.limits)
    store.write_table("part.parquet", rows(problem, evaluation), schema)
    stored = store.read_table("part.parquet")
    scores, excess = tables.scored(stored, problem.objectives, problem.limits)
    signs = np.array([-1 if o.maximise else 1 for o in problem.objectives])
    np.testing.assert_array_equal(scores, evaluation.scores * signs)
    np.testing.assert_array_equal(excess, evaluation.excess)
    for stored_values, values in zip(tables.values_of(stored, problem.space), evaluation.values, strict=True):
        for name in values:
            np.testing.assert_array_equal(stored_values[name], values[name])


def test_the_mildest_rows_are_really_revealed(problem: Problem, evaluation: Evaluation) -> None:
    lead = leads(evaluation)[0]
    one = tuple({n: v[[lead.candidate]] for n, v in slot.items()} for slot in evaluation.values)
    assert judge(problem.rows(one, np.array([lead.seen.patch])))[0] == Outcome.REVEALED


def test_the_same_rows_give_the_same_bytes_and_damage_is_told(
    problem: Problem, evaluation: Evaluation, tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    store = Store(tmp_path)
    schema = tables.evaluations(problem.space, problem.objectives, problem.limits)
    for name in ("a.parquet", "b.parquet"):
        store.write_table(name, rows(problem, evaluation), schema)
    content = (tmp_path / "a.parquet").read_bytes()
    assert content == (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet, got damage"):
        store.read_table("a.parquet")
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ValueError, match=r"m\.json, got damage at line 1"):
        store.read_json("m.json")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(TypeError):
        store.write_json("x.json", {"set": {1, 2}})
    assert list(tmp_path.iterdir()) == []
    store.write_json("x.json", {"nan": float("nan"), "array": np.arange(2), "scalar": np.float32(0.5)})
    assert store.read_json("x.json") == {"nan": None, "array": [0, 1], "scalar": 0.5}

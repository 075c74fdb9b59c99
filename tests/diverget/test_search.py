from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from diverget import tables
from diverget.archive import mildest
from diverget.findings import distil, replay
from diverget.optimisers import OPTIMISERS, Optimiser
from diverget.outcome import Outcome, judge
from diverget.problem import Evaluation, Problem, Revealed
from diverget.search import Generation, search
from diverget.store import Store


def bowl(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    distance = ((generation.u - 0.3) ** 2).sum(axis=1, keepdims=True)
    return distance, 0.1 - generation.u[:, :1]


def two_bowls(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
    scores, excess = bowl(generation)
    return np.hstack([scores, ((generation.u - 0.8) ** 2).sum(axis=1, keepdims=True)]), excess


def trace(optimiser: Optimiser, *, seed: int, budget: int = 103) -> np.ndarray:
    one = optimiser.objectives == "one"
    rounds = search(
        bowl if one else two_bowls,
        dimensions=4,
        objectives=1 if one else 2,
        limits=1,
        optimiser=optimiser,
        population=10,
        budget=budget,
        seed=seed,
    )
    return np.concatenate([generation.u for generation in rounds])


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
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        trace(optimiser, seed=4, budget=30)
        np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002

    def test_it_climbs(self, optimiser: Optimiser) -> None:
        if optimiser.name == "random":
            pytest.skip("random search does not climb: that is its purpose")
        u = trace(optimiser, seed=5, budget=600)
        scores = (bowl if optimiser.objectives == "one" else two_bowls)(Generation(0, 0, u))[0].sum(axis=1)
        assert scores[-50:].mean() < 0.8 * scores[:50].mean()

    def test_a_score_that_is_not_a_number_names_its_candidate(self, optimiser: Optimiser) -> None:
        def broken(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
            scores, excess = two_bowls(generation)
            if generation.number == 1:
                scores[2] = np.nan
            return (scores[:, :1] if optimiser.objectives == "one" else scores), excess

        with pytest.raises(ValueError, match="candidate 12 at"):
            for _ in search(
                broken,
                dimensions=4,
                objectives=1 if optimiser.objectives == "one" else 2,
                limits=1,
                optimiser=optimiser,
                population=10,
                budget=100,
                seed=1,
            ):
                pass


def test_the_archive_keeps_the_mildest_of_each_patch_and_class_pair() -> None:
    a, b = Revealed(3, 0, 1), Revealed(3, 0, 2)
    leads = mildest([(0, 0.5, [a]), (1, 0.2, [a, b]), (2, 0.2, [a]), (3, 0.1, [b])])
    assert [(lead.seen, lead.candidate, lead.severity) for lead in leads] == [(a, 1, 0.2), (b, 3, 0.1)]


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


def test_shrinking_keeps_the_outcome_and_is_never_more_severe(problem: Problem, evaluation: Evaluation) -> None:
    leads = tables.leads_of(rows(problem, evaluation))
    findings = distil(problem, leads, evaluation.values)
    assert len(findings) == len(leads) > 5
    assert all(finding.row["severity"] <= finding.row["severity_found"] for finding in findings)
    assert np.mean([f.row["severity"] < 0.5 * f.row["severity_found"] for f in findings]) > 0.5


def test_every_finding_replays_alone_bit_for_bit(problem: Problem, evaluation: Evaluation) -> None:
    findings = distil(problem, tables.leads_of(rows(problem, evaluation)), evaluation.values)
    for finding in findings:
        came = replay(finding.row, finding.arrays, (problem.reference, problem.quantised), problem.sensor)
        assert came.revealed and came.identical


def test_a_tampered_finding_does_not_replay(problem: Problem, evaluation: Evaluation) -> None:
    finding = distil(problem, tables.leads_of(rows(problem, evaluation))[:1], evaluation.values)[0]
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
    lead = tables.leads_of(rows(problem, evaluation))[0]
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

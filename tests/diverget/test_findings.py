"""From what a search revealed to findings: led, shrunk, replayed alone, kept by kind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from diverget import tables
from diverget.archive import Lead, distinct, kinds, mildest
from diverget.findings import Finding, distil, replay
from diverget.outcome import Outcome, judge
from diverget.problem import Evaluation, Problem, Revealed
from diverget.store import Store


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

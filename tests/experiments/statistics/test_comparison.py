"""The statistics of search arms against published worked examples, plain twins and planted truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.statistics.comparison import (
    a12,
    censored_median,
    clopper_pearson,
    holm,
    holm_by_test,
    mann_whitney,
    repeated,
    success,
)
from experiments.statistics.derived import WORDS, derived
from experiments.statistics.trials import BETTER, NO_BETTER, WORSE, Cell, Trial, against_random, cells, summary
from tests.experiments import fake_arms
from tests.experiments.fake_arms import row

INF = math.inf


def test_the_race_of_six_tortoises_and_six_hares() -> None:
    """U is 11 and 25 in the textbook race T H H H H H T T T T T H; A12 is U over the number of pairs (formula 14)."""
    tortoises, hares = np.array([1.0, 7, 8, 9, 10, 11]), np.array([2.0, 3, 4, 5, 6, 12])
    assert a12(hares, tortoises) == pytest.approx(11 / 36)
    assert a12(tortoises, hares) == pytest.approx(25 / 36)


def test_the_ages_at_diagnosis_of_scipys_manual() -> None:
    """SciPy's manual works this example by hand: U = 17 of 20, exact two-sided p = 1/9."""
    males, females = np.array([19.0, 22, 16, 29, 24]), np.array([20.0, 11, 17, 12])
    assert a12(males, females) == pytest.approx(17 / 20)
    assert mann_whitney(males, females) == pytest.approx(1 / 9)


def test_a12_agrees_with_counting_every_pair() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = (rng.integers(0, 6, n).astype(float) for n in (9, 14))
        x[rng.random(9) < 0.3] = INF
        y[rng.random(14) < 0.3] = INF
        counted = sum((a > b) + 0.5 * (a == b) for a in x for b in y) / (9 * 14)
        assert a12(x, y) == pytest.approx(counted)
        assert a12(y, x) == pytest.approx(1 - counted)


def test_where_all_are_tied_nothing_is_shown() -> None:
    nothing = np.full(7, INF)
    assert (a12(nothing, nothing), mann_whitney(nothing, nothing)) == (0.5, 1.0)
    for sample in (np.zeros(0), np.array([math.nan])):
        with pytest.raises(ValueError, match="Expected numbers or infinity"):
            mann_whitney(sample, nothing)


def test_holms_procedure_on_four_hypotheses() -> None:
    """The common worked example 0.01, 0.04, 0.03, 0.005: the first and the last are rejected at 0.05, no other."""
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).max() == 1.0
    assert len(holm(np.zeros(0))) == 0


def test_the_median_remission_under_6_mercaptopurine_is_23_weeks() -> None:
    """Freireich et al. 1963 in the form that Gehan 1965 gave: 21 patients, 12 censored; the placebo's median is 8."""
    weeks = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
    censored = [0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]
    treated = np.where(censored, INF, np.array(weeks, dtype=float))
    assert censored_median(treated, censored_at=np.array(weeks, dtype=float)) == 23
    placebo = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23], dtype=float)
    assert censored_median(placebo, censored_at=100) == 8


@pytest.mark.parametrize(
    ("values", "expected"),
    [([2, 4, INF], 4), ([2, INF, INF], INF), ([2, INF], 2), ([INF, INF], INF), ([7], 7)],
)
def test_a_median_may_lie_beyond_the_budget(values: list[float], expected: float) -> None:
    assert censored_median(np.array(values, dtype=float), censored_at=200) == expected


def test_no_value_has_no_median() -> None:
    assert math.isnan(censored_median(np.zeros(0), censored_at=1))


def test_the_exact_binomial_interval() -> None:
    lower, upper = clopper_pearson(np.array([0, 5, 10]), 10)
    assert lower == pytest.approx([0, 0.1871, 1 - 0.3085], abs=1e-4)
    assert upper == pytest.approx([0.3085, 0.8129, 1], abs=1e-4)


def test_success_counts_up_to_and_with_the_query() -> None:
    share, lower, upper = success(np.array([[2, 4, INF, INF], [2, 2, 4, INF]]), np.array([0, 2, 4, 200]))
    assert share.tolist() == [0, 0.375, 0.625, 0.625]
    # The band is over the four patches: a second repeat does not narrow it.
    ends = clopper_pearson(4 * share, 4)
    assert lower.tolist() == ends[0].tolist() and upper.tolist() == ends[1].tolist()
    alone = success(np.array([[2, 4, INF, INF]]), np.array([4]))
    assert alone[0] == [0.5] and 0 < alone[1][0] < 0.5 < alone[2][0] < 1


def one(**changes: object) -> Trial:
    (cell,) = cells([row(**changes)])
    return cell.trials[0]


def test_what_an_arm_had_found_earlier() -> None:
    milder = [{"queries": 40, "severity": 0.5}, {"queries": 300, "severity": 0.2}, {"queries": 700, "severity": 0.1}]
    trial = one(arm="random", budget=1000, spent=1000, apart=10, revealed=40, severity=0.1, milder=milder, invalid=50)
    for budget, severity, revealed in ((1000, 0.1, 40), (300, 0.2, 40), (299, 0.5, 40), (40, 0.5, 40), (39, INF, INF)):
        early = trial.within(budget)
        assert (early.severity[0, 0], early.revealed[0, 0], early.apart[0, 0]) == (severity, revealed, 10)
        assert (early.budget, early.spent[0, 0], early.own) == (budget, budget, 1000)
    assert trial.invalid == pytest.approx(0.1)
    assert summary(trial.within(200))["invalid"] is None
    assert trial.within(200).label == "random, first 200" and trial.label == "random"


def test_rows_that_float_alone_saw_count_among_all_rows() -> None:
    """Of 100 queries, 20 rows for two each and 60 for one; 8 of the 20 were outside."""
    walked = row(spent=100, invalid=8)
    times = fake_arms.times([walked])[0] | {"rows": 80}
    (cell,) = cells([walked], [times])
    assert cell.trials[0].invalid == 0.1
    # The others may be shown rows that they do not pay for, after a find in the same batch.
    (other,) = cells([walked | {"arm": "ga"}], [times | {"arm": "ga"}])
    assert other.trials[0].invalid == 0.16
    assert one(spent=100, invalid=8).invalid is None


def test_queries_outside_the_limits_are_told_apart_where_they_are_known() -> None:
    told = [
        row(patch=0, spent=40, revealed=40, invalid=5),  # ended with its first REVEALED
        row(patch=1, spent=200, invalid=60),  # never found: 80 of its queries were inside
        row(patch=2, spent=90, revealed=90, invalid=0),
    ]
    ((trial,),) = (cell.trials for cell in cells(told))
    assert trial.inside is not None
    assert [column.tolist() for column in trial.inside] == [[[30, np.inf, 90]], [[30, 80, 90]]]
    found = summary(trial)
    assert (found["inside_median"], found["inside_spent"]) == (90, pytest.approx(200 / 3))
    # Of the first hundred queries of patch 1 it is not known how many were outside.
    assert trial.within(100).inside is None and summary(trial.within(100))["inside_median"] is None
    # One that goes on after its first REVEALED counts rows outside to its end.
    ((went_on,),) = (cell.trials for cell in cells([row(spent=200, revealed=40, invalid=5)]))
    assert went_on.inside is None
    ((never_out,),) = (cell.trials for cell in cells([row(spent=200, revealed=40)]))
    assert never_out.inside is not None and never_out.inside[0].tolist() == [[40]]


def test_without_rows_outside_the_limits_the_two_medians_are_one() -> None:
    """A search that ended at a disagreement of another kind is censored at its budget in both."""
    told = [row(patch=patch, spent=10, apart=10, budget=60) for patch in range(12)]
    told += [row(patch=patch, spent=59, apart=59, revealed=59, budget=60) for patch in range(12, 17)]
    ((trial,),) = (cell.trials for cell in cells(told))
    found = summary(trial)
    assert found["inside_median"] == found["revealed_median"] == math.inf


def test_repeats_are_tested_one_by_one() -> None:
    """A patch that one of two repeats found stays found by one of two; it is not lost to a median over repeats."""
    rows = [
        row(arm=arm, budget=200, patch=patch, repeat=repeat, revealed=at if patch % 2 == repeat else None)
        for arm, at in (("boundary", 10), ("random", 100))
        for repeat in range(2)
        for patch in range(20)
    ]
    (cell,) = cells(rows)
    found = summary(cell.trials[0])
    assert (found["revealed_share"], found["revealed_median"]) == (0.5, 10)
    against = against_random(cell)["boundary", "queries"]
    # Of 20 × 20 pairs boundary is first in 10 × 20, and 10 × 10 are tied without a finding.
    assert against.a12 == pytest.approx((10 * 20 + 10 * 10 / 2) / 400)
    alone = planted(boundary=([10.0, INF] * 10, 200), random=([100.0, INF] * 10, 200))
    assert against.p == pytest.approx(min(1.0, 2 * against_random(alone)["boundary", "queries"].p))


def test_p_values_of_repeats_become_one() -> None:
    assert repeated(np.array([0.03])) == 0.03
    assert repeated(np.array([0.03, 0.5])) == pytest.approx(0.06)
    assert repeated(np.array([0.9, 0.02, 0.04])) == pytest.approx(0.06)
    assert repeated(np.array([0.9, 0.8])) == 1.0


def test_a_repeat_without_one_of_the_patches_is_refused() -> None:
    rows = [row(patch=0), row(patch=1), row(patch=0, repeat=1)]
    with pytest.raises(ValueError, match="every patch once in each repeat of boundary on hybridsn/int8, got 3 rows"):
        cells(rows)


def planted(**arms: tuple[list[float], int]) -> Cell:
    """A cell in which each arm has (queries to REVEALED a patch, budget)."""
    rows = [
        row(
            arm=arm, budget=budget, spent=budget, patch=i, natural=not arm.startswith("d"),
            revealed=None if at == INF else at, apart=None if at == INF else at,
            severity=None if at == INF else at / 1000,
            milder=[] if at == INF else [{"queries": at, "severity": at / 1000}],
        )
        for arm, (reached, budget) in arms.items()
        for i, at in enumerate(reached)
    ]  # fmt: skip
    (cell,) = cells(rows)
    return cell


def test_arms_are_set_against_random_within_equal_queries() -> None:
    late = [float(i) for i in range(210, 250)]
    cell = planted(
        boundary=([float(i) for i in range(2, 42)], 200),
        random=([*late[:35], *(float(i) for i in range(60, 65))], 1000),
        pso=([INF] * 35 + [float(i) for i in range(60, 65)], 200),
        diffchaser=([INF] * 40, 200),
    )
    tested = against_random(cell)
    assert tested["boundary", "queries"].words == BETTER and tested["boundary", "queries"].a12 == 1.0
    # What random found beyond the budget of the others does not count: pso ties with it.
    assert tested["pso", "queries"].words == NO_BETTER and tested["pso", "queries"].a12 == 0.5
    assert tested["diffchaser", "queries"].a12 == pytest.approx(0.5 - 0.5 * 5 / 40)
    assert ("diffchaser", "severity") not in tested and ("random", "queries") not in tested
    # In any disagreement arms are compared too, those without a severity among them, and within the same family.
    assert [name for name in tested if name[1] == "apart"] == [
        (arm, "apart") for arm in ("boundary", "pso", "diffchaser")
    ]
    assert tested["boundary", "apart"].words == BETTER and tested["pso", "apart"].a12 == 0.5
    raw = np.array([against.p for against in tested.values()])
    assert [against.adjusted for against in tested.values()] == pytest.approx(holm(raw).tolist())
    worse = planted(random=([2.0] * 40, 200), boundary=([100.0] * 40, 200))
    assert against_random(worse)["boundary", "queries"].words == WORSE
    assert against_random(planted(boundary=([2.0], 200))) == {}


def test_the_derived_numbers_by_hand() -> None:
    cell = planted(
        boundary=([10, 20, 30, INF], 200),
        random=([400, 800, INF, 40], 1000),
        diffchaser_basic=([INF, INF, INF, INF], 200),
        diffchaser=([100, INF, INF, INF], 200),
        dflare_as_shipped=([50, 50, INF, INF], 200),
    )
    found = {one.name: one for one in derived([cell], "boundary")}
    assert list(found) == list(WORDS)
    assert found["success_to_diffchaser"].value == pytest.approx(0.75 / 0.25)
    assert found["queries_to_diffchaser"].value == pytest.approx((100 + 600) / (10 + 20 + 30 + 200))
    assert found["queries_to_dflare_as_shipped"].value == pytest.approx((50 + 50 + 400) / 260)
    assert found["severity_to_random"].value == pytest.approx(0.020 / 0.400)
    # Three are before all four of random's within equal queries; the fourth is tied with three and behind one.
    assert found["a12_apart"].value == pytest.approx((3 * 4 + 3 * 0.5) / 16)
    nobody = planted(boundary=([10], 200), diffchaser=([INF], 200))
    found = {one.name: one for one in derived([cell, nobody], "boundary")}
    assert found["success_to_diffchaser"].value == pytest.approx((0.75 + 1) / 2 / (0.25 / 2))
    assert (found["success_to_diffchaser"].of, found["severity_to_random"].of) == (2, 1)
    lost = planted(boundary=([10], 200), random=([INF], 1000))
    found = {one.name: one for one in derived([cell, lost], "boundary")}
    assert found["severity_to_random"].value == pytest.approx((0.05 + 0.01 / 1.0) / 2)
    assert (found["severity_to_random"].of, found["severity_to_random"].missed) == (2, 1)
    alone = {one.name: one.value for one in derived([nobody], "boundary")}
    assert alone["success_to_diffchaser"] == INF
    assert alone["queries_to_dflare_as_shipped"] is None and alone["severity_to_random"] is None


def test_queries_are_compared_at_the_larger_budget_of_two() -> None:
    """Found by neither, ten times the budget is no lead; a rival that finds late counts where it finds."""
    for mine, theirs, expected in ((INF, INF, 1.0), (50.0, 1500.0, 30.0), (50.0, INF, 40.0), (INF, 100.0, 0.05)):
        cell = planted(boundary=([mine], 200), diffchaser=([theirs], 2000))
        found = {one.name: one.value for one in derived([cell], "boundary")}
        assert found["queries_to_diffchaser"] == pytest.approx(expected)


def test_an_arm_with_a_larger_budget_than_random_is_tested_within_the_least() -> None:
    cell = planted(boundary=([40.0] * 8, 200), random=([INF] * 8, 1000), diffchaser=([300.0] * 8, 2000))
    tested = against_random(cell)
    assert tested["diffchaser", "queries"].a12 == 0.5 and tested["boundary", "queries"].a12 == 1.0


def test_invented_arms_come_out_in_the_order_in_which_they_were_planted() -> None:
    found = cells(fake_arms.rows(patches=60), fake_arms.times(fake_arms.rows(patches=60)))
    tested = [cell for cell in found if not cell.control]
    assert [cell.rung for cell in tested] == list(fake_arms.RUNGS)
    for cell in tested:
        shares = {t.arm: summary(t.within(cell.budget))["revealed_share"] for t in cell.trials}
        assert shares["boundary"] > shares["metropolis"] > shares["pso"] and shares["random"] > shares["diffchaser"]
        against = against_random(cell)
        assert against["boundary", "queries"].words == BETTER
        # As strong as random by construction.
        assert against["pso", "queries"].words == NO_BETTER
    assert tested[0].trials[0].seconds == 3 * 1.25
    assert all(cell.found == 0 for cell in found if cell.control) and all(cell.found for cell in tested)


def test_each_test_of_a_family_is_corrected_over_the_rows_that_have_it() -> None:
    family = [{"a": 0.01, "b": 0.2}, {"a": 0.04, "b": None}, {"a": 0.03, "b": 0.3}]
    adjusted = holm_by_test(family)
    assert [row["a"] for row in adjusted] == pytest.approx([0.03, 0.06, 0.06])
    assert [row["b"] for row in adjusted] == [pytest.approx(0.4), None, pytest.approx(0.4)]
    assert family[0] == {"a": 0.01, "b": 0.2} and holm_by_test([]) == []

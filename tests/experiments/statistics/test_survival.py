"""Survival curves: a published worked example, a plain twin, and what becomes of rays and patches."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.statistics.survival import design_effect, kaplan_meier, none_left, rays, searched
from experiments.statistics.trials import MOST

REMISSION = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
"""Weeks of remission under 6-mercaptopurine, + censored. Source: Freireich et al., Blood 21, 1963, as worked out in
Kleinbaum and Klein, Survival Analysis, 2012, chapter 2."""


def test_the_published_example() -> None:
    weeks = np.array([float(time.rstrip("+")) for time in REMISSION.split()])
    curve = kaplan_meier(weeks, np.array(["+" not in time for time in REMISSION.split()]))
    assert curve.at.tolist() == [6, 7, 10, 13, 16, 22, 23]
    np.testing.assert_allclose(curve.surviving, [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], atol=5e-5)
    # The log-log ends as R's survfit(conf.type = "log-log") gives them for these data.
    np.testing.assert_allclose([curve.lower[0], curve.upper[0]], [0.6197, 0.9516], atol=5e-4)
    np.testing.assert_allclose([curve.lower[-1], curve.upper[-1]], [0.1881, 0.6801], atol=5e-4)
    assert (curve.subjects, curve.events, curve.end) == (21, 9, 35)
    assert (curve.reached(0.5), curve.reached(0.25), curve.reached(0.9)) == (23, 13, None)


def plain(times: list[float], happened: list[bool]) -> list[tuple[float, float]]:
    """The product-limit estimate, subject by subject."""
    left, steps = 1.0, []
    for at in sorted({t for t, h in zip(times, happened, strict=True) if h}):
        at_risk = sum(t >= at for t in times)
        left *= 1 - sum(t == at and h for t, h in zip(times, happened, strict=True)) / at_risk
        steps.append((at, left))
    return steps


@pytest.mark.parametrize("seed", range(5))
def test_the_plain_twin_agrees(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times, happened = rng.integers(1, 9, 40) / 8, rng.random(40) < 0.4
    curve = kaplan_meier(times, happened)
    steps = plain(times.tolist(), happened.tolist())
    np.testing.assert_allclose(np.column_stack([curve.at, curve.surviving]), steps)
    assert ((curve.lower <= curve.surviving) & (curve.surviving <= curve.upper)).all()


def test_resampled_blocks_agree_with_greenwood_where_subjects_are_independent() -> None:
    rng = np.random.default_rng(6)
    times, happened = rng.integers(1, 9, 400) / 8, rng.random(400) < 0.6
    effect, quantile = design_effect(times, happened, np.arange(400), rng=rng)
    assert effect == pytest.approx(1.0, abs=0.2) and quantile == pytest.approx(1.966, abs=1e-3)


def test_bands_widen_by_as_much_as_patches_of_a_block_repeat_each_other() -> None:
    rng = np.random.default_rng(7)
    times, happened = rng.random(60), rng.random(60) < 0.7
    each = np.repeat(np.arange(60), 9)
    effect, _ = design_effect(times[each], happened[each], each, rng=rng)
    assert np.median(effect) == pytest.approx(9, rel=0.15)


def test_bands_over_blocks_cover_a_planted_curve_where_independent_ones_do_not() -> None:
    rng = np.random.default_rng(8)
    blocks = np.repeat(np.arange(20), 12)
    inside = np.zeros(2)
    for _ in range(60):
        times = np.clip(rng.normal(0.5, 0.2, 20)[blocks] + rng.normal(0, 0.05, 240), 0.01, None).round(2)
        happened = np.ones(240, dtype=bool)
        effect, quantile = design_effect(times, happened, blocks, rng=rng)
        bands = kaplan_meier(times, happened), kaplan_meier(times, happened, effect=effect, quantile=quantile)
        for kind, curve in enumerate(bands):
            at = np.searchsorted(curve.at, 0.5, side="right") - 1
            inside[kind] += curve.lower[at] <= 0.5 <= curve.upper[at]
    assert inside[0] / 60 < 0.7 and inside[1] / 60 >= 0.88


def test_one_block_alone_tells_nothing_of_a_curve() -> None:
    times, happened = np.array([0.2, 0.4, 0.6]), np.array([True, True, False])
    effect, quantile = design_effect(times, happened, np.zeros(3), rng=np.random.default_rng(1))
    curve = kaplan_meier(times, happened, effect=effect, quantile=quantile)
    assert curve.lower.tolist() == [0, 0] and curve.upper.tolist() == [1, 1]


PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
"""The other arm of `REMISSION`: every patient relapsed."""


def test_nobody_left_is_told_with_the_exact_binomial_end() -> None:
    weeks = np.array([float(time) for time in PLACEBO.split()])
    curve = kaplan_meier(weeks, np.ones(21, dtype=bool))
    np.testing.assert_allclose(curve.surviving[[0, 4, -2, -1]], [0.9048, 0.5714, 0.0476, 0.0], atol=5e-5)
    # None of 21, two-sided: the share p with (1 - p)^21 = 0.025. Greenwood's band would be [0, 0].
    assert (curve.lower[-1], curve.upper[-1]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 21)))
    assert curve.upper[-2] == pytest.approx(0.1970, abs=5e-4) and (np.diff(curve.upper) <= 0).all()


def test_none_of_ten_and_of_twenty_as_tabled() -> None:
    # Clopper and Pearson's two-sided 95 % limits for no success.
    assert none_left(10) == pytest.approx(0.3085, abs=5e-5) and none_left(20) == pytest.approx(0.1684, abs=5e-5)
    assert none_left(20, effect=2) == none_left(10) and none_left(40, quantile=2 * 1.959964) == pytest.approx(
        none_left(10)
    )
    assert none_left(3, effect=9) == pytest.approx(0.975) and none_left(3, effect=np.inf) == 1


def test_subjects_lost_before_the_last_event_widen_its_band_to_that_of_the_step_before() -> None:
    # Four of six are lost on the way: of the last two, one goes at 0.8 and one at 0.9; two are worth 2 / 1 = 2.
    at, happened = np.array([0.1, 0.2, 0.3, 0.4, 0.8, 0.9]), np.array([False] * 4 + [True] * 2)
    curve = kaplan_meier(at, happened)
    assert curve.surviving.tolist() == [0.5, 0] and curve.upper[-1] == min(curve.upper[0], none_left(2))
    # All six die at once: none of six.
    assert kaplan_meier(np.full(6, 0.5), np.ones(6, dtype=bool)).upper.tolist() == [none_left(6)]


def test_blocks_widen_the_end_of_a_curve_that_nobody_is_left_of() -> None:
    times, happened, blocks = np.repeat([0.2, 0.4, 0.6], 10), np.ones(30, dtype=bool), np.repeat(np.arange(6), 5)
    effect, quantile = design_effect(times, happened, blocks, rng=np.random.default_rng(3))
    assert effect[-1] == effect[-2] > 1
    curve = kaplan_meier(times, happened, effect=effect, quantile=quantile)
    assert kaplan_meier(times, happened).upper[-1] < curve.upper[-1] <= curve.upper[-2] < 1


def test_all_or_nothing() -> None:
    none = kaplan_meier(np.array([0.3, 1.0]), np.array([False, False]))
    assert (len(none.at), none.reached(0.05), none.end) == (0, None, 1.0)
    x, left, lower, upper = none.staircase()
    assert x.tolist() == [0, 1] and left.tolist() == lower.tolist() == upper.tolist() == [1, 1]
    every = kaplan_meier(np.array([0.2, 0.2, 0.4]), np.array([True] * 3))
    assert every.surviving.tolist() == pytest.approx([1 / 3, 0]) and every.reached(1.0) == 0.4
    assert np.isfinite(every.lower).all() and np.isfinite(every.upper).all()


def ray(float_at: float | None, other_at: float | None, *, tied: float = 0.0) -> dict:
    both = None not in (float_at, other_at)
    return {
        **{f"{what}_reference": float_at for what in ("dose", "severity")},
        **{f"{what}_quantised": other_at for what in ("dose", "severity")},
        "gap": float_at - other_at if both else None,
        "tied_reference": tied,
        "tied_quantised": tied,
        "severity_end": 1.0,
        "patch": 0,
    }


def test_what_becomes_of_a_ray() -> None:
    rows = [
        ray(0.5, 0.3),  # revealed at 0.3
        ray(None, 0.4),  # revealed at 0.4: float never leaves
        ray(0.2, 0.6),  # float first
        ray(0.5, None),  # float alone
        ray(None, None),  # nobody: to the end
        ray(0.5, 0.49, tied=0.1),  # too close to call, from where the tie begins
    ]
    found = rays(rows, "x", blocks=None, seed=1)
    assert found.severity.tolist() == [0.3, 0.4, 0.2, 0.5, 1.0, 0.49]
    assert found.happened.tolist() == [True, True, False, False, False, False]
    assert found.left.tolist() == [False, False, True, True, False, True]
    assert found.curve.surviving.tolist() == pytest.approx([4 / 5, 3 / 5])


def test_a_curve_is_worked_out_once() -> None:
    found = rays([ray(0.5, 0.3), ray(None, None)], "x", blocks=None, seed=1)
    assert found.curve is found.curve


def test_a_patch_counts_once_with_its_mildest() -> None:
    rows = [
        {"patch": patch, "severity": severity}
        for patch, severity in ((1, 0.4), (1, 0.2), (2, None), (2, None), (3, None), (3, 0.5))
    ]
    found = searched(rows, "x", blocks=None, seed=1)
    assert found.severity.tolist() == [0.2, MOST, 0.5] and found.happened.tolist() == [True, False, True]

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy.stats import chi2, t

from experiments.statistics import (
    EXACT_BLOCKS,
    Difference,
    block_bootstrap,
    mcnemar,
    mean_difference,
    paired_difference,
    sign_flip,
    tango,
    unbiased,
)
from experiments.statistics.comparison import clopper_pearson


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_blocks_of_one_agree_with_the_binomial_interval() -> None:
    hits = (np.arange(1000) < 300).astype(int)
    rate, lower, upper = block_bootstrap(hits, np.ones(1000, int), np.arange(1000), rng=rng())
    assert rate == 0.3
    spread = 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert lower == pytest.approx(0.3 - spread, abs=0.004)
    assert upper == pytest.approx(0.3 + spread, abs=0.004)


def test_patches_of_one_block_do_not_count_as_independent() -> None:
    hits = np.repeat((np.arange(10) < 3).astype(int), 100)
    _, lower, upper = block_bootstrap(hits, np.ones(1000, int), np.repeat(np.arange(10), 100), rng=rng())
    assert upper - lower > 0.4


def test_coverage_of_a_known_rate() -> None:
    draw = np.random.default_rng(2)
    blocks = np.repeat(np.arange(25), 8)
    inside = 0
    for _ in range(150):
        level = draw.beta(2, 8, size=25)
        hits = draw.binomial(1, level[blocks])
        _, lower, upper = block_bootstrap(hits, np.ones(200, int), blocks, rng=draw)
        inside += lower <= 0.2 <= upper
    assert 0.85 <= inside / 150 <= 1.0


def test_one_hit_more_never_lowers_an_end() -> None:
    blocks = np.repeat(np.arange(12), 50)
    ends = [block_bootstrap((np.arange(600) < k).astype(int), np.ones(600, int), blocks, rng=rng()) for k in range(8)]
    for before, after in itertools.pairwise(ends):
        assert before[1] <= after[1] and before[2] <= after[2]


def test_no_hit_is_not_no_risk_and_all_hits_are_not_certainty() -> None:
    blocks = np.repeat(np.arange(12), 10)
    rate, lower, upper = block_bootstrap(np.zeros(120), np.ones(120), blocks, rng=rng())
    assert (rate, lower) == (0, 0)
    assert 3 / 120 < upper < 3 / 12
    rate, lower, upper = block_bootstrap(np.ones(120), np.ones(120), blocks, rng=rng())
    assert (rate, upper) == (1, 1)
    assert 1 - 3 / 12 < lower < 1 - 3 / 120


def test_one_block_alone_tells_nothing() -> None:
    assert block_bootstrap(np.array([1, 0]), np.ones(2), np.zeros(2), rng=rng()) == (0.5, 0.0, 1.0)


def test_nothing_tried_gives_no_rate() -> None:
    assert np.isnan(block_bootstrap(np.zeros(3), np.zeros(3), np.arange(3), rng=rng())).all()


def test_mcnemar_on_published_examples() -> None:
    # 9 and 2 discordant pairs: p 0.06543. Fay, the vignette on the exact McNemar test of the R package exact2x2.
    assert mcnemar(9, 2) == mcnemar(2, 9) == pytest.approx(0.06543, abs=5e-6)
    # Approval ratings, 150 and 86 discordant: McNemar's chi-square is 17.36 on one degree of freedom. Agresti,
    # Categorical Data Analysis, 2nd edition, 2002, section 10.1.1.
    assert mcnemar(150, 86) == pytest.approx(float(chi2.sf(17.36, 1)), rel=0.25)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0


def test_mcnemar_is_the_binomial_tail_counted_by_hand() -> None:
    for b, c in ((0, 6), (1, 7), (3, 12)):
        tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
        assert mcnemar(b, c) == pytest.approx(2 * tail)


def test_tango_on_published_examples() -> None:
    # Airway hyper-responsiveness, 21 children, 1 and 7 discordant: -0.517 to -0.026. Fagerland, Lydersen and Laake,
    # Recommended tests and confidence intervals for paired binomial proportions, Statistics in Medicine 33(16), 2014.
    assert tango(7, 1, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    # Approval ratings, 1600 people: -0.06 to -0.02 (Agresti, as above).
    assert tango(150, 86, 1600) == pytest.approx((-0.06, -0.02), abs=2e-3)


def test_tango_has_a_width_without_a_difference_and_turns_with_the_sides() -> None:
    lower, upper = tango(0, 0, 100)
    assert upper == pytest.approx(1.96**2 / (100 + 1.96**2), abs=1e-3) and lower == pytest.approx(-upper)
    assert tango(3, 11, 80) == pytest.approx(tuple(-end for end in reversed(tango(11, 3, 80))))
    assert tango(0, 20, 20)[1] == pytest.approx(1)


def test_sign_flips_are_counted_by_hand() -> None:
    sums = np.array([3.0, -1.0, 2.0, 0.0, 5.0])
    flips = [
        abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in itertools.product((1, -1), repeat=5)
    ]
    assert sign_flip(sums, rng=rng()) == sum(flip >= 9 for flip in flips) / len(flips)
    assert sign_flip(np.zeros(4), rng=rng()) == 1.0
    assert sign_flip(np.ones(6), rng=rng()) == 2 / 2**6


def test_random_flips_come_near_to_all_of_them() -> None:
    sums = np.array([4, -2, 3, 1, 5, -1, 2, 6, -3, 2, 1, 4, -2, 3, 2, 1.0])
    every = np.abs(np.array(list(itertools.product((1, -1), repeat=16))) @ sums) >= sums.sum()
    assert len(sums) > EXACT_BLOCKS
    assert sign_flip(sums, rng=rng()) == pytest.approx(every.mean(), abs=0.01)


def planted(draw: np.random.Generator, *, spread: float, shift: float) -> Difference:
    """Two models on 24 blocks of 8 patches with 3 draws; blocks favour one or the other by `spread`, all by `shift`."""
    blocks = np.repeat(np.arange(24), 8)
    favour = draw.choice([-spread, spread], size=24)[blocks, None]
    first = draw.random((192, 3)) < 0.3
    second = draw.random((192, 3)) < 0.3 + favour + shift
    return paired_difference(first, second, np.ones((192, 3), dtype=bool), blocks, rng=draw)


def test_whole_blocks_keep_their_level_where_mcnemar_does_not() -> None:
    draw = np.random.default_rng(3)
    found = [planted(draw, spread=0.25, shift=0.0) for _ in range(150)]
    assert np.mean([d.mcnemar < 0.05 for d in found]) > 0.15
    assert np.mean([d.blockwise < 0.05 for d in found]) < 0.1
    assert np.mean([d.lower <= 0 <= d.upper for d in found]) >= 0.93


def test_a_planted_difference_is_covered_and_seen() -> None:
    draw = np.random.default_rng(4)
    found = [planted(draw, spread=0.05, shift=0.2) for _ in range(60)]
    assert np.mean([d.lower <= 0.2 <= d.upper for d in found]) >= 0.9
    assert np.mean([d.lower > 0 for d in found]) > 0.9
    assert np.mean([d.blockwise < 0.05 for d in found]) > 0.9


def test_only_trials_of_both_count_and_every_number_is_recounted() -> None:
    draw = np.random.default_rng(5)
    first, second, both = (draw.random((30, 4)) < share for share in (0.4, 0.5, 0.7))
    found = paired_difference(first, second, both, np.arange(30) // 3, rng=rng())
    lost = sum(bool(f and not s and e) for f, s, e in zip(first.flat, second.flat, both.flat, strict=True))
    gained = sum(bool(s and not f and e) for f, s, e in zip(first.flat, second.flat, both.flat, strict=True))
    assert (found.trials, found.first_only, found.second_only) == (both.sum(), lost, gained)
    assert found.value == pytest.approx((gained - lost) / both.sum())
    assert found.mcnemar == mcnemar(lost, gained)


def test_a_pair_that_never_differs_is_not_proved_equal() -> None:
    same = np.random.default_rng(6).random((100, 2)) < 0.2
    found = paired_difference(same, same, np.ones_like(same), np.arange(100) // 5, rng=rng())
    assert (found.value, found.mcnemar, found.blockwise) == (0, 1, 1)
    assert found.lower < -0.005 and found.upper > 0.005


def test_one_block_or_no_trial_says_nothing_of_a_difference() -> None:
    hits = np.array([[True], [False], [False]])
    one = paired_difference(hits, ~hits, np.ones_like(hits), np.zeros(3), rng=rng())
    assert (one.lower, one.upper) == (-1, 1)
    none = paired_difference(hits, ~hits, np.zeros_like(hits), np.arange(3), rng=rng())
    assert none.trials == 0 and math.isnan(none.value)
    assert mean_difference(np.array([0.2, 0.4]), np.zeros(2), rng=rng()).upper == 1
    assert math.isnan(mean_difference(np.array([]), np.array([]), rng=rng()).value)


def test_the_mean_change_is_covered_where_blocks_share_theirs() -> None:
    draw, blocks = np.random.default_rng(7), np.repeat(np.arange(20), 5)
    found = [
        mean_difference(0.1 + draw.normal(0, 0.1, 20)[blocks] + draw.normal(0, 0.05, 100), blocks, rng=draw)
        for _ in range(150)
    ]
    assert 0.9 <= np.mean([d.lower <= 0.1 <= d.upper for d in found]) <= 1
    naive = 1.96 * math.sqrt((0.1**2 + 0.05**2) / 100)
    assert np.mean([(d.upper - d.lower) / 2 for d in found]) > 1.5 * naive


def test_the_variance_of_few_blocks_is_the_textbook_one_for_rates_and_for_means() -> None:
    # Five blocks of equal size: the variance of their mean is that of the blocks, divided by k - 1, over k.
    means, blocks = np.array([0.1, 0.15, 0.2, 0.3, 0.5]), np.repeat(np.arange(5), 40)
    plain = statistics.variance(means.tolist()) / 5
    found = mean_difference(means[blocks], blocks, rng=rng())
    assert found.upper - found.value == pytest.approx(t.ppf(0.975, 4) * math.sqrt(plain), rel=0.04)

    rate, *ends = block_bootstrap(means * 40, np.full(5, 40.0), np.arange(5), rng=rng())
    worth = rate * (1 - rate) / plain * (t.ppf(0.975, 199) / t.ppf(0.975, 4)) ** 2
    assert ends == pytest.approx([float(end) for end in clopper_pearson(rate * worth, worth)], abs=0.012)
    narrow = [float(end) for end in clopper_pearson(rate * worth * 5 / 4, worth * 5 / 4)]
    assert ends[1] - ends[0] > narrow[1] - narrow[0] + 0.012

    means = means[:4]  # all resamples of four
    resampled = np.var([np.mean(drawn) for drawn in itertools.product(means, repeat=4)])
    assert unbiased(resampled, 4) == pytest.approx(statistics.variance(means.tolist()) / 4)


def test_mean_changes_of_nothing_have_no_width() -> None:
    found = mean_difference(np.zeros(40), np.arange(40) // 4, rng=rng())
    assert (found.value, found.lower, found.upper, found.blockwise) == (0, 0, 0, 1)

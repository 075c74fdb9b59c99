from __future__ import annotations

import itertools

import numpy as np
import pytest

from experiments.statistics import block_bootstrap


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

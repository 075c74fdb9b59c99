"""Sensor against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import numpy as np
import pytest

from relations import get
from tests.relations.conftest import HIGH, LOW, column, drawn, sensor_of


def test_noise_on_a_constant_scene_has_the_snr_asked_for() -> None:
    centres = np.array([400.0, 495.0, 1000.0, 2200.0, 2450.0])
    relation = get("gaussian_noise")
    field = drawn(relation, (200, 200, 5), seed=3)
    x = np.full((1, 200, 200, 5), 1000, np.float32)
    y = relation.apply(x, field, sensor_of(5, centres), level=column(1 / 500)).astype(np.float64)
    snr = y.mean(axis=(1, 2)) / y.std(axis=(1, 2))
    expected = [500, 500, 500 - 350 * (1000 - 495) / (2200 - 495), 150, 150]
    np.testing.assert_allclose(snr[0], expected, rtol=0.02)


def test_noise_without_wavelengths_is_as_strong_in_every_band() -> None:
    relation = get("gaussian_noise")
    field = drawn(relation, (200, 200, 3), seed=3)
    x = np.full((1, 200, 200, 3), 500, np.float32)
    y = relation.apply(x, field, sensor_of(3, signal=500.0), level=column(0.01)).astype(np.float64)
    np.testing.assert_allclose(y.std(axis=(1, 2))[0], 5, rtol=0.02)


def test_impulses_hit_the_share_asked_for_go_to_both_ends_and_nest() -> None:
    relation = get("impulse_noise")
    field = drawn(relation, (100, 100, 20), seed=5)
    x = np.full((1, 100, 100, 20), 700, np.float32)
    few, many = (relation.apply(x, field, sensor_of(20), rate=column(rate)) for rate in (0.01, 0.1))
    assert (few != x).mean() == pytest.approx(0.01, abs=1e-3)
    assert (many != x).mean() == pytest.approx(0.1, abs=3e-3)
    assert (many == HIGH).sum() == pytest.approx((many == LOW).sum(), rel=0.03)
    assert set(np.unique(many)) == {LOW, 700.0, HIGH}
    assert np.array_equal(few[few != x], many[few != x])


def test_no_value_is_hit_at_rate_zero_not_even_at_the_very_ends_of_the_field() -> None:
    field = np.array([-1, np.nextafter(np.float32(1), np.float32(0)), 0], np.float32).reshape(1, 1, 1, 3)
    x = np.full((1, 1, 1, 3), 700, np.float32)
    assert (get("impulse_noise").apply(x, field, sensor_of(3), rate=column(0.0)) == x).all()


def test_a_stripe_runs_down_its_column_with_the_amplitude_asked_for() -> None:
    relation = get("stripes")
    field = drawn(relation, (30, 400, 50), seed=6)
    x = np.full((1, 30, 400, 50), 1000, np.float32)
    y = relation.apply(x, field, sensor_of(50), share=column(0.15), depth=column(0.2), offset=column(0.05))
    assert (y == y[:, :1]).all()
    amplitude = 1000 * 0.2 + 0.05 * (HIGH - LOW)
    change = (y - x)[0, 0]
    np.testing.assert_allclose(np.unique(change), [-amplitude, 0, amplitude], rtol=1e-5)
    assert (change != 0).mean() == pytest.approx(0.15, abs=0.01)
    assert (change > 0).sum() == pytest.approx((change < 0).sum(), rel=0.1)
    assert (change != 0).any(axis=1).all(), "every column is hit in some band, since bands are hit independently"

"""Radiometry against what does not share its code: analytic curves, counts, other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.exposure import adjust_gamma

from relations import Sensor, get, spectral_angle
from relations.core import Drawn
from tests.relations.conftest import HIGH, LOW, column, cut, drawn, each, sensor_of


def test_brightness_scales_and_keeps_the_spectral_angle() -> None:
    patches = cut(None, rows=3, size=(9, 7, 31))
    y = get("brightness").apply(patches.x, None, patches.sensor, gain=column(-0.5, 0.05, 0.5))
    np.testing.assert_allclose(y.sum(axis=(1, 2, 3)) / patches.x.sum(axis=(1, 2, 3)), [0.5, 1.05, 1.5], rtol=1e-5)
    assert spectral_angle(patches.x, y).max() < 1e-3


def test_offset_adds_a_share_of_the_range_and_keeps_contrasts() -> None:
    patches = cut(None, rows=2, size=(9, 7, 31))
    y = get("offset").apply(patches.x, None, patches.sensor, level=column(-0.1, 0.02))
    np.testing.assert_allclose(
        (y - patches.x).mean(axis=(1, 2, 3)), [-0.1 * (HIGH - LOW), 0.02 * (HIGH - LOW)], rtol=1e-4
    )
    np.testing.assert_allclose(y.std(axis=(1, 2)), patches.x.std(axis=(1, 2)), rtol=1e-4)


def drift_of(seed: int, centres: np.ndarray | None, bands: int) -> np.ndarray:
    """The relative change of each band, (b,) float64, at depth 1."""
    relation = get("gain_drift")
    assert relation.draw is not None
    field: Drawn | None = each(relation.draw(np.random.default_rng(seed), (1, 1, bands)), lambda layer: layer[None])
    y = relation.apply(np.ones((1, 1, 1, bands), np.float32), field, sensor_of(bands, centres), depth=column(1))
    return y[0, 0, 0].astype(np.float64) - 1


def test_gain_drift_scales_each_band_by_one_factor_along_a_smooth_curve() -> None:
    patches = cut(get("gain_drift"), rows=3, size=(9, 7, 103))
    y = get("gain_drift").apply(patches.x, patches.field, patches.sensor, depth=column(0.07, 0.2, 0.5))
    ratio = y.astype(np.float64) / patches.x
    assert ratio.std(axis=(1, 2)).max() < 1e-6
    drift = ratio.mean(axis=(1, 2)) - 1
    np.testing.assert_allclose(np.abs(drift).max(axis=1), [0.07, 0.2, 0.5], rtol=1e-4)
    assert patches.sensor.wavelengths is not None
    span = np.ptp(patches.sensor.wavelengths)
    assert np.abs(np.diff(drift[2]) / np.diff(patches.sensor.wavelengths)).max() < 0.5 * 15 / span
    assert np.ptp(drift[2]) > 0.05


def test_the_drift_of_one_band_goes_up_or_down() -> None:
    drifts = [float(drift_of(seed, None, 1)[0]) for seed in range(100)]
    assert set(drifts) == {-1.0, 1.0}
    assert 25 < drifts.count(1.0) < 75


@pytest.mark.parametrize("seed", range(5))
def test_a_drift_is_a_curve_over_the_wavelengths_whichever_of_them_the_sensor_has(seed: int) -> None:
    dense = np.arange(430.0, 2430.0, 5.0)
    whole = drift_of(seed, dense, len(dense))
    kept = np.flatnonzero((dense < 900) | (dense > 1500))
    kept = np.union1d(kept[::3], [0, len(dense) - 1])
    part = drift_of(seed, dense[kept], len(kept))
    np.testing.assert_allclose(part * np.abs(whole[kept]).max(), whole[kept], atol=2e-6)
    np.testing.assert_allclose(drift_of(seed, dense, len(dense)), drift_of(seed, None, len(dense)), atol=2e-5)


def test_bands_on_both_sides_of_a_gap_do_not_drift_as_neighbours() -> None:
    centres = np.concatenate([np.arange(450.0, 750.0, 10.0), np.arange(900.0, 1200.0, 10.0)])
    steps = np.abs([np.diff(drift_of(seed, centres, 60)) for seed in range(200)])
    typical = np.median(np.delete(steps, 29, axis=1))
    assert np.median(steps[:, 29]) > 8 * typical
    assert steps.max() < np.pi * 16 * 160 / 750


def test_a_drift_holds_four_half_periods_and_no_more() -> None:
    turn = np.pi * np.linspace(0, 1, 200)
    waves = np.stack([np.ones(200)] + [wave(k * turn) for k in range(1, 5) for wave in (np.cos, np.sin)])
    curves = np.stack([drift_of(seed, None, 200) for seed in range(30)])
    _, residual, rank, _ = np.linalg.lstsq(waves.T, curves.T, rcond=None)
    assert rank == 9 and residual.max() < 1e-8
    assert np.linalg.matrix_rank(curves, tol=1e-4) == 9
    np.testing.assert_allclose(np.abs(curves).max(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("factor", [0.75, 0.5, 0.4, 0.3, 0.15, 0.05, 2.0])
def test_contrast_is_imagenet_cs_when_the_scene_is_the_picture(factor: float) -> None:
    x = np.random.default_rng(1).uniform(LOW, HIGH, (1, 12, 11, 3)).astype(np.float32)
    sensor = Sensor(LOW, HIGH, x.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32))
    bounds = get("contrast").bounds("stress")["change"]
    assert bounds[0] <= factor - 1 <= bounds[1]
    y = get("contrast").apply(x, None, sensor, change=column(factor - 1))
    means = x.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    np.testing.assert_allclose(y, (x - means) * factor + means, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(y.std(axis=(1, 2)), factor * x.std(axis=(1, 2)), rtol=1e-4)


def test_contrast_does_not_depend_on_the_window() -> None:
    x = cut(None, rows=1, size=(9, 7, 5)).x
    sensor = sensor_of(5)
    whole = get("contrast").apply(x, None, sensor, change=column(0.7))
    part = get("contrast").apply(x[:, 2:5, 3:4], None, sensor, change=column(0.7))
    assert np.array_equal(whole[:, 2:5, 3:4], part)


@pytest.mark.parametrize("exponent", [0.4, 0.98, 1.02, 2.5])
def test_gamma_is_skimages(exponent: float) -> None:
    x = cut(None, rows=1, size=(9, 7, 31)).x
    y = get("gamma").apply(x, None, sensor_of(31), exponent=column(exponent))
    share = (x.astype(np.float64) - LOW) / (HIGH - LOW)
    np.testing.assert_allclose((y - LOW) / (HIGH - LOW), adjust_gamma(share, exponent), atol=2e-6)


@pytest.mark.parametrize("exponent", [0.4, 2.5])
def test_gamma_keeps_the_ends_the_order_and_what_lies_below(exponent: float) -> None:
    ramp = np.linspace(LOW, HIGH, 5001, dtype=np.float32)[None, None, :, None]
    y = get("gamma").apply(ramp, None, sensor_of(1), exponent=column(exponent))[0, 0, :, 0]
    assert y[0] == LOW
    assert y[-1] == pytest.approx(HIGH, rel=1e-6)
    assert (np.diff(y) >= 0).all()
    assert ((y < ramp[0, 0, :, 0]) == (exponent > 1))[1:-1].all()
    below = np.array([-1e6, 0, LOW - 1], np.float32)[None, None, :, None]
    assert np.array_equal(get("gamma").apply(below, None, sensor_of(1), exponent=column(exponent)), below)


@pytest.mark.parametrize("exponent", [0.4, 2.5])
def test_gamma_is_a_power_down_to_a_hundred_thousandth_of_the_range(exponent: float) -> None:
    share = np.array([1e-5, 1e-4, 1e-3, 1e-2], np.float32)[None, None, :, None]
    y = get("gamma").apply(share, None, Sensor(0.0, 1.0, np.ones(1, np.float32)), exponent=column(exponent))
    expected = [1e-5**exponent, 1e-4**exponent, 1e-3**exponent, 1e-2**exponent]
    np.testing.assert_allclose(y.ravel(), expected, rtol=2e-6, atol=2e-9)
    dark = np.array([0, 1e-30, 1e-12], np.float32)[None, None, :, None]
    lifted = get("gamma").apply(dark, None, Sensor(0.0, 1.0, np.ones(1, np.float32)), exponent=column(exponent))
    assert lifted.ravel()[0] == 0
    assert np.isfinite(lifted).all()


def test_saturation_cuts_what_an_overlong_exposure_cannot_hold() -> None:
    x = np.random.default_rng(2).uniform(LOW, HIGH, (3, 40, 40, 9)).astype(np.float32)
    y = get("saturation").apply(x, None, sensor_of(9), level=column(0.1, 1.0, 9.0))
    for row, level in enumerate((0.1, 1.0, 9.0)):
        full = (x[row] - LOW) * (1 + level) > HIGH - LOW
        assert full.mean() == pytest.approx(level / (1 + level), abs=0.02)
        assert np.array_equal(y[row] != x[row], full)
        np.testing.assert_allclose((y[row][full] - LOW) * (1 + level), HIGH - LOW, rtol=1e-5)


def test_saturation_at_neutral_spares_what_lies_above_the_range() -> None:
    x = np.array([HIGH + 1, HIGH, 3 * HIGH, LOW - 9], np.float32)[None, None, :, None]
    assert np.array_equal(get("saturation").apply(x, None, sensor_of(1), level=column(0.0)), x)
    assert get("saturation").apply(x, None, sensor_of(1), level=column(1e-3)).max() < HIGH


@pytest.mark.parametrize("cover", [0.05, 0.1, 0.5, 0.95])
def test_a_shadow_covers_its_share_of_the_scene(cover: float) -> None:
    x = np.full((1, 80, 90, 1), 1000, np.float32)
    field = drawn(get("shadow"), (80, 90, 1), seed=4)
    y = get("shadow").apply(x, field, sensor_of(1), depth=column(1.0), cover=column(cover))
    taken = (1 - y.astype(np.float64) / 1000) / (1 - 0.15)
    assert taken.mean() == pytest.approx(cover, abs=1e-3)
    assert taken.min() == pytest.approx(0, abs=2e-3)
    assert taken.max() == pytest.approx(1, abs=2e-3)
    assert (taken > 0.5).mean() == pytest.approx(cover, abs=1e-3)


def test_a_shadows_edge_is_a_few_pixels_wide() -> None:
    x = np.full((1, 200, 200, 1), 1000, np.float32)
    y = get("shadow").apply(
        x, drawn(get("shadow"), (200, 200, 1), seed=5), sensor_of(1), depth=column(1.0), cover=column(0.5)
    )
    taken = (1 - y[0, :, :, 0].astype(np.float64) / 1000) / 0.85
    steepness = np.hypot(*np.gradient(taken))[np.abs(taken - 0.5) < 0.1]
    assert 3 < np.median(1 / steepness) < 5
    assert np.quantile(steepness, 0.99) < 0.75


def test_a_shadow_is_lit_by_the_blue_sky() -> None:
    centres = np.array([400.0, 550.0, 860.0, 1650.0, 2200.0])
    x = np.full((1, 60, 60, 5), 1000, np.float32)
    field = drawn(get("shadow"), (60, 60, 5), seed=6)
    apply = get("shadow").apply
    y = apply(x, field, sensor_of(5, centres), depth=column(1.0), cover=column(0.5))
    inside = y[0].reshape(-1, 5)[field[0].argmin()].astype(np.float64) / 1000
    np.testing.assert_allclose(inside, [0.15 * (550 / centre) ** 2 for centre in centres], rtol=1e-4)
    assert np.array_equal(y[0].reshape(-1, 5)[field[0].argmax()], x[0, 0, 0])
    half = apply(x, field, sensor_of(5, centres), depth=column(0.5), cover=column(0.5))
    np.testing.assert_allclose(x - half, 0.5 * (x - y), atol=1e-3)


def test_a_slope_of_light_is_the_same_in_all_bands_and_seen_inside_a_patch() -> None:
    field = drawn(get("illumination_gradient"), (200, 180, 4), seed=7)
    x = np.full((1, 200, 180, 4), 1000, np.float32)
    y = get("illumination_gradient").apply(x, field, sensor_of(4), depth=column(0.3))
    change = y[0].astype(np.float64) / 1000 - 1
    assert np.ptp(change, axis=2).max() == 0
    assert 0.2 < np.abs(change).max() <= 0.3 + 1e-6
    assert abs(change.mean()) < 0.03
    inside = np.ptp(change[:198, :, 0].reshape(22, 9, 20, 9).transpose(0, 2, 1, 3).reshape(-1, 81), axis=1)
    assert np.median(inside) > 0.3 * 0.2
    # Along any line the slope is at most that of the shortest wave, 2π / 30 of the depth a pixel.
    assert np.abs(np.diff(change[:, :, 0], axis=1)).max() <= 0.3 * 2 * np.pi / 30


def test_the_light_over_a_scene_holds_waves_of_thirty_to_ninety_pixels() -> None:
    powers = []
    for seed in range(20):
        line = drawn(get("illumination_gradient"), (360, 360, 1), seed=seed)[0, :, :, 0].astype(np.float64)
        window = np.hanning(360)
        powers.append(np.abs(np.fft.fft2(line * window * window[:, None])) ** 2)
    cycles = np.fft.fftfreq(360)
    pace = np.hypot(cycles[:, None], cycles)
    power = np.mean(powers, axis=0)
    within = (pace > 1 / 90 - 2 / 360) & (pace < 1 / 30 + 2 / 360)
    assert power[within].sum() > 0.99 * power.sum()

"""Each relation against something that does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from relations import Relation, Sensor, get, spectral_angle
from tests.relations.conftest import HIGH, LOW, cut


def column(*values: float) -> np.ndarray:
    """Values of one param, one a row, (n, 1, 1, 1) float32."""
    return np.asarray(values, dtype=np.float32)[:, None, None, None]


def drawn(relation: Relation, shape: tuple[int, int, int], *, seed: int) -> np.ndarray:
    """The field of a random relation under one patch of `shape`."""
    assert relation.draw is not None
    return relation.draw(np.random.default_rng(seed), shape)[None]


def sensor_of(bands: int, centres: np.ndarray | None = None, *, signal: float = 1000.0) -> Sensor:
    return Sensor(LOW, HIGH, np.full(bands, signal, np.float32), centres)


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


@pytest.mark.parametrize("sigma", [0.2, 0.5, 0.69, 1.3, 1.7])
def test_a_blurred_edge_is_an_error_function(sigma: float) -> None:
    edge = np.zeros((1, 41, 41, 2), np.float32)
    edge[:, :, 21:, 0] = 1
    edge[:, 21:, :, 1] = 1
    y = get("gaussian_blur").apply(edge, None, sensor_of(2), sigma=column(sigma))
    place = np.arange(-8, 10)
    expected = 0.5 * (1 + erf((place - 0.5) / (sigma * np.sqrt(2))))
    np.testing.assert_allclose(y[0, 20, place + 20, 0], expected, atol=1e-4)
    np.testing.assert_allclose(y[0, :, 20, 1], y[0, 20, :, 0], atol=1e-6)


@pytest.mark.parametrize("sigma", [0.69, 1.0, 1.7])
def test_a_blurred_point_keeps_its_light_and_has_the_variance_of_spread_and_pixel(sigma: float) -> None:
    point = np.zeros((1, 31, 25, 3), np.float32)
    point[0, 15, 12] = 100
    y = get("gaussian_blur").apply(point, None, sensor_of(3), sigma=column(sigma)).astype(np.float64)[0, :, :, 1]
    assert y.sum() == pytest.approx(100, rel=1e-5)
    down, across = np.arange(31) - 15, np.arange(25) - 12
    assert (y.sum(axis=1) * down**2).sum() / 100 == pytest.approx(sigma**2 + 1 / 12, rel=0.01)
    assert (y.sum(axis=0) * across**2).sum() / 100 == pytest.approx(sigma**2 + 1 / 12, rel=0.01)


def test_a_wide_blur_is_scipys_with_the_pixel_added() -> None:
    x = cut(None, rows=2, size=(31, 27, 3)).x
    y = get("gaussian_blur").apply(x, None, sensor_of(3), sigma=column(1.2, 1.7))
    for row, sigma in enumerate((1.2, 1.7)):
        expected = gaussian_filter(x[row].astype(np.float64), np.sqrt(sigma**2 + 1 / 12), axes=(0, 1))
        np.testing.assert_allclose(y[row, 8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-3 * HIGH, rtol=0)


def test_blur_has_no_steps_over_its_dose() -> None:
    """The kernel's end moves by whole pixels; that must not show."""
    x = cut(None, rows=1, size=(25, 25, 3)).x
    sigma = np.linspace(0.01, 1.7, 400)
    y = get("gaussian_blur").apply(np.repeat(x, 400, axis=0), None, sensor_of(3), sigma=column(*sigma))
    steps = np.abs(np.diff(y[:, 12, 12].astype(np.float64), axis=0)).max(axis=1)
    roughness = np.abs(np.diff(steps))
    assert roughness.max() < 1e-3 * HIGH


@pytest.mark.parametrize("shift", [-10.0, -2.2, 0.7, 2.0, 5.0, 10.0])
def test_a_shift_moves_an_absorption_line_by_so_many_nm(shift: float) -> None:
    centres = np.arange(600.0, 900.0, 5.0)
    line = 760.0
    spectrum = 3000 - 1500 * np.exp(-0.5 * ((centres - line) / 15) ** 2)
    x = np.broadcast_to(spectrum.astype(np.float32), (1, 4, 5, len(centres)))
    y = get("band_shift").apply(x, None, sensor_of(len(centres), centres), shift=column(shift))[0, 2, 3]
    lowest = int(y.argmin())
    near = slice(lowest - 1, lowest + 2)
    a, b, _ = np.polyfit(centres[near] - centres[lowest], np.log(3000 - y[near].astype(np.float64)), 2)
    assert centres[lowest] - b / (2 * a) == pytest.approx(line - shift, abs=0.25)
    expected = 3000 - 1500 * np.exp(-0.5 * ((centres + shift - line) / 15) ** 2)
    np.testing.assert_allclose(y[3:-3], expected[3:-3], atol=0.004 * 1500)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), shift=st.floats(-10, 10))
def test_a_parabola_is_shifted_exactly_on_any_grid(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    centres = 500 + np.cumsum(rng.uniform(3, 8, 40))
    curve = lambda wave: 900 + 0.5 * (wave - 500) + 0.02 * (wave - 600) ** 2  # noqa: E731
    x = np.broadcast_to(curve(centres).astype(np.float32), (1, 1, 1, 40))
    y = get("band_shift").apply(x, None, sensor_of(40, centres), shift=column(shift))[0, 0, 0]
    inside = (centres + shift > centres[1]) & (centres + shift < centres[-2])
    np.testing.assert_allclose(y[inside], curve(centres + np.float32(shift))[inside], rtol=3e-6)


@pytest.mark.parametrize("pixels", [(1, 1), (5, 5)])
def test_a_shift_does_not_reach_across_a_gap(pixels: tuple[int, int]) -> None:
    centres = np.concatenate([np.arange(1200, 1340, 10.0), np.arange(1450, 1600, 10.0)])
    x = np.broadcast_to(np.where(centres < 1400, 100.0, 900.0).astype(np.float32), (2, *pixels, len(centres)))
    y = get("band_shift").apply(x, None, sensor_of(len(centres), centres), shift=column(10, -10))
    np.testing.assert_allclose(y, x, rtol=1e-6)


def test_few_and_many_pixels_are_shifted_alike() -> None:
    """Small patches take another way through the code."""
    patches = cut(None, rows=3, size=(6, 6, 31))
    for name, values in (
        ("band_shift", {"shift": column(-9, 3, 7)}),
        ("band_loss", {"share": column(0.2, 0.5, 0.4)}),
    ):
        field = np.random.default_rng(4).random((3, 1, 1, 31), dtype=np.float32)
        whole = get(name).apply(patches.x, field, patches.sensor, **values)
        corner = get(name).apply(patches.x[:, :2, :3], field, patches.sensor, **values)
        np.testing.assert_allclose(corner, whole[:, :2, :3], rtol=1e-5)


@pytest.mark.parametrize("with_wavelengths", [True, False])
def test_lost_bands_are_interpolated_between_survivors(with_wavelengths: bool) -> None:
    patches = cut(get("band_loss"), rows=5, size=(6, 5, 31))
    share = np.linspace(0.1, 0.6, 5)
    centres = patches.sensor.wavelengths if with_wavelengths else None
    y = get("band_loss").apply(patches.x, patches.field, sensor_of(31, centres), share=column(*share))
    place = np.arange(31.0) if centres is None else centres
    assert patches.field is not None
    for row in range(5):
        alive = patches.field[row, 0, 0] >= np.float32(share[row])
        assert not alive.all()
        for i, j in np.ndindex(6, 5):
            expected = np.interp(place, place[alive], patches.x[row, i, j, alive])
            np.testing.assert_allclose(y[row, i, j], expected, rtol=1e-5)


def test_the_share_of_lost_bands_is_the_one_asked_for_and_doses_nest() -> None:
    relation = get("band_loss")
    field = drawn(relation, (4, 4, 4000), seed=1)
    x = np.random.default_rng(2).random((1, 1, 1, 4000), dtype=np.float32)
    lost = [relation.apply(x, field, sensor_of(4000), share=column(share)) != x for share in (0.05, 0.2, 0.5)]
    assert [float(hit.mean()) for hit in lost] == pytest.approx([0.05, 0.2, 0.5], abs=0.03)
    assert not (lost[0] & ~lost[1]).any() and not (lost[1] & ~lost[2]).any()


def test_one_band_always_survives() -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
    field = np.array([0.1, 0.2, 0.9, 0.3, 0.4, 0.5], np.float32).reshape(1, 1, 1, 6)
    y = get("band_loss").apply(x, field, sensor_of(6), share=column(1.0))
    assert (y == 2).all()


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

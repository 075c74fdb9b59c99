"""Sensor against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from relations import get
from relations.core import Drawn, Relation, layers_of
from tests.relations.conftest import HIGH, LOW, column, drawn, each, sensor_of

RANGE = HIGH - LOW


def flat(level: float, shape: tuple[int, int, int]) -> np.ndarray:
    """One patch of `shape` with the same value everywhere."""
    return np.full((1, *shape), level, np.float32)


def several(relation: Relation, shape: tuple[int, int, int], *, seed: int) -> Drawn:
    """The layers of a random relation under one patch of `shape`."""
    assert relation.draw is not None
    field = each(relation.draw(np.random.default_rng(seed), shape), lambda layer: layer[None])
    assert field is not None
    return field


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


@pytest.mark.parametrize("level", [100.0, 3000.0])
def test_white_noise_is_as_strong_at_any_signal_and_has_the_sigma_asked_for(level: float) -> None:
    relation = get("white_noise")
    x = flat(level, (200, 200, 3))
    y = relation.apply(x, drawn(relation, (200, 200, 3), seed=3), sensor_of(3), sigma=column(0.02)).astype(np.float64)
    np.testing.assert_allclose(y.std(axis=(1, 2))[0], 0.02 * RANGE, rtol=0.02)
    np.testing.assert_allclose(y.mean(axis=(1, 2))[0], level, atol=5 * 0.02 * RANGE / 200)


def test_the_variance_of_shot_noise_grows_in_proportion_to_the_signal() -> None:
    relation = get("shot_noise")
    signal = np.linspace(LOW, HIGH, 20, dtype=np.float32)
    x = np.broadcast_to(signal, (1, 150, 150, 20))
    y = relation.apply(x, drawn(relation, (150, 150, 20), seed=2), sensor_of(20), level=column(0.1))
    variance = (y.astype(np.float64) - x).var(axis=(1, 2))[0]
    slope, constant = np.polyfit(signal.astype(np.float64) - LOW, variance, 1)
    assert slope == pytest.approx(0.1**2 * RANGE, rel=0.03)
    assert constant == pytest.approx(0, abs=0.01 * variance.max())
    assert RANGE / np.sqrt(variance[-1]) == pytest.approx(10, rel=0.03), "SNR at full scale"


def test_shot_noise_is_that_of_so_many_photons() -> None:
    photons, share = 100, 0.4
    relation = get("shot_noise")
    x = flat(LOW + share * RANGE, (200, 200, 1))
    y = relation.apply(x, drawn(relation, (200, 200, 1), seed=4), sensor_of(1), level=column(photons**-0.5))
    counts = np.random.default_rng(5).poisson(share * photons, 40_000) / photons
    assert ((y - LOW) / RANGE).std() == pytest.approx(counts.std(), rel=0.03)
    assert ((y - LOW) / RANGE).mean() == pytest.approx(counts.mean(), rel=0.01)


def test_there_is_no_shot_noise_in_the_dark_or_below_it() -> None:
    x = np.array([LOW, LOW - 30, -500], np.float32).reshape(1, 1, 1, 3)
    assert np.array_equal(get("shot_noise").apply(x, np.ones_like(x), sensor_of(3), level=column(0.5)), x)


@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.95])
def test_noise_of_bands_apart_correlates_by_a_power_and_is_as_strong_in_every_band(correlation: float) -> None:
    relation = get("correlated_noise")
    shape = (150, 150, 21)
    x = flat(1000, shape)
    y = relation.apply(
        x, drawn(relation, shape, seed=9), sensor_of(21), level=column(0.05), correlation=column(correlation)
    )
    noise = (y.astype(np.float64) - 1000).reshape(-1, 21)
    np.testing.assert_allclose(noise.std(axis=0), 50, rtol=0.03)
    number = np.arange(21)
    expected = correlation ** np.abs(number[:, None] - number)
    np.testing.assert_allclose(np.corrcoef(noise.T), expected, atol=0.04)


@pytest.mark.parametrize("bands", [1, 2, 3, 31, 64, 65])
def test_correlated_noise_is_the_recursion_band_by_band(bands: int) -> None:
    relation = get("correlated_noise")
    field = drawn(relation, (2, 2, bands), seed=9)
    signal = np.linspace(500, 1500, bands)
    sensor = replace(sensor_of(bands), signal=signal.astype(np.float32))
    x = flat(0, (2, 2, bands))
    y = relation.apply(x, field, sensor, level=column(0.1), correlation=column(0.8))
    error = field[..., 0].astype(np.float64)
    for band in range(bands):
        if band:
            error = 0.8 * error + 0.6 * field[..., band]
        np.testing.assert_allclose(y[..., band], 0.1 * signal[band] * error, rtol=1e-4, atol=1e-3)


def test_multiplicative_noise_has_the_mean_and_the_deviation_asked_for_at_any_signal() -> None:
    relation = get("multiplicative_noise")
    signal = np.array([100, 1000, 3000], np.float32)
    x = np.broadcast_to(signal, (1, 200, 200, 3))
    field = drawn(relation, (200, 200, 3), seed=1)
    y = relation.apply(x, field, sensor_of(3), sigma=column(0.2), mean=column(-0.3)).astype(np.float64)
    np.testing.assert_allclose(y.mean(axis=(1, 2))[0], 0.7 * signal, rtol=0.01)
    np.testing.assert_allclose(y.std(axis=(1, 2))[0], 0.2 * signal, rtol=0.02)


def test_random_impulses_hit_the_share_asked_for_with_anything_in_the_range_and_nest() -> None:
    relation = get("random_impulse_noise")
    field = several(relation, (100, 100, 20), seed=5)
    x = flat(-1, (100, 100, 20))
    few, many = (relation.apply(x, field, sensor_of(20), rate=column(rate)) for rate in (0.01, 0.1))
    assert (few != x).mean() == pytest.approx(0.01, abs=1e-3)
    assert (many != x).mean() == pytest.approx(0.1, abs=3e-3)
    assert np.array_equal(few[few != x], many[few != x])
    counts, _ = np.histogram(many[many != x], bins=10, range=(LOW, HIGH))
    assert counts.sum() == (many != x).sum()
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.012)


@pytest.mark.parametrize(("name", "axes"), [("pixel_noise", (1, 2)), ("band_noise", (3,))])
def test_a_share_of_the_pixels_or_bands_is_lifted_as_a_whole(name: str, axes: tuple[int, ...]) -> None:
    relation = get(name)
    shape = (200, 200, 3) if name == "pixel_noise" else (3, 3, 40_000)
    x = flat(1000, shape)
    values = {"share": column(0.07), "mean": column(0.03), "sigma": column(0.01)}
    field = several(relation, shape, seed=3)
    y = relation.apply(x, field, sensor_of(shape[2]), **values).astype(np.float64)
    across = tuple(axis for axis in (1, 2, 3) if axis not in axes)
    assert (np.ptp(y, axis=across) == 0).all()
    lift = ((y - 1000) / RANGE).max(axis=across).ravel()
    assert (lift != 0).mean() == pytest.approx(0.07, abs=0.004)
    assert lift[lift != 0].mean() == pytest.approx(0.03, abs=0.001)
    assert lift[lift != 0].std() == pytest.approx(0.01, rel=0.05)
    fewer = relation.apply(x, field, sensor_of(shape[2]), **{**values, "share": column(0.02)})
    assert np.array_equal(fewer[fewer != x], y[fewer != x])


@pytest.mark.parametrize("bright", [0, 1])
def test_a_dead_row_is_lost_in_all_bands_and_a_dead_column_in_one(bright: int) -> None:
    relation = get("dead_lines")
    shape = (600, 60, 20)
    x = flat(700, shape)
    field = several(relation, shape, seed=8)
    values = {"share": column(0.2), "bands": column(1), "filled": column(1), "bright": column(bright)}
    rows, columns = (relation.apply(x, field, sensor_of(20), **values, columns=column(along))[0] for along in (0, 1))
    for y in (rows, columns):
        assert set(np.unique(y)) == {700.0, HIGH if bright else LOW}
    lost = (rows != 700).all(axis=(1, 2))
    assert np.array_equal(lost, (rows != 700).any(axis=(1, 2)))
    assert lost.mean() == pytest.approx(0.2, abs=0.05)
    lost = (columns != 700).all(axis=0)
    assert np.array_equal(lost, (columns != 700).any(axis=0))
    assert lost.mean() == pytest.approx(0.2, abs=0.04)
    assert lost.any(axis=1).mean() == pytest.approx(1 - 0.8**20, abs=0.03), "bands are hit independently"


@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("filled", [0.5, 0.8])
def test_a_broken_line_loses_the_share_asked_for_of_the_pixels_that_a_whole_one_loses(
    along: int, filled: float
) -> None:
    relation = get("dead_lines")
    shape = (80, 80, 20)
    x = flat(700, shape)
    field = several(relation, shape, seed=8)
    whole, broken, fewer = (
        relation.apply(
            x,
            field,
            sensor_of(20),
            share=column(share),
            columns=column(along),
            bright=column(0),
            bands=column(1),
            filled=column(share_of_line),
        )
        != x
        for share, share_of_line in ((0.2, 1), (0.2, filled), (0.05, 1))
    )
    assert not (broken & ~whole).any() and not (fewer & ~whole).any()
    assert broken.sum() == pytest.approx(filled * whole.sum(), rel=0.1)
    hit = broken[0].any(axis=1 - along)
    assert np.array_equal(hit, whole[0].any(axis=1 - along)), "each line is hit somewhere"
    assert fewer.sum() < 0.5 * whole.sum()


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("dead_lines", {"share": 0.2, "filled": 1, "columns": 0, "bright": 1}),
        ("dead_lines", {"share": 0.2, "filled": 0.7, "columns": 1, "bright": 0}),
        ("region_loss", {"size": 4, "bright": 1}),
    ],
)
def test_lines_and_regions_are_lost_in_the_share_of_the_bands_asked_for_and_nest(
    name: str, others: dict[str, float]
) -> None:
    relation = get(name)
    shape = (40, 40, 1000)
    x = flat(700, shape)
    field = several(relation, shape, seed=8)
    values = {param: column(value) for param, value in others.items()}
    none, few, some, whole = (
        relation.apply(x, field, sensor_of(1000), **values, bands=column(bands)) != x for bands in (0, 0.05, 0.2, 1)
    )
    assert not none.any()
    assert whole.any(axis=(1, 2)).all()
    for lost, share in ((few, 0.05), (some, 0.2)):
        bands = lost.any(axis=(0, 1, 2))
        assert bands.mean() == pytest.approx(share, abs=0.04)
        assert np.array_equal(lost, whole & bands), "the same pixels as in all bands"
    assert not (few & ~some).any()


def test_salt_and_pepper_hit_whole_pixels_at_both_ends_and_nest() -> None:
    relation = get("salt_and_pepper")
    field = drawn(relation, (300, 300, 5), seed=5)
    x = flat(700, (300, 300, 5))
    few, many = (relation.apply(x, field, sensor_of(5), share=column(share)) for share in (0.01, 0.07))
    assert (np.ptp(many, axis=3) == 0).all()
    assert (few != x).mean() == pytest.approx(0.01, abs=2e-3)
    assert (many != x).mean() == pytest.approx(0.07, abs=4e-3)
    assert (many == HIGH).sum() == pytest.approx((many == LOW).sum(), rel=0.1)
    assert np.array_equal(few[few != x], many[few != x])


@pytest.mark.parametrize("name", ["impulse_noise", "salt_and_pepper"])
def test_nothing_is_hit_at_dose_zero_not_even_at_the_very_ends_of_the_field(name: str) -> None:
    field = np.array([-1, np.nextafter(np.float32(1), np.float32(0)), 0], np.float32).reshape(1, 1, 3, 1)
    relation = get(name)
    x = flat(700, (1, 3, 1))
    assert np.array_equal(relation.apply(x, field, sensor_of(1), **{relation.params[0].name: column(0)}), x)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_lost_regions_are_squares_of_so_many_pixels_about_one_in_each_sixteen_by_sixteen(size: int) -> None:
    relation = get("region_loss")
    shape = (320, 160, 2)
    field = several(relation, shape, seed=size)
    x = flat(700, shape)
    y = relation.apply(x, field, sensor_of(2), size=column(size), bands=column(1), bright=column(1))
    assert set(np.unique(y)) == {700.0, HIGH}
    assert np.array_equal(y[..., 0], y[..., 1])
    regions, count = label(y[0, :, :, 0] == HIGH, structure=np.ones((3, 3)))
    assert count == pytest.approx(200, abs=25), "a few touch or overlap"
    inside = [
        (region.stop - region.start, part.stop - part.start)
        for region, part in find_objects(regions)
        if region.start > 0 and part.start > 0 and region.stop < 320 and part.stop < 160
    ]
    assert np.mean([sides == (size, size) for sides in inside]) > 0.8
    assert y[y == HIGH].size == pytest.approx(2 * 200 * size**2, rel=0.08)


def test_lost_regions_grow_with_the_dose_and_may_be_dark() -> None:
    relation = get("region_loss")
    field = several(relation, (64, 64, 1), seed=3)
    x = flat(700, (64, 64, 1))
    sizes = (0.0, 0.2, 1.0, 2.3, 5.0)
    values = {"bands": column(1), "bright": column(0)}
    lost = [relation.apply(x, field, sensor_of(1), size=column(size), **values) == LOW for size in sizes]
    assert not any((small & ~large).any() for small, large in pairwise(lost))
    assert [int(hit.sum()) for hit in lost[:3:2]] == [0, 16]


def test_the_field_of_lost_regions_is_the_distance_to_the_nearest_centre() -> None:
    field = layers_of(several(get("region_loss"), (50, 37, 3), seed=6))[0][0, :, :, 0]
    centres = np.argwhere(field < 0.5)
    assert len(centres) == 3 * 2
    for i, j in np.ndindex(50, 37):
        nearest = np.abs(centres - (i, j)).max(axis=1).min()
        if nearest <= 6:
            assert field[i, j] == pytest.approx(nearest, abs=0.26)
        else:
            assert field[i, j] > 5


@pytest.mark.parametrize("bits", [4, 6, 8, 12, 14, 15])
def test_values_are_rounded_to_the_nearest_of_two_to_the_bits_levels(bits: int) -> None:
    x = np.random.default_rng(1).uniform(LOW, HIGH, (1, 50, 50, 40)).astype(np.float32)
    x[0, 0, 0, :2] = LOW, HIGH
    y = get("radiometric_quantisation").apply(x, None, sensor_of(40), bits=column(bits))
    levels = np.linspace(LOW, HIGH, 2**bits)
    between = levels[:-1] + np.diff(levels) / 2
    nearest = levels[np.searchsorted(between, y.astype(np.float64))]
    np.testing.assert_allclose(y, nearest, rtol=0, atol=5e-4)
    assert np.abs(y.astype(np.float64) - x).max() <= 0.5 * RANGE / (2**bits - 1) + 5e-4
    np.testing.assert_allclose(y[0, 0, 0, :2], [LOW, HIGH], rtol=1e-6)
    if bits <= 8:
        assert len(np.unique(y)) == 2**bits
    error = (y.astype(np.float64) - x).std()
    assert error == pytest.approx(RANGE / (2**bits - 1) / np.sqrt(12), rel=0.02)


def test_sixteen_bits_leave_a_patch_as_it_is_among_rows_that_are_rounded() -> None:
    x = np.random.default_rng(1).uniform(-LOW, 2 * HIGH, (3, 4, 4, 5)).astype(np.float32)
    y = get("radiometric_quantisation").apply(x, None, sensor_of(5), bits=column(16, 8, 15.6))
    assert y[::2].tobytes() == x[::2].tobytes()
    assert not np.array_equal(y[1], x[1])


@pytest.mark.parametrize("error", [0.0005, 0.01, 0.05])
def test_no_value_is_moved_farther_than_the_coder_was_allowed_and_all_errors_are_as_likely(error: float) -> None:
    relation = get("lossy_compression")
    x = np.random.default_rng(1).uniform(LOW, HIGH, (1, 100, 100, 20)).astype(np.float32)
    y = relation.apply(x, drawn(relation, (100, 100, 20), seed=7), sensor_of(20), error=column(error))
    moved = y.astype(np.float64) - x
    assert (np.abs(moved) <= error * RANGE * (1 + 1e-6) + np.spacing(np.maximum(np.abs(x), np.abs(y)))).all()
    assert np.abs(moved).max() > 0.99 * error * RANGE
    counts, _ = np.histogram(moved / (error * RANGE), bins=10, range=(-1, 1))
    np.testing.assert_allclose(counts / counts.sum(), 0.1, atol=0.003)


@pytest.mark.parametrize("shape", [(1, 1, 1), (28, 28, 1), (1, 40, 3), (17, 1, 2)])
@pytest.mark.parametrize("name", ["dead_lines", "region_loss", "pixel_noise", "band_noise", "random_impulse_noise"])
def test_fields_are_drawn_for_any_shape(name: str, shape: tuple[int, int, int]) -> None:
    for layer in layers_of(several(get(name), shape, seed=1)):
        assert np.isfinite(layer).all()
        assert np.broadcast_shapes(layer.shape, (1, *shape)) == (1, *shape)

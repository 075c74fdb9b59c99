"""Atmosphere against what does not share its code: laws of optics value by value, a published fog, moments, ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from relations import Sensor, get
from tests.relations.conftest import HIGH, LOW, column, cut, drawn, sensor_of, wavelengths


def test_haze_is_beers_law_and_airlight_value_by_value() -> None:
    patches = cut(None, rows=2, size=(2, 3, 11))
    y = get("haze").apply(patches.x, None, patches.sensor, depth=column(0.3, 1.5), angstrom=column(1.3, 0.4))
    for index, value in np.ndenumerate(patches.x):
        depth, exponent = ((0.3, 1.3), (1.5, 0.4))[index[0]]
        passed = math.exp(-depth * (wavelengths(11)[index[3]] / 550) ** -exponent)
        assert y[index] == pytest.approx(value * passed + 0.5 * (LOW + HIGH) * (1 - passed), rel=1e-5)


def test_the_light_that_haze_takes_falls_with_the_wavelength_as_its_exponent_says() -> None:
    centres = np.linspace(400, 2400, 41)
    x = np.repeat(np.array([500, 3000], np.float32)[None, None, :, None], 41, axis=3)
    y = get("haze").apply(x, None, sensor_of(41, centres), depth=column(0.4), angstrom=column(1.7)).astype(np.float64)
    depth = -np.log((y[0, 0, 1] - y[0, 0, 0]) / 2500)
    slope, at_one = np.polyfit(np.log(centres / 550), np.log(depth), 1)
    assert slope == pytest.approx(-1.7, rel=1e-2)
    assert math.exp(at_one) == pytest.approx(0.4, rel=1e-2)


@pytest.mark.parametrize("strength", [1.5, 2.0, 2.5, 3.0])
def test_haze_plays_the_even_fog_of_imagenet_c(strength: float) -> None:
    x = np.random.default_rng(0).random((1, 6, 5, 3)).astype(np.float32)
    x[0, 0, 0] = 1
    published = (x + strength * 0.5) * x.max() / (x.max() + strength)
    sensor = Sensor(0.0, 1.0, np.full(3, 0.5, np.float32))
    assert math.log(1 + strength) <= get("haze").bounds("stress")["depth"][1]
    y = get("haze").apply(x, None, sensor, depth=column(math.log(1 + strength)), angstrom=column(0.0))
    np.testing.assert_allclose(y, published, atol=1e-6)


def test_haze_without_wavelengths_is_grey() -> None:
    x = cut(None, rows=1, size=(3, 3, 5)).x
    y = get("haze").apply(x, None, sensor_of(5), depth=column(math.log(2)), angstrom=column(2.0))
    np.testing.assert_allclose(y, 0.5 * x + 0.25 * (LOW + HIGH), rtol=1e-5)


def test_water_vapour_absorbs_in_its_bands_and_nowhere_else() -> None:
    centres = np.array([500, 650, 720, 820, 870, 940, 1040, 1130, 1240, 1380, 1600, 1880, 2150, 2200, 2700], float)
    x = np.full((1, 1, 1, 15), 2000, np.float32)
    sensor = sensor_of(15, centres)
    ratio = (get("water_vapour").apply(x, None, sensor, change=column(1.0)) / x)[0, 0, 0]
    passed = dict(zip(centres.tolist(), ratio.tolist(), strict=True))
    for clear in (500, 650, 870, 1040, 1240, 1600, 2150, 2200):
        assert passed[clear] > 0.99, clear
    for faint in (720, 820):
        assert 0.85 < passed[faint] < 0.95, faint
    for strong in (940, 1130):
        assert 0.4 < passed[strong] < 0.6, strong
    for opaque in (1380, 1880, 2700):
        assert passed[opaque] < 0.05, opaque
    assert passed[940] == pytest.approx(math.exp(-0.6), rel=1e-4)


@pytest.mark.parametrize(("centre", "width"), [(940.0, 20.0), (1130.0, 22.0), (1380.0, 35.0), (1880.0, 45.0)])
def test_a_water_band_is_as_wide_as_declared(centre: float, width: float) -> None:
    places = np.arange(centre - 4 * width, centre + 4 * width, 2.0)
    x = np.full((1, 1, 1, len(places)), 1000, np.float32)
    sensor = sensor_of(len(places), places)
    depth = -np.log(get("water_vapour").apply(x, None, sensor, change=column(0.5)).astype(np.float64) / 1000)[0, 0, 0]
    middle = (depth * places).sum() / depth.sum()
    assert middle == pytest.approx(centre, abs=2)
    assert np.sqrt((depth * (places - middle) ** 2).sum() / depth.sum()) == pytest.approx(width, rel=0.02)


def test_columns_of_water_vapour_add_up() -> None:
    centres = np.arange(700.0, 1000.0, 6)
    x = np.full((1, 2, 2, len(centres)), 2000, np.float32)
    sensor, apply = sensor_of(len(centres), centres), get("water_vapour").apply
    twice = apply(apply(x, None, sensor, change=column(0.3)), None, sensor, change=column(0.5))
    np.testing.assert_allclose(twice, apply(x, None, sensor, change=column(0.8)), rtol=1e-5)
    there_and_back = apply(apply(x, None, sensor, change=column(0.4)), None, sensor, change=column(-0.4))
    np.testing.assert_allclose(there_and_back, x, rtol=1e-5)
    assert (apply(x, None, sensor, change=column(-0.4)) >= x).all()


def test_the_water_vapour_of_flying_sensors_moves_the_band_at_940_nm_by_five_percent() -> None:
    sensor, x = sensor_of(2, np.array([870.0, 940.0])), np.full((1, 1, 1, 2), 1000, np.float32)
    for end in get("water_vapour").bounds("in_spec")["change"]:
        y = get("water_vapour").apply(x, None, sensor, change=column(end))
        assert abs(y[0, 0, 0, 1] / 1000 - 1) == pytest.approx(0.05, abs=0.003)


def test_water_vapour_refuses_a_scene_without_wavelengths() -> None:
    x = cut(None, rows=1, size=(3, 3, 5)).x
    with pytest.raises(ValueError, match="without wavelengths"):
        get("water_vapour").apply(x, None, sensor_of(5), change=column(0.1))


@pytest.mark.parametrize("name", ["thin_cirrus", "shadow"])
def test_clouds_are_uniform_smooth_and_of_some_tens_of_pixels(name: str) -> None:
    field = drawn(get(name), (90, 120, 5), seed=3)[0, :, :, 0].astype(np.float64)
    assert field.shape == (90, 120)
    assert kstest(field.ravel(), "uniform").statistic < 1e-3

    def likeness(lag: int) -> float:
        return float(np.corrcoef(field[:, lag:].ravel(), field[:, : field.shape[1] - lag].ravel())[0, 1])

    assert likeness(1) > 0.99
    assert 0.5 < likeness(8) < 0.95
    assert abs(likeness(50)) < 0.4


def test_the_cloud_over_a_single_pixel_is_a_matter_of_chance() -> None:
    values = [float(drawn(get("thin_cirrus"), (1, 1, 1), seed=seed)[0, 0, 0, 0]) for seed in range(400)]
    assert kstest(values, "uniform").pvalue > 1e-3


def test_cirrus_is_white_and_mixes_ground_and_cloud_by_its_thickness() -> None:
    patches = cut(get("thin_cirrus"), rows=3, size=(9, 7, 31))
    assert isinstance(patches.field, np.ndarray)
    y = get("thin_cirrus").apply(patches.x, patches.field, patches.sensor, opacity=column(0.03, 0.2, 0.5))
    for row, opacity in enumerate((0.03, 0.2, 0.5)):
        for place in ((0, 0), (4, 3), (8, 6)):
            taken = opacity * float(patches.field[(row, *place, 0)])
            slope, light = np.polyfit(patches.x[(row, *place)].astype(float), y[(row, *place)].astype(float), 1)
            assert 1 - slope == pytest.approx(taken, abs=1e-4)
            assert light == pytest.approx(taken * (LOW + 0.9 * (HIGH - LOW)), abs=0.5)


def test_a_uniform_plain_has_no_adjacency() -> None:
    x = np.broadcast_to(np.linspace(100, 3000, 6, dtype=np.float32), (2, 45, 43, 6))
    y = get("adjacency").apply(x, None, sensor_of(6, np.linspace(450, 900, 6)), share=column(0.1, 0.5), trim=20)
    np.testing.assert_allclose(y, x[:, 20:-20, 20:-20], rtol=1e-5)


def test_adjacency_is_a_mixture_with_scipys_blur() -> None:
    x = cut(None, rows=2, size=(49, 47, 3)).x
    y = get("adjacency").apply(x, None, sensor_of(3), share=column(0.05, 0.5), trim=20)
    for row, share in enumerate((0.05, 0.5)):
        around = gaussian_filter(x[row].astype(np.float64), np.sqrt(25 + 1 / 12), axes=(0, 1), truncate=4)
        expected = (1 - share) * x[row] + share * around
        np.testing.assert_allclose(y[row], expected[20:-20, 20:-20], atol=2e-4 * HIGH)


def test_adjacency_spreads_a_point_over_five_pixels_and_keeps_its_light() -> None:
    point = np.zeros((1, 81, 81, 1), np.float32)
    point[0, 40, 40] = 1000
    y = get("adjacency").apply(point, None, sensor_of(1), share=column(0.4), trim=15)[0, :, :, 0]
    y = y.astype(np.float64)
    assert y.shape == (51, 51)
    assert y.sum() == pytest.approx(1000, rel=1e-4)
    around = y.copy()
    around[25, 25] = 0
    assert around.sum() == pytest.approx(400, rel=0.01)
    spread = (y.sum(axis=1) * (np.arange(51) - 25.0) ** 2).sum() / 400
    assert np.sqrt(spread) == pytest.approx(5, rel=0.01)


def test_adjacency_is_strongest_in_the_blue() -> None:
    centres = np.linspace(420, 2400, 30)
    x = np.full((1, 41, 41, 30), 2000, np.float32)
    x[0, 20, 20] = 100
    y = get("adjacency").apply(x, None, sensor_of(30, centres), share=column(0.2), trim=20)[0, 0, 0].astype(np.float64)
    slope, at_one = np.polyfit(np.log(centres / 550), np.log(y - 100), 1)
    assert slope == pytest.approx(-1.3, rel=1e-2)
    assert math.exp(at_one) == pytest.approx(0.2 * 1900, rel=0.02)


def test_no_more_than_all_light_comes_from_the_surroundings() -> None:
    x = np.full((1, 41, 41, 1), 2000, np.float32)
    x[0, 20, 20] = 100
    sensor = sensor_of(1, np.array([200.0]))
    y = get("adjacency").apply(x, None, sensor, share=column(0.5), trim=20)
    assert 1980 < y[0, 0, 0, 0] <= 2000

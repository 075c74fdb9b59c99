"""Spectral against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.interpolate import CubicHermiteSpline

from relations import get
from relations.spectral.curve import _joined
from tests.relations.conftest import LOW, column, cut, drawn, sensor_of


def lowest_point(centres: np.ndarray, spectrum: np.ndarray, level: float) -> float:
    """The wavelength at which a Gaussian absorption line below `level` is deepest."""
    lowest = int(spectrum.argmin())
    near = slice(lowest - 1, lowest + 2)
    a, b, _ = np.polyfit(centres[near] - centres[lowest], np.log(level - spectrum[near].astype(np.float64)), 2)
    return float(centres[lowest] - b / (2 * a))


@pytest.mark.parametrize("shift", [-10.0, -2.2, 0.7, 2.0, 5.0, 10.0])
def test_a_shift_moves_an_absorption_line_by_so_many_nm(shift: float) -> None:
    centres = np.arange(600.0, 900.0, 5.0)
    line = 760.0
    spectrum = 3000 - 1500 * np.exp(-0.5 * ((centres - line) / 15) ** 2)
    x = np.broadcast_to(spectrum.astype(np.float32), (1, 4, 5, len(centres)))
    y = get("band_shift").apply(x, None, sensor_of(len(centres), centres), shift=column(shift))[0, 2, 3]
    assert lowest_point(centres, y, 3000) == pytest.approx(line - shift, abs=0.25)
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


@pytest.mark.parametrize(
    ("centres", "apart"),
    [
        ([450, 550, 1600], [1]),
        ([450, 1550, 1600], [0]),
        ([450, 550, 650], []),
        ([450, 560, 640], []),
        ([450, 2200], []),
        ([450, 450], [0]),
        ([600], []),
        (np.arange(400, 1000, 5), []),
        ([1000, 1005, 1010, 1015, 1400], [3]),
        ([400, 1000, 1005, 1010, 1015], [0]),
        ([1000, 1005, 1010, 1015, 1400, 1405], [3]),
        ([400, 405, 1000, 1005, 1010, 1015], [1]),
        ([400, 405, 410, 800, 805, 1200, 1205, 1210], [2, 4]),
        ([400, 405, 410, 415, 416, 421, 426, 431], [3]),
        ([400, 405, 410, 415, 415, 420, 425], [3]),
        ([400, 405, 410, 415, 425, 435, 445], []),
        ([400, 410, 440], []),
    ],
)
def test_bands_across_a_gap_or_an_overlap_are_not_joined(centres: list[float], apart: list[int]) -> None:
    assert np.flatnonzero(~_joined(np.array(centres, dtype=np.float64))).tolist() == apart


@pytest.mark.parametrize("name", ["band_shift", "bandwidth"])
@pytest.mark.parametrize("lone", [400.0, 1400.0])
def test_a_lone_band_beyond_a_gap_gives_no_light_and_gets_none(name: str, lone: float) -> None:
    centres = np.sort(np.append(np.arange(800.0, 900.0, 10.0), lone))
    x = np.broadcast_to(np.where(centres == lone, 900.0, 100.0).astype(np.float32), (2, 1, 1, 11))
    relation = get(name)
    y = relation.apply(x, None, sensor_of(11, centres), **{relation.params[0].name: column(10, 7)})
    np.testing.assert_allclose(y, x, rtol=1e-6)


def test_three_bands_are_bridged_only_where_they_lie_together() -> None:
    x = np.array([100, 200, 900], np.float32).reshape(1, 1, 1, 3)
    apply = get("band_shift").apply
    far = apply(x, None, sensor_of(3, np.array([450.0, 550.0, 1600.0])), shift=column(10))[0, 0, 0]
    np.testing.assert_allclose(far, [110, 200, 900], rtol=1e-5)
    near = apply(x, None, sensor_of(3, np.array([450.0, 550.0, 650.0])), shift=column(10))[0, 0, 0]
    assert near[1] > 210


@pytest.mark.parametrize("shift", [-10.0, 5.0])
def test_a_smile_bends_an_absorption_line_into_a_parabola_across_the_swath(shift: float) -> None:
    centres = np.arange(600.0, 900.0, 5.0)
    spectrum = 3000 - 1500 * np.exp(-0.5 * ((centres - 760) / 15) ** 2)
    place = np.linspace(-1, 1, 9, dtype=np.float32)
    x = np.broadcast_to(spectrum.astype(np.float32), (1, 3, 9, len(centres)))
    y = get("smile").apply(x, place.reshape(1, 1, 9, 1), sensor_of(len(centres), centres), shift=column(shift))
    assert np.array_equal(y[:, 0], y[:, 2])
    found = [lowest_point(centres, y[0, 1, j], 3000) for j in range(9)]
    np.testing.assert_allclose(found, 760 - shift * np.linspace(-1, 1, 9) ** 2, atol=0.25)


def test_at_the_edge_of_the_swath_a_smile_is_a_band_shift() -> None:
    patches = cut(None, rows=3, size=(6, 4, 31))
    shift = column(-9, 3, 7)
    edge = get("smile").apply(patches.x, np.full((3, 1, 4, 1), -1, np.float32), patches.sensor, shift=shift)
    np.testing.assert_allclose(edge, get("band_shift").apply(patches.x, None, patches.sensor, shift=shift), rtol=1e-6)


def test_the_scene_is_a_part_of_a_swath_of_twice_its_width() -> None:
    starts = []
    for seed in range(200):
        place = drawn(get("smile"), (4, 50, 7), seed=seed)[0, 0, :, 0]
        np.testing.assert_allclose(np.diff(place), 1 / 50, rtol=1e-4)
        starts.append(float(place[0] - 0.5 / 50))
    assert min(starts) >= -1 and max(starts) <= 0
    assert np.mean(starts) == pytest.approx(-0.5, abs=0.08)


@pytest.mark.parametrize("widening", [1.0, 6.9, 17.3])
def test_a_wider_band_adds_its_variance_to_a_spectral_line(widening: float) -> None:
    centres = np.arange(600.0, 900.0, 5.0)
    line = 1000 * np.exp(-0.5 * ((centres - 752) / 12) ** 2)
    x = np.broadcast_to(line.astype(np.float32), (1, 3, 3, len(centres)))
    y = get("bandwidth").apply(x, None, sensor_of(len(centres), centres), widening=column(widening))[0, 1, 1]
    y = y.astype(np.float64)
    mean = (y * centres).sum() / y.sum()
    added = (widening / 2.3548) ** 2
    assert mean == pytest.approx(752, abs=0.02)
    assert (y * (centres - mean) ** 2).sum() / y.sum() == pytest.approx(12**2 + added, rel=2e-3)
    wide = np.sqrt(12**2 + added)
    np.testing.assert_allclose(y, 1000 * 12 / wide * np.exp(-0.5 * ((centres - 752) / wide) ** 2), atol=4)


def test_twice_the_width_of_ten_nanometres_is_the_stress_bound() -> None:
    assert np.hypot(10, get("bandwidth").bounds("stress")["widening"][1]) == pytest.approx(20, abs=0.05)


@pytest.mark.parametrize("pixels", [(1, 1), (3, 3)])
@pytest.mark.parametrize("widening", [0.5, 4.0, 17.3])
def test_a_wider_band_is_the_integral_over_the_curve_through_the_bands(
    widening: float, pixels: tuple[int, int]
) -> None:
    rng = np.random.default_rng(8)
    centres = 500 + np.cumsum(rng.uniform(3, 8, 24))
    values = rng.uniform(100, 1000, 24).astype(np.float32)
    x = np.broadcast_to(values, (1, *pixels, 24))
    y = get("bandwidth").apply(x, None, sensor_of(24, centres), widening=column(widening))[0, -1, -1]
    curve = CubicHermiteSpline(centres, values, np.gradient(values.astype(np.float64), centres))
    sigma = widening / 2.3548
    for band in range(24):

        def seen(s: float, centre: float = float(centres[band])) -> float:
            weight = np.exp(-0.5 * (s / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
            return float(weight * curve(np.clip(centre + s, centres[0], centres[-1])))

        expected = quad(seen, -6 * sigma, 6 * sigma, limit=400, points=[0.0])[0]
        assert y[band] == pytest.approx(expected, rel=2e-4, abs=0.05)


def test_a_wider_band_lets_no_light_across_a_gap_and_keeps_an_even_spectrum() -> None:
    centres = np.concatenate([np.arange(1200, 1340, 10.0), np.arange(1450, 1600, 10.0)])
    x = np.broadcast_to(np.where(centres < 1400, 100.0, 900.0).astype(np.float32), (2, 3, 3, len(centres)))
    y = get("bandwidth").apply(x, None, sensor_of(len(centres), centres), widening=column(17.3, 5))
    np.testing.assert_allclose(y, x, rtol=1e-6)


@pytest.mark.parametrize("name", ["band_shift", "smile", "bandwidth"])
def test_what_works_in_nanometres_refuses_a_scene_without_wavelengths(name: str) -> None:
    relation = get(name)
    values = {param.name: column(1.0) for param in relation.params}
    x = np.ones((1, 2, 2, 5), np.float32)
    with pytest.raises(ValueError, match="wavelengths"):
        relation.apply(x, np.zeros((1, 1, 2, 1), np.float32), sensor_of(5), **values)


def test_few_and_many_pixels_are_treated_alike() -> None:
    """Small patches take another way through the code."""
    patches = cut(None, rows=3, size=(6, 6, 31))
    rng = np.random.default_rng(4)
    bands = rng.random((3, 1, 1, 31), dtype=np.float32)
    columns = rng.random((3, 1, 6, 1), dtype=np.float32)
    for name, field, values in (
        ("band_shift", None, {"shift": column(-9, 3, 7)}),
        ("smile", columns, {"shift": column(-9, 3, 7)}),
        ("bandwidth", None, {"widening": column(1, 7, 17)}),
        ("band_loss", bands, {"share": column(0.2, 0.5, 0.4), "fill": column(0, 0, 1)}),
    ):
        whole = get(name).apply(patches.x, field, patches.sensor, **values)
        near = columns[:, :, :3] if name == "smile" else field
        corner = get(name).apply(patches.x[:, :2, :3], near, patches.sensor, **values)
        np.testing.assert_allclose(corner, whole[:, :2, :3], rtol=1e-5)


@pytest.mark.parametrize("with_wavelengths", [True, False])
def test_lost_bands_are_interpolated_between_survivors(with_wavelengths: bool) -> None:
    patches = cut(get("band_loss"), rows=5, size=(6, 5, 31))
    share = np.linspace(0.1, 0.6, 5)
    centres = patches.sensor.wavelengths if with_wavelengths else None
    y = get("band_loss").apply(
        patches.x, patches.field, sensor_of(31, centres), share=column(*share), fill=column(*[0] * 5)
    )
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
    lost = [
        relation.apply(x, field, sensor_of(4000), share=column(share), fill=column(0)) != x
        for share in (0.05, 0.2, 0.5)
    ]
    assert [float(hit.mean()) for hit in lost] == pytest.approx([0.05, 0.2, 0.5], abs=0.03)
    assert not (lost[0] & ~lost[1]).any() and not (lost[1] & ~lost[2]).any()


def test_one_band_always_survives() -> None:
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
    field = np.array([0.1, 0.2, 0.9, 0.3, 0.4, 0.5], np.float32).reshape(1, 1, 1, 6)
    y = get("band_loss").apply(x, field, sensor_of(6), share=column(1.0), fill=column(0))
    assert (y == 2).all()


def test_bands_left_empty_read_the_low_end_and_the_others_are_untouched() -> None:
    patches = cut(get("band_loss"), rows=4, size=(6, 5, 31))
    assert isinstance(patches.field, np.ndarray)
    y = get("band_loss").apply(
        patches.x, patches.field, sensor_of(31), share=column(0, 0.1, 0.3, 0.5), fill=column(1, 1, 1, 1)
    )
    for row, share in enumerate((0.0, 0.1, 0.3, 0.5)):
        lost = patches.field[row, 0, 0] < np.float32(share)
        assert lost.any() == (row > 0)
        assert (y[row][..., lost] == LOW).all()
        assert np.array_equal(y[row][..., ~lost], patches.x[row][..., ~lost])

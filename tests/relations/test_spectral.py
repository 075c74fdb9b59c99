"""Spectral against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relations import get
from tests.relations.conftest import column, cut, drawn, sensor_of


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

"""Optics against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from relations import get
from tests.relations.conftest import HIGH, column, cut, sensor_of


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

"""Kernels against plain loops, SciPy and polynomials."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate

from relations.kernels import (
    box,
    convolved,
    cubic,
    cubic_taps,
    gaussian,
    interpolated,
    mixed,
    resampled,
    separable,
    spread,
    surrounded,
)
from tests.relations.conftest import HIGH, column, scene


def batch(rows: int, height: int, width: int, bands: int) -> np.ndarray:
    return np.stack([scene(height, width, bands, seed=row) for row in range(rows)])


@pytest.mark.parametrize("shared", [True, False])
def test_separable_is_the_sum_over_both_directions(shared: bool) -> None:
    rng = np.random.default_rng(0)
    x = batch(3, 6, 5, 4)
    rows = 1 if shared else 3
    down, across = rng.random((rows, 7, 6), dtype=np.float32), rng.random((rows, 2, 5), dtype=np.float32)
    y = separable(x, down, across)
    assert (y.shape, y.dtype) == ((3, 7, 2, 4), np.float32)
    for row in range(3):
        for band in range(4):
            expected = down[row % rows].astype(np.float64) @ x[row, :, :, band] @ across[row % rows].T
            np.testing.assert_allclose(y[row, :, :, band], expected, rtol=1e-5)


def test_a_box_counts_what_it_covers_of_each_pixel() -> None:
    sizes = np.array([1.0, 1.3, 2.0, 3.0, 4.2, 5.0])
    kernels = box(column(*sizes), 11)
    fine = (np.arange(11 * 1000) + 0.5) / 1000 - 0.5
    for kernel, size in zip(kernels, sizes, strict=True):
        for i in (0, 1, 5, 10):
            covered = np.abs(fine - i) < size / 2
            expected = np.bincount(np.rint(fine[covered]).astype(int), minlength=11) / covered.sum()
            np.testing.assert_allclose(kernel[i], expected, atol=2e-3)
    assert np.array_equal(kernels[0], np.eye(11))
    np.testing.assert_allclose(kernels[3, 5, 4:7], 1 / 3, rtol=1e-6)


def test_a_gaussian_of_no_width_is_the_identity_and_every_line_sums_to_one() -> None:
    kernels = gaussian(column(0.0, 0.3, 1.7), 9)
    assert np.array_equal(kernels[0], np.eye(9))
    np.testing.assert_allclose(kernels.sum(axis=2), 1, rtol=1e-6)
    assert (kernels >= 0).all()


def test_cubic_weights_sum_to_one_and_carry_parabolas() -> None:
    place = np.linspace(0, 1, 101)[:, None]
    samples = np.arange(-2, 4)
    weights = cubic(place - samples)
    for power in (0, 1, 2):
        np.testing.assert_allclose(weights @ samples.astype(float) ** power, place[:, 0] ** power, atol=1e-12)
    assert np.array_equal(cubic(np.arange(-3.0, 4.0)), [0, 0, 0, 1, 0, 0, 0])
    # Keys' a = -1/2 is the slope of the kernel at 1.
    assert (cubic(np.array(1 + 1e-6)) - cubic(np.array(1 - 1e-6))) / 2e-6 == pytest.approx(-0.5, abs=1e-4)


def test_the_four_taps_are_the_cubic_kernel_at_its_samples() -> None:
    part = np.linspace(0, 1, 50, endpoint=False).reshape(5, 10)
    np.testing.assert_allclose(cubic_taps(part), cubic(part[..., None] - np.arange(-1, 3)), atol=1e-7)
    assert np.array_equal(cubic_taps(np.zeros(1)), [[0, 1, 0, 0]])


@settings(max_examples=30, deadline=None)
@given(start=st.floats(-3, 12), step=st.floats(0.2, 3))
def test_interpolation_carries_a_parabola_inside_and_holds_the_ends(start: float, step: float) -> None:
    line = np.arange(10.0)
    place = start + step * np.arange(6)
    kernel = interpolated(place[None], 10)[0].astype(np.float64)
    curve = 2 + 3 * line - 0.4 * line**2
    inside = (place >= 1) & (place <= 8)
    np.testing.assert_allclose((kernel @ curve)[inside], (2 + 3 * place - 0.4 * place**2)[inside], atol=1e-4)
    np.testing.assert_allclose((kernel @ curve)[place <= 0], curve[0])
    np.testing.assert_allclose((kernel @ curve)[place >= 9], curve[-1])


def test_interpolation_reads_whole_places_as_they_are() -> None:
    assert np.array_equal(interpolated(np.array([[4.0, 0.0, 8.0, 3.0]]), 9)[0], np.eye(9)[[4, 0, 8, 3]])


@pytest.mark.parametrize("stretch", [2.0, 3.0])
def test_a_stretched_kernel_averages_what_is_too_fine(stretch: float) -> None:
    place = np.arange(10.0, 30.0, stretch)
    kernel = interpolated(place[None], 41, stretch=np.full((1, 1, 1), stretch))[0]
    line = np.arange(41)
    np.testing.assert_allclose(kernel @ line, place, atol=1e-4)
    fine = np.cos(2 * np.pi * line / stretch + 0.3)
    # Without the stretch every pixel of the result would read the same phase.
    assert np.abs(kernel @ fine).max() < 0.02
    assert np.abs(interpolated(place[None], 41)[0] @ fine).min() > 0.7


@pytest.mark.parametrize(("down", "across", "trim"), [(0, 0, 0), (2, 1, 0), (3, 0, 1), (2, 2, 2), (1, 2, 3), (0, 4, 3)])
def test_surroundings_are_those_of_the_array_and_then_its_last_pixel(down: int, across: int, trim: int) -> None:
    x = batch(2, 9, 8, 3)
    wide = np.pad(x, ((0, 0), (9, 9), (9, 9), (0, 0)), mode="edge")
    i, j = 9 + trim - down, 9 + trim - across
    y = surrounded(x, down, across, trim=trim)
    assert np.array_equal(y, wide[:, i:-i, j:-j])
    assert y.flags.c_contiguous


@pytest.mark.parametrize("trim", [0, 1, 2, 4])
def test_convolution_is_scipys_row_by_row(trim: int) -> None:
    rng = np.random.default_rng(1)
    x = batch(5, 11, 10, 3)
    radii = np.array([2, 0, 3, 2, 1])
    kernels = [rng.random((2 * r + 1, 2 * r + 1), dtype=np.float32) for r in radii]

    def kernel_of(rows: np.ndarray, radius: int) -> np.ndarray:
        assert (radii[rows] == radius).all()
        return np.stack([kernels[row] for row in rows])

    y = convolved(x, radii, kernel_of, trim=trim)
    kept = slice(trim, -trim if trim else None)
    for row, band in np.ndindex(5, 3):
        expected = correlate(x[row, :, :, band].astype(np.float64), kernels[row], mode="nearest")
        expected = x[row, :, :, band] if radii[row] == 0 else expected
        np.testing.assert_allclose(y[row, :, :, band], expected[kept, kept], rtol=1e-5)


def test_light_is_spread_to_the_four_pixels_about_each_point() -> None:
    rng = np.random.default_rng(2)
    down, across = rng.uniform(-2, 2, (2, 3, 40))
    kernels = spread(down, across, 2)
    expected = np.zeros((3, 5, 5))
    for row, point in np.ndindex(3, 40):
        i, j = down[row, point], across[row, point]
        for k, m in np.ndindex(5, 5):
            expected[row, k, m] += max(0, 1 - abs(i - (k - 2))) * max(0, 1 - abs(j - (m - 2))) / 40
    np.testing.assert_allclose(kernels, expected, atol=1e-7)
    np.testing.assert_allclose(kernels.sum(axis=(1, 2)), 1, rtol=1e-6)
    np.testing.assert_allclose(kernels.sum(axis=2) @ np.arange(-2, 3), down.mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(kernels.sum(axis=1) @ np.arange(-2, 3), across.mean(axis=1), atol=1e-6)


def test_resampling_is_the_plain_sum_of_the_named_pixels() -> None:
    rng = np.random.default_rng(3)
    x = batch(3, 4, 5, 6)
    index, weight = rng.integers(0, 20, (3, 7, 4)), rng.normal(size=(3, 7, 4))
    y = resampled(x, index, weight)
    expected = np.zeros((3, 7, 6))
    for row, pixel, tap in np.ndindex(3, 7, 4):
        i, j = divmod(int(index[row, pixel, tap]), 5)
        expected[row, pixel] += weight[row, pixel, tap] * x[row, i, j].astype(np.float64)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, atol=1e-5 * HIGH)


@pytest.mark.parametrize("pixels", [(1, 2), (4, 5)])
def test_mixing_is_the_plain_sum_of_the_named_bands(pixels: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    x = batch(3, *pixels, 6)
    taps = tuple((rng.integers(0, 6, (3, 6)), rng.normal(size=(3, 6))) for _ in range(3))
    expected = np.zeros(x.shape)
    for index, weight in taps:
        for row, band in np.ndindex(3, 6):
            expected[row, ..., band] += weight[row, band] * x[row, ..., index[row, band]].astype(np.float64)
    np.testing.assert_allclose(mixed(x, taps), expected, atol=1e-5 * HIGH)

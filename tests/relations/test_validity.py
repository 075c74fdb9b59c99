"""The measures against worked examples and scikit-image, and a row against its batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from relations import ergas, psnr, spectral_angle, ssim
from tests.relations.conftest import HIGH, cut

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]

MEASURES: dict[str, Measure] = {
    "psnr": lambda x, y: psnr(x, y, peak=HIGH),
    "spectral_angle": spectral_angle,
    "ssim": lambda x, y: ssim(x, y, data_range=HIGH),
    "ergas": ergas,
}
AT_EQUALITY = {"psnr": np.inf, "spectral_angle": 0.0, "ssim": 1.0, "ergas": 0.0}

every_measure = pytest.mark.parametrize("name", MEASURES)


def pair(rows: int, size: tuple[int, int, int], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sources and follow-ups that differ by noise growing from row to row."""
    x = cut(None, rows=rows, size=size, seed=seed).x
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(x.shape) * np.linspace(1, 200, rows)[:, None, None, None]
    return x, np.asarray(x + noise, dtype=np.float32)


@every_measure
def test_equal_patches_get_the_exact_best_value(name: str) -> None:
    x, _ = pair(4, (9, 8, 31))
    found = MEASURES[name](x, x.copy())
    assert found.dtype == np.float64
    assert found.shape == (4,)
    if name == "ssim":
        np.testing.assert_allclose(found, 1, rtol=1e-12)
    else:
        assert (found == AT_EQUALITY[name]).all()


@pytest.mark.parametrize("size", [(9, 8, 31), (1, 1, 204), (25, 25, 103), (7, 4, 1), (1, 1, 1), (130, 90, 7)], ids=str)
@every_measure
def test_a_row_does_not_depend_on_its_batch(name: str, size: tuple[int, int, int]) -> None:
    rows = 12
    x, y = pair(rows, size)
    together = MEASURES[name](x, y)
    rng = np.random.default_rng(2)
    batches = [np.array([row]) for row in range(rows)]
    batches += [np.arange(rows)[::-1], rng.permutation(rows), rng.integers(0, rows, 40)]
    for batch in batches:
        assert MEASURES[name](x[batch], y[batch]).tobytes() == together[batch].tobytes()


@every_measure
def test_a_view_without_the_margin_counts_as_its_copy(name: str) -> None:
    x, y = pair(5, (13, 12, 31))
    inner = (slice(None), slice(2, -2), slice(2, -2))
    view = MEASURES[name](x[inner], y[inner])
    assert view.tobytes() == MEASURES[name](x[inner].copy(), y[inner].copy()).tobytes()


@every_measure
def test_more_noise_is_farther_away(name: str) -> None:
    x, y = pair(6, (15, 15, 31))
    found = MEASURES[name](np.repeat(x[:1], 6, axis=0), x[:1] + (y - x))
    assert (np.diff(found if AT_EQUALITY[name] == 0 else -found) > 0).all()


@every_measure
def test_no_patches_give_no_numbers(name: str) -> None:
    none = np.zeros((0, 9, 8, 3), np.float32)
    assert MEASURES[name](none, none).shape == (0,)


@every_measure
def test_the_inputs_are_untouched(name: str) -> None:
    x, y = pair(3, (9, 8, 5))
    x.flags.writeable = y.flags.writeable = False
    before = x.copy(), y.copy()
    MEASURES[name](x, y)
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])


def test_psnr_of_a_worked_example_and_of_scikit_image() -> None:
    x = np.zeros((1, 2, 2, 1), np.float32)
    y = np.array([0, 0, 0, 20], np.float32).reshape(x.shape)
    assert psnr(x, y, peak=100.0)[0] == pytest.approx(20.0)  # mse 100, 10 log10(10^4 / 100)
    x, y = pair(6, (9, 8, 103))
    expected = [peak_signal_noise_ratio(a, b, data_range=HIGH) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(psnr(x, y, peak=HIGH), expected, rtol=1e-6)


def test_spectral_angle_of_a_worked_example() -> None:
    x = np.array([[1, 0], [3, 4], [1, 1], [2, 2]], np.float32).reshape(1, 2, 2, 2)
    y = np.array([[1, 1], [6, 8], [-1, -1], [0, 2]], np.float32).reshape(1, 2, 2, 2)
    assert spectral_angle(x, y)[0] == pytest.approx((np.pi / 4 + 0 + np.pi + np.pi / 4) / 4, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(exponent=st.floats(-6, 0.4), scale=st.floats(0.5, 2.0), seed=st.integers(0, 99))
def test_spectral_angle_finds_the_angle_a_spectrum_was_turned_by(exponent: float, scale: float, seed: int) -> None:
    angle = 10**exponent
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((103, 2)))
    x = np.float32(1000 * basis[:, 0])
    first = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64))
    second = basis[:, 1] - first * (first @ basis[:, 1])
    turned = np.float32(scale * 1000 * (np.cos(angle) * first + np.sin(angle) * second / np.linalg.norm(second)))
    found = spectral_angle(x.reshape(1, 1, 1, -1), turned.reshape(1, 1, 1, -1))[0]
    # Scaling alone leaves float32 rounding across it; without it the smallest angles are told apart.
    assert found == pytest.approx(angle, rel=1e-3, abs=2e-7 if scale == 1 else 5e-4)


def test_spectral_angle_tells_tiny_angles_from_zero() -> None:
    x = np.array([1, 0, 0], np.float32).reshape(1, 1, 1, 3)
    y = np.array([1, 1e-5, 0], np.float32).reshape(1, 1, 1, 3)
    assert spectral_angle(x, y)[0] == pytest.approx(1e-5, rel=1e-5)


def test_a_spectrum_that_vanishes_is_at_a_right_angle() -> None:
    spectrum = np.random.default_rng(0).random((1, 1, 1, 103), dtype=np.float32)
    nothing = np.zeros_like(spectrum)
    assert spectral_angle(spectrum, nothing)[0] == np.pi / 2
    assert spectral_angle(nothing, spectrum)[0] == np.pi / 2
    assert spectral_angle(nothing, nothing)[0] == 0


@pytest.mark.parametrize("size", [(9, 8, 31), (25, 25, 5), (7, 7, 1)], ids=str)
def test_ssim_is_scikit_images(size: tuple[int, int, int]) -> None:
    x, y = pair(4, size)
    expected = [
        structural_similarity(a.astype(np.float64), b.astype(np.float64), data_range=HIGH, channel_axis=-1)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y, data_range=HIGH), expected, rtol=1e-7)


def test_ssim_of_a_small_patch_takes_the_window_that_fits() -> None:
    x, y = pair(3, (5, 6, 4))
    expected = [
        structural_similarity(a.astype(float), b.astype(float), data_range=HIGH, channel_axis=-1, win_size=5)
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(ssim(x, y, data_range=HIGH), expected, rtol=1e-7)


def test_ssim_of_a_single_pixel_compares_means() -> None:
    x, y = np.full((1, 1, 1, 1), 2, np.float32), np.full((1, 1, 1, 1), 4, np.float32)
    c1 = 0.1**2
    assert ssim(x, y, data_range=10.0)[0] == pytest.approx((2 * 2 * 4 + c1) / (4 + 16 + c1))


def test_ergas_of_a_worked_example() -> None:
    x = np.stack([np.full((2, 2), 10.0), np.full((2, 2), 40.0)], axis=-1).astype(np.float32)[None]
    y = x + np.array([1, 8], np.float32)
    assert ergas(x, y)[0] == pytest.approx(100 * np.sqrt((0.1**2 + 0.2**2) / 2), rel=1e-6)


def test_ergas_of_a_band_without_signal() -> None:
    x = np.zeros((1, 2, 2, 2), np.float32)
    x[..., 1] = 10
    quiet, loud = x.copy(), x.copy()
    quiet[..., 1] += 1
    loud[..., 0] += 1
    assert ergas(x, quiet)[0] == pytest.approx(100 * np.sqrt(0.01 / 2), rel=1e-6)
    assert ergas(x, loud)[0] == np.inf


@every_measure
def test_pairs_of_another_shape_rank_or_dtype_are_refused(name: str) -> None:
    x, y = pair(3, (9, 8, 5))
    with pytest.raises(ValueError, match=r"follow-ups .* \(3, 9, 8, 5\), got \(2, 9, 8, 5\); trim"):
        MEASURES[name](x, y[:2])
    with pytest.raises(ValueError, match=r"sources .* got shape \(9, 8, 5\), float32; stack"):
        MEASURES[name](x[0], y)
    with pytest.raises(ValueError, match=r"follow-ups .* got shape \(3, 9, 8, 5\), float64; stack"):
        MEASURES[name](x, y.astype(np.float64))


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan")])
def test_a_range_that_is_not_positive_is_refused(width: float) -> None:
    x, y = pair(3, (9, 8, 5))
    with pytest.raises(ValueError, match=rf"positive peak, got {width!r}; pass"):
        psnr(x, y, peak=width)
    with pytest.raises(ValueError, match=rf"positive data_range, got {width!r}; pass"):
        ssim(x, y, data_range=width)

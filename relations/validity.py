"""Validity: how far a follow-up lies from its source. Every measure is (n, h, w, b) pairs -> (n,) float64.

Each row's number depends on that row alone, bit for bit: no sum runs over more than one row.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BLOCK = 2**16
"""Values treated at once: a quarter of a megabyte, so that differences stay in the cache."""

SSIM_WINDOW = 7
"""Side of the window of SSIM in pixels, as in scikit-image."""


def psnr(x: np.ndarray, y: np.ndarray, *, peak: float) -> np.ndarray:
    """The peak signal-to-noise ratio of each follow-up in dB, (n,) float64; inf where it equals its source.

    10 · log10(peak² / mean((y − x)²))

    Args:
        x, y: sources and follow-ups, (n, h, w, b) float32, in the scene's unit.
        peak: the largest possible difference, `sensor.high - sensor.low`.

    Raises:
        ValueError: the two differ in shape, are not float32 batches of rank 4, or `peak` is not positive.

    Source: RSMT accepts follow-ups of at least 20 dB (Bouchoucha et al. 2023, code), with the patch's maximum as
        the peak; here the peak is the same for every patch, so that dark patches are not judged harsher.
    """
    _require_range(peak, "peak")
    rows, _, _ = _pixels(x, y)
    mse = np.empty(rows)
    for block, _, moved in _blocks(x, y):
        flat = moved.reshape(len(moved), -1)
        mse[block] = np.vecdot(flat, flat) / flat.shape[1]
    with np.errstate(divide="ignore"):
        return 10 * np.log10(float(peak) ** 2 / mse)


def spectral_angle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The angle between the spectra of source and follow-up in radians, mean over the pixels, (n,) float64.

    arccos(⟨x, y⟩ / (|x| · |y|)), computed as atan2(sqrt(|x|²|d|² − ⟨x, d⟩²), |x|² + ⟨x, d⟩) with d = y − x

    The arc cosine of float32 products cannot tell angles below 4e-4 from zero; this form can, and is exactly 0
    for equal spectra. A zero spectrum has no direction: its angle to any other is π/2.

    Args:
        x, y: sources and follow-ups, (n, h, w, b) float32, in the scene's unit.

    Raises:
        ValueError: the two differ in shape or are not float32 batches of rank 4.

    Source: F. A. Kruse et al., The spectral image processing system (SIPS), Remote Sensing of Environment 44, 1993.
    """
    rows, height, width = _pixels(x, y)
    angles = np.empty((rows, height, width))
    for block, source, moved in _blocks(x, y):
        along = np.vecdot(source, moved).astype(np.float64)
        length = np.vecdot(source, source).astype(np.float64)
        away = np.vecdot(moved, moved).astype(np.float64)
        across = np.sqrt(np.maximum(length * away - along**2, 0))
        onward = length + along
        vanished = (across == 0) & (onward == 0) & (away > 0)
        angles[block] = np.where(vanished, np.pi / 2, np.arctan2(across, onward))
    return angles.reshape(rows, height * width).mean(axis=1)


def ssim(x: np.ndarray, y: np.ndarray, *, data_range: float) -> np.ndarray:
    """The structural similarity of each follow-up to its source, mean over pixels and bands, (n,) float64, at most 1.

    (2·μx·μy + C1)(2·σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = (0.01·range)², C2 = (0.03·range)²

    Means and sample covariances over windows of 7 x 7 pixels that lie wholly inside the patch, band by band, as
    scikit-image's `structural_similarity(..., channel_axis=-1)`. On a patch narrower than 7 pixels the window
    is the largest odd one that fits; on one of 1 or 2 pixels there is no structure and only the means count.

    Args:
        x, y: sources and follow-ups, (n, h, w, b) float32, in the scene's unit.
        data_range: the width of the range of values, `sensor.high - sensor.low`.

    Raises:
        ValueError: the two differ in shape, are not float32 batches of rank 4, or `data_range` is not positive.

    Source: Z. Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 13,
        2004.
    """
    _require_range(data_range, "data_range")
    height, width = _pixels(x, y)[1:]
    side = min(SSIM_WINDOW, height, width)
    side -= 1 - side % 2
    down, across = _box(height, side), _box(width, side)
    sample = side**2 / (side**2 - 1) if side > 1 else 0.0
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def windowed(values: np.ndarray) -> np.ndarray:
        lines = np.matmul(down, values.reshape(len(values), height, -1))
        return np.matmul(across, lines.reshape(len(values), len(down), width, -1))

    similarity = np.empty(len(x))
    for block, source, moved in _blocks(x, y):
        a = source.astype(np.float64)
        b = a + moved
        mean_a, mean_b = windowed(a), windowed(b)
        var_a = sample * (windowed(a * a) - mean_a**2)
        var_b = sample * (windowed(b * b) - mean_b**2)
        cov = sample * (windowed(a * b) - mean_a * mean_b)
        above = (2 * mean_a * mean_b + c1) * (2 * cov + c2)
        below = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
        similarity[block] = (above / below).reshape(len(a), -1).mean(axis=1)
    return similarity


def ergas(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The relative dimensionless global error of each follow-up, (n,) float64; 0 where it equals its source.

    100 · sqrt(mean_b(mse_b / μ_b²)), μ_b the mean of band b of the source; the resolutions are equal, so their
    ratio is 1

    A band whose mean is 0 counts as 0 where nothing moved in it and makes the error inf where something did.

    Args:
        x, y: sources and follow-ups, (n, h, w, b) float32, in the scene's unit.

    Raises:
        ValueError: the two differ in shape or are not float32 batches of rank 4.

    Source: L. Wald, Quality of high resolution synthesised images, Fusion of Earth Data, 2000.
    """
    rows, height, width = _pixels(x, y)
    error = np.empty(rows)
    for block, source, moved in _blocks(x, y):
        spectra = source.reshape(len(source), height * width, -1).astype(np.float64)
        moves = moved.reshape(spectra.shape).astype(np.float64)
        mse, level = (moves**2).mean(axis=1), spectra.mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(mse > 0, mse / level**2, 0.0)
        error[block] = 100 * np.sqrt(share.mean(axis=1))
    return error


def _box(length: int, side: int) -> np.ndarray:
    """The means of `side` neighbours as a matrix, (length - side + 1, length) float64."""
    start, place = np.arange(length - side + 1)[:, None], np.arange(length)
    return ((place >= start) & (place < start + side)) / side


def _blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Rows few enough for the cache: where they are, the sources, and `y - x` in a buffer used again and again."""
    step = max(1, _BLOCK // max(1, x[:1].size))
    buffer = np.empty((min(step, len(x)), *x.shape[1:]), dtype=np.float32)
    for start in range(0, len(x), step):
        block = slice(start, min(start + step, len(x)))
        yield block, x[block], np.subtract(y[block], x[block], out=buffer[: block.stop - start])


def _pixels(x: np.ndarray, y: np.ndarray) -> tuple[int, int, int]:
    """The shape (n, h, w) of a pair of batches.

    Raises:
        ValueError: they are not two float32 batches of one shape.
    """
    for name, batch in (("sources", x), ("follow-ups", y)):
        if batch.ndim != 4 or batch.dtype != np.float32:
            raise ValueError(
                f"Expected {name} (n, h, w, b) float32, got shape {batch.shape}, {batch.dtype}; stack and cast them."
            )
    if x.shape != y.shape:
        raise ValueError(
            f"Expected follow-ups of the sources' shape {x.shape}, got {y.shape}; trim the margin of both or neither."
        )
    rows, height, width, _ = x.shape
    return rows, height, width


def _require_range(value: float, name: str) -> None:
    if not value > 0:
        raise ValueError(f"Expected a positive {name}, got {value!r}; pass the sensor's `high - low`.")

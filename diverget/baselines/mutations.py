"""DFLARE's seven image mutations, on batches of float32 images.

The published numbers are grey levels 0..255. Here 0 is the low end of the sensor's range, 255 its high end, and
everything between is linear. Operators act on the elements of an array, so that any number of bands will do: noise and
changed values hit single values of a pixel's spectrum, blurs treat every band alone.

The published code works on 8-bit images. With `eight_bit` so do these: the image is rounded to the nearest of 256
levels, noise is truncated towards zero, blurs round as OpenCV does on bytes, and multiplicative noise wraps round.
Without, nothing is rounded and everything is clipped to the range.

Source: the authors' code, https://github.com/yqtianust/DFlare (read for the facts; none of it is here); Tian et al.,
    Finding Deviated Behaviors of the Compressed DNN Models for Image Classifications, ACM TOSEM 2023,
    doi 10.1145/3583564.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from relations.core import Sensor

TOP = 255
"""The highest grey level."""

NOISE_VARIANCE = 0.1
"""Of the additive noise, in squared grey levels: σ = 0.316 levels. On a scale of 0 to 1 it would be much; it is not."""

AMOUNT = 0.004
"""Share of the elements that salt and pepper hit, half of them each."""

FACTOR_MEAN = (-0.5, 0.5)
"""Range of the mean of the multiplicative noise, drawn anew for every image."""

FACTOR_VARIANCE = 0.05
"""The largest variance of the multiplicative noise; the variance is drawn anew for every image, from 0 on."""

FEW = 9
"""The most elements that a change of values hits: 0 to 9 in the code, where its comment says 1 to 5 pixels."""

BOX = (1, 2, 3, 4, 5)
GAUSSIAN = (1, 3, 5, 7)
MEDIAN = (1, 3, 5, 7)
"""Sides of the three blurs' windows in pixels, each as likely as the others; a window of 1 changes nothing."""

BLOCK_VALUES = 1 << 22
"""Values that a blur frames, or lays side by side, at a time: 16 MiB."""

CHANNELS = 256
"""Bands in one call of OpenCV, whose images hold at most 512 channels."""

Operator = Callable[[np.ndarray, np.random.Generator, bool], np.ndarray]
"""`operator(levels, rng, eight_bit)`: (r, h, w, b) float32 grey levels to new ones, not yet clipped."""


def mutated(
    x: np.ndarray, operators: np.ndarray, rng: np.random.Generator, *, sensor: Sensor, eight_bit: bool
) -> np.ndarray:
    """Every image after the operator of its own, inside the sensor's range, (r, h, w, b) float32; `x` is not written.

    Args:
        x: (r, h, w, b) float32, in the sensor's unit.
        operators: (r,) positions in `OPERATORS`.
        eight_bit: whether images have 256 levels.
    """
    span = sensor.high - sensor.low
    levels = (x - np.float32(sensor.low)) * np.float32(TOP / span)
    if eight_bit:
        np.clip(np.rint(levels, out=levels), 0, TOP, out=levels)
    for number, operator in enumerate(OPERATORS):
        rows = np.flatnonzero(operators == number)
        if len(rows):
            levels[rows] = operator(levels[rows], rng, eight_bit)
    np.clip(levels, 0, TOP, out=levels)
    if eight_bit:
        return (sensor.low + np.arange(TOP + 1) / TOP * span).astype(np.float32)[levels.astype(np.uint8)]
    levels *= np.float32(span / TOP)
    levels += np.float32(sensor.low)
    return np.clip(levels, np.float32(sensor.low), np.float32(sensor.high), out=levels)


def gaussian_noise(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """Adds normal noise of variance `NOISE_VARIANCE` to every element.

    On 8-bit images it is truncated, which darkens about half of the elements by a level; it does not wrap round.
    """
    noise = rng.standard_normal(levels.shape, dtype=np.float32)
    noise *= np.float32(math.sqrt(NOISE_VARIANCE))
    noise += levels
    return np.trunc(noise, out=noise) if eight_bit else noise


def salt_and_pepper(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """Sets ceil(`AMOUNT` · elements / 2) elements to 255 and then as many to 0, drawn with replacement."""
    rows, size = len(levels), levels[0].size
    count = math.ceil(AMOUNT * size * 0.5)
    flat = levels.reshape(rows, size).copy()
    for value in (TOP, 0):
        flat[np.arange(rows)[:, None], rng.integers(size, size=(rows, count))] = value
    return flat.reshape(levels.shape)


def multiplicative_noise(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """x' = x + x · n, n normal for every element, its mean and variance drawn for every image.

    On 8-bit images the product is truncated and wraps round *before* it is clipped: 250 · 1.5 becomes 119.
    """
    each = (len(levels), 1, 1, 1)
    mean = rng.uniform(*FACTOR_MEAN, size=each).astype(np.float32)
    sigma = np.sqrt(rng.uniform(0, FACTOR_VARIANCE, size=each)).astype(np.float32)
    factor = rng.standard_normal(levels.shape, dtype=np.float32)
    factor *= sigma
    factor += mean
    factor *= levels
    factor += levels
    return np.mod(np.trunc(factor, out=factor), np.float32(TOP + 1), out=factor) if eight_bit else factor


def changed_values(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """Sets 0 to `FEW` elements, drawn with replacement, to whole grey levels, 0 to 255 equally likely."""
    rows, size = len(levels), levels[0].size
    flat = levels.reshape(rows, size).copy()
    hit = np.arange(FEW) < rng.integers(FEW + 1, size=rows)[:, None]
    place = rng.integers(size, size=(rows, FEW))
    value = rng.integers(TOP + 1, size=(rows, FEW))
    row, _ = np.nonzero(hit)
    flat[row, place[hit]] = value[hit]
    return flat.reshape(levels.shape)


def box_blur(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """The mean over a square of `BOX` pixels, the image mirrored at its edge."""
    return _blurred(levels, rng.choice(BOX, size=len(levels)), "reflect", eight_bit, _box)


def gaussian_blur(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """Gaussian weights over a square of `GAUSSIAN` pixels, σ as OpenCV derives it, the image mirrored at its edge."""
    return _blurred(levels, rng.choice(GAUSSIAN, size=len(levels)), "reflect", eight_bit, _gaussian)


def median_blur(levels: np.ndarray, rng: np.random.Generator, eight_bit: bool) -> np.ndarray:
    """The median over a square of `MEDIAN` pixels, the edge repeated beyond it."""
    return _blurred(levels, rng.choice(MEDIAN, size=len(levels)), "edge", eight_bit, _median)


OPERATORS: tuple[Operator, ...] = (
    gaussian_noise,
    salt_and_pepper,
    multiplicative_noise,
    changed_values,
    box_blur,
    gaussian_blur,
    median_blur,
)
"""In the published order. An eighth function of the public code, which picks one of the first three, is not active."""


def _blurred(
    levels: np.ndarray,
    sides: np.ndarray,
    edge: str,
    eight_bit: bool,
    smooth: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Every image filtered with a window of its side: a Python step a side and block, not an image.

    `smooth(framed, side)` filters (r, h + 2f, w + 2f, c), framed by f = side // 2; what it says of the frame is not
    looked at.
    """
    out = levels.copy()
    height, width, bands = levels.shape[1:]
    for side in np.unique(sides[sides > 1]).tolist():
        frame = side // 2
        around = ((0, 0), (frame, frame), (frame, frame), (0, 0))
        inside = np.s_[:, frame : frame + height, frame : frame + width]
        chosen = np.flatnonzero(sides == side)
        size = max(1, BLOCK_VALUES // ((height + 2 * frame) * (width + 2 * frame) * min(bands, CHANNELS)))
        for rows in (chosen[first : first + size] for first in range(0, len(chosen), size)):
            for part in (slice(first, first + CHANNELS) for first in range(0, bands, CHANNELS)):
                piece = levels[rows][..., part]
                framed = np.pad(piece.astype(np.uint8) if eight_bit else piece, around, mode=edge)  # type: ignore[call-overload]
                out[rows, :, :, part] = smooth(framed, side)[inside]
    return out


def _stacked(framed: np.ndarray) -> np.ndarray:
    """All images below each other as one: their frames keep them apart, and bands are OpenCV's channels."""
    return framed.reshape(-1, *framed.shape[2:])


def _box(framed: np.ndarray, side: int) -> np.ndarray:
    return cv2.blur(_stacked(framed), (side, side)).reshape(framed.shape)


def _gaussian(framed: np.ndarray, side: int) -> np.ndarray:
    return cv2.GaussianBlur(_stacked(framed), (side, side), 0).reshape(framed.shape)


def _median(framed: np.ndarray, side: int) -> np.ndarray:
    # Up to 5 × 5 OpenCV sorts any number of bands, beyond that bytes of single bands only.
    if side <= 5:
        return cv2.medianBlur(_stacked(framed), side).reshape(framed.shape)
    if framed.dtype == np.uint8:
        bands = np.ascontiguousarray(framed.transpose(0, 3, 1, 2))
        return cv2.medianBlur(bands.reshape(-1, framed.shape[2]), side).reshape(bands.shape).transpose(0, 2, 3, 1)
    out = np.empty_like(framed)
    frame, area = side // 2, side * side
    size = max(1, BLOCK_VALUES // (area * framed[0].size))
    for block in (slice(first, first + size) for first in range(0, len(framed), size)):
        windows = sliding_window_view(framed[block], (side, side), axis=(1, 2))
        values = np.partition(windows.reshape(*windows.shape[:4], area), area // 2, axis=4)
        out[block, frame:-frame, frame:-frame] = values[..., area // 2]
    return out

"""Kernels: pixels and bands as weighted sums of their neighbours, every row of a batch with weights of its own.

    separable     matrices along rows and columns: Gaussian and box spread, shift, zoom
    convolved     a square kernel over each pixel's neighbourhood: motion, defocus
    resampled     each pixel from a few others anywhere: rotation
    mixed         each band from a few others: spectral shift and loss
    gaussian, box, interpolated, cubic, spread    weights to put in

A row's result has the same bits in whatever batch it stands: each matrix product concerns one row alone, and its
shape depends on that row's values only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.sparse import csr_array
from scipy.special import ndtr

REACH = 4.0
"""A Gaussian ends at this many sigma: what is left out weighs less than 1e-4, below the last of 13 bits."""

_FEW_PIXELS = 4
"""Up to so many pixels a patch, gathering band by band is faster than building a matrix for it (measured)."""

Taps = tuple[tuple[np.ndarray, np.ndarray], ...]
"""Pairs (index, weight), each (n, b): where a band's neighbour stands and how much it counts."""


def separable(x: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """`x'[n] = down[n] · x[n] · across[n]ᵀ` in every band, (n, h', w', b) float32.

    Args:
        x: (n, h, w, b) float32.
        down: (n | 1, h', h) float32, across: (n | 1, w', w) float32; in C order.
    """
    rows, height, width, bands = x.shape
    # One gemm a row (and one a line): the same shapes whatever the batch, hence the same bits.
    lines = np.matmul(down, np.ascontiguousarray(x).reshape(rows, height, width * bands))
    return np.matmul(across[:, None], lines.reshape(rows, down.shape[1], width, bands))


def along_both(
    x: np.ndarray, matrices: Callable[[np.ndarray, int], np.ndarray], value: np.ndarray, trim: int
) -> np.ndarray:
    """`x` under `matrices(value, length)` along its rows and its columns, without `trim` pixels on each side."""
    height, width = x.shape[1:3]
    down = matrices(value, height)[:, trim : height - trim]
    across = down if width == height else matrices(value, width)[:, trim : width - trim]
    return separable(x, down, across)


def towards(x: np.ndarray, target: np.ndarray | np.float32, weight: np.ndarray) -> np.ndarray:
    """`x + (target − x) · weight` in an array of its own: `x` bit for bit at weight 0, whatever the target."""
    moved = np.subtract(target, x, out=np.empty(x.shape, dtype=np.float32))
    moved *= weight
    moved += x
    return moved


def gaussian(sigma: np.ndarray, length: int) -> np.ndarray:
    """The matrices that blur a line of `length` pixels by `sigma` pixels, (n, length, length) float32, rows sum to 1.

    K[i, k] ∝ Φ((|i − k| + ½) / σ) − Φ((|i − k| − ½) / σ): the light of a pixel lies evenly over its area, is spread
    by a Gaussian (Φ is its integral) and read at the centres; the identity at σ = 0. Beyond the line nothing is
    known: the weights inside are scaled up to sum to 1.
    """
    sigma = sigma.reshape(-1, 1).astype(np.float64)
    distance = np.arange(length)
    with np.errstate(divide="ignore"):  # at σ = 0 the limits are right: all of the light in its own pixel
        taps = ndtr((0.5 - distance) / sigma) - ndtr((-0.5 - distance) / sigma)
    taps[distance > np.ceil(REACH * sigma)] = 0
    return _symmetric(taps)


def box(size: np.ndarray, length: int) -> np.ndarray:
    """The matrices that average a line of pixels over `size` of them, (n, length, length) float32, rows sum to 1.

    K[i, k] ∝ how much of pixel k a box of width `size` ≥ 1 about the centre of pixel i covers; the identity at 1,
    three equal weights at 3. Beyond the line nothing is known: the weights inside are scaled up to sum to 1.
    """
    ends = size.reshape(-1, 1).astype(np.float64) / 2
    return _symmetric(np.clip(ends - (np.arange(length) - 0.5), 0, 1))


def _symmetric(taps: np.ndarray) -> np.ndarray:
    """Matrices K[i, k] ∝ taps[|i − k|] from taps (n, length), (n, length, length) float32, rows sum to 1."""
    distance = np.arange(taps.shape[1])
    # `take` gives C order, where `taps[:, ...]` would not and so bring BLAS to other code for other batches.
    kernels = np.take(taps, np.abs(distance[:, None] - distance), axis=1)
    return (kernels / kernels.sum(axis=2, keepdims=True)).astype(np.float32)


def interpolated(place: np.ndarray, length: int, *, stretch: np.ndarray | float = 1.0) -> np.ndarray:
    """The matrices that read a line of `length` pixels at other places, (n, p, length) float32, rows sum to 1.

    K[i, k] ∝ cubic((k − place[i]) / stretch). Beyond the line its last pixel is held, and near its end the weights
    inside are scaled up to sum to 1.

    Args:
        place: (n, p) float64, in pixels from the first one; at whole places the pixel itself is read.
        stretch: (n, 1, 1) or a number, at least 1: how many pixels of the line one pixel of the result spans, so
            that what is too fine for the result is averaged and does not alias.
    """
    held = np.clip(place, 0, length - 1)[:, :, None]
    kernels = cubic((np.arange(length) - held) / stretch)
    return np.asarray(kernels / kernels.sum(axis=2, keepdims=True), dtype=np.float32)


def cubic(distance: np.ndarray) -> np.ndarray:
    """Weight of a sample at `distance` (in samples) in cubic convolution, float64; 1 at 0, 0 at all other integers.

    Source: R. Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981, with a = −½.
    """
    d = np.abs(distance)
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def cubic_taps(part: np.ndarray) -> np.ndarray:
    """The four weights of cubic convolution at a place that lies `part` in [0, 1) of the way from a sample to the next.

    `cubic(part - k)` for the samples k = −1, 0, 1, 2 along a new last axis, (..., 4) float32, in a third of the time.
    """
    t = part
    taps = np.empty((*t.shape, 4), dtype=np.float32)
    taps[..., 0] = ((1 - 0.5 * t) * t - 0.5) * t
    taps[..., 1] = (1.5 * t - 2.5) * t * t + 1
    taps[..., 2] = ((2 - 1.5 * t) * t + 0.5) * t
    taps[..., 3] = (0.5 * t - 0.5) * t * t
    return taps


def convolved(
    x: np.ndarray, radii: np.ndarray, kernel_of: Callable[[np.ndarray, int], np.ndarray], *, trim: int
) -> np.ndarray:
    """Each pixel as the sum of its neighbours under its row's kernel, (n, h − 2·trim, w − 2·trim, b) float32.

    x'[n, i, j] = Σ kernel[n, r + p, r + q] · x[n, i + p, j + q]; where the array ends its last pixel is held.

    Args:
        x: (n, h, w, b) float32.
        radii: (n,) int, radius of each row's kernel in pixels; rows of radius 0 are returned as they came.
        kernel_of: `kernel_of(rows, radius)`, the kernels (len(rows), 2·radius + 1, 2·radius + 1) float32 of the
            rows with these positions.
        trim: pixels on each side that are looked at and not computed.
    """
    rows, height, width, bands = x.shape
    high, wide = height - 2 * trim, width - 2 * trim
    out = np.empty((rows, high, wide, bands), dtype=np.float32)
    widest = int(radii.max(initial=0))
    framed = surrounded(x, widest, widest, trim=trim)
    place = np.arange(wide)[:, None]
    for radius in np.unique(radii).tolist():
        chosen = np.flatnonzero(radii == radius)
        inner = slice(widest - radius, high + widest + radius), slice(widest - radius, wide + widest + radius)
        if radius == 0:
            out[chosen] = framed[chosen, *inner]
            continue
        source = framed if len(chosen) == rows else np.ascontiguousarray(framed[chosen, *inner])
        # The 2r + 1 lines around line i lie together in memory; a banded matrix sums them up in one gemm a line.
        side, line = 2 * radius + 1, wide + 2 * radius
        steps = source.strides
        windows = as_strided(source, (len(chosen), high, side * line, bands), (steps[0], steps[1], *steps[2:]))
        banded = np.zeros((len(chosen), wide, side, line), dtype=np.float32)
        banded[:, place, :, place + np.arange(side)] = kernel_of(chosen, radius).transpose(2, 0, 1)[None]
        banded = banded.reshape(len(chosen), 1, wide, side * line)
        if len(chosen) == rows:
            np.matmul(banded, windows, out=out)
        else:
            out[chosen] = np.matmul(banded, windows)
    return out


def surrounded(x: np.ndarray, down: int, across: int, *, trim: int) -> np.ndarray:
    """The patches without `trim` pixels on each side and with `down` rows and `across` columns around what is left.

    In C order. What the array does not hold of these surroundings is its last pixel, repeated.
    """
    spare = [max(0, trim - reach) for reach in (down, across)]
    short = [max(0, reach - trim) for reach in (down, across)]
    source = x[:, spare[0] : x.shape[1] - spare[0], spare[1] : x.shape[2] - spare[1]]
    if any(short):
        source = np.pad(source, ((0, 0), (short[0],) * 2, (short[1],) * 2, (0, 0)), mode="edge")
    return np.ascontiguousarray(source)


def spread(down: np.ndarray, across: np.ndarray, radius: int) -> np.ndarray:
    """Kernels that move a pixel's light to equally bright points, (n, 2·radius + 1, 2·radius + 1) float32, sum 1.

    A point between pixels gives each of its four neighbours its share (linear interpolation).

    Args:
        down, across: (n, s), where the points stand, in pixels from the centre; at most `radius` away.
    """
    place = np.arange(-radius, radius + 1)
    tents = [np.maximum(0, 1 - np.abs(points[:, None] - place[:, None])) for points in (down, across)]
    return (np.matmul(tents[0], np.swapaxes(tents[1], 1, 2)) / down.shape[1]).astype(np.float32)


def resampled(x: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Each pixel as a weighted sum of pixels of its row, `x'[n, p] = Σ weight[n, p, t] · x[n, index[n, p, t]]`.

    Args:
        x: (n, h, w, b) float32.
        index: (n, p, t) int, flat positions i · w + j in the patch.
        weight: (n, p, t).

    Returns:
        (n, p, b) float32. Scratch: 8 bytes a tap.
    """
    rows, height, width, bands = x.shape
    count, taps = index.shape[1:]
    pixels = height * width
    places = index + (np.arange(rows, dtype=np.int32) * np.int32(pixels))[:, None, None]
    ends = np.arange(0, rows * count * taps + 1, taps)
    shape = (rows * count, rows * pixels)
    weights = csr_array(
        (weight.astype(np.float32, copy=False).ravel(), places.astype(np.int32, copy=False).ravel(), ends), shape=shape
    )
    return (weights @ np.ascontiguousarray(x).reshape(rows * pixels, bands)).reshape(rows, count, bands)


def mixed(x: np.ndarray, taps: Taps) -> np.ndarray:
    """Each band as a weighted sum of bands, `x'[n, ..., b] = Σ weight[n, b] · x[n, ..., index[n, b]]`, (n, h, w, b).

    Args:
        x: (n, h, w, b) float32.
        taps: of each row, or (1, b) of all; an index outside the bands carries weight 0. Scratch: a matrix (b, b)
            float32 a row of the taps.
    """
    rows, height, width, bands = x.shape
    pixels = np.ascontiguousarray(x).reshape(rows, height * width, bands)
    taps = tuple((np.clip(index, 0, bands - 1), weight.astype(np.float32)) for index, weight in taps)
    if height * width <= _FEW_PIXELS:
        parts = (np.take_along_axis(pixels, i[:, None], axis=2) * w[:, None] for i, w in taps)
        return reduce(np.add, parts).reshape(x.shape)
    # Rows that share their values, as all rows of one candidate do, share one matrix: the same products, built once.
    if all((index == index[:1]).all() and (weight == weight[:1]).all() for index, weight in taps):
        taps = tuple((index[:1], weight[:1]) for index, weight in taps)
    return np.matmul(pixels, _matrices(taps, bands)).reshape(x.shape)


def _matrices(taps: Taps, bands: int) -> np.ndarray:
    """The taps of each row as a matrix, (n, b, b) float32: column b holds the weights that make up band b."""
    kernels = np.zeros((len(taps[0][0]), bands, bands), dtype=np.float32)
    row, number = np.arange(len(kernels))[:, None], np.arange(bands)
    for index, weight in taps:
        kernels[row, index, number] += weight
    return kernels

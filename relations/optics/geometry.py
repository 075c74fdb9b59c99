"""Geometry: the scene is seen from elsewhere, or each band from a place of its own.

Between pixels the scene is read by cubic convolution, and averaged where it shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import atan2, ceil, cos, radians, sin

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from relations.core import Bounds, Param, Sensor, farthest, relation
from relations.kernels import cubic, cubic_taps, interpolated, resampled, separable, surrounded

CUBIC_REACH = 2
"""Pixels on each side of a place that cubic convolution reads, at most."""

JOIN = 1000.0
"""Wavelength in nm from which a second spectrometer sees the scene: VNIR ends there by custom, no source."""

BAND_REACH = 3
"""Pixels on each side that `misregistration` reads at its stress bounds: a shift of 1.5 pixels, and the cubic."""

WHOLE = 1e-9
"""A place this near to a whole pixel is that pixel: sine and cosine of 90° are off by less."""


def _shift_margin(farthest_shift: float) -> int:
    return ceil(farthest_shift) + CUBIC_REACH - 1 if farthest_shift > 0 else 0


@relation(
    params=(
        Param("down", "pixels", in_spec=(-0.92, 1.09), stress=(-3.0, 3.0), neutral=0.0),
        Param("across", "pixels", in_spec=(-0.92, 1.09), stress=(-3.0, 3.0), neutral=0.0),
    ),
    margin=lambda bounds, shape: _shift_margin(max(farthest(bounds["down"]), farthest(bounds["across"]))),
    source=(
        "in_spec: EnMAP's geolocation against Landsat 8, -0.92 to 1.09 px (USGS OFR 2021-1030-S); stress: beyond "
        "PRISMA's lowest, -2.03 px (USGS OFR 2021-1030-K), engineering judgement; its highest, 9.98 px, would move a "
        "small patch off what its label speaks of"
    ),
)
def translation(
    x: np.ndarray, field: None, sensor: Sensor, *, down: np.ndarray, across: np.ndarray, trim: int = 0
) -> np.ndarray:
    """The patch as cut from another place of the scene, some pixels or parts of a pixel away.

    x'[i, j] = x(i + down, j + across), so what stood at (i, j) is seen at (i − down, j − across)

    Between pixels by cubic convolution along columns and rows; where the array ends its last pixel is held.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        down: (n, 1, 1, 1), in pixels, positive towards higher row numbers; 0 moves nothing.
        across: (n, 1, 1, 1), in pixels, positive towards higher column numbers; 0 moves nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: EnMAP, https://pubs.usgs.gov/publication/ofr20211030S/full ; PRISMA,
        https://pubs.usgs.gov/publication/ofr20211030K ; R. Keys, Cubic convolution interpolation, IEEE TASSP 29(6),
        1981.
    """
    height, width = x.shape[1:3]
    shifts = ((down, height), (across, width))
    moved = (
        interpolated(np.arange(trim, length - trim) + shift.reshape(-1, 1).astype(np.float64), length)
        for shift, length in shifts
    )
    return separable(x, *moved)


def _rotation_margin(bounds: Mapping[str, Bounds], shape: tuple[int, int]) -> float:
    """How far a corner of the window is carried beyond it by any angle up to the largest, and what is read there."""
    widest = radians(min(180.0, farthest(bounds["angle"])))
    if widest == 0:
        return 0
    height, width = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    # Along either side the corner is at `side · cos + other · sin`, highest where the angle turns it onto the axis.
    beyond = 0.0
    for side, other in ((height, width), (width, height)):
        turn = min(widest, atan2(other, side))
        beyond = max(beyond, side * cos(turn) + other * sin(turn) - side)
    return beyond + CUBIC_REACH


@relation(
    params=(Param("angle", "degrees counter-clockwise", in_spec=(-2.0, 2.0), stress=(-180.0, 180.0), neutral=0.0),),
    margin=_rotation_margin,
    source=(
        "stress: 0-360 degrees (RSMT relation 9, Bouchoucha et al. 2023, code github.com/rached1997/RSMT); in_spec: "
        "the heading of a platform from one pass to the next, engineering judgement"
    ),
)
def rotation(x: np.ndarray, field: None, sensor: Sensor, *, angle: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch as seen by a platform with another heading: the scene turned about the middle of the patch.

    x'[i, j] = x(c + u · cos(angle) + v · sin(angle), d − u · sin(angle) + v · cos(angle)),   u = i − c, v = j − d

    with (c, d) the middle of the window; 90° is `numpy.rot90`. Between pixels by cubic convolution; where the array
    ends its last pixel is held.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        angle: (n, 1, 1, 1), in degrees, counter-clockwise with the row numbers growing downwards; 0 changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code;
        R. Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981.
    """
    rows, height, width, bands = x.shape
    turn = np.deg2rad(angle.reshape(-1).astype(np.float64))
    cosine, sine = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    middle, centre = (height - 1) / 2, (width - 1) / 2
    u, v = np.arange(trim, height - trim)[:, None] - middle, np.arange(trim, width - trim) - centre
    lines, line_weights = _cubic_taps(middle + u * cosine + v * sine, height)
    columns, column_weights = _cubic_taps(centre - u * sine + v * cosine, width)
    places = lines[..., :, None] * np.int32(width) + columns[..., None, :]
    weights = line_weights[..., :, None] * column_weights[..., None, :]
    shape = (rows, u.size * v.size, places.shape[-1] ** 2)
    return resampled(x, places.reshape(shape), weights.reshape(shape)).reshape(rows, u.size, v.size, bands)


def _cubic_taps(place: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The four pixels of a line that make up its value at each `place`, (..., 4) int32, and their weights, float32."""
    whole = np.rint(place)
    place = np.where(np.abs(place - whole) < WHOLE, whole, place)
    first = np.floor(place)
    samples = np.arange(1 - CUBIC_REACH, 1 + CUBIC_REACH, dtype=np.int32)
    return np.clip(first.astype(np.int32)[..., None] + samples, 0, length - 1), cubic_taps(place - first)


def _zoom_margin(bounds: Mapping[str, Bounds], shape: tuple[int, int]) -> float:
    low, high = bounds["factor"]
    if low < 1:
        return (1 / low - 1) * (max(shape) - 1) / 2 + CUBIC_REACH / low
    return CUBIC_REACH - 1 if high > 1 else 0


@relation(
    params=(Param("factor", "ratio of magnification", in_spec=(0.95, 1.05), stress=(0.3, 5.0), neutral=1.0, log=True),),
    margin=_zoom_margin,
    source=(
        "stress: 0.3-5 (RSMT relation 10, Bouchoucha et al. 2023, code github.com/rached1997/RSMT); in_spec: one part "
        "in twenty of the flying height, engineering judgement"
    ),
)
def zoom(x: np.ndarray, field: None, sensor: Sensor, *, factor: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch as seen from lower down (factor above 1) or higher up (below 1), about its middle.

    x'[i, j] = x(c + (i − c) / factor, d + (j − d) / factor), with (c, d) the middle of the window

    Between pixels by cubic convolution; below 1 its kernel is stretched by 1 / factor, for a pixel then holds the
    light of several. Where the array ends its last pixel is held. RSMT takes the nearest pixel in either case.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        factor: (n, 1, 1, 1), above 0, above 1 things look larger; 1 changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code;
        R. Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981.
    """
    height, width = x.shape[1:3]
    spacing = 1 / factor.reshape(-1, 1).astype(np.float64)
    stretch = np.maximum(spacing, 1)[:, :, None]

    def along(length: int) -> np.ndarray:
        middle = (length - 1) / 2
        return interpolated(middle + (np.arange(trim, length - trim) - middle) * spacing, length, stretch=stretch)

    down = along(height)
    return separable(x, down, down if width == height else along(width))


@relation(
    params=(
        Param("slope", "pixels between first and last band", in_spec=(-0.15, 0.15), stress=(-1.0, 1.0), neutral=0.0),
        Param("step", "pixels between VNIR and SWIR", in_spec=(-0.2, 0.2), stress=(-1.0, 1.0), neutral=0.0),
    ),
    margin=lambda bounds, shape: _shift_margin(farthest(bounds["slope"]) / 2 + farthest(bounds["step"])),
    source=(
        "in_spec: band-to-band shift of EnMAP, -0.135 to 0.15 px (USGS OFR 2021-1030-S), and the requirement of less "
        "than 0.2 px between VNIR and SWIR (EnMAP); stress: one pixel, engineering judgement; a poor camera reaches "
        "0.5 px (HySpex)"
    ),
)
def misregistration(
    x: np.ndarray, field: None, sensor: Sensor, *, slope: np.ndarray, step: np.ndarray, trim: int = 0
) -> np.ndarray:
    """The patch with its bands shifted against each other along a row: keystone, and two spectrometers not aligned.

    x'[i, j, b] = x(i, j + s_b, b),   s_b = slope · (p_b − ½) + step · [λ_b ≥ 1000 nm]

    with p_b from 0 at the shortest to 1 at the longest wavelength, ½ where there is but one. Without wavelengths the
    band's number stands in for λ, and the step is taken after the first half of the bands. Between pixels by cubic
    convolution; where the array ends its last pixel is held.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the wavelengths, where there are any.
        slope: (n, 1, 1, 1), in pixels: the last band looks so much farther along the row than the first; 0 does
            nothing.
        step: (n, 1, 1, 1), in pixels: the bands from 1000 nm on look so much farther along; 0 does nothing, and so
            does any step where all bands are shorter.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: EnMAP, https://pubs.usgs.gov/publication/ofr20211030S/full ; its requirement,
        https://raw.githubusercontent.com/dlr-eoc/ukis-data-tutorials/main/enmap/enmap_datasets.ipynb ; HySpex,
        https://hyspex.com/hyperspectral-imaging/key-quality-parameters/scientific-grade-quality ; R. Keys, Cubic
        convolution interpolation, IEEE TASSP 29(6), 1981.
    """
    place, later = _order(sensor.wavelengths, x.shape[3])
    shift = slope.reshape(-1, 1).astype(np.float64) * (place - 0.5) + step.reshape(-1, 1).astype(np.float64) * later
    # A band is a weighted sum of few views of the patch, most with weight 0 for any one band. Always as many, whatever
    # the batch, so that the order of the sum cannot depend on it.
    reach = max(BAND_REACH, _shift_margin(np.abs(shift).max(initial=0)))
    offsets = np.arange(-reach, reach + 1)
    weights = cubic(offsets[:, None] - shift[:, None]).astype(np.float32)
    views = sliding_window_view(surrounded(x, 0, reach, trim=trim), len(offsets), axis=2)
    return np.asarray(np.einsum("ntb,nijbt->nijb", weights, views))


def _order(wavelengths: np.ndarray | None, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each band lies between the first (0) and the last (1), and whether the second spectrometer sees it."""
    number = np.arange(bands, dtype=np.float64)
    at = number if wavelengths is None else np.asarray(wavelengths, dtype=np.float64)
    later = number >= (bands + 1) // 2 if wavelengths is None else at >= JOIN
    span = at[-1] - at[0]
    return (at - at[0]) / span if span > 0 else np.full(bands, 0.5), later

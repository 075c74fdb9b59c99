"""Sensor: columns, lines, pixels and regions that fail."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation, switch
from relations.sensor.draws import Shape, signed_uniform, uniform

REGION_SPACING = 16
"""Lost regions lie about this many pixels apart, so that most patches see none or one; engineering judgement."""

REGION_JITTER = 0.25
"""Centres of regions lie up to this many pixels beside the centre of a pixel; it decides to which side a region of
even size extends, and at which size below one pixel its first pixel is lost."""


def _per_column_signed(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return signed_uniform(rng, (1, shape[1], shape[2]))


@relation(
    params=(
        Param("share", "share of the columns", in_spec=(0.0, 0.05), stress=(0.0, 0.2), neutral=0.0, jumps=True),
        Param("depth", "relative change of the signal", in_spec=(0.0, 0.02), stress=(0.0, 0.25), neutral=0.0),
        Param("offset", "share of the sensor's range", in_spec=(0.0, 0.005), stress=(0.0, 0.25), neutral=0.0),
    ),
    draw=_per_column_signed,
    source=(
        "stress: up to 20 % of the columns (RSMT relation 3), offsets up to 0.25 of the range (QRNN3D, HyDe); depth to "
        "match; in_spec: low-amplitude stripes as seen to appear in flight over a season (NERC-ARF), amplitudes "
        "engineering judgement"
    ),
)
def stripes(
    x: np.ndarray,
    field: np.ndarray,
    sensor: Sensor,
    *,
    share: np.ndarray,
    depth: np.ndarray,
    offset: np.ndarray,
) -> np.ndarray:
    """The patch with some detector columns brighter or darker than their neighbours, band by band.

    x' = x · (1 ± depth) ± offset · (high − low) where |field| < share, the sign that of the field; x elsewhere

    A column belongs to one detector element of a pushbroom sensor, so a stripe runs through the whole scene and
    through every patch over it.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, 1, w, b), uniform in [−1, 1): the share at which each column of each band is hit, and the sign.
        sensor: gives the range.
        share: (n, 1, 1, 1), expected share of the columns in each band, in [0, 1]; 0 changes nothing.
        depth: (n, 1, 1, 1), relative change of the signal, at least 0.
        offset: (n, 1, 1, 1), share of the sensor's range, at least 0.

    Source: QRNN3D, https://github.com/Vandermode/QRNN3D ; HyDe, https://github.com/Helmholtz-AI-Energy/HyDe ;
        the in_spec amplitudes are engineering judgement.
    """
    sign = np.where(np.abs(field) < share, np.where(field < 0, np.float32(-1), np.float32(1)), np.float32(0))
    striped = x * (1 + sign * depth)
    striped += sign * (offset * np.float32(sensor.high - sensor.low))
    return striped


def _lines_breaks_and_bands(rng: np.random.Generator, shape: Shape) -> tuple[np.ndarray, ...]:
    height, width, bands = shape
    sides = ((height, 1, 1), (1, width, bands), (height, width, 1), (1, 1, bands))
    return tuple(uniform(rng, side) for side in sides)


@relation(
    params=(
        Param("share", "share of the lines", in_spec=(0.0, 0.01), stress=(0.0, 0.2), neutral=0.0, jumps=True),
        Param("bands", "share of the bands", in_spec=(0.0, 1.0), stress=(0.0, 1.0), neutral=0.0, jumps=True),
        Param("filled", "share of the line's pixels", in_spec=(0.5, 1.0), stress=(0.5, 1.0)),
        switch("columns", "rows", "columns"),
        switch("bright", "low end of the range", "high end"),
    ),
    draw=_lines_breaks_and_bands,
    source=(
        "stress: 0-20 % of the lines and 50-100 % of their pixels (RSMT relations 1 and 2, Bouchoucha et al. 2023, "
        "code github.com/rached1997/RSMT), whose 0-20 % of the bands lie inside; 5-15 % of the columns in QRNN3D lie "
        "inside; in_spec: what a standard L1 correction of dead pixels leaves, engineering judgement"
    ),
)
def dead_lines(
    x: np.ndarray,
    field: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    sensor: Sensor,
    *,
    share: np.ndarray,
    bands: np.ndarray,
    filled: np.ndarray,
    columns: np.ndarray,
    bright: np.ndarray,
) -> np.ndarray:
    """The patch with some of its lines reading nothing, or full scale.

    x' = high if bright else low where line < share and band < bands and break < filled, x elsewhere; line is the layer
    of the rows or that of the columns

    In a pushbroom sensor a row is one frame, lost in all bands at once or in those of one read-out; a column of one
    band is one detector element, dead over the whole scene. A line that is not filled is broken: it loses only so much
    of its pixels, scattered, as with a loose contact.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: rows (n, h, 1, 1), columns (n, 1, w, b), breaks (n, h, w, 1) and bands (n, 1, 1, b), uniform in
            [0, 1): lower ones are hit first, so doses nest.
        sensor: gives the range.
        share: (n, 1, 1, 1), expected share of the rows, or of the columns in each band, in [0, 1]; 0 changes nothing.
        bands: (n, 1, 1, 1), expected share of the bands in which lines are lost, in [0, 1]; 0 changes nothing.
        filled: (n, 1, 1, 1), expected share of a line's pixels that are lost, in [0, 1]; 1 for whole lines.
        columns: (n, 1, 1, 1), 0 for rows, 1 for columns.
        bright: (n, 1, 1, 1), 0 for lines at the low end of the range, 1 for the high end.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code; QRNN3D,
        https://github.com/Vandermode/QRNN3D ; the in_spec bound is engineering judgement.
    """
    rows, elements, breaks, numbers = field
    half = np.float32(0.5)
    chosen = numbers < bands
    lost = (rows < share) & (columns < half) & chosen | (elements < share) & (columns >= half) & chosen
    lost = lost & (breaks < filled)
    value = np.where(bright >= half, np.float32(sensor.high), np.float32(sensor.low))
    hit = x.copy()
    np.copyto(hit, value, where=lost)
    return hit


def _per_pixel_signed(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return signed_uniform(rng, (shape[0], shape[1], 1))


@relation(
    params=(Param("share", "share of the pixels", in_spec=(0.0, 0.0005), stress=(0.0, 0.07), neutral=0.0, jumps=True),),
    draw=_per_pixel_signed,
    source=(
        "stress: up to 7 % of the pixels (RSMT relation 6, Bouchoucha et al. 2023, code github.com/rached1997/RSMT); "
        "in_spec: what a standard L1 correction of bad pixels leaves, engineering judgement"
    ),
)
def salt_and_pepper(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, share: np.ndarray) -> np.ndarray:
    """The patch with a share of its pixels at an end of the sensor's range in all bands.

    x' = high where field ≥ 1 − share, low where field < share − 1, x elsewhere

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, 1), uniform in [−1, 1): pixels at its ends are hit first, so doses nest.
        sensor: gives the range.
        share: (n, 1, 1, 1), expected share of the pixels, in [0, 1]; 0 changes nothing.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code; the
        in_spec bound is engineering judgement.
    """
    hit = x.copy()
    hit[(field >= 1 - share)[..., 0]] = sensor.high
    hit[(field < share - 1)[..., 0]] = sensor.low
    return hit


def _distance_to_centres(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Chebyshev distance in pixels of each pixel to the nearest centre, (H, W, 1).

    One centre lies in each cell of a grid, at any of its pixels, so that the nearest within half a cell is in one of
    nine cells.
    """
    height, width, _ = shape
    down, across = (max(1, round(side / REGION_SPACING)) for side in (height, width))
    tall, wide = height / down, width / across
    places = np.full((2, down + 2, across + 2), np.inf)
    places[0, 1:-1, 1:-1] = np.floor((np.arange(down)[:, None] + rng.random((down, across))) * tall)
    places[1, 1:-1, 1:-1] = np.floor((np.arange(across) + rng.random((down, across))) * wide)
    places[:, 1:-1, 1:-1] += rng.uniform(-REGION_JITTER, REGION_JITTER, (2, down, across))
    i, j = np.arange(height)[:, None], np.arange(width)
    cell_down, cell_across = ((i + 0.5) / tall).astype(int), ((j + 0.5) / wide).astype(int)
    nearest = np.full((height, width), np.inf)
    for p in range(3):
        for q in range(3):
            at = places[:, cell_down + p, cell_across + q]
            np.minimum(nearest, np.maximum(np.abs(at[0] - i), np.abs(at[1] - j)), out=nearest)
    return nearest.astype(np.float32)[:, :, None]


def _distances_and_bands(rng: np.random.Generator, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    return _distance_to_centres(rng, shape), uniform(rng, (1, 1, shape[2]))


@relation(
    params=(
        Param("size", "pixels", in_spec=(0.0, 1.0), stress=(0.0, 5.0), neutral=0.0, jumps=True),
        Param("bands", "share of the bands", in_spec=(0.0, 1.0), stress=(0.0, 1.0), neutral=0.0, jumps=True),
        switch("bright", "low end of the range", "high end"),
    ),
    draw=_distances_and_bands,
    source=(
        "stress: 5 x 5 pixels, the cap on regions that RSMT declares (relation 4, Bouchoucha et al. 2023, code "
        "github.com/rached1997/RSMT), whose 0-20 % of the bands lie inside; in_spec: single pixels, engineering "
        "judgement"
    ),
)
def region_loss(
    x: np.ndarray,
    field: tuple[np.ndarray, np.ndarray],
    sensor: Sensor,
    *,
    size: np.ndarray,
    bands: np.ndarray,
    bright: np.ndarray,
) -> np.ndarray:
    """The patch with square regions lost in some or all bands, at an end of the sensor's range.

    x' = high if bright else low where distance < size / 2 and band < bands, x elsewhere

    Regions lie about 16 pixels apart in both directions, each around a random point, and grow with the dose. One of
    a whole number of pixels covers size × size of them. The smallest loss is one pixel: a region appears at a size
    between 0 and half a pixel.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: distances (n, h, w, 1), Chebyshev, to the nearest centre in pixels; bands (n, 1, 1, b), uniform in
            [0, 1): lower ones are hit first, so doses nest.
        sensor: gives the range.
        size: (n, 1, 1, 1), side of the regions in pixels, at least 0; 0 changes nothing.
        bands: (n, 1, 1, 1), expected share of the bands in which they are lost, in [0, 1]; 0 changes nothing.
        bright: (n, 1, 1, 1), 0 for regions at the low end of the range, 1 for the high end.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code; the
        spacing and the in_spec bound are engineering judgement.
    """
    distances, numbers = field
    value = np.where(bright >= np.float32(0.5), np.float32(sensor.high), np.float32(sensor.low))
    hit = x.copy()
    # Few pixels are hit: they are gathered, changed and put back.
    lost = np.nonzero((distances < size / 2)[..., 0])
    row = lost[0]
    hit[lost] = np.where((numbers < bands)[row, 0, 0], value[row, 0, 0], hit[lost])
    return hit

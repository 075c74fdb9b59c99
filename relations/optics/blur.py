"""Optics: what the lens and the platform's motion do to neighbouring pixels."""

from __future__ import annotations

from math import ceil

import cv2
import numpy as np

from relations.core import Param, Sensor, farthest, relation
from relations.kernels import REACH, along_both, box, convolved, gaussian, spread, surrounded, towards

MOTION_POINTS = 64
"""Points on the line of a motion: at the longest, 9 pixels, seven to a pixel."""

DISK_RINGS = 8
"""Rings of points on the disk of a defocus: 4 · 8² points, at the largest radius, 4 pixels, five to a pixel."""

CHANNELS = 256
"""Bands in one call of OpenCV, whose images hold at most 512 channels."""


def _disk() -> tuple[np.ndarray, np.ndarray]:
    """Points evenly over the unit disk, (down, across), each (4 · DISK_RINGS²,) float64.

    Ring m of M lies between the radii m / M and (m + 1) / M, has 4 · (2m + 1) points, as its area asks for, and
    stands at its root mean square radius: the second moment is the disk's, 1/4 in each direction.
    """
    ring = np.repeat(np.arange(DISK_RINGS), 4 * (2 * np.arange(DISK_RINGS) + 1))
    number = np.arange(len(ring)) - 4 * ring**2
    away = np.sqrt((ring**2 + (ring + 1) ** 2) / 2) / DISK_RINGS
    turn = 2 * np.pi * (number + 0.5) / (4 * (2 * ring + 1))
    return away * np.sin(turn), away * np.cos(turn)


DISK = _disk()


@relation(
    params=(Param("sigma", "pixels", in_spec=(0.0, 0.63), stress=(0.0, 1.6), neutral=0.0),),
    margin=lambda bounds, shape: REACH * farthest(bounds["sigma"]),
    source=(
        "in_spec: what turns a good camera's point spread of FWHM 1.1 px (HySpex) into PRISMA's 1.97 px (USGS OFR "
        "2021-1030-K): a variance of (1.97² - 1.1²) / 2.355², of which the light of a pixel, even over its area, makes "
        "up 1/12 and sigma² the rest; stress: into FWHM 4 px, likewise, engineering judgement"
    ),
)
def gaussian_blur(x: np.ndarray, field: None, sensor: Sensor, *, sigma: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch seen through a wider Gaussian point spread, the same in all bands.

    x'[i, j] = Σ_k Σ_l K[i, k] · K[j, l] · x[k, l],   K[i, k] ∝ Φ((|i − k| + ½) / σ) − Φ((|i − k| − ½) / σ)

    The light of a pixel lies evenly over its area, is spread by a Gaussian (Φ is its integral) and read at the
    centres: from half a pixel on that adds a variance of σ² + 1/12, below it less. Unlike a Gaussian sampled at the
    centres, which does nothing below 0.3 px, this follows the analytic edge response at every σ. Beyond the array
    nothing is known: there the weights inside are scaled up to sum to 1. With the declared margin around the patch
    this never reaches what is kept.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        sigma: (n, 1, 1, 1), standard deviation in pixels, at least 0; 0 changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: PRISMA, https://pubs.usgs.gov/publication/ofr20211030K ; HySpex,
        https://hyspex.com/hyperspectral-imaging/key-quality-parameters/scientific-grade-quality .
    """
    return along_both(x, gaussian, sigma, trim)


@relation(
    params=(
        Param("length", "pixels", in_spec=(0.0, 1.0), stress=(0.0, 9.0), neutral=0.0),
        Param("angle", "degrees counter-clockwise from a row", in_spec=(0.0, 180.0), stress=(0.0, 180.0)),
    ),
    margin=lambda bounds, shape: ceil(farthest(bounds["length"]) / 2),
    source=(
        "in_spec: the ground moves by one sampling distance while a line is read, engineering judgement; stress: the "
        "width of a small patch, engineering judgement"
    ),
)
def motion_blur(
    x: np.ndarray, field: None, sensor: Sensor, *, length: np.ndarray, angle: np.ndarray, trim: int = 0
) -> np.ndarray:
    """The patch smeared along a straight line, as by a platform that moves evenly while the detector collects light.

    x'[i, j] = mean over t in [−½, ½] of x[i − t · length · sin(angle), j + t · length · cos(angle)]

    The mean is taken over 64 points; between pixels the scene is linear. All bands move together. Where the array
    ends its last pixel is held.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        length: (n, 1, 1, 1), way of the platform in pixels, at least 0; 0 changes nothing.
        angle: (n, 1, 1, 1), in degrees; 0 smears across the columns, 90 across the rows.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: engineering judgement.
    """
    ways, turns = length.reshape(-1).astype(np.float64), np.deg2rad(angle.reshape(-1).astype(np.float64))
    points = (np.arange(MOTION_POINTS) + 0.5) / MOTION_POINTS - 0.5

    def kernels(rows: np.ndarray, radius: int) -> np.ndarray:
        way, turn = ways[rows, None] * points, turns[rows, None]
        return spread(-np.sin(turn) * way, np.cos(turn) * way, radius)

    return convolved(x, np.ceil(ways / 2).astype(int), kernels, trim=trim)


@relation(
    params=(Param("radius", "pixels", in_spec=(0.0, 1.0), stress=(0.0, 4.0), neutral=0.0),),
    margin=lambda bounds, shape: ceil(farthest(bounds["radius"])),
    source=(
        "in_spec: spreads the light no farther than gaussian_blur does in_spec, 1² / 4 against 0.63² square pixels in "
        "each direction, engineering judgement; stress: a disk as wide as a small patch, engineering judgement"
    ),
)
def defocus(x: np.ndarray, field: None, sensor: Sensor, *, radius: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch out of focus: the light of a point lies evenly over a disk, the image of the lens's aperture.

    x'[i, j] = mean over the points (u, v) of the unit disk of x[i + radius · u, j + radius · v]

    The mean is taken over 256 points in rings, which have the disk's symmetry and second moment; between pixels the
    scene is linear. Where the array ends its last pixel is held.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        radius: (n, 1, 1, 1), radius of the disk in pixels, at least 0; 0 changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: engineering judgement.
    """
    radii = radius.reshape(-1).astype(np.float64)
    down, across = DISK

    def kernels(rows: np.ndarray, reach: int) -> np.ndarray:
        return spread(radii[rows, None] * down, radii[rows, None] * across, reach)

    return convolved(x, np.ceil(radii).astype(int), kernels, trim=trim)


@relation(
    params=(
        Param("share", "share of the light", in_spec=(0.0, 0.02), stress=(0.0, 0.3), neutral=0.0),
        Param("reach", "pixels", in_spec=(2.0, 4.0), stress=(2.0, 4.0)),
    ),
    margin=lambda bounds, shape: REACH * bounds["reach"][1] if farthest(bounds["share"]) > 0 else 0,
    source=(
        "stray light stands in every instrument's calibration plan (EnMAP), but public documents give no range: "
        "engineering judgement for both tiers and for the reach, which is wider than any blur here"
    ),
)
def stray_light(
    x: np.ndarray, field: None, sensor: Sensor, *, share: np.ndarray, reach: np.ndarray, trim: int = 0
) -> np.ndarray:
    """The patch veiled by light that was scattered in the instrument: a share of each pixel's light lands far away.

    x' = x + share · (G ⊛ x − x),   G a Gaussian with standard deviation `reach`, as in `gaussian_blur`

    So the point spread is a sharp core over a wide halo: no light is lost, bright surroundings lift a dark pixel.
    Beyond the array nothing is known: there the weights inside are scaled up to sum to 1.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        share: (n, 1, 1, 1), share of the light that is scattered, in [0, 1]; 0 changes nothing.
        reach: (n, 1, 1, 1), standard deviation of the halo in pixels, above 0.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: engineering judgement; that there is stray light, EnMAP,
        https://paperexplained.cn/articles/paper/detail/163194152e40376e875fb2c81e70508568dce690 .
    """
    height, width = x.shape[1:3]
    kept = x[:, trim : height - trim, trim : width - trim]
    return towards(kept, along_both(x, gaussian, reach, trim), share)


@relation(
    params=(Param("size", "pixels", in_spec=(1.0, 1.9), stress=(1.0, 5.0), neutral=1.0),),
    margin=lambda bounds, shape: (bounds["size"][1] - 1) / 2,
    source=(
        "stress: kernels of 1 to 5 pixels (DFLARE's mean blur, myLib/img_mutations.py); in_spec: spreads the light no "
        "farther than gaussian_blur does in_spec, 0.9 / 1.9 against 0.63² + 1/12 square pixels, engineering judgement"
    ),
)
def box_blur(x: np.ndarray, field: None, sensor: Sensor, *, size: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch averaged over a square window about each pixel, as by a detector element wider than its spacing.

    x'[i, j] = Σ_k Σ_l K[i, k] · K[j, l] · x[k, l],   K[i, k] = |[i − size / 2, i + size / 2] ∩ [k − ½, k + ½]| / size

    At odd whole sizes that is the plain mean of size × size pixels; in between, and at even sizes, the outermost
    pixels count by the share that is covered, on both sides alike. Beyond the array nothing is known: there the
    weights inside are scaled up to sum to 1.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        size: (n, 1, 1, 1), width of the square in pixels, at least 1; 1 changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: DFLARE, Tian et al., ACM TOSEM 2023, doi 10.1145/3583564, code https://github.com/yqtianust/DFlare ; the
        in_spec bound is engineering judgement.
    """
    return along_both(x, box, size, trim)


@relation(
    params=(Param("radius", "pixels", in_spec=(0, 1), stress=(0, 2), neutral=0, integer=True),),
    margin=lambda bounds, shape: farthest(bounds["radius"]),
    source=(
        "stress: windows of 1, 3 and 5 pixels (DFLARE, myLib/img_mutations.py, goes to 7); in_spec: the smallest "
        "window, as a repair of bad pixels leaves behind, engineering judgement"
    ),
)
def median_blur(x: np.ndarray, field: None, sensor: Sensor, *, radius: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch after a median filter in every band, as a repair of bad pixels leaves behind.

    x'[i, j] = median of x[k, l] over |k − i| ≤ radius, |l − j| ≤ radius

    Where the array ends its last pixel is held, as OpenCV does.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        radius: (n, 1, 1, 1), 0, 1 or 2 pixels (windows of 1, 3 or 5), a broken value counts as the next higher; 0
            changes nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: DFLARE, Tian et al., ACM TOSEM 2023, doi 10.1145/3583564, code https://github.com/yqtianust/DFlare ; the
        in_spec bound is engineering judgement.
    """
    rows, height, width, bands = x.shape
    high, wide = height - 2 * trim, width - 2 * trim
    radii = np.ceil(radius.reshape(-1)).astype(int)
    out = np.empty((rows, high, wide, bands), dtype=np.float32)
    for reach in np.unique(radii).tolist():
        chosen = np.flatnonzero(radii == reach)
        if reach == 0:
            out[chosen] = x[chosen, trim : height - trim, trim : width - trim]
            continue
        framed = surrounded(x[chosen], reach, reach, trim=trim)
        # One image of all patches below each other: their frames keep them apart. OpenCV documents 1, 3 and 4 channels,
        # but up to 5 x 5 it sorts any number of them.
        image = framed.reshape(-1, *framed.shape[2:])
        for first in range(0, bands, CHANNELS):
            part = slice(first, first + CHANNELS)
            smooth = cv2.medianBlur(np.ascontiguousarray(image[:, :, part]), 2 * reach + 1)
            smooth = smooth.reshape(*framed.shape[:3], -1)
            out[chosen, :, :, part] = smooth[:, reach:-reach, reach:-reach]
    return out

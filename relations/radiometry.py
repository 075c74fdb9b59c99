"""Radiometry: how bright the scene is taken to be, by the sunlight on it and by the sensor's response."""

from __future__ import annotations

import numpy as np

from relations.atmosphere import cloudiness, wavelength_power
from relations.core import Param, Sensor, relation
from relations.kernels import towards

CURVE_ORDERS = 4
"""A drift has at most so many half periods over the wavelengths; engineering judgement."""

SLOPE_WAVES = 3
SLOPE_PERIODS = (30.0, 90.0)
"""Sunlit slopes: how many waves of ground, and their shortest and longest period in pixels; engineering judgement."""

DARKEST = np.float32(1e-6)
"""Where a share of the range is too small to take its logarithm; below the last of 16 bits."""

SHADOW_EDGE = 0.15
"""Width of a shadow's edge in shares of the scene: some 4 pixels at a cover of a half and 9 at a tenth (measured)."""

SKY = 0.15
SKY_EXPONENT = 2.0
"""The sky's share of the light at 550 nm under a clear sky, and the power of the wavelength with which it falls,
between that of molecules, 4, and of aerosol, 1.3. Engineering judgement."""


@relation(
    params=(Param("gain", "relative change of the signal", in_spec=(-0.05, 0.05), stress=(-0.5, 0.5), neutral=0.0),),
    source=(
        "in_spec: absolute radiometric accuracy below 5 %, EnMAP (ISPRS Annals V-1-2020, 41) and PRISMA in the "
        "NIR/SWIR (Cogliati et al. 2021); stress: half to one and a half times the signal, engineering judgement"
    ),
)
def brightness(x: np.ndarray, field: None, sensor: Sensor, *, gain: np.ndarray) -> np.ndarray:
    """The patch with all bands brightened or darkened by the same factor.

    x' = x · (1 + gain)

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: not used.
        gain: (n, 1, 1, 1), relative change of the signal; 0 changes nothing.

    Source: EnMAP, https://isprs-annals.copernicus.org/articles/V-1-2020/41/2020/ ; PRISMA,
        https://juser.fz-juelich.de/record/892747 ; the stress bounds are engineering judgement.
    """
    return x * (1 + gain)


@relation(
    params=(Param("level", "share of the sensor's range", in_spec=(-0.037, 0.02), stress=(-0.1, 0.3), neutral=0.0),),
    source=(
        "in_spec: offsets against Landsat 8, in reflectance, from PRISMA's lowest -0.037 (USGS OFR 2021-1030-K) to "
        "EnMAP's highest +0.020 (USGS OFR 2021-1030-S); stress: CIFAR-10-C's strongest brightness, +0.3 (Hendrycks and "
        "Dietterich 2019, code), downwards about three times in_spec, engineering judgement"
    ),
)
def offset(x: np.ndarray, field: None, sensor: Sensor, *, level: np.ndarray) -> np.ndarray:
    """The patch lifted or lowered by the same amount in every band, as by dark current or path radiance.

    x' = x + level · (high − low)

    The published offsets are in reflectance, where the range is 1; here they are a share of the sensor's range.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the range.
        level: (n, 1, 1, 1), share of the sensor's range; 0 changes nothing.

    Source: EnMAP, https://pubs.usgs.gov/publication/ofr20211030S/full ; PRISMA,
        https://pubs.usgs.gov/publication/ofr20211030K ; CIFAR-10-C, https://github.com/hendrycks/robustness .
    """
    return x + level * np.float32(sensor.high - sensor.low)


def _coefficients(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    """Standard normal weights of a constant and of a cosine and a sine of each order, each (1, 1, 1)."""
    return tuple(rng.standard_normal((1, 1, 1), dtype=np.float32) for _ in range(1 + 2 * CURVE_ORDERS))


def _smooth_curve(coefficients: tuple[np.ndarray, ...], sensor: Sensor, bands: int) -> np.ndarray:
    """(n, 1, 1, b): the constant and the waves over the wavelengths, scaled to a largest |value| of 1."""
    at = np.arange(bands, dtype=np.float64) if sensor.wavelengths is None else np.asarray(sensor.wavelengths)
    span = at[-1] - at[0]
    turn = np.pi * ((at - at[0]) / span if span > 0 else np.full(bands, 0.5))
    waves = [wave(order * turn) for order in range(1, CURVE_ORDERS + 1) for wave in (np.cos, np.sin)]
    curve = np.repeat(coefficients[0], bands, axis=3)
    for weight, wave in zip(coefficients[1:], waves, strict=True):
        curve += weight * wave.astype(np.float32)
    return np.asarray(curve / np.maximum(np.abs(curve).max(axis=3, keepdims=True), np.finfo(np.float32).tiny))


def _plane_waves(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """(H, W, 1) in [−1, 1]: the weighted mean of a few sines of random direction, period and phase."""
    height, width, _ = shape
    angle, phase = 2 * np.pi * rng.random((2, SLOPE_WAVES, 1, 1))
    pace = 2 * np.pi / rng.uniform(*SLOPE_PERIODS, (SLOPE_WAVES, 1, 1))
    along = np.sin(angle) * np.arange(height)[:, None] + np.cos(angle) * np.arange(width)
    weight = rng.uniform(0.5, 1.0, (SLOPE_WAVES, 1, 1))
    return (weight / weight.sum() * np.sin(pace * along + phase)).sum(axis=0).astype(np.float32)[:, :, None]


@relation(
    params=(Param("depth", "relative change of the signal", in_spec=(0.0, 0.07), stress=(0.0, 0.5), neutral=0.0),),
    draw=_coefficients,
    source=(
        "in_spec: PRISMA against field spectra, 2-7 % in the visible (Cogliati et al. 2021); EnMAP's slopes against "
        "Landsat 8, 0.947-1.031, lie inside (USGS OFR 2021-1030-S); stress: half to one and a half times the signal, "
        "engineering judgement"
    ),
)
def gain_drift(x: np.ndarray, field: tuple[np.ndarray, ...], sensor: Sensor, *, depth: np.ndarray) -> np.ndarray:
    """The patch seen by a sensor whose gain has drifted, more in some bands than in others.

    x' = x · (1 + depth · c_b / max|c|),   c_b = f_0 + Σ_{k=1..4} f_{2k−1} · cos(kπ · p_b) + f_{2k} · sin(kπ · p_b)

    with p_b from 0 at the shortest to 1 at the longest wavelength, ½ where there is but one; without wavelengths the
    band's number stands in for them. Lamps age, optics grow dull and filters drift smoothly over the wavelengths: bands
    close to each other drift together, those across a gap less so, and the shape of every spectrum bends in the same
    way. With a single band it is brightness, up or down.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: the nine f, each (n, 1, 1, 1), standard normal.
        sensor: gives the wavelengths, where there are any.
        depth: (n, 1, 1, 1), relative change in the band that drifts most, at least 0; 0 changes nothing.

    Source: PRISMA, https://juser.fz-juelich.de/record/892747 ; EnMAP,
        https://pubs.usgs.gov/publication/ofr20211030S/full ; the stress bound is engineering judgement.
    """
    return x * (1 + depth * _smooth_curve(field, sensor, x.shape[3]))


@relation(
    params=(
        Param("change", "relative change of the contrast", in_spec=(-0.05, 0.05), stress=(-0.95, 1.0), neutral=0.0),
    ),
    source=(
        "stress: contrast times 0.05, ImageNet-C's harshest (hendrycks/robustness, corruptions.py), to twice the "
        "contrast, engineering judgement; in_spec: engineering judgement, that of the absolute radiometric accuracy"
    ),
)
def contrast(x: np.ndarray, field: None, sensor: Sensor, *, change: np.ndarray) -> np.ndarray:
    """The patch with all that differs from the scene's typical level made weaker or stronger.

    x' = x + (x − signal_b) · change

    The pivot is each band's level over the whole scene and not over the patch, so that a pixel's value does not
    depend on where the window lies; ImageNet-C, with one picture a scene, takes the mean of each channel.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the signal.
        change: (n, 1, 1, 1), relative change of the distance from the signal, at least −1; 0 changes nothing.

    Source: ImageNet-C, https://github.com/hendrycks/robustness ; the other bounds are engineering judgement.
    """
    return towards(x, sensor.signal, -change)


@relation(
    params=(
        Param("exponent", "exponent of the response", in_spec=(0.98, 1.02), stress=(0.4, 2.5), neutral=1.0, log=True),
    ),
    source=(
        "engineering judgement: in_spec: a residual non-linearity that moves a tenth of the range by 5 % of its value; "
        "stress: from the square root and beyond to more than the square"
    ),
)
def gamma(x: np.ndarray, field: None, sensor: Sensor, *, exponent: np.ndarray) -> np.ndarray:
    """The patch seen through a response that is not linear: dark values lifted or pressed down, the ends kept.

    x' = low + (high − low) · t^exponent,   t = (x − low) / (high − low)

    Values below the low end stay as they are. Below a millionth of the range the curve is a straight line down to
    the end: the slope of a root at 0 is infinite.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the range.
        exponent: (n, 1, 1, 1), above 0; 1 changes nothing, less brightens, more darkens.

    Source: engineering judgement.
    """
    light = np.subtract(x, np.float32(sensor.low), out=np.empty(x.shape, dtype=np.float32))
    np.maximum(light, 0, out=light)
    # t^(γ − 1) as exp((γ − 1) · log t) is exactly 1 at γ = 1, and faster than a power.
    factor = light * np.float32(1 / (sensor.high - sensor.low))
    np.maximum(factor, DARKEST, out=factor)
    np.log(factor, out=factor)
    factor *= exponent - 1
    np.exp(factor, out=factor)
    factor -= 1
    factor *= light
    factor += x
    return factor


@relation(
    params=(Param("level", "relative excess of the exposure", in_spec=(0.0, 0.1), stress=(0.0, 9.0), neutral=0.0),),
    source=(
        "engineering judgement: in_spec: wells that are full at ten elevenths of the range, as where the exposure is "
        "10 % too long; stress: at a tenth of the range"
    ),
)
def saturation(x: np.ndarray, field: None, sensor: Sensor, *, level: np.ndarray) -> np.ndarray:
    """The patch with its brightest values cut off where the detector's wells are full.

    x' = min(x, low + (high − low) / (1 + level)) where level > 0, x elsewhere

    An exposure (1 + level) times too long fills the wells with so much less light; the product, in the scene's unit,
    divides it out again, and what remains is a lower ceiling.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the range.
        level: (n, 1, 1, 1), relative excess of the exposure, at least 0; 0 changes nothing, not even values above the
            range.

    Source: engineering judgement.
    """
    low, reach = np.float32(sensor.low), np.float32(sensor.high - sensor.low)
    return np.minimum(x, np.where(level > 0, low + reach / (1 + level), np.float32(np.inf)))


@relation(
    params=(
        Param("depth", "share of the direct sunlight", in_spec=(0.0, 0.2), stress=(0.0, 1.0), neutral=0.0),
        Param("cover", "share of the scene in shadow", in_spec=(0.1, 0.5), stress=(0.05, 0.95)),
    ),
    draw=cloudiness,
    source=(
        "engineering judgement: in_spec: the shadow of a cloud too thin for EnMAP's quality layer to flag; stress: no "
        "direct sunlight at all"
    ),
)
def shadow(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, depth: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """The patch partly in a soft-edged shadow, where less of the sun but all of the sky's light arrives.

    x' = x · (1 − depth · mask · (1 − sky_b)),   mask = clip((cover − field) / edge + ½, 0, 1)

    sky_b = min(1, 0.15 · (λ_b / 550 nm)^−2) is the sky's share of the light in the open: a shadow is bluish, and
    darkest in the infrared. Without wavelengths the share is 0.15 in every band. The edge is a few pixels wide, and
    narrower where the cover is so near 0 or 1 that the mask's mean would not be the cover.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, 1), smooth, uniform in [0, 1]: the cover from which on a pixel is in shadow, so shadows nest.
        sensor: gives the wavelengths, where there are any.
        depth: (n, 1, 1, 1), share of the direct sunlight taken away, in [0, 1]; 0 changes nothing.
        cover: (n, 1, 1, 1), share of the scene in shadow, above 0 and below 1.

    Source: engineering judgement; EnMAP's quality layers,
        https://raw.githubusercontent.com/dlr-eoc/ukis-data-tutorials/main/enmap/enmap_datasets.ipynb .
    """
    edge = np.minimum(np.float32(SHADOW_EDGE), 2 * np.minimum(cover, 1 - cover))
    mask = np.clip((cover - field) / edge + np.float32(0.5), 0, 1)
    sky = np.minimum(np.float32(SKY) * wavelength_power(sensor, np.float32(SKY_EXPONENT)), np.float32(1))
    dimmed = np.multiply(depth * mask, sky - 1, out=np.empty(x.shape, dtype=np.float32))
    dimmed += 1
    dimmed *= x
    return dimmed


@relation(
    params=(Param("depth", "relative change of the signal", in_spec=(0.0, 0.027), stress=(0.0, 0.3), neutral=0.0),),
    draw=_plane_waves,
    source=(
        "in_spec: EMIT's reflectance differs by up to 2.7 % between dates and times of day, put down to solar geometry "
        "(doi 10.48577/jpl.4ZAXN0); stress: 30 %, engineering judgement"
    ),
)
def illumination_gradient(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, depth: np.ndarray) -> np.ndarray:
    """The patch on ground that leans towards the sun here and away from it there: light that slopes over the scene.

    x' = x · (1 + depth · field)

    All bands change alike. The slopes are some tens of pixels long, so that one side of a patch is brighter than the
    other.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, 1), smooth in [−1, 1].
        sensor: not used.
        depth: (n, 1, 1, 1), the largest relative change of the signal, in [0, 1]; 0 changes nothing.

    Source: EMIT, https://doi.org/10.48577/jpl.4ZAXN0 ; the stress bound is engineering judgement.
    """
    return x * (1 + depth * field)

"""Atmosphere: what the air between the sun, the ground and the sensor does to the light.

The optical depths are those of the light's whole way, down and up; sunlight and sky are not followed ray by ray.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from relations.core import Param, Sensor, farthest, relation
from relations.kernels import REACH, along_both, gaussian, towards

REFERENCE = 550.0
"""The wavelength in nm at which optical depths are given, as is usual for aerosols."""

AIRLIGHT = 0.5
"""Brightness of haze too thick to see through, as a share of the sensor's range above its low end: the mid-level
of the random fog of ImageNet-C, which runs from 0 to 1."""

CLOUD = 0.9
"""Brightness of an opaque ice cloud, as a share of the sensor's range above its low end; engineering judgement."""

CLOUD_SCALE = 8.0
"""Standard deviation in pixels of the Gaussian that smooths white noise into clouds; engineering judgement: clouds
some tens of pixels wide, so that many a patch lies over an edge."""

SURROUNDINGS = 5.0
"""Standard deviation in pixels of the surroundings that scatter light into a pixel's view; engineering judgement:
nature's reach is up to a kilometre, but 20 pixels on each side are what a patch can afford."""

SCATTER_EXPONENT = 1.3
"""Light from the surroundings falls with this power of the wavelength, as fine aerosol does; engineering judgement."""

WATER_CENTRES = (720.0, 820.0, 940.0, 1130.0, 1380.0, 1880.0, 2700.0)
WATER_WIDTHS = (8.0, 9.0, 20.0, 22.0, 35.0, 45.0, 110.0)
WATER_DEPTHS = (0.08, 0.1, 0.6, 0.7, 4.0, 5.0, 6.0)
"""Water vapour's bands: centres and standard deviations in nm, optical depths of the column present at the centre.
Engineering judgement after published spectra: at 10 nm resolution the bands at 720 and 820 nm are faint, 940 and
1130 nm pass about half of the light, 1380, 1880 and 2700 nm next to nothing."""


def cloudiness(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """A smooth random field (H, W, 1) float32 in [0, 1], every value equally frequent: the share that lies below it.

    The ranks of white noise smoothed by `CLOUD_SCALE`. One common fraction of a rank is random, so that a scene of a
    single pixel is uniform too.
    """
    smooth = gaussian_filter(rng.standard_normal(shape[:2]), CLOUD_SCALE)
    rank = np.empty(smooth.size, dtype=np.float64)
    rank[np.argsort(smooth, axis=None, kind="stable")] = np.arange(smooth.size)
    return ((rank + rng.random()) / smooth.size).astype(np.float32).reshape(*shape[:2], 1)


def wavelength_power(sensor: Sensor, exponent: np.ndarray | np.float32) -> np.ndarray:
    """(λ / 550 nm)^−exponent float32, the exponent's shape by the bands; 1 in every band without wavelengths."""
    if sensor.wavelengths is None:
        return np.ones(1, dtype=np.float32)
    return np.exp(-exponent * np.log(sensor.wavelengths / REFERENCE).astype(np.float32))


@relation(
    params=(
        Param("depth", "optical depth at 550 nm", in_spec=(0.0, 0.1), stress=(0.0, 1.5), neutral=0.0),
        Param("angstrom", "Ångström exponent", in_spec=(0.5, 2.0), stress=(0.0, 2.5)),
    ),
    source=(
        "stress: the thickest fog of ImageNet-C passes a quarter of the light, optical depth 1.39 (hendrycks/"
        "robustness, corruptions.py); in_spec and exponents: engineering judgement, haze that EnMAP's quality layer "
        "would miss; large droplets and dust (0) to smoke (above 2)"
    ),
)
def haze(x: np.ndarray, field: None, sensor: Sensor, *, depth: np.ndarray, angstrom: np.ndarray) -> np.ndarray:
    """The patch seen through haze that takes away some of its light and adds its own, most in the blue.

    x' = x · T_b + airlight · (1 − T_b),   T_b = exp(−depth · (λ_b / 550 nm)^−angstrom)

    The airlight is half of the sensor's range above its low end: dark bands rise and bright ones sink towards it.
    Fog is the limit of exponent 0, grey over all bands; ImageNet-C's of strength c over a picture that reaches the
    top of its range is depth = ln(1 + c), with clouds in the fog that are left out here. Without wavelengths all
    bands have the depth given.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the range and, where there are any, the wavelengths.
        depth: (n, 1, 1, 1), optical depth at 550 nm, at least 0; 0 changes nothing.
        angstrom: (n, 1, 1, 1), how steeply the depth falls with the wavelength: 0 for droplets of fog, 2 for smoke.

    Source: ImageNet-C, https://github.com/hendrycks/robustness ; EnMAP's quality layers,
        https://raw.githubusercontent.com/dlr-eoc/ukis-data-tutorials/main/enmap/enmap_datasets.ipynb ; the in_spec
        bounds and the exponents are engineering judgement.
    """
    lost = -np.expm1(-(depth * wavelength_power(sensor, angstrom)))
    airlight = np.float32(sensor.low + AIRLIGHT * (sensor.high - sensor.low))
    return towards(x, airlight, lost)


@relation(
    params=(
        Param(
            "change",
            "relative change of the water vapour column",
            in_spec=(-0.085, 0.085),
            stress=(-0.5, 1.0),
            neutral=0.0,
        ),
    ),
    needs_wavelengths=True,
    source=(
        "in_spec: DESIS disagrees by 5 % more where water vapour absorbs (Remote Sensing 13(12), 2420, 2021), here at "
        "940 nm; stress: half to twice the column, engineering judgement"
    ),
)
def water_vapour(x: np.ndarray, field: None, sensor: Sensor, *, change: np.ndarray) -> np.ndarray:
    """The patch under air that holds more or less water vapour than it did, or than its correction assumed.

    x' = x · T_b^change,   T_b = exp(−Σ_k depth_k · exp(−½ · ((λ_b − centre_k) / width_k)²))

    T is the transmittance of the column present in seven bands from 720 to 2700 nm; the absorption is taken to grow
    in proportion with the column (Beer's law; for bands made of saturated lines it grows more slowly). A negative
    change is drier air or a correction that took out too much: the bands stand out as peaks.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the wavelengths.
        change: (n, 1, 1, 1), relative change of the column, above −1; 0 changes nothing.

    Raises:
        ValueError: the scene has no wavelengths.

    Source: DESIS, https://doi.org/10.3390/rs13122420 ; the bands' depths and widths and the stress bounds are
        engineering judgement.
    """
    away = (sensor.require_wavelengths("water_vapour")[:, None] - WATER_CENTRES) / np.asarray(WATER_WIDTHS)
    depth = (np.exp(-0.5 * away**2) * WATER_DEPTHS).sum(axis=1).astype(np.float32)
    return x * np.exp(-change * depth)


@relation(
    params=(Param("opacity", "share of the light", in_spec=(0.0, 0.03), stress=(0.0, 0.5), neutral=0.0),),
    draw=cloudiness,
    source=(
        "engineering judgement: in_spec: cirrus too thin for EnMAP's quality layer to flag; stress: half of the light "
        "at the cloud's thickest"
    ),
)
def thin_cirrus(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, opacity: np.ndarray) -> np.ndarray:
    """The patch seen through a thin high cloud of ice, white and thicker in one place than in another.

    x' = x + (cloud − x) · opacity · field

    Ice crystals are far larger than the wavelength, so all bands lose the same share and are given the same light,
    that of a white cloud (0.9 of the sensor's range above its low end): dark bands rise most.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, 1), smooth, uniform in [0, 1]: the cloud's thickness relative to its thickest.
        sensor: gives the range.
        opacity: (n, 1, 1, 1), share of the light that the cloud replaces at its thickest, in [0, 1]; 0 changes
            nothing.

    Source: engineering judgement; EnMAP's quality layers,
        https://raw.githubusercontent.com/dlr-eoc/ukis-data-tutorials/main/enmap/enmap_datasets.ipynb .
    """
    cloud = np.float32(sensor.low + CLOUD * (sensor.high - sensor.low))
    return towards(x, cloud, opacity * field)


@relation(
    params=(Param("share", "share of the light at 550 nm", in_spec=(0.0, 0.05), stress=(0.0, 0.5), neutral=0.0),),
    margin=lambda bounds, shape: REACH * SURROUNDINGS if farthest(bounds["share"]) > 0 else 0.0,
    source=(
        "engineering judgement: in_spec: what is left by a correction for clear air; stress: half of a pixel's light "
        "comes from around it"
    ),
)
def adjacency(x: np.ndarray, field: None, sensor: Sensor, *, share: np.ndarray, trim: int = 0) -> np.ndarray:
    """The patch with light from its surroundings scattered into the view of every pixel, most in the blue.

    x' = x + q_b · (S∗x − x),   q_b = min(1, share · (λ_b / 550 nm)^−1.3)

    S is a Gaussian of 5 pixels: the spectrum of a dark pond drifts to that of the fields around it, and a uniform
    plain does not change. Without wavelengths q is the share given. Beyond the array nothing is known: there the
    weights inside are scaled up to sum to 1. With the declared margin this never reaches what is kept.

    Args:
        x: patches with their margin, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the wavelengths, where there are any.
        share: (n, 1, 1, 1), share of the light at 550 nm that comes from the surroundings, in [0, 1]; 0 changes
            nothing.
        trim: pixels on each side of the patch that are looked at and not computed.

    Source: engineering judgement.
    """
    height, width = x.shape[1:3]
    own = x[:, trim : height - trim, trim : width - trim]
    around = along_both(x, gaussian, np.full(1, SURROUNDINGS), trim)
    scattered = np.minimum(share * wavelength_power(sensor, np.float32(SCATTER_EXPONENT)), np.float32(1))
    return towards(own, around, scattered)

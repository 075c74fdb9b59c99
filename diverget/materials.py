"""Reflectance spectra, 400 to 2450 nm, of the materials in the synthetic scene, from their absorption features.

Foliage follows Kubelka and Munk: a thick layer of absorption K and scattering S reflects
R = 1 + q - sqrt(q^2 + 2 q) with q = K / S, where q is the sum of pigments, liquid water and dry matter. A feature
therefore saturates as in nature: more chlorophyll widens the red well and moves the red edge to longer
wavelengths. Minerals and building materials are a smooth continuum times exp(-depth) features (Gaussians in
wavelength, as in Clark and Roush 1984); a water body follows its inherent optical properties.

Every material is `f(nm, vigour, traits) -> (B,)`: `vigour` varies inside a parcel (chlorophyll and leaf area of a
crop, dryness of a soil, load of a river), the four `traits` are standard normal and belong to one parcel.

Sources of the feature positions:
    pigments 430-480, 640-680 nm and the red edge: Jacquemoud and Baret 1990 (Remote Sens. Environ. 34, 75);
    Feret et al. 2017 (Remote Sens. Environ. 193, 204);
    liquid water 970, 1200, 1450, 1940 nm: Pope and Fry 1997 (Appl. Opt. 36, 8710) below 700 nm, Kou, Labrie and
    Chylek 1993 (Appl. Opt. 32, 3531) above;
    lignin and cellulose 1490, 1730, 1780, 2100, 2270, 2310, 2340 nm: Curran 1989 (Remote Sens. Environ. 30, 271);
    the 2100 nm feature of plant litter against soil: Nagler, Daughtry and Goward 2000 (ibid. 71, 207);
    iron oxides 480, 530, 670, 870-900 nm, Al-OH 2165 and 2208 nm, hydroxyl and carbonate: Hunt 1977
    (Geophysics 42, 501); Clark et al. 1990 (J. Geophys. Res. 95, 12653); carbonate 2330-2340 nm: Gaffey 1986
    (Am. Mineral. 71, 151);
    soil continua: Stoner and Baumgardner 1981 (Soil Sci. Soc. Am. J. 45, 1161); their darkening by water: Lobell
    and Asner 2002 (ibid. 66, 722);
    asphalt, concrete, roofs, hydrocarbon 1730 and 2310 nm: Herold et al. 2004 (Remote Sens. Environ. 91, 304);
    water bodies: Gordon et al. 1988 (J. Geophys. Res. 93, 10909).
Widths, depths and amounts are engineering judgement within what these works show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

Feature = tuple[float, float, float]
"""Centre and standard deviation in nm, and depth."""

Spectrum = Callable[[np.ndarray, float, np.ndarray], np.ndarray]

# Absorption coefficient of liquid water: (nm, 1/cm), rounded to two or three digits.
# fmt: off
_WATER_TABLE = (
    (400, 6e-05), (450, 9e-05), (500, 0.0002), (550, 0.0006), (580, 0.0009), (600, 0.0022), (650, 0.0034),
    (700, 0.006), (720, 0.011), (740, 0.025), (760, 0.028), (800, 0.021), (850, 0.042), (900, 0.065),
    (920, 0.088), (940, 0.19), (960, 0.44), (975, 0.48), (1000, 0.4), (1050, 0.16), (1070, 0.14),
    (1100, 0.19), (1140, 0.6), (1160, 1.2), (1200, 1.27), (1250, 1.1), (1280, 1.12), (1300, 1.3),
    (1320, 1.8), (1350, 3.2), (1380, 6.3), (1400, 17), (1420, 27), (1450, 30.5), (1470, 28), (1500, 20),
    (1550, 10.6), (1600, 7), (1650, 5.7), (1690, 5.5), (1750, 7), (1790, 8.7), (1850, 11), (1880, 35),
    (1900, 97), (1925, 130), (1950, 117), (2000, 69), (2050, 42), (2100, 28), (2150, 21), (2200, 18.4),
    (2250, 19.4), (2300, 24.3), (2350, 33.5), (2400, 48), (2450, 68), (2500, 95),
)
# fmt: on


def water_absorption(nm: np.ndarray) -> np.ndarray:
    """Absorption coefficient of liquid water in 1/cm at `nm`, interpolated in its logarithm."""
    at, value = np.transpose(_WATER_TABLE)
    return np.exp(PchipInterpolator(at, np.log(value))(nm))


def gaussians(nm: np.ndarray, features: Sequence[Feature]) -> np.ndarray:
    """The sum over `features` of depth · exp(-(nm - centre)² / (2 width²))."""
    return sum(
        (depth * np.exp(-0.5 * ((nm - centre) / width) ** 2) for centre, width, depth in features),
        np.zeros(len(nm)),
    )


_CHLOROPHYLL: tuple[Feature, ...] = (
    (405, 28, 0.80),
    (438, 16, 0.75),
    (472, 17, 0.50),
    (518, 18, 0.16),
    (562, 24, 0.15),
    (602, 26, 0.42),
)
_CHLOROPHYLL += ((647, 21, 0.58), (676, 12.5, 0.95), (700, 14, 0.10))
_DRY: tuple[Feature, ...] = (
    (1490, 45, 0.09),
    (1730, 22, 0.10),
    (1780, 25, 0.06),
    (2100, 45, 0.30),
    (2270, 18, 0.06),
)
_DRY += ((2310, 18, 0.11), (2342, 22, 0.13), (2480, 60, 0.25))
_IRON = ((480, 28, 0.16), (530, 28, 0.14), (670, 38, 0.07), (885, 62, 0.13))
_CLAY = ((2165, 16, 0.05), (2208, 17, 0.12), (1414, 22, 0.10), (2350, 18, 0.04))
_CARBONATE = ((2337, 24, 0.17), (2160, 22, 0.025), (1995, 22, 0.03))
_HYDROCARBON = ((1730, 16, 0.05), (2310, 20, 0.07))


def foliage(
    nm: np.ndarray,
    *,
    chlorophyll: float,
    water: float,
    dry: float,
    matt: float = 0.16,
    carotenoid: float = 0.5,
) -> np.ndarray:
    """Reflectance of a thick layer of leaves: 1 + q - sqrt(q² + 2 q).

    Args:
        nm: wavelengths in nm.
        chlorophyll, carotenoid, dry: amounts, 1 in a rich dark leaf (pigments), 1 in straw (dry matter).
        water: mean path through leaf water in cm.
        matt: K/S where nothing absorbs; 0.16 gives a plateau of 0.57.
    """
    litter = 2.4 * np.exp(-(nm - 400) / 165) + gaussians(nm, _DRY) + 0.12 * np.clip((nm - 1300) / 1150, 0, 1)
    q = (
        matt
        + 11 * chlorophyll * gaussians(nm, _CHLOROPHYLL)
        + 9 * carotenoid / (1 + np.exp((nm - 510) / 11))
        + water * water_absorption(nm)
        + dry * litter
    )
    return 1 + q - np.sqrt(q * q + 2 * q)


def canopy(nm: np.ndarray, leaves: np.ndarray, ground: np.ndarray, *, leaf_area: float) -> np.ndarray:
    """Leaves over partly shaded ground, the gap fraction being exp(-0.6 · leaf area index)."""
    gap = np.exp(-0.6 * leaf_area)
    return (1 - gap) * leaves + gap * ground * (0.55 + 0.45 * gap)


def solid(nm: np.ndarray, continuum: Sequence[tuple[float, float]], features: Sequence[Feature]) -> np.ndarray:
    """A smooth continuum through (nm, reflectance) points, times exp(-features)."""
    at, value = np.transpose(continuum)
    return PchipInterpolator(at, value)(nm) * np.exp(-gaussians(nm, features))


def moist(nm: np.ndarray, dry: np.ndarray, *, film: float) -> np.ndarray:
    """A soil under a water film of `film` cm: darker everywhere, most where water absorbs."""
    return dry * np.exp(-film * (100 + 2 * water_absorption(nm)))


def _loam(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    curve = ((400, 0.06), (500, 0.105), (600, 0.175), (800, 0.25), (1000, 0.30), (1300, 0.355), (1700, 0.40))
    scale = 1 + 0.08 * traits[0]
    iron = tuple((at, width, depth * (1.2 + 0.2 * traits[1])) for at, width, depth in _IRON)
    dry = scale * solid(nm, (*curve, (2150, 0.385), (2500, 0.33)), (*iron, *_CLAY))
    return moist(nm, dry, film=0.0022 * np.exp(0.35 * traits[2] - 0.3 * vigour))


def _chalk(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    curve = ((400, 0.15), (500, 0.22), (600, 0.29), (800, 0.365), (1000, 0.405), (1300, 0.45), (1700, 0.49))
    weak_iron = tuple((at, width, 0.4 * depth) for at, width, depth in _IRON)
    dry = (1 + 0.08 * traits[0]) * solid(nm, (*curve, (2150, 0.47), (2500, 0.39)), (*weak_iron, *_CARBONATE))
    dry *= np.exp(-0.35 * gaussians(nm, _CLAY))
    return moist(nm, dry, film=0.0016 * np.exp(0.35 * traits[2] - 0.3 * vigour))


def _crop(
    nm: np.ndarray,
    vigour: float,
    traits: np.ndarray,
    *,
    chlorophyll: float,
    water: float,
    matt: float,
    area: float,
) -> np.ndarray:
    leaves = foliage(
        nm,
        chlorophyll=chlorophyll * np.exp(0.10 * traits[0] + 0.08 * vigour),
        water=water * np.exp(0.09 * traits[1] + 0.04 * vigour),
        dry=0.10 * np.exp(0.2 * traits[3]),
        matt=matt * np.exp(0.06 * traits[3]),
    )
    return canopy(nm, leaves, _loam(nm, 0.0, traits[::-1]), leaf_area=area * np.exp(0.15 * traits[2] + 0.13 * vigour))


def _maize(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    return _crop(nm, vigour, traits, chlorophyll=0.84, water=0.135, matt=0.20, area=2.7)


def _soybean(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    return _crop(nm, vigour, traits, chlorophyll=0.70, water=0.120, matt=0.16, area=3.1)


def _sugar_beet(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    return _crop(nm, vigour, traits, chlorophyll=0.76, water=0.170, matt=0.165, area=3.0)


def _grassland(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    leaves = foliage(
        nm,
        chlorophyll=0.60 * np.exp(0.15 * traits[0] + 0.12 * vigour),
        water=0.10 * np.exp(0.15 * traits[1] + 0.08 * vigour),
        dry=0.22 * np.exp(0.2 * traits[3] - 0.1 * vigour),
        matt=0.21,
    )
    litter = foliage(nm, chlorophyll=0.02, water=0.004, dry=1.0, matt=0.3)
    return canopy(nm, leaves, litter, leaf_area=2.3 * np.exp(0.15 * traits[2] + 0.12 * vigour))


def _woodland(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    leaves = foliage(
        nm,
        chlorophyll=1.0 * np.exp(0.12 * traits[0] + 0.08 * vigour),
        water=0.15 * np.exp(0.10 * traits[1]),
        dry=0.15,
        matt=0.21 * np.exp(0.1 * traits[3]),
    )
    return 0.74 * (1 + 0.07 * traits[2]) * leaves


def _stubble(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    straw = foliage(nm, chlorophyll=0.012 * np.exp(0.5 * traits[1]), water=0.003, dry=1.0, matt=0.22, carotenoid=0.03)
    share = np.clip(0.68 + 0.10 * traits[0] + 0.08 * vigour, 0.3, 0.95)
    return share * straw * (1 + 0.06 * traits[3]) + (1 - share) * _loam(nm, 0.0, traits)


def _water(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    load = 0.22 * np.exp(0.35 * traits[0] + 0.25 * vigour)
    scattering = load * (nm / 550) ** -0.9
    algae = 0.10 * np.exp(0.4 * traits[1]) * gaussians(nm, _CHLOROPHYLL)
    absorption = 100 * water_absorption(nm) + 0.9 * np.exp(-0.016 * (nm - 440)) + algae
    u = scattering / (absorption + scattering)
    return 0.54 * np.pi * (0.0949 * u + 0.0794 * u * u) + 0.006


def _asphalt(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    curve = (
        (400, 0.060),
        (550, 0.085),
        (800, 0.110),
        (1200, 0.135),
        (1700, 0.160),
        (2100, 0.168),
        (2500, 0.160),
    )
    return (1 + 0.16 * traits[0] + 0.06 * vigour) * solid(
        nm, curve, (*_HYDROCARBON, (870, 90, 0.02 + 0.01 * traits[1]))
    )


def _tiles(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    curve = ((400, 0.070), (500, 0.095), (560, 0.135), (620, 0.235), (760, 0.315), (1000, 0.36), (1300, 0.42))
    iron = tuple((at, width, depth * (1 + 0.2 * traits[1])) for at, width, depth in _IRON)
    tail = ((1700, 0.45), (2150, 0.44), (2500, 0.40))
    return (1 + 0.12 * traits[0] + 0.05 * vigour) * solid(nm, (*curve, *tail), (*iron, (2205, 25, 0.04)))


def _painted_metal(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    curve = (
        (400, 0.16),
        (415, 0.28),
        (440, 0.47),
        (480, 0.53),
        (560, 0.52),
        (700, 0.53),
        (1000, 0.55),
        (1300, 0.56),
    )
    paint = tuple((at, width, 1.6 * depth) for at, width, depth in _HYDROCARBON)
    tail = ((1700, 0.53), (2150, 0.47), (2500, 0.41))
    return (1 + 0.12 * traits[0] + 0.04 * vigour) * solid(nm, (*curve, *tail), (*paint, (1190, 20, 0.02)))


def _concrete(nm: np.ndarray, vigour: float, traits: np.ndarray) -> np.ndarray:
    curve = ((400, 0.15), (550, 0.23), (800, 0.28), (1200, 0.32), (1700, 0.345), (2150, 0.33), (2500, 0.29))
    weak = tuple((at, width, 0.35 * depth) for at, width, depth in _CARBONATE)
    return (1 + 0.10 * traits[0] + 0.05 * vigour) * solid(nm, curve, weak)


CLASSES: dict[str, Spectrum] = {
    "maize": _maize,
    "soybean": _soybean,
    "sugar beet": _sugar_beet,
    "grassland": _grassland,
    "woodland": _woodland,
    "stubble": _stubble,
    "loamy soil": _loam,
    "chalky soil": _chalk,
    "water": _water,
    "asphalt": _asphalt,
    "tiled roof": _tiles,
    "painted metal roof": _painted_metal,
}
"""The labelled materials in the order of their labels; concrete lies between the buildings and has no label."""

MATERIALS: dict[str, Spectrum] = {**CLASSES, "concrete": _concrete}

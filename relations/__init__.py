"""Natural distortions of hyperspectral patches, and how far a follow-up lies from its source.

    core.py         Param, Relation, @relation, Sensor, get: what a relation is
    chain.py        Step, Chain, distort: relations with values, applied to a batch
    kernels.py      pixels and bands as weighted sums of their neighbours
    atmosphere.py   what the air does to the light: haze, water vapour, cirrus, light from the surroundings
    optics/         what the lens and the platform do to neighbouring pixels: blur, motion, shift, turn, zoom
    spectral/       what the spectrometer does to neighbouring bands: shift, smile, wider bands, lost bands
    radiometry.py   how bright the scene is taken to be: gain, offset, contrast, shadow, saturation
    sensor/         what the detector and its electronics add: noise, outliers, faults, coding
    validity.py     psnr, spectral_angle, ssim, ergas: the distance from the source

A relation knows nothing of models or of search. Adding one is adding an `@relation` function to a file of
its family; `ALL` holds every one by name, in acquisition order: light crosses the air and the optics,
is split into bands, is turned into numbers and meets the detector's own faults.
"""

from relations import atmosphere, optics, spectral, radiometry, sensor  # noqa: I001, the acquisition order is the order of ALL
from relations.chain import Chain, Step, distort
from relations.core import ALL, FAMILIES, TIERS, Param, Relation, Sensor, get, relation
from relations.validity import ergas, psnr, spectral_angle, ssim

__all__ = [
    "ALL",
    "FAMILIES",
    "TIERS",
    "Chain",
    "Param",
    "Relation",
    "Sensor",
    "Step",
    "atmosphere",
    "distort",
    "ergas",
    "get",
    "optics",
    "psnr",
    "radiometry",
    "relation",
    "sensor",
    "spectral",
    "spectral_angle",
    "ssim",
]

"""Natural distortions of hyperspectral patches, and how far a follow-up lies from its source.

    core.py         Param, Relation, @relation, Sensor, get: what a relation is
    chain.py        Step, Chain, distort: relations with values, applied to a batch
    kernels.py      pixels and bands as weighted sums of their neighbours
    atmosphere.py   haze, water_vapour, thin_cirrus, adjacency: what the air does to the light
    optics/         gaussian_blur: what the lens does to neighbouring pixels
    spectral.py     band_shift, band_loss: what the spectrometer does to neighbouring bands
    radiometry.py   brightness, offset: how bright the scene is taken to be
    sensor/         gaussian_noise, impulse_noise, stripes: what the detector adds
    validity.py     psnr, spectral_angle, ssim, ergas: the distance from the source

A relation knows nothing of models or of search. Adding one is adding an `@relation` function to the file of
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

"""Radiometry: the whole patch is brighter or darker than it was when the network was trained."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation


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
    params=(Param("level", "share of the sensor's range", in_spec=(-0.037, 0.02), stress=(-0.1, 0.1), neutral=0.0),),
    source=(
        "in_spec: offsets against Landsat 8, in reflectance, from PRISMA's lowest -0.037 (USGS OFR 2021-1030-K) to "
        "EnMAP's highest +0.020 (USGS OFR 2021-1030-S); stress: about three times as far, engineering judgement"
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
        https://pubs.usgs.gov/publication/ofr20211030K ; the stress bounds are engineering judgement.
    """
    return x + level * np.float32(sensor.high - sensor.low)

"""Sensor: how values are turned into numbers and packed for the way to the ground."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation
from relations.sensor.draws import signed_uniform

FULL_DEPTH = 16
"""From so many bits on values are left as they are: scenes are delivered in 16 bits."""


@relation(
    params=(Param("bits", "bits", in_spec=(12, 16), stress=(4, 16), neutral=16, integer=True),),
    source=(
        "in_spec: EnMAP's 14 bits (ISPRS Annals V-1-2020, 41) and Hyperion's 16 lie inside; its lower end of 12 bits "
        "and stress, down to 4 bits: engineering judgement"
    ),
)
def radiometric_quantisation(x: np.ndarray, field: None, sensor: Sensor, *, bits: np.ndarray) -> np.ndarray:
    """The patch rounded to the levels of a converter with fewer bits.

    x' = low + round((x − low) / step) · step,   step = (high − low) / (2^bits − 1)

    The lowest level is the low end of the sensor's range and the highest its high end.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: None.
        sensor: gives the range.
        bits: (n, 1, 1, 1), at least 1, rounded to a whole number; from 16 on nothing changes.

    Source: EnMAP, https://isprs-annals.copernicus.org/articles/V-1-2020/41/2020/ ; the other bounds are engineering
        judgement.
    """
    depth = np.rint(bits)
    low = np.float32(sensor.low)
    step = np.float32(sensor.high - sensor.low) / (np.exp2(depth) - 1)
    rounded = np.subtract(x, low, out=np.empty(x.shape, dtype=np.float32))
    rounded /= step
    np.rint(rounded, out=rounded)
    rounded *= step
    rounded += low
    np.copyto(rounded, x, where=depth >= FULL_DEPTH)
    return rounded


@relation(
    params=(Param("error", "share of the sensor's range", in_spec=(0.0, 0.001), stress=(0.0, 0.05), neutral=0.0),),
    draw=signed_uniform,
    source=(
        "near-lossless coding bounds the absolute error (CCSDS 123.0-B-2); in_spec: 4 steps of 12 bit, 4/4095; stress: "
        "13 steps of 8 bit, 13/255; both engineering judgement"
    ),
)
def lossy_compression(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, error: np.ndarray) -> np.ndarray:
    """The patch after near-lossless coding, which moves no value farther than the error it was allowed.

    x' = x + field · error · (high − low)

    A predictive coder rounds what its prediction left over to steps of twice the error, plus one number. The rounding
    error of a residual that is much longer than a step is uniform and independent from value to value.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), uniform in [−1, 1).
        sensor: gives the range.
        error: (n, 1, 1, 1), bound of the absolute error as a share of the sensor's range, at least 0; 0 changes
            nothing.

    Source: CCSDS 123.0-B-2, Low-complexity lossless and near-lossless multispectral and hyperspectral image
        compression, for the bounded error; its size is engineering judgement.
    """
    decoded = np.multiply(field, error * np.float32(sensor.high - sensor.low), out=np.empty(x.shape, dtype=np.float32))
    decoded += x
    return decoded

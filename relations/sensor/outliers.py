"""Sensor: values, pixels and bands that stand out from their neighbours."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation
from relations.sensor.draws import Shape, normal, signed_uniform, uniform


@relation(
    params=(Param("rate", "share of the values", in_spec=(0.0, 0.0001), stress=(0.0, 0.1), neutral=0.0, jumps=True),),
    draw=signed_uniform,
    source=(
        "stress: 30 % of the pixels in a third of the bands (QRNN3D, utility/dataset.py) is 10 % of the values; "
        "in_spec: engineering judgement, bad pixels left after the flagging of a standard L1 processor"
    ),
)
def impulse_noise(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, rate: np.ndarray) -> np.ndarray:
    """The patch with a share of its values stuck at an end of the sensor's range, as after single-event upsets.

    x' = high where field ≥ 1 − rate, low where field < rate − 1, x elsewhere

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), uniform in [−1, 1): values at its ends are hit first, so doses nest.
        sensor: gives the range.
        rate: (n, 1, 1, 1), expected share of the values, in [0, 1]; 0 changes nothing.

    Source: QRNN3D, https://github.com/Vandermode/QRNN3D ; the in_spec bound is engineering judgement.
    """
    hit = x.copy()
    np.copyto(hit, np.float32(sensor.high), where=field >= 1 - rate)
    np.copyto(hit, np.float32(sensor.low), where=field < rate - 1)
    return hit


def _place_and_value(rng: np.random.Generator, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    return uniform(rng, shape), uniform(rng, shape)


@relation(
    params=(Param("rate", "share of the values", in_spec=(0.0, 0.0001), stress=(0.0, 0.1), neutral=0.0, jumps=True),),
    draw=_place_and_value,
    source=(
        "stress: 10 % of the values, that of impulse_noise (QRNN3D); DFLARE's random value change, up to 9 of the 784 "
        "values of a digit, lies inside; in_spec: engineering judgement, as for impulse_noise"
    ),
)
def random_impulse_noise(
    x: np.ndarray, field: tuple[np.ndarray, np.ndarray], sensor: Sensor, *, rate: np.ndarray
) -> np.ndarray:
    """The patch with a share of its values replaced by anything in the sensor's range, as by flipped bits.

    x' = low + value · (high − low) where place < rate, x elsewhere, with the field (place, value)

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: place and value, two (n, h, w, b), uniform in [0, 1): lower places are hit first, so doses nest.
        sensor: gives the range.
        rate: (n, 1, 1, 1), expected share of the values, in [0, 1]; 0 changes nothing.

    Source: DFLARE, https://github.com/yqtianust/DFlare ; QRNN3D, https://github.com/Vandermode/QRNN3D ; the
        in_spec bound is engineering judgement.
    """
    place, value = field
    hit = x.copy()
    anything = value * np.float32(sensor.high - sensor.low)
    anything += np.float32(sensor.low)
    np.copyto(hit, anything, where=place < rate)
    return hit


def _per_pixel(rng: np.random.Generator, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    return uniform(rng, (shape[0], shape[1], 1)), normal(rng, (shape[0], shape[1], 1))


@relation(
    params=(
        Param("share", "share of the pixels", in_spec=(0.0, 0.001), stress=(0.0, 0.07), neutral=0.0, jumps=True),
        Param("mean", "share of the sensor's range", in_spec=(0.0, 0.005), stress=(0.0, 0.05), neutral=0.0),
        Param("sigma", "share of the sensor's range", in_spec=(0.0, 0.005), stress=(0.0, 0.05), neutral=0.0),
    ),
    draw=_per_pixel,
    source=(
        "stress: up to 7 % of the pixels, mean 0-0.05, deviation 0.001-0.05 (RSMT relation 7, Bouchoucha et al. 2023, "
        "code github.com/rached1997/RSMT); in_spec: a tenth of the amplitudes, engineering judgement"
    ),
)
def pixel_noise(
    x: np.ndarray,
    field: tuple[np.ndarray, np.ndarray],
    sensor: Sensor,
    *,
    share: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray,
) -> np.ndarray:
    """The patch with a share of its pixels lifted, each by an amount of its own that is the same in all bands.

    x' = x + (mean + sigma · value) · (high − low) where place < share, x elsewhere, with the field (place, value)

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: place and value, two (n, h, w, 1), uniform in [0, 1) and standard normal: lower places are hit first.
        sensor: gives the range.
        share: (n, 1, 1, 1), expected share of the pixels, in [0, 1]; 0 changes nothing.
        mean: (n, 1, 1, 1), mean of the amounts as a share of the sensor's range.
        sigma: (n, 1, 1, 1), their standard deviation as a share of the range, at least 0; 0 with mean 0 changes
            nothing.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code;
        the in_spec bounds are engineering judgement.
    """
    return _lifted(x, field, sensor, share, mean, sigma)


def _per_band(rng: np.random.Generator, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    return uniform(rng, (1, 1, shape[2])), normal(rng, (1, 1, shape[2]))


@relation(
    params=(
        Param("share", "share of the bands", in_spec=(0.0, 0.01), stress=(0.0, 0.07), neutral=0.0, jumps=True),
        Param("mean", "share of the sensor's range", in_spec=(0.0, 0.005), stress=(0.0, 0.05), neutral=0.0),
        Param("sigma", "share of the sensor's range", in_spec=(0.0, 0.005), stress=(0.0, 0.05), neutral=0.0),
    ),
    draw=_per_band,
    source=(
        "stress: up to 7 % of the bands, mean 0-0.05, deviation 0.001-0.05 (RSMT relation 8, Bouchoucha et al. 2023, "
        "code github.com/rached1997/RSMT); in_spec: one band in a hundred, a tenth of the amplitudes, engineering "
        "judgement"
    ),
)
def band_noise(
    x: np.ndarray,
    field: tuple[np.ndarray, np.ndarray],
    sensor: Sensor,
    *,
    share: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray,
) -> np.ndarray:
    """The patch with a share of its bands lifted, each by an amount of its own that is the same in all pixels.

    x' = x + (mean + sigma · value) · (high − low) where place < share, x elsewhere, with the field (place, value)

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: place and value, two (n, 1, 1, b), uniform in [0, 1) and standard normal: lower places are hit first.
        sensor: gives the range.
        share: (n, 1, 1, 1), expected share of the bands, in [0, 1]; 0 changes nothing.
        mean: (n, 1, 1, 1), mean of the amounts as a share of the sensor's range.
        sigma: (n, 1, 1, 1), their standard deviation as a share of the range, at least 0; 0 with mean 0 changes
            nothing.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code;
        the in_spec bounds are engineering judgement.
    """
    return _lifted(x, field, sensor, share, mean, sigma)


def _lifted(
    x: np.ndarray,
    field: tuple[np.ndarray, np.ndarray],
    sensor: Sensor,
    share: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray,
) -> np.ndarray:
    place, value = field
    amount = (mean + sigma * value) * np.float32(sensor.high - sensor.low)
    return x + np.where(place < share, amount, np.float32(0))

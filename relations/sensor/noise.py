"""Sensor: what the detector adds of its own."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation

SNR_WAVELENGTHS = (495.0, 2200.0)
SNR_VALUES = (500.0, 150.0)
"""The signal-to-noise ratios that EnMAP was built for, at these wavelengths in nm."""


def _per_value_normal(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _signed_uniform(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return 2 * rng.random(shape, dtype=np.float32) - 1


def _per_column_signed(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return _signed_uniform(rng, (1, shape[1], shape[2]))


@relation(
    params=(
        Param(
            "level",
            "noise-to-signal ratio of the best band",
            in_spec=(0.0, 0.0025),
            stress=(0.0, 0.1),
            neutral=0.0,
        ),
    ),
    draw=_per_value_normal,
    source=(
        "in_spec: SNR 400:1 at PRISMA's best (Cogliati et al. 2021: 400-500 in the NIR), EnMAP's profile over the "
        "bands, 500:1 at 495 nm and 150:1 at 2200 nm (ISPRS Annals V-1-2020, 41); stress: sigma 0.10, the highest "
        "'standard' level of HyDe's add_noise"
    ),
)
def gaussian_noise(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, level: np.ndarray) -> np.ndarray:
    """The patch with independent Gaussian noise on every value, stronger in the bands where detectors are poor.

    x' = x + field · level · profile_b · signal_b,   profile_b = max(SNR) / SNR_b

    The noise does not depend on the value itself but on the band's typical signal: read and thermal noise. SNR is
    EnMAP's, linear in λ between 495 and 2200 nm and held beyond; without wavelengths the profile is 1.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), standard normal.
        sensor: gives signal and wavelengths.
        level: (n, 1, 1, 1), 1 / SNR of the best band, at least 0; 0 changes nothing.

    Source: EnMAP, https://isprs-annals.copernicus.org/articles/V-1-2020/41/2020/ ; PRISMA,
        https://juser.fz-juelich.de/record/892747 ; HyDe, https://github.com/Helmholtz-AI-Energy/HyDe .
    """
    signal = np.asarray(sensor.signal, dtype=np.float32)
    if sensor.wavelengths is not None:
        snr = np.interp(sensor.wavelengths, SNR_WAVELENGTHS, SNR_VALUES)
        signal = signal * (snr.max() / snr).astype(np.float32)
    noisy = np.multiply(field, level * signal, out=np.empty(x.shape, dtype=np.float32))
    noisy += x
    return noisy


@relation(
    params=(Param("rate", "share of the values", in_spec=(0.0, 0.0001), stress=(0.0, 0.1), neutral=0.0),),
    draw=_signed_uniform,
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


@relation(
    params=(
        Param("share", "share of the columns", in_spec=(0.0, 0.05), stress=(0.0, 0.15), neutral=0.0),
        Param("depth", "relative change of the signal", in_spec=(0.0, 0.02), stress=(0.0, 0.25), neutral=0.0),
        Param("offset", "share of the sensor's range", in_spec=(0.0, 0.005), stress=(0.0, 0.25), neutral=0.0),
    ),
    draw=_per_column_signed,
    source=(
        "stress: 5-15 % of the columns, offsets up to 0.25 of the range (QRNN3D, HyDe); depth to match; in_spec: "
        "low-amplitude stripes as seen to appear in flight over a season (NERC-ARF), amplitudes engineering judgement"
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

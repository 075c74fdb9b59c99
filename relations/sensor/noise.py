"""Sensor: noise on every value, as detectors make it."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation
from relations.sensor.draws import normal

SNR_WAVELENGTHS = (495.0, 2200.0)
SNR_VALUES = (500.0, 150.0)
"""The signal-to-noise ratios that EnMAP was built for, at these wavelengths in nm."""


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
    draw=normal,
    source=(
        "in_spec: SNR 400:1 at PRISMA's best (Cogliati et al. 2021: 400-500 in the NIR), EnMAP's profile over the "
        "bands, 500:1 at 495 nm and 150:1 at 2200 nm (ISPRS Annals V-1-2020, 41); stress: engineering judgement, after "
        "the highest 'standard' sigma of HyDe's add_noise, 0.10 of the full range; here it is of the band's signal"
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
        https://juser.fz-juelich.de/record/892747 ; the stress bound is engineering judgement after HyDe,
        https://github.com/Helmholtz-AI-Energy/HyDe .
    """
    signal = np.asarray(sensor.signal, dtype=np.float32)
    if sensor.wavelengths is not None:
        snr = np.interp(sensor.wavelengths, SNR_WAVELENGTHS, SNR_VALUES)
        signal = signal * (snr.max() / snr).astype(np.float32)
    noisy = np.multiply(field, level * signal, out=np.empty(x.shape, dtype=np.float32))
    noisy += x
    return noisy


@relation(
    params=(Param("sigma", "share of the sensor's range", in_spec=(0.0, 0.00025), stress=(0.0, 0.38), neutral=0.0),),
    draw=normal,
    source=(
        "in_spec: one step of 12 bit, 1/4095, engineering judgement; stress: 0.38, the highest severity of "
        "ImageNet-C's gaussian_noise; CIFAR-10-C's 0.04-0.10 and the 'standard' 0.02-0.10 of HyDe's add_noise lie "
        "inside"
    ),
)
def white_noise(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, sigma: np.ndarray) -> np.ndarray:
    """The patch with independent Gaussian noise on every value, as strong in every band.

    x' = x + field · sigma · (high − low)

    The noise of the electronics that follow the detector, and the one that image benchmarks inject.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), standard normal.
        sensor: gives the range.
        sigma: (n, 1, 1, 1), standard deviation as a share of the sensor's range, at least 0; 0 changes nothing.

    Source: HyDe, https://github.com/Helmholtz-AI-Energy/HyDe ; ImageNet-C,
        https://github.com/hendrycks/robustness ; the in_spec bound is engineering judgement.
    """
    noisy = np.multiply(field, sigma * np.float32(sensor.high - sensor.low), out=np.empty(x.shape, dtype=np.float32))
    noisy += x
    return noisy


@relation(
    params=(
        Param("level", "noise-to-signal ratio at full scale", in_spec=(0.0, 0.002), stress=(0.0, 0.58), neutral=0.0),
    ),
    draw=normal,
    source=(
        "in_spec: SNR 500:1, the best that EnMAP was built for (ISPRS Annals V-1-2020, 41), 250 000 electrons; stress: "
        "3 photons at full scale, 1 / sqrt(3), the highest severity of ImageNet-C's shot_noise; CIFAR-10-C's 500-50 "
        "photons, 0.045-0.141, lie inside"
    ),
)
def shot_noise(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, level: np.ndarray) -> np.ndarray:
    """The patch with the noise of counting photons, which grows with the square root of the signal.

    x' = x + field · level · √(max(x − low, 0) · (high − low))

    With N photons at full scale the level is 1 / √N, and the variance is proportional to the signal. The counts are
    taken to be normal: for a dose that changes smoothly, and close to Poisson's law above some ten photons.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), standard normal.
        sensor: gives the range.
        level: (n, 1, 1, 1), 1 / SNR at full scale, at least 0; 0 changes nothing.

    Source: EnMAP, https://isprs-annals.copernicus.org/articles/V-1-2020/41/2020/ ; ImageNet-C,
        https://github.com/hendrycks/robustness .
    """
    noisy = np.subtract(x, np.float32(sensor.low), out=np.empty(x.shape, dtype=np.float32))
    np.maximum(noisy, np.float32(0), out=noisy)
    noisy *= level * level * np.float32(sensor.high - sensor.low)
    np.sqrt(noisy, out=noisy)
    noisy *= field
    noisy += x
    return noisy


@relation(
    params=(
        Param("level", "noise-to-signal ratio of every band", in_spec=(0.0, 0.0025), stress=(0.0, 0.1), neutral=0.0),
        Param("correlation", "correlation of neighbouring bands", in_spec=(0.0, 0.95), stress=(0.0, 0.95)),
    ),
    draw=normal,
    source=(
        "level: that of gaussian_noise; in_spec: SNR 400:1 at PRISMA's best (Cogliati et al. 2021); stress: "
        "engineering judgement, after the highest 'standard' sigma of HyDe's add_noise, 0.10 of the full range; here "
        "it is of the band's signal; correlation: from independent to almost common, engineering judgement"
    ),
)
def correlated_noise(
    x: np.ndarray, field: np.ndarray, sensor: Sensor, *, level: np.ndarray, correlation: np.ndarray
) -> np.ndarray:
    """The patch with Gaussian noise that neighbouring bands have in common.

    x'_b = x_b + level · signal_b · e_b,   e_0 = field_0,   e_b = ρ · e_{b−1} + √(1 − ρ²) · field_b

    Common electronics, calibration and atmospheric correction leave errors that follow the spectrum: bands d apart
    correlate by ρ^d, and every band has the same variance, whatever ρ. The sum over all lower bands is taken in
    log2(b) steps, for Σ_d (ρS)^d = Π_k (1 + (ρS)^(2^k)) with S the shift by one band.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), standard normal.
        sensor: gives the signal.
        level: (n, 1, 1, 1), 1 / SNR of every band, at least 0; 0 changes nothing.
        correlation: (n, 1, 1, 1), ρ, in [0, 0.95]; 0 for independent bands.

    Source: PRISMA, https://juser.fz-juelich.de/record/892747 ; the stress bound is engineering judgement after HyDe,
        https://github.com/Helmholtz-AI-Energy/HyDe , the correlation engineering judgement.
    """
    bands = x.shape[3]
    noise = np.multiply(field, np.sqrt(1 - correlation * correlation), out=np.empty(x.shape, dtype=np.float32))
    noise[..., :1] = field[..., :1]
    for step in (1 << doubling for doubling in range((bands - 1).bit_length())):
        noise[..., step:] += noise[..., : bands - step] * correlation**step
    noise *= level * np.asarray(sensor.signal, dtype=np.float32)
    noise += x
    return noise


@relation(
    params=(
        Param("sigma", "share of the signal", in_spec=(0.0, 0.01), stress=(0.0, 0.6), neutral=0.0),
        Param("mean", "relative change of the signal", in_spec=(-0.05, 0.05), stress=(-0.5, 0.5), neutral=0.0),
    ),
    draw=normal,
    source=(
        "mean: absolute radiometric accuracy below 5 %, EnMAP (ISPRS Annals V-1-2020, 41); stress -0.5..0.5 "
        "(DFLARE's multiplicative noise); sigma: in_spec 1 % of fixed-pattern gain left after calibration, engineering "
        "judgement; stress 0.6, the highest severity of ImageNet-C's speckle_noise; DFLARE's variance of at most 0.05, "
        "sigma 0.22, and CIFAR-10-C's 0.06-0.2 lie inside"
    ),
)
def multiplicative_noise(
    x: np.ndarray, field: np.ndarray, sensor: Sensor, *, sigma: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """The patch with a random gain on every value, as after an uneven response of the detector's elements.

    x' = x · (1 + mean + sigma · field)

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, h, w, b), standard normal.
        sensor: not used.
        sigma: (n, 1, 1, 1), standard deviation of the gain, at least 0; 0 for the same gain everywhere.
        mean: (n, 1, 1, 1), relative change of the signal on average; 0 with sigma 0 changes nothing.

    Source: EnMAP, https://isprs-annals.copernicus.org/articles/V-1-2020/41/2020/ ; DFLARE,
        https://github.com/yqtianust/DFlare ; ImageNet-C, https://github.com/hendrycks/robustness ; the in_spec sigma is
        engineering judgement.
    """
    noisy = np.multiply(field, sigma, out=np.empty(x.shape, dtype=np.float32))
    noisy += 1 + mean
    noisy *= x
    return noisy

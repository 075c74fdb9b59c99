"""Each relation as one writes it without this library: one patch at a time, with scikit-image, OpenCV and SciPy.

`PLAIN[name](patch, values, sensor, rng)`: a patch (h, w, b) float32, the values of the relation's params as floats, the
sensor, a generator for what is random. They do the same thing with the same constants, straightforwardly and in
float32; edges, interpolation and noise streams differ. Where a library has a ready function it is called, all bands at
once where it takes them. `LIBRARY` names those that call scikit-image, OpenCV or SciPy; NumPy alone does the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from scipy.interpolate import CubicSpline, interp1d, make_interp_spline
from scipy.signal import lfilter
from skimage import exposure, util
from skimage.morphology import disk

from relations import Sensor, atmosphere, radiometry
from relations.optics.geometry import JOIN
from relations.sensor.faults import REGION_SPACING
from relations.sensor.noise import SNR_VALUES, SNR_WAVELENGTHS

Plain = Callable[[np.ndarray, Mapping[str, float], Sensor, np.random.Generator], np.ndarray]
PLAIN: dict[str, Plain] = {}
LIBRARY: set[str] = set()

CHANNELS = 4
"""Bands that OpenCV warps at once with cubic interpolation; more are refused (4.14, `warpAffine` and `remap`). Four at
once take 1.6 ms for a patch of 25 x 25 x 103, band by band 2.9 ms."""


def _plain(*, library: bool) -> Callable[[Plain], Plain]:
    def declare(function: Plain) -> Plain:
        PLAIN[function.__name__] = function
        if library:
            LIBRARY.add(function.__name__)
        return function

    return declare


def _span(sensor: Sensor) -> float:
    return float(sensor.high - sensor.low)


def _bands(sensor: Sensor) -> np.ndarray:
    places = np.arange(len(sensor.signal)) if sensor.wavelengths is None else sensor.wavelengths
    return places.astype(np.float32)


def _power(sensor: Sensor, exponent: float) -> np.ndarray:
    return (_bands(sensor) / atmosphere.REFERENCE) ** -exponent


def _gaussian(patch: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(patch, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) if sigma > 0 else patch


def _filtered(patch: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(patch, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def _warped(image: np.ndarray, matrix: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    flags = cv2.INTER_CUBIC | (cv2.WARP_INVERSE_MAP if inverse else 0)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _warped_bands(patch: np.ndarray, matrix: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    parts = [
        _warped(patch[..., first : first + CHANNELS], matrix, inverse=inverse).reshape(*patch.shape[:2], -1)
        for first in range(0, patch.shape[2], CHANNELS)
    ]
    return np.concatenate(parts, axis=2)


def _middle(patch: np.ndarray) -> tuple[float, float]:
    return (patch.shape[1] - 1) / 2, (patch.shape[0] - 1) / 2


def _clouds(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    smooth = _gaussian(rng.standard_normal(patch.shape[:2], dtype=np.float32), atmosphere.CLOUD_SCALE)
    return cv2.normalize(smooth, None, 0, 1, cv2.NORM_MINMAX)


@_plain(library=False)
def brightness(patch, values, sensor, rng):
    return np.clip(patch * (1 + values["gain"]), sensor.low, sensor.high)


@_plain(library=False)
def offset(patch, values, sensor, rng):
    return np.clip(patch + values["level"] * _span(sensor), sensor.low, sensor.high)


@_plain(library=True)
def gain_drift(patch, values, sensor, rng):
    bands = _bands(sensor)
    knots = np.linspace(bands[0], bands[-1], 5)
    curve = CubicSpline(knots, rng.uniform(-1, 1, 5))(bands).astype(np.float32)
    return np.clip(patch * (1 + values["depth"] * curve), sensor.low, sensor.high)


@_plain(library=False)
def contrast(patch, values, sensor, rng):
    return np.clip(sensor.signal + (patch - sensor.signal) * (1 + values["change"]), sensor.low, sensor.high)


@_plain(library=True)
def gamma(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    return sensor.low + _span(sensor) * exposure.adjust_gamma(np.clip(scaled, 0, 1), values["exponent"])


@_plain(library=True)
def shadow(patch, values, sensor, rng):
    clouds = _clouds(patch, rng)
    mask = _gaussian((clouds < np.quantile(clouds, values["cover"])).astype(np.float32), 2)[..., None]
    sky = np.minimum(1, radiometry.SKY * _power(sensor, radiometry.SKY_EXPONENT))
    return np.clip(patch * (1 - values["depth"] * mask * (1 - sky)), sensor.low, sensor.high)


@_plain(library=False)
def illumination_gradient(patch, values, sensor, rng):
    waves = radiometry.SLOPE_WAVES
    angle, phase = rng.uniform(0, 2 * np.pi, (2, waves, 1, 1))
    pace = 2 * np.pi / rng.uniform(*radiometry.SLOPE_PERIODS, (waves, 1, 1))
    down, across = np.mgrid[: patch.shape[0], : patch.shape[1]]
    slope = np.sin(pace * (np.sin(angle) * down + np.cos(angle) * across) + phase).mean(axis=0).astype(np.float32)
    return np.clip(patch * (1 + values["depth"] * slope[..., None]), sensor.low, sensor.high)


@_plain(library=False)
def saturation(patch, values, sensor, rng):
    return np.clip(patch, sensor.low, sensor.low + _span(sensor) / (1 + values["level"]))


@_plain(library=False)
def haze(patch, values, sensor, rng):
    through = np.exp(-values["depth"] * _power(sensor, values["angstrom"]))
    airlight = sensor.low + atmosphere.AIRLIGHT * _span(sensor)
    return np.clip(patch * through + airlight * (1 - through), sensor.low, sensor.high)


@_plain(library=False)
def water_vapour(patch, values, sensor, rng):
    bands = _bands(sensor)
    lines = zip(atmosphere.WATER_DEPTHS, atmosphere.WATER_CENTRES, atmosphere.WATER_WIDTHS, strict=True)
    tau = sum(depth * np.exp(-0.5 * ((bands - centre) / width) ** 2) for depth, centre, width in lines)
    return np.clip(patch * np.exp(-tau * values["change"]), sensor.low, sensor.high)


@_plain(library=True)
def thin_cirrus(patch, values, sensor, rng):
    cover = values["opacity"] * _clouds(patch, rng)[..., None]
    cloud = sensor.low + atmosphere.CLOUD * _span(sensor)
    return np.clip(patch * (1 - cover) + cloud * cover, sensor.low, sensor.high)


@_plain(library=True)
def adjacency(patch, values, sensor, rng):
    share = np.minimum(1, values["share"] * _power(sensor, atmosphere.SCATTER_EXPONENT))
    return patch + share * (_gaussian(patch, atmosphere.SURROUNDINGS) - patch)


@_plain(library=True)
def gaussian_blur(patch, values, sensor, rng):
    return _gaussian(patch, values["sigma"])


@_plain(library=True)
def motion_blur(patch, values, sensor, rng):
    reach = int(np.ceil(values["length"] / 2))
    kernel = np.zeros((2 * reach + 1,) * 2, np.float32)
    kernel[reach] = np.clip(values["length"] / 2 + 0.5 - np.abs(np.arange(-reach, reach + 1)), 0, 1)
    turn = cv2.getRotationMatrix2D((reach, reach), values["angle"], 1)
    kernel = cv2.warpAffine(kernel, turn, kernel.shape)
    return _filtered(patch, kernel / kernel.sum())


@_plain(library=True)
def defocus(patch, values, sensor, rng):
    kernel = disk(round(values["radius"])).astype(np.float32)
    return _filtered(patch, kernel / kernel.sum())


@_plain(library=True)
def stray_light(patch, values, sensor, rng):
    return patch + values["share"] * (_gaussian(patch, values["reach"]) - patch)


@_plain(library=True)
def box_blur(patch, values, sensor, rng):
    side = 2 * round((values["size"] - 1) / 2) + 1
    return cv2.blur(patch, (side, side), borderType=cv2.BORDER_REPLICATE)


@_plain(library=True)
def median_blur(patch, values, sensor, rng):
    return cv2.medianBlur(patch, 2 * round(values["radius"]) + 1).reshape(patch.shape)


@_plain(library=True)
def misregistration(patch, values, sensor, rng):
    bands = _bands(sensor)
    place = (bands - bands[0]) / max(bands[-1] - bands[0], 1e-6)
    shifts = values["slope"] * (place - 0.5) + values["step"] * (bands >= JOIN)
    planes = zip(patch.transpose(2, 0, 1), shifts, strict=True)
    moved = [_warped(plane, np.float32([[1, 0, shift], [0, 1, 0]]), inverse=True) for plane, shift in planes]
    return np.stack(moved, axis=-1)


@_plain(library=True)
def translation(patch, values, sensor, rng):
    return _warped_bands(patch, np.float32([[1, 0, values["across"]], [0, 1, values["down"]]]), inverse=True)


@_plain(library=True)
def rotation(patch, values, sensor, rng):
    return _warped_bands(patch, cv2.getRotationMatrix2D(_middle(patch), values["angle"], 1))


@_plain(library=True)
def zoom(patch, values, sensor, rng):
    factor = values["factor"]
    fine = _gaussian(patch, (1 / factor - 1) / 2) if factor < 1 else patch
    return _warped_bands(fine, cv2.getRotationMatrix2D(_middle(patch), 0, factor))


@_plain(library=True)
def band_shift(patch, values, sensor, rng):
    bands = _bands(sensor)
    places = np.clip(bands + values["shift"], bands[0], bands[-1])
    return make_interp_spline(bands, patch, axis=2)(places)


@_plain(library=True)
def smile(patch, values, sensor, rng):
    bands, width = _bands(sensor), patch.shape[1]
    place = (rng.uniform(0, width) + np.arange(width) + 0.5) / width - 1
    places = np.clip(bands + values["shift"] * place[:, None] ** 2, bands[0], bands[-1])
    columns = [make_interp_spline(bands, patch[:, j], axis=1)(at) for j, at in enumerate(places)]
    return np.stack(columns, axis=1)


@_plain(library=False)
def bandwidth(patch, values, sensor, rng):
    bands, sigma = _bands(sensor), max(values["widening"] / 2.355, 1e-3)
    weights = np.exp(-0.5 * ((bands[:, None] - bands) / sigma) ** 2)
    return patch @ (weights / weights.sum(axis=1, keepdims=True)).T


@_plain(library=True)
def band_loss(patch, values, sensor, rng):
    bands = _bands(sensor)
    lost = rng.random(len(bands)) < values["share"]
    lost[[0, -1]] = False
    empty = patch.copy()
    if values["fill"] >= 0.5:
        empty[..., lost] = sensor.low
    else:
        empty[..., lost] = interp1d(bands[~lost], patch[..., ~lost], axis=2)(bands[lost])
    return empty


@_plain(library=False)
def gaussian_noise(patch, values, sensor, rng):
    snr = np.interp(_bands(sensor), SNR_WAVELENGTHS, SNR_VALUES)
    level = (values["level"] * sensor.signal * snr.max() / snr).astype(np.float32)
    noise = rng.standard_normal(patch.shape, dtype=np.float32)
    return np.clip(patch + level * noise, sensor.low, sensor.high)


@_plain(library=True)
def white_noise(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    noisy = util.random_noise(scaled, mode="gaussian", rng=rng, var=values["sigma"] ** 2)
    return sensor.low + _span(sensor) * noisy


@_plain(library=False)
def shot_noise(patch, values, sensor, rng):
    photons = max(values["level"], 1e-3) ** -2
    scaled = np.clip((patch - sensor.low) / _span(sensor), 0, 1)
    counts = rng.poisson(scaled * photons).astype(np.float32)
    return np.clip(sensor.low + _span(sensor) / photons * counts, sensor.low, sensor.high)


@_plain(library=True)
def correlated_noise(patch, values, sensor, rng):
    rho = values["correlation"]
    drive = rng.standard_normal(patch.shape, dtype=np.float32)
    drive[..., 0] /= np.sqrt(1 - rho**2)
    noise = lfilter(np.float32([np.sqrt(1 - rho**2)]), np.float32([1, -rho]), drive, axis=2)
    return np.clip(patch + values["level"] * sensor.signal * noise, sensor.low, sensor.high)


@_plain(library=True)
def impulse_noise(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    noisy = util.random_noise(scaled, mode="s&p", rng=rng, amount=values["rate"])
    return sensor.low + _span(sensor) * noisy


@_plain(library=False)
def random_impulse_noise(patch, values, sensor, rng):
    hit = rng.random(patch.shape, dtype=np.float32) < values["rate"]
    changed = patch.copy()
    changed[hit] = rng.uniform(sensor.low, sensor.high, np.count_nonzero(hit))
    return changed


@_plain(library=True)
def multiplicative_noise(patch, values, sensor, rng):
    scaled = patch / sensor.high
    noisy = util.random_noise(scaled, mode="speckle", rng=rng, mean=values["mean"], var=values["sigma"] ** 2)
    return np.maximum(sensor.high * noisy, sensor.low)


@_plain(library=False)
def pixel_noise(patch, values, sensor, rng):
    hit = rng.random(patch.shape[:2]) < values["share"]
    changed = patch.copy()
    changed[hit] += rng.normal(values["mean"], values["sigma"], (np.count_nonzero(hit), 1)) * _span(sensor)
    return np.clip(changed, sensor.low, sensor.high)


@_plain(library=False)
def band_noise(patch, values, sensor, rng):
    hit = rng.random(patch.shape[2]) < values["share"]
    changed = patch.copy()
    changed[..., hit] += rng.normal(values["mean"], values["sigma"], np.count_nonzero(hit)) * _span(sensor)
    return np.clip(changed, sensor.low, sensor.high)


@_plain(library=False)
def stripes(patch, values, sensor, rng):
    hit = rng.random(patch.shape[1:]) < values["share"]
    sign = (hit * rng.choice([-1, 1], hit.shape)).astype(np.float32)
    striped = patch * (1 + values["depth"] * sign) + values["offset"] * _span(sensor) * sign
    return np.clip(striped, sensor.low, sensor.high)


@_plain(library=False)
def dead_lines(patch, values, sensor, rng):
    height, width, bands = patch.shape
    hit = rng.random(bands) < values["bands"]
    lines = (1, width, bands) if values["columns"] >= 0.5 else (height, 1, 1)
    lost = (rng.random(lines) < values["share"]) & hit
    if values["filled"] < 1:
        lost = lost & (rng.random((height, width, 1)) < values["filled"])
    return np.where(lost, np.float32(sensor.high if values["bright"] >= 0.5 else sensor.low), patch)


@_plain(library=False)
def salt_and_pepper(patch, values, sensor, rng):
    drawn = rng.uniform(-1, 1, patch.shape[:2])
    hit = patch.copy()
    hit[drawn >= 1 - values["share"]] = sensor.high
    hit[drawn < values["share"] - 1] = sensor.low
    return hit


@_plain(library=False)
def region_loss(patch, values, sensor, rng):
    height, width, bands = patch.shape
    hit = rng.random(bands) < values["bands"]
    lost = patch.copy()
    side = round(values["size"])
    for _ in range(rng.poisson(height * width / REGION_SPACING**2)):
        row, col = rng.integers(0, height), rng.integers(0, width)
        lost[row : row + side, col : col + side, hit] = sensor.high if values["bright"] >= 0.5 else sensor.low
    return lost


@_plain(library=False)
def radiometric_quantisation(patch, values, sensor, rng):
    bits = round(values["bits"])
    if bits >= 16:
        return patch
    step = _span(sensor) / (2**bits - 1)
    return sensor.low + step * np.round((patch - sensor.low) / step)


@_plain(library=False)
def lossy_compression(patch, values, sensor, rng):
    error = np.float32(values["error"] * _span(sensor))
    return np.clip(patch + error * (2 * rng.random(patch.shape, dtype=np.float32) - 1), sensor.low, sensor.high)

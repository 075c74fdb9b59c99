"""Each relation as one writes it without this library: one patch at a time, with scikit-image, OpenCV and SciPy.

`PLAIN[name](patch, values, sensor, rng)`: a patch (h, w, b) float32, the values of the relation's params as floats, the
sensor, a generator for what is random. They do the same kind of thing, not the same numbers: edges, interpolation
and noise streams differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline, interp1d
from scipy.signal import lfilter
from skimage import exposure, transform, util
from skimage.filters import gaussian
from skimage.morphology import disk

from relations import Sensor

Plain = Callable[[np.ndarray, Mapping[str, float], Sensor, np.random.Generator], np.ndarray]
PLAIN: dict[str, Plain] = {}


def _plain(function: Plain) -> Plain:
    PLAIN[function.__name__] = function
    return function


def _span(sensor: Sensor) -> float:
    return sensor.high - sensor.low


def _bands(sensor: Sensor) -> np.ndarray:
    return np.arange(len(sensor.signal)) if sensor.wavelengths is None else sensor.wavelengths


def _filtered(patch: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return cv2.filter2D(patch, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def _smooth(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return gaussian(rng.random(patch.shape[:2]), sigma=6)[..., None]


@_plain
def brightness(patch, values, sensor, rng):
    return np.clip(patch * (1 + values["gain"]), sensor.low, sensor.high)


@_plain
def offset(patch, values, sensor, rng):
    return np.clip(patch + values["level"] * _span(sensor), sensor.low, sensor.high)


@_plain
def gain_drift(patch, values, sensor, rng):
    bands = _bands(sensor)
    curve = CubicSpline(np.linspace(bands[0], bands[-1], 5), rng.uniform(-1, 1, 5))(bands)
    return np.clip(patch * (1 + values["depth"] * curve), sensor.low, sensor.high)


@_plain
def contrast(patch, values, sensor, rng):
    mean = patch.mean(axis=(0, 1))
    return np.clip(mean + (patch - mean) * (1 + values["change"]), sensor.low, sensor.high)


@_plain
def gamma(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    return sensor.low + _span(sensor) * exposure.adjust_gamma(np.clip(scaled, 0, 1), values["exponent"])


@_plain
def shadow(patch, values, sensor, rng):
    mask = gaussian((_smooth(patch, rng) > 0.5).astype(float), sigma=2, channel_axis=-1)
    sky = np.minimum(1, 0.2 * (_bands(sensor) / 550.0) ** -2)
    return patch * (1 - values["depth"] * mask * (1 - sky))


@_plain
def illumination_gradient(patch, values, sensor, rng):
    return np.clip(patch * (1 + values["depth"] * _smooth(patch, rng)), sensor.low, sensor.high)


@_plain
def saturation(patch, values, sensor, rng):
    return np.minimum(patch, sensor.low + (1 - values["level"]) * _span(sensor))


@_plain
def haze(patch, values, sensor, rng):
    through = np.exp(-values["depth"] * (_bands(sensor) / 550.0) ** -values["angstrom"])
    return np.clip(patch * through + 0.3 * _span(sensor) * (1 - through), sensor.low, sensor.high)


@_plain
def water_vapour(patch, values, sensor, rng):
    bands = _bands(sensor)
    tau = sum(0.5 * np.exp(-0.5 * ((bands - centre) / 20) ** 2) for centre in (720, 820, 940, 1130, 1380, 1880))
    return patch * np.exp(-tau * values["change"])


@_plain
def thin_cirrus(patch, values, sensor, rng):
    cover = values["opacity"] * _smooth(patch, rng)
    return patch * (1 - cover) + sensor.high * cover


@_plain
def adjacency(patch, values, sensor, rng):
    around = gaussian(patch, sigma=5, channel_axis=-1, preserve_range=True)
    return patch + values["share"] * (around - patch)


@_plain
def gaussian_blur(patch, values, sensor, rng):
    return gaussian(patch, sigma=max(values["sigma"], 1e-3), channel_axis=-1, preserve_range=True)


@_plain
def motion_blur(patch, values, sensor, rng):
    side = 2 * int(np.ceil(values["length"] / 2)) + 1
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1
    turn = cv2.getRotationMatrix2D((side // 2, side // 2), values["angle"], 1)
    kernel = cv2.warpAffine(kernel, turn, (side, side))
    return _filtered(patch, kernel / kernel.sum())


@_plain
def defocus(patch, values, sensor, rng):
    kernel = disk(max(1, round(values["radius"]))).astype(np.float32)
    return _filtered(patch, kernel / kernel.sum())


@_plain
def stray_light(patch, values, sensor, rng):
    halo = gaussian(patch, sigma=4, channel_axis=-1, preserve_range=True)
    return patch + values["share"] * (halo - patch)


@_plain
def box_blur(patch, values, sensor, rng):
    return ndimage.uniform_filter(patch, size=(max(1, round(values["size"])),) * 2 + (1,), mode="nearest")


@_plain
def median_blur(patch, values, sensor, rng):
    side = 2 * round(values["radius"]) + 1
    return np.stack([cv2.medianBlur(np.ascontiguousarray(patch[..., b]), side) for b in range(patch.shape[2])], axis=-1)


@_plain
def misregistration(patch, values, sensor, rng):
    place = np.linspace(-0.5, 0.5, patch.shape[2])
    shifts = values["slope"] * place + values["step"] * (place > 0)
    moved = [ndimage.shift(patch[..., b], (0, s), order=3, mode="nearest") for b, s in enumerate(shifts)]
    return np.stack(moved, axis=-1)


@_plain
def translation(patch, values, sensor, rng):
    return ndimage.shift(patch, (values["down"], values["across"], 0), order=3, mode="nearest")


@_plain
def rotation(patch, values, sensor, rng):
    return transform.rotate(patch, values["angle"], order=3, mode="edge", preserve_range=True)


@_plain
def zoom(patch, values, sensor, rng):
    centre = (np.array(patch.shape[:2])[::-1] - 1) / 2
    scale = transform.SimilarityTransform(scale=1 / values["factor"])
    about = (
        transform.SimilarityTransform(translation=-centre) + scale + transform.SimilarityTransform(translation=centre)
    )
    return transform.warp(patch, about, order=3, mode="edge", preserve_range=True)


@_plain
def band_shift(patch, values, sensor, rng):
    bands = _bands(sensor)
    return interp1d(bands, patch, kind="cubic", axis=2, fill_value="extrapolate")(bands + values["shift"])


@_plain
def smile(patch, values, sensor, rng):
    bands, place = _bands(sensor), np.linspace(-1, 1, patch.shape[1])
    columns = [
        interp1d(bands, patch[:, j], kind="cubic", axis=1, fill_value="extrapolate")(bands + values["shift"] * u * u)
        for j, u in enumerate(place)
    ]
    return np.stack(columns, axis=1)


@_plain
def bandwidth(patch, values, sensor, rng):
    step = float(np.median(np.diff(_bands(sensor))))
    return ndimage.gaussian_filter1d(patch, max(values["widening"] / 2.355 / step, 1e-3), axis=2, mode="nearest")


@_plain
def band_loss(patch, values, sensor, rng):
    bands = _bands(sensor)
    alive = rng.random(len(bands)) >= values["share"]
    alive[[0, -1]] = True
    if values["fill"] >= 0.5:
        return patch * alive
    return interp1d(bands[alive], patch[..., alive], axis=2)(bands)


@_plain
def gaussian_noise(patch, values, sensor, rng):
    return np.clip(patch + rng.normal(0, values["level"] * sensor.signal, patch.shape), sensor.low, sensor.high)


@_plain
def white_noise(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    noisy = util.random_noise(scaled, mode="gaussian", rng=rng, var=values["sigma"] ** 2)
    return sensor.low + _span(sensor) * noisy


@_plain
def shot_noise(patch, values, sensor, rng):
    photons = max(values["level"], 1e-3) ** -2
    scaled = np.clip((patch - sensor.low) / _span(sensor), 0, 1)
    return sensor.low + _span(sensor) * rng.poisson(scaled * photons) / photons


@_plain
def correlated_noise(patch, values, sensor, rng):
    rho = values["correlation"]
    noise = lfilter([np.sqrt(1 - rho**2)], [1, -rho], rng.standard_normal(patch.shape), axis=2)
    return patch + values["level"] * sensor.signal * noise


@_plain
def impulse_noise(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    noisy = util.random_noise(scaled, mode="s&p", rng=rng, amount=2 * values["rate"])
    return sensor.low + _span(sensor) * noisy


@_plain
def random_impulse_noise(patch, values, sensor, rng):
    hit = rng.random(patch.shape) < values["rate"]
    return np.where(hit, rng.uniform(sensor.low, sensor.high, patch.shape), patch)


@_plain
def multiplicative_noise(patch, values, sensor, rng):
    scaled = (patch - sensor.low) / _span(sensor)
    noisy = util.random_noise(scaled, mode="speckle", rng=rng, mean=values["mean"], var=values["sigma"] ** 2)
    return sensor.low + _span(sensor) * noisy


@_plain
def pixel_noise(patch, values, sensor, rng):
    hit = rng.random(patch.shape[:2]) < values["share"]
    added = hit * rng.normal(values["mean"], values["sigma"] + 1e-9, patch.shape[:2]) * _span(sensor)
    return np.clip(patch + added[..., None], sensor.low, sensor.high)


@_plain
def band_noise(patch, values, sensor, rng):
    hit = rng.random(patch.shape[2]) < values["share"]
    added = hit * rng.normal(values["mean"], values["sigma"] + 1e-9, patch.shape[2]) * _span(sensor)
    return np.clip(patch + added, sensor.low, sensor.high)


@_plain
def stripes(patch, values, sensor, rng):
    striped = patch.copy()
    for band in range(patch.shape[2]):
        hit = rng.random(patch.shape[1]) < values["share"]
        sign = rng.choice([-1.0, 1.0], patch.shape[1]) * hit
        striped[..., band] = patch[..., band] * (1 + sign * values["depth"]) + sign * values["offset"] * _span(sensor)
    return np.clip(striped, sensor.low, sensor.high)


@_plain
def dead_lines(patch, values, sensor, rng):
    dead = patch.copy()
    level = sensor.high if values["bright"] >= 0.5 else sensor.low
    if values["columns"] >= 0.5:
        for band in range(patch.shape[2]):
            dead[:, rng.random(patch.shape[1]) < values["share"], band] = level
    else:
        dead[rng.random(patch.shape[0]) < values["share"]] = level
    return dead


@_plain
def salt_and_pepper(patch, values, sensor, rng):
    drawn = rng.uniform(-1, 1, patch.shape[:2])
    hit = patch.copy()
    hit[drawn >= 1 - values["share"]] = sensor.high
    hit[drawn < values["share"] - 1] = sensor.low
    return hit


@_plain
def region_loss(patch, values, sensor, rng):
    row, col = rng.integers(0, patch.shape[0]), rng.integers(0, patch.shape[1])
    lost = patch.copy()
    side = round(values["size"])
    lost[row : row + side, col : col + side] = sensor.high if values["bright"] >= 0.5 else sensor.low
    return lost


@_plain
def radiometric_quantisation(patch, values, sensor, rng):
    levels = 2 ** round(values["bits"]) - 1
    return sensor.low + _span(sensor) * np.round((patch - sensor.low) / _span(sensor) * levels) / levels


@_plain
def lossy_compression(patch, values, sensor, rng):
    error = values["error"] * _span(sensor)
    return np.clip(patch + rng.uniform(-error, error, patch.shape), sensor.low, sensor.high)

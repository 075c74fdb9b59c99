"""The embedded scene: an invented but believable airborne image of farmland, with its ground truth."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from diverget.landscape import Ground, build, smooth_field
from diverget.loading import digest
from diverget.materials import CLASSES, MATERIALS
from diverget.scene import UNLABELLED, Scene

FINE = 4
"""Cells of the ground along one side of a pixel."""

REFLECTANCE_SCALE = 10_000.0

WATER_WINDOWS = ((1350.0, 1430.0), (1800.0, 1950.0))
"""Where the atmosphere lets nothing through and every sensor's bands are left out, in nm."""

PURE = 0.8
"""Share of a pixel that one class must cover for the ground truth to name it."""

ROUGHNESS = {"woodland": 0.20, "hamlet": 0.08, "tiled roof": 0.06, "stubble": 0.04, "water": 0.01}
"""Standard deviation of brightness between neighbouring cells; 0.03 for every other material."""

SNR = (
    (400, 160),
    (495, 450),
    (650, 420),
    (900, 320),
    (1000, 260),
    (1300, 260),
    (1700, 220),
    (2200, 150),
    (2450, 60),
)
"""Signal-to-noise ratio at a reflectance of 0.3 against nm, before the losses in water vapour."""


def synthetic_scene(
    *, seed: int = 0, height: int = 128, width: int = 128, snr: float = 1.0, impurity: float = 1.0
) -> Scene:
    """Farmland of twelve materials in 121 bands from 400 to 2450 nm, as reflectance x 10000.

    Each object of the ground has its own spectrum (its material's, under traits of its own), which shifts inside it
    with a smooth vigour. A pixel mixes the spectra that its point spread function covers, linearly; shadows keep
    the sky's blue light; slopes change the sun's share. Noise follows `SNR`; values are whole numbers. Pixels that
    no class covers to 80 %, hedges, gardens, verges and a few fields have no label.

    Args:
        seed: same seed, same scene.
        height, width: size in pixels of about 5 m, at least 48.
        snr: factor on the signal-to-noise ratio.
        impurity: factor on the standard deviation of the objects' traits: higher, and the crops are told apart
            less well.

    Raises:
        ValueError: a side is below 48 pixels, too few for the parcels of one deck.

    Source: feature positions in `diverget.materials`; noise after the requirements of EnMAP, 500:1 at 495 nm and
    150:1 at 2200 nm (Guanter et al. 2015, Remote Sens. 7, 8830); the rest is engineering judgement.
    """
    if min(height, width) < 48:
        raise ValueError(
            f"Expected a synthetic scene of at least 48 x 48 pixels, got height={height}, width={width}; enlarge it "
            "under scene.synthetic."
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, height, width]))
    ground = build(rng, height=height, width=width, fine=FINE)
    nm = band_centres()
    sharp, abundance = _reflectance(rng, ground, nm, impurity, (height, width))
    cube = np.rint(np.clip(_noisy(rng, sharp, nm, snr), 0.0, 1.0) * REFLECTANCE_SCALE).astype(np.float32)
    labels = _labels(ground, abundance).reshape(height, width)
    return Scene(
        name="synthetic farmland",
        cube=cube,
        valid=np.ones((height, width), dtype=bool),
        labels=labels,
        class_names=tuple(CLASSES),
        wavelengths=nm,
        value_range=(0.0, REFLECTANCE_SCALE),
        digest=digest(cube, labels, nm),
        origin={
            "generator": "diverget.synthetic.synthetic_scene",
            "seed": seed,
            "unit": "reflectance x 10000",
            "pixel_metres": 5,
            "warnings": ["The scene is synthetic: it shows how the method works, not how a mission fares."],
        },
    )


def band_centres() -> np.ndarray:
    """Band centres in nm: every 10 nm to 1000 nm, every 20 nm to 2440 nm, without the water windows."""
    nm = np.concatenate([np.arange(400.0, 1000.0, 10.0), np.arange(1000.0, 2451.0, 20.0)])
    return nm[~np.any([(nm >= low) & (nm <= high) for low, high in WATER_WINDOWS], axis=0)]


def band_average(nm: np.ndarray, fine_nm: np.ndarray) -> np.ndarray:
    """Weights (fine, bands) of Gaussian band responses, as wide at half height as 1.1 times the sampling."""
    sigma = 1.1 * np.where(nm < 1000, 10.0, 20.0) / 2.3548
    response = np.exp(-0.5 * ((fine_nm[:, None] - nm) / sigma) ** 2)
    return response / response.sum(axis=0)


def _reflectance(
    rng: np.random.Generator, ground: Ground, nm: np.ndarray, impurity: float, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The noiseless cube (H, W, B) float64 of reflectance and every object's share of every pixel (H·W, objects)."""
    shape = ground.owner.shape
    fine_nm = np.arange(370.0, 2500.0, 4.0)
    average = band_average(nm, fine_nm)
    vigour = 0.8 * smooth_field(rng, shape, 9 * FINE) + 0.35 * smooth_field(rng, shape, 2 * FINE)
    grain = ndimage.gaussian_filter(rng.standard_normal(shape), 0.5 * FINE) * FINE * 1.77
    lit = _lit(ground.height)

    count = len(ground.material)
    mixes = np.zeros((4, count, *size))
    spectra = np.zeros((2, count, len(nm)))
    down, across = _spread(size[0]), _spread(size[1])
    for number, (name, box) in enumerate(zip(ground.material, _boxes(ground.owner, count), strict=True)):
        traits = impurity * np.clip(rng.standard_normal(4), -2.2, 2.2)
        base = impurity * np.clip(0.7 * rng.standard_normal(), -1.5, 1.5)
        if box is None:
            continue
        low, middle, high = (MATERIALS[name](fine_nm, base + step, traits) @ average for step in (-1.0, 0.0, 1.0))
        spectra[:, number] = middle, 0.5 * (high - low)
        mask = ground.owner[box] == number
        bright = mask * (1 + ROUGHNESS.get(name, 0.03) * grain[box])
        parts = (mask, bright * lit[box], bright * (1 - lit[box]), bright * lit[box] * vigour[box])
        seen = tuple(slice(max(0, side.start // FINE - 3), side.stop // FINE + 4) for side in box)
        for kind, part in enumerate(parts):
            mixes[kind, number][seen] = down[seen[0], box[0]] @ part @ across[seen[1], box[1]].T

    skylight = 0.04 + 0.22 * (nm / 500) ** -2.0
    weights = mixes.reshape(4, count, -1)
    flat = weights[1].T @ spectra[0] + weights[2].T @ (spectra[0] * skylight) + weights[3].T @ spectra[1]
    slope = _slope(rng, size).reshape(-1, 1)
    return np.maximum(flat * (1 + (slope - 1) * (1 - skylight)), 0.0).reshape(*size, len(nm)), weights[0]


def _boxes(owner: np.ndarray, count: int) -> list[tuple[slice, slice] | None]:
    """The bounding box of each object, None for one that was wholly covered."""
    boxes = ndimage.find_objects(owner + 1, max_label=count)
    return [*boxes, *[None] * (count - len(boxes))]


def _spread(pixels: int) -> np.ndarray:
    """Weights (pixels, cells) of the point spread function along one axis: Gaussian optics of 1.2 pixels at half
    height and the width of a detector element; the edge repeats outwards."""
    cells = (np.arange(pixels * FINE) + 0.5) / FINE
    offset = (np.arange(pixels) + 0.5)[:, None] - cells
    taps = np.linspace(-0.5, 0.5, 9)
    weights = sum(np.exp(-0.5 * ((offset + tap) / (1.2 / 2.3548)) ** 2) for tap in taps)
    return weights / weights.sum(axis=1, keepdims=True)


def _lit(height: np.ndarray) -> np.ndarray:
    """1 where the sun reaches a cell, 0 in the shadow of what stands south-east of it, at 42 degrees of elevation."""
    lit = np.ones(height.shape)
    metres = 5.0 / FINE
    for step in range(1, 4 * FINE):
        caster = np.roll(height, (-step, -step), axis=(0, 1))
        caster[-step:], caster[:, -step:] = 0, 0
        lit[caster > height + step * metres * np.sqrt(2) * np.tan(np.radians(42))] = 0.0
    return ndimage.gaussian_filter(lit, 0.25 * FINE)


def _slope(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Sunlight relative to level ground, (H, W): the cosine of incidence on gentle hills."""
    hills = 9.0 * smooth_field(rng, size, 45) + 2.0 * smooth_field(rng, size, 18)
    rise_y, rise_x = np.gradient(hills, 5.0)
    zenith = np.radians(48)
    sun = np.array([np.sin(zenith) * np.sqrt(0.5), np.sin(zenith) * np.sqrt(0.5), np.cos(zenith)])
    incidence = (-rise_y * sun[0] - rise_x * sun[1] + sun[2]) / np.sqrt(1 + rise_y**2 + rise_x**2)
    return incidence / sun[2]


def _noisy(rng: np.random.Generator, cube: np.ndarray, nm: np.ndarray, snr: float) -> np.ndarray:
    """The cube with read and photon noise; near water vapour the signal, and with it the SNR, is lower."""
    at, ratio = np.transpose(SNR)
    vapour = sum(d * np.exp(-0.5 * ((nm - c) / w) ** 2) for c, w, d in ((940, 20, 0.6), (1135, 22, 0.7), (1395, 40, 2)))
    vapour = vapour + 2.5 * np.exp(-0.5 * ((nm - 1880) / 70) ** 2)
    ratio = snr * np.interp(nm, at, ratio) * np.exp(-vapour)
    sigma = 0.3 / ratio * np.sqrt(0.3 + 0.7 * cube / 0.3)
    return cube + sigma * rng.standard_normal(cube.shape)


def _labels(ground: Ground, abundance: np.ndarray) -> np.ndarray:
    """The class of each pixel that one class covers to `PURE` by surveyed objects, else `UNLABELLED`; (H·W,) int32."""
    names = np.array(ground.material)
    share = np.stack([abundance[ground.surveyed & (names == name)].sum(axis=0) for name in CLASSES])
    return np.where(share.max(axis=0) >= PURE, share.argmax(axis=0), UNLABELLED).astype(np.int32)

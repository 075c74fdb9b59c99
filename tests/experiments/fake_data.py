"""Data of smooth spectra, or of soft strokes, and what a run tells of it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def scene(rng: np.random.Generator, nm: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Fields of k covers with smooth spectra under smooth illumination: (96, 120, b) digital numbers, (96, 120)."""
    height, width = 96, 120
    places = rng.random((34, 2)) * (height, width)
    grid = np.stack(np.mgrid[:height, :width], axis=-1)
    truth = rng.integers(0, k, 34)[np.linalg.norm(grid[:, :, None] - places, axis=-1).argmin(axis=2)]
    green = (
        0.06 * np.exp(-(((nm - 550) / 45) ** 2))
        + 0.04
        + 0.42 / (1 + np.exp(-(nm - 715) / 14)) * np.exp(-(nm - 715) / 1900)
    )
    water = 1 - 0.25 * np.exp(-(((nm - 975) / 40) ** 2)) - 0.3 * np.exp(-(((nm - 1200) / 60) ** 2))
    soil = 0.08 + 0.32 * (1 - np.exp(-(nm - 350) / 700))
    kinds = np.stack([w * green * water + (1 - w) * soil for w in np.linspace(0.95, 0.05, k)])
    light = 1 + 0.12 * gaussian_filter(rng.standard_normal((height, width)), 3) * 6
    texture = 1 + 0.05 * rng.standard_normal((height, width, 1)) + 0.01 * rng.standard_normal((height, width, len(nm)))
    sun = 1.15 - 0.75 * (nm - 400) / 2050
    return (1000 + 9000 * kinds[truth] * light[..., None] * texture * sun).astype(np.float32), truth


def digits(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Forty images of one soft stroke each, (40, h, w, c), grey levels 0 to 255."""
    marks = (rng.random((40, *shape)) > 0.985).astype(np.float64)
    soft = gaussian_filter(marks, (0, 1.6, 1.6, 0))
    return (255 * np.clip(soft / soft.max(axis=(1, 2, 3), keepdims=True) * 2, 0, 1)).astype(np.float32)


def split_map(truth: np.ndarray) -> np.ndarray:
    rows, cols = np.indices(truth.shape)
    part = np.array([1, 3, 1, 2, 3, 1, 3])[(rows // 16 * 3 + cols // 16 * 5) % 7].astype(np.uint8)
    part[(rows % 16 < 2) | (cols % 16 < 2)] = 0
    return part


def described(cube: np.ndarray, nm: np.ndarray | None, classes: tuple[str, ...], images: bool, labelled: bool) -> dict:
    return {
        "kind": "images" if images else "scene",
        "name": "digits" if images else "Pines",
        "digest": "d1" * 32,
        "shape": list(cube.shape),
        "value_range": [0.0, 255.0] if images else [0.0, 10000.0],
        "unit": None if images else "digital number",
        "wavelengths": None if nm is None else nm.tolist(),
        "class_names": list(classes),
        "labelled": 10249 if labelled else 0,
        "masked": 0,
        "origin": {"cube": "data/pines.npz"},
        "warnings": ["Wavelengths were guessed to be in nm."] if nm is not None else [],
        "split": {
            "protocol": "random" if images else "blocks",
            "description": "Images are split at random, 60/10/30."
            if images
            else "Blocks of 16 × 16 pixels go to one part each, with a guard of 4 pixels between parts.",
            "patch": 9,
            "counts": {"train": 5120, "calibration": 512, "assessment": 3011},
            "assessed": 240,
            "rated": 960,
            "per_class": [
                {"class": c, "train": 820 + 7 * i, "calibration": 80 + i, "assessment": 500 - 9 * i}
                for i, c in enumerate(classes)
            ],
            "leakage": 0.0,
            "notes": [],
        },
    }

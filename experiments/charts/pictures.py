"""Pictures of pixels: false colour under a fixed stretch, maps of the scene, PNG as data URIs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import cv2
import numpy as np

FALSE_COLOUR_NM = (860.0, 650.0, 550.0)
"""Near infrared, red, green shown as red, green, blue: the classic colour-infrared composite."""

SPLIT_COLOURS = {"train": "#4477aa", "calibration": "#ddaa33", "assessment": "#228833"}
"""Parts of the split, in the order of their codes 1, 2, 3. Source: Paul Tol's bright scheme, colour-blind-safe."""

NARROWEST = 0.02
"""Least span of a stretch as a share of the value range, so that a flat patch is not shown as noise."""


def display_bands(bands: int, wavelengths: Sequence[float] | np.ndarray | None) -> list[int]:
    """Which bands become red, green and blue (one band: a grey picture)."""
    if bands < 3:
        return [0]
    if bands == 3:
        return [0, 1, 2]
    if wavelengths is None or not wavelengths[0] < FALSE_COLOUR_NM[2] < FALSE_COLOUR_NM[0] < wavelengths[-1]:
        return [bands * 5 // 6, bands // 2, bands // 6]
    return [int(np.abs(np.asarray(wavelengths) - nm).argmin()) for nm in FALSE_COLOUR_NM]


def stretch(source: np.ndarray, value_range: Sequence[float], *, percent: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Black and white points (c,) of each channel: the percentiles of `source` (h, w, c), kept for its follow-up.

    Were it computed again on the follow-up, a brighter picture would look just like the darker one.
    """
    low, high = np.percentile(source.reshape(-1, source.shape[-1]), (percent, 100 - percent), axis=0)
    least = NARROWEST * (value_range[1] - value_range[0])
    centre, span = (low + high) / 2, np.maximum(high - low, least)
    return centre - span / 2, centre + span / 2


def shown(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """`x` (h, w, 1 or 3) between its black and white points as (h, w, 3) uint8."""
    scaled = np.clip((x - low) / np.maximum(np.asarray(high) - low, 1e-12), 0, 1)
    return np.broadcast_to(np.round(255 * scaled), (*x.shape[:2], 3)).astype(np.uint8)


def change(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean change over the bands as blue (darker) to orange (brighter), (h, w, 3) uint8, and its full scale."""
    difference = (after.astype(np.float64) - before).mean(axis=-1)
    full = float(np.abs(difference).max())
    strength = (difference / full if full else difference)[..., None]
    grey, orange, blue = np.array([236, 236, 234]), np.array([201, 80, 10]), np.array([10, 110, 189])
    mixed = grey + np.maximum(strength, 0) * (orange - grey) + np.maximum(-strength, 0) * (blue - grey)
    return np.round(mixed).astype(np.uint8), full


def upscaled(rgb: np.ndarray, *, pixels: int) -> np.ndarray:
    """`rgb` with every pixel repeated so that the longer side reaches about `pixels`; far larger ones are reduced."""
    height, width = rgb.shape[:2]
    longer = max(height, width)
    if longer > 2 * pixels:
        scale = 2 * pixels / longer
        return cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    times = max(1, round(pixels / longer))
    return rgb.repeat(times, axis=0).repeat(times, axis=1)


def png(rgb: np.ndarray) -> str:
    """A data URI of an (h, w, 3) uint8 picture."""
    encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
    return f"data:image/png;base64,{b64encode(encoded.tobytes()).decode()}"


def split_map(rgb: np.ndarray, split: np.ndarray) -> np.ndarray:
    """The scene in pale grey under the colours of its split, (H, W, 3) uint8.

    Args:
        rgb: (H, W, 3) uint8.
        split: (H, W) uint8: 0 none, 1 train, 2 calibration, 3 assessment.
    """
    grey = 95 + rgb.mean(axis=-1, keepdims=True) * 0.45
    colours = np.array([[0, 0, 0], *([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in SPLIT_COLOURS.values())])
    tint = colours[split].astype(np.float64)
    weight = np.where(split > 0, 0.72, 0.0)[..., None]
    return np.round(grey * (1 - weight) + tint * weight).astype(np.uint8)

"""The data under assessment: a scene (cube with labels and wavelengths) or a set of plain images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from relations.core import Sensor

UNLABELLED = -1


@dataclass(frozen=True)
class Scene:
    """A hyperspectral cube.

    Attributes:
        name: what the report calls it.
        cube: (H, W, B) float32 in the scene's own unit; masked pixels hold the band's mean.
        valid: (H, W) bool; False where a value is NaN or no-data. Never classified.
        labels: (H, W) int32, `UNLABELLED` or 0..k-1; None for a scene without ground truth.
        class_names: k names.
        wavelengths: (B,) float64 in nm, ascending, or None.
        value_range: (low, high) of valid values in the scene's unit: what follow-ups are clipped to.
        digest: SHA-256 of cube, labels and wavelengths.
        origin: where each part came from, for the report; `warnings` holds what was guessed.
    """

    name: str
    cube: np.ndarray
    valid: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    wavelengths: np.ndarray | None
    value_range: tuple[float, float]
    digest: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bands(self) -> int:
        return self.cube.shape[2]

    def sensor(self) -> Sensor:
        """What the relations may know: range, mean level of each band over valid pixels, wavelengths."""
        signal = self.cube[self.valid].mean(axis=0, dtype=np.float64).astype(np.float32)
        return Sensor(*self.value_range, signal=signal, wavelengths=self.wavelengths)


@dataclass(frozen=True)
class ImageSet:
    """Plain images that go through the same pipe: each image is one patch without surroundings.

    Attributes:
        name: what the report calls it.
        images: (N, h, w, c) float32 in their own unit (grey levels 0-255, say).
        labels: (N,) int32, `UNLABELLED` or 0..k-1; None without ground truth.
        class_names: k names.
        value_range: (low, high) of valid values.
        digest: SHA-256 of images and labels.
        origin: where each part came from.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    value_range: tuple[float, float]
    digest: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bands(self) -> int:
        return self.images.shape[3]

    def sensor(self) -> Sensor:
        """What the relations may know: range and mean level of each channel."""
        signal = self.images.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
        return Sensor(*self.value_range, signal=signal)

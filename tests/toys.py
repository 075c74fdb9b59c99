"""A small scene and a linear softmax model with a coarsely rounded twin: disagreements in milliseconds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from diverget.models import preprocessing
from diverget.models.preprocessing import Preprocessing
from diverget.objectives import OBJECTIVES, layer_divergence
from diverget.scene import Scene

IDENTITY = preprocessing.identity("hwb")

BLACK_BOX = tuple(objective for objective in OBJECTIVES if objective.score is not layer_divergence)
"""The objectives that a model without a file has."""


@dataclass(frozen=True)
class Linear:
    """softmax(mean spectrum of the centre 3 × 3 pixels @ weights + bias): a `Model` without a file."""

    name: str
    weights: np.ndarray
    bias: np.ndarray
    output_step: float = 1e-4
    preprocessing: Preprocessing = IDENTITY

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.weights.tobytes()).hexdigest()

    @property
    def classes(self) -> int:
        return int(self.weights.shape[1])

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (5, 5, len(self.weights))

    def infer(self, z: np.ndarray) -> np.ndarray:
        spectrum = z[:, 1:4, 1:4].mean(axis=(1, 2), dtype=np.float64)
        logits = (spectrum[:, :, None] * self.weights).sum(axis=1) + self.bias
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.infer(x)

    def fresh(self) -> Linear:
        return self


def toy_scene(*, bands: int = 12, side: int = 24, classes: int = 4) -> Scene:
    """A scene of smooth fields, four classes in quadrants, values between 0 and 1."""
    rng = np.random.default_rng(11)
    spectra = 0.5 + 0.15 * rng.standard_normal((classes, bands))
    row, col = np.mgrid[:side, :side]
    labels = (row >= side // 2) * 2 + (col >= side // 2)
    cube = np.clip(spectra[labels] + 0.12 * rng.standard_normal((side, side, bands)), 0.0, 1.0).astype(np.float32)
    return Scene(
        name="toy",
        cube=cube,
        valid=np.ones((side, side), dtype=bool),
        labels=labels.astype(np.int32),
        class_names=tuple(f"class {c}" for c in range(classes)),
        wavelengths=np.linspace(450.0, 900.0, bands),
        value_range=(0.0, 1.0),
        digest=hashlib.sha256(cube.tobytes()).hexdigest(),
    )


def linear_pair(scene: Scene) -> tuple[Linear, Linear]:
    """A nearest-mean model of the scene's classes and its twin with weights rounded to steps of 2."""
    means = np.stack([scene.cube[scene.labels == c].mean(axis=0) for c in range(len(scene.class_names))], axis=1)
    weights = means.astype(np.float64) * 20
    bias = -10 * (means.astype(np.float64) ** 2).sum(axis=0)
    return Linear("toy", weights, bias), Linear("toy rounded", np.round(weights / 2) * 2, bias)

"""Networks for hyperspectral patches, as functions of the keras module: Keras 3 and tf_keras build the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from diverget.models import preprocessing
from diverget.models.preprocessing import Preprocessing

Build = Callable[[ModuleType, tuple[int, ...], int], Any]


@dataclass(frozen=True)
class Architecture:
    """A network with the settings it is trained under.

    Attributes:
        name: its name in a config.
        build: `build(keras, input_shape, classes) -> model`, not compiled, softmax outputs (n, classes).
        pca: principal components of the spectrum, at the most; None for the bands themselves.
        whiten: every input of unit variance.
        layout: axes of the prepared input.
        smallest_patch: least side of a patch in pixels.
        epochs, batch, learning_rate: defaults of the training.
        source: publication.
        summary: one sentence for the report.
    """

    name: str
    build: Build
    pca: int | None
    whiten: bool
    layout: str
    smallest_patch: int
    epochs: int
    batch: int
    learning_rate: float
    source: str
    summary: str

    def fit_preprocessing(self, pixels: np.ndarray) -> Preprocessing:
        """The preprocessing this network wants, from training pixels (N, b); at most b components.

        Raises:
            ValueError: as `preprocessing.fit` does.
        """
        pca = None if self.pca is None else min(self.pca, pixels.shape[1])
        return preprocessing.fit(pixels, pca=pca, whiten=self.whiten, layout=self.layout)

    def check_patch(self, size: int) -> None:
        """Return when patches of `size` pixels a side are large enough.

        Raises:
            ValueError: they are not.
        """
        if size < self.smallest_patch:
            raise ValueError(
                f"Expected patches of at least {self.smallest_patch} pixels a side for the architecture "
                f"{self.name!r}, got {size}; enlarge the patch, or choose another of {', '.join(NAMES)}."
            )


def _hybridsn(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    height, width, depth, _ = input_shape
    HYBRIDSN.check_patch(min(height, width))
    if depth < 13:
        raise ValueError(
            f"Expected at least 13 components for the architecture 'hybridsn', whose 3-D kernels span them, got "
            f"{depth} in inputs of shape {input_shape}; give a scene with more bands, or choose another of "
            f"{', '.join(NAMES)}."
        )
    layers = keras.layers
    x = source = layers.Input(input_shape)
    for filters, kernel in ((8, (3, 3, 7)), (16, (3, 3, 5)), (32, (3, 3, 3))):
        x = layers.Conv3D(filters, kernel, activation="relu")(x)
    x = layers.Reshape((height - 6, width - 6, (depth - 12) * 32))(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.Flatten()(x)
    for units in (256, 128):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(0.4)(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def _depthwise(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    DEPTHWISE.check_patch(min(input_shape[:2]))
    layers = keras.layers

    def normed(x: Any) -> Any:
        # Momentum 0.9: with Keras' 0.99 the moving averages are still cold after some hundred steps.
        return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(x))

    x = source = layers.Input(input_shape)
    x = normed(layers.Conv2D(32, 3, padding="same", use_bias=False)(x))
    for filters, stride in ((64, 2), (96, 1), (128, 2), (192, 1)):
        x = normed(layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
        x = normed(layers.Conv2D(filters, 1, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def _spectral(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    layers = keras.layers
    x = source = layers.Input(input_shape)
    for filters, kernel in ((32, 7), (64, 5)):
        x = layers.Conv1D(filters, kernel, padding="same", activation="relu")(x)
        x = layers.MaxPooling1D(2, padding="same")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(64, activation="relu")(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


HYBRIDSN = Architecture(
    name="hybridsn",
    build=_hybridsn,
    pca=30,
    whiten=True,
    layout="hwb1",
    smallest_patch=9,
    epochs=30,
    batch=32,
    learning_rate=1e-3,
    source="Roy et al. 2020, HybridSN, IEEE Geoscience and Remote Sensing Letters 17(2), 277-281, table I",
    summary="Three 3-D convolutions, one 2-D convolution, two dense layers; published for patches of 25 pixels and "
    "30 components. TFLite leaves its 3-D convolutions in float.",
)
DEPTHWISE = Architecture(
    name="depthwise",
    build=_depthwise,
    pca=30,
    whiten=True,
    layout="hwb",
    smallest_patch=7,
    epochs=40,
    batch=32,
    learning_rate=2e-3,
    source="Howard et al. 2017, MobileNets, arXiv:1704.04861, section 3: the blocks; sizes by engineering judgement",
    summary="A 2-D convolution and four depthwise-separable blocks on 30 components; every operator has an int8 "
    "kernel.",
)
SPECTRAL = Architecture(
    name="spectral",
    build=_spectral,
    pca=None,
    whiten=True,
    layout="centre",
    smallest_patch=1,
    epochs=60,
    batch=64,
    learning_rate=1e-3,
    source="Hu et al. 2015, Deep convolutional neural networks for hyperspectral image classification, J. Sensors "
    "2015, 258619: the idea; sizes by engineering judgement",
    summary="Two 1-D convolutions along the spectrum of the centre pixel; blind to its neighbours.",
)

ALL = (HYBRIDSN, DEPTHWISE, SPECTRAL)
NAMES = tuple(architecture.name for architecture in ALL)

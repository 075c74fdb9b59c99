"""Networks for hyperspectral patches."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from diverget.models.zoo.architecture import Architecture

# A build keeps its own parts inside it: its source text is what tells a trained network in the cache from another.


def _hybridsn(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    HYBRIDSN.check_input(input_shape)
    height, width, depth, _ = input_shape
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


def _ssrn(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    SSRN.check_input(input_shape)
    layers = keras.layers

    def normed(x: Any) -> Any:
        # Momentum 0.9: with Keras' 0.99 the moving averages are still cold after some hundred steps.
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    def conv(filters: int, kernel: tuple[int, int, int], x: Any, padding: str = "valid", stride: int = 1) -> Any:
        strides = (1, 1, stride)
        return layers.Conv3D(filters, kernel, strides=strides, padding=padding, kernel_initializer="he_normal")(x)

    def residual_blocks(kernel: tuple[int, int, int], x: Any) -> Any:
        # The input of the first block is normalised already.
        for number in range(2):
            y = conv(24, kernel, normed(x) if number else x, "same")
            x = layers.Add()([x, conv(24, kernel, normed(y), "same")])
        return normed(x)

    x = source = layers.Input(input_shape)
    x = residual_blocks((1, 1, 7), normed(conv(24, (1, 1, 7), x, stride=2)))
    height, width, depth = x.shape[1:4]
    x = normed(conv(128, (1, 1, depth), x))
    x = layers.Reshape((height, width, 128, 1))(x)
    x = residual_blocks((3, 3, 1), normed(conv(24, (3, 3, 128), x)))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling3D()(x))
    return keras.Model(source, layers.Dense(classes, activation="softmax", kernel_initializer="he_normal")(x))


def _cnn3d(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    CNN3D.check_input(input_shape)
    layers = keras.layers

    def conv(filters: int, kernel: tuple[int, int, int], x: Any) -> Any:
        return layers.Conv3D(filters, kernel, activation="relu", kernel_initializer="he_normal")(x)

    def along(filters: int, length: int, x: Any, stride: int = 1, activation: str | None = "relu") -> Any:
        return layers.Conv3D(
            filters,
            (1, 1, length),
            strides=(1, 1, stride),
            padding="same",
            activation=activation,
            kernel_initializer="he_normal",
        )(x)

    x = source = layers.Input(input_shape)
    x = along(20, 3, conv(20, (3, 3, 3), x), stride=2, activation=None)
    x = along(35, 3, conv(35, (3, 3, 3), x), stride=2, activation=None)
    x = along(35, 2, along(35, 3, x), stride=2)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(layers.Flatten()(x)))


def _spectral(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    SPECTRAL.check_input(input_shape)
    kernel = input_shape[0] // 9
    layers = keras.layers
    x = source = layers.Input(input_shape)
    x = layers.Conv1D(20, kernel, activation="tanh")(x)
    # A fifth of the kernel, rounded up, gives the published 5 for 220 and 224 bands and 3 for 103.
    x = layers.MaxPooling1D(-(-kernel // 5))(x)
    x = layers.Flatten()(x)
    x = layers.Dense(100, activation="tanh")(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def _depthwise(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    DEPTHWISE.check_input(input_shape)
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


HYBRIDSN = Architecture(
    name="hybridsn",
    build=_hybridsn,
    pca=30,
    whiten=True,
    layout="hwb1",
    smallest_patch=9,
    smallest_depth=13,
    epochs=30,
    batch=32,
    learning_rate=1e-3,
    source="Roy et al. 2020, HybridSN, IEEE Geoscience and Remote Sensing Letters 17(2), 277-281, table I",
    summary="Three 3-D convolutions, one 2-D convolution, two dense layers; published for patches of 25 pixels and "
    "30 components. TFLite leaves its 3-D convolutions in float.",
    published_patch=25,
    published_components="30 components for Indian Pines, 15 for Pavia University and Salinas",
    published_training="Adam 0.001, batches of 256, 100 epochs",
)
SSRN = Architecture(
    name="ssrn",
    build=_ssrn,
    pca=None,
    whiten=True,
    layout="hwb1",
    smallest_patch=3,
    smallest_depth=7,
    epochs=30,
    batch=16,
    learning_rate=3e-4,
    source="Zhong et al. 2018, Spectral-spatial residual network, IEEE Transactions on Geoscience and Remote Sensing "
    "56(2), 847-858, and the authors' code",
    summary="Two residual blocks along the spectrum, two over the pixels, 24 kernels a layer, batch normalisation. "
    "TFLite leaves its eleven 3-D convolutions in float, so that its int8 version is mostly a float one.",
    published_patch=7,
    published_components="all bands",
    published_training="RMSprop 0.0003, batches of 16, 200 epochs",
)
CNN3D = Architecture(
    name="cnn3d",
    build=_cnn3d,
    pca=None,
    whiten=True,
    layout="hwb1",
    smallest_patch=5,
    smallest_depth=7,
    epochs=30,
    batch=32,
    learning_rate=1e-3,
    source="Ben Hamida et al. 2018, 3-D deep learning approach for remote sensing image classification, IEEE "
    "Transactions on Geoscience and Remote Sensing 56(8), 4420-4434; padding along the spectrum by engineering "
    "judgement",
    summary="Six 3-D convolutions of 20 and 35 kernels, three of them with a stride along the spectrum in place of "
    "pooling. TFLite leaves them all in float, so that its int8 version is mostly a float one.",
    published_patch=5,
    published_components="all bands",
    published_training="gradient descent 0.01 with weight decay 0.0005, batches of 100, in DeepHyperX (Audebert et al. "
    "2019, IEEE Geoscience and Remote Sensing Magazine 7(2), 159-173)",
)
SPECTRAL = Architecture(
    name="spectral",
    build=_spectral,
    pca=None,
    whiten=True,
    layout="centre",
    smallest_patch=1,
    smallest_depth=9,
    epochs=60,
    batch=64,
    learning_rate=1e-3,
    source="Hu et al. 2015, Deep convolutional neural networks for hyperspectral image classification, J. Sensors "
    "2015, 258619",
    summary="A 1-D convolution of 20 kernels, each a ninth of the spectrum long, max pooling and a dense layer of "
    "100, with tanh; blind to the neighbours of the centre pixel.",
    published_patch=1,
    published_components="all bands: kernels of 24 bands and pools of 5 for Indian Pines and Salinas, 11 and 3 for "
    "Pavia University",
    published_training="gradient descent on mini-batches, 0.01 and batches of 100 in DeepHyperX (Audebert et al. 2019, "
    "IEEE Geoscience and Remote Sensing Magazine 7(2), 159-173)",
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

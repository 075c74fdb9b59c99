"""Networks for images."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from diverget.models.zoo.architecture import Architecture

DEEPXPLORE = "Adadelta, batches of 256, 10 epochs, in DeepXplore (Pei et al. 2017, SOSP)"
"""How that work trains a LeNet of the layers below."""

# A build keeps its own parts inside it: its source text is what tells a trained network in the cache from another.


def _lenet1(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    LENET1.check_input(input_shape)
    layers = keras.layers
    x = source = layers.Input(input_shape)
    for filters in (4, 12):
        x = layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(layers.Flatten()(x)))


def _lenet5(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    LENET5.check_input(input_shape)
    layers = keras.layers
    x = source = layers.Input(input_shape)
    for filters in (6, 16):
        x = layers.Conv2D(filters, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    for units in (120, 84):
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def _resnet20(keras: ModuleType, input_shape: tuple[int, ...], classes: int) -> Any:
    RESNET20.check_input(input_shape)
    layers = keras.layers

    def conv(filters: int, x: Any, stride: int = 1, kernel: int = 3) -> Any:
        return layers.Conv2D(filters, kernel, strides=stride, padding="same", kernel_initializer="he_normal")(x)

    def normed(x: Any) -> Any:
        # Momentum 0.9: with Keras' 0.99 the moving averages are still cold after some hundred steps.
        return layers.BatchNormalization(momentum=0.9)(x)

    x = source = layers.Input(input_shape)
    x = layers.ReLU()(normed(conv(16, x)))
    for filters in (16, 32, 64):
        for number in range(3):
            stride = 2 if filters > 16 and number == 0 else 1
            y = layers.ReLU()(normed(conv(filters, x, stride)))
            y = normed(conv(filters, y))
            x = layers.ReLU()(layers.Add()([conv(filters, x, stride, kernel=1) if stride > 1 else x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax", kernel_initializer="he_normal")(x))


LENET1 = Architecture(
    name="lenet1",
    build=_lenet1,
    pca=None,
    whiten=True,
    layout="hwb",
    smallest_patch=8,
    epochs=12,
    batch=128,
    learning_rate=1e-3,
    source="LeCun et al. 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86(11), "
    "2278-2324; layers and 7,206 parameters as in the test of compressed networks by DiffChaser (Xie et al. 2019, "
    "IJCAI) and DFLARE (Tian et al. 2023, ACM TOSEM)",
    summary="Two 5 × 5 convolutions of 4 and 12 kernels with max pooling and ReLU, padded to keep the size, and the "
    "output layer.",
    data="images",
    published_patch=28,
    published_components="grey",
    published_training=DEEPXPLORE,
)
LENET5 = Architecture(
    name="lenet5",
    build=_lenet5,
    pca=None,
    whiten=True,
    layout="hwb",
    smallest_patch=8,
    epochs=12,
    batch=128,
    learning_rate=1e-3,
    source="LeCun et al. 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86(11), "
    "2278-2324; layers and 107,786 parameters as in the test of compressed networks by DiffChaser (Xie et al. 2019, "
    "IJCAI) and DFLARE (Tian et al. 2023, ACM TOSEM)",
    summary="Two 5 × 5 convolutions of 6 and 16 kernels with max pooling and ReLU, padded to keep the size, and "
    "dense layers of 120 and 84.",
    data="images",
    published_patch=28,
    published_components="grey",
    published_training=DEEPXPLORE,
)
RESNET20 = Architecture(
    name="resnet20",
    build=_resnet20,
    pca=None,
    whiten=True,
    layout="hwb",
    smallest_patch=8,
    epochs=30,
    batch=128,
    learning_rate=1e-3,
    source="He et al. 2016, Deep residual learning for image recognition, CVPR, 770-778, section 4.2 (n = 3); "
    "1 × 1 convolutions where a block changes its size, as in DFLARE's (Tian et al. 2023, ACM TOSEM), in place of "
    "zeros",
    summary="Nine residual blocks of 16, 32 and 64 kernels with batch normalisation; 0.27 million parameters.",
    data="images",
    published_patch=32,
    published_components="3 colours",
    published_training="gradient descent with momentum 0.9, 0.1 and weight decay 0.0001, batches of 128, 64,000 steps",
)

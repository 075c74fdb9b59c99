"""Networks with 3-D convolutions, and jobs that write and compare them; child processes import this by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def hybridsn(keras: Any, shape: tuple[int, ...] = (9, 9, 15, 1), classes: int = 5) -> Any:
    """Three 3-D convolutions, depth into channels, one 2-D convolution, dense layers."""
    layers = keras.layers
    height, width, depth, _ = shape
    x = source = layers.Input(shape)
    for filters, kernel in ((8, (3, 3, 7)), (16, (3, 3, 5)), (32, (3, 3, 3))):
        x = layers.Conv3D(filters, kernel, activation="relu")(x)
    x = layers.Reshape((height - 6, width - 6, (depth - 12) * 32))(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    x = layers.Flatten()(x)
    for units in (256, 128):
        x = layers.Dropout(0.4)(layers.Dense(units, activation="relu")(x))
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def ssrn(keras: Any, shape: tuple[int, ...] = (7, 7, 103, 1), classes: int = 5) -> Any:
    """Spectral residual blocks, the depth closed by one kernel, spatial residual blocks."""
    layers = keras.layers

    def normed(x: Any, filters: int, kernel: tuple[int, ...], **settings: Any) -> Any:
        x = layers.Conv3D(filters, kernel, use_bias=False, **settings)(x)
        return layers.BatchNormalization()(x)

    def block(x: Any, kernel: tuple[int, ...]) -> Any:
        y = layers.Activation("relu")(normed(x, 24, kernel, padding="same"))
        return layers.Activation("relu")(layers.Add()([x, normed(y, 24, kernel, padding="same")]))

    x = source = layers.Input(shape)
    x = layers.Activation("relu")(normed(x, 24, (1, 1, 7), strides=(1, 1, 2)))
    for _ in range(2):
        x = block(x, (1, 1, 7))
    x = layers.ReLU()(normed(x, 128, (1, 1, int(x.shape[3]))))
    x = layers.Reshape((int(x.shape[1]), int(x.shape[2]), 128, 1))(x)
    x = layers.ReLU()(normed(x, 24, (3, 3, 128)))
    for _ in range(2):
        x = block(x, (3, 3, 1))
    x = layers.GlobalAveragePooling3D()(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def strided(keras: Any, shape: tuple[int, ...] = (9, 8, 21, 2), classes: int = 4) -> Any:
    """Strides of every kind and the padding `same`."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.Conv3D(6, (3, 3, 5), strides=(1, 2, 2), padding="same", activation="relu"),
            layers.Conv3D(8, (2, 3, 4), strides=(2, 1, 3), padding="same"),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv3D(8, (1, 1, 2), strides=2, padding="valid", activation="elu"),
            layers.Flatten(),
            layers.Dense(classes),
            layers.Softmax(),
        ]
    )


def mixed(keras: Any, shape: tuple[int, ...] = (8, 8, 10, 2), classes: int = 4) -> Any:
    """Normalisations that nothing takes in, branches, a network inside, an axis moved, depthwise convolutions."""
    layers = keras.layers
    source = layers.Input(shape)
    x = layers.BatchNormalization()(source)
    x = layers.ZeroPadding3D(((1, 0), (0, 2), (2, 1)))(x)
    inside = layers.Input(tuple(x.shape[1:]))
    x = keras.Model(inside, layers.Conv3D(4, 3, dilation_rate=(1, 1, 2), padding="same")(inside))(x)
    left = layers.Conv3D(4, (1, 1, 3), padding="same")(x)
    right = layers.BatchNormalization(scale=False)(layers.Conv3D(4, 3, padding="same")(x))
    x = layers.BatchNormalization(center=False)(layers.Concatenate()([left, right, x]))
    x = layers.Concatenate(axis=3)([x, layers.Activation("tanh")(x)])
    gate = layers.Reshape((1, 1, 1, 12))(layers.Dense(12, activation="sigmoid")(layers.GlobalAveragePooling3D()(x)))
    x = layers.Multiply()([x, gate])
    x = layers.Permute((2, 1, 3, 4))(x)
    x = layers.Reshape((int(x.shape[1]), int(x.shape[2]), -1))(x)
    x = layers.BatchNormalization()(layers.Conv2D(10, 3, strides=2, padding="same")(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
    x = layers.MaxPooling2D(2, padding="same")(layers.SeparableConv2D(8, 3)(x))
    x = layers.BatchNormalization()(layers.Flatten()(layers.AveragePooling2D(2, padding="same", strides=1)(x)))
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


def pooled(keras: Any, shape: tuple[int, ...] = (9, 9, 11, 1), classes: int = 4) -> Any:
    """3-D pooling, which TFLite itself cannot do."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.Conv3D(6, 3, padding="same", activation="relu"),
            layers.MaxPooling3D((2, 2, 3), padding="same"),
            layers.Conv3D(8, (2, 2, 3), padding="same", activation="relu"),
            layers.AveragePooling3D((2, 2, 2), strides=(1, 2, 1), padding="same"),
            layers.MaxPooling3D(2),
            layers.GlobalAveragePooling3D(keepdims=True),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )


def recurrent(keras: Any, shape: tuple[int, ...] = (5, 5, 8, 1), classes: int = 3) -> Any:
    """A Conv3D network with a layer that has no lowered form."""
    layers = keras.layers
    x = source = layers.Input(shape)
    x = layers.Reshape((5 * 5 * 6, 4))(layers.Conv3D(4, (1, 1, 3))(x))
    x = layers.LSTM(4, unroll=False, name="memory")(x)
    return keras.Model(source, layers.Dense(classes, activation="softmax")(x))


BUILDS: dict[str, Callable[..., Any]] = {
    build.__name__: build for build in (hybridsn, ssrn, strided, mixed, pooled, recurrent)
}


def randomise(model: Any, seed: int) -> None:
    """Random biases, scales and offsets, and the statistics of random inputs: neutral ones would hide a wrong fold."""
    rng = np.random.default_rng(seed)
    for layer in _leaves(model):
        if layer.get_weights():
            layer.set_weights([_drawn(value, rng) if value.ndim == 1 else value for value in layer.get_weights()])
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.5
    for _ in range(6):
        model(rng.normal(size=(8, *model.inputs[0].shape[1:])).astype(np.float32), training=True)
    for layer in _leaves(model):
        if type(layer).__name__ == "BatchNormalization":
            layer.momentum = 0.99


def _leaves(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


def _drawn(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Around 1 for scales and variances, which start there, and around 0 for the rest."""
    return rng.uniform(0.5, 1.5, value.shape) if value.all() else rng.normal(0, 0.1, value.shape)


def sharpen(model: Any) -> None:
    """Weights of the last layer by which other inputs give other outputs: flat ones would hide any difference."""
    z = np.random.default_rng(2).normal(size=(16, *model.inputs[0].shape[1:])).astype(np.float32)
    last = [layer for layer in model.layers if layer.get_weights()][-1]
    kernel, bias = last.get_weights()
    logits = np.log(np.asarray(model(z, training=False)))
    factor = 0.4 / np.std(logits - logits.mean(axis=0), axis=0).mean()
    last.set_weights([factor * kernel, -factor * (logits.mean(axis=0) - bias)])


def write(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: networks with random weights as Keras files: `{path: [family, name, arguments]}`, of here or of the zoo."""
    import keras
    import tf_keras

    from diverget.models import zoo

    builds = BUILDS | {f"zoo.{architecture.name}": architecture.build for architecture in zoo.ALL}
    for target, (family, name, arguments) in payload["networks"].items():
        library = tf_keras if family == "tf_keras" else keras
        library.utils.set_random_seed(0)
        model = builds[name](library, *(tuple(a) if isinstance(a, list) else a for a in arguments))
        randomise(model, 7)
        sharpen(model)
        model.save(target)
    return {}


def differences(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: for each Keras file, the largest difference of its lowered function from Keras, in float."""
    import keras
    import tensorflow as tf
    import tf_keras

    from diverget.models.lowering import lower

    found = {}
    for path, family in payload["networks"].items():
        model = (tf_keras if family == "tf_keras" else keras).models.load_model(path, compile=False)
        function = lower(model, rows=3)
        z = np.random.default_rng(1).normal(size=(3, *model.inputs[0].shape[1:])).astype(np.float32)
        expected = np.asarray(model(z, training=False))
        outputs = np.asarray(function(tf.constant(z)))
        kinds = sorted({operation.type for operation in function.graph.get_operations()})
        found[path] = {"largest": float(np.abs(outputs - expected).max()), "spread": float(np.ptp(expected, 0).max())}
        found[path]["kinds"] = kinds
    return found


def convert_wrongly(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: a conversion in which every Conv3D is lowered to one that computes something else."""
    from diverget.models import lowered_layers, quantise

    right = lowered_layers.EMITTERS["Conv3D"]

    def wrong(*asked: Any) -> Any:
        value = right(*asked)
        return lowered_layers.Value(1.1 * value.tensor, value.shape)

    lowered_layers.EMITTERS["Conv3D"] = wrong
    return quantise.convert_job(payload, emit)

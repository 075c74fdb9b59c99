"""A network whose dense layer overflows in one kernel set of LiteRT, for tests of attribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.diverget.models.networks import CLASSES, SHAPE

REPEATS = 200
"""The 100 values of a patch are repeated so often that a row of the dense layer has 20,000 weights, whose sum in eight
lanes of 16 bits overflows where they are of one sign mostly."""


def weights() -> tuple[np.ndarray, np.ndarray]:
    """A matched filter for the classes of the small scene: (20,000, 3) and (3,) float32."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, SHAPE[2]))
    pixels = SHAPE[0] * SHAPE[1]
    each = 0.3 * np.tile(centres.T, (pixels * REPEATS, 1)) / REPEATS
    return each.astype(np.float32), (-0.15 * pixels * (centres**2).sum(axis=1)).astype(np.float32)


def make(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: the network as `wide.tflite`, and with dynamic-range int8 weights as `wide_dynamic.tflite`."""
    import keras
    import tensorflow as tf

    layers = keras.layers
    patch = layers.Input(SHAPE)
    wide = layers.Flatten()(layers.RepeatVector(REPEATS)(layers.Flatten()(patch)))
    network = keras.Model(patch, layers.Softmax()(layers.Dense(CLASSES, name="dense")(wide)))
    network.get_layer("dense").set_weights(list(weights()))
    for name, optimizations in (("wide", []), ("wide_dynamic", [tf.lite.Optimize.DEFAULT])):
        converter = tf.lite.TFLiteConverter.from_keras_model(network)
        converter.optimizations = optimizations
        Path(payload["folder"], f"{name}.tflite").write_bytes(converter.convert())
    return {}

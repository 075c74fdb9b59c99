"""Networks and jobs that a child process imports by name."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverget.models import training, zoo
from diverget.models.preprocessing import Preprocessing

SAID = {"task": "the test", "advice": "look again"}
SHAPE = (5, 5, 4)
CLASSES = 3


def scaling(factor: float) -> Preprocessing:
    """The preprocessing that divides every value by `factor`."""
    return Preprocessing(shift=np.zeros(1), scale=np.array([factor]), components=None, layout="hwb")


def require_tensorflow() -> None:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow is not installed (the extra diverget[tensorflow])")


def patches(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three spectral classes in noise, (n, 5, 5, 4) float32 and (n,)."""
    centres = np.random.default_rng(0).normal(size=(CLASSES, 1, 1, SHAPE[2]))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    return (centres[y] + 0.4 * rng.normal(size=(count, *SHAPE))).astype(np.float32), y


def tiny(keras: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(input_shape),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.1),
            layers.Dense(classes, activation="softmax"),
        ]
    )


ARCHITECTURE = zoo.Architecture(
    name="tiny",
    build=tiny,
    pca=None,
    whiten=True,
    layout="hwb",
    smallest_patch=5,
    epochs=6,
    batch=20,
    learning_rate=1e-2,
    source="none",
    summary="For tests.",
)


def train_tiny(cache: Path, **changed: Any) -> training.Trained:
    """The tiny network trained for six epochs on 200 patches, in seconds."""
    x, y = patches(200, seed=1)
    settings: dict[str, Any] = {
        "classes": CLASSES,
        "validation": patches(60, seed=2),
        "epochs": 6,
        "batch": 20,
        "learning_rate": 1e-2,
        "patience": 3,
        "seed": 5,
        "cache": cache,
    }
    return training.train(ARCHITECTURE, x, y, **(settings | changed))


def make_networks(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: small Keras files and .tflite files that only TensorFlow can write."""
    import keras
    import tensorflow as tf
    import tf_keras

    keras.utils.set_random_seed(0)
    folder, marker = payload["folder"], payload["marker"]

    # The path is a constant of the code: the function travels in the file and finds no globals where it is loaded.
    source = f"lambda x: [__import__('pathlib').Path({marker!r}).touch(), x][1]"
    evil = eval(source)
    for family, name in ((keras, "keras3"), (tf_keras, "keras2")):
        layers = family.layers
        plain = [layers.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)]
        network = family.Sequential([*plain, layers.Softmax()])
        carrying = family.Sequential([plain[0], layers.Lambda(evil), *plain[1:]])
        for suffix in (".keras", ".h5"):
            network.save(f"{folder}/{name}{suffix}")
            carrying.save(f"{folder}/{name}_lambda{suffix}")
    os.remove(marker)
    logits = keras.Sequential([*tiny(keras, SHAPE, CLASSES).layers[:-1], keras.layers.Dense(5)])
    logits.build((None, *SHAPE))
    logits.save(f"{folder}/logits.keras")
    fixed = keras.Sequential([keras.layers.Input(batch_shape=(4, *SHAPE)), *tiny(keras, SHAPE, CLASSES).layers])
    fixed.save(f"{folder}/fixed.keras")
    recurrent = keras.Sequential(
        [keras.layers.Input(batch_shape=(1, 12, 1)), keras.layers.LSTM(8), keras.layers.Dense(3, activation="softmax")]
    )
    recurrent.save(f"{folder}/lstm.keras")

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
    def needs_flex(x: Any) -> Any:
        return tf.nn.max_pool3d(tf.reshape(x, (1, 2, 2, 1, 1)), 1, 1, "SAME")[:, :, 0, 0, 0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([needs_flex.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    with open(f"{folder}/flex.tflite", "wb") as file:
        file.write(converter.convert())
    return {}


def build_all(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: the parameters of zoo networks, each saved where the payload says."""
    import keras

    from diverget.models import zoo

    keras.utils.set_random_seed(0)
    counts = {}
    for name, shape, classes in payload["networks"]:
        (architecture,) = (entry for entry in zoo.ALL if entry.name == name)
        model = architecture.build(keras, tuple(shape), classes)
        model.save(f"{payload['folder']}/{name}.keras")
        counts[name] = int(model.count_params())
    return counts


def twin_all(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    """Job: how far each network of the zoo is from its twin in tf_keras, and what is said of one without."""
    import keras

    from diverget.models import zoo
    from diverget.models.child import ModelError
    from diverget.models.compress.bridge import twin

    differences, rng = {}, np.random.default_rng(0)
    for architecture in zoo.ALL:
        side = max(9, architecture.smallest_patch)
        depth = 13 if architecture.data == "scene" else 1
        shape = {"hwb": (side, side, depth), "hwb1": (side, side, depth, 1), "centre": (20, 1)}[architecture.layout]
        model = architecture.build(keras, shape, CLASSES)
        # Moving averages at 0 and 1 would hide an exchange of the two.
        model.set_weights([np.abs(rng.normal(0.2, 0.1, w.shape)).astype(np.float32) for w in model.get_weights()])
        x = rng.normal(size=(8, *shape)).astype(np.float32)
        found, wanted = twin(model, x), np.asarray(model(x, training=False))
        differences[architecture.name] = float(np.abs(np.asarray(found(x, training=False)) - wanted).max())
    source = keras.layers.Input(SHAPE)
    model = keras.Model(source, keras.ops.max(source, axis=(1, 2, 3)))
    try:
        twin(model, x)
    except ModelError as error:
        return {"differences": differences, "unknown": str(error)}
    return {"differences": differences, "unknown": ""}


def echo(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    print("printed to stdout")
    os.write(1, b"written to fd 1\n")
    for number in range(payload["count"]):
        emit({"event": "step", "number": number})
    return {"environment": dict(os.environ), "pid": os.getpid(), "back": payload}


def crash(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    print("about to fall", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def leave(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    os._exit(payload["code"])


def sleep(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    emit({"event": "asleep", "pid": os.getpid()})
    time.sleep(600)
    return {}


def fail(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    raise RuntimeError("first line\nsecond line")


def lack(payload: dict[str, Any], emit: Any) -> dict[str, Any]:
    raise ModuleNotFoundError("No module named 'tensorflow.lite'", name="tensorflow.lite")

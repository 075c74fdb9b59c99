"""SavedModel directories: a tiny Keras network, and the same with operators that reach out. Made in a child process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

from diverget.models.child import Emit

SHAPE, CLASSES = (5, 5, 4), 3


def make(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: write `plain`, `readfile`, `python`, `writefile` and `many` into a folder; `marker` is what they touch."""
    import keras
    import tensorflow as tf

    folder, marker = payload["folder"], payload["marker"]
    keras.utils.set_random_seed(5)
    network = keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )

    def read(scores: Any) -> Any:
        return scores + tf.cast(tf.strings.length(tf.io.read_file(marker)), tf.float32) * 0

    def called(scores: Any) -> Any:
        def touch(values: Any) -> Any:
            open(marker, "w", encoding="utf-8").close()
            return values

        return tf.ensure_shape(tf.py_function(touch, [scores], tf.float32), [None, CLASSES])

    def write(scores: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(marker, "touched")]):
            return tf.identity(scores)

    def saved(name: str, after: Callable[[Any], Any]) -> None:
        module = tf.Module()
        module.network = network
        spec = tf.TensorSpec([None, *SHAPE], tf.float32, name="x")
        module.serve = tf.function(lambda x: {"scores": after(network(x))}, input_signature=[spec])
        tf.saved_model.save(module, f"{folder}/{name}", signatures=module.serve)

    with contextlib.redirect_stdout(io.StringIO()):
        network.export(f"{folder}/plain")
        saved("readfile", read)
        saved("python", called)
        saved("writefile", write)
        tf.saved_model.save(tf.Module(), f"{folder}/none")
    network.save(f"{folder}/network.keras")
    return {}

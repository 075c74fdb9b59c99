"""A trained reference network, from cache or from a child process with Keras 3."""

from __future__ import annotations

import inspect
import json
import time
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.models.made import made_once
from diverget.models.zoo import Architecture

FORMAT = 3
"""Raised when the job below trains differently from the same settings: old cache entries no longer count."""

WARM_STEPS = 60
"""Steps before early stopping may choose: the moving averages of a batch normalisation with momentum 0.9 hold
0.2 % of their initial values by then; an earlier validation loss measures them and not the network."""


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        path: the `.keras` file, Keras 3, without optimiser.
        history: one value an epoch of `loss`, `accuracy` and, with validation data, `val_loss`, `val_accuracy`.
        seconds: what the training took; of a cached network, what it took then.
        from_cache: it was there already.
        epoch: the epoch whose weights were kept, counted from 1.
        parameters: number of weights, moving averages included.
    """

    path: Path
    history: dict[str, list[float]]
    seconds: float
    from_cache: bool
    epoch: int
    parameters: int


def train(
    architecture: Architecture,
    x: np.ndarray,
    y: np.ndarray,
    *,
    classes: int,
    validation: tuple[np.ndarray, np.ndarray] | None,
    epochs: int,
    batch: int,
    learning_rate: float,
    patience: int,
    seed: int,
    cache: Path,
    on_event: Emit | None = None,
    balanced: bool = False,
    timeout: float | None = None,
) -> Trained:
    """The network of `architecture` trained on prepared inputs; the same call gives the same weights.

    Adam on cross-entropy; after `patience` epochs without a lower loss on the validation data (on the training data,
    where there are none) the training stops and the best weights are kept.

    Args:
        architecture: of the zoo, or one whose `build` can be imported by name.
        x: prepared inputs (n, ...) float32, as `Preprocessing.apply` gives them.
        y: (n,) classes 0..classes-1.
        classes: number of classes k.
        validation: prepared inputs and classes of other pixels, or None.
        epochs, batch, learning_rate, patience: settings.
        seed: of weights, shuffling and dropout.
        cache: directory of finished trainings, made when missing.
        on_event: gets `{"event": "epoch", "epoch", "epochs", "loss", "accuracy", "val_accuracy"}` after each epoch.
        balanced: weigh each class by n / (k · its count), so that rare classes count as much.
        timeout: seconds, or None.

    Raises:
        ValueError: arrays that do not fit together, a patch too small for the network, or a failed training
            (`ModelError`), TensorFlow missing among the reasons.
    """
    x, y = np.ascontiguousarray(x, dtype=np.float32), np.asarray(y)
    _check(x, y, classes, "training")
    if validation is not None:
        validation = (np.ascontiguousarray(validation[0], dtype=np.float32), np.asarray(validation[1]))
        _check(*validation, classes, "validation")
    settings = {
        "build": f"{architecture.build.__module__}:{architecture.build.__qualname__}",
        "classes": classes,
        "epochs": epochs,
        "batch": batch,
        "learning_rate": learning_rate,
        "patience": patience,
        "seed": seed,
        "balanced": balanced,
    }
    arrays = {"x": x, "y": y.astype(np.int64)}
    if validation is not None:
        arrays |= {"val_x": validation[0], "val_y": validation[1].astype(np.int64)}
    key = _key(settings, arrays, inspect.getsource(architecture.build))
    network, record = (Path(cache, f"{architecture.name}-{key[:16]}.{kind}") for kind in ("keras", "json"))

    def make(folder: Path) -> None:
        np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
        told = run(
            fit,
            settings | {"arrays": str(folder / "arrays.npz"), "network": str(folder / network.name)},
            task=f"the training of {architecture.name!r} on {len(x)} patches",
            advice="use smaller patches or a smaller batch, or train elsewhere and give the .keras file",
            timeout=timeout,
            on_event=on_event,
        )
        (folder / record.name).write_text(json.dumps(told) + "\n", encoding="utf-8")

    from_cache = made_once((network, record), make)
    told = json.loads(record.read_text(encoding="utf-8"))
    return Trained(network, told["history"], told["seconds"], from_cache, told["epoch"], told["parameters"])


def _check(x: np.ndarray, y: np.ndarray, classes: int, what: str) -> None:
    if x.ndim < 3 or y.shape != (len(x),) or not len(x):
        raise ValueError(
            f"Expected prepared {what} inputs (n, ...) and one class for each, got shapes {x.shape} and {y.shape}; "
            "prepare the patches first, and give at least one."
        )
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"Expected {what} classes from 0 to {classes - 1}, got {y.dtype} from {y.min()} to {y.max()}; leave "
            "unlabelled pixels out, or mend the number of classes."
        )
    if not np.isfinite(x).all():
        raise ValueError(
            f"Expected finite {what} inputs, got {np.count_nonzero(~np.isfinite(x))} that are not, in shape "
            f"{x.shape}; leave invalid pixels out, or mend the preprocessing."
        )


def _key(settings: dict[str, Any], arrays: dict[str, np.ndarray], source: str) -> str:
    found = sha256(json.dumps([FORMAT, settings, source, versions()], sort_keys=True).encode())
    for name, array in arrays.items():
        found.update(f"{name} {array.shape} {array.dtype.str} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def versions() -> dict[str, str | None]:
    """The versions of what trains and converts, found without importing it; None for what is not installed."""
    found: dict[str, str | None] = {}
    for name in ("keras", "tensorflow", "tf-keras"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def fit(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: train, and write the network with its best weights."""
    import importlib

    import keras
    import tensorflow

    keras.utils.set_random_seed(payload["seed"])
    tensorflow.config.experimental.enable_op_determinism()
    with np.load(payload["arrays"], allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    module, _, name = payload["build"].partition(":")
    build = getattr(importlib.import_module(module), name)
    model = _built(build, keras, arrays["x"].shape[1:], payload["classes"])
    model.compile(
        optimizer=keras.optimizers.Adam(payload["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    counts = np.bincount(arrays["y"], minlength=payload["classes"])
    weights = {c: float(len(arrays["y"]) / (payload["classes"] * n)) if n else 1.0 for c, n in enumerate(counts)}
    validation = (arrays["val_x"], arrays["val_y"]) if "val_x" in arrays else None

    def told(epoch: int, logs: dict[str, float]) -> None:
        event: dict[str, Any] = {"event": "epoch", "epoch": epoch + 1, "epochs": payload["epochs"]}
        emit(event | {name: float(logs[name]) for name in ("loss", "accuracy", "val_accuracy") if name in logs})

    # Accuracy and not the loss: the loss turns up as soon as a network grows sure of itself, long before its
    # decisions on unseen blocks stop getting better, and decisions are what is assessed.
    monitor, mode = ("val_accuracy", "max") if validation else ("loss", "min")
    steps = -(-len(arrays["x"]) // payload["batch"])
    stopping = keras.callbacks.EarlyStopping(
        monitor,
        mode=mode,
        patience=payload["patience"],
        restore_best_weights=True,
        start_from_epoch=min(-(-WARM_STEPS // steps), payload["epochs"] - 1),
    )
    started = time.monotonic()
    history = model.fit(
        arrays["x"],
        arrays["y"],
        validation_data=validation,
        epochs=payload["epochs"],
        batch_size=payload["batch"],
        class_weight=weights if payload["balanced"] else None,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=told), stopping],
    ).history
    seconds = time.monotonic() - started
    if not np.isfinite(history["loss"]).all():
        raise ModelError(
            f"Expected a finite loss, got {history['loss'][-1]} after {len(history['loss'])} epochs of training "
            f"{payload['build']}; lower the learning rate of {payload['learning_rate']:g}, or check the inputs."
        )
    # A network built anew has no optimiser state to carry, and names that do not depend on the training.
    bare = _built(build, keras, arrays["x"].shape[1:], payload["classes"])
    bare.set_weights(model.get_weights())
    bare.save(payload["network"])
    return {
        "history": {name: [float(value) for value in values] for name, values in history.items()},
        "seconds": seconds,
        "epoch": stopping.best_epoch + 1,
        "parameters": int(bare.count_params()),
    }


def _built(build: Any, keras: Any, input_shape: tuple[int, ...], classes: int) -> Any:
    keras.backend.clear_session()
    try:
        return build(keras, tuple(input_shape), classes)
    except ValueError as error:
        raise ModelError(str(error)) from None

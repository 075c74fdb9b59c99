"""What the child process of a compression does: open, train, measure, write."""

from __future__ import annotations

import contextlib
import importlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import zoo
from diverget.models.child import Emit, ModelError
from diverget.models.compress.bridge import carry_back, narrowed, opened, twin
from diverget.models.compress.table import PRUNABLE

LEAST_PROBABILITY = 1e-7
"""Below it a probability counts as this: float32 cannot tell it from rounding."""

REACHED = 0.75
"""Share of the steps after which pruning has its full share of zeros; the rest mends what that broke (engineering
judgement)."""

RANGE_MEMORY = 0.999
"""What the moving average of an activation's range keeps at each step, in tensorflow-model-optimization 0.8."""

QUANTIZATION = "tensorflow_model_optimization.python.core.quantization.keras"

COMPARED = 64
"""Patches on which a network is compared with its twin."""

AT_ONCE = 256
"""Patches that go through a network together when it is measured."""

NEWS = 50
"""Events of a training, at the most."""


def compress_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: compress the network of a Keras file, write the result, tell its facts."""
    import keras
    import tensorflow

    keras.utils.set_random_seed(payload["seed"])
    tensorflow.config.experimental.enable_op_determinism()
    with np.load(payload["arrays"], allow_pickle=False) as stored:
        data = {name: stored[name] for name in stored.files}
    family, model = opened(payload)
    before = _measured(model, data)
    started = time.monotonic()
    told = JOBS[payload["compression"]](family, model, data, payload, emit)
    after = told.pop("after")
    if not np.isfinite(after["loss"]):
        raise ModelError(
            f"Expected a finite loss after {payload['compression']}, got {after['loss']}; lower the learning rate of "
            f"{payload['settings']['learning_rate']:g}, or check the inputs."
        )
    facts = {f"{name}_before": value for name, value in before.items()}
    facts |= {f"{name}_after": value for name, value in after.items()}
    return {"seconds": time.monotonic() - started, "parameters": int(model.count_params())} | facts | told


def pruned(family: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Zeros in every kernel, in a growing share; the result is a Keras file."""
    working, steps = _pruned(family, model, data, payload, emit)
    return _kept(family, model, working, data, payload) | {"sparsity": _sparsity(working), "steps": steps}


def clustered(
    family: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit
) -> dict[str, Any]:
    """A few values in every kernel; the result is a Keras file."""
    working, tf_keras = _in_tf_keras(family, model, data)
    from tensorflow_model_optimization.python.core.clustering.keras import cluster, cluster_config

    settings = payload["settings"]

    def annotated(layer: Any) -> Any:
        # A kernel of so few weights has them as its clusters already.
        if type(layer).__name__ not in PRUNABLE or np.size(layer.kernel) <= settings["clusters"]:
            return layer
        return cluster.cluster_weights(
            layer, settings["clusters"], cluster_config.CentroidInitialization.KMEANS_PLUS_PLUS
        )

    # Centroids are drawn from the global state that the seed of the job has set.
    wrapped = _cloned(tf_keras, working, annotated)
    _fit(tf_keras, wrapped, data, payload, emit, phase=0)
    working = cluster.strip_clustering(wrapped)
    kernels = _kernels(working)
    counts = [len(np.unique(kernel)) for kernel in kernels]
    return _kept(family, model, working, data, payload) | {"clusters": max(counts), "steps": settings["steps"]}


def quantisation_aware(
    family: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit
) -> dict[str, Any]:
    """Weights and ranges trained under emulated int8; the result is a .tflite file."""
    working, tf_keras = _in_tf_keras(family, model, data)
    told = _quantised(tf_keras, working, data, payload, emit, keep_zeros=False)
    return told | {"steps": payload["settings"]["steps"]}


def pruned_quantisation_aware(
    family: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit
) -> dict[str, Any]:
    """Pruning, then quantisation-aware training in which zeros stay zeros; the result is a .tflite file."""
    working, steps = _pruned(family, model, data, payload, emit)
    import tf_keras

    told = _quantised(tf_keras, working, data, payload, emit, keep_zeros=True)
    return told | {"steps": 2 * steps}


def distilled(
    family: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit
) -> dict[str, Any]:
    """A smaller network trained on the softened outputs of `model` and the labels; the result is a Keras file.

    The loss is α T² · H(softmax(teacher / T), softmax(student / T)) + (1 − α) · H(label, softmax(student)), with H the
    cross-entropy; T² keeps the weight of the soft part as T changes.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    import tensorflow as tf

    settings = payload["settings"]
    temperature, alpha = settings["temperature"], settings["alpha"]
    student = _student(family, model, settings)
    if student.count_params() >= model.count_params():
        raise ModelError(
            f"Expected a student smaller than the network of {model.count_params()} parameters, got one of "
            f"{student.count_params()}; lower `width`, or choose another `student`."
        )
    outputs = _outputs(model, data["x"])
    logits = np.log(np.maximum(outputs, LEAST_PROBABILITY)) if _are_probabilities(outputs) else outputs
    softened = np.exp(_log_softmax(logits / temperature))
    targets = np.concatenate([np.eye(outputs.shape[1], dtype=np.float32)[data["y"]], softened], axis=1)
    last = student.layers[-1]
    while getattr(last, "layers", None):
        last = last.layers[-1]
    probable = False
    if getattr(last, "activation", None) is family.activations.softmax:
        last.activation = family.activations.linear
    else:
        probable = _are_probabilities(_outputs(student, data["x"][:COMPARED]))

    def loss(wanted: Any, found: Any) -> Any:
        labels, soft = tf.split(wanted, 2, axis=1)
        # The logarithms of probabilities are logits: softmax gives the probabilities back.
        found = tf.math.log(tf.maximum(found, LEAST_PROBABILITY)) if probable else found
        hard = tf.nn.softmax_cross_entropy_with_logits(labels, found)
        mild = tf.nn.softmax_cross_entropy_with_logits(soft, found / temperature)
        return alpha * temperature**2 * mild + (1 - alpha) * hard

    _fit(family, student, data | {"y": targets.astype(np.float32)}, payload, emit, phase=0, loss=loss)
    trained = _student(family, model, settings)
    trained.set_weights(student.get_weights())
    trained.save(payload["network"])
    return {
        "after": _measured(trained, data),
        "student_parameters": int(trained.count_params()),
        "steps": settings["steps"],
    }


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "pruning": pruned,
    "clustering": clustered,
    "qat": quantisation_aware,
    "pruned_qat": pruned_quantisation_aware,
    "distillation": distilled,
}


def _in_tf_keras(family: Any, model: Any, data: dict[str, np.ndarray]) -> tuple[Any, Any]:
    import tf_keras

    return (model if family is tf_keras else twin(model, data["x"][:COMPARED])), tf_keras


def _kept(
    family: Any, model: Any, working: Any, data: dict[str, np.ndarray], payload: dict[str, Any]
) -> dict[str, Any]:
    """Write the compressed weights in the network they came from, in its own family."""
    carry_back(working, model)
    model.save(payload["network"])
    return {"after": _measured(model, data)}


def _cloned(tf_keras: Any, model: Any, annotated: Callable[[Any], Any]) -> Any:
    """The network with some layers in a coat. Weights come along: the layers are those of `model` themselves."""
    return tf_keras.models.clone_model(model, clone_function=annotated)


def _pruned(
    family: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit
) -> tuple[Any, int]:
    working, tf_keras = _in_tf_keras(family, model, data)
    from tensorflow_model_optimization.python.core.sparsity.keras import prune, pruning_callbacks, pruning_schedule

    settings = payload["settings"]
    steps, every = settings["steps"], max(1, settings["steps"] // 50)
    # The last update stands on a multiple of the frequency, or the last share would never be reached.
    end = max(every, int(REACHED * steps) // every * every)
    schedule = pruning_schedule.PolynomialDecay(0.0, settings["sparsity"], 0, end, frequency=every)

    def annotated(layer: Any) -> Any:
        return prune.prune_low_magnitude(layer, schedule) if type(layer).__name__ in PRUNABLE else layer

    wrapped = _cloned(tf_keras, working, annotated)
    _fit(tf_keras, wrapped, data, payload, emit, phase=0, callbacks=[pruning_callbacks.UpdatePruningStep()])
    return prune.strip_pruning(wrapped), steps


def _quantised(
    tf_keras: Any, model: Any, data: dict[str, np.ndarray], payload: dict[str, Any], emit: Emit, *, keep_zeros: bool
) -> dict[str, Any]:
    import tensorflow as tf

    quantize = importlib.import_module(f"{QUANTIZATION}.quantize")
    configs = importlib.import_module(f"{QUANTIZATION}.default_8bit.default_8bit_quantize_configs")
    registry = importlib.import_module(f"{QUANTIZATION}.default_8bit.default_8bit_quantize_registry")

    def annotated(layer: Any) -> Any:
        if type(layer).__name__ == "Conv1D":
            config = registry.Default8BitQuantizeConfig(["kernel"], ["activation"], False)
            return quantize.quantize_annotate_layer(layer, config)
        if type(layer).__name__ == "MaxPooling1D":
            return quantize.quantize_annotate_layer(layer, configs.NoOpQuantizeConfig())
        return quantize.quantize_annotate_layer(layer)

    try:
        with quantize.quantize_scope():
            emulated = quantize.quantize_apply(_cloned(tf_keras, model, annotated))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"Expected a network that quantisation-aware training can emulate, got {payload['keras']}: "
            f"{str(error)[:300]}; a batch normalisation must follow a 2-D convolution; choose another compression."
        ) from None
    kernels = _trainable_kernels(emulated)
    masks = [(kernel, tf.constant(kernel.numpy() != 0, kernel.dtype)) for kernel in kernels] if keep_zeros else []
    # Zeros that are put back after each step are what every forward pass sees: all that the training reads of them.
    back = tf_keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: [kernel.assign(kernel * mask) for kernel, mask in masks]
    )
    _fit(tf_keras, emulated, data, payload, emit, phase=1, callbacks=[back])
    converter = tf.lite.TFLiteConverter.from_keras_model(emulated)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if payload["quantisation"] == "int8_io":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with contextlib.redirect_stdout(io.StringIO()):
        content = converter.convert()
    Path(payload["network"]).write_bytes(content)
    share = RANGE_MEMORY ** payload["settings"]["steps"]
    zeros = {"sparsity": _share_of_zeros([kernel.numpy() for kernel in kernels])} if keep_zeros else {}
    return {"after": _measured(emulated, data), "initial_range_share": share} | zeros


def _student(family: Any, model: Any, settings: dict[str, Any]) -> Any:
    """A new network to distil into, for the inputs and classes of `model`.

    Raises:
        ModelError: the student of the zoo takes other inputs.
    """
    if settings["student"] is None:
        return narrowed(model, settings["width"])
    (architecture,) = (entry for entry in zoo.ALL if entry.name == settings["student"])
    shape, classes = tuple(model.inputs[0].shape[1:]), model.outputs[0].shape[-1]
    if not architecture.takes(len(shape)):
        raise ModelError(
            f"Expected a student for inputs of shape {shape}, got {architecture.name!r}, which takes "
            f"{architecture.axes} axes ({architecture.layout}); choose another `student`, or leave it out for the "
            "network's own layers."
        )
    wanted = shape[: architecture.axes]
    try:
        student = narrowed(architecture.build(family, wanted, classes), settings["width"])
    except ValueError as error:
        raise ModelError(str(error)) from None
    if wanted == shape:
        return student
    source = family.Input(shape)
    return family.Model(source, student(family.layers.Reshape(wanted)(source)))


def _fit(
    keras: Any,
    model: Any,
    data: dict[str, np.ndarray],
    payload: dict[str, Any],
    emit: Emit,
    *,
    phase: int,
    loss: Any = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train for the given steps on batches drawn without replacement, pass after pass."""
    import tensorflow as tf

    settings = payload["settings"]
    steps, batch = settings["steps"], min(settings["batch"], len(data["x"]))
    rng = np.random.default_rng([payload["seed"], phase])
    passes = -(-steps * batch // len(data["x"]))
    order = np.concatenate([rng.permutation(len(data["x"])) for _ in range(passes)])[: steps * batch]
    x, y = tf.constant(data["x"]), tf.constant(data["y"])
    batches = tf.data.Dataset.from_tensor_slices(order.reshape(steps, batch)).map(
        lambda rows: (tf.gather(x, rows), tf.gather(y, rows))
    )
    every = max(1, steps // NEWS)
    total = (2 if payload["compression"] == "pruned_qat" else 1) * steps

    def told(step: int, logs: Any) -> None:
        if (step + 1) % every == 0:
            emit({"event": "step", "step": phase * (total - steps) + step + 1, "steps": total, "loss": logs["loss"]})

    if loss is None:
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=not _are_probabilities(_outputs(model, data["x"][:COMPARED]))
        )
    model.compile(optimizer=keras.optimizers.Adam(settings["learning_rate"]), loss=loss)
    news = keras.callbacks.LambdaCallback(on_batch_end=lambda step, logs: told(step, logs))
    model.fit(batches, epochs=1, verbose=0, callbacks=[*callbacks, news])


def _measured(model: Any, data: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Cross-entropy and accuracy on training and on validation inputs."""
    found: dict[str, float | None] = {"val_loss": None, "val_accuracy": None}
    for prefix in ("", "val_"):
        if f"{prefix}x" not in data:
            continue
        outputs, y = _outputs(model, data[f"{prefix}x"]), data[f"{prefix}y"]
        logs = np.log(np.maximum(outputs, LEAST_PROBABILITY)) if _are_probabilities(outputs) else _log_softmax(outputs)
        found[f"{prefix}loss"] = float(-logs[np.arange(len(y)), y].mean())
        found[f"{prefix}accuracy"] = float((outputs.argmax(axis=1) == y).mean())
    return found


def _outputs(model: Any, x: np.ndarray) -> np.ndarray:
    parts = (np.asarray(model(x[i : i + AT_ONCE], training=False)) for i in range(0, len(x), AT_ONCE))
    return np.concatenate(list(parts)).reshape(len(x), -1)


def _are_probabilities(outputs: np.ndarray) -> bool:
    return bool(outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=0.02))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def _kernels(model: Any) -> list[np.ndarray]:
    return [np.asarray(layer.kernel) for layer in model.layers if type(layer).__name__ in PRUNABLE]


def _trainable_kernels(emulated: Any) -> list[Any]:
    """The variables behind the kernels of the layers that are pruned, in a network of coated layers."""
    coated = (layer for layer in emulated.layers if type(getattr(layer, "layer", None)).__name__ in PRUNABLE)
    # The layer inside holds the emulated kernel under that name, the coat the variable.
    return [weight for layer in coated for weight in layer.trainable_weights if weight.name.endswith("kernel:0")]


def _sparsity(model: Any) -> float:
    return _share_of_zeros(_kernels(model))


def _share_of_zeros(kernels: Sequence[np.ndarray]) -> float:
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)

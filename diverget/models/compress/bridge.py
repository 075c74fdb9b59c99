"""Networks carried between Keras 3 and tf_keras, and made narrower; used inside a child process alone."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from diverget.models.child import ModelError

TOLERANCE = 1e-4
"""How far a network may be from its twin, as a share of its largest output: float32 rounding of another order of
operations; ten times and more what was measured on the networks of the zoo."""


def opened(payload: dict[str, Any]) -> tuple[Any, Any]:
    """The keras module that wrote the file of a job, and its network.

    Raises:
        ModelError: it does not load.
    """
    if payload["family"] == "tf_keras":
        import tf_keras as keras
    else:
        import keras
    try:
        model = keras.models.load_model(payload["keras"], compile=False, safe_mode=not payload["trust"])
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        raise ModelError(
            f"Expected a network that {payload['family']} {keras.__version__} loads, got {payload['keras']}, which it "
            f"refuses: {_first_line(error)}; save it again with this version, or give the .tflite files."
        ) from None
    return keras, model


def twin(model: Any, x: np.ndarray) -> Any:
    """The tf_keras network that computes what the Keras 3 network `model` does, checked on inputs x (n, ...).

    Every layer is made anew by the class of its name, with the settings that this class takes, and the weights are
    carried over layer by layer. What a setting that was left out might have meant, the check finds.

    Raises:
        ModelError: a layer has no counterpart, or the outputs differ by more than `TOLERANCE`.
    """
    import tf_keras

    config = model.get_config()
    tensors: dict[str, Any] = {}
    previous = ""
    try:
        for entry in config["layers"]:
            name, layer = entry["config"]["name"], None
            if entry["class_name"] == "InputLayer":
                shape = entry["config"]["batch_shape"]
                tensors[name] = tf_keras.Input(shape=tuple(shape[1:]), batch_size=shape[0], name=name)
            else:
                layer = _made_anew(getattr(tf_keras.layers, entry["class_name"]), entry["config"])
                tensors[name] = layer(_inputs(entry, tensors, previous))
                layer.set_weights([np.asarray(values) for values in model.get_layer(name).get_weights()])
            previous = name
        found = tf_keras.Model(
            [tensors[tensor._keras_history.operation.name] for tensor in model.inputs],
            [tensors[tensor._keras_history.operation.name] for tensor in model.outputs],
        )
        wanted = np.asarray(model(x, training=False))
        difference = float(np.abs(np.asarray(found(x, training=False)) - wanted).max() / np.abs(wanted).max())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"Expected a network whose layers tf_keras knows, got {model.name!r}, which it cannot build: "
            f"{_first_line(error)}; save the network with tf_keras, or compress elsewhere and give the .tflite file."
        ) from None
    if not difference <= TOLERANCE:
        raise ModelError(
            f"Expected the network {model.name!r} to compute the same in tf_keras within {TOLERANCE:g}, got a "
            f"difference of {difference:.3g}; save the network with tf_keras, or compress elsewhere."
        )
    return found


def carry_back(compressed: Any, model: Any) -> None:
    """Give the network `model` the weights of the layers of the same names in `compressed`."""
    for layer in model.layers:
        if layer.get_weights():
            layer.set_weights([np.asarray(values) for values in compressed.get_layer(layer.name).get_weights()])


def narrowed(model: Any, width: float) -> Any:
    """A network of the same layers with a share `width` of their filters and units, the classes left whole.

    Channels that a Reshape makes a depth shrink that depth, and the kernel that spans all of it. Weights are new.

    Raises:
        ModelError: the layers do not fit together at that width.
    """
    config = _without_shapes(copy.deepcopy(model.get_config()))
    last = model.layers[-1].name
    counted = [entry for entry in config["layers"] if {"filters", "units"} & set(entry["config"])]
    for entry in counted:
        for key in ("filters", "units"):
            if entry["config"].get(key) and entry is not counted[-1] and entry["config"]["name"] != last:
                entry["config"][key] = _share(width, entry["config"][key])
    depths: dict[int, int] = {}
    for entry in config["layers"]:
        asked = entry["config"]
        if width == 1 or not {"target_shape", "kernel_size"} & set(asked):
            continue
        came = model.get_layer(asked["name"]).input.shape
        if "kernel_size" in asked:
            sizes = zip(asked["kernel_size"], came[1:], strict=False)
            asked["kernel_size"] = [depths.get(size, size) if size == axis else size for size, axis in sizes]
        elif -1 not in asked["target_shape"]:
            shape, channels = list(asked["target_shape"]), came[-1]
            open_ = max((axis for axis, size in enumerate(shape) if size % channels == 0), default=len(shape) - 1)
            if open_ < len(shape) - 1:
                depths[shape[open_]] = shape[open_] // channels * _share(width, channels)
            shape[open_] = -1
            asked["target_shape"] = shape
    try:
        return type(model).from_config(config)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"Expected the layers of {model.name!r} to fit together at {width:g} of their width, got "
            f"{_first_line(error)}; choose another `width`, or a `student` of the zoo."
        ) from None


def _share(width: float, count: int) -> int:
    return max(1, round(width * count))


def _made_anew(kind: Any, config: dict[str, Any]) -> Any:
    taken = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"} | {"name"}
    # Weights are carried over, so how they would have begun does not matter, nor what training asked of them.
    idle = ("_initializer", "_regularizer", "_constraint")
    chosen = {key: value for key, value in config.items() if key in taken and not key.endswith(idle)}
    return kind(**{key: value for key, value in chosen.items() if key not in ("dtype", "seed")})


def _inputs(entry: dict[str, Any], tensors: dict[str, Any], previous: str) -> Any:
    """What a layer is called on: in a Sequential network, the layer before it."""
    if "inbound_nodes" not in entry:
        return tensors[previous]
    if len(entry["inbound_nodes"]) != 1 or len(entry["inbound_nodes"][0]["args"]) != 1:
        raise ValueError(f"the layer {entry['config']['name']!r} is called several times, or on several arguments")

    def looked_up(node: Any) -> Any:
        if isinstance(node, list | tuple):
            return [looked_up(item) for item in node]
        name, _, index = node["config"]["keras_history"]
        if index:
            raise ValueError(f"the layer {name!r} has several outputs")
        return tensors[name]

    return looked_up(entry["inbound_nodes"][0]["args"][0])


def _without_shapes(node: Any) -> Any:
    """A configuration without the shapes under which its layers were built."""
    if isinstance(node, dict):
        return {key: _without_shapes(value) for key, value in node.items() if key != "build_config"}
    if isinstance(node, list | tuple):
        return type(node)(_without_shapes(item) for item in node)
    return node


def _first_line(error: BaseException) -> str:
    told = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return told[:300]

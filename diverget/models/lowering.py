"""Lowering: a Keras network with Conv3D layers as one whose convolutions TFLite quantises.

TFLite has no integer kernel for CONV_3D, only for CONV_2D. A 3-D convolution is a 2-D convolution over gathered depth
slices, so the network is written anew: what Keras holds as (N, h, w, d, c) is held as (d · N, h, w, c), the depth on
the batch axis, outermost; the kd slices that an output depth reads are gathered onto the channels; and the kernel
(kh, kw, kd, c, f) is read as (kh, kw, kd · c, f). A kernel that spans the depth alone gathers nothing: the depth is the
outermost axis, so the 2-D convolution runs along it as it lies. The arithmetic is the same, term for term. The batch
size N is written into the network, because the slices are cut at multiples of it.

The layers are walked in Keras' own order, and the weights become constants of one TensorFlow function. TensorFlow is
imported inside the functions only, which run in a child process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget.models.child import ModelError
from diverget.models.lowered_layers import (
    EMITTERS,
    MERGES,
    PASSED_ON,
    WEIGHTED,
    Affine,
    Value,
    held,
    normalisation,
    over_channels,
    plain,
)

ROWS = 8
"""Rows of the batch written into a lowered network: the batch at which XNNPACK is fastest (`graph.BATCH`)."""

TOLERANCE = 1e-4
"""How far a lowered network may be from Keras, as a share of the largest output: float32 rounding of another order of
operations. Trained hybridsn, ssrn and cnn3d are within 1.2e-6 on inputs of unit variance, within 1.1e-5 on ten times
those; a layer lowered wrongly is off by more than 1e-2."""


def obstacle(name: str, kind: str, config: Mapping[str, Any]) -> str | None:
    """Why a layer has no lowered form, as the end of a sentence with what to do; None where it has one.

    Args:
        name, kind: the layer's name and class.
        config: its configuration.
    """
    if kind not in EMITTERS and kind not in ("InputLayer", *PASSED_ON):
        return (
            f"the layer {name!r} of class {kind} has no lowered form; replace it by one of "
            f"{', '.join(sorted(EMITTERS))}, or take a quantisation without lowering"
        )
    if config.get("data_format") == "channels_first":
        return f"the {kind} layer {name!r} has its channels first; build the network with data_format='channels_last'"
    if kind == "Conv3D" and config.get("groups", 1) != 1:
        return f"the Conv3D layer {name!r} has {config['groups']} groups; split it into layers of one group"
    if kind == "Rescaling" and not all(_of_channels(config.get(key, 0)) for key in ("scale", "offset")):
        return (
            f"the Rescaling layer {name!r} has neither one number nor one for each channel; scale the bands in the "
            "preprocessing, or take a quantisation without lowering"
        )
    return None


def _of_channels(setting: Any) -> bool:
    """Whether a setting of a Rescaling is one number, or one for each channel: the last axis."""
    inner = setting.get("config") if isinstance(setting, dict) else None
    # Keras writes an array as an object that holds its values.
    values: Any = inner.get("value") if isinstance(inner, dict) else setting
    try:
        shape = np.shape(values)
    except ValueError:
        return False
    return set(shape[:-1]) <= {1}


def lower(model: Any, *, rows: int = ROWS) -> Any:
    """The concrete TensorFlow function of a Keras network with Conv3D lowered, weights as constants.

    It takes (rows, *input_shape) float32 and gives what the network gives in inference, to float rounding.

    Args:
        model: Sequential or functional, of Keras 3 or tf_keras, with one input and one output.
        rows: N, unless the network has a batch size of its own.

    Raises:
        ModelError: a layer without a lowered form, or a network that is no graph of layers.
    """
    import tensorflow as tf

    if len(model.inputs or ()) != 1 or len(model.outputs or ()) != 1:
        raise ModelError(
            f"Expected a network with one input and one output to lower, got {len(model.inputs or ())} and "
            f"{len(model.outputs or ())}; build it as a functional network of one patch, with its input shape."
        )
    shape = tuple(model.inputs[0].shape)
    n = shape[0] or rows
    if None in shape[1:]:
        raise ModelError(
            f"Expected a network with the patch size written into its input to lower, got {shape}; build it for one "
            "patch size."
        )

    def network(x: Any) -> Any:
        (found,) = _walk(model, [held(x, shape[1:], n)], n)
        return plain(found, n)

    signature = [tf.TensorSpec((n, *shape[1:]), tf.float32, name="patches")]
    return tf.function(network, input_signature=signature, autograph=False).get_concrete_function()


def check_lowered(model: Any, function: Any, z: np.ndarray | None) -> None:
    """Return when the lowered `function` of a Keras network gives what the network gives.

    The lowered form need not be the wrong one: with oneDNN, Conv3D of TensorFlow 2.21 on one channel computes nonsense
    where a stride leaves one output along the depth and inputs behind it.

    Args:
        z: prepared inputs (n, *input_shape) float32 to compare them on; None for inputs drawn from a normal
            distribution.

    Raises:
        ModelError: they differ by more than `TOLERANCE`.
    """
    import tensorflow as tf

    shape = tuple(function.inputs[0].shape)
    drawn = np.random.default_rng(0).normal(size=shape) if z is None else np.resize(z, shape)
    x = drawn.astype(np.float32)
    wanted = np.asarray(model(x, training=False))
    difference = np.abs(np.asarray(function(tf.constant(x))).reshape(wanted.shape) - wanted).max()
    if not difference <= TOLERANCE * np.abs(wanted).max():
        raise ModelError(
            f"Expected the lowered form of {model.name!r} within {TOLERANCE:g} of its largest output in Keras, got a "
            f"difference of {difference:.3g} on {len(x)} inputs: one of the two computes a layer wrongly; report its "
            "layers, or take a quantisation without lowering."
        )


def _walk(model: Any, sources: Sequence[Value], n: int) -> list[Value]:
    """The outputs of a network for its inputs, layer after layer; networks inside it are walked the same way."""
    graph = getattr(model, "_functional", None) or model
    if not getattr(graph, "_nodes_by_depth", None):
        raise ModelError(
            f"Expected a Sequential or functional network to lower, got {model.name!r}, which is no graph of layers; "
            "build it with keras.Sequential or keras.Model(inputs, outputs)."
        )
    nodes = [node for depth in sorted(graph._nodes_by_depth, reverse=True) for node in graph._nodes_by_depth[depth]]
    calls = [_Call.of(node) for node in nodes if not node.is_input]
    folded = _folded(calls, {id(tensor) for tensor in graph.outputs})
    values = {id(tensor): value for tensor, value in zip(graph.inputs, sources, strict=True)}
    for call in calls:
        inputs = [values[index] for index in call.inputs]
        outputs = _emitted(call, inputs, n, folded)
        values |= zip(call.outputs, outputs, strict=True)
    return [values[id(tensor)] for tensor in graph.outputs]


@dataclass(frozen=True)
class _Call:
    """A layer called once: the symbolic tensors it takes and gives, by identity, and the axes of the first of them."""

    layer: Any
    rank: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, node: Any) -> _Call:
        """The call that a node of Keras 3 or of tf_keras records."""
        old = hasattr(node, "keras_inputs")
        layer = node.layer if old else node.operation
        inputs = node.keras_inputs if old else node.input_tensors
        outputs = node.output_tensors if isinstance(node.output_tensors, list | tuple) else [node.output_tensors]
        return cls(layer, len(inputs[0].shape), tuple(map(id, inputs)), tuple(map(id, outputs)))

    @property
    def kind(self) -> str:
        return type(self.layer).__name__


def _folded(calls: Sequence[_Call], kept: Iterable[int]) -> dict[int, Affine | None]:
    """The batch normalisations that the layer before takes into its weights, by their call's output.

    The entry of the layer's output is the scale and offset; the entry of the normalisation's own output is None:
    nothing is left to do there.
    """
    readers = Counter(index for call in calls for index in call.inputs) + Counter(kept)
    makers = {index: call for call in calls for index in call.outputs}
    found: dict[int, Affine | None] = {}
    for call in calls:
        maker = makers.get(call.inputs[0]) if call.kind == "BatchNormalization" else None
        if maker is None or maker.kind not in WEIGHTED or readers[call.inputs[0]] > 1:
            continue
        linear = getattr(maker.layer.activation, "__name__", "") == "linear"
        if linear and over_channels(call.layer, call.rank):
            found[maker.outputs[0]], found[call.outputs[0]] = normalisation(call.layer), None
    return found


def _emitted(call: _Call, inputs: Sequence[Value], n: int, folded: Mapping[int, Affine | None]) -> list[Value]:
    layer = call.layer
    if getattr(layer, "_nodes_by_depth", None) or getattr(layer, "_functional", None):
        return _walk(layer, inputs, n)
    reason = obstacle(layer.name, call.kind, layer.get_config())
    if reason is None and call.kind in MERGES and len(inputs) < 2:
        reason = f"{layer.name!r} of class {call.kind} joins a tensor with a constant; replace it by a Rescaling layer"
    if reason is not None:
        raise ModelError(f"Expected layers that can be lowered to 2-D convolutions, got one that cannot: {reason}.")
    if call.kind in PASSED_ON or (call.outputs[0] in folded and folded[call.outputs[0]] is None):
        return [inputs[0]]
    return [EMITTERS[call.kind](layer, inputs, n, folded.get(call.outputs[0]))]

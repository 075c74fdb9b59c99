"""Faults planted into int8 .tflite files: one layer with a wrong range or wrong weights, all else as it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from diverget.blame import Layer, blame
from diverget.models.layers import shared_layers
from diverget.models.model import Model

SAME_RANGE = (
    "CONCATENATION", "EXPAND_DIMS", "MAX_POOL_2D", "PAD", "RESHAPE", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE",
)  # fmt: skip
"""Operators whose kernels want the range of what comes in for what goes out."""

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def blamed(reference: Model, quantised: Model, sources: np.ndarray, follow_ups: np.ndarray) -> tuple[Layer, ...]:
    """The layers of a pair, the one to blame most first."""
    return blame(shared_layers(reference, quantised, purpose="blame"), sources, follow_ups)


def opened(content: bytes) -> tuple[Any, Any, list[str]]:
    """The file as objects, its network, and the name of every operator."""
    from ai_edge_litert import schema_py_generated as schema

    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    network = model.subgraphs[0]
    return model, network, [names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in network.operators]


def packed(model: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def integer_layers(content: bytes) -> list[tuple[str, int]]:
    """Operator and activation of every layer whose range is free: not those that take the range of what comes in."""
    from ai_edge_litert import schema_py_generated as schema

    _, network, names = opened(content)
    return [
        (name, int(op.outputs[0]))
        for op, name in zip(network.operators, names, strict=True)
        if name not in (*SAME_RANGE, "SOFTMAX", "LOGISTIC", "DEQUANTIZE", "SHAPE", "STRIDED_SLICE", "PACK")
        and network.tensors[op.outputs[0]].type == schema.TensorType.INT8
    ]


def wrong_range(content: bytes, tensor: int, factor: float) -> bytes:
    """The network with the range of one activation `factor` times as wide; biases behind it mean what they meant."""
    model, network, names = opened(content)
    of_one_range = {tensor}
    for _ in network.operators:
        for op, name in zip(network.operators, names, strict=True):
            joined = {*map(int, op.inputs if name == "CONCATENATION" else op.inputs[:1]), int(op.outputs[0])}
            if name in SAME_RANGE and of_one_range & joined:
                of_one_range |= joined
    for index in of_one_range:
        held = network.tensors[index].quantization
        held.scale = np.asarray(held.scale, dtype=np.float32) * np.float32(factor)
    for op, name in zip(network.operators, names, strict=True):
        if name in WEIGHTED and int(op.inputs[0]) in of_one_range:
            _rescale_bias(model, network, op, factor)
    return packed(model)


def wrong_weights(content: bytes, tensor: int, factor: float) -> bytes:
    """The network whose layer with the activation `tensor` takes its weights for `factor` times what they are."""
    model, network, names = opened(content)
    (op,) = (
        op for op, name in zip(network.operators, names, strict=True) if name in WEIGHTED and op.outputs[0] == tensor
    )
    held = network.tensors[op.inputs[1]].quantization
    held.scale = np.asarray(held.scale, dtype=np.float32) * np.float32(factor)
    _rescale_bias(model, network, op, factor)
    return packed(model)


def _rescale_bias(model: Any, network: Any, op: Any, factor: float) -> None:
    """A bias's scale is that of the input times that of the weights: keep what its integers stand for."""
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return
    bias = network.tensors[op.inputs[2]]
    bias.quantization.scale = np.asarray(bias.quantization.scale, dtype=np.float32) * np.float32(factor)
    buffer = model.buffers[bias.buffer]
    steps = np.frombuffer(bytes(buffer.data), dtype=np.int32)
    ends = np.iinfo(np.int32)
    rescaled = np.clip(np.rint(steps / factor), ends.min, ends.max).astype(np.int32)
    # A bias may be shared by two layers; this one gets its own.
    from ai_edge_litert import schema_py_generated as schema

    own = schema.BufferT()
    own.data = np.frombuffer(rescaled.tobytes(), dtype=np.uint8)
    model.buffers.append(own)
    bias.buffer = len(model.buffers) - 1

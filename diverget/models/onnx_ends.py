"""The ends of an .onnx network: what the integers of its input and output mean, and what its outputs tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import ModelError
from diverget.models.graph import FLOAT_STEP, quantum_of_probability
from diverget.models.onnx_coverage import Nodes
from diverget.models.onnx_session import TYPES, End

HALF_STEP = 2.0**-11
"""The spacing of float16 numbers in [1/2, 1): probabilities closer than that can be one number."""

MOVES = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators between a network's end and its (de)quantisation that change no value."""

RESULT = {
    "QuantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6, "QGemm": 7, "QLinearAdd": 6, "QLinearMul": 6,
    "QLinearAveragePool": 3, "QLinearGlobalAveragePool": 3, "QLinearLeakyRelu": 3, "QLinearReduceMean": 3,
    "QLinearSigmoid": 3, "QLinearSoftmax": 3,
}  # fmt: skip
"""Operators with an integer result, and where among their inputs its scale stands; the zero point follows it."""


def source_of(nodes: Nodes, given: Any, path: Path) -> End:
    """The input; an integer one means what the operator that reads it says."""
    dtype, name = TYPES[given.type], given.name
    if np.dtype(dtype).kind == "f":
        return End(name, dtype)
    while True:
        (reader, *_) = nodes.readers.get(name, [None])
        if reader is None or reader.op_type not in MOVES:
            break
        if reader.op_type == "Cast":
            return End(given.name, dtype)
        name = reader.output[0]
    if reader is not None and reader.op_type.startswith(("DequantizeLinear", "QLinear", "QGemm")):
        found = nodes.quantum(reader, 1)
        if found is not None and reader.input[0] == name:
            return End(given.name, dtype, *found)
    raise _unscaled("input", given, path)


def target_of(nodes: Nodes, taken: Any, path: Path) -> End:
    """The output; an integer one means what the operator that makes it says."""
    dtype, name = TYPES[taken.type], taken.name
    if np.dtype(dtype).kind == "f":
        return End(name, dtype)
    while (maker := nodes.makers.get(name)) is not None and maker.op_type in MOVES and maker.op_type != "Cast":
        name = maker.input[0]
    found = nodes.quantum(maker, RESULT[maker.op_type]) if maker is not None and maker.op_type in RESULT else None
    if found is None:
        raise _unscaled("output", taken, path)
    return End(taken.name, dtype, *found)


def _unscaled(which: str, tensor: Any, path: Path) -> ModelError:
    return ModelError(
        f"Expected an integer {which} with its scale in the graph (QuantizeLinear or DequantizeLinear beside it), got "
        f"{tensor.type} at {tensor.name!r} without one in {path}; export the network with a float {which}."
    )


def output_step(nodes: Nodes, target: End, outputs: np.ndarray) -> tuple[float, bool]:
    """One quantum of the integers the output is made from, or what its float type tells apart, float16 where all
    `outputs` are such numbers; and whether a softmax made it."""
    softmax, step, name = False, None, target.name
    while (maker := nodes.makers.get(name)) is not None:
        place = 1 if maker.op_type == "DequantizeLinear" else RESULT.get(maker.op_type)
        softmax |= maker.op_type == "QLinearSoftmax"
        found = None if place is None else nodes.quantum(maker, place)
        if step is None and found is not None:
            step = quantum_of_probability(found[0]) if softmax and maker.op_type != "QLinearSoftmax" else found[0]
        softmax |= maker.op_type == "Softmax"
        if maker.op_type not in (*MOVES, "DequantizeLinear", "QuantizeLinear", "Softmax"):
            break
        name = maker.input[0]
    if step is None:
        with np.errstate(over="ignore"):
            step = HALF_STEP if np.array_equal(outputs, outputs.astype(np.float16)) else FLOAT_STEP
    return step, softmax

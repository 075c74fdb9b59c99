"""Small ONNX networks of channels-first patches (4 bands, 5 x 5), written operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BANDS, SIDE, FILTERS, CLASSES = 4, 5, 8, 3
INPUT_SCALE, HIDDEN_SCALE, OUTPUT_SCALE = 0.04, 0.05, 0.03


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "kernel": rng.standard_normal((FILTERS, BANDS, 3, 3)).astype(np.float32) / 6,
        "matrix": rng.standard_normal((FILTERS, CLASSES)).astype(np.float32),
    }


def patches(count: int, seed: int = 0) -> np.ndarray:
    """Raw patches (count, 5, 5, 4) float32."""
    return np.random.default_rng(seed).standard_normal((count, SIDE, SIDE, BANDS)).astype(np.float32)


def written(
    path: Path,
    nodes: Sequence[Any],
    constants: dict[str, np.ndarray],
    *,
    batch: int | str = "N",
    types: tuple[int, int] = (TensorProto.FLOAT, TensorProto.FLOAT),
    shape: Sequence[int | str] = (BANDS, SIDE, SIDE),
    domains: Sequence[str] = (),
    functions: Sequence[Any] = (),
) -> Path:
    """A network from `x` to `y` in a file."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", types[0], [batch, *shape])],
        [helper.make_tensor_value_info("y", types[1], [batch, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)
    path.write_bytes(model.SerializeToString())
    return path


def float_nodes(*, softmax: bool = True) -> list[Any]:
    """Conv, Relu, GlobalAveragePool, Gemm, and a Softmax."""
    scores = "scores" if softmax else "y"
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], [scores]),
    ]
    return [*nodes, helper.make_node("Softmax", ["scores"], ["y"])] if softmax else nodes


def float_network(path: Path, *, batch: int | str = "N", softmax: bool = True) -> Path:
    return written(path, float_nodes(softmax=softmax), weights(), batch=batch)


def _quantised_weights() -> dict[str, np.ndarray]:
    made: dict[str, np.ndarray] = {"zero": np.int8(0)}  # type: ignore[dict-item]
    for name, value in weights().items():
        scale = np.float32(np.abs(value).max() / 127)
        made[f"{name}_scale"] = scale
        made[f"{name}_int8"] = np.rint(value / scale).astype(np.int8)
    for name, scale in (("in", INPUT_SCALE), ("hidden", HIDDEN_SCALE), ("out", OUTPUT_SCALE)):
        made[f"{name}_scale"] = np.float32(scale)
    return {name: np.asarray(value) for name, value in made.items()}


def qdq_network(path: Path, *, integer_ends: bool = False, batch: int | str = "N") -> Path:
    """The network in quantise-dequantise form, int8 throughout; logits. With integer ends the first
    QuantizeLinear and the last DequantizeLinear are left out."""

    def quantise(name: str, scale: str) -> list[Any]:
        return [
            helper.make_node("QuantizeLinear", [name, scale, "zero"], [f"{name}_q"]),
            helper.make_node("DequantizeLinear", [f"{name}_q", scale, "zero"], [f"{name}_dq"]),
        ]

    nodes = [
        *quantise("x", "in_scale"),
        helper.make_node("DequantizeLinear", ["kernel_int8", "kernel_scale", "zero"], ["kernel"]),
        helper.make_node("Conv", ["x_dq", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        *quantise("relu", "hidden_scale"),
        helper.make_node("GlobalAveragePool", ["relu_dq"], ["pool"]),
        *quantise("pool", "hidden_scale"),
        helper.make_node("Flatten", ["pool_dq"], ["flat"]),
        helper.make_node("DequantizeLinear", ["matrix_int8", "matrix_scale", "zero"], ["matrix"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["scores"]),
        helper.make_node("QuantizeLinear", ["scores", "out_scale", "zero"], ["scores_q"]),
        helper.make_node("DequantizeLinear", ["scores_q", "out_scale", "zero"], ["y"]),
    ]
    types = TensorProto.FLOAT, TensorProto.FLOAT
    if integer_ends:
        nodes = nodes[1:-1]
        nodes[0].input[0] = "x"
        nodes[-1].output[0] = "y"
        types = TensorProto.INT8, TensorProto.INT8
    return written(path, nodes, _quantised_weights(), types=types, batch=batch)


def external_network(path: Path, location: str) -> Path:
    """The float network with its kernel in another file at `location`."""
    float_network(path)
    model = onnx.ModelProto.FromString(path.read_bytes())
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    kernel.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path

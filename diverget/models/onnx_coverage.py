"""How much of an .onnx network is quantised: the multiply-accumulates of each operator, by the types it computes in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from diverget.models.coverage import Coverage
from diverget.models.onnx_session import End, OnnxSession, failures

WEIGHTS = {
    "Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "LSTM": 1, "GRU": 1, "RNN": 1, "ConvInteger": 1,
    "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3, "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
}  # fmt: skip
"""Operators whose multiply-accumulates are counted, and where among their inputs the weights stand."""

STATIC = ("QLinearConv", "QLinearMatMul", "QGemm")
DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")

UNCOUNTED = ("Attention", "DeformConv", "Einsum")
"""Operators of ONNX that multiply weights and are not counted: where one stands, the coverage is unknown."""

PLAIN = (
    "QuantizeLinear", "DequantizeLinear", "Gelu", "QLinearAdd", "QLinearAveragePool", "QLinearConcat",
    "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearMul", "QLinearReduceMean", "QLinearSigmoid",
    "QLinearSoftmax",
)  # fmt: skip
"""onnxruntime's own operators that multiply no weights."""

MOVERS = (
    "Cast", "Concat", "Constant", "ConstantOfShape", "DequantizeLinear", "DynamicQuantizeLinear", "Flatten", "Gather",
    "Identity", "QuantizeLinear", "Reshape", "Shape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip
"""Operators that compute nothing: they are no loss when they stay in float."""


@dataclass(frozen=True)
class Nodes:
    """The operators of a graph, and who makes, reads and holds what, by the name of a tensor."""

    all: Sequence[Any]
    makers: Mapping[str, Any]
    readers: Mapping[str, Sequence[Any]]
    constants: Mapping[str, Any]

    @classmethod
    def of(cls, model: Any) -> Nodes:
        graph = model.graph
        constants = {tensor.name: tensor for tensor in graph.initializer}
        readers: dict[str, list[Any]] = defaultdict(list)
        makers = {}
        for node in graph.node:
            for name in node.input:
                readers[name].append(node)
            makers.update(dict.fromkeys(filter(None, node.output), node))
            if node.op_type == "Constant":
                constants.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
        return cls(list(graph.node), makers, readers, constants)

    def quantum(self, node: Any, place: int) -> tuple[float, int] | None:
        """Scale and zero point among the inputs of `node`, from `place` on; of several scales the largest; None where
        they are no constants."""
        from onnx.numpy_helper import to_array

        found = []
        for name in list(node.input)[place : place + 2]:
            if name and name not in self.constants:
                return None
            found.append(to_array(self.constants[name]).reshape(-1) if name else np.zeros(1))
        if not found or not found[0].size:
            return None
        scale, zero_point = found[0].astype(np.float64), found[1] if len(found) > 1 else np.zeros(1)
        widest = int(scale.argmax())
        usable = np.isfinite(scale[widest]) and scale[widest] > 0 and zero_point.size
        return (float(scale[widest]), int(zero_point[min(widest, zero_point.size - 1)])) if usable else None


def coverage_of(nodes: Nodes, model: Any, z: np.ndarray, source: End) -> Coverage | None:
    """The coverage of a network whose functions stand inlined; None where an operator does not tell.

    Shapes and types are those of a run on the prepared inputs `z`, with every tensor an output.
    """
    if any(not _told(node) for node in nodes.all):
        return None
    tensors = _tensors(nodes, model, z, source)
    if tensors is None:
        return None
    integer = _integer(nodes, tensors)
    macs: Counter[str] = Counter()
    rows = []
    for node in nodes.all:
        count = _macs(node, tensors) // len(z) if node.op_type in WEIGHTS else 0
        kind = _kind(node, nodes, tensors, integer) if count else _plain_kind(node, nodes, integer)
        macs[kind] += count
        rows.append((node.op_type, count, kind))
    total = sum(macs.values())
    quantised = {kind: count for kind, count in macs.items() if kind != "float32" and count}
    most = max(quantised, key=lambda name: quantised[name]) if quantised else "float32"
    left: dict[str, tuple[int, int]] = {}
    for name, count, kind in rows:
        if kind == "float32" and name not in MOVERS and (count or most in ("int8", "int16x8")):
            number, weight = left.get(name, (0, 0))
            left[name] = (number + 1, weight + count)
    return Coverage(
        share=sum(count for name, count in quantised.items() if name != "weight-only int8") / total if total else 0.0,
        kind=most,
        total_macs=total,
        float_ops=tuple(sorted(((name, *told) for name, told in left.items()), key=lambda one: (-one[2], one[0]))),
        note=_note(nodes, most, bool(macs["weight-only int8"])),
    )


def _told(node: Any) -> bool:
    """Whether what `node` multiplies is known: it is counted, or multiplies no weights."""
    inner = any(attribute.g.node or attribute.graphs for attribute in node.attribute)
    foreign = node.domain not in ("", "ai.onnx") and node.op_type not in (*WEIGHTS, *PLAIN)
    return not inner and not foreign and node.op_type not in UNCOUNTED


def _tensors(nodes: Nodes, model: Any, z: np.ndarray, source: End) -> dict[str, tuple[tuple[int, ...], str]] | None:
    """Shape and NumPy type of every tensor in a run on `z`."""
    from onnx import ModelProto, ValueInfoProto, helper

    whole = ModelProto()
    whole.CopyFrom(model)
    known = {output.name for output in whole.graph.output}
    whole.graph.output.extend(ValueInfoProto(name=name) for name in nodes.makers if name not in known)
    try:
        session = OnnxSession(whole.SerializeToString(), optimised=False).session
        values = session.run(None, {source.name: source.given(z)})
    except failures():
        return None
    found = {
        name: (tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type).name)
        for name, tensor in nodes.constants.items()
    }
    found[source.name] = z.shape, source.dtype
    for output, value in zip(session.get_outputs(), values, strict=True):
        if isinstance(value, np.ndarray):
            found[output.name] = value.shape, value.dtype.name
    return found


def _macs(node: Any, tensors: Mapping[str, tuple[tuple[int, ...], str]]) -> int:
    """Multiply-accumulates of one call of `node`.

    Output elements · weights of one output; for transposed convolutions input elements · weights of one input.
    """
    name = node.op_type
    weights, data = tensors[node.input[WEIGHTS[name]]][0], tensors[node.input[0]][0]
    result = tensors[next(filter(None, node.output))][0]
    if name in ("Conv", "ConvInteger", "QLinearConv"):  # weights (O, I / groups, kernel ...)
        return prod(result) * prod(weights[1:])
    if name == "ConvTranspose":  # weights (I, O / groups, kernel ...)
        return prod(data) * prod(weights[1:])
    if name in ("Gemm", "QGemm"):
        turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return prod(result) * data[0 if turned else -1]
    if name in ("LSTM", "GRU", "RNN"):  # x (steps, batch, I), weights (directions, gates · units, I), then (..., units)
        return prod(data[:2]) * (prod(weights) + prod(tensors[node.input[2]][0]))
    return prod(result) * data[-1]


def _integer(nodes: Nodes, tensors: Mapping[str, tuple[tuple[int, ...], str]]) -> set[str]:
    """The tensors that hold integers, or what was just dequantised from them, activations followed to their
    quantisation."""
    found = {name for name, (_, dtype) in tensors.items() if np.dtype(dtype).kind in "iu"}
    for node in nodes.all:
        computed = [name for name in node.input if name and name not in nodes.constants]
        if node.op_type == "DequantizeLinear" or (computed and all(name in found for name in computed)):
            found.update(node.output)
    return found


def _kind(node: Any, nodes: Nodes, tensors: Mapping[str, tuple[tuple[int, ...], str]], integer: set[str]) -> str:
    """How an operator with weights computes: one of the kinds of `Coverage`."""
    if node.op_type in STATIC:
        return "int8"
    if node.op_type in DYNAMIC:
        return "dynamic int8"
    weights = node.input[WEIGHTS[node.op_type]]
    stored = _stored(weights, nodes, tensors)
    if np.dtype(stored).kind in "iu":
        maker = nodes.makers.get(node.input[0])
        if node.input[0] not in integer:
            return "weight-only int8"
        wide = maker is not None and tensors[maker.input[0]][1] in ("int16", "uint16")
        return "int16x8" if wide else "int8"
    return "float16" if stored == "float16" else "float32"


def _stored(name: str, nodes: Nodes, tensors: Mapping[str, tuple[tuple[int, ...], str]]) -> str:
    """The type in which the weights called `name` stand in the file."""
    while (maker := nodes.makers.get(name)) is not None and maker.input:
        if maker.op_type not in ("Cast", "DequantizeLinear", "Identity", "Reshape", "Transpose", "Unsqueeze"):
            break
        name = maker.input[0]
    return tensors[name][1]


def _plain_kind(node: Any, nodes: Nodes, integer: set[str]) -> str:
    """How an operator without weights computes: from integers into a quantisation, or in float."""
    computed = [name for name in node.input if name and name not in nodes.constants]
    held = all(
        nodes.readers.get(name) and all(reader.op_type == "QuantizeLinear" for reader in nodes.readers[name])
        for name in filter(None, node.output)
    )
    own = node.op_type.startswith("QLinear")
    return "int8" if own or (computed and all(name in integer for name in computed) and held) else "float32"


def _note(nodes: Nodes, kind: str, weight_only: bool) -> str:
    said = []
    if kind == "float16":
        said.append("float16 is how the weights are stored; on CPUs most of the arithmetic is float32.")
    if kind == "dynamic int8":
        said.append("Weights are int8; activations are float32 and quantised on the fly.")
    if kind in ("int8", "int16x8") and any(node.op_type == "DequantizeLinear" for node in nodes.all):
        said.append("The file marks integers by QuantizeLinear and DequantizeLinear; onnxruntime fuses what it can.")
    if weight_only:
        said.append("Some weights are stored as int8 but computed with in float32.")
    return " ".join(said)

"""How much of a quantised network is quantised at all: the multiply-accumulates of each operator, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from diverget.models.graph import Graph, Op, Tensor, examine

INTEGERS = ("int8", "uint8", "int16", "int4")
HYBRID = ("BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "SVDF")
"""Operators with kernels for int8 weights that quantise float activations on the fly."""

MOVERS = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "SHAPE", "STRIDED_SLICE", "PACK", "TRANSPOSE")
"""Operators that compute nothing: they are no loss when they stay in float."""

LONG_ROW = 2064
"""A longer row of int8 weights can overflow the 8 int16 sums of the built-in x86 kernel: 32767 · 8 / 127."""


@dataclass(frozen=True)
class Coverage:
    """What of a network is quantised.

    Attributes:
        share: multiply-accumulates in integer arithmetic (or, for `float16`, with weights stored in float16) over
            all of them, 0 to 1.
        kind: `float32`, `float16`, `dynamic int8`, `weight-only int8`, `int8` or `int16x8`: what most of the
            quantised multiply-accumulates are.
        total_macs: multiply-accumulates for one patch.
        float_ops: `(operator, count, multiply-accumulates)` of what stays in float, the heaviest first.
        note: what to know about it, one or two sentences, or "".
    """

    share: float
    kind: str
    total_macs: int
    float_ops: tuple[tuple[str, int, int], ...]
    note: str


def coverage(path: Path) -> Coverage:
    """The coverage of the .tflite file at `path`, from the shapes and types of its tensors.

    Raises:
        FileNotFoundError, ValueError: as `graph.examine` does.
    """
    return covered(examine(path))


def covered(graph: Graph) -> Coverage:
    """The coverage of a graph already examined."""
    makers = {output: op for op in graph.ops for output in op.outputs}
    batch = graph.rows if graph.fixed else 1
    macs: Counter[str] = Counter()
    rows = [(op, macs_of(op, graph.tensors) // batch, _kind(op, graph.tensors, makers)) for op in graph.ops]
    for _, count, kind in rows:
        macs[kind] += count
    total = sum(macs.values())
    quantised = {kind: count for kind, count in macs.items() if kind != "float32" and count}
    kind = max(quantised, key=lambda name: quantised[name]) if quantised else "float32"
    # Where activations are integers, every float operator is a gap; elsewhere only the multiply-accumulates count.
    static = kind in ("int8", "int16x8")
    left: dict[str, tuple[int, int]] = {}
    for op, count, found in rows:
        if found == "float32" and op.name not in MOVERS and (count or static):
            number, weight = left.get(op.name, (0, 0))
            left[op.name] = (number + 1, weight + count)
    float_ops = sorted(((name, *told) for name, told in left.items()), key=lambda entry: (-entry[2], entry[0]))
    counted = sum(count for name, count in quantised.items() if name != "weight-only int8")
    return Coverage(
        share=counted / total if total else 0.0,
        kind=kind,
        total_macs=total,
        float_ops=tuple(float_ops),
        note=_note(graph, kind, macs, total, float_ops),
    )


def macs_of(op: Op, tensors: Mapping[int, Tensor]) -> int:
    """Multiply-accumulates of one invocation of `op`; 0 for an operator that multiplies no weights.

    Output elements · weights of one output; for transposed convolutions input elements · weights of one input.
    """

    def shape(index: int) -> tuple[int, ...]:
        return tensors[index].shape

    if op.name in ("CONV_2D", "FULLY_CONNECTED"):  # weights (O, kh, kw, I) and (O, I)
        return prod(shape(op.outputs[0])) * prod(shape(op.inputs[1])[1:])
    if op.name == "DEPTHWISE_CONV_2D":  # (1, kh, kw, O)
        return prod(shape(op.outputs[0])) * prod(shape(op.inputs[1])[1:3])
    if op.name == "CONV_3D":  # (kd, kh, kw, I, O)
        return prod(shape(op.outputs[0])) * prod(shape(op.inputs[1])[:-1])
    if op.name == "TRANSPOSE_CONV":  # inputs: output shape, weights (O, kh, kw, I), x
        return prod(shape(op.inputs[2])) * prod(shape(op.inputs[1])[:-1])
    if op.name == "CONV_3D_TRANSPOSE":  # inputs: output shape, weights (kd, kh, kw, O, I), x
        return prod(shape(op.inputs[2])) * prod(shape(op.inputs[1])[:-1])
    if op.name == "BATCH_MATMUL":
        left, result = shape(op.inputs[0]), shape(op.outputs[0])
        return prod(result) * (left[-1] if left[-2] == result[-2] else left[-2])  # The left side may be transposed.
    if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":  # inputs 1-8: gates from input and from the state, (units, ·)
        steps = prod(shape(op.inputs[0])[:-1])
        return steps * sum(prod(shape(index)) for index in op.inputs[1:9] if index >= 0)
    if op.name == "SVDF":
        return sum(prod(shape(index)) for index in op.inputs[1:3]) * shape(op.inputs[0])[0]
    return 0


def _activation(op: Op) -> int:
    return op.inputs[2] if op.name in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE") else op.inputs[0]


def _kind(op: Op, tensors: Mapping[int, Tensor], makers: Mapping[int, Op]) -> str:
    """How `op` computes: one of the kinds of `Coverage`; for an operator without weights, by its activations."""
    if not op.inputs:
        return "float32"
    if not macs_of(op, tensors):
        computed = [tensors[i].dtype for i in (*op.inputs, *op.outputs) if i >= 0 and not tensors[i].constant]
        return "float32" if "float32" in computed else "int8"
    activation, weights = tensors[_activation(op)].dtype, tensors[op.inputs[1]].dtype
    if activation in INTEGERS:
        return "int16x8" if activation == "int16" else "int8"
    if weights in INTEGERS:
        return "dynamic int8" if op.name in HYBRID or op.name.endswith("LSTM") else "weight-only int8"
    maker = makers.get(op.inputs[1])
    stored = tensors[maker.inputs[0]].dtype if maker is not None and maker.name == "DEQUANTIZE" else weights
    if stored == "float16":
        return "float16"
    return "weight-only int8" if stored in INTEGERS else "float32"


def is_lowered(graph: Graph) -> bool:
    """Whether a fixed batch of volumes is held as several slices a row while 2-D convolutions go over it."""
    slices = {graph.tensors[op.outputs[0]].shape[0] for op in graph.ops if op.name == "CONV_2D"}
    return graph.fixed and len(graph.input_shape) == 4 and bool(slices - {graph.rows})


def _note(graph: Graph, kind: str, macs: Mapping[str, int], total: int, float_ops: list[tuple[str, int, int]]) -> str:
    said = []
    if is_lowered(graph):
        said.append("3-D convolutions run lowered: as 2-D ones over gathered depth slices.")
    if kind == "float16":
        said.append("float16 is how the weights are stored; on CPUs the arithmetic is float32.")
    if kind == "dynamic int8":
        said.append("Weights are int8; activations are float32 and quantised on the fly inside each operator.")
        longest = max(
            (graph.tensors[op.inputs[1]].shape[-1] for op in graph.ops if op.name == "FULLY_CONNECTED"), default=0
        )
        if longest > LONG_ROW:
            said.append(
                f"A FULLY_CONNECTED row of {longest} weights can overflow in LiteRT's built-in x86 kernels; "
                "XNNPACK is right."
            )
    if macs.get("weight-only int8"):
        said.append("Some weights are stored as int8 but computed with in float32.")
    if kind != "float32" and float_ops:
        weight = sum(entry[2] for entry in float_ops)
        names = ", ".join(f"{count} {name}" for name, count, _ in float_ops)
        share = f" with {100 * weight / total:.0f} % of the multiply-accumulates" if weight else ""
        said.append(f"Left in float: {names}{share}.")
    return " ".join(said)

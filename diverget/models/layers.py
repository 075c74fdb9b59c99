"""What happens inside a pair of .tflite networks: the layers they share, and how far these are apart on an input."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from diverget.models.coverage import MOVERS, macs_of
from diverget.models.folds import batch_of, folds, row_shape
from diverget.models.graph import INTEGERS, Graph
from diverget.models.model import Model
from diverget.models.tflite import TFLiteModel

ENDS = ("SOFTMAX", "LOGISTIC")
"""Operators that make the network's output of its last layer: the output is no inner activation."""

REPRESENTING = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS")
"""Operators after which a row holds the same values in the same order, up to rounding."""


class Unreadable(ValueError):
    """The inner activations of a pair cannot be compared."""


@dataclass(frozen=True)
class SharedLayers:
    """A pair of networks and the layers both have, as indices of the tensors that hold their activations.

    Attributes:
        names: the operator of each layer, by TFLite's name.
        reference_tensors, quantised_tensors: one index a layer.
    """

    reference: TFLiteModel
    quantised: TFLiteModel
    names: tuple[str, ...]
    reference_tensors: tuple[int, ...]
    quantised_tensors: tuple[int, ...]

    def divergence(self, x: np.ndarray) -> np.ndarray:
        """How far the inner activations are apart on raw patches x (n, h, w, b), (n,) float64 in [0, 1].

        The mean over the shared layers of ‖a − b‖ / (‖a‖ + ‖b‖), a the reference's and b the quantised model's
        dequantised activations of the layer; 0 where both are 0, 1 where one is or they are opposite.
        """
        z = self.reference.preprocessing.apply(x)
        same = self.reference.preprocessing.digest == self.quantised.preprocessing.digest
        ours = self.reference.inner(z, self.reference_tensors)
        theirs = self.quantised.inner(z if same else self.quantised.preprocessing.apply(x), self.quantised_tensors)
        return np.mean([_apart(a, b) for a, b in zip(ours, theirs, strict=True)], axis=0)


def shared_layers(
    reference: Model, quantised: Model, *, purpose: str = "the objective layer_divergence"
) -> SharedLayers:
    """The layers that two versions of one network share; `purpose` is what an error says they are needed for.

    Operators that compute something are matched in order of execution, by name and by the shape of what they give.
    Names of tensors are no guide: the converter rewrites them.

    Raises:
        Unreadable: one of the two is no .tflite network, or they share no layer.
    """
    instead = ", or choose an objective of the outputs, js_divergence say" if "objective" in purpose else ""
    for model in (reference, quantised):
        if not isinstance(model, TFLiteModel):
            raise Unreadable(
                f"Expected two .tflite networks for {purpose}, got {model.name!r}, whose inner activations cannot be "
                f"read; convert it{instead}."
            )
    assert isinstance(reference, TFLiteModel) and isinstance(quantised, TFLiteModel)
    ours, theirs = _layers(reference.graph), _layers(quantised.graph)
    a, b = ([key for key, _ in layers] for layers in (ours, theirs))
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    pairs = [(ours[block.a + i], theirs[block.b + i]) for block in blocks for i in range(block.size)]
    if not pairs:
        told = [", ".join(dict.fromkeys(name for (name, _), _ in layers)) or "none" for layers in (ours, theirs)]
        raise Unreadable(
            f"Expected inner layers that {reference.name!r} and {quantised.name!r} share for {purpose}, got "
            f"{told[0]} and {told[1]} without one of the same operator and shape; give versions of one network"
            f"{instead}."
        )
    return SharedLayers(
        reference,
        quantised,
        names=tuple(name for ((name, _), _), _ in pairs),
        reference_tensors=tuple(index for (_, index), _ in pairs),
        quantised_tensors=tuple(index for _, (_, index) in pairs),
    )


@dataclass(frozen=True)
class HandOver:
    """A place at which the activations of the quantised network can be handed to the float one.

    Attributes:
        operator: TFLite's name of what gives the activation; `INPUT` for the network's input.
        reference, quantised: the tensors of the two graphs that hold the same activation.
        identity: the operator changes the representation alone: in float it does nothing.
    """

    operator: str
    reference: int
    quantised: int
    identity: bool


def hand_overs(shared: SharedLayers) -> tuple[HandOver, ...]:
    """The places of a pair in the quantised network's order of execution: shared layers, and what only quantises.

    The input is one where its integers, or another preprocessing, are an error of their own.
    """
    ours, theirs = shared.reference.graph, shared.quantised.graph
    source, target = network_input(ours), network_input(theirs)
    same_as: dict[int, int] = {target: source}
    found = []
    alike = shared.reference.preprocessing.digest == shared.quantised.preprocessing.digest
    if shared.reference.input_shape == shared.quantised.input_shape and (
        not alike or theirs.tensors[target].dtype in INTEGERS
    ):
        found.append(HandOver("INPUT", source, target, True))
    layers = dict(zip(shared.quantised_tensors, shared.reference_tensors, strict=True))
    for op in theirs.ops:
        if not op.outputs:
            continue
        output = op.outputs[0]
        if output in layers:
            same_as[output] = layers[output]
            found.append(HandOver(op.name, layers[output], output, False))
        elif op.name in REPRESENTING and op.inputs[0] in same_as:
            same_as[output] = same_as[op.inputs[0]]
            if op.name == "QUANTIZE":
                found.append(HandOver(op.name, same_as[output], output, True))
    return tuple(found)


def read_by(graph: Graph, tensor: int) -> tuple[int, ...]:
    """What the operators that compute something make of a tensor, in order of execution."""
    same, found = {tensor}, []
    for op in graph.ops:
        if same & set(op.inputs) and op.outputs:
            if op.name in REPRESENTING:
                same.add(op.outputs[0])
            elif op.name not in MOVERS:
                found.append(op.outputs[0])
    return tuple(found)


def network_input(graph: Graph) -> int:
    """The tensor that holds the input of a network: the one that is no constant and that no operator makes."""
    made = {index for op in graph.ops for index in op.outputs}
    return next(
        index
        for op in graph.ops
        for index in op.inputs
        if index >= 0 and index not in made and not graph.tensors[index].constant
    )


def share_compared(shared: SharedLayers) -> float:
    """The share of the quantised network's multiply-accumulates that lie in layers it shares with the reference."""
    graph = shared.quantised.graph
    work = {op.outputs[0]: macs_of(op, graph.tensors) for op in graph.ops if op.outputs}
    return sum(work[tensor] for tensor in shared.quantised_tensors) / max(1, sum(work.values()))


def _layers(graph: Graph) -> list[tuple[tuple[str, tuple[int, ...]], int]]:
    """The inner layers in order of execution: operator and shape of one row's activations, and their tensor.

    Left out are operators that compute nothing, those whose result is not known to hold the batch, and the network's
    output.
    """
    computing = [op for op in graph.ops if op.name not in MOVERS and op.outputs]
    while computing and computing[-1].name in ENDS:
        computing.pop()
    known, rows = folds(graph), batch_of(graph)
    return [
        ((op.name, row_shape(graph.tensors[output].shape, known[output], rows)), output)
        for op, output in ((op, op.outputs[0]) for op in computing)
        if output in known
    ]


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """‖a − b‖ / (‖a‖ + ‖b‖) of the rows of two arrays (n, values), (n,) float64; 0 where both are 0."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    apart, whole = np.sqrt(((a - b) ** 2).sum(axis=1)), np.sqrt((a**2).sum(axis=1)) + np.sqrt((b**2).sum(axis=1))
    return np.divide(apart, whole, out=np.zeros(len(a)), where=whole > 0)

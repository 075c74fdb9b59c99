"""A part of a .tflite network as a network of its own: some activations go in, others come out. No TensorFlow.

A .tflite file keeps its operators in order of execution and its tensors by index. So a part is the same file with
other inputs and outputs and only the operators that lie between: every operator still runs in the same kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diverget.models.folds import by_row, folded
from diverget.models.graph import Graph
from diverget.models.runtime import KERNELS, dequantised, quantised, quiet


def needed(graph: Graph, known: Sequence[int], wanted: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The operators (by place) that make the tensors `wanted`, and those of the tensors `known` that they start from.

    Both ascend. A tensor that is known is not computed again, so what lies before it is left out.

    Raises:
        ValueError: the network's own input would be needed and is not known.
    """
    makers = {output: place for place, op in enumerate(graph.ops) for output in op.outputs}
    given, places, asked = set(), set(), list(wanted)
    while asked:
        index = asked.pop()
        if index in known:
            given.add(index)
        elif index in makers and makers[index] not in places:
            places.add(makers[index])
            asked += [i for i in graph.ops[makers[index]].inputs if i >= 0]
        elif index not in makers and not graph.tensors[index].constant:
            raise ValueError(
                f"Expected activations from which the tensors {list(wanted)} can be computed, got {sorted(known)} "
                "without the input of the network; give the input as well."
            )
    return tuple(sorted(places)), tuple(sorted(given))


def part_of(content: bytes, graph: Graph, known: Sequence[int], wanted: Sequence[int]) -> bytes:
    """The .tflite file that computes the tensors `wanted` from tensors that are `known`.

    Its inputs are those of `known` that are needed, ascending; its outputs are `wanted`, in their order.

    Raises:
        ValueError: as `needed` does, or nothing is to be computed.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    places, given = needed(graph, known, wanted)
    if not places:
        raise ValueError(
            f"Expected a tensor to compute, got {list(wanted)}, which are all known; take them as they are."
        )
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    network = model.subgraphs[0]
    network.operators = [network.operators[place] for place in places]
    network.inputs, network.outputs = (np.array(indices, dtype=np.int32) for indices in (given, wanted))
    model.signatureDefs = model.metadata = model.metadataBuffer = None
    used = {int(i) for op in network.operators for i in (*op.inputs, *op.outputs) if i >= 0}
    kept = {network.tensors[i].buffer for i in used - set(given)}
    for place, buffer in enumerate(model.buffers):
        if place not in kept:
            buffer.data = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class Part:
    """An interpreter of a file that `part_of` made, for one thread.

    `folds` are those of the whole network, and `batch` the rows in the shapes of its tensors.
    """

    def __init__(self, content: bytes, *, kernels: str, threads: int, folds: Mapping[int, int], batch: int) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.interpreter: Any = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType[KERNELS[kernels]],
            )
        self.inputs = self.interpreter.get_input_details()
        self.outputs = self.interpreter.get_output_details()
        self.folds = folds
        self.batch, self.rows = batch, 0

    def run(self, activations: Mapping[int, np.ndarray]) -> list[np.ndarray]:
        """The outputs, one array (n, values) float32 each, for `activations` (n, values) float32 by tensor's index."""
        rows = len(next(iter(activations.values())))
        with quiet():
            if rows != self.rows:
                for tensor in self.inputs:
                    self.interpreter.resize_tensor_input(tensor["index"], self._shape(tensor, rows))
                self.interpreter.allocate_tensors()
                self.rows = rows
            for tensor in self.inputs:
                index = int(tensor["index"])
                given = folded(activations[index], self.folds[index]).reshape(self._shape(tensor, rows))
                self.interpreter.set_tensor(index, quantised(given, tensor))
            self.interpreter.invoke()
        return [
            by_row(dequantised(self.interpreter.get_tensor(index), tensor), self.folds[index], rows)
            for index, tensor in ((int(tensor["index"]), tensor) for tensor in self.outputs)
        ]

    def _shape(self, tensor: Mapping[str, Any], rows: int) -> list[int]:
        """The shape of an input for so many rows; another number than the file's only where the batch comes first."""
        first, *sides = map(int, tensor["shape"])
        return [first if rows == self.batch else first // self.batch * rows, *sides]

"""Where the rows of a batch lie in the activations of a .tflite network: its fold.

Most activations have the batch as their first axis. A lowered 3-D network holds volumes as (depth · N, h, w, c), depth
outermost, and moves them through other shapes on the way. In all of them the values lie, one after another, as
(fold, N, the rest): so many blocks of all N rows. That one number tells which values belong to which row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from diverget.models.graph import Graph, Op

IN_ORDER = ("CAST", "DEQUANTIZE", "EXPAND_DIMS", "FULLY_CONNECTED", "QUANTIZE", "RESHAPE", "SQUEEZE")
"""Operators that leave the values (of a dense layer: the places along the last axis) in the order they have."""


def folds(graph: Graph) -> dict[int, int]:
    """The fold of every activation of which it is known, by its tensor's index; 1 where the batch comes first.

    It is followed from the network's input on, through the shapes that every operator takes and gives. Left out are
    constants, tensors of which no row owns a part, and, where the batch size is open, all but a fold of 1.
    """
    rows = batch_of(graph)
    found = {
        index: 1
        for op in graph.ops
        for index in op.inputs
        if index >= 0 and not graph.tensors[index].constant and graph.tensors[index].shape[:1] == (rows,)
    }
    made = {index for op in graph.ops for index in op.outputs}
    found = {index: fold for index, fold in found.items() if index not in made}
    for op in graph.ops:
        source = next((index for index in op.inputs if index in found), None)
        for output in op.outputs:
            shape = graph.tensors[output].shape
            fold = None if source is None else _after(op, graph.tensors[source].shape, found[source], shape, rows)
            if fold is None and shape[:1] == (rows,) and not _all_constant(graph, op):
                fold = 1
            if fold is not None and axis_of(shape, fold, rows) is not None and (graph.fixed or fold == 1):
                found[output] = fold
    return found


def batch_of(graph: Graph) -> int:
    """The rows of the batch in the shapes of a graph's tensors: 1 where the batch size is open."""
    return graph.rows if graph.fixed else 1


def axis_of(shape: Sequence[int], fold: int, rows: int) -> int | None:
    """The axis of a tensor that holds the batch; None where no one axis does, or an axis before it is empty."""
    before = 1
    for axis, size in enumerate(shape):
        if not before:
            return None
        blocks = fold // before
        if fold % before == 0 and size and size % (blocks * rows) == 0:
            return axis
        before *= size
    return None


def row_shape(shape: Sequence[int], fold: int, rows: int) -> tuple[int, ...]:
    """The shape of one row's part of an activation: the batch axis as long as one row makes it, or left out."""
    axis = axis_of(shape, fold, rows) or 0
    sides = [*shape[:axis], shape[axis] // rows, *shape[axis + 1 :]]
    return tuple(sides[1:] if sides[0] == 1 else sides)


def by_row(held: np.ndarray, fold: int, rows: int) -> np.ndarray:
    """The values of an activation with `rows` rows as (rows, values)."""
    return held.reshape(fold, rows, -1).swapaxes(0, 1).reshape(rows, -1)


def folded(values: np.ndarray, fold: int) -> np.ndarray:
    """What `by_row` was made of, (fold, rows, values / fold): reshaped, it is the activation."""
    rows = len(values)
    return values.reshape(rows, fold, -1).swapaxes(0, 1)


def _after(op: Op, before: Sequence[int], fold: int, shape: Sequence[int], rows: int) -> int | None:
    """The fold after an operator that was given a tensor of shape `before` with `fold`; None where it is not known."""
    if op.name in IN_ORDER:
        return fold
    axis = axis_of(before, fold, rows)
    if axis is None:
        return None
    blocks = fold // prod(before[:axis])
    behind = before[axis] // (blocks * rows)
    if op.name == "TRANSPOSE":
        if sorted(op.order) != list(range(len(before))):
            return None
        axis = op.order.index(axis)
        return prod(shape[:axis]) * blocks
    if len(shape) != len(before):
        return fold if axis == 0 and shape[:1] == tuple(before[:1]) else None
    # Padding, slices, windows and joints along the batch axis are of whole batches, so what lies behind a row stays.
    if shape[axis] % (rows * behind):
        return None
    return prod(shape[:axis]) * (shape[axis] // (rows * behind))


def _all_constant(graph: Graph, op: Op) -> bool:
    return all(graph.tensors[index].constant for index in op.inputs if index >= 0)

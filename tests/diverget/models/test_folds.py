"""Where the rows of a batch lie: told from shapes alone, and what it means for values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models.folds import axis_of, by_row, folded, folds, row_shape
from diverget.models.graph import Graph, Op, Tensor, examine

ROWS = 8


def graph(*steps: tuple[str, tuple[int, ...]] | tuple[str, tuple[int, ...], tuple[int, ...]], fixed: bool) -> Graph:
    """A line of operators, each with the shape of what it gives and, where it moves axes, their order."""
    tensors = {index: Tensor(step[1], "float32", 0.0, False) for index, step in enumerate(steps)}
    ops = tuple(
        Op(step[0], (index - 1,), (index,), step[2] if len(step) == 3 else ())
        for index, step in enumerate(steps)
        if index
    )
    return Graph("", tensors, ops, steps[0][1][1:], 3, ROWS, fixed, False, 1e-4)


VOLUME = (
    ("INPUT", (8, 9, 8, 21, 2)),
    ("RESHAPE", (576, 21, 2)),
    ("TRANSPOSE", (21, 576, 2), (1, 0, 2)),
    ("RESHAPE", (168, 9, 8, 2)),
    ("PAD", (200, 9, 8, 2)),
    ("RESHAPE", (25, 1152)),
    ("STRIDED_SLICE", (11, 1152)),
    ("RESHAPE", (88, 9, 8, 2)),
    ("CONV_2D", (88, 5, 4, 6)),
    ("RESHAPE", (1, 11, 160, 6)),
    ("MAX_POOL_2D", (1, 5, 160, 6)),
    ("RESHAPE", (5, 160, 6)),
    ("TRANSPOSE", (160, 5, 6), (1, 0, 2)),
    ("RESHAPE", (8, 5, 4, 30)),
    ("MEAN", (8, 30)),
    ("FULLY_CONNECTED", (8, 3)),
)
FOLDS = [1, 1, 21, 21, 25, 25, 11, 11, 11, 11, 5, 5, 1, 1, 1, 1]


def test_the_fold_is_followed_through_a_lowered_network() -> None:
    found = folds(graph(*VOLUME, fixed=True))
    assert [found[index] for index in range(len(VOLUME))] == FOLDS
    shapes = [row_shape(shape, fold, ROWS) for (_, shape, *_), fold in zip(VOLUME, FOLDS, strict=True)]
    assert (
        shapes[0] == (9, 8, 21, 2) and shapes[8] == (11, 5, 4, 6) and shapes[10] == (5, 20, 6) and shapes[14] == (30,)
    )


def test_what_is_not_known_is_left_out() -> None:
    lost = graph(("INPUT", (8, 6)), ("TRANSPOSE", (6, 8)), ("TANH", (6, 8)), ("PACK", (2, 6, 8)), fixed=True)
    assert folds(lost) == {0: 1}, "a TRANSPOSE of which the order is not known"
    opened = graph(("INPUT", (1, 6, 4)), ("TRANSPOSE", (6, 1, 4), (1, 0, 2)), ("TANH", (6, 1, 4)), fixed=False)
    assert folds(opened) == {0: 1}, "a time axis before a batch of open size"
    assert folds(graph(("INPUT", (1, 6, 4)), ("RESHAPE", (6, 4)), ("FULLY_CONNECTED", (6, 3)), fixed=False)) == {
        0: 1, 1: 1, 2: 1,
    }  # fmt: skip


@pytest.mark.parametrize(("shape", "fold"), [((0, 8), 1), ((0, 8, 3), 2), ((2, 0, 8), 2)])
def test_an_empty_axis_before_the_batch_has_no_fold(shape: tuple[int, ...], fold: int) -> None:
    """No value, so no row: neither asked alone nor on the way through a network."""
    assert axis_of(shape, fold, ROWS) is None
    line = graph(("INPUT", (8, 6)), ("RESHAPE", shape), ("TANH", shape), fixed=True)
    assert folds(line) == {0: 1}


@pytest.mark.parametrize(("shape", "fold"), [((8, 6), 1), ((24, 2), 3), ((16, 3), 1), ((3, 16, 2), 3), ((6, 8), 6)])
def test_values_go_to_their_rows_and_back(shape: tuple[int, ...], fold: int) -> None:
    """Value by value: block, row, and place within it count up like the digits of a number."""
    held = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    inner = held.size // fold // ROWS
    expected: list[list[float]] = [[] for _ in range(ROWS)]
    for place, value in enumerate(held.ravel().tolist()):
        expected[place // inner % ROWS].append(value)
    rows = by_row(held, fold, ROWS)
    assert rows.tolist() == expected
    np.testing.assert_array_equal(folded(rows, fold).reshape(shape), held)
    axis = axis_of(shape, fold, ROWS)
    assert axis is not None and np.prod(row_shape(shape, fold, ROWS)) == rows.shape[1]


@pytest.mark.parametrize("way", ["float32", "fixed_float32", "int8", "fixed_int8", "logits_int8"])
def test_a_network_of_two_dimensions_has_no_fold(golden: Path, way: str) -> None:
    network = examine(golden / f"{way}.tflite")
    found = folds(network)
    assert set(found.values()) == {1}
    assert {op.outputs[0] for op in network.ops if op.name not in ("SHAPE", "STRIDED_SLICE", "PACK")} <= set(found)

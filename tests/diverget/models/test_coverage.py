from __future__ import annotations

from pathlib import Path

import pytest

from diverget.models.coverage import coverage, macs_of
from diverget.models.graph import Op, Tensor

TINY_MACS = 3 * 3 * 32 * (3 * 3 * 4) + 32 * 3
"""A 3 x 3 convolution of 32 filters over 4 bands at 3 x 3 places, then 32 x 3 weights."""


@pytest.mark.parametrize(
    ("name", "kind", "share"),
    [("float32", "float32", 0.0), ("float16", "float16", 1.0), ("int8", "int8", 1.0), ("int8_io", "int8", 1.0)],
)
def test_the_tiny_network_in_every_quantisation(golden: Path, name: str, kind: str, share: float) -> None:
    found = coverage(golden / f"{name}.tflite")
    assert (found.kind, found.share, found.total_macs) == (kind, share, TINY_MACS)
    assert ("float32" in found.note) == (name == "float16")
    assert found.float_ops == ((("CONV_2D", 1, TINY_MACS - 96), ("FULLY_CONNECTED", 1, 96)) if not share else ())


def test_a_fixed_batch_is_counted_for_one_patch(golden: Path) -> None:
    assert coverage(golden / "fixed_int8.tflite").total_macs == TINY_MACS


def test_small_weights_stay_in_float_in_a_dynamic_range_file(golden: Path) -> None:
    found = coverage(golden / "dynamic_int8.tflite")
    assert (found.kind, found.float_ops) == ("dynamic int8", (("FULLY_CONNECTED", 1, 96),))
    assert found.share == 1 - 96 / TINY_MACS and "FULLY_CONNECTED" in found.note


@pytest.mark.parametrize(
    ("name", "shapes", "macs"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (16, 3, 3, 4), (1, 6, 6, 16)], 6 * 6 * 16 * 36),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 4), (1, 6, 6, 4)], 6 * 6 * 4 * 9),
        ("CONV_3D", [(1, 8, 8, 8, 2), (3, 3, 3, 2, 5), (1, 6, 6, 6, 5)], 6**3 * 5 * 54),
        ("FULLY_CONNECTED", [(1, 20), (7, 20), (1, 7)], 140),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5), (2, 3, 5)], 2 * 3 * 4 * 5),
        ("BATCH_MATMUL", [(2, 4, 3), (2, 4, 5), (2, 3, 5)], 2 * 3 * 4 * 5),
        ("SOFTMAX", [(1, 7), (1, 7)], 0),
    ],
)
def test_multiply_accumulates(name: str, shapes: list[tuple[int, ...]], macs: int) -> None:
    tensors = {index: Tensor(shape, "float32", 0.0, False) for index, shape in enumerate(shapes)}
    op = Op(name, tuple(range(len(shapes) - 1)), (len(shapes) - 1,))
    assert macs_of(op, tensors) == macs


def test_a_transposed_convolution_counts_its_input() -> None:
    shapes = [(4,), (6, 3, 3, 2), (1, 5, 5, 2), (1, 10, 10, 6)]
    tensors = {index: Tensor(shape, "float32", 0.0, False) for index, shape in enumerate(shapes)}
    assert macs_of(Op("TRANSPOSE_CONV", (0, 1, 2), (3,)), tensors) == 5 * 5 * 2 * 3 * 3 * 6


@pytest.mark.real_data
def test_the_file_called_int8_weights_is_int8_throughout(lenet: Path) -> None:
    """Its README says dynamic range; its graph has integer activations."""
    found = coverage(lenet / "int8_weights.tflite")
    assert (found.kind, found.share, found.total_macs, found.float_ops) == ("int8", 1.0, 281640, ())
    assert coverage(lenet / "float16.tflite").kind == "float16"

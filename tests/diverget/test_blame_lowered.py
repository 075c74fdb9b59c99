"""The layer to blame in lowered 3-D networks, whose activations hold the depth on the batch axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models import quantise, tflite
from diverget.models.child import run
from diverget.models.folds import by_row
from diverget.models.layers import share_compared, shared_layers
from diverget.models.preprocessing import identity
from diverget.models.tflite import TFLiteModel
from tests.diverget import planting
from tests.diverget.models import networks, volumes
from tests.diverget.planting import blamed

NETWORKS = {
    "hybridsn": ("hybridsn", [[9, 9, 15, 1], 4]),
    "ssrn": ("ssrn", [[5, 5, 30, 1], 4]),
    "cnn3d": ("zoo.cnn3d", [[5, 5, 24, 1], 4]),
    "mixed": ("mixed", []),
    "pooled": ("pooled", []),
    "strided": ("strided", []),
}
PATCHWISE = {"hybridsn": 3, "ssrn": 1, "cnn3d": 2}
"""Those whose input is a patch with one more axis, and how many faults are planted in each: a look takes seconds."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[TFLiteModel, TFLiteModel]]:
    """Networks with random weights, as float32_lowered and int8_lowered."""
    networks.require_tensorflow()
    folder = tmp_path_factory.mktemp("lowered")
    written = {str(folder / f"{name}.keras"): ["keras", *told] for name, told in NETWORKS.items()}
    run(volumes.write, {"networks": written}, **networks.SAID, timeout=600)
    found = {}
    for name in NETWORKS:
        keras = folder / f"{name}.keras"
        shape = quantise.inspect_keras(keras).input_shape
        z = np.random.default_rng(3).normal(size=(24, *shape)).astype(np.float32)
        files = [
            quantise.convert(keras, quantise.quantisation(way), calibration=z, cache=folder / "cache")
            for way in ("float32_lowered", "int8_lowered")
        ]
        prepared = identity("hwb1" if name in PATCHWISE else "hwb")
        found[name] = tuple(tflite.load(file, preprocessing=prepared, name=file.stem) for file in files)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_all_layers_are_compared(lowered: dict[str, tuple[TFLiteModel, TFLiteModel]], name: str) -> None:
    assert share_compared(shared_layers(*lowered[name])) >= 0.99


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_have_their_own_values_wherever_they_stand(
    lowered: dict[str, tuple[TFLiteModel, TFLiteModel]], name: str, side: int
) -> None:
    """The same rows in another order: every activation's rows come in that order, bit for bit."""
    model = lowered[name][side]
    count = model.graph.rows
    z = np.random.default_rng(5).normal(size=(count, *model.input_shape)).astype(np.float32)
    order = np.random.default_rng(6).permutation(count)
    session = model._session(inner=True)
    made = [op.outputs[0] for op in model.graph.ops]
    assert set(made) <= set(model.folds)
    session.run(z)
    one = {index: by_row(session.held(index), model.folds[index], count) for index in made}
    session.run(z[order])
    for index in made:
        assert np.ptp(one[index], axis=0).any(), "rows that are all alike would pass in any order"
        np.testing.assert_array_equal(by_row(session.held(index), model.folds[index], count), one[index][order])


@pytest.mark.parametrize("factor", [10.0, 0.1])
@pytest.mark.parametrize("name", PATCHWISE)
def test_a_planted_fault_is_blamed_at_its_layer(
    lowered: dict[str, tuple[TFLiteModel, TFLiteModel]], name: str, factor: float, tmp_path: Path
) -> None:
    """Of every 3-D convolution one after another the range is wrong: the layer itself is blamed, none beside it."""
    reference, quantised = lowered[name]
    x = np.random.default_rng(4).normal(size=(11, *quantised.input_shape[:-1])).astype(np.float32)
    follow_ups = (x * np.float32(0.95)).astype(np.float32)
    clean = {layer.tensor: layer for layer in blamed(reference, quantised, x, follow_ups)}
    assert sum(layer.findings.effect for layer in clean.values()) == pytest.approx(1)
    graph = quantised.graph
    volume = [
        tensor
        for operator, tensor in planting.integer_layers(quantised.content)
        if operator == "CONV_2D" and quantised.folds[tensor] > 1
    ]
    assert len(volume) >= 3
    for tensor in volume[len(volume) - PATCHWISE[name] :]:
        file = tmp_path / f"{tensor}.tflite"
        file.write_bytes(planting.wrong_range(quantised.content, tensor, factor))
        faulty = tflite.load(file, preprocessing=quantised.preprocessing, name="faulty")
        first = blamed(reference, faulty, x, follow_ups)[0]
        assert first.tensor == graph.tensors[tensor].name
        # Depth, height, width, channels; where the kernel spans the depth alone, all pixels are one axis.
        assert first.shape[0] == quantised.folds[tensor] and len(first.shape) in (3, 4)
        assert (first.findings.own_sqnr or 0) < (clean[first.tensor].findings.own_sqnr or 0) - 6

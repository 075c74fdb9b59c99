from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverget.models import preprocessing, quantise, tflite
from diverget.models.child import ModelError, run
from diverget.models.coverage import Coverage, coverage
from diverget.models.keras_file import inspect_keras
from diverget.models.layers import share_compared, shared_layers
from diverget.models.lowered_layers import _sides
from diverget.models.lowering import ROWS, obstacle
from tests.diverget.models import networks, volumes

WHOLE = [25, 25, 30, 1]
WRITTEN: dict[str, tuple[str, str, list[Any]]] = {
    "hybridsn": ("keras", "hybridsn", []),
    "hybridsn-whole": ("keras", "hybridsn", [WHOLE, 16]),
    "hybridsn-2": ("tf_keras", "hybridsn", []),
    "ssrn": ("keras", "ssrn", []),
    "ssrn-2": ("tf_keras", "ssrn", [[7, 7, 30, 1]]),
    "strided": ("keras", "strided", []),
    "mixed": ("keras", "mixed", []),
    "mixed-2": ("tf_keras", "mixed", []),
    "pooled": ("keras", "pooled", []),
    "recurrent": ("keras", "recurrent", []),
}
LOWERED = [name for name in WRITTEN if name != "recurrent"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks with random weights and statistics, as Keras files."""
    networks.require_tensorflow()
    folder = tmp_path_factory.mktemp("volumes")
    written = {str(folder / f"{name}.keras"): list(told) for name, told in WRITTEN.items()}
    run(volumes.write, {"networks": written}, **networks.SAID, timeout=600)
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> dict[str, dict[str, Any]]:
    """Every lowered function beside Keras, in float."""
    families = {str(folder / f"{name}.keras"): WRITTEN[name][0] for name in LOWERED}
    told = run(volumes.differences, {"networks": families}, **networks.SAID, timeout=600)
    return {Path(path).stem: found for path, found in told.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOWERED)
def test_the_lowered_network_gives_what_keras_gives(compared: dict[str, dict[str, Any]], name: str) -> None:
    found = compared[name]
    assert found["spread"] > 0.05, "outputs that do not depend on the input would agree anyhow"
    assert found["largest"] < 1e-5
    assert not {"Conv3D", "MaxPool3D", "AvgPool3D"} & set(found["kinds"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hybridsn", "ssrn"])
def test_all_of_it_is_int8_and_rows_do_not_see_their_batch(folder: Path, name: str, tmp_path: Path) -> None:
    network = folder / f"{name}.keras"
    shape = inspect_keras(network).input_shape
    assert shape is not None
    z = np.random.default_rng(3).normal(size=(ROWS + 5, *(side or 1 for side in shape))).astype(np.float32)
    outputs, told, models = {}, {}, {}
    for way in ("float32_lowered", "int8_lowered"):
        path = quantise.convert(network, quantise.quantisation(way), calibration=z, cache=tmp_path)
        model = tflite.load(path, preprocessing=preprocessing.identity(), name=way)
        assert (model.graph.rows, model.graph.fixed, model.input_shape) == (ROWS, True, shape)
        outputs[way], told[way], models[way] = model.infer(z), coverage(path), model
        for part in (slice(0, 1), slice(4, 7), slice(9, 13), slice(2, 12)):
            assert np.array_equal(model.infer(z[part]), outputs[way][part])
        if way == "float32_lowered":
            assert quantise.float_check(network, path, z) < 1e-5
    whole = told["int8_lowered"]
    assert whole.kind == "int8" and whole.share >= 0.99 and not whole.float_ops
    assert whole.total_macs == told["float32_lowered"].total_macs
    assert all("lowered" in found.note for found in told.values())
    assert 0 < np.abs(outputs["int8_lowered"] - outputs["float32_lowered"]).max() < 0.2
    assert share_compared(shared_layers(models["float32_lowered"], models["int8_lowered"])) >= 0.99


@pytest.mark.slow
def test_plain_int8_of_the_same_network_is_mostly_float(folder: Path, tmp_path: Path) -> None:
    z = np.random.default_rng(3).normal(size=(10, 9, 9, 15, 1)).astype(np.float32)
    path = quantise.convert(folder / "hybridsn.keras", quantise.quantisation("int8"), calibration=z, cache=tmp_path)
    found: Coverage = coverage(path)
    assert found.float_ops[0][0] == "CONV_3D" and found.share < 0.5 and "lowered" not in found.note


@pytest.mark.slow
def test_a_layer_without_a_lowered_form_is_named_before_anything_runs(folder: Path, tmp_path: Path) -> None:
    for way in ("float32_lowered", "int8_lowered"):
        with pytest.raises(ValueError, match=r"recurrent\.keras: the layer 'memory' of class LSTM.*replace it by"):
            quantise.convert(
                folder / "recurrent.keras", quantise.quantisation(way), calibration=None, cache=tmp_path, timeout=0.1
            )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["float32_lowered", "int8_lowered"])
def test_a_network_that_is_lowered_wrongly_is_refused(folder: Path, way: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", z=np.random.default_rng(3).normal(size=(3, 9, 9, 15, 1)).astype(np.float32))
    payload = {
        "keras": str(folder / "hybridsn.keras"),
        "family": "keras",
        "trust": False,
        "quantisation": way,
        "arrays": str(tmp_path / "arrays.npz"),
        "tflite": str(tmp_path / "wrong.tflite"),
    }
    with pytest.raises(ModelError, match=r"lowered form of .* computes a layer wrongly"):
        run(volumes.convert_wrongly, payload, **networks.SAID, timeout=300)
    assert not (tmp_path / "wrong.tflite").exists()


@pytest.mark.parametrize(
    ("kind", "config", "told"),
    [
        ("ConvLSTM2D", {}, "'x' of class ConvLSTM2D"),
        ("Conv3D", {"data_format": "channels_first"}, "channels first"),
        ("Conv3D", {"groups": 2}, "2 groups"),
        ("Conv3D", {"groups": 1, "data_format": "channels_last"}, None),
        ("Rescaling", {"scale": [[0.5], [2]], "offset": 0}, "preprocessing"),
        ("Rescaling", {"scale": 1, "offset": {"class_name": "__numpy__", "config": {"value": [[0.5], [2]]}}}, "'x'"),
        ("Rescaling", {"scale": [[1], [2, 3]], "offset": 0}, "one for each channel"),
        ("Rescaling", {"scale": [[[0.5, 2]]], "offset": [0, 1]}, None),
        ("Rescaling", {"scale": 1 / 255, "offset": 0}, None),
        ("Dropout", {}, None),
        ("InputLayer", {}, None),
    ],
)
def test_obstacles(kind: str, config: dict[str, Any], told: str | None) -> None:
    found = obstacle("x", kind, config)
    assert found is None if told is None else found is not None and told in found


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", range(4, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("reach", [1, 2, 4])
def test_the_windows_fit_the_padded_axis(size: int, reach: int, stride: int, padding: str) -> None:
    before, after, count = _sides(size, reach, stride, padding)
    places = range(0, size + before + after - reach + 1, stride)
    assert len(places) == count
    if padding == "valid":
        assert (before, after) == (0, 0)
    else:
        assert count == -(-size // stride) and 0 <= after - before <= 1

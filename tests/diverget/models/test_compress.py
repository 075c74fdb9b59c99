"""Compressions: what each reaches, what it refuses, and that the same call gives the same network."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from diverget.models import preprocessing, quantise, tflite
from diverget.models.child import Emit, run
from diverget.models.compress import (
    COMPRESSIONS,
    Compressed,
    compress,
    compressed_size,
    compression,
    refusal,
    refuse,
)
from diverget.models.coverage import coverage
from diverget.models.keras_file import Layer, network_digest
from diverget.models.training import Trained
from tests.diverget.models import networks
from tests.diverget.models.networks import CLASSES, SAID, patches
from tests.diverget.models.test_keras_file import dense, network, write_keras

STEPS = 40


def layers(*kinds: str) -> list[Layer]:
    return [Layer(kind.lower(), kind, {}) for kind in kinds]


def compressed(path: Path, name: str, cache: Path, *, quantisation: str = "", **settings: Any) -> Compressed:
    """The network of `path`, for patches like those it was trained on, after a short compression."""
    way = compression(name)
    x, y = settings.pop("data", None) or patches(120, seed=1)
    return compress(
        path,
        way,
        x=x,
        y=y,
        classes=CLASSES,
        validation=patches(60, seed=2) if x.shape[1:] == networks.SHAPE else None,
        settings=way.filled({"steps": STEPS, "batch": 20, "learning_rate": 1e-3, **settings}),
        quantisation=quantisation or way.quantisation,
        seed=5,
        cache=cache,
        timeout=600,
    )


def kernels(path: Path) -> list[np.ndarray]:
    """The arrays of two and more axes in a .keras file."""
    found: list[np.ndarray] = []
    with zipfile.ZipFile(path) as archive, h5py.File(BytesIO(archive.read("model.weights.h5")), "r") as file:
        file.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return [array for array in found if array.ndim >= 2]


def integer_kernels(path: Path) -> list[np.ndarray]:
    """The kernels of the convolutions and dense layers in a .tflite file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    weighty = ("CONV_2D", "FULLY_CONNECTED")
    ops = [op for op in interpreter._get_ops_details() if op["op_name"] in weighty]
    return [interpreter.get_tensor(op["inputs"][1]) for op in ops]


def accuracy(path: Path) -> float:
    """Of a .tflite file, on patches that nothing was trained on."""
    z, y = patches(200, seed=9)
    model = tflite.load(path, preprocessing=preprocessing.identity(), name="x")
    return float((model.infer(z).argmax(axis=1) == y).mean())


def converted(found: Compressed, cache: Path, way: str = "float32") -> Path:
    z, _ = patches(30, seed=3)
    return quantise.convert(found.path, quantise.quantisation(way), calibration=z, cache=cache)


def test_unknown_names_are_told_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"'squeezing'.*qat, pruning, clustering, pruned_qat, distillation"):
        compression("squeezing")


def test_networks_are_refused_by_their_layers() -> None:
    expected = {
        ("Conv3D", "Dense"): {"qat": "Conv3D 'conv3d' in float", "pruned_qat": "in float"},
        ("LSTM", "Dense"): {"qat": "integers of LSTM", "pruned_qat": "integers of LSTM"},
        ("DepthwiseConv2D",): {"pruning": "none of its layers", "clustering": "none of its layers"},
        ("Conv1D", "MaxPooling1D", "Dense"): {},
        ("Conv2D", "BatchNormalization", "ReLU", "Add", "Dense"): {},
    }
    for kinds, told in expected.items():
        for way in COMPRESSIONS:
            reason = refusal(layers(*kinds), way)
            assert (reason is None) == (way.name not in told), (kinds, way.name)
            assert told.get(way.name, "") in (reason or "")


def test_a_network_inside_is_refused_unless_a_student_of_the_zoo_replaces_both(tmp_path: Path) -> None:
    inside = network({"class_name": "Conv2D", "config": {"name": "c"}})
    inside["config"]["name"] = "backbone"
    path = write_keras(tmp_path / "n.keras", network(inside, dense()))
    for way in COMPRESSIONS:
        with pytest.raises(ValueError, match=rf"fit for '{way.name}'.*another network, 'backbone'.*layers alone"):
            refuse(path, way, way.quantisation, keeps_layers=True)
    refuse(path, compression("distillation"), "float32", keeps_layers=False)


def test_settings_that_are_left_open_are_those_of_the_compression() -> None:
    qat = compression("qat")
    assert qat.filled({"steps": None}).steps == qat.steps >= 1000
    assert qat.filled({"steps": 3, "batch": 7}).batch == 7


def test_size_under_zlib_falls_with_zeros(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 256, 4096, dtype=np.uint8)
    (tmp_path / "dense").write_bytes(values.tobytes())
    values[::2] = 0
    (tmp_path / "sparse").write_bytes(values.tobytes())
    assert compressed_size(tmp_path / "sparse") < 0.75 * compressed_size(tmp_path / "dense")


@pytest.mark.slow
def test_pruning_reaches_its_sparsity_in_every_kernel(trained: Trained, tmp_path: Path) -> None:
    found = compressed(trained.path, "pruning", tmp_path, sparsity=0.6)
    shares = [float((kernel == 0).mean()) for kernel in kernels(found.path)]
    assert len(shares) == 2 and min(shares) >= 0.59
    assert found.facts["sparsity"] == pytest.approx(0.6, abs=0.01)
    assert found.facts["val_accuracy_after"] > 0.8 < found.facts["val_accuracy_before"]
    path = converted(found, tmp_path)
    assert quantise.float_check(found.path, path, patches(20, seed=4)[0]) < 1e-5
    dense = quantise.convert(trained.path, quantise.quantisation("float32"), calibration=None, cache=tmp_path)
    assert compressed_size(path) < 0.8 * compressed_size(dense)
    assert accuracy(converted(found, tmp_path, "int8")) > 0.8
    again = compressed(trained.path, "pruning", tmp_path, sparsity=0.6)
    assert again.from_cache and not found.from_cache
    assert (again.path, again.facts) == (found.path, found.facts)


@pytest.mark.slow
def test_clustering_leaves_a_few_values_in_every_kernel(trained: Trained, tmp_path: Path) -> None:
    found = compressed(trained.path, "clustering", tmp_path, clusters=4)
    counts = [len(np.unique(kernel)) for kernel in kernels(found.path)]
    assert len(counts) == 2 and max(counts) <= 4
    assert found.facts["clusters"] == max(counts)
    assert accuracy(converted(found, tmp_path)) > 0.6


@pytest.mark.slow
def test_a_file_of_keras_2_is_compressed_and_stays_one(keras_files: Path, tmp_path: Path) -> None:
    found = compressed(keras_files / "keras2.h5", "pruning", tmp_path, sparsity=0.5)
    (kernel,) = kernels(found.path)
    assert float((kernel == 0).mean()) == 0.5
    assert converted(found, tmp_path).is_file()


@pytest.mark.slow
def test_quantisation_aware_training_gives_a_whole_int8_network(trained: Trained, tmp_path: Path) -> None:
    found = compressed(trained.path, "qat", tmp_path / "a")
    covered = coverage(found.path)
    assert (found.path.suffix, covered.share, covered.float_ops) == (".tflite", 1.0, ())
    assert accuracy(found.path) > 0.6
    assert found.facts["initial_range_share"] == pytest.approx(0.999**STEPS)
    again = compressed(trained.path, "qat", tmp_path / "b")
    assert again.path.read_bytes() == found.path.read_bytes() and again.path.name == found.path.name


@pytest.mark.slow
def test_zeros_outlive_quantisation_aware_training(trained: Trained, tmp_path: Path) -> None:
    """More steps than it takes Adam to move every weight; without the mask fewer than a tenth would stay zeros."""
    found = compressed(trained.path, "pruned_qat", tmp_path, sparsity=0.5, quantisation="int8_io")
    arrays = integer_kernels(found.path)
    assert len(arrays) == 2
    assert min(float((array == 0).mean()) for array in arrays) >= 0.49
    assert found.facts["sparsity"] == pytest.approx(0.5, abs=0.02)
    assert found.facts["steps"] == 2 * STEPS
    assert coverage(found.path).share == 1.0
    plain = compressed(trained.path, "qat", tmp_path)
    assert max(float((array == 0).mean()) for array in integer_kernels(plain.path)) < 0.2


@pytest.mark.slow
def test_a_student_is_smaller_better_than_chance_and_the_same_again(trained: Trained, tmp_path: Path) -> None:
    first = compressed(trained.path, "distillation", tmp_path / "a", width=0.5, learning_rate=1e-2)
    again = compressed(trained.path, "distillation", tmp_path / "b", width=0.5, learning_rate=1e-2)
    assert network_digest(first.path) == network_digest(again.path)
    assert first.facts["student_parameters"] < 0.6 * first.facts["parameters"]
    assert first.facts["val_accuracy_after"] > 0.6
    path = converted(first, tmp_path)
    assert accuracy(path) > 0.6
    assert converted(again, tmp_path / "c").read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match=r"student smaller than the network of \d+ parameters"):
        compressed(trained.path, "distillation", tmp_path, width=1.0)
    with pytest.raises(ValueError, match=r"inputs of shape \(5, 5, 4\), got 'spectral'"):
        compressed(trained.path, "distillation", tmp_path, student="spectral")


def in_a_layer_of_its_own(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: a network that ends in an activation, written as one that ends in a Softmax layer."""
    import keras

    model = keras.models.load_model(payload["source"])
    model.layers[-1].activation = keras.activations.linear
    keras.Sequential([*model.layers, keras.layers.Softmax()]).save(payload["target"])
    return {}


@pytest.mark.slow
def test_a_student_learns_the_same_whether_softmax_is_an_activation_or_a_layer(
    trained: Trained, tmp_path: Path
) -> None:
    target = tmp_path / "layer.keras"
    run(in_a_layer_of_its_own, {"source": str(trained.path), "target": str(target)}, **SAID, timeout=300)
    x, y = patches(120, seed=1)
    noisy = np.where(np.random.default_rng(0).random(len(y)) < 0.4, (y + 1) % CLASSES, y)
    activation, layer = (
        compressed(path, "distillation", tmp_path, data=(x, noisy), learning_rate=1e-2, alpha=0.5).facts
        for path in (trained.path, target)
    )
    assert layer["loss_before"] == pytest.approx(activation["loss_before"], rel=1e-3)
    assert layer["loss_after"] == pytest.approx(activation["loss_after"], rel=0.05)


@pytest.mark.slow
def test_spectra_train_under_integers_and_volumes_do_not(tmp_path: Path) -> None:
    networks.require_tensorflow()
    asked = [["spectral", [20, 1], CLASSES], ["hybridsn", [9, 9, 13, 1], CLASSES]]
    run(networks.build_all, {"folder": str(tmp_path), "networks": asked}, **SAID, timeout=300)
    y = np.arange(60) % CLASSES
    x = (y[:, None, None] + np.random.default_rng(0).normal(size=(60, 20, 1))).astype(np.float32)
    found = compressed(tmp_path / "spectral.keras", "pruned_qat", tmp_path, data=(x, y))
    assert coverage(found.path).share == 1.0
    assert found.facts["sparsity"] == pytest.approx(0.5, abs=0.02)
    with pytest.raises(ValueError, match=r"fit for 'qat'.*Conv3D 'conv3d.*' and 2 more in float.*int8_lowered"):
        compressed(tmp_path / "hybridsn.keras", "qat", tmp_path)
    with pytest.raises(ValueError, match=r"fit for 'int16x8' after 'pruning', got .*CONV_3D has no int16x8 kernel"):
        compressed(tmp_path / "hybridsn.keras", "pruning", tmp_path, quantisation="int16x8")


@pytest.mark.slow
def test_every_network_of_the_zoo_has_its_twin() -> None:
    networks.require_tensorflow()
    told = run(networks.twin_all, {}, **SAID, timeout=600)
    assert len(told["differences"]) >= 3
    assert max(told["differences"].values()) < 1e-5
    assert "which it cannot build" in told["unknown"]


@pytest.mark.slow
def test_inputs_that_do_not_fit_are_told(trained: Trained, tmp_path: Path) -> None:
    x, y = patches(10, seed=3)
    for data, told in (
        ((x[:, :3], y), r"\(n, 5, 5, 4\)"),
        ((x, y[:5]), "one class for each"),
        ((x, y + 1), "classes from 0 to 2"),
        ((np.full_like(x, np.nan), y), "finite"),
    ):
        with pytest.raises(ValueError, match=told):
            compressed(trained.path, "pruning", tmp_path, data=data)
    with pytest.raises(ValueError, match=r"after 'qat' one of int8, int8_io, got 'float16'"):
        compressed(trained.path, "qat", tmp_path, quantisation="float16")
    assert not list(tmp_path.iterdir())

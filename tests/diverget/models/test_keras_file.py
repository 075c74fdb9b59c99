from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from diverget.models.keras_file import check_harmless, inspect_keras, network_digest


def dense(units: int = 3, **changed: Any) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d", "units": units}} | changed


def network(*layers: dict[str, Any]) -> dict[str, Any]:
    source = {"module": "keras.layers", "class_name": "InputLayer", "config": {"batch_shape": [None, 5, 5, 4]}}
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [source, *layers]}}


def write_keras(path: Path, config: Any, *, version: str = "3.15.1") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
    return path


LAMBDA_3 = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"name": "evil", "function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}},
}


def test_families_by_the_version_that_wrote_the_file(tmp_path: Path) -> None:
    for version, family in (("3.15.1", "keras"), ("2.21.0", "tf_keras"), ("2.15.0", "tf_keras")):
        found = inspect_keras(write_keras(tmp_path / "n.keras", network(dense()), version=version))
        assert (found.family, found.input_shape, found.classes) == (family, (5, 5, 4), 3)
        check_harmless(tmp_path / "n.keras", found)


def test_an_old_h5_file_without_a_version(tmp_path: Path) -> None:
    layer = {"class_name": "Dense", "config": {"name": "d", "units": 4, "batch_input_shape": [None, 8]}}
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
    found = inspect_keras(tmp_path / "n.h5")
    assert (found.family, found.input_shape, found.classes) == ("tf_keras", (8,), 4)


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (LAMBDA_3, "Lambda layer.*evil"),
        ({"class_name": "Lambda", "config": {"name": "evil", "function": ["4wEA", None, None]}}, "evil"),
        (network(network(LAMBDA_3)), "evil"),
        (dense(config={"name": "d", "units": 3, "activation": {"class_name": "__lambda__", "config": {}}}), "d"),
        (dense(module="os", class_name="System"), "System"),
        (dense(module="keras.utils", class_name="get_file"), "get_file"),
        (dense(module="keras_evil", class_name="Dense"), "Dense"),
        (dense(module=None, class_name="Foo", registered_name="mine>Foo"), "mine>Foo"),
        ({"class_name": "mine>Foo", "config": {"name": "f"}}, "mine>Foo"),
        ({"module": "builtins", "class_name": "function", "config": "act"}, "act"),
        ({"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}}, "TFOpLambda"),
        (dense(class_name="TFSMLayer"), "TFSMLayer"),
        (dense(class_name="TorchModuleWrapper"), "TorchModuleWrapper"),
        (dense(class_name=["Dense"]), "Dense"),
    ],
)
def test_what_could_execute_is_refused(tmp_path: Path, layer: dict[str, Any], told: str) -> None:
    path = write_keras(tmp_path / "n.keras", network(layer, dense()))
    with pytest.raises(ValueError, match=told) as caught:
        check_harmless(path, inspect_keras(path))
    assert "nothing was executed" in str(caught.value) and str(path) in str(caught.value)


def test_harmless_operators_pass(tmp_path: Path) -> None:
    operator = {"class_name": "TFOpLambda", "config": {"name": "m", "function": "math.multiply"}}
    value = {"class_name": "__keras_tensor__", "config": {"shape": [None, 3]}}
    path = write_keras(tmp_path / "n.keras", network(operator, dense(inbound_nodes=[{"args": [value]}])))
    check_harmless(path, inspect_keras(path))


def test_training_settings_are_neither_loaded_nor_judged(tmp_path: Path) -> None:
    config = network(dense()) | {"compile_config": {"loss": {"class_name": "function", "config": "mine"}}}
    path = write_keras(tmp_path / "n.keras", config)
    check_harmless(path, inspect_keras(path))


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half a zip", b"\x89HDF\r\n\x1a\n half"])
def test_what_is_no_keras_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "n.keras").write_bytes(content)
    with pytest.raises(ValueError, match=str(tmp_path / "n.keras")):
        inspect_keras(tmp_path / "n.keras")


def test_what_carries_no_configuration_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["kernel"] = [1.0]
    with pytest.raises(ValueError, match="save_weights"):
        inspect_keras(tmp_path / "w.h5")
    with pytest.raises(ValueError, match="subclassed"):
        inspect_keras(write_keras(tmp_path / "n.keras", {"class_name": "Mine", "config": None}))
    with pytest.raises(FileNotFoundError, match="SavedModel"):
        inspect_keras(tmp_path)


def test_the_digest_is_of_the_network_and_not_of_the_file(tmp_path: Path) -> None:
    def write(name: str, weight: float, *, shared: int = 1, units: int = 3) -> str:
        layer = dense(units, shared_object_id=shared)
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file["layers/dense/vars/0"] = [weight, 2.0]
            file["optimizer/vars/0"] = [float(shared)]
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(zipfile.ZipInfo("config.json", (2000 + shared, 1, 1, 0, 0, 0)), json.dumps(network(layer)))
            archive.writestr("metadata.json", json.dumps({"keras_version": "3", "date_saved": shared}))
            archive.write(tmp_path / "w.h5", "model.weights.h5")
        return network_digest(tmp_path / name)

    first = write("a.keras", 1.0)
    assert write("b.keras", 1.0, shared=9) == first
    assert (tmp_path / "a.keras").read_bytes() != (tmp_path / "b.keras").read_bytes()
    assert write("c.keras", 1.5) != first
    assert write("d.keras", 1.0, units=4) != first


@pytest.mark.parametrize(
    "config",
    [
        network("Dense"),  # type: ignore[arg-type]
        {"class_name": "Sequential", "config": {"layers": "Dense"}},
        network(dense(config={"name": "d", "batch_shape": 5})),
    ],
)
def test_a_configuration_of_another_form_is_told(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"configuration of a Sequential or Functional network in .*n\.keras"):
        inspect_keras(write_keras(tmp_path / "n.keras", config))


def test_a_configuration_without_end_is_told(tmp_path: Path) -> None:
    for depth in (450, 900, 100_000):
        with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
            archive.writestr("config.json", '{"config": ' + "[" * depth + "]" * depth + "}")
            archive.writestr("metadata.json", "[]")
        with pytest.raises(ValueError, match=r"n\.keras"):
            inspect_keras(tmp_path / "n.keras")


def test_metadata_of_another_form_says_nothing_of_the_version(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "n.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(network(dense())))
        archive.writestr("metadata.json", "[1]")
    assert inspect_keras(tmp_path / "n.keras").family == "keras"


def test_weights_that_are_missing_or_damaged_are_told(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "n.keras", network(dense()))
    with pytest.raises(ValueError, match=r"weights of a Keras network in .*n\.keras"):
        network_digest(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model.weights.h5", b"not HDF5, whatever its name says")
    with pytest.raises(ValueError, match=r"weights of a Keras network in .*n\.keras"):
        network_digest(path)
    path.write_bytes(path.read_bytes().replace(b"not HDF5", b"not CRC5"))
    with pytest.raises(ValueError, match=r"weights of a Keras network in .*n\.keras.*CRC"):
        network_digest(path)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["original", "pruned"])
def test_the_lenet_files_are_keras_2(lenet: Path, name: str) -> None:
    found = inspect_keras(lenet / f"{name}.h5")
    assert (found.family, found.input_shape, found.classes) == ("tf_keras", (28, 28, 1), 10)
    check_harmless(lenet / f"{name}.h5", found)

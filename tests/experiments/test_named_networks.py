"""Files that cannot work are refused by `check`, and by `run` before data are read or anything is converted."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from experiments import named_networks
from tests.diverget.models import networks, saved_networks
from tests.diverget.models.test_keras_file import LAMBDA_3, dense, network, write_keras
from tests.experiments.small import CONFIG, diverget, write
from tests.experiments.test_bad_input import refused

FLOAT = "{path: %(golden)s/float32.tflite, name: float}"
INT8 = "{path: %(golden)s/int8.tflite, name: int8}"


def keras_file(path: Path, *layers: dict[str, Any], shape: tuple[int, ...] = (5, 5, 4)) -> Path:
    """A Keras file of such layers and no weights."""
    config = network(*layers, dense())
    config["config"]["layers"][0]["config"]["batch_shape"] = [None, *shape]
    write_keras(path, config)
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_group("layers")
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(path.with_suffix(".h5"), "model.weights.h5")
    return path


def asked(folder: Path, reference: str, version: str = "float16") -> Path:
    return write(folder, CONFIG.replace(FLOAT, "{%s, name: float}" % reference).replace(INT8, version))  # noqa: UP031


def test_a_keras_file_that_may_work_is_accepted(tmp_path: Path) -> None:
    keras_file(tmp_path / "net.keras")
    done = diverget("check", asked(tmp_path, "path: net.keras", "int8"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["check", "run"])
def test_an_untrusted_network_with_code_is_refused_and_a_trusted_one_is_not(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.data.gather", None)
    keras_file(tmp_path / "net.keras", LAMBDA_3)
    message = refused(command, asked(tmp_path, "path: net.keras"), "--out", tmp_path / "out")
    assert "got Lambda layer(s) evil" in message and "trust: true" in message
    if command == "check":
        monkeypatch.undo()
        assert diverget("check", asked(tmp_path, "path: net.keras, trust: true")).returncode == 0


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_h5_file(share: float, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(network(dense()))
        file.attrs["keras_version"] = "3.15.1"
        file.create_dataset("model_weights/d/kernel", data=[float(n) for n in range(5000)])
    content = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "net.h5").write_bytes(content[: int(share * len(content))])
    message = refused("check", asked(tmp_path, "path: net.h5"))
    assert "net.h5" in message and "copy it whole" in message


def test_a_preprocessing_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "prepared.yaml").write_text("layout: hwb\n")
    text = CONFIG.replace("name: float}", "name: float, preprocessing: prepared.yaml}")
    message = refused("check", write(tmp_path, text))
    assert "Expected JSON in the preprocessing file" in message and "prepared.yaml" in message


@pytest.mark.parametrize("shape", [(5, 5, 30), (5, 5, 30, 1), (None, None, 30)])
def test_a_network_of_components_without_preprocessing(shape: tuple[int, ...], tmp_path: Path) -> None:
    keras_file(tmp_path / "net.keras", shape=shape)
    message = refused("check", asked(tmp_path, "path: net.keras"))
    assert "for the model 'float', got (5, 5, 4) from patches of shape (5, 5, 4)" in message
    message = refused("run", asked(tmp_path, "path: net.keras"), "--out", tmp_path / "out")
    assert "for the model 'float', got (5, 5, 4)" in message


def test_sides_that_the_file_leaves_open_fit_any_patch(tmp_path: Path) -> None:
    keras_file(tmp_path / "net.keras", shape=(None, None, 4))  # type: ignore[arg-type]
    assert diverget("check", asked(tmp_path, "path: net.keras")).returncode == 0


def test_a_tflite_file_of_other_patches_beside_a_keras_file(tmp_path: Path) -> None:
    keras_file(tmp_path / "net.keras", shape=(7, 7, 4))
    text = CONFIG.replace(FLOAT, "{path: net.keras, name: float}").replace("patch: 5", "patch: 7")
    message = refused("check", write(tmp_path, text))
    assert "Expected inputs of shape (5, 5, 4) for the model 'int8'" in message


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("int16x8", "CONV_3D has no int16x8 kernel"),
        ("qat", "TFLite leaves Conv3D 'deep' in float"),
        ("pruning+int16x8", "Expected a network fit for 'int16x8' after 'pruning'"),
    ],
)
def test_a_quantisation_that_the_layers_rule_out(version: str, told: str, tmp_path: Path) -> None:
    volume = {"class_name": "Conv3D", "module": "keras.layers", "config": {"name": "deep", "filters": 4}}
    keras_file(tmp_path / "net.keras", volume)
    assert told in refused("check", asked(tmp_path, "path: net.keras", version))


def test_what_a_saved_model_cannot_take_is_told_without_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(named_networks, "find_spec", lambda name: None)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"program")
    message = refused("check", asked(tmp_path, "path: saved", "int8_lowered"))
    assert "a SavedModel tells no layers that could be lowered: give the Keras file" in message
    message = refused("check", asked(tmp_path, "path: saved", "pruning"))
    assert "Expected a Keras file" in message and "to compress by 'pruning'" in message
    assert diverget("check", asked(tmp_path, "path: saved")).returncode == 0


@pytest.mark.slow
def test_a_saved_model_that_reaches_out_or_takes_other_patches(tmp_path: Path) -> None:
    networks.require_tensorflow()
    payload = {"folder": str(tmp_path), "marker": str(tmp_path / "marker")}
    named_networks.quantise.run(saved_networks.make, payload, **networks.SAID, timeout=600)
    assert "nothing was loaded" in refused("check", asked(tmp_path, "path: python"))
    config = asked(tmp_path, "path: plain")
    assert diverget("check", config).returncode == 0
    config.write_text(config.read_text().replace("patch: 5", "patch: 7"))
    assert "Expected inputs of shape (5, 5, 4)" in refused("check", config)

"""Pairs of any two formats: .tflite, .onnx, Keras and SavedModel, from the config to the replay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from diverget.models import deployed
from diverget.models.child import run
from diverget.models.coverage import Coverage
from experiments import pairs
from experiments.config import load
from experiments.config.identity import content_digest
from experiments.config.parts import QuantisedConfig, ReferenceConfig
from experiments.record.contents import CONTENTS, check
from tests.diverget.models import networks, saved_networks
from tests.experiments.small import CONFIG, diverget, run_directory, scene_arrays, write
from tests.experiments.test_pairs import prepared

FLOAT = "{path: %(golden)s/float32.tflite, name: float}"
INT8 = "{path: %(golden)s/int8.tflite, name: int8}"
LAYOUTS = {"first": '{"layout": "bhw"}', "last": '{"layout": "hwb"}'}


def nearest_centre(path: Path, *, sharpness: float = 0.6, step: float | None = None) -> Path:
    """An .onnx network, channels first, that gives the class whose spectrum is nearest to the weighted mean of a
    patch; the centre pixel counts most. With a step the kernels are rounded to multiples of it."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    centres = np.random.default_rng(0).normal(size=(networks.CLASSES, 1, 1, networks.SHAPE[2]))[:, 0, 0]
    row, col = np.mgrid[-2:3, -2:3]
    share = np.exp(-(row**2 + col**2) / 2)
    share /= share.sum()
    constants = {
        "kernel": (2 * sharpness * centres[:, :, None, None] * share).astype(np.float32),
        "bias": (-sharpness * (centres**2).sum(axis=1)).astype(np.float32),
    }
    if step is not None:
        constants["kernel"] = (np.rint(constants["kernel"] / step) * step).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "kernel", "bias"], ["c"]),
        onnx.helper.make_node("Flatten", ["c"], ["f"]),
        onnx.helper.make_node("Softmax", ["f"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["N", networks.SHAPE[2], 5, 5]), ("y", ["N", networks.CLASSES]))
    ]
    weights = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = onnx.helper.make_graph(nodes, "nearest", ends[:1], ends[1:], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def layouts(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in LAYOUTS.items():
        (folder / f"{name}.json").write_text(text)


def test_onnx_against_tflite_from_the_config_to_the_replay(tmp_path: Path) -> None:
    layouts(tmp_path)
    nearest_centre(tmp_path / "net.onnx")
    text = CONFIG.replace(FLOAT, "{path: net.onnx, name: float, preprocessing: first.json}")
    text = text.replace("name: int8}", "name: int8, preprocessing: last.json}").replace("budget: 9600", "budget: 2400")
    text = text.replace("{draws: 2}", "{draws: 1, doses: []}")
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "onnxruntime" not in done.stderr
    found = run_directory(tmp_path / "out")
    assert {path.name for path in (found / "models").iterdir()} == {
        *("float.onnx", "float.json", "float.int8.tflite", "float.int8.json")
    }
    card = json.loads((found / "card.json").read_text())
    assert card["control"]["passed"]
    runtimes = card["pairs"][0]["runtimes"]
    assert runtimes["reference"].startswith("onnxruntime ") and runtimes["quantised"].startswith("LiteRT ")
    assert " and onnxruntime " in json.loads((found / "manifest.json").read_text())["runtime"]["interpreter"]
    assert runtimes["reference"] in (found / "report.html").read_text()
    assert card["pairs"][0]["findings"]["count"] > 0
    again = diverget("replay", found, "--all")
    assert again.returncode == 0 and "bit for bit" in again.stdout and "NOT" not in again.stdout, again.stdout
    (found / "models" / "float.onnx").write_bytes(b"damaged")
    refused = diverget("replay", found, "--all")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


def test_onnx_against_onnx_is_attributed(tmp_path: Path) -> None:
    """Both sides in onnxruntime: each is asked operator by operator and with two threads."""
    layouts(tmp_path)
    nearest_centre(tmp_path / "net.onnx")
    nearest_centre(tmp_path / "coarse.onnx", step=0.05)
    text = CONFIG.replace(FLOAT, "{path: net.onnx, name: float, preprocessing: first.json}")
    text = text.replace(INT8, "{path: coarse.onnx, name: coarse, preprocessing: first.json}")
    text = text.replace("budget: 9600", "budget: 2400").replace("{draws: 2}", "{draws: 1, doses: []}")
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    found = run_directory(tmp_path / "out")
    findings = [row for row in pq.read_table(found / "findings.parquet").to_pylist() if row["confirmed"]]
    told = pq.read_table(found / "attribution.parquet").to_pylist()
    assert findings and [(row["side"], row["varied"], row["setting"]) for row in told] == len(findings) * [
        (side, varied, setting)
        for side in ("quantised", "reference")
        for varied, setting in (("kernels", "unfused"), ("threads", "2 threads"))
    ]
    assert all(row["outcome"] is not None and row["speaks"] for row in told)
    clean = pq.read_table(found / "kernels.parquet").to_pylist()
    assert [(row["side"], row["kernels"], row["own"]) for row in clean] == [
        (side, kernels, kernels == "cpu") for side in ("quantised", "reference") for kernels in ("cpu", "unfused")
    ]
    assert "quantisation flip" in (found / "report.html").read_text()

    exported = diverget("export", found, "--out", tmp_path / "kit")
    assert exported.returncode == 0, exported.stderr
    manifest = json.loads((tmp_path / "kit" / "manifest.json").read_text())
    assert {told["file"] for told in manifest["models"].values()} == {"models/float.onnx", "models/float.coarse.onnx"}
    assert manifest["models"]["float"]["input"] == {
        "dtype": "float32", "shape": [1, networks.SHAPE[2], 5, 5], "scale": 0, "zero_point": 0,
    }  # fmt: skip
    assert len(manifest["cases"]) == 4 * len(findings)
    script = [sys.executable, "-I", str(tmp_path / "kit" / "replay.py")]
    replayed = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert f"{4 * len(findings)} of {4 * len(findings)} pass." in replayed.stdout
    case = next(case for case in manifest["cases"] if case["when"] == "follow_up")
    with np.load(found / "findings" / f"{case['finding']:04d}.npz") as arrays:
        given = np.load(tmp_path / "kit" / case["input"]["npy"])
        np.testing.assert_array_equal(given[0], arrays["follow_up"].transpose(2, 0, 1))


def test_tflite_against_onnx_has_its_coverage(tmp_path: Path) -> None:
    layouts(tmp_path)
    nearest_centre(tmp_path / "net.onnx")
    text = CONFIG.replace(INT8, "{path: net.onnx, name: other, preprocessing: first.json}")
    _, store, subjects = prepared(tmp_path, text)
    facts = json.loads(store.path("models.json").read_text())["pairs"][0]["quantised_model"]
    assert facts["file"] == "models/float.other.onnx" and facts["coverage"]["kind"] == "float32"
    assert facts["coverage"]["total_macs"] == 5 * 5 * 4 * 3
    stored = pairs.load_pair(store, "float/other")
    x = np.random.default_rng(1).normal(size=(6, *networks.SHAPE)).astype(np.float32)
    assert stored[1].predict_proba(x).tobytes() == subjects.pairs[0].quantised.predict_proba(x).tobytes()


def test_an_unknown_coverage_is_kept_and_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployed, "coverage", lambda model: None)
    _, store, _ = prepared(tmp_path)
    (pair, _) = json.loads(store.path("models.json").read_text())["pairs"]
    assert pair["quantised_model"]["coverage"] is None
    check(pair["quantised_model"], CONTENTS["models.json"]["pairs"][0]["quantised_model"], file=tmp_path)
    half = {**pair["quantised_model"], "coverage": {"share": 0.5}}
    with pytest.raises(ValueError, match=r"key coverage\.kind"):
        check(half, CONTENTS["models.json"]["pairs"][0]["quantised_model"], file=tmp_path)
    assert Coverage.__name__ == "Coverage"


@pytest.mark.slow
def test_keras_against_onnx(tmp_path: Path) -> None:
    networks.require_tensorflow()
    trained = networks.train_tiny(tmp_path / "training")
    layouts(tmp_path / "run")
    nearest_centre(tmp_path / "run" / "net.onnx")
    text = CONFIG.replace("%(golden)s/float32.tflite", str(trained.path))
    text = text.replace(INT8, "{path: net.onnx, name: other, preprocessing: first.json}")
    _, store, subjects = prepared(tmp_path / "run", text)
    (pair, _) = json.loads(store.path("models.json").read_text())["pairs"]
    assert pair["reference_model"]["file"].endswith(".tflite") and pair["quantised_model"]["file"].endswith(".onnx")
    assert 0 <= pair["reference_model"]["float_check"] <= 1e-5
    arrays = scene_arrays()
    assert subjects.pairs[0].reference.classes == subjects.pairs[0].quantised.classes == arrays["gt"].max()


@pytest.mark.slow
def test_a_saved_model_is_converted_and_quantised(tmp_path: Path) -> None:
    networks.require_tensorflow()
    (tmp_path / "saved").mkdir()
    payload = {"folder": str(tmp_path / "saved"), "marker": str(tmp_path / "marker")}
    run(saved_networks.make, payload, **networks.SAID, timeout=600)
    text = CONFIG.replace("%(golden)s/float32.tflite", str(tmp_path / "saved" / "plain")).replace(INT8, "int8")
    _, store, _ = prepared(tmp_path / "run", text)
    (pair, _) = json.loads(store.path("models.json").read_text())["pairs"]
    assert 0 <= pair["reference_model"]["float_check"] <= 1e-5
    assert pair["quantised_model"]["coverage"]["kind"] == "int8"
    hostile = text.replace("saved/plain", "saved/python")
    with pytest.raises(ValueError, match=r"EagerPyFunc.*nothing was loaded"):
        prepared(tmp_path / "hostile", hostile)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("kind", [ReferenceConfig, QuantisedConfig])
def test_paths_that_can_be_no_network_are_told_with_the_config(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"network file \(\.keras.*\.onnx\) or a SavedModel directory, got 'net\.pt'"):
        kind(path="net.pt")
    with pytest.raises(ValueError, match=r"SavedModel directory \(with saved_model\.pb\)"):
        kind(path=tmp_path)
    with pytest.raises(ValueError, match=r"expected no `kernels` and `threads` beside net\.onnx"):
        kind(path="net.onnx", kernels="builtin")
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert kind(path=tmp_path, name="saved").label == "saved"
    assert kind(path="net.onnx").label == "net"


def test_an_onnx_reference_cannot_be_quantised(tmp_path: Path) -> None:
    text = CONFIG.replace("%(golden)s/float32.tflite", "net.onnx").replace(INT8, "int8")
    with pytest.raises(ValueError, match=r"a \.onnx cannot be quantised; give its Keras file or SavedModel"):
        load(write(tmp_path, text))


def test_the_identity_of_a_config_is_that_of_all_files_of_a_network(tmp_path: Path) -> None:
    directory = tmp_path / "saved"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"program")
    (directory / "variables" / "variables.index").write_bytes(b"1")
    network = tmp_path / "net.onnx"
    network.write_bytes(b"...location net.weights ...")
    (tmp_path / "net.weights").write_bytes(b"1")
    (tmp_path / "other.txt").write_bytes(b"1")
    before = content_digest(directory), content_digest(network)
    (tmp_path / "other.txt").write_bytes(b"2")
    assert before == (content_digest(directory), content_digest(network))
    (directory / "variables" / "variables.index").write_bytes(b"2")
    (tmp_path / "net.weights").write_bytes(b"2")
    after = content_digest(directory), content_digest(network)
    assert before[0] != after[0] and before[1] != after[1]

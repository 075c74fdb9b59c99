from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models import quantise, saved_model, tflite
from diverget.models.child import run
from diverget.models.preprocessing import identity
from tests.diverget.models import networks, saved_networks
from tests.diverget.models.saved_networks import CLASSES, SHAPE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    networks.require_tensorflow()
    made = tmp_path_factory.mktemp("saved")
    payload = {"folder": str(made), "marker": str(made / "marker")}
    run(saved_networks.make, payload, **networks.SAID, timeout=300)
    return made


def inputs(count: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((count, *SHAPE)).astype(np.float32)


def test_the_plain_one_is_told_without_loading_and_converted(folder: Path, tmp_path: Path) -> None:
    found = saved_model.inspect_saved_model(folder / "plain", trust=False)
    assert (found.family, found.input_shape) == ("saved_model", SHAPE)
    z = inputs(70)
    files = {
        name: quantise.convert(folder / "plain", quantise.quantisation(name), calibration=z, cache=tmp_path)
        for name in ("float32", "int8")
    }
    assert quantise.float_check(folder / "plain", files["float32"], z) < 1e-5
    same = quantise.convert(
        folder / "network.keras", quantise.quantisation("float32"), calibration=None, cache=tmp_path
    )
    outputs = {
        name: tflite.load(file, preprocessing=identity(), name=name).infer(z)
        for name, file in (*files.items(), ("keras", same))
    }
    np.testing.assert_allclose(outputs["float32"], outputs["keras"], atol=1e-6)
    assert outputs["int8"].shape == (70, CLASSES)
    assert 0 < np.abs(outputs["int8"] - outputs["float32"]).max() < 0.05
    with pytest.raises(ValueError, match="tells no layers that could be lowered"):
        quantise.convert(folder / "plain", quantise.quantisation("int8_lowered"), calibration=z, cache=tmp_path)


@pytest.mark.parametrize(
    ("name", "operator"), [("readfile", "ReadFile"), ("python", "EagerPyFunc"), ("writefile", "WriteFile")]
)
def test_one_that_reaches_out_is_refused_and_nothing_runs(
    folder: Path, name: str, operator: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rf"got the operator\(s\) .*{operator}.*nothing was loaded.*trust: true"):
        quantise.convert(folder / name, quantise.quantisation("float32"), calibration=None, cache=tmp_path)
    assert not (folder / "marker").exists()
    saved_model.inspect_saved_model(folder / name, trust=True)
    assert not (folder / "marker").exists()


def test_saving_and_restoring_is_for_their_own_functions_alone(folder: Path, tmp_path: Path) -> None:
    """A signature that calls the function which saves the variables would write where it is told to."""
    told = run(call_saver, {"source": str(folder / "plain"), "target": str(tmp_path)}, **networks.SAID, timeout=300)
    assert told["functions"] == 2
    with pytest.raises(ValueError, match="SaveV2"):
        saved_model.inspect_saved_model(tmp_path, trust=False)


def call_saver(payload: dict[str, str], emit: object) -> dict[str, int]:
    """Job: the SavedModel of `source` with the saving function called once more, into `target`."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((Path(payload["source"]) / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    saver = saved.meta_graphs[0].saver_def.save_tensor_name.partition(":")[0]
    (node,) = (node for node in graph.node if node.name == saver)
    graph.node.add().CopyFrom(node)
    graph.node[-1].name = "again"
    (Path(payload["target"]) / "saved_model.pb").write_bytes(saved.SerializeToString())
    called = node.attr["f"].func.name
    return {"functions": sum(n.attr["f"].func.name == called for n in graph.node if "f" in n.attr)}


def test_one_without_a_signature_or_damaged_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="signature 'serving_default' with one input and one output"):
        saved_model.inspect_saved_model(folder / "none", trust=False)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff\xff no program")
    with pytest.raises(ValueError, match=r"Expected a SavedModel in .*cannot be read"):
        saved_model.inspect_saved_model(tmp_path, trust=False)


def test_the_digest_is_of_names_and_content(folder: Path, tmp_path: Path) -> None:
    digests = {name: saved_model.directory_digest(folder / name) for name in ("plain", "readfile")}
    assert len(set(digests.values())) == 2
    (tmp_path / "a").write_bytes(b"1")
    before = saved_model.directory_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert saved_model.directory_digest(tmp_path) != before

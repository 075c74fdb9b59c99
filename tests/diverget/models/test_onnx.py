from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper

from diverget.models import onnx, onnx_session, preprocessing
from diverget.models.child import ModelError
from diverget.models.tflite import softmax
from tests.diverget.models import onnx_networks as networks
from tests.diverget.models.onnx_networks import BANDS, CLASSES, FILTERS, HIDDEN_SCALE, INPUT_SCALE, OUTPUT_SCALE, SIDE

MACS = SIDE**2 * FILTERS * BANDS * 9 + FILTERS * CLASSES


def opened(path: Path) -> onnx.OnnxModel:
    return onnx.load(path, preprocessing=preprocessing.identity("bhw"), name=path.stem)


def plain_scores(x: np.ndarray) -> np.ndarray:
    """The scores of the float network in float64, by its definition."""
    w = networks.weights()
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    hidden = np.maximum(np.einsum("nhwbij,fbij->nhwf", windows, w["kernel"]), 0).mean(axis=(1, 2))
    return hidden @ w["matrix"]


MAKERS = {
    "float": networks.float_network,
    "logits": lambda path: networks.float_network(path, softmax=False),
    "fixed": lambda path: networks.float_network(path, batch=3),
    "qdq": networks.qdq_network,
    "integer_ends": lambda path: networks.qdq_network(path, integer_ends=True),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_row_has_the_same_bits_alone_in_any_batch_any_thread_any_session(name: str, tmp_path: Path) -> None:
    model = opened(MAKERS[name](tmp_path / f"{name}.onnx"))
    x = networks.patches(43)
    whole = model.predict_proba(x)
    assert whole.shape == (43, CLASSES) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([model.predict_proba(row[None]) for row in x])
    fresh = model.fresh()
    assert fresh.digest == model.digest and fresh._session() is not model._session()
    with ThreadPoolExecutor(2) as pool:
        threaded = np.concatenate(list(pool.map(lambda i: model.predict_proba(x[i : i + 5]), range(0, 43, 5))))
    assert whole.tobytes() == alone.tobytes() == threaded.tobytes()
    assert fresh.predict_proba(x[:5]).tobytes() == whole[:5].tobytes()
    assert model.predict_proba(x[:0]).shape == (0, CLASSES)


def test_the_float_network_computes_what_its_definition_says(tmp_path: Path) -> None:
    x = networks.patches(20, seed=2)
    expected = softmax(plain_scores(x))
    for name in ("float", "logits", "fixed"):
        model = opened(MAKERS[name](tmp_path / f"{name}.onnx"))
        np.testing.assert_allclose(model.predict_proba(x), expected, atol=1e-6)
        assert model.logits == (name == "logits") and model.output_step == 1e-4
        assert model.input_shape == (BANDS, SIDE, SIDE)
        assert model.graph.fixed == (name == "fixed")
    assert opened(tmp_path / "fixed.onnx").graph.rows == 3


def test_quantised_ends_say_the_same_as_float_ones(tmp_path: Path) -> None:
    x = networks.patches(50, seed=3)
    outside, inside = (opened(MAKERS[name](tmp_path / f"{name}.onnx")) for name in ("qdq", "integer_ends"))
    assert (inside.graph.source.dtype, inside.graph.target.dtype) == ("int8", "int8")
    assert (inside.graph.source.scale, inside.graph.source.zero_point) == (pytest.approx(INPUT_SCALE), 0)
    assert inside.predict_proba(x).tobytes() == outside.predict_proba(x).tobytes()
    reference = opened(networks.float_network(tmp_path / "float.onnx")).predict_proba(x)
    assert 0 < np.abs(outside.predict_proba(x) - reference).max() < 0.2


@pytest.mark.parametrize("name", ["float", "qdq", "fixed"])
def test_a_network_is_run_operator_by_operator_and_with_more_threads(name: str, tmp_path: Path) -> None:
    """Without fusion the integers of the file are dequantised, computed in float and quantised again."""
    model, x = opened(MAKERS[name](tmp_path / f"{name}.onnx")), networks.patches(50, seed=3)
    whole = model.predict_proba(x)
    for kernels, threads in (("unfused", 1), ("cpu", 2)):
        other = model.under(kernels=kernels, threads=threads)
        assert (other.kernels, other.threads, other.digest) == (kernels, threads, model.digest)
        options = other._session().session.get_session_options()
        assert options.intra_op_num_threads == threads
        assert ("DISABLE_ALL" in str(options.graph_optimization_level)) == (kernels == "unfused")
        assert np.abs(other.predict_proba(x) - whole).max() < 2 * model.output_step
        again = other.under(kernels="cpu", threads=1)
        assert again.predict_proba(x).tobytes() == whole.tobytes()


def test_output_step_is_that_of_the_last_quantisation(tmp_path: Path) -> None:
    """Two logits one quantum s apart make probabilities tanh(s / 2) apart at the most."""
    for name in ("qdq", "integer_ends"):
        model = opened(MAKERS[name](tmp_path / f"{name}.onnx"))
        assert model.logits and model.output_step == pytest.approx(np.tanh(OUTPUT_SCALE / 2), rel=1e-6)
    nodes = [
        *networks.float_nodes(),
        helper.make_node("QuantizeLinear", ["y", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
    ]
    nodes[-3].output[0] = nodes[-2].input[0] = "p"
    nodes[-1].output[0] = "y"
    constants = networks.weights() | {"s": np.asarray(1 / 256, np.float32), "z": np.asarray(0, np.uint8)}
    model = opened(networks.written(tmp_path / "probabilities.onnx", nodes, constants))
    assert not model.logits and model.output_step == 1 / 256
    half = [
        *networks.float_nodes(),
        helper.make_node("Cast", ["y"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
    ]
    half[-3].output[0] = half[-2].input[0] = "p"
    assert opened(networks.written(tmp_path / "half.onnx", half, networks.weights())).output_step == 2.0**-11


def test_coverage_counts_multiply_accumulates_by_their_types(tmp_path: Path) -> None:
    plain = opened(networks.float_network(tmp_path / "float.onnx", batch=2)).graph.coverage
    assert plain is not None and (plain.kind, plain.share, plain.total_macs) == ("float32", 0.0, MACS)
    assert plain.float_ops == (("Conv", 1, MACS - FILTERS * CLASSES), ("Gemm", 1, FILTERS * CLASSES))
    for name in ("qdq", "integer_ends"):
        found = opened(MAKERS[name](tmp_path / f"{name}.onnx")).graph.coverage
        assert found is not None and (found.kind, found.share, found.total_macs) == ("int8", 1.0, MACS)
        assert found.float_ops == () and "fuses" in found.note
    left = networks.float_nodes()
    left.insert(0, helper.make_node("DequantizeLinear", ["kernel_int8", "scale"], ["kernel"]))
    constants = {
        "kernel_int8": np.ones((FILTERS, BANDS, 3, 3), np.int8),
        "scale": np.asarray(0.1, np.float32),
        "matrix": networks.weights()["matrix"],
    }
    stored = opened(networks.written(tmp_path / "stored.onnx", left, constants)).graph.coverage
    assert stored is not None and (stored.kind, stored.share) == ("weight-only int8", 0.0)


def test_coverage_is_unknown_where_an_operator_does_not_tell(tmp_path: Path) -> None:
    nodes = networks.float_nodes()
    nodes[4] = helper.make_node("Einsum", ["flat", "matrix"], ["scores"], equation="nf,fk->nk")
    assert opened(networks.written(tmp_path / "einsum.onnx", nodes, networks.weights())).graph.coverage is None


def test_functions_of_the_file_are_no_foreign_operators(tmp_path: Path) -> None:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    own = helper.make_function("mine", "Rectified", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    nodes = networks.float_nodes()
    nodes[1] = helper.make_node("Rectified", ["conv"], ["relu"], domain="mine")
    path = networks.written(tmp_path / "own.onnx", nodes, networks.weights(), domains=["mine"], functions=[own])
    model, plain = opened(path), opened(networks.float_network(tmp_path / "plain.onnx"))
    x = networks.patches(9)
    assert model.predict_proba(x).tobytes() == plain.predict_proba(x).tobytes()
    assert model.graph.coverage == plain.graph.coverage


def test_weights_beside_the_network_are_read_into_it(tmp_path: Path) -> None:
    whole = opened(networks.float_network(tmp_path / "whole.onnx"))
    path = networks.external_network(tmp_path / "split.onnx", "kernel.bin")
    (tmp_path / "kernel.bin").write_bytes(networks.weights()["kernel"].tobytes())
    model = opened(path)
    x = networks.patches(9)
    assert model.predict_proba(x).tobytes() == whole.predict_proba(x).tobytes()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "copy.onnx").write_bytes(model.content)
    assert opened(tmp_path / "elsewhere" / "copy.onnx").digest == model.digest
    (tmp_path / "kernel.bin").write_bytes((networks.weights()["kernel"] * 2).tobytes())
    assert opened(path).digest != model.digest


@pytest.mark.parametrize(
    "location", ["../secret.bin", "{absolute}", "link.bin", "missing.bin", "", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_from_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(networks.weights()["kernel"].tobytes())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(secret)
    path = networks.external_network(folder / "hostile.onnx", location.format(absolute=secret))
    with pytest.raises(ModelError, match=r"Expected the weights of .*hostile\.onnx"):
        opened(path)


def test_operators_of_a_library_are_refused(tmp_path: Path) -> None:
    nodes = networks.float_nodes()
    nodes[1] = helper.make_node("Trick", ["conv"], ["relu"], domain="evil.corp")
    path = networks.written(tmp_path / "custom.onnx", nodes, networks.weights(), domains=["evil.corp"])
    with pytest.raises(ModelError, match=r"evil\.corp:Trick in .*nothing was loaded"):
        opened(path)


def test_outputs_that_change_from_call_to_call_are_refused(tmp_path: Path) -> None:
    nodes = networks.float_nodes()
    nodes[1] = helper.make_node("RandomNormalLike", ["conv"], ["relu"])
    with pytest.raises(ModelError, match="from call to call"):
        opened(networks.written(tmp_path / "random.onnx", nodes, networks.weights()))


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = networks.float_network(tmp_path / "whole.onnx").read_bytes()
    rng = np.random.default_rng(0)
    cases = {"empty": b"", "text": b"no network", "half": whole[: len(whole) // 2], "noise": rng.bytes(5000)}
    for name, content in cases.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"Expected an \.onnx file .*{name}\.onnx") as told:
            opened(path)
        assert "Traceback" not in str(told.value) and len(str(told.value)) < 700
    with pytest.raises(FileNotFoundError, match=r"Expected an \.onnx file"):
        opened(tmp_path / "absent.onnx")


def test_a_network_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = networks.written(tmp_path / "open.onnx", networks.float_nodes(), networks.weights(), shape=(BANDS, "H", "W"))
    with pytest.raises(ModelError, match="fixed shape behind a batch axis"):
        opened(path)
    bare = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "m"], ["y"])]
    one = networks.written(tmp_path / "one.onnx", bare, {"m": np.ones((BANDS * SIDE**2, 1), np.float32)})
    with pytest.raises(ModelError, match="at least 2 class scores"):
        opened(one)
    unscaled = [helper.make_node("MatMulInteger", ["f", "m"], ["i"]), helper.make_node("Cast", ["i"], ["y"], to=1)]
    unscaled.insert(0, helper.make_node("Flatten", ["x"], ["f"]))
    path = networks.written(
        tmp_path / "unscaled.onnx",
        unscaled,
        {"m": np.ones((BANDS * SIDE**2, CLASSES), np.int8)},
        types=(TensorProto.INT8, TensorProto.FLOAT),
    )
    with pytest.raises(ModelError, match="integer input with its scale"):
        opened(path)
    model = opened(networks.float_network(tmp_path / "float.onnx"))
    with pytest.raises(ValueError, match="Expected prepared inputs"):
        model.infer(np.zeros((2, SIDE, SIDE, BANDS), np.float32))


def test_without_onnxruntime_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = networks.float_network(tmp_path / "float.onnx")
    monkeypatch.setattr(onnx_session, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install \"diverget\[onnx\]\""):
        opened(path)


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys; import diverget.models.onnx; "
        "heavy = {'onnx', 'onnxruntime', 'google.protobuf', 'tensorflow'} & set(sys.modules); "
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scales_are_those_of_the_file() -> None:
    assert HIDDEN_SCALE * 127 > 1  # The hidden activations are not clipped away.

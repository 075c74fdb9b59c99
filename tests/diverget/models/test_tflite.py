from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from diverget.models import graph, preprocessing, tflite
from diverget.models.model import check_input, check_pair, predict_pair
from diverget.models.runtime import KERNELS, Session, dequantised, quantised, quiet
from tests.diverget.models.networks import CLASSES, SHAPE, patches, scaling

ROOT = Path(__file__).resolve().parents[3]
WHOLE = ("float32", "float16", "dynamic_int8", "int8", "int8_io")
FILES = (*WHOLE, "logits_float32", "logits_int8", "fixed_float32", "fixed_int8")


def opened(path: Path, **settings: object) -> tflite.TFLiteModel:
    return tflite.load(path, preprocessing=preprocessing.identity(), name=path.stem, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", FILES)
def test_a_row_has_the_same_bits_alone_in_any_batch_any_thread_any_interpreter(
    golden: Path, name: str, kernels: str
) -> None:
    model = opened(golden / f"{name}.tflite", kernels=kernels)
    x, _ = patches(43, seed=9)
    whole = model.predict_proba(x)
    assert whole.shape == (43, model.classes) and whole.dtype == np.float32
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=model.classes * model.output_step)
    alone = np.concatenate([model.predict_proba(row[None]) for row in x])
    fresh = opened(golden / f"{name}.tflite", kernels=kernels).predict_proba(x[:5])
    with ThreadPoolExecutor(2) as pool:
        threaded = np.concatenate(list(pool.map(lambda i: model.predict_proba(x[i : i + 5]), range(0, 43, 5))))
    assert whole.tobytes() == alone.tobytes() == threaded.tobytes()
    assert fresh.tobytes() == whole[:5].tobytes()
    assert model.predict_proba(x[:0]).shape == (0, model.classes)


def test_quantised_versions_stay_near_the_float_one(golden: Path) -> None:
    x, y = patches(200, seed=4)
    reference = opened(golden / "float32.tflite").predict_proba(x)
    assert (reference.argmax(axis=1) == y).mean() > 0.9
    for name, near in (("float16", 2e-3), ("dynamic_int8", 0.02), ("int8", 0.05), ("int8_io", 0.05)):
        found = opened(golden / f"{name}.tflite").predict_proba(x)
        assert 0 < np.abs(found - reference).max() < near


def test_integer_input_and_output_say_the_same_as_float_ones(golden: Path) -> None:
    x, _ = patches(50, seed=6)
    outside, inside = (opened(golden / f"{name}.tflite").predict_proba(x) for name in ("int8", "int8_io"))
    np.testing.assert_allclose(outside, inside, atol=2 / 256)


def test_output_step_is_one_quantum_of_integer_outputs(golden: Path) -> None:
    steps = {name: opened(golden / f"{name}.tflite").output_step for name in FILES}
    assert steps["float32"] == steps["float16"] == steps["dynamic_int8"] == steps["logits_float32"] == 1e-4
    assert steps["int8"] == steps["int8_io"] == steps["fixed_int8"] == 1 / 256
    x, _ = patches(40, seed=6)
    for name in ("int8", "int8_io"):
        found = opened(golden / f"{name}.tflite").predict_proba(x) * 256
        np.testing.assert_array_equal(found, np.rint(found))


def test_logits_become_probabilities(golden: Path) -> None:
    x, _ = patches(20, seed=6)
    assert [opened(golden / f"{name}.tflite").logits for name in FILES] == [name[:6] == "logits" for name in FILES]
    model = opened(golden / "logits_float32.tflite")
    raw = np.concatenate([Session(model.content, kernels="xnnpack", threads=1).run(row[None]) for row in x])
    weights = np.exp(raw - raw.max(axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(x), weights / weights.sum(axis=1, keepdims=True), rtol=1e-5)


def test_no_two_probabilities_one_quantum_of_a_logit_apart_differ_by_more_than_the_step(golden: Path) -> None:
    model = opened(golden / "logits_int8.tflite")
    session = Session(model.content, kernels="xnnpack", threads=1)
    x, _ = patches(200, seed=6)
    raw = np.concatenate([session.run(row[None]) for row in x])
    quantum = 2 * np.arctanh(model.output_step)
    np.testing.assert_allclose(raw / quantum, np.rint(raw / quantum), atol=1e-3)
    assert model.output_step == pytest.approx(quantum / 2, rel=0.01)
    two, one = np.float32([[quantum, 0.0]]), tflite.softmax(np.float32([[quantum, 0.0]]))
    assert two.shape == one.shape and one[0, 0] - one[0, 1] == pytest.approx(model.output_step, rel=1e-3)


def test_a_batch_size_written_into_the_file_is_kept(golden: Path) -> None:
    model = opened(golden / "fixed_float32.tflite")
    assert model.graph.fixed and model.graph.rows == 4
    assert not opened(golden / "float32.tflite").graph.fixed


def test_uint8_input_is_quantised_and_dequantised() -> None:
    tensor = {"dtype": np.uint8, "quantization": (0.5, 10)}
    z = np.float32([-6.0, -5.0, 0.0, 0.25, 0.75, 1.0, 500.0])
    np.testing.assert_array_equal(quantised(z, tensor), np.uint8([0, 0, 10, 10, 12, 12, 255]))
    np.testing.assert_array_equal(dequantised(np.uint8([0, 10, 12]), tensor), np.float32([-5, 0, 1]))


def test_the_digest_covers_file_and_preprocessing(golden: Path) -> None:
    plain = opened(golden / "float32.tflite")
    scaled = tflite.load(golden / "float32.tflite", preprocessing=scaling(2), name="n")
    other = opened(golden / "int8.tflite")
    assert len({plain.digest, scaled.digest, other.digest}) == 3
    assert plain.file_digest == scaled.file_digest
    assert opened(golden / "float32.tflite").digest == plain.digest


def test_a_pair_is_prepared_once_where_both_prepare_alike(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    apply = preprocessing.Preprocessing.apply
    monkeypatch.setattr(preprocessing.Preprocessing, "apply", lambda self, x: calls.append(1) or apply(self, x))
    x, _ = patches(5, seed=6)
    reference, quantised_ = opened(golden / "float32.tflite"), opened(golden / "int8.tflite")
    together = predict_pair(reference, quantised_, x)
    assert len(calls) == 1
    np.testing.assert_array_equal(together[0], reference.predict_proba(x))
    np.testing.assert_array_equal(together[1], quantised_.predict_proba(x))
    calls.clear()
    scaled = tflite.load(golden / "int8.tflite", preprocessing=scaling(2), name="n")
    predict_pair(reference, scaled, x)
    assert len(calls) == 2


def test_what_does_not_fit_is_refused(golden: Path) -> None:
    model = opened(golden / "float32.tflite")
    check_input(model, SHAPE)
    with pytest.raises(ValueError, match=r"\(5, 5, 4\).*got \(7, 7, 4\)"):
        check_input(model, (7, 7, 4))
    cube = tflite.load(golden / "float32.tflite", preprocessing=preprocessing.identity("hwb1"), name="n")
    with pytest.raises(ValueError, match="layout 'hwb' would fit"):
        check_input(cube, SHAPE)
    fitted = preprocessing.Preprocessing(np.zeros(7), np.ones(7), np.eye(7)[:, :4], "hwb")
    banded = tflite.load(golden / "float32.tflite", preprocessing=fitted, name="n")
    check_input(banded, (5, 5, 7))
    with pytest.raises(ValueError, match="7 bands"):
        check_input(banded, SHAPE)
    with pytest.raises(ValueError, match=r"\(n, 5, 5, 4\)"):
        model.infer(np.zeros((2, 5, 5, 3), np.float32))
    check_pair(model, opened(golden / "int8.tflite"))
    with pytest.raises(ValueError, match="got 3 from 'float32' and 5 from 'logits_float32'"):
        check_pair(model, opened(golden / "logits_float32.tflite"))
    assert model.classes == CLASSES


def test_what_is_no_model_is_refused(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing at"):
        opened(tmp_path / "none.tflite")
    (tmp_path / "text.tflite").write_text("not a network at all")
    with pytest.raises(ValueError, match="TFL3"):
        opened(tmp_path / "text.tflite")
    with pytest.raises(ValueError, match="xnnpack, builtin, reference"):
        opened(golden / "float32.tflite", kernels="fast")
    with pytest.raises(ValueError, match="Flex"):
        opened(golden / "flex.tflite")


def test_a_damaged_file_never_ends_this_process(golden: Path, tmp_path: Path) -> None:
    """Truncated, and with random bytes changed: a refusal or a model, nothing else."""
    whole = (golden / "int8.tflite").read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:8] + bytes(500), *(whole[: len(whole) * part // 8] for part in (1, 4, 7)), whole[:-1]]
    for _ in range(6):
        flipped = np.frombuffer(whole, np.uint8).copy()
        flipped[rng.integers(8, len(whole), 20)] = rng.integers(0, 256, 20)
        damaged.append(flipped.tobytes())
    refused = 0
    for number, content in enumerate(damaged):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(content)
        try:
            opened(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused >= 5


def test_a_file_that_crashes_the_interpreter_is_an_error(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.diverget.models import networks

    monkeypatch.setattr(graph, "look", networks.crash)
    graph._examine.cache_clear()
    with pytest.raises(ValueError, match=r"first look.*SIGSEGV"):
        opened(golden / "float32.tflite")


def test_the_terminal_stays_quiet_and_loses_nothing_else(golden: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; import numpy as np\n"
        "from diverget.models import preprocessing, tflite\n"
        "from diverget.models.runtime import quiet\n"
        "m = tflite.load(Path(sys.argv[1]), preprocessing=preprocessing.identity(), name='n')\n"
        "m.infer(np.zeros((3, 5, 5, 4), np.float32))\n"
        "with quiet(): os.write(2, b'INFO: chatter\\nsomebody else\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, golden / "float32.tflite"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "somebody else\n")


def test_quiet_puts_stderr_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    os.write(2, b"audible\n")
    assert capfd.readouterr().err == "audible\n"


def test_a_pair_needs_no_tensorflow(golden: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf_keras'): sys.modules[name] = None\n"
        "from pathlib import Path; import numpy as np\n"
        "from diverget.models import coverage, preprocessing, tflite, training, quantise, zoo\n"
        "from diverget.models.model import predict_pair\n"
        "pair = [tflite.load(Path(p), preprocessing=preprocessing.identity(), name=p) for p in sys.argv[1:]]\n"
        "a, b = predict_pair(*pair, np.zeros((9, 5, 5, 4), np.float32))\n"
        "print(a.shape, b.shape, coverage.coverage(Path(sys.argv[2])).kind)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, golden / "float32.tflite", golden / "int8.tflite"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(9, 3) (9, 3) int8\n", "")


@pytest.mark.real_data
@pytest.mark.parametrize(("name", "step"), [("int8_weights", 1 / 256), ("float16", 1e-4)])
def test_a_network_nobody_here_trained(lenet: Path, name: str, step: float) -> None:
    model = tflite.load(lenet / f"{name}.tflite", preprocessing=scaling(255), name=name)
    check_input(model, (28, 28, 1))
    assert (model.classes, model.output_step, model.logits) == (10, step, False)
    x = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1)).astype(np.float32)
    whole = model.predict_proba(x)
    assert whole.tobytes() == np.concatenate([model.predict_proba(row[None]) for row in x]).tobytes()

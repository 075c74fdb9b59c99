from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models import child, preprocessing, quantise, tflite
from diverget.models.coverage import coverage
from diverget.models.graph import examine
from diverget.models.training import Trained
from tests.diverget.models.networks import patches
from tests.forking import program

FLOAT32, INT8 = quantise.quantisation("float32"), quantise.quantisation("int8")


def test_unknown_names_are_told_with_the_known() -> None:
    with pytest.raises(ValueError, match=r"'int4'.*float32, float16, dynamic_int8, int8, int8_io"):
        quantise.quantisation("int4")


@pytest.mark.slow
def test_a_conversion_is_made_once_and_again_byte_for_byte(trained: Trained, tmp_path: Path) -> None:
    z, _ = patches(30, seed=3)
    first = quantise.convert(trained.path, INT8, calibration=z, cache=tmp_path / "a")
    stamp = first.stat().st_mtime_ns
    assert quantise.convert(trained.path, INT8, calibration=z, cache=tmp_path / "a") == first
    assert first.stat().st_mtime_ns == stamp
    again = quantise.convert(trained.path, INT8, calibration=z, cache=tmp_path / "b")
    assert again.read_bytes() == first.read_bytes() and again.name == first.name
    other = quantise.convert(trained.path, INT8, calibration=z[:20], cache=tmp_path / "a")
    assert other.name != first.name
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted([first.name, other.name])


@pytest.mark.slow
def test_the_float32_file_agrees_with_keras(trained: Trained, tmp_path: Path) -> None:
    z, _ = patches(40, seed=3)
    path = quantise.convert(trained.path, FLOAT32, calibration=None, cache=tmp_path)
    assert quantise.float_check(trained.path, path, z) < 1e-5
    rough = quantise.convert(trained.path, INT8, calibration=z, cache=tmp_path)
    assert quantise.float_check(trained.path, rough, z) > 1e-4


@pytest.mark.slow
def test_one_scale_for_all_filters_is_coarser_than_one_each(trained: Trained, tmp_path: Path) -> None:
    z, _ = patches(30, seed=3)

    def scales(way: str) -> list[float]:
        path = quantise.convert(trained.path, quantise.quantisation(way), calibration=z, cache=tmp_path)
        graph = examine(path)
        return [graph.tensors[op.inputs[1]].scale for op in graph.ops if op.name == "CONV_2D"]

    # LiteRT tells one scale, and 0 where there are several.
    assert scales("int8") == [0.0]
    assert scales("int8_per_tensor")[0] > 0


@pytest.mark.slow
def test_int16_activations_are_finer_and_so_is_the_output_step(trained: Trained, tmp_path: Path) -> None:
    z, _ = patches(30, seed=3)
    path = quantise.convert(trained.path, quantise.quantisation("int16x8"), calibration=z, cache=tmp_path)
    model = tflite.load(path, preprocessing=preprocessing.identity(), name="int16x8")
    found = coverage(path)
    assert (found.kind, found.share, found.float_ops) == ("int16x8", 1.0, ())
    assert model.output_step == 1 / 32768 and not model.logits
    steps = model.infer(z) * 32768
    assert np.array_equal(steps, np.rint(steps))
    assert np.array_equal(model.infer(z[3:4]), model.infer(z)[3:4])
    assert quantise.float_check(trained.path, path, z) < 0.01


@pytest.mark.slow
def test_a_fixed_batch_is_calibrated_with_every_row(keras_files: Path, tmp_path: Path) -> None:
    """Three rows of a network for batches of four; then a row beyond the last whole batch, which widens the ranges."""
    z, _ = patches(5, seed=3)
    z[4] *= 10
    paths = [
        quantise.convert(keras_files / "fixed.keras", INT8, calibration=rows, cache=tmp_path) for rows in (z[:3], z)
    ]
    scales = [examine(path).tensors[examine(path).ops[0].outputs[0]].scale for path in paths]
    assert scales[1] > 5 * scales[0]


@pytest.mark.slow
def test_calibration_is_asked_for_and_checked(trained: Trained, tmp_path: Path) -> None:
    z, _ = patches(10, seed=3)
    for wrong, told in (
        (None, "got none"),
        (z[:0], "got none"),
        (z[:, :3], r"\(n, 5, 5, 4\)"),
        (np.full_like(z, np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=told):
            quantise.convert(trained.path, INT8, calibration=wrong, cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("family", ["keras3", "keras2"])
def test_both_families_convert(keras_files: Path, tmp_path: Path, family: str, suffix: str) -> None:
    path = quantise.convert(keras_files / f"{family}{suffix}", FLOAT32, calibration=None, cache=tmp_path)
    model = tflite.load(path, preprocessing=preprocessing.identity(), name=family)
    assert (model.input_shape, model.classes, model.logits) == ((5, 5, 4), 3, False)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("family", ["keras3", "keras2"])
def test_code_in_a_file_runs_only_when_trusted(keras_files: Path, tmp_path: Path, family: str, suffix: str) -> None:
    source, marker = keras_files / f"{family}_lambda{suffix}", keras_files / "marker"
    marker.unlink(missing_ok=True)
    z, _ = patches(4, seed=3)
    for attempt in (
        lambda: quantise.convert(source, FLOAT32, calibration=None, cache=tmp_path),
        lambda: quantise.float_check(source, tmp_path / "none.tflite", z),
    ):
        with pytest.raises(ValueError, match=r"Lambda.*nothing was executed"):
            attempt()
    assert not marker.exists()
    assert not list(tmp_path.iterdir())
    quantise.convert(source, FLOAT32, calibration=None, cache=tmp_path, trust=True)
    assert marker.exists(), "the code must be able to run, or this test proves nothing"


@pytest.mark.slow
def test_a_network_that_crashes_the_converter_is_an_error(
    keras_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Post-training int8 of an LSTM ends the process with SIGSEGV in TensorFlow 2.20 and 2.21; it is refused, unless
    nobody knows of it."""
    monkeypatch.setattr(child, "program", program)
    z = np.random.default_rng(0).normal(size=(20, 12, 1)).astype(np.float32)
    with pytest.raises(ValueError, match=r"lstm\.keras: LSTM 'lstm' is recurrent.*unroll=True"):
        quantise.convert(keras_files / "lstm.keras", INT8, calibration=z, cache=tmp_path, timeout=0.1)
    monkeypatch.setattr(quantise, "refusal", lambda layers, way: None)
    with pytest.raises(ValueError, match=r"conversion of .*lstm\.keras to int8.*another quantisation"):
        quantise.convert(keras_files / "lstm.keras", INT8, calibration=z, cache=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"within 0\.5 s"):
        quantise.convert(keras_files / "lstm.keras", FLOAT32, calibration=None, cache=tmp_path, timeout=0.5)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("name", "macs"), [("original", 281640), ("pruned", 166440)])
def test_the_lenet_files_convert_and_agree_with_keras(lenet: Path, tmp_path: Path, name: str, macs: int) -> None:
    path = quantise.convert(lenet / f"{name}.h5", FLOAT32, calibration=None, cache=tmp_path)
    z = np.random.default_rng(0).random((20, 28, 28, 1), dtype=np.float32)
    assert quantise.float_check(lenet / f"{name}.h5", path, z) < 1e-5
    assert coverage(path).total_macs == macs

"""The models of a run: made once, loaded from the run ever after, and matched to the bands and classes of the data."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from diverget.models import preprocessing
from diverget.models.compress import Compressed
from diverget.models.made import STALE_SECONDS
from diverget.patches import Patches
from diverget.store import Store
from experiments import data, pairs, training
from experiments.config import load
from experiments.progress import Screen
from experiments.record import inseparable
from tests.diverget.models import networks
from tests.experiments.small import CONFIG, GOLDEN, diverget, run_directory, scene_arrays, write

SHUFFLED = np.array([2, 0, 3, 1])
CENTRES = np.array([400.0, 500.0, 600.0, 700.0])


def prepared(folder: Path, text: str = CONFIG, **arrays: np.ndarray) -> tuple[data.Material, Store, pairs.Subjects]:
    """The data, the store and the models of the small run, its scene replaced by `arrays`."""
    path = write(folder, text)
    if arrays:
        np.savez(folder / "scene.npz", **arrays)
    config, store = load(path), Store(folder / "run")
    material = data.gather(config)
    screen = Screen(Console(quiet=True))
    return material, store, pairs.prepare(config, material, store, screen, cache=folder / "cache")


def accuracy(material: data.Material, subjects: pairs.Subjects) -> list[float]:
    """Of both sides of the first pair, on all assessment patches."""
    patches = material.patches(material.baseline)
    pair = subjects.pairs[0]
    return [
        float((model.predict_proba(patches.source()).argmax(axis=1) == patches.labels).mean())
        for model in (pair.reference, pair.quantised)
    ]


def test_the_control_is_the_reference_with_interpreters_of_its_own(tmp_path: Path) -> None:
    _, store, subjects = prepared(tmp_path)
    assert [(pair.name, pair.control) for pair in subjects.pairs] == [("float/int8", False), ("float/float", True)]
    control = subjects.pairs[1]
    assert control.reference.digest == control.quantised.digest
    assert control.reference._session() is not control.quantised._session()
    assert [model.name for model in pairs.load_pair(store, "float/int8")] == ["float", "float.int8"]


def test_a_run_that_has_its_models_needs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zoo reference and its conversions: neither the cache nor TensorFlow is asked again."""
    text = CONFIG.replace("{path: %(golden)s/float32.tflite, name: float}", "{zoo: cnn3d, name: float}")
    text = text.replace("{path: %(golden)s/int8.tflite, name: int8}", "int8, float16")

    def trained(*_: Any) -> Any:
        facts = SimpleNamespace(path=tmp_path / "net.keras", parameters=7)
        return facts, preprocessing.identity(), {"accuracy": 1.0}

    def converted(_: Path, way: str, *__: Any) -> Path:
        return GOLDEN / f"{way}.tflite"

    with monkeypatch.context() as patched:
        patched.setattr(pairs, "trained_reference", trained)
        patched.setattr(pairs, "_converted", converted)
        patched.setattr(pairs.quantise, "float_check", lambda *_, **__: 1e-7)
        _, store, first = prepared(tmp_path, text)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    for name in ("run", "convert"):
        monkeypatch.setattr(pairs.quantise, name, None)
    monkeypatch.setattr(pairs, "trained_reference", None)
    _, _, again = prepared(tmp_path, text)
    assert [pair.name for pair in again.pairs] == ["float/int8", "float/float16", "float/float"]
    assert [(pair.name, pair.quantised.digest) for pair in again.pairs] == [
        (pair.name, pair.quantised.digest) for pair in first.pairs
    ]
    store.path("models.json").unlink()
    with pytest.raises(TypeError):
        prepared(tmp_path, text)


def test_the_network_that_a_compression_left_is_kept_in_float(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the version itself where nothing is quantised, and nothing where training fixes the integers."""
    text = CONFIG.replace("{path: %(golden)s/float32.tflite, name: float}", "{zoo: cnn3d, name: float}")
    text = text.replace(
        "{path: %(golden)s/int8.tflite, name: int8}", "pruning+int8, pruning, distillation+float16, int8"
    )
    text = text.replace(
        "distillation+float16", "{compression: distillation, quantisation: float16, student: depthwise}"
    )

    def compressed(asked: Any, *_: Any, **__: Any) -> Compressed | None:
        return Compressed(tmp_path / f"{asked.label}.keras", {}, False) if asked.compression else None

    facts = SimpleNamespace(path=tmp_path / "net.keras", parameters=7)
    with monkeypatch.context() as patched:
        patched.setattr(pairs, "trained_reference", lambda *_: (facts, preprocessing.identity(), {}))
        patched.setattr(pairs, "_converted", lambda keras, way, *_: GOLDEN / f"{way}.tflite")
        patched.setattr(pairs, "compressed", compressed)
        patched.setattr(pairs.quantise, "float_check", lambda *_, **__: 1e-7)
        _, store, _ = prepared(tmp_path, text)
    _, _, again = prepared(tmp_path, text)
    told = {pair.name: pair.unquantised and pair.unquantised.name for pair in again.pairs}
    assert told == {
        "float/pruning-int8": "float.pruning-int8+float32",
        "float/pruning": "float.pruning",
        "float/distillation-float16": "float.distillation-float16+float32",
        "float/int8": None,
        "float/float": None,
    }
    content = store.read_json("models.json")
    checks = [pair["quantised_model"]["float_check"] for pair in content["pairs"]]
    assert checks == [None, 1e-7, None, None, None]
    for pair in content["pairs"]:
        pair["quantised_model"].get("compression", {}).pop("unquantised", None)
    store.write_json("models.json", content)
    _, _, earlier = prepared(tmp_path, text)
    assert [pair.unquantised.name for pair in earlier.pairs if pair.unquantised] == ["float.pruning"]
    lacking = {pair["pair"]: inseparable(pair) for pair in content["pairs"] if inseparable(pair)}
    assert lacking == {"float/pruning-int8": "pruning", "float/distillation-float16": "distillation"}


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"pairs": 3}', '{"pairs": [1]}', '{"pairs": [{"pair": "a/b"}]}'])
def test_a_changed_record_of_the_models_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "models.json").write_text(content)
    with pytest.raises(ValueError, match=r"Expected .* in .*models\.json, got .*remove that file and run again"):
        pairs.load_pair(Store(tmp_path), "a/b")


@pytest.mark.parametrize("content", [3, {}, {"name": "qat", "unquantised": {"file": 3}}])
def test_a_changed_record_of_a_compression_is_told(tmp_path: Path, content: Any) -> None:
    _, store, _ = prepared(tmp_path)
    told = store.read_json("models.json")
    told["pairs"][0]["quantised_model"]["compression"] = content
    store.write_json("models.json", told)
    with pytest.raises(ValueError, match=r"Expected .* in .*models\.json, got .*remove that file and run again"):
        pairs.load_pair(store, "float/int8")


def test_a_pair_that_the_run_does_not_have_is_told(tmp_path: Path) -> None:
    _, store, _ = prepared(tmp_path)
    with pytest.raises(ValueError, match=r"pair 'a/b' in .*models\.json, got float/int8, float/float"):
        pairs.load_pair(store, "a/b")


def test_a_model_sees_the_bands_in_the_order_of_its_file(tmp_path: Path) -> None:
    arrays = scene_arrays()
    sorted_ = prepared(tmp_path / "sorted", **arrays, wavelengths_nm=CENTRES)
    shuffled = prepared(tmp_path / "shuffled", **arrays, wavelengths_nm=CENTRES[SHUFFLED])
    assert shuffled[0].data.origin["bands"] == np.argsort(SHUFFLED).tolist()
    assert accuracy(*shuffled[::2]) == accuracy(*sorted_[::2])
    assert min(accuracy(*sorted_[::2])) > 0.8
    stored = [accuracy(shuffled[0], pairs.Subjects((pairs.Pair("", *pairs.load_pair(shuffled[1], p), False),)))
              for p in ("float/int8", "float/float")]  # fmt: skip
    assert stored == [accuracy(*sorted_[::2]), accuracy(*sorted_[::2])[:1] * 2]


def test_a_preprocessing_that_states_its_order_keeps_it(tmp_path: Path) -> None:
    """As a network of the zoo, trained on sorted bands and given as a file of another run."""
    arrays = scene_arrays()
    text = CONFIG.replace("name: float}", "name: float, preprocessing: p.json}")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "p.json").write_text('{"order": [0, 1, 2, 3]}')
    wavelengths = CENTRES[SHUFFLED]
    cube = arrays["cube"][:, :, SHUFFLED]  # Loaded, the bands stand as the networks learnt them.
    material, _, subjects = prepared(tmp_path / "kept", text, cube=cube, gt=arrays["gt"], wavelengths_nm=wavelengths)
    np.testing.assert_array_equal(material.data.cube, arrays["cube"])  # type: ignore[union-attr]
    assert min(accuracy(material, subjects)) > 0.8


def test_bands_that_the_header_calls_bad(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    arrays, text = scene_arrays(), CONFIG.replace("path: scene.npz", "path: s.hdr, ground_truth: scene.npz")
    text = text.replace("patch: 5", "patch: 5, label_key: gt")
    bad = {"bbl": [1, 1, 0, 1], "wavelength": [600, 500, 550, 400], "wavelength units": "nm"}
    for name, cube, header in (
        ("four", arrays["cube"], bad),
        ("left", np.insert(arrays["cube"], 2, 0, axis=2), {"bbl": [1, 1, 0, 1, 1]}),
    ):
        (tmp_path / name).mkdir()
        envi.save_image(str(tmp_path / name / "s.hdr"), cube, ext="img", metadata=header)
    with pytest.raises(ValueError, match=r"the 3 bands left of .*s\.hdr, got 'float' for 4.*1 of the 4 bands bad"):
        prepared(tmp_path / "four", text)
    material, _, subjects = prepared(tmp_path / "left", text)
    assert material.patch_shape == (5, 5, 4) and min(accuracy(material, subjects)) > 0.8


def test_a_class_that_the_ground_truth_lacks(tmp_path: Path) -> None:
    arrays = scene_arrays()
    lacking = arrays | {"gt": np.where(arrays["gt"] == 2, 0, arrays["gt"]).astype(np.uint8)}
    with pytest.raises(ValueError, match=r"1 to 2 without a gap for 'float', which tells 3 .*got 1, 3 in .*scene\.npz"):
        prepared(tmp_path / "unnamed", **lacking)
    text = CONFIG.replace("patch: 5", "patch: 5, class_names: [a, b, c]")
    material, _, subjects = prepared(tmp_path / "named", text, **lacking)
    assert material.class_names == ("a", "b", "c") and min(accuracy(material, subjects)) > 0.8
    last = arrays | {"gt": np.where(arrays["gt"] == 3, 0, arrays["gt"]).astype(np.uint8)}
    assert min(accuracy(*prepared(tmp_path / "last", **last)[::2])) > 0.7


def test_patches_are_prepared_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material, _, _ = prepared(tmp_path)
    ids = np.arange(0, 1200)
    fitted = preprocessing.fit(np.random.default_rng(0).normal(size=(50, 4)), pca=2, whiten=True, layout="hwb")
    whole = fitted.apply(material.patches(ids).source())
    centres = material.patches(ids).source()[:, 2, 2]
    counts: list[int] = []
    cut = data.cut

    def counted(scene: Any, ids: np.ndarray, **options: Any) -> Patches:
        counts.append(len(ids))
        return cut(scene, ids, **options)

    monkeypatch.setattr(data, "cut", counted)
    np.testing.assert_array_equal(training.prepare_in_parts(fitted, material, ids), whole)
    np.testing.assert_array_equal(training._pixels(material, ids), centres)
    assert max(counts) <= 256 and sum(counts) == 2 * len(ids)


def test_a_reference_that_is_quantised_itself_is_noted_in_the_run(tmp_path: Path) -> None:
    text = CONFIG.replace("float32.tflite", "int8.tflite").replace("{draws: 2}", "{draws: 1, doses: []}")
    text = text.replace("budget: 9600", "budget: 960") + "control: false\nattribution: false\n"
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    assert "note: The reference float is itself quantised (int8)" in told
    assert "note: Both sides of int8 float are the same network, run in the same way: that pair is a control" in told
    page = (run_directory(tmp_path / "out") / "report.html").read_text()
    assert "is itself quantised (int8)" in page and "is a control in effect" in page
    assert "No control was run" in page


def test_working_folders_of_the_dead_are_removed(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for name in (".making-old", ".making-new", "kept"):
        (cache / name).mkdir(parents=True)
        (cache / name / "arrays.npz").touch()
    long_ago = time.time() - 2 * STALE_SECONDS
    for name in (".making-old", "kept"):
        os.utime(cache / name, (long_ago, long_ago))
    prepared(tmp_path)
    assert sorted(path.name for path in cache.iterdir()) == [".making-new", "kept"]


@pytest.mark.slow
def test_a_keras_file_under_test_is_compared_with_its_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks.require_tensorflow()
    trained = networks.train_tiny(tmp_path / "training")
    text = CONFIG.replace("%(golden)s/int8.tflite", str(trained.path))
    _, store, _ = prepared(tmp_path / "a", text)
    (pair, _) = json.loads(store.path("models.json").read_text())["pairs"]
    assert 0 <= pair["quantised_model"]["float_check"] <= 1e-5
    assert pair["reference_model"]["float_check"] is None
    monkeypatch.setattr(pairs.quantise, "float_check", lambda *_, **__: 1e-3)
    with pytest.raises(ValueError, match=r"float32 \.tflite of 'float\.int8' within 1e-05 of .*, got .*0\.001"):
        prepared(tmp_path / "b", text)

"""`diverget init`: a config that loads, with what was found in the data, and never in place of another file."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from diverget.synthetic import synthetic_scene
from experiments.cli import app
from experiments.config import load
from experiments.config.schema import RunConfig
from experiments.data import check_material, gather
from tests.experiments.small import GOLDEN, scene_arrays


def init(*arguments: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["init", *map(str, arguments)])
    assert done.exit_code == code, (done.output, done.exception)
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded scene as a file of its own."""
    scene = synthetic_scene(seed=0, height=96, width=96)
    assert scene.labels is not None
    path = tmp_path_factory.mktemp("scene") / "embedded.npz"
    np.savez(path, cube=scene.cube, gt=(scene.labels + 1).astype(np.uint8), wavelengths=scene.wavelengths)
    return path


def written(path: Path) -> tuple[str, RunConfig]:
    text = path.read_text(encoding="utf-8")
    return text, load(path)


def test_the_embedded_scene(embedded: Path, tmp_path: Path) -> None:
    told = init(tmp_path / "mine.yaml", "--scene", embedded)
    assert f"diverget check {tmp_path / 'mine.yaml'}" in told
    text, config = written(tmp_path / "mine.yaml")
    for found in (
        "96 × 96 pixels",
        " bands, values ",
        "wavelengths: found, 4",
        "classes: 12: class 1 (",
        "diverget run",
    ):
        assert found in text, text
    assert config.scene is not None and config.scene.path == embedded
    assert "band_shift" in [entry.name for entry in config.relations]
    material = gather(config)
    check_material(config, material)


def test_a_small_mat_without_wavelengths(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "s.mat", scene_arrays())
    init(tmp_path / "s.yaml", "--scene", tmp_path / "s.mat")
    text, config = written(tmp_path / "s.yaml")
    assert "path: s.mat" in text and "wavelengths: none found" in text and "36 × 36 pixels, 4 bands" in text
    assert "classes: 3: class 1 (432), class 2 (432), class 3 (432)" in text
    assert "band_shift" not in [entry.name for entry in config.relations]
    check_material(config, gather(config))


def test_labels_in_a_file_of_their_own(tmp_path: Path) -> None:
    arrays = scene_arrays()
    np.savez(tmp_path / "cube.npz", cube=arrays["cube"])
    np.savez(tmp_path / "gt.npz", gt=arrays["gt"])
    assert "give them with --labels" in init(tmp_path / "a.yaml", "--scene", tmp_path / "cube.npz", code=2)
    init(tmp_path / "a.yaml", "--scene", tmp_path / "cube.npz", "--labels", tmp_path / "gt.npz")
    _, config = written(tmp_path / "a.yaml")
    assert config.scene is not None and config.scene.ground_truth == tmp_path / "gt.npz"


def test_a_pair_of_tflite_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "scene.npz", **scene_arrays())
    for name in ("float32", "int8"):
        shutil.copyfile(GOLDEN / f"{name}.tflite", tmp_path / f"{name}.tflite")
    pair = ("--model", tmp_path / "float32.tflite", "--quantised", tmp_path / "int8.tflite")
    init(tmp_path / "pair.yaml", "--scene", tmp_path / "scene.npz", *pair)
    text, config = written(tmp_path / "pair.yaml")
    assert "it takes 5 × 5 × 4" in text and "but the data has" not in text
    assert config.scene is not None and config.scene.patch == 5
    assert config.references[0].path == tmp_path / "float32.tflite"
    assert [entry.label for entry in config.quantisations] == ["int8"]
    small = ("--set", "split.assessed=10", "--set", "search.budget=2000", "--out", str(tmp_path / "runs"))
    assert "queries:" in CliRunner().invoke(app, ["check", str(tmp_path / "pair.yaml"), *small]).output


def test_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "digits.npz", images=images, labels=np.arange(90) % 3)
    init(tmp_path / "digits.yaml", "--images", tmp_path / "digits.npz")
    text, config = written(tmp_path / "digits.yaml")
    assert "90 images of 28 × 28 pixels, 1 channel, values 0 to 255" in text
    assert config.references[0].zoo == "lenet5"


def test_an_existing_file_is_never_overwritten(embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    told = init(tmp_path / "mine.yaml", "--scene", embedded, code=2)
    assert "does not exist yet" in told and "name another" in told
    assert (tmp_path / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "either --scene or --images"),
        (("--scene", "gone.npz"), "gone.npz"),
        (("--scene", "s.npz", "--model", "gone.tflite"), "Expected a network at gone.tflite"),
        (("--scene", "s.npz", "--quantised", "int8.tflite"), "give it with --model"),
        (("--scene", "s.npz", "--model", "int8.tflite"), "cannot be quantised; give them with --quantised"),
        (("--scene", "s.npz", "--model", "s.npz"), "expected a network file"),
        (("--scene", "int8.tflite"), "one of the formats"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "s.npz", **scene_arrays())
    shutil.copyfile(GOLDEN / "int8.tflite", tmp_path / "int8.tflite")
    assert told in init("mine.yaml", *arguments, code=2)
    assert not (tmp_path / "mine.yaml").exists()
    assert "ends in .yaml" in init("mine.txt", "--scene", "s.npz", code=2)


def test_names_in_a_file_stay_in_their_comment(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    arrays = scene_arrays()
    names = ["none", "corn\x85seed: 9", "soy\u2028name: evil", "<script>\x1b[31m"]
    folder = tmp_path / "a: b # [x]"
    folder.mkdir()
    np.savez(folder / "cube.npz", cube=arrays["cube"])
    envi.save_classification(str(folder / "gt.hdr"), arrays["gt"], class_names=names, force=True)
    init(tmp_path / "a.yaml", "--scene", folder / "cube.npz", "--labels", folder / "gt.hdr")
    text, config = written(tmp_path / "a.yaml")
    assert config.seed == 7 and config.name == "a"
    assert "\x1b" not in text and "<script>[31m (432)" in text
    assert config.scene is not None and config.scene.path == folder / "cube.npz"

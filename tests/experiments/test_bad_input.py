"""Bad input: one screen, exit code 2, no traceback; what was expected, what came, where, what to do."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from typer.testing import CliRunner

from diverget import store
from experiments.cli import app
from tests.experiments.small import CONFIG, GOLDEN, run_directory, scene_arrays, write


def refused(*arguments: str | Path) -> str:
    """The message of a call that must be refused."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    message = done.output
    assert done.exit_code == 2, (done.exit_code, message, done.exception)
    assert "Traceback" not in message
    error = message[message.index("error: ") :]
    assert 40 < len(error) < 1600, "a message fits on one screen and says enough"
    return " ".join(error.split())


def run(folder: Path, text: str = CONFIG, **arrays: np.ndarray) -> str:
    config = write(folder, text)
    if arrays:
        np.savez(folder / "scene.npz", **(scene_arrays() | arrays))
    return refused("run", config, "--out", folder / "out")


def test_unknown_key(tmp_path: Path) -> None:
    message = run(tmp_path, CONFIG.replace("limits:", "limts:"))
    assert "limts: unknown key; did you mean `limits`?" in message


def test_wrong_type_and_several_at_once(tmp_path: Path) -> None:
    text = CONFIG.replace("budget: 9600", "budget: lots").replace("draws: 2", "draws: -1").replace("seed: 5", "sead: 5")
    message = run(tmp_path, text)
    assert "has 3 problems" in message
    for part in ("search.budget", "'lots'", "rates.draws", "'-1'", "sead: unknown key; did you mean `seed`?"):
        assert part in message


def test_bounds_wider_than_declared(tmp_path: Path) -> None:
    message = run(tmp_path, CONFIG.replace("gaussian_blur,", "{gaussian_blur: {sigma: [0, 50]}},"))
    assert "gaussian_blur.sigma" in message and "[0.0, 50.0]" in message and "narrow them" in message


def test_missing_files(tmp_path: Path) -> None:
    assert "nowhere.yaml" in refused("run", tmp_path / "nowhere.yaml")
    message = run(tmp_path, CONFIG.replace("scene.npz", "gone.npz"))
    assert "gone.npz" in message and "correct the path" in message


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_mat(tmp_path: Path, share: float) -> None:
    config = write(tmp_path, CONFIG.replace("scene.npz", "scene.mat"))
    scipy.io.savemat(tmp_path / "scene.mat", scene_arrays())
    content = (tmp_path / "scene.mat").read_bytes()
    (tmp_path / "scene.mat").write_bytes(content[: int(len(content) * share)])
    assert "scene.mat" in refused("run", config, "--out", tmp_path / "out")


def test_cube_and_ground_truth_of_different_size(tmp_path: Path) -> None:
    text = CONFIG.replace("path: scene.npz,", "path: scene.npz, ground_truth: gt.npz,")
    np.savez(tmp_path / "gt.npz", gt=np.ones((20, 36), np.uint8))
    config = write(tmp_path, text)
    np.savez(tmp_path / "scene.npz", cube=scene_arrays()["cube"])
    message = refused("run", config, "--out", tmp_path / "out")
    assert "36" in message and "20" in message and "gt.npz" in message


def test_a_band_without_a_value(tmp_path: Path) -> None:
    cube = scene_arrays()["cube"].copy()
    cube[:, :, 2] = np.nan
    message = run(tmp_path, cube=cube)
    assert "band" in message.lower() and "2" in message and "scene.npz" in message


def test_a_model_with_another_input_shape(tmp_path: Path) -> None:
    message = run(tmp_path, CONFIG.replace("patch: 5", "patch: 7"))
    assert "(5, 5, 4)" in message and "(7, 7, 4)" in message


def test_a_model_with_too_few_classes(tmp_path: Path) -> None:
    truth = scene_arrays()["gt"].copy()
    truth[:9, :9] = 9
    message = run(tmp_path, gt=truth)
    assert "at least 4 classes" in message and "got 3" in message


def test_two_models_with_other_classes(tmp_path: Path) -> None:
    message = run(tmp_path, CONFIG.replace("int8.tflite", "logits_int8.tflite"))
    assert "same classes" in message and "got 3" in message and "5" in message


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a network", b"\x1c\x00\x00\x00TFL3" + bytes(500)])
def test_a_tflite_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tflite").write_bytes(content)
    message = run(tmp_path, CONFIG.replace("%(golden)s/int8.tflite", str(tmp_path / "bad.tflite")))
    assert "bad.tflite" in message


def test_a_truncated_tflite_file(tmp_path: Path) -> None:
    content = (GOLDEN / "int8.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: len(content) // 2])
    message = run(tmp_path, CONFIG.replace("%(golden)s/int8.tflite", str(tmp_path / "cut.tflite")))
    assert "cut.tflite" in message


def test_a_keras_file_with_a_lambda_layer_is_never_executed(tmp_path: Path) -> None:
    from diverget.models.child import run as child
    from tests.diverget.models import networks

    networks.require_tensorflow()
    marker = tmp_path / "marker"
    folder = tmp_path / "keras"
    folder.mkdir()
    child(networks.make_networks, {"folder": str(folder), "marker": str(marker)}, **networks.SAID, timeout=300)
    assert not marker.exists()
    for suffix in ("keras3_lambda.keras", "keras2_lambda.h5"):
        path = folder / suffix
        text = CONFIG.replace("%(golden)s/float32.tflite", str(path))
        message = run(tmp_path / suffix, text)
        assert "Lambda" in message and "trust" in message and path.name in message
    assert not marker.exists(), "the Lambda layer of the file was executed"


def test_a_reference_no_better_than_chance(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).integers(1, 4, size=(36, 36)).astype(np.uint8)
    message = run(tmp_path, gt=truth)
    assert "better than chance" in message and "preprocessing" in message


def test_no_permission_to_write(tmp_path: Path) -> None:
    config = write(tmp_path)
    (tmp_path / "file").write_text("in the way")
    message = refused("run", config, "--out", tmp_path / "file")
    assert "file" in message
    forbidden = Path("/sys/kernel/diverget")
    if forbidden.parent.is_dir():
        assert "permission" in refused("run", config, "--out", forbidden).lower()


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write(tmp_path)
    real, written = store.pq.write_table, []

    def until_full(table: object, path: Path, **options: object) -> None:
        if len(written) == 3:
            path.write_bytes(b"half a p")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        real(table, path, **options)

    monkeypatch.setattr(store.pq, "write_table", until_full)
    message = refused("run", config, "--out", tmp_path / "out")
    assert "room on the disk" in message and "nothing evaluated is lost" in message
    stopped = run_directory(tmp_path / "out")
    parts = sorted(stopped.rglob("part-*.parquet"))
    assert len(parts) == 3
    assert not list(stopped.rglob("*.tmp"))
    monkeypatch.undo()
    done = CliRunner().invoke(app, ["run", str(config), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert all(part.exists() for part in parts)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    for command in ("report", "replay"):
        arguments = ["--all"] if command == "replay" else []
        assert "manifest.json" in refused(command, tmp_path, *arguments)


def test_a_model_changed_after_the_run(tmp_path: Path) -> None:
    config = write(tmp_path)
    assert CliRunner().invoke(app, ["run", str(config), "--out", str(tmp_path / "out")]).exit_code == 0
    stored = run_directory(tmp_path / "out")
    shutil.copyfile(GOLDEN / "dynamic_int8.tflite", stored / "models" / "float.int8.tflite")
    assert "changed after the run" in refused("replay", stored, "--all")
    assert "number of a finding" in refused("replay", stored, "--finding", "100000")
    assert "either --finding" in refused("replay", stored)


def test_list_of_what_does_not_exist() -> None:
    assert "'relation'" in refused("list", "relation")

"""Hundreds of damaged data and model files: each is read or refused, none stalls the process or reaches other files."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from diverget import formats
from diverget.loading import load_images, load_scene
from diverget.models import graph, keras_file, onnx_graph, preprocessing
from diverget.models.keras_file import inspect_keras, network_digest
from diverget.store import Store
from tests.experiments.mutations import SECONDS, archive, damaged, generator
from tests.experiments.opening import outcomes
from tests.experiments.small import GOLDEN, ROOT, scene_arrays

DAMAGED = ROOT / "tests" / "golden" / "damaged"

NETWORK = {
    "class_name": "Sequential",
    "config": {
        "name": "small",
        "layers": [
            {
                "class_name": "Dense",
                "module": "keras.layers",
                "config": {"name": "dense", "units": 3, "batch_shape": [None, 5, 5, 4]},
            }
        ],
    },
}


def stored(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def hdf5(values: dict[str, np.ndarray], *, attributes: dict[str, object] | None = None, block: int = 0) -> bytes:
    def save(stream: io.BytesIO) -> None:
        with h5py.File(stream, "w", userblock_size=block) as file:
            for key, value in values.items():
                file.create_dataset(key, data=value, compression="gzip")
            file.attrs.update(attributes or {})

    return stored(save)


def samples() -> dict[str, bytes]:
    """A sound file of each format, by name."""
    arrays = scene_arrays(side=12)
    matlab = hdf5({key: value.T for key, value in arrays.items()}, block=512)
    digits = struct.pack(">BBBB3i", 0, 0, 8, 3, 20, 6, 6) + bytes(range(240)) * 3
    config = json.dumps(NETWORK)
    weights = hdf5({"layers/dense/vars/0": np.ones((40, 3), np.float32)})
    members = {
        "config.json": config.encode(),
        "metadata.json": b'{"keras_version": "3.1"}',
        "model.weights.h5": weights,
    }
    kernel = {"model_weights/dense/kernel": np.ones((40, 3), np.float32)}
    networks = {path.name: path.read_bytes() for path in sorted(GOLDEN.glob("*.tflite"))}
    return {
        "plain.npz": stored(lambda stream: np.savez(stream, **arrays)),
        "packed.npz": stored(lambda stream: np.savez_compressed(stream, **arrays)),
        "v5.mat": stored(lambda stream: scipy.io.savemat(stream, arrays)),
        "v5_packed.mat": stored(lambda stream: scipy.io.savemat(stream, arrays, do_compression=True)),
        "v73.mat": b"MATLAB 7.3 MAT-file".ljust(512, b"\0") + matlab[512:],
        "digits.idx": digits,
        "digits.idx.gz": gzip.compress(digits, mtime=0),
        "scaling.json": b'{"shift": [0, 1], "scale": 2, "components": [[1, 2], [3, 4]], "layout": "hwb"}',
        "network.keras": archive(members),
        "network.h5": hdf5(kernel, attributes={"model_config": config, "keras_version": "3.1"}),
        **networks,
    }


IN_PROCESS = (".npz", ".idx", ".gz", ".json", ".hdr", ".img")


def opened(path: Path) -> None:
    """Read a file the way the commands do."""
    if path.suffix == ".json":
        preprocessing.load(path)
    elif ".idx" in path.name:
        load_images(path)
    elif path.suffix in (".keras", ".h5"):
        inspect_keras(path)
        network_digest(path)
    elif path.suffix == ".tflite":
        graph.examine(path)
    elif path.suffix == ".onnx":
        onnx_graph.examine(path)
    else:
        load_scene(path.with_suffix(".hdr") if path.suffix == ".img" else path)


def tried(path: Path) -> str:
    started = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened(path)
        came = "read"
    except (ValueError, OSError) as error:
        came = "refused"
        assert str(error)
    assert time.monotonic() - started < 4 * SECONDS, path.name
    return came


@pytest.fixture
def fenced(tmp_path: Path) -> Path:
    """A folder in a folder that must stay as it is."""
    (tmp_path / "outside").write_text("as it was")
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    return inside


def untouched(inside: Path) -> bool:
    above = inside.parents[1]
    names = {path.name for path in above.iterdir()}, {path.name for path in inside.parent.iterdir()}
    return names == ({"outside", "a"}, {"b"}) and (above / "outside").read_text() == "as it was"


def test_the_samples_are_sound(fenced: Path) -> None:
    for name, content in samples().items():
        if name != "flex.tflite":
            (fenced / name).write_bytes(content)
            assert tried(fenced / name) == "read", name


@pytest.mark.slow
def test_damaged_data_files_are_read_or_refused(fenced: Path) -> None:
    rng = generator(3)
    known = {name: content for name, content in samples().items() if name.endswith(IN_PROCESS)}
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    envi.save_image(
        str(fenced / "scene.hdr"),
        scene_arrays(side=12)["cube"],
        ext="img",
        metadata={"wavelength": [400, 500, 600, 700], "wavelength units": "nm", "data ignore value": -1},
    )
    known |= {f"scene.{kind}": (fenced / f"scene.{kind}").read_bytes() for kind in ("hdr", "img")}
    others = list(known.values())
    counts: Counter[str] = Counter()
    for case in range(120):
        name = list(known)[case % len(known)]
        for whole in ("scene.hdr", "scene.img"):
            (fenced / whole).write_bytes(known[whole])
        (fenced / name).write_bytes(damaged(known[name], others, rng))
        counts[tried(fenced / name)] += 1
    assert counts["refused"] > 60 and untouched(fenced), counts


@pytest.mark.slow
def test_damaged_networks_are_read_or_refused(fenced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = generator(4)
    known = {name: content for name, content in samples().items() if not name.endswith(IN_PROCESS)}
    if all(map(_installed, ("onnx", "onnxruntime"))):
        from tests.diverget.models import onnx_networks

        for make in (onnx_networks.float_network, onnx_networks.qdq_network):
            known[f"{make.__name__}.onnx"] = make(fenced / "sound.onnx").read_bytes()
    others = list(known.values())
    files = []
    for case in range(180):
        name = list(known)[case % len(known)]
        files.append(fenced / f"{case:03d}_{name}")
        files[-1].write_bytes(damaged(known[name], others, rng))
    told = outcomes(files, seconds=SECONDS)
    counts = Counter(told)
    assert counts["ModelError"] > 90 and counts["read"] > 10, counts
    # Whatever it is that came of a file in the child, the caller meets a ValueError.
    monkeypatch.setattr(keras_file, "LOOK_SECONDS", SECONDS)
    odd = [file for file, came in zip(files, told, strict=True) if came not in ("read", "ModelError")]
    assert all(tried(file) == "refused" for file in odd[:8])
    assert untouched(fenced)


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.mark.parametrize("path", sorted(DAMAGED.iterdir()), ids=lambda path: path.name)
def test_files_that_end_or_stall_a_library_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_file, "LOOK_SECONDS", 3.0)
    monkeypatch.setattr(formats, "READ_SECONDS", 10.0)
    keras_file._look_at.cache_clear()
    with pytest.raises(ValueError, match=path.name):
        opened(path)


def packed(save: Callable[[io.BytesIO], object], path: Path) -> Path:
    path.write_bytes(stored(save))
    return path


def test_small_files_that_unpack_to_much_are_refused(tmp_path: Path) -> None:
    zeros = np.zeros((1200, 1200, 60), np.uint8)  # 86 MB
    bombs = [
        packed(partial(np.savez_compressed, cube=zeros), tmp_path / "bomb.npz"),  # type: ignore[arg-type]
        packed(partial(scipy.io.savemat, mdict={"cube": zeros}, do_compression=True), tmp_path / "bomb.mat"),
        tmp_path / "bomb.idx.gz",
        tmp_path / "bomb73.mat",
        tmp_path / "bomb.keras",
    ]
    bombs[2].write_bytes(gzip.compress(struct.pack(">BBBB3i", 0, 0, 8, 3, *zeros.shape) + zeros.tobytes()))
    with h5py.File(bombs[3], "w") as file:
        file.create_dataset("cube", shape=(10**5, 10**5, 100), dtype=np.float64, chunks=(100, 100, 10))
    bombs[4].write_bytes(archive({"config.json": b" " * 90_000_000, "metadata.json": b"{}"}))
    for bomb in bombs:
        with pytest.raises(ValueError, match="promises more than 400 times its own size"):
            opened(bomb)


def test_pickled_arrays_are_never_unpickled(fenced: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (fenced / "marker",)

    objects = np.array([Evil(), None], dtype=object)
    plain = stored(lambda stream: np.save(stream, objects, allow_pickle=True))
    contents = {
        "array.npz": archive({"cube.npy": plain}),
        "bare.npz": plain,
        "pickle.npz": pickle.dumps(Evil()),
        "pickle.mat": pickle.dumps(Evil()),
        "pickle.h5": pickle.dumps(Evil()),
    }
    for name, content in contents.items():
        (fenced / name).write_bytes(content)
        assert tried(fenced / name) == "refused", name
        assert not (fenced / "marker").exists()
    with pytest.raises(ValueError, match="damage"):
        Store(fenced).read_arrays("array.npz")
    assert not (fenced / "marker").exists()


def test_members_of_archives_stay_where_they_are(fenced: Path) -> None:
    known = samples()
    cube = stored(lambda stream: np.save(stream, scene_arrays(side=12)["cube"]))
    way_out = {"../../outside": b"changed", "/tmp/outside": b"changed", "../b/../../outside.npy": cube}
    (fenced / "climbing.npz").write_bytes(archive({"cube.npy": cube, **way_out}))
    (fenced / "climbing.keras").write_bytes(
        archive(
            {"config.json": json.dumps(NETWORK).encode(), "metadata.json": b'{"keras_version": "3.1"}', **way_out}
            | {"assets/../../../outside": b"changed"}
        )
    )
    (fenced / "sound.keras").write_bytes(known["network.keras"])
    tried(fenced / "climbing.npz")
    assert inspect_keras(fenced / "climbing.keras") == inspect_keras(fenced / "sound.keras")
    assert untouched(fenced)


def test_hdf5_does_not_read_other_files(fenced: Path) -> None:
    secret = fenced / "secret.bin"
    secret.write_bytes(np.arange(300, dtype=np.float64).tobytes())
    with h5py.File(fenced / "beside.mat", "w") as file:
        file.create_dataset("cube", shape=(5, 5, 12), dtype=np.float64, external=[(str(secret), 0, 2400)])
    with h5py.File(fenced / "source.mat", "w") as file:
        file.create_dataset("cube", data=np.ones((5, 5, 12)))
    layout = h5py.VirtualLayout(shape=(5, 5, 12), dtype=np.float64)
    layout[:] = h5py.VirtualSource(str(fenced / "source.mat"), "cube", shape=(5, 5, 12))
    with h5py.File(fenced / "virtual.mat", "w") as file:
        file.create_virtual_dataset("cube", layout)
    for name in ("beside.mat", "virtual.mat"):
        with pytest.raises(ValueError, match="takes its values from other files"):
            load_scene(fenced / name)


@pytest.mark.parametrize("name", ["empty.npz", "empty.mat", "empty.h5", "empty.keras", "empty.tflite", "empty.hdr"])
def test_empty_and_misnamed_files_are_refused(tmp_path: Path, name: str) -> None:
    known = samples()
    for content in (b"", known["digits.idx"], known["int8.tflite"] if "tflite" not in name else known["plain.npz"]):
        (tmp_path / name).write_bytes(content)
        assert tried(tmp_path / name) == "refused"


def test_a_config_that_names_damaged_files_is_refused_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "scene.mat").write_bytes((DAMAGED / "ends_the_reader.mat").read_bytes())
    (tmp_path / "c.yaml").write_text(
        "name: x\nscene: {path: scene.mat}\nreferences: [depthwise]\nquantisations: [int8]\nrelations: [offset]\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli", "check", str(tmp_path / "c.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done
    assert "scene.mat" in done.stderr and "copy or download it again" in done.stderr

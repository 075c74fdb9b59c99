"""What a damaged or strange data file is told, and which files a header stands for."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from diverget.formats import companions, read
from diverget.loading import load_scene


def test_a_header_that_promises_more_than_memory_holds(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**7, 10**7)})
    with zipfile.ZipFile(tmp_path / "scene.npz", "w") as archive:
        archive.writestr("cube.npy", header.getvalue())
    with pytest.raises(ValueError, match=r"complete NumPy \.npz file.*scene\.npz.*download it again"):
        read(tmp_path / "scene.npz")


def test_an_archive_that_cannot_be_unpacked(tmp_path: Path) -> None:
    np.savez(tmp_path / "scene.npz", cube=np.ones((3, 3, 3)))
    content = bytearray((tmp_path / "scene.npz").read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 10] = content[8] = 99  # A compression method that nobody has.
    (tmp_path / "scene.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"scene\.npz.*download it again"):
        read(tmp_path / "scene.npz")


def test_idx_lengths_below_zero(tmp_path: Path) -> None:
    (tmp_path / "x-idx2").write_bytes(struct.pack(">HBB2i", 0, 8, 2, -1, -3) + bytes(3))
    with pytest.raises(ValueError, match=r"complete IDX file.*x-idx2"):
        read(tmp_path / "x-idx2")


def test_an_envi_header_stands_for_its_data_file(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    cube = np.ones((4, 5, 3), dtype=np.uint16)
    envi.save_image(str(tmp_path / "s.hdr"), cube, ext="img", metadata={"data ignore value": "none"})
    assert companions(tmp_path / "s.hdr") == (tmp_path / "s.img",)
    assert companions(tmp_path / "s.npz") == ()
    with pytest.raises(ValueError, match=r"`data ignore value` and `bbl`.*s\.hdr.*correct or remove"):
        read(tmp_path / "s.hdr")


def test_envi_data_shorter_than_its_header(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    envi.save_image(str(tmp_path / "s.hdr"), np.ones((5, 7, 4), np.uint16), ext="img")
    data = tmp_path / "s.img"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"100 bytes.*promises {2 * 5 * 7 * 4} bytes"):
        load_scene(tmp_path / "s.hdr")
    data.unlink()
    with pytest.raises(ValueError, match=r"header with its data file.*s\.hdr"):
        load_scene(tmp_path / "s.hdr")


def test_object_arrays_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "scene.npz"
    np.savez(path, cube=np.array([[["a"]], [[{}]]], dtype=object))
    with pytest.raises(ValueError, match=r"cube \(an object array, which is not read because it could run code\)"):
        load_scene(path)

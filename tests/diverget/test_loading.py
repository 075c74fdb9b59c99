"""Files become scenes: formats, keys, masks, labels, wavelengths, and what the errors say."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from diverget.loading import load_images, load_scene
from diverget.scene import UNLABELLED

H, W, B = 5, 7, 4


@pytest.fixture
def cube() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 900, size=(H, W, B)).astype(np.uint16)


@pytest.fixture
def gt() -> np.ndarray:
    labels = np.zeros((H, W), dtype=np.uint8)
    labels[0], labels[1], labels[2] = 3, 7, 12
    return labels


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "scene.npz", **arrays)
    return path / "scene.npz"


def write_mat73(path: Path, **arrays: np.ndarray) -> Path:
    """As MATLAB does: axes reversed, the class in an attribute, texts as character codes, cells as references."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            stored = array.astype(np.uint8) if array.dtype == bool else array
            dataset = file.create_dataset(key, data=stored.T)
            dataset.attrs["MATLAB_class"] = np.bytes_("logical" if array.dtype == bool else "double")
        text = file.create_dataset("title", data=np.array([[ord(c)] for c in "field"], dtype=np.uint16))
        text.attrs["MATLAB_class"] = np.bytes_("char")
        file.create_dataset("#refs#/a", data=np.ones((H, W, B)))
        file.create_dataset("cells", shape=(2,), dtype=h5py.ref_dtype)
    return path


def test_npz_needs_no_keys_beside_a_mask_and_wavelengths(tmp_path: Path, cube: np.ndarray, gt: np.ndarray) -> None:
    exact = np.ones((H, W), dtype=bool)
    path = npz(tmp_path, cube=cube, exact=exact, gt=gt, wavelengths_nm=np.array([400.0, 500, 600, 700]))
    scene = load_scene(path)
    assert scene.cube.dtype == np.float32 and np.array_equal(scene.cube, cube)
    assert scene.valid.all() and scene.name == "scene"
    assert scene.class_names == ("class 3", "class 7", "class 12")
    assert scene.labels is not None and scene.labels.dtype == np.int32
    assert [int(scene.labels[row, 0]) for row in range(4)] == [0, 1, 2, UNLABELLED]
    assert scene.wavelengths is not None and scene.wavelengths.tolist() == [400, 500, 600, 700]
    assert scene.value_range == (0.0, float(cube.max()))
    assert scene.origin["warnings"] == [] and scene.origin["label_values"] == [3, 7, 12]


def test_every_format_gives_the_same_scene(tmp_path: Path, cube: np.ndarray, gt: np.ndarray) -> None:
    savemat(tmp_path / "both5.mat", {"data": cube, "labels": gt})
    savemat(tmp_path / "cube5.mat", {"data": cube})
    savemat(tmp_path / "gt5.mat", {"labels": gt.astype(float)})
    write_mat73(tmp_path / "both73.mat", data=cube, labels=gt.astype(float), flag=np.ones((H, W), bool))
    scenes = [
        load_scene(npz(tmp_path, data=cube, labels=gt)),
        load_scene(tmp_path / "both5.mat"),
        load_scene(tmp_path / "cube5.mat", ground_truth=tmp_path / "gt5.mat"),
        load_scene(tmp_path / "both73.mat"),
        load_scene(str(tmp_path / "cube5.mat"), ground_truth=tmp_path / "both73.mat"),
    ]
    assert len({scene.digest for scene in scenes}) == 1
    assert {scene.class_names for scene in scenes} == {("class 3", "class 7", "class 12")}


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
def test_envi(tmp_path: Path, cube: np.ndarray, gt: np.ndarray, interleave: str) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    header = {
        "wavelength": [0.6, 0.4, 0.5, 0.7],
        "wavelength units": "Micrometers",
        "data ignore value": int(cube[4, 6, 0]),
        "bbl": [1, 1, 0, 1],
    }
    cube[cube == cube[4, 6, 0]] = 1
    cube[4, 6] = header["data ignore value"]
    envi.save_image(str(tmp_path / "s.hdr"), cube, interleave=interleave, metadata=header)
    envi.save_classification(str(tmp_path / "gt.hdr"), (gt > 0) * gt // 3, class_names=list("uabcd"))
    scene = load_scene(tmp_path / "s.hdr", ground_truth=tmp_path / "gt.hdr")
    assert scene.wavelengths is not None and np.allclose(scene.wavelengths, [400, 600, 700])
    assert np.array_equal(scene.cube[:4], cube[:4][:, :, [1, 0, 3]])
    assert scene.origin["bands"] == [1, 0, 3]
    assert not scene.valid[4, 6] and scene.valid.sum() == H * W - 1
    assert scene.class_names == ("a", "b", "d")
    assert ["left out" in w or "sorted" in w for w in scene.origin["warnings"]] == [True, True]


def test_envi_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.hdr").write_text("ENVI\n")
    monkeypatch.setitem(sys.modules, "spectral.io", None)
    monkeypatch.setitem(sys.modules, "spectral.io.spyfile", None)
    with pytest.raises(ValueError, match=r"s\.hdr.*diverget\[envi\]"):
        load_scene(tmp_path / "s.hdr")


def test_masked_pixels_hold_the_mean_of_valid_ones(tmp_path: Path, gt: np.ndarray) -> None:
    cube = np.random.default_rng(1).uniform(1, 2, size=(H, W, B))
    cube[0, 0, 1], cube[1, 1, 2], cube[2, 2, 3] = np.nan, np.inf, -9999
    scene = load_scene(npz(tmp_path, cube=cube, gt=gt), nodata=-9999)
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert np.allclose(scene.cube[0, 0], cube[scene.valid].mean(axis=0))
    assert scene.labels is not None and (scene.labels[~scene.valid] == UNLABELLED).all()
    assert scene.labels[0, 1] == 0
    low, high = scene.value_range
    assert low == 0 and high == pytest.approx(cube[scene.valid].max())
    assert scene.origin["masked_pixels"] == 3


def test_the_caller_s_array_is_not_written_to(tmp_path: Path) -> None:
    cube = np.ones((H, W, B), dtype=np.float32)
    cube[0, 0, 0] = np.nan
    cube[1] = 2
    scene = load_scene(npz(tmp_path, cube=cube))
    assert np.isfinite(scene.cube).all()
    assert scene.labels is None and scene.class_names == ()


@pytest.mark.parametrize("fill", [np.nan, -1.0])
def test_a_band_without_values_is_named(tmp_path: Path, fill: float) -> None:
    cube = np.ones((H, W, B))
    cube[:, :, 2] = fill
    with pytest.raises(ValueError, match=r"nothing else in band 2 \(counted from 0\).*scene\.npz.*remove"):
        load_scene(npz(tmp_path, cube=cube), nodata=-1.0)


def test_every_pixel_masked_by_different_bands(tmp_path: Path) -> None:
    cube = np.ones((H, W, B))
    cube[:3, :, 1] = np.nan
    cube[3:, :, 3] = np.nan
    with pytest.raises(ValueError, match=r"some in every pixel, most in the bands 1, 3"):
        load_scene(npz(tmp_path, cube=cube))


def test_negative_minimum_widens_the_range_and_a_given_range_is_kept(tmp_path: Path) -> None:
    cube = np.linspace(-3, 5, H * W * B).reshape(H, W, B)
    assert load_scene(npz(tmp_path, cube=cube)).value_range == (-3.0, 5.0)
    scene = load_scene(npz(tmp_path, cube=cube), value_range=(0, 10))
    assert scene.value_range == (0.0, 10.0)
    assert "-3 to 5, beyond the range (0, 10)" in scene.origin["warnings"][0]
    with pytest.raises(ValueError, match=r"low < high, got \(4, 4\).*-3 to 5.*scene\.value_range"):
        load_scene(npz(tmp_path, cube=cube), value_range=(4, 4))


def test_class_names_and_negative_labels(tmp_path: Path, cube: np.ndarray, gt: np.ndarray) -> None:
    signed = gt.astype(np.int16)
    signed[4] = -1
    path = npz(tmp_path, cube=cube, gt=signed)
    scene = load_scene(path, class_names=["corn", "hay", "oats"])
    assert scene.class_names == ("corn", "hay", "oats")
    assert scene.labels is not None and (scene.labels[4] == UNLABELLED).all()
    assert "Negative labels" in scene.origin["warnings"][0]
    with pytest.raises(ValueError, match=r"3 class names.*\[3, 7, 12\].*got 2 \(corn, hay\)"):
        load_scene(path, class_names=["corn", "hay"])
    named = load_scene(path, class_names=[f"name {value}" for value in range(1, 15)])
    assert named.labels is not None and [named.labels[row, 0] for row in range(3)] == [2, 6, 11]
    assert named.class_names[6] == "name 7" and named.origin["label_values"] == list(range(1, 15))
    with pytest.raises(ValueError, match=r"only unlabelled ones in gt"):
        load_scene(npz(tmp_path, cube=cube, gt=gt * 0))


@pytest.mark.parametrize(
    ("values", "unit", "expected", "warned"),
    [
        ([400, 500, 600, 700], None, [400, 500, 600, 700], True),
        ([0.4, 0.5, 0.6, 0.7], None, [400, 500, 600, 700], True),
        ([0.4, 0.5, 0.6, 0.7], "um", [400, 500, 600, 700], False),
        ([0.4, 0.5, 0.6, 0.7], "µm", [400, 500, 600, 700], False),
        ([400, 500, 600, 700], "nm", [400, 500, 600, 700], False),
    ],
)
def test_given_wavelengths(
    tmp_path: Path, cube: np.ndarray, values: list[float], unit: str | None, expected: list[float], warned: bool
) -> None:
    scene = load_scene(npz(tmp_path, cube=cube), wavelengths=values, wavelength_unit=unit)
    assert scene.wavelengths is not None and np.allclose(scene.wavelengths, expected)
    assert bool(scene.origin["warnings"]) == warned
    assert not warned or "scene.wavelength_unit" in scene.origin["warnings"][0]


@pytest.mark.parametrize(
    ("stated", "values", "expected"),
    [
        ("Micrometers", [0.4, 0.5, 0.6, 0.7], False),
        ("nm", [0.4, 0.5, 0.6, 0.7], True),
        ("Unknown", [400, 500, 600, 700], True),
    ],
)
def test_stated_units_are_doubted(
    tmp_path: Path, cube: np.ndarray, stated: str, values: list[float], expected: bool
) -> None:
    path = npz(tmp_path, cube=cube, wavelength=np.array(values), wavelength_units=np.array(stated))
    scene = load_scene(path)
    assert scene.wavelengths is not None and np.allclose(scene.wavelengths, [400, 500, 600, 700])
    assert bool(scene.origin["warnings"]) == expected
    assert not expected or repr(stated) in scene.origin["warnings"][0]


def test_overlapping_detectors_are_sorted(tmp_path: Path, cube: np.ndarray) -> None:
    scene = load_scene(npz(tmp_path, cube=cube, wavelengths_nm=np.array([400.0, 930, 920, 1000])))
    assert scene.wavelengths is not None and scene.wavelengths.tolist() == [400, 920, 930, 1000]
    assert np.array_equal(scene.cube, cube[:, :, [0, 2, 1, 3]])
    assert "sorted by wavelength" in scene.origin["warnings"][0] and scene.origin["bands"] == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"wavelengths": [400, 500]}, r"each of the 4 bands.*got 2 from scene\.wavelengths"),
        ({"wavelengths": [0, 0, 500, 600]}, r"positive band centres, got 0 for band 0 and 1 more"),
        ({"wavelengths": [400, 500, 600, 700], "wavelength_unit": "um"}, r"got 400 to 700 um"),
        ({"wavelengths": [400, 500, 600, 700], "wavelength_unit": "parsec"}, r"nm or um, got 'parsec'"),
        ({"wavelengths": [1e6, 2e6, 3e6, 4e6]}, r"nm or µm, got 1e\+06 to 4e\+06"),
        ({"cube_key": "radiance"}, r"key 'radiance' \(scene\.cube_key\), got cube \(5, 7, 4\) uint16"),
        ({"label_key": "nothing"}, r"key 'nothing' \(scene\.label_key\)"),
        ({"label_key": "cube"}, r"key 'cube' \(scene\.label_key\)"),
    ],
)
def test_wrong_arguments(tmp_path: Path, cube: np.ndarray, gt: np.ndarray, keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_scene(npz(tmp_path, cube=cube, gt=gt), **keywords)


def test_wavelengths_of_the_file_must_fit_and_agree(tmp_path: Path, cube: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"each of the 4 bands.*got 6 from wavelengths of .*scene\.npz"):
        load_scene(npz(tmp_path, cube=cube, wavelengths=np.arange(400.0, 460, 10)))
    two = {"wavelength": np.arange(400.0, 404), "wavelengths": np.arange(500.0, 504)}
    with pytest.raises(ValueError, match=r"got wavelength and wavelengths with different values"):
        load_scene(npz(tmp_path, cube=cube, **two))


def test_ambiguous_keys_list_the_candidates(tmp_path: Path, cube: np.ndarray, gt: np.ndarray) -> None:
    path = npz(tmp_path, a=cube, b=cube + 1, gt=gt, fold=gt + 1)
    with pytest.raises(
        ValueError, match=r"2 candidates.*a \(5, 7, 4\), b \(5, 7, 4\); choose one with scene\.cube_key"
    ):
        load_scene(path)
    with pytest.raises(ValueError, match=r"gt \(5, 7\), fold \(5, 7\); choose one with scene\.label_key"):
        load_scene(path, cube_key="b")
    assert load_scene(path, cube_key="b", label_key="gt").cube[0, 0, 0] == cube[0, 0, 0] + 1


def test_ground_truth_of_another_size(tmp_path: Path, cube: np.ndarray, gt: np.ndarray) -> None:
    np.savez(tmp_path / "gt.npz", gt=gt.T)
    with pytest.raises(ValueError, match=r"size 5 x 7, got gt \(7, 5\) uint8.*gt\.npz.*exchanged"):
        load_scene(npz(tmp_path, cube=cube), ground_truth=tmp_path / "gt.npz")
    np.savez(tmp_path / "gt.npz", gt=gt[:3])
    with pytest.raises(ValueError, match=r"size 5 x 7, got gt \(3, 7\).*very cube"):
        load_scene(npz(tmp_path, cube=cube), ground_truth=tmp_path / "gt.npz")
    with pytest.raises(ValueError, match=r"size 5 x 7, got .*gt \(3, 7\)"):
        load_scene(npz(tmp_path, cube=cube, gt=gt[:3]), label_key="gt")


def test_measured_values_are_no_labels(tmp_path: Path) -> None:
    cube = np.ones((30, 30, 2))
    with pytest.raises(ValueError, match=r"900 different values in dem.*scene\.label_key"):
        load_scene(npz(tmp_path, cube=cube + np.arange(2), dem=np.arange(1, 901).reshape(30, 30)))


def test_files_without_a_cube(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cube \(rows, columns, bands\), got spectra \(9, 4\) float64.*savez"):
        load_scene(npz(tmp_path, spectra=np.ones((9, 4))))
    with pytest.raises(ValueError, match=r"got names \(not real numbers but <U1\)"):
        load_scene(npz(tmp_path, names=np.array(["a", "b"])))
    with pytest.raises(ValueError, match=r"got cube \(not real numbers but complex128\)"):
        load_scene(npz(tmp_path, cube=np.ones((2, 2, 2), dtype=complex)))
    with pytest.raises(ValueError, match=r"empty shape \(0, 2, 2\) in array cube"):
        load_scene(npz(tmp_path, cube=np.ones((0, 2, 2))))
    savemat(tmp_path / "s.mat", {"scene": {"cube": np.ones((2, 2, 2))}})
    with pytest.raises(ValueError, match=r"got scene \(a structure with fields cube\)"):
        load_scene(tmp_path / "s.mat")


def test_missing_damaged_and_unknown_files(tmp_path: Path, cube: np.ndarray) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mat.*correct the path"):
        load_scene(tmp_path / "nowhere.mat")
    with pytest.raises(ValueError, match="got the directory"):
        load_scene(tmp_path)
    (tmp_path / "cube.tif").write_bytes(b"II*")
    with pytest.raises(ValueError, match=r"\.mat, \.npz, \.hdr or IDX, got .*cube\.tif"):
        load_scene(tmp_path / "cube.tif")
    savemat(tmp_path / "c.mat", {"cube": np.tile(cube, (9, 9, 1))}, do_compression=True)
    write_mat73(tmp_path / "h.mat", cube=cube)
    stored = npz(tmp_path, cube=cube)
    for path in (tmp_path / "c.mat", tmp_path / "h.mat", stored):
        whole = path.read_bytes()
        for share in (0.0, 0.02, 0.3, 0.6, 0.95):
            path.write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(ValueError, match=rf"{path.name}.*(download it again|savez)"):
                load_scene(path)


def test_digest_follows_cube_labels_and_wavelengths(tmp_path: Path, cube: np.ndarray, gt: np.ndarray) -> None:
    nm = [400.0, 500, 600, 700]
    first = load_scene(npz(tmp_path, cube=cube, gt=gt), wavelengths=nm).digest
    assert first == load_scene(npz(tmp_path, cube=cube, gt=gt), wavelengths=nm, name="other").digest
    assert first != load_scene(npz(tmp_path, cube=cube), wavelengths=nm).digest
    assert first != load_scene(npz(tmp_path, cube=cube, gt=gt)).digest
    cube[4, 6, 3] += 1
    assert first != load_scene(npz(tmp_path, cube=cube, gt=gt), wavelengths=nm).digest


def write_idx(path: Path, array: np.ndarray) -> Path:
    raw = struct.pack(f">HBB{array.ndim}i", 0, 0x08, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_images(tmp_path: Path, suffix: str) -> None:
    images = np.random.default_rng(2).integers(0, 200, (6, 3, 4)).astype(np.uint8)
    digits = np.array([0, 1, 5, 1, 0, 5], dtype=np.uint8)
    x = write_idx(tmp_path / f"x-idx3-ubyte{suffix}", images)
    y = write_idx(tmp_path / f"y-idx1-ubyte{suffix}", digits)
    found = load_images(x, labels=y)
    assert found.images.shape == (6, 3, 4, 1) and found.images.dtype == np.float32
    assert np.array_equal(found.images[..., 0], images)
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2, 1, 0, 2]
    assert found.class_names == ("class 0", "class 1", "class 5")
    assert found.value_range == (0.0, 255.0)
    x.write_bytes(x.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"x-idx3.*copy or download it again"):
        load_images(x)


def test_npz_images(tmp_path: Path) -> None:
    images = np.random.default_rng(3).normal(size=(4, 3, 3, 2))
    found = load_images(npz(tmp_path, x=images, y=np.array([[2], [2], [9], [-1]])), class_names=["cat", "dog"])
    assert found.labels is not None and found.labels.tolist() == [0, 0, 1, UNLABELLED]
    assert found.class_names == ("cat", "dog")
    digits = load_images(tmp_path / "scene.npz", class_names=list("0123456789"))
    assert digits.labels is not None and digits.labels.tolist() == [2, 2, 9, UNLABELLED]
    with pytest.raises(ValueError, match=r"correct images\.class_names"):
        load_images(tmp_path / "scene.npz", class_names=["cat"])
    with pytest.raises(ValueError, match=r"set images\.value_range"):
        load_images(tmp_path / "scene.npz", value_range=(1, 1))
    assert found.value_range[0] == pytest.approx(images.min())
    with pytest.raises(
        ValueError, match=r"x_train \(4, 3, 3, 2\), x_test \(4, 3, 3, 2\); choose one with images\.image_key"
    ):
        load_images(npz(tmp_path, x_train=images, x_test=images))
    images[2, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"infinity in image 2 of x"):
        load_images(npz(tmp_path, x=images))
    with pytest.raises(ValueError, match=r"4 integer labels, one an image"):
        load_images(npz(tmp_path, x=images, y=np.arange(5)), label_key="y")


@pytest.mark.real_data
def test_indian_pines(shared_data: Path) -> None:
    folder = shared_data / "hyperspectral" / "indian_pines"
    scene = load_scene(folder / "indian_pines_cube.npz")
    assert scene.cube.shape == (145, 145, 200) and scene.value_range == (0.0, 9604.0)
    assert scene.labels is not None and (scene.labels != UNLABELLED).sum() == 10_249
    assert np.bincount(scene.labels[scene.labels >= 0])[[0, 8, 10]].tolist() == [46, 20, 2455]
    assert scene.wavelengths is not None and (np.diff(scene.wavelengths) >= 0).all()
    other = load_scene(folder / "indian_pines_cube.npz", ground_truth=folder / "Indian_pines_gt.mat")
    assert other.digest == scene.digest
    with pytest.raises(ValueError, match=r"spectra \(10249, 200\)"):
        load_scene(folder / "indian_pines_labelled.npz")


@pytest.mark.real_data
def test_pavia_ground_truth_is_not_of_the_crop(shared_data: Path) -> None:
    folder = shared_data / "hyperspectral" / "pavia_university"
    assert load_scene(folder / "pavia_university_crop.npz").class_names[2] == "class 4"
    with pytest.raises(ValueError, match=r"140 x 80, got paviaU_gt \(610, 340\)"):
        load_scene(folder / "pavia_university_crop.npz", ground_truth=folder / "PaviaU_gt.mat")


@pytest.mark.real_data
def test_mnist(shared_data: Path) -> None:
    folder = shared_data / "images" / "mnist"
    found = load_images(
        folder / "t10k-images-idx3-ubyte.gz",
        labels=folder / "t10k-labels-idx1-ubyte.gz",
        class_names=list("0123456789"),
    )
    assert found.images.shape == (10_000, 28, 28, 1) and found.labels is not None
    assert found.labels[:5].tolist() == [7, 2, 1, 0, 4]

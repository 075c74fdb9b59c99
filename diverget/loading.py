"""From a file to a `Scene` or an `ImageSet`: which array is what, what is masked, what the labels mean."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diverget import wavelengths as band_centres
from diverget.formats import Contents, pick, read
from diverget.labels import encode, find_labels, no_labels
from diverget.scene import UNLABELLED, ImageSet, Scene


def load_scene(
    path: str | Path,
    *,
    ground_truth: str | Path | None = None,
    cube_key: str | None = None,
    label_key: str | None = None,
    wavelengths: Sequence[float] | None = None,
    wavelength_unit: str | None = None,
    nodata: float | None = None,
    value_range: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> Scene:
    """The scene stored in `path`, masked, labelled and in ascending wavelengths.

    A pixel with a NaN, an infinity or the no-data value in any band is masked: it holds the mean of each band
    and has no label. Label 0 is unlabelled, and so are negative ones; the other values become 0..k-1 in
    ascending order.

    Args:
        path: `.mat` (5 or 7.3), `.npz`, or an ENVI header `.hdr`.
        ground_truth: the file of the labels, where they are not in `path`.
        cube_key: key of the cube; needed only where several arrays have three axes.
        label_key: key of the labels; needed only where several integer arrays have the cube's size.
        wavelengths: band centres, instead of those in the file.
        wavelength_unit: "nm" or "um"; without it, what the file states or, failing that, a guess with a warning.
        nodata: the value that means "no data"; without it, what the file states.
        value_range: (low, high) of valid values; without it (min(0, smallest), largest) of the valid pixels.
        class_names: one name for each label value found, in ascending order; or more, for the values 1, 2, 3, ...,
            where the ground truth lacks some of them. Without names, "class 3" by original value.
        name: what the report calls the scene; without it, the file's name.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the data cannot be taken as a scene; the message says what to change.
    """
    contents, file = read(path), str(path)
    cube_key, raw = pick(
        contents, cube_key, _is_cube, what="a numeric cube (rows, columns, bands)", option="scene.cube_key"
    )
    _require_size(raw, f"array {cube_key} of {file}")
    file_bands = raw.shape[2]
    warnings: list[str] = []

    labels_file = contents if ground_truth is None else read(ground_truth)
    found = find_labels(labels_file, label_key, raw.shape[:2], cube_key if ground_truth is None else None)
    if found is None and ground_truth is not None:
        raise no_labels(labels_file, raw.shape[:2])

    nodata = contents.nodata if nodata is None else nodata
    centres, source = _wavelengths(contents, wavelengths, wavelength_unit, raw.shape[2], warnings)
    bands = np.arange(raw.shape[2])
    if contents.keep is not None and len(contents.keep) == len(bands) and not contents.keep.all():
        bands = np.flatnonzero(contents.keep)
        warnings.append(f"{raw.shape[2] - len(bands)} of {raw.shape[2]} bands were left out: {file} calls them bad.")
    if centres is not None and (np.diff(centres[bands]) < 0).any():
        bands = bands[np.argsort(centres[bands], kind="stable")]
        warnings.append(f"Bands were sorted by wavelength: those in {file} do not ascend (overlapping detectors?).")
    if not np.array_equal(bands, np.arange(raw.shape[2])):
        raw = raw[:, :, bands]
        centres = None if centres is None else centres[bands]

    cube, valid = _masked(raw, nodata, bands, file)
    if valid.mean() < 0.5:
        warnings.append(f"{1 - valid.mean():.0%} of the pixels are masked as NaN or no-data {nodata!r}; is that meant?")

    labels, names = None, tuple(class_names or ())
    label_values: list[int] = []
    if found is not None:
        labels, names, label_values = encode(
            found[1],
            class_names,
            smallest=1,
            given=labels_file.class_names,
            source=f"{found[0]} of {labels_file.path}",
            section="scene",
        )
        if (found[1] < 0).any():
            warnings.append(f"Negative labels in {found[0]} of {labels_file.path} were taken as unlabelled.")
        labels[~valid] = UNLABELLED

    return Scene(
        name=name or Path(path).stem,
        cube=cube,
        valid=valid,
        labels=labels,
        class_names=names,
        wavelengths=centres,
        value_range=_range(cube, value_range, file, warnings, "scene"),
        digest=digest(cube, labels, centres),
        origin={
            "file": file,
            "cube_key": cube_key,
            "ground_truth": None if found is None else str(labels_file.path),
            "label_key": None if found is None else found[0],
            "label_values": label_values,
            "wavelengths": source,
            "nodata": nodata,
            "masked_pixels": int((~valid).sum()),
            "file_bands": file_bands,
            "bands": None if np.array_equal(bands, np.arange(len(bands))) else bands.tolist(),
            "warnings": warnings,
        },
    )


def load_images(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
    value_range: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
    name: str | None = None,
) -> ImageSet:
    """The images stored in `path`, (N, h, w, c) float32.

    Here 0 is a class like any other; only negative labels are unlabelled.

    Args:
        path: `.npz`, `.mat`, or IDX (gzip or not), with images (N, h, w) or (N, h, w, c).
        labels: the file of the labels, where they are not in `path`.
        image_key, label_key: keys, needed only where several arrays would do.
        value_range: (low, high) of valid values; without it 0 to 255 for uint8, else (min(0, smallest), largest).
        class_names: one name for each label value found, in ascending order; or more, for the values 0, 1, 2, ...,
            where the labels lack some of them. Without names, "class 3" by original value.
        name: what the report calls the set; without it, the file's name.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the data cannot be taken as images; the message says what to change.
    """
    contents = read(path)
    image_key, raw = pick(
        contents,
        image_key,
        lambda array: array.ndim in (3, 4) and array.dtype.kind in "uif",
        what="numeric images (N, h, w) or (N, h, w, c)",
        option="images.image_key",
    )
    _require_size(raw, f"array {image_key} of {path}")
    warnings: list[str] = []
    labels_file = contents if labels is None else read(labels)

    def suits(array: np.ndarray) -> bool:
        return array.dtype.kind in "ui" and array.shape in ((len(raw),), (len(raw), 1), (1, len(raw)))

    found = None
    if labels is not None or label_key is not None or any(map(suits, labels_file.arrays.values())):
        found = pick(
            labels_file,
            label_key,
            suits,
            what=f"{len(raw)} integer labels, one an image",
            option="images.label_key",
        )
    encoded, names = None, tuple(class_names or ())
    label_values: list[int] = []
    if found is not None:
        encoded, names, label_values = encode(
            found[1].ravel(),
            class_names,
            smallest=0,
            given=(),
            source=f"{found[0]} of {labels_file.path}",
            section="images",
        )
    images = np.ascontiguousarray(raw, dtype=np.float32)
    images = images[..., None] if images.ndim == 3 else images
    if not np.isfinite(images).all():
        first = int(np.argwhere(~np.isfinite(images))[0][0])
        raise ValueError(
            f"Expected finite values, got NaN or infinity in image {first} of {image_key} in {path}; "
            "remove that image or repair it."
        )
    if value_range is None and raw.dtype == np.uint8:
        value_range = (0.0, 255.0)
    return ImageSet(
        name=name or Path(path).name.partition(".")[0],
        images=images,
        labels=encoded,
        class_names=names,
        value_range=_range(images, value_range, str(path), warnings, "images"),
        digest=digest(images, encoded, None),
        origin={
            "file": str(path),
            "image_key": image_key,
            "ground_truth": None if found is None else str(labels_file.path),
            "label_key": None if found is None else found[0],
            "label_values": label_values,
            "warnings": warnings,
        },
    )


def digest(values: np.ndarray, labels: np.ndarray | None, wavelengths: np.ndarray | None) -> str:
    """SHA-256, in hexadecimal, over values, labels and wavelengths with their shapes and types."""
    total = hashlib.sha256()
    for array in (values, labels, wavelengths):
        if array is None:
            total.update(b"none;")
        else:
            total.update(f"{array.shape}{array.dtype};".encode())
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def _is_cube(array: np.ndarray) -> bool:
    return array.ndim == 3 and array.dtype.kind in "uif"


def _require_size(array: np.ndarray, source: str) -> None:
    if 0 in array.shape:
        raise ValueError(f"Expected at least one value, got the empty shape {array.shape} in {source}; save it anew.")


def _wavelengths(
    contents: Contents, given: Sequence[float] | None, unit: str | None, bands: int, warnings: list[str]
) -> tuple[np.ndarray | None, str | None]:
    """Band centres in nm in the order of the file's bands, and where they come from; (None, None) without any."""
    if given is not None:
        values, stated, source = np.asarray(given, dtype=np.float64), "", "scene.wavelengths"
    else:
        found = band_centres.find(contents.arrays, contents.texts, file=str(contents.path))
        if found is None:
            return None, None
        values, stated, source = found[0], found[1], f"{found[2]} of {contents.path}"
    if values.size != bands:
        raise ValueError(
            f"Expected one wavelength for each of the {bands} bands of {str(contents.path)!r}, got {values.size} from "
            f"{source}; give the centres of the bands that the cube still has under scene.wavelengths."
        )
    centres, guessed = band_centres.in_nm(values, unit=unit, stated=stated, source=source)
    warnings.extend(guessed)
    return centres, source


def _masked(raw: np.ndarray, nodata: float | None, bands: np.ndarray, file: str) -> tuple[np.ndarray, np.ndarray]:
    """The cube in float32 with masked pixels at the bands' means, and which pixels are valid."""
    with np.errstate(over="ignore"):
        cube = np.ascontiguousarray(raw, dtype=np.float32)
    bad: np.ndarray = ~np.isfinite(cube)
    if nodata is not None:
        bad |= raw == nodata
    valid = np.logical_not(np.asarray(bad.any(axis=2)))
    if not valid.any():
        empty = bands[bad.all(axis=(0, 1))]
        worst = bands[np.argsort(-bad.sum(axis=(0, 1)), kind="stable")][:5]
        which = (
            f"nothing else in band {', '.join(map(str, empty[:20]))}"
            if empty.size
            else (f"some in every pixel, most in the bands {', '.join(map(str, worst))}")
        )
        raise ValueError(
            f"Expected pixels with a value in every band, got NaN, infinity or no-data ({nodata!r}): {which} "
            f"(counted from 0) of {file}; remove such bands from the cube and their wavelengths, or correct "
            "scene.nodata."
        )
    if not valid.all():
        if np.may_share_memory(cube, raw):
            cube = cube.copy()
        cube[~valid] = cube[valid].mean(axis=0, dtype=np.float64)
    return cube, valid


def _range(
    values: np.ndarray, given: tuple[float, float] | None, file: str, warnings: list[str], section: str
) -> tuple[float, float]:
    """(low, high) of valid values: `given`, or (min(0, smallest), largest)."""
    smallest, largest = float(values.min()), float(values.max())
    if given is None:
        low, high = min(0.0, smallest), largest
    else:
        low, high = float(given[0]), float(given[1])
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(
            f"Expected a range of values with low < high, got ({low:g}, {high:g}) for {file}, whose values go from "
            f"{smallest:g} to {largest:g}; set {section}.value_range."
        )
    if smallest < low or largest > high:
        warnings.append(f"Values of {file} go from {smallest:g} to {largest:g}, beyond the range ({low:g}, {high:g}).")
    return low, high

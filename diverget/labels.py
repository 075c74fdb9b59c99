"""What the labels mean: the ground truth of a cube found, its values turned into classes 0..k-1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diverget.formats import Contents, pick
from diverget.scene import UNLABELLED


def plane(array: np.ndarray) -> np.ndarray:
    """A map of one band, (H, W, 1), as (H, W); anything else as it is."""
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array


def find_labels(
    contents: Contents, key: str | None, size: tuple[int, ...], cube_key: str | None
) -> tuple[str, np.ndarray] | None:
    """The key and the values (H, W) int64 of the ground truth of a cube of `size`; None where there is none.

    MATLAB saves labels as double unless told otherwise, so whole numbers count as integers whatever their type.
    """
    maps = {name: plane(array) for name, array in contents.arrays.items() if name != cube_key}

    def whole(array: np.ndarray) -> bool:
        if array.dtype.kind == "f":
            return bool(np.isfinite(array).all() and (array == np.round(array)).all())
        return array.dtype.kind in "ui"

    if key is None and not any(array.shape == size and whole(array) for array in maps.values()):
        return None
    planes = Contents(contents.path, maps, contents.texts, contents.refused)
    if key is not None and key in maps and maps[key].ndim == 2 and maps[key].shape != size:
        raise no_labels(planes, size, key)
    key, array = pick(
        planes,
        key,
        lambda array: array.shape == size and whole(array),
        what=f"a 2-D map of whole label numbers with {size[0]} x {size[1]} pixels",
        option="scene.label_key",
    )
    return key, array.astype(np.int64)


def no_labels(contents: Contents, size: tuple[int, ...], key: str | None = None) -> ValueError:
    """The error for a file without a ground truth of a cube of `size`, with a guess at the cause."""
    shapes = [plane(array).shape for name, array in contents.arrays.items() if key in (None, name)]
    advice = "give the ground truth of this very cube, with whole numbers"
    if size[::-1] in shapes and size[0] != size[1]:
        advice = "rows and columns are exchanged: transpose the ground truth or the cube"
    return ValueError(
        f"Expected a ground truth of the cube's size {size[0]} x {size[1]}, got {contents.inventory()} in "
        f"{str(contents.path)!r}; {advice} (is the cube's order of axes rows, columns, bands?)."
    )


def encode(
    raw: np.ndarray,
    class_names: Sequence[str] | None,
    *,
    smallest: int,
    given: tuple[str, ...],
    source: str,
    section: str,
) -> tuple[np.ndarray, tuple[str, ...], list[int]]:
    """Labels 0..k-1 int32 with `UNLABELLED` below `smallest`, their names, and the original values.

    More names than values found say what all values from `smallest` on are called: value v is then class
    v - `smallest`, whether others are missing or not.
    """
    values = np.unique(raw[raw >= smallest])
    if not values.size:
        raise ValueError(
            f"Expected at least one label of {smallest} or more, got only unlabelled ones in {source}; give another "
            "ground truth, or none."
        )
    if len(values) > max(256, raw.size // 4):
        raise ValueError(
            f"Expected class numbers, got {len(values)} different values in {source}; this looks like measured data: "
            f"choose the array of labels with {section}.label_key."
        )
    if class_names is not None and len(class_names) > len(values) and values[-1] < smallest + len(class_names):
        values = np.arange(smallest, smallest + len(class_names))
    if class_names is not None and len(class_names) != len(values):
        raise ValueError(
            f"Expected {len(values)} class names, one for each of the label values {values.tolist()} in {source}, got "
            f"{len(class_names)} ({', '.join(class_names)}); correct {section}.class_names: one name a value found, or "
            f"names for all values from {smallest} to {values[-1]} and beyond."
        )
    if class_names is None and len(given) > values[-1]:
        class_names = [given[value] for value in values]
    names = tuple(class_names or (f"class {value}" for value in values))
    labels = np.where(raw >= smallest, np.searchsorted(values, raw), UNLABELLED).astype(np.int32)
    return labels, names, values.tolist()

"""Patches: windows cut from a scene (or whole images), and the fields of random relations cut alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diverget.randomness import Purpose, generator, key
from diverget.scene import UNLABELLED, ImageSet, Scene
from relations.core import Relation


@dataclass(frozen=True)
class Patches:
    """A batch of patches with their surroundings.

    Attributes:
        x: (n, h + 2·margin, w + 2·margin, b) float32 in the data's own unit.
        labels: (n,) int32, `UNLABELLED` where unknown.
        ids: (n,) int64; row · W + column of the centre pixel in a scene, the image's number in an image set.
        blocks: (n,) int32, the spatial block of each patch: patches of one block are not independent.
        margin: pixels of surroundings on each side.
        row_index, col_index: (n, h + 2m) and (n, w + 2m) int64, the pixel each window reads, mirrored at the
            edge of the data. In an image set they count inside the image.
        shape: (H, W, B) of what they were cut from.
        separate: True where each patch is an image of its own.
    """

    x: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    blocks: np.ndarray
    margin: int
    row_index: np.ndarray
    col_index: np.ndarray
    shape: tuple[int, int, int]
    separate: bool

    def __len__(self) -> int:
        return len(self.ids)

    def source(self) -> np.ndarray:
        """The patches without their margin, (n, h, w, b)."""
        inner = slice(self.margin, -self.margin) if self.margin else slice(None)
        return self.x[:, inner, inner]


def mirrored(index: np.ndarray, length: int) -> np.ndarray:
    """`index` folded into 0..length-1 by reflection at the ends, the edge pixel not repeated."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.abs(index) % period
    return np.where(index >= length, period - index, index)


def cut(data: Scene | ImageSet, ids: np.ndarray, *, size: int, margin: int, blocks: np.ndarray) -> Patches:
    """The patches around the pixels (or the images) `ids`, with `margin` pixels of surroundings.

    Args:
        data: a scene, or a set of images.
        ids: (n,) flat pixel indices of the centres, or image numbers.
        size: side of a patch in pixels, odd; ignored for images, which are taken whole.
        margin: pixels of surroundings; beyond the edge of the data they are mirrored.
        blocks: (n,) block of each patch.
    """
    ids = np.asarray(ids, dtype=np.int64)
    if isinstance(data, ImageSet):
        height, width, bands = data.images.shape[1:]
        rows = np.broadcast_to(mirrored(np.arange(-margin, height + margin), height), (len(ids), height + 2 * margin))
        cols = np.broadcast_to(mirrored(np.arange(-margin, width + margin), width), (len(ids), width + 2 * margin))
        x = data.images[ids[:, None, None], rows[:, :, None], cols[:, None, :]]
        labels = data.labels
        separate = True
    else:
        height, width, bands = data.cube.shape
        reach = np.arange(-(size // 2) - margin, size // 2 + margin + 1)
        rows = mirrored(ids[:, None] // width + reach, height)
        cols = mirrored(ids[:, None] % width + reach, width)
        x = data.cube[rows[:, :, None], cols[:, None, :]]
        labels = None if data.labels is None else data.labels.ravel()
        separate = False
    return Patches(
        x=x,
        labels=np.full(len(ids), UNLABELLED, np.int32) if labels is None else labels[ids].astype(np.int32),
        ids=ids,
        blocks=np.asarray(blocks, dtype=np.int32),
        margin=margin,
        row_index=rows,
        col_index=cols,
        shape=(height, width, bands),
        separate=separate,
    )


@dataclass(frozen=True)
class Field:
    """The random field of one slot of a space, drawn once, read through the patches' windows.

    Attributes:
        values: (H | 1, W | 1, B | 1) over a whole scene, or (n, H | 1, W | 1, B | 1), one an image.
    """

    values: np.ndarray

    def under(self, patches: Patches, rows: np.ndarray, margin: int) -> np.ndarray:
        """The field under the patches `rows` (their positions in `patches`), broadcastable to their windows.

        `margin` pixels of surroundings are left of the patches' own where the field is wanted.
        """
        spent = patches.margin - margin
        height, width = self.values.shape[-3:-1]
        row = (
            patches.row_index[rows, spent : patches.row_index.shape[1] - spent]
            if height > 1
            else np.zeros((len(rows), 1), dtype=np.int64)
        )
        col = (
            patches.col_index[rows, spent : patches.col_index.shape[1] - spent]
            if width > 1
            else np.zeros((len(rows), 1), dtype=np.int64)
        )
        if patches.separate:
            return self.values[rows[:, None, None], row[:, :, None], col[:, None, :]]
        return self.values[row[:, :, None], col[:, None, :]]


def draw_field(relation: Relation, patches: Patches, *, seed: int, draw: int = 0) -> Field | None:
    """The field of a relation: over the whole scene, or for each image from a stream keyed by its number.

    It depends on the root seed, the number of the draw, the relation's name and the data's shape alone: whatever
    patches are asked for, in whatever chain, patch 37 gets the same numbers. A search keeps draw 0, so that it
    climbs the relation and not the dice; rates draw anew. None where the relation draws nothing.
    """
    if relation.draw is None:
        return None
    slot = key(relation.name)
    if not patches.separate:
        return Field(
            relation.draw(generator(seed, Purpose.FIELD, slot, draw), patches.shape).astype(np.float32, copy=False)
        )
    streams = [generator(seed, Purpose.FIELD, slot, draw, int(number)) for number in patches.ids]
    return Field(np.stack([relation.draw(rng, patches.shape) for rng in streams]).astype(np.float32))

"""Patches: windows into a scene (or whole images), and the fields of random relations read through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diverget.randomness import Purpose, generator, key
from diverget.scene import UNLABELLED, ImageSet, Scene
from relations.core import Drawn, Relation, each_layer

HELD_BYTES = 1 << 28
"""Windows are cut for all patches once where that takes at most this much memory, else anew whenever asked for."""


@dataclass(frozen=True)
class Patches:
    """Windows into a scene or a set of images, with their surroundings.

    Attributes:
        data: what they look into, (H, W, B) of a scene or (N, H, W, B) of images, float32 in the data's own unit.
        labels: (n,) int32, `UNLABELLED` where unknown.
        ids: (n,) int64; row · W + column of the centre pixel in a scene, the image's number in an image set.
        blocks: (n,) int32, the spatial block of each patch: patches of one block are not independent.
        margin: pixels of surroundings on each side.
        row_index, col_index: (n, h + 2m) and (n, w + 2m) int64, the pixel each window reads, mirrored at the
            edge of the data. In an image set they count inside the image.
    """

    data: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    blocks: np.ndarray
    margin: int
    row_index: np.ndarray
    col_index: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def separate(self) -> bool:
        """Whether each patch is an image of its own."""
        return self.data.ndim == 4

    @property
    def places(self) -> np.ndarray:
        """Row and column (n, 2) of each patch in the scene; of images their number and 0."""
        if self.separate:
            return np.stack([self.ids, np.zeros_like(self.ids)], axis=1)
        return np.stack(np.divmod(self.ids, self.extent[1]), axis=1)

    @property
    def extent(self) -> tuple[int, int, int]:
        """(H, W, B) of what the windows look into: the scene, or one image."""
        height, width, bands = self.data.shape[-3:]
        return height, width, bands

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, b) of a patch without its surroundings."""
        spent = 2 * self.margin
        return self.row_index.shape[1] - spent, self.col_index.shape[1] - spent, self.data.shape[-1]

    def windows(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The patches `rows` (all of them without) with their surroundings, (r, h + 2m, w + 2m, b) float32."""
        held = self.held
        if held is not None:
            return held if rows is None else taken(held, rows)
        return self._cut(np.arange(len(self)) if rows is None else rows, self.margin)

    def source(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The patches `rows` (all of them without) without their surroundings, (r, h, w, b) float32."""
        if self.held is None:
            return self._cut(np.arange(len(self)) if rows is None else rows, 0)
        inner = slice(self.margin, -self.margin) if self.margin else slice(None)
        return self.windows(rows)[:, inner, inner]

    @cached_property
    def held(self) -> np.ndarray | None:
        """All windows, where they take little memory."""
        size = self.row_index.shape[1] * self.col_index.shape[1] * self.data.shape[-1] * self.data.itemsize
        return None if len(self) * size > HELD_BYTES else self._cut(np.arange(len(self)), self.margin)

    def read(self, values: np.ndarray, rows: np.ndarray, margin: int) -> np.ndarray:
        """What stands in `values` under the patches `rows` with `margin` pixels of surroundings.

        Args:
            values: over the whole extent, (H | 1, W | 1, ·), or one for each patch, (n, H | 1, W | 1, ·).
            rows: (r,) positions of patches.
            margin: at most the patches' own.
        """
        spent = self.margin - margin
        height, width = values.shape[-3:-1]
        nowhere = np.zeros((len(rows), 1), dtype=np.int64)
        row = self.row_index[rows, spent : self.row_index.shape[1] - spent] if height > 1 else nowhere
        col = self.col_index[rows, spent : self.col_index.shape[1] - spent] if width > 1 else nowhere
        if values.ndim == 4:
            return values[rows[:, None, None], row[:, :, None], col[:, None, :]]
        return values[row[:, :, None], col[:, None, :]]

    def _cut(self, rows: np.ndarray, margin: int) -> np.ndarray:
        spent = self.margin - margin
        row = self.row_index[rows, spent : self.row_index.shape[1] - spent, None]
        col = self.col_index[rows, None, spent : self.col_index.shape[1] - spent]
        if self.separate:
            return self.data[self.ids[rows][:, None, None], row, col]
        return self.data[row, col]


def taken(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`x[rows]`, as a view where the rows follow each other, as they do when every patch is asked."""
    if len(rows) and (np.diff(rows) == 1).all():
        return x[rows[0] : rows[-1] + 1]
    return x[rows]


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
        values, labels = data.images, data.labels
        height, width = values.shape[1:3]
        rows = np.broadcast_to(mirrored(np.arange(-margin, height + margin), height), (len(ids), height + 2 * margin))
        cols = np.broadcast_to(mirrored(np.arange(-margin, width + margin), width), (len(ids), width + 2 * margin))
    else:
        values, labels = data.cube, None if data.labels is None else data.labels.ravel()
        height, width = values.shape[:2]
        reach = np.arange(-(size // 2) - margin, size // 2 + margin + 1)
        rows = mirrored(ids[:, None] // width + reach, height)
        cols = mirrored(ids[:, None] % width + reach, width)
    return Patches(
        data=values,
        labels=np.full(len(ids), UNLABELLED, np.int32) if labels is None else labels[ids].astype(np.int32),
        ids=ids,
        blocks=np.asarray(blocks, dtype=np.int32),
        margin=margin,
        row_index=rows,
        col_index=cols,
    )


@dataclass(frozen=True)
class Field:
    """The random field of one slot of a space, drawn once, read through the patches' windows.

    Attributes:
        values: as the relation's `draw` gave it, over a whole scene (H | 1, W | 1, B | 1), or one an image,
            (n, H | 1, W | 1, B | 1); or a tuple of such.
    """

    values: Drawn

    def under(self, patches: Patches, rows: np.ndarray, margin: int) -> Drawn:
        """The field under the patches `rows` (their positions in `patches`), broadcastable to their windows.

        `margin` pixels of surroundings are left of the patches' own where the field is wanted.
        """
        return each_layer(self.values, lambda layer: patches.read(layer, rows, margin))


def fields_under(
    fields: Sequence[Field | None], margins: Sequence[int], patches: Patches, rows: np.ndarray
) -> list[Drawn | None]:
    """For each step of a chain its field under the patches `rows`, as wide as the window that reaches the step.

    Args:
        fields: of each step, None where it draws nothing.
        margins: pixels of surroundings that each step uses up; their sum is the patches' margin.
    """
    left = patches.margin
    cuts: list[Drawn | None] = []
    for field, margin in zip(fields, margins, strict=True):
        cuts.append(None if field is None else field.under(patches, rows, left))
        left -= margin
    return cuts


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
        return Field(relation.draw(generator(seed, Purpose.FIELD, slot, draw), patches.extent))
    streams = [generator(seed, Purpose.FIELD, slot, draw, int(number)) for number in patches.ids]
    drawn = [relation.draw(rng, patches.extent) for rng in streams]
    if isinstance(drawn[0], tuple):
        return Field(tuple(np.stack(layer) for layer in zip(*drawn, strict=True)))
    return Field(np.stack(drawn))  # type: ignore[arg-type]

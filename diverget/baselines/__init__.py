"""The published rivals as arms of the per-patch search: same patches, same queries, same judge as every other arm.

dflare.py       DFLARE: one mutant a patch a round, as described, as shipped, with uniform choice
mutations.py    its seven image mutations, on batches
diffchaser.py   DiffChaser: a genetic algorithm on the pixels of each patch

Both hold images, not points of a space. `groups` keeps that memory bounded: patches wait until others are done.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from diverget.lockstep import Arena

HELD_BYTES = 1 << 28
"""Images that an arm holds at a time, 256 MiB, unless a single patch needs more."""


def groups(arena: Arena, images: int) -> Iterator[np.ndarray]:
    """Positions in the arena of the patches to advance together, a group after another; patches that are done are out.

    Args:
        images: how many float32 images of a patch's shape the arm holds for each patch.
    """
    height, width, bands = arena.problem.patches.shape
    size = max(1, HELD_BYTES // (4 * height * width * bands * images))
    for first in range(0, len(arena), size):
        group = np.arange(first, min(first + size, len(arena)))
        group = group[arena.active[group]]
        if len(group):
            yield group

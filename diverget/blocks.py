"""Square blocks of a scene, and the assignment of whole blocks to training, calibration and assessment.

Classes are clumped in real scenes, and the guard between the parts costs pixels, so an assignment is judged by what
remains of every class in every part after the guard. All known pixels with the same block, class and blocks in
reach form one group, so a judgement takes a fraction of a millisecond and thousands can be tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAIN, CALIBRATION, ASSESSMENT = range(3)
DROPPED = 3

STARTS, RESTARTS, PROPOSALS = 30, 3, 1000
"""From the best of `STARTS` random assignments `PROPOSALS` random changes are tried, `RESTARTS` times over."""


def grid(height: int, width: int, block: int) -> np.ndarray:
    """The block number of every pixel, (H · W,) int32: nearly square blocks of about `block` pixels, row by row."""
    rows, cols = max(1, round(height / block)), max(1, round(width / block))
    row = np.arange(height) * rows // height
    col = np.arange(width) * cols // width
    return (row[:, None] * cols + col).ravel().astype(np.int32)


@dataclass(frozen=True)
class Groups:
    """Known pixels that share block, class and the blocks near them: what an assignment does to them is the same.

    Attributes:
        block, label, count: (g,) their block, class and number of pixels.
        near: (8, g) the neighbouring block that holds a known pixel within the radius, or the number of blocks
            where there is none.
        member: (known pixels,) the group of each.
        blocks, classes: how many there are.
    """

    block: np.ndarray
    label: np.ndarray
    count: np.ndarray
    near: np.ndarray
    member: np.ndarray
    blocks: int
    classes: int


def group(blocks: np.ndarray, known: np.ndarray, classes: np.ndarray, count: int, radius: int) -> Groups:
    """The groups of a scene: a block no smaller than the radius, so that a window reaches its neighbours only."""
    height, width = known.shape
    number = blocks.reshape(height, width)
    cols = int(number[0, -1]) + 1
    total = int(number[-1, -1]) + 1
    row_of, col_of = number[:, 0] // cols, number[0] % cols
    row_edge = np.searchsorted(row_of, np.arange(row_of[-1] + 2))
    col_edge = np.searchsorted(col_of, np.arange(cols + 1))
    sums = np.zeros((height + 1, width + 1), dtype=np.int64)
    sums[1:, 1:] = known.cumsum(axis=0).cumsum(axis=1)
    y, x = np.nonzero(known)
    home_row, home_col = row_of[y], col_of[x]
    near = np.full((len(y), 8), total, dtype=np.int64)
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    for j, (dy, dx) in enumerate(around):
        there = (home_row + dy >= 0) & (home_row + dy <= row_of[-1]) & (home_col + dx >= 0) & (home_col + dx < cols)
        r, c = np.where(there, home_row + dy, 0), np.where(there, home_col + dx, 0)
        top, bottom = np.maximum(y - radius, row_edge[r]), np.minimum(y + radius + 1, row_edge[r + 1])
        left, right = np.maximum(x - radius, col_edge[c]), np.minimum(x + radius + 1, col_edge[c + 1])
        bottom, right = np.maximum(top, bottom), np.maximum(left, right)
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        near[:, j] = np.where(there & (inside > 0), r * cols + c, total)
    rows = np.column_stack([number[known], classes[known], near])
    unique, member, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    return Groups(
        unique[:, 0], unique[:, 1], counts, np.ascontiguousarray(unique[:, 2:].T), member.ravel(), total, count
    )


def parts(groups: Groups, assigned: np.ndarray) -> np.ndarray:
    """The part of each group under `assigned` (blocks,), `DROPPED` where the guard drops it: assessment stays whole,
    training gives way to it, and calibration to both."""
    part = assigned[groups.block]
    beside = np.bitwise_or.reduce(np.append(_BIT[assigned], np.uint8(0))[groups.near], axis=0)
    return np.where(beside & _YIELDS_TO[part], DROPPED, part)


_BIT = np.array([1 << part for part in (TRAIN, CALIBRATION, ASSESSMENT)], dtype=np.uint8)
_YIELDS_TO = np.array([_BIT[ASSESSMENT], _BIT[ASSESSMENT] | _BIT[TRAIN], 0], dtype=np.uint8)


def tally(groups: Groups, part: np.ndarray) -> np.ndarray:
    """Pixels of each class (k, 4) in the three parts and dropped."""
    cell = groups.label * 4 + part
    return np.bincount(cell, weights=groups.count, minlength=4 * groups.classes).reshape(-1, 4)


def _loss(table: np.ndarray, fractions: tuple[float, float, float]) -> float:
    """How far classes are from their shares: Σ |log((count + 1) / (aimed + 1))|, calibration weighing a third, plus
    9 for each class missing from training and 6 for each missing from assessment."""
    present = table[table.any(axis=1)]
    away = np.abs(np.log((present[:, :3] + 1) / (present.sum(axis=1, keepdims=True) * fractions + 1)))
    return float((away @ (1, 1 / 3, 1)).sum() + ((present[:, :3] == 0) @ (9, 0, 6)).sum())


def assign(groups: Groups, fractions: tuple[float, float, float], rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """The best found assignment of blocks to parts, and its loss: random starts, improved by random changes."""

    def loss(assigned: np.ndarray) -> float:
        return _loss(tally(groups, parts(groups, assigned)), fractions)

    best, best_loss = np.zeros(groups.blocks, dtype=np.int64), np.inf
    for _ in range(RESTARTS):
        starts = rng.choice(3, size=(STARTS, groups.blocks), p=fractions)
        current = min(starts, key=loss)
        current_loss = loss(current)
        for _ in range(PROPOSALS):
            changed = current.copy()
            one, other = rng.integers(groups.blocks, size=2)
            if rng.random() < 0.5:
                changed[one], changed[other] = current[other], current[one]
            else:
                changed[one] = rng.integers(3)
            changed_loss = loss(changed)
            if changed_loss < current_loss:
                current, current_loss = changed, changed_loss
        if current_loss < best_loss:
            best, best_loss = current, current_loss
    return best, best_loss

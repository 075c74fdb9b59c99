"""Which pixels train, calibrate and assess: spatially disjoint blocks with a guard, or the literature's random draw.

Source of the default: random pixel splits of hyperspectral scenes let training windows see assessment pixels and
inflate accuracy (Liang et al. 2017, IEEE Trans. Geosci. Remote Sens. 55, 861, "controlled random sampling";
Nalepa, Myller and Kawulok 2019, IEEE Geosci. Remote Sens. Lett. 16, 1264).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from diverget.blocks import ASSESSMENT, CALIBRATION, DROPPED, TRAIN, assign, grid, group, parts
from diverget.randomness import Purpose, generator
from diverget.scene import UNLABELLED, ImageSet, Scene

PART = 1024
"""Images that are looked at together for copies (engineering judgement: some megabytes)."""

PARTS = ("train", "calibration", "assessment")
FRACTIONS = (0.5, 0.1, 0.4)


@dataclass(frozen=True)
class Split:
    """Who trains, calibrates and assesses.

    Attributes:
        train, calibration, assessment: flat pixel numbers (row · W + column) or image numbers, ascending int64;
            labelled and valid ones only, unless the data has no labels at all.
        blocks: (H · W,) or (N,) int32, the spatial block of every pixel: patches of one block are not independent.
        protocol: "blocks" or "random".
        description: one sentence naming protocol, block size and guard.
        counts: (k, 4) int64 for each class, patches in train, calibration, assessment, and dropped by the guard;
            one row where the data has no labels.
        leakage: share of the assessment patches whose window overlaps the window of a training patch; of images, of
            those that equal a training image, value for value.
        centre_leakage: share of the assessment centres that lie inside the window of a training patch.
        notes: what the reader must know: classes missing from a part, leakage.
    """

    train: np.ndarray
    calibration: np.ndarray
    assessment: np.ndarray
    blocks: np.ndarray
    protocol: str
    description: str
    counts: np.ndarray
    leakage: float
    centre_leakage: float
    notes: tuple[str, ...]


def split(
    data: Scene | ImageSet,
    *,
    protocol: str = "blocks",
    patch: int,
    fractions: tuple[float, float, float] = FRACTIONS,
    block: int | None = None,
    seed: int,
) -> Split:
    """The split of a scene or an image set into training, calibration and assessment.

    "blocks" cuts a scene into squares and gives each wholly to one part. A guard then drops every training centre
    within the patch's radius (Chebyshev) of an assessment centre, and every calibration centre within it of
    either, so that no window of one part contains a centre of another. Of thousands of seeded assignments of
    blocks it takes the one whose classes come nearest to `fractions` after the guard. "random" draws pixels class
    by class, as much of the literature does, and measures the leakage. Images are always drawn at random, one by one:
    they have no neighbours, so both protocols are one.

    Args:
        data: what to split.
        protocol: "blocks" or "random".
        patch: side of a patch in pixels, odd.
        fractions: aimed shares of train, calibration and assessment; they sum to 1.
        block: side of a block in pixels; None chooses it from the patch and the scene.
        seed: root seed of the run; same seed, same split.

    Raises:
        ValueError: an argument is out of range, or the scene is too small for the patch.
    """
    if protocol not in ("blocks", "random"):
        raise ValueError(f"Expected split protocol 'blocks' or 'random', got {protocol!r}; correct split.protocol.")
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-8:
        raise ValueError(
            f"Expected three positive fractions (train, calibration, assessment) that sum to 1, got {fractions}; "
            "correct split.fractions."
        )
    if isinstance(data, ImageSet):
        return _split_images(data, fractions, generator(seed, Purpose.SPLIT))
    height, width = data.valid.shape
    _require_patch(patch, height, width)
    known, classes, names = _known(data)
    if block is not None and not max(1, patch // 2) <= block <= max(height, width):
        raise ValueError(
            f"Expected blocks no smaller than the patch's radius {patch // 2} and no larger than the scene's "
            f"{height} x {width} pixels, got split.block {block}; correct or remove it."
        )
    sizes = (block,) if block is not None else _block_sides(patch, height, width)
    if protocol == "random":
        part = np.full(known.shape, DROPPED)
        part[known] = _drawn(classes[known], fractions, generator(seed, Purpose.SPLIT))
        about = "Pixels drawn at random, class by class, with no blocks and no guard, as much of the literature does."
        return _finished(part, known, classes, names, grid(height, width, sizes[0]), patch, protocol, about)
    candidates = []
    for size in sizes:
        blocks = grid(height, width, size)
        if len(np.unique(blocks[known.ravel()])) >= 3:
            groups = group(blocks, known, classes, len(names), patch // 2)
            assigned, loss = assign(groups, fractions, generator(seed, Purpose.SPLIT, size))
            candidates.append((loss, size, blocks, parts(groups, assigned)[groups.member]))
    if not candidates:
        raise ValueError(
            f"Expected labelled pixels in at least three blocks, got fewer with blocks of {sizes[0]} pixels in scene "
            f"{data.name!r} of {height} x {width}; set a smaller split.block or a smaller patch."
        )
    _, size, blocks, kept = min(candidates, key=lambda candidate: candidate[:2])
    part = np.full(known.shape, DROPPED)
    part[known] = kept
    about = (
        f"Square blocks of about {size} x {size} pixels, each wholly in one part, with a guard of {patch // 2} "
        "pixels, the radius of the patch, between training, calibration and assessment."
    )
    return _finished(part, known, classes, names, blocks, patch, protocol, about)


def limit(ids: np.ndarray, labels: np.ndarray, blocks: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """At most `count` of `ids`, ascending: as even over the classes as can be, and within a class over the blocks.

    Patches are dealt in turn: one of each class, then a second of each, and so on; each class takes its own from
    its blocks in turn. A smaller count gives a subset of a larger one.

    Args:
        ids: (n,) candidate pixels or images.
        labels: (n,) the class of each, `UNLABELLED` counting as a class.
        blocks: (n,) the block of each.
        count: how many to keep.
        seed: root seed of the run.

    Raises:
        ValueError: `count` is below 1, or the lengths differ.
    """
    if count < 1 or not len(ids) == len(labels) == len(blocks):
        raise ValueError(
            f"Expected a count of at least 1 and as many labels and blocks as ids, got count={count} with "
            f"{len(ids)} ids, {len(labels)} labels and {len(blocks)} blocks; correct split.assessed "
            "or a reference's train_limit."
        )
    shuffle = generator(seed, Purpose.ASSESSED).permutation(len(ids))
    label, block = np.asarray(labels)[shuffle], np.asarray(blocks)[shuffle]
    turn = np.arange(len(ids))
    in_block = _occurrence(np.lexsort((turn, block, label)), label, block)
    in_class = _occurrence(np.lexsort((turn, in_block, label)), label)
    order = np.lexsort((turn, in_class))
    return np.sort(np.asarray(ids, dtype=np.int64)[shuffle[order[:count]]])


def _occurrence(order: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """How many equal `keys` come before each element, when read in `order` (which sorts by them)."""
    sorted_keys = np.stack([key[order] for key in keys])
    position = np.arange(len(order))
    first = np.r_[True, (sorted_keys[:, 1:] != sorted_keys[:, :-1]).any(axis=0)][: len(order)]
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = position - np.maximum.accumulate(np.where(first, position, 0))
    return rank


def _require_patch(patch: int, height: int, width: int) -> None:
    if patch < 1 or patch % 2 == 0 or patch > min(height, width):
        raise ValueError(
            f"Expected an odd patch no larger than the scene's {height} x {width} pixels, got {patch}; correct "
            "scene.patch."
        )


def _known(data: Scene) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Which pixels take part (H, W), their classes (H, W), and the names of these."""
    if data.labels is None:
        known, classes = data.valid, np.zeros(data.valid.shape, dtype=np.int32)
    else:
        known, classes = data.valid & (data.labels != UNLABELLED), data.labels
    names = ("unlabelled",) if data.labels is None else data.class_names
    if known.sum() < 3:
        raise ValueError(
            f"Expected at least three valid labelled pixels, got {int(known.sum())} in scene {data.name!r}; check its "
            "ground truth and its no-data value."
        )
    return known, classes, names


def _block_sides(patch: int, height: int, width: int) -> tuple[int, ...]:
    """Sides of blocks worth trying: no smaller than a patch, for else the patches of one block overlap all its
    neighbours; about 150 blocks or fewer, and at least 5 x 5 (or 3 x 3, in a small scene), for a confidence
    interval counts blocks."""
    smallest = max(patch, 12, round((height * width / 150) ** 0.5))
    sides = [round(smallest * factor) for factor in (1, 1.25, 1.5)]
    for least in (5, 3):
        fitting = [side for side in sides if min(round(height / side), round(width / side)) >= least]
        if fitting:
            return tuple(fitting)
    return (max(patch // 2 + 1, min(smallest, min(height, width) // 2)),)


def _drawn(labels: np.ndarray, fractions: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """The part of each element, (n,), drawn class by class in the shares `fractions`.

    A class of three or more is in every part; of two, in training and assessment; a single one trains.
    """
    part = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        size = len(members)
        calibration = max(round(size * fractions[CALIBRATION]), 1) if size >= 3 else 0
        assessment = max(round(size * fractions[ASSESSMENT]), 1) if size >= 2 else 0
        train = max(size - calibration - assessment, 1)
        part[members] = ASSESSMENT
        part[members[:train]] = TRAIN
        part[members[train : train + calibration]] = CALIBRATION
    return part


def _split_images(data: ImageSet, fractions: tuple[float, float, float], rng: np.random.Generator) -> Split:
    size = len(data.images)
    labels = np.zeros(size, dtype=np.int32) if data.labels is None else data.labels
    names = ("unlabelled",) if data.labels is None else data.class_names
    known = np.ones(size, dtype=bool) if data.labels is None else labels != UNLABELLED
    part = np.full(size, DROPPED)
    part[known] = _drawn(labels[known], fractions, rng)
    about = (
        "Images drawn at random, class by class; each is a block of its own and in one part alone, so the protocols "
        "`blocks` and `random` are the same split and give the same accuracies."
    )
    blocks = np.arange(size, dtype=np.int32)
    marks = _marks(data.images)
    copies = np.isin(marks[part == ASSESSMENT], marks[part == TRAIN])
    copied = float(copies.mean()) if len(copies) else 0.0
    return _finished(part, known, labels, names, blocks, None, "random", about, copied=copied)


def _marks(images: np.ndarray) -> np.ndarray:
    """A number for each image, (n,) uint64: that of its copies, and of another image one time in 2^64 or so.

    The sum of its values' bits, each times a random weight; whole numbers, so the order of the sum changes nothing.
    """
    words = np.ascontiguousarray(images, dtype=np.float32).reshape(len(images), -1).view(np.uint32)
    weights = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64) | np.uint64(1)
    starts = range(0, len(words), PART)
    return np.concatenate([(words[i : i + PART] * weights).sum(axis=1, dtype=np.uint64) for i in starts])


def _finished(
    part: np.ndarray,
    known: np.ndarray,
    classes: np.ndarray,
    names: tuple[str, ...],
    blocks: np.ndarray,
    patch: int | None,
    protocol: str,
    description: str,
    *,
    copied: float = 0.0,
) -> Split:
    """The split that `part` describes, with its counts, leakage and notes.

    Args:
        patch: None for whole images.
        copied: share of the assessment images that equal a training image.
    """
    train, calibration, assessment = (np.flatnonzero(part == number) for number in range(len(PARTS)))
    for name, ids in zip(PARTS, (train, calibration, assessment), strict=True):
        if not len(ids):
            raise ValueError(
                f"Expected labelled patches in every part of the split, got none for {name} of {int(known.sum())} "
                f"{'images' if patch is None else f'pixels (patch {patch}, protocol {protocol})'}; take a smaller "
                "patch or block, other split.fractions, or more ground truth."
            )
    cell = classes[known].astype(np.int64) * 4 + part[known]
    counts = np.bincount(cell, minlength=4 * len(names)).reshape(-1, 4)
    centre_leakage, leakage = 0.0, copied
    if patch is not None:
        centre_leakage = _share_within(part, patch // 2)
        leakage = _share_within(part, patch - 1)
    notes = list(_missing(counts, names))
    if copied > 0:
        notes.append(
            f"Leakage: {copied:.2%} of the assessment images equal a training image, value for value; accuracy on them "
            "is flattered, and so is the agreement of the two networks."
        )
    elif centre_leakage > 0:
        notes.append(
            f"Leakage: {centre_leakage:.0%} of the assessment patches have their centre inside a training window, and "
            f"{leakage:.0%} overlap one; accuracy on them is flattered, and so is the agreement of the two networks."
        )
    elif leakage > 0:
        notes.append(
            f"{leakage:.0%} of the assessment patches share some pixels with a training window; none has its "
            "centre in one."
        )
    return Split(
        train=train.astype(np.int64),
        calibration=calibration.astype(np.int64),
        assessment=assessment.astype(np.int64),
        blocks=blocks,
        protocol=protocol,
        description=description,
        counts=counts,
        leakage=leakage,
        centre_leakage=centre_leakage,
        notes=tuple(notes),
    )


def _share_within(part: np.ndarray, distance: int) -> float:
    """Share of the assessment centres within `distance` pixels (Chebyshev) of a training centre."""
    near = ndimage.maximum_filter((part == TRAIN).astype(np.uint8), size=2 * distance + 1, mode="constant")
    return float(near[part == ASSESSMENT].mean())


def _missing(counts: np.ndarray, names: tuple[str, ...]) -> list[str]:
    """Notes on the classes that are not in every part."""
    notes = []
    for name, row in zip(names, counts, strict=True):
        amounts = f"{row[0]} train, {row[1]} calibration, {row[2]} assessment, {row[3]} dropped by the guard"
        if not row.sum():
            notes.append(f"Class {name!r} has no valid pixel: nothing is learned or said about it.")
        elif not row[ASSESSMENT]:
            notes.append(f"Class {name!r} is missing from assessment ({amounts}): nothing is said about it.")
        elif not row[TRAIN]:
            notes.append(f"Class {name!r} is missing from training ({amounts}): no network can learn it.")
    absent = [name for name, row in zip(names, counts, strict=True) if row.sum() and not row[CALIBRATION]]
    if absent:
        notes.append(f"Missing from calibration: {', '.join(absent)}.")
    return notes

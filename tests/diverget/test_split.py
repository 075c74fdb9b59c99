"""Splits: disjoint, guarded, stratified, reproducible, honest about leakage and rare classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as property_of
from hypothesis import settings
from hypothesis import strategies as st

from diverget import split as module
from diverget.blocks import ASSESSMENT, CALIBRATION, DROPPED, TRAIN, grid, group, parts
from diverget.loading import load_scene
from diverget.scene import UNLABELLED, ImageSet, Scene
from diverget.split import Split, limit, split


def scene_of(labels: np.ndarray | None, *, valid: np.ndarray | None = None, shape: tuple[int, int] = (60, 60)) -> Scene:
    shape = shape if labels is None else (labels.shape[0], labels.shape[1])
    classes = 0 if labels is None else int(labels.max()) + 1
    return Scene(
        name="plots",
        cube=np.ones((*shape, 2), dtype=np.float32),
        valid=np.ones(shape, dtype=bool) if valid is None else valid,
        labels=labels,
        class_names=tuple(f"class {label}" for label in range(classes)),
        wavelengths=None,
        value_range=(0.0, 1.0),
        digest="",
    )


def plots(height: int = 60, width: int = 60, classes: int = 4, seed: int = 0, side: int = 6) -> np.ndarray:
    """Square plots of random classes with some unlabelled ground: (height, width) int32."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-1, classes, size=(height // side + 1, width // side + 1))
    labels = np.kron(coarse, np.ones((side, side), dtype=np.int64))[:height, :width]
    labels[rng.random(labels.shape) < 0.1] = UNLABELLED
    labels[0, :classes] = np.arange(classes)
    return labels.astype(np.int32)


def distance_to(ids: np.ndarray, others: np.ndarray, width: int) -> np.ndarray:
    """Chebyshev distance of each pixel of `ids` to the nearest of `others`, by looking at all pairs."""
    rows = np.abs(ids[:, None] // width - others // width)
    cols = np.abs(ids[:, None] % width - others % width)
    return np.maximum(rows, cols).min(axis=1)


def require_sound(found: Split, scene: Scene) -> None:
    """What holds for every split of a scene, whatever its protocol."""
    known = scene.valid.ravel() if scene.labels is None else (scene.valid & (scene.labels >= 0)).ravel()
    everything = np.concatenate([found.train, found.calibration, found.assessment])
    assert len(np.unique(everything)) == len(everything) == found.counts[:, :3].sum()
    assert known[everything].all() and found.counts.sum() == known.sum()
    for ids in (found.train, found.calibration, found.assessment):
        assert ids.dtype == np.int64 and len(ids) and (np.diff(ids) > 0).all()
    assert found.blocks.shape == known.shape and found.blocks.dtype == np.int32


@settings(max_examples=8, deadline=None)
@property_of(
    patch=st.sampled_from([1, 3, 5, 9, 13]),
    seed=st.integers(0, 5),
    block=st.sampled_from([None, 8, 11]),
    size=st.tuples(st.integers(40, 64), st.integers(40, 64)),
)
def test_blocks_are_disjoint_and_guarded(patch: int, seed: int, block: int | None, size: tuple[int, int]) -> None:
    scene = scene_of(plots(*size, seed=seed))
    found = split(scene, patch=patch, block=block, seed=seed)
    require_sound(found, scene)
    in_part = [set(found.blocks[ids].tolist()) for ids in (found.train, found.calibration, found.assessment)]
    assert not in_part[0] & in_part[1] and not in_part[0] & in_part[2] and not in_part[1] & in_part[2]
    width, radius = size[1], patch // 2
    assert (distance_to(found.train, found.assessment, width) > radius).all()
    assert (distance_to(found.calibration, found.assessment, width) > radius).all()
    assert (distance_to(found.calibration, found.train, width) > radius).all()
    assert found.centre_leakage == 0
    assert found.leakage == (distance_to(found.assessment, found.train, width) <= patch - 1).mean()
    assert f"guard of {radius} pixels" in found.description


@settings(max_examples=20, deadline=None)
@property_of(seed=st.integers(0, 1000), radius=st.integers(0, 6), side=st.integers(7, 12))
def test_groups_know_who_is_near(seed: int, radius: int, side: int) -> None:
    """The guard by groups against a plain look at every pair of pixels."""
    labels = plots(30, 34, seed=seed)
    known = labels >= 0
    blocks = grid(30, 34, side)
    groups = group(blocks, known, labels, 4, radius)
    assigned = np.random.default_rng(seed).integers(0, 3, groups.blocks)
    found = parts(groups, assigned)[groups.member]
    ids = np.flatnonzero(known)
    part = assigned[blocks[ids]]
    expected = part.copy()
    for own, rivals in ((TRAIN, (ASSESSMENT,)), (CALIBRATION, (ASSESSMENT, TRAIN))):
        others = ids[np.isin(part, rivals)]
        if len(others) and (part == own).any():
            near = distance_to(ids[part == own], others, 34) <= radius
            expected[np.flatnonzero(part == own)[near]] = DROPPED
    assert np.array_equal(found, expected)
    assert groups.count.sum() == len(ids)


def test_same_seed_same_split_other_seed_other_split() -> None:
    scene = scene_of(plots())
    first, again, other = (split(scene, patch=5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.train, again.train) and np.array_equal(first.assessment, again.assessment)
    assert not np.array_equal(first.assessment, other.assessment)


def test_classes_and_fractions_are_approached() -> None:
    scene = scene_of(plots(96, 96, classes=5))
    found = split(scene, patch=5, fractions=(0.4, 0.2, 0.4), seed=0)
    assert (found.counts[:, [TRAIN, CALIBRATION, ASSESSMENT]] > 0).all()
    kept = found.counts[:, :3].sum(axis=0) / found.counts.sum()
    assert abs(kept[ASSESSMENT] - 0.4) < 0.1 and kept[TRAIN] > 0.25
    assert found.notes == () or "share some pixels" in found.notes[-1]


def test_masked_pixels_take_no_part() -> None:
    valid = np.ones((60, 60), dtype=bool)
    valid[10:20] = False
    scene = scene_of(plots(), valid=valid)
    require_sound(split(scene, patch=5, seed=0), scene)


def test_a_scene_without_labels_uses_every_valid_pixel() -> None:
    scene = scene_of(None, shape=(48, 40))
    found = split(scene, patch=5, seed=0)
    require_sound(found, scene)
    assert found.counts.shape == (1, 4) and found.counts.sum() == 48 * 40


def test_a_clumped_class_is_named_and_does_not_crash() -> None:
    labels = plots()
    labels[labels == 3] = 0
    labels[50:53, 50:53] = 3
    found = split(scene_of(labels), patch=5, seed=0)
    assert any(
        "'class 3'" in note and "missing from" in note and "dropped by the guard" in note for note in found.notes
    )
    assert found.counts[3].sum() == 9


def test_an_absent_class_is_named() -> None:
    labels = plots(classes=4)
    labels[labels == 1] = UNLABELLED
    found = split(scene_of(labels), patch=3, seed=0)
    assert any("'class 1' has no valid pixel" in note for note in found.notes)


def test_random_pixels_leak_and_say_so() -> None:
    scene = scene_of(plots())
    found = split(scene, protocol="random", patch=9, seed=0)
    require_sound(found, scene)
    assert found.centre_leakage == (distance_to(found.assessment, found.train, 60) <= 4).mean() > 0.9
    assert found.leakage >= found.centre_leakage
    assert f"Leakage: {found.centre_leakage:.0%}" in found.notes[-1]
    shares = found.counts[:, :3] / found.counts.sum(axis=1, keepdims=True)
    assert np.allclose(shares, (0.5, 0.1, 0.4), atol=0.02)
    assert "random" in found.description


@pytest.mark.parametrize(("size", "expected"), [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (5, (2, 1, 2))])
def test_random_draws_of_rare_classes(size: int, expected: tuple[int, int, int]) -> None:
    labels = np.zeros((20, 20), dtype=np.int32)
    labels[5, 5 : 5 + size] = 1
    found = split(scene_of(labels), protocol="random", patch=3, seed=0)
    assert tuple(found.counts[1, :3]) == expected


def images(labels: np.ndarray | None, size: int = 50) -> ImageSet:
    names = () if labels is None else ("a", "b")
    values = np.random.default_rng(0).random((size, 4, 4, 1), dtype=np.float32)
    return ImageSet("digits", values, labels, names, (0.0, 1.0), "")


def test_images_are_drawn_class_by_class_without_leakage() -> None:
    labels = np.repeat([0, 1, UNLABELLED], [30, 10, 10]).astype(np.int32)
    found = split(images(labels), patch=9, seed=0)
    assert found.counts[:, :3].tolist() == [[15, 3, 12], [5, 1, 4]]
    assert found.leakage == found.centre_leakage == 0 and found.notes == ()
    assert np.array_equal(found.blocks, np.arange(50))
    assert (labels[np.concatenate([found.train, found.assessment])] >= 0).all()
    assert len(split(images(None), patch=9, seed=0).train) == 25


def test_of_images_both_protocols_are_one_split_and_say_so() -> None:
    """No image is in two parts, and a network trained and assessed under either has the same accuracy."""
    whole, other = (split(images(None), protocol=protocol, patch=9, seed=3) for protocol in ("blocks", "random"))
    for part in ("train", "calibration", "assessment"):
        assert np.array_equal(getattr(whole, part), getattr(other, part))
    assert len(np.unique(np.concatenate([whole.train, whole.calibration, whole.assessment]))) == 50
    assert whole.protocol == other.protocol == "random"
    assert whole.description == other.description and "`blocks` and `random` are the same split" in whole.description


def test_images_that_equal_a_training_image_are_leakage(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(None)
    clean = split(data, patch=9, seed=3)
    copied = data.images.copy()
    copied[clean.assessment[:5]] = copied[clean.train[0]]
    copied[clean.assessment[5]] = np.nextafter(copied[clean.train[0]], np.float32(2))  # as near as can be, no copy
    for part in (1024, 7):
        monkeypatch.setattr(module, "PART", part)
        found = split(replace(data, images=copied), patch=9, seed=3)
        assert found.leakage == 5 / len(clean.assessment) and found.centre_leakage == 0
        assert "of the assessment images equal a training image, value for value" in found.notes[0]
        assert np.array_equal(found.train, clean.train)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"protocol": "folds"}, r"'blocks' or 'random', got 'folds'; correct split\.protocol"),
        ({"fractions": (0.5, 0.5, 0.5)}, r"sum to 1, got \(0\.5, 0\.5, 0\.5\); correct split\.fractions"),
        ({"fractions": (0.6, 0.0, 0.4)}, r"positive fractions.*0\.0"),
        ({"patch": 8}, r"odd patch.*60 x 60 pixels, got 8; correct scene\.patch"),
        ({"patch": 61}, r"odd patch.*60 x 60 pixels, got 61"),
        ({"patch": 25, "block": 10}, r"radius 12.*split\.block 10"),
        ({"block": 60}, r"three blocks.*blocks of 60 pixels.*'plots' of 60 x 60"),
    ],
)
def test_wrong_arguments(keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(scene_of(plots()), **{"patch": 5, "seed": 0, **keywords})


def test_too_little_ground_truth() -> None:
    labels = np.full((30, 30), UNLABELLED, dtype=np.int32)
    labels[0, :2] = 0
    with pytest.raises(ValueError, match=r"three valid labelled pixels, got 2 in scene 'plots'"):
        split(scene_of(labels), patch=3, seed=0)
    labels[0, 2] = 0
    with pytest.raises(ValueError, match="three blocks"):
        split(scene_of(labels), patch=3, seed=0)
    labels[0] = UNLABELLED
    labels[14, 14], labels[14, 15], labels[15, 14] = 0, 0, 0
    with pytest.raises(ValueError, match=r"none for \w+ of 3 pixels \(patch 29"):
        split(scene_of(labels), patch=29, seed=0)


@settings(max_examples=30, deadline=None)
@property_of(count=st.integers(1, 400), seed=st.integers(0, 99), classes=st.integers(1, 5))
def test_limit_is_even_over_classes_and_blocks(count: int, seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    ids = np.sort(rng.choice(5000, size=300, replace=False))
    labels = np.minimum(rng.geometric(0.5, size=300), classes) - 1
    blocks = rng.integers(0, 8, size=300)
    kept = limit(ids, labels, blocks, count=count, seed=seed)
    assert len(kept) == min(count, 300) and (np.diff(kept) > 0).all() and np.isin(kept, ids).all()
    where = np.searchsorted(ids, kept)
    have, taken = np.bincount(labels, minlength=classes), np.bincount(labels[where], minlength=classes)
    cut_short = taken < have
    if cut_short.any():
        assert taken.max() - taken[cut_short].min() <= 1, "a class gives up its place only when it has no more"
    for label in range(classes):
        of_block = np.bincount(blocks[labels == label], minlength=8)
        from_block = np.bincount(blocks[where[labels[where] == label]], minlength=8)
        short = from_block < of_block
        assert not short.any() or from_block.max() - from_block[short].min() <= 1
    assert np.isin(limit(ids, labels, blocks, count=max(1, count // 2), seed=seed), kept).all()


def test_limit_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match=r"count=0 with 2 ids, 2 labels and 1 blocks; correct split\.assessed"):
        limit(np.arange(2), np.zeros(2), np.zeros(1), count=0, seed=0)


@pytest.mark.real_data
@pytest.mark.parametrize(("patch", "least"), [(9, 3000), (25, 2000)])
def test_indian_pines_keeps_a_usable_training_set(shared_data: Path, patch: int, least: int) -> None:
    scene = load_scene(shared_data / "hyperspectral" / "indian_pines" / "indian_pines_cube.npz")
    found = split(scene, patch=patch, seed=0)
    require_sound(found, scene)
    assert len(found.train) >= least and len(found.assessment) >= least and len(found.calibration) >= 200
    assert found.centre_leakage == 0 and len(np.unique(found.blocks[found.assessment])) >= 6
    common = found.counts.sum(axis=1) > 250
    assert (found.counts[common][:, [TRAIN, ASSESSMENT]] > 0).all()
    assert split(scene, protocol="random", patch=patch, seed=0).centre_leakage > 0.95

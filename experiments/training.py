"""A reference of the zoo, trained on the training split of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import training
from diverget.models.preprocessing import Preprocessing
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.models.zoo import Architecture
from diverget.randomness import Purpose, integer, key
from diverget.scene import ImageSet
from diverget.split import limit
from experiments.config.parts import ReferenceConfig, named
from experiments.config.schema import RunConfig
from experiments.data import Material
from experiments.progress import Screen

PATIENCE = 8
"""Epochs without a better validation accuracy before training stops (engineering judgement)."""

PART = 256
"""Patches that are held raw at a time."""

PIXELS = 4_000_000
"""Pixels of training images that a preprocessing is fitted on, at the most: enough for three digits of every mean, and
a fraction of a second (engineering judgement)."""


def prepare_in_parts(prepared: Preprocessing, material: Material, ids: np.ndarray) -> np.ndarray:
    """Prepared inputs (n, ...) float32 of the patches around `ids`; only `PART` of them are ever held raw."""
    starts = range(0, len(ids), PART)
    return np.concatenate([prepared.apply(material.patches(ids[i : i + PART]).source()) for i in starts])


def _pixels(material: Material, ids: np.ndarray) -> np.ndarray:
    """Training pixels (N, b) that stand for the patches around `ids`.

    Of a scene the centre pixels: every training pixel once, no neighbour of another split. Of images all pixels, of
    every so many-th image where they are many.
    """
    if isinstance(material.data, ImageSet):
        height, width, bands = material.patch_shape
        every = -(-len(ids) * height * width // PIXELS)
        return material.patches(ids[::every]).source().reshape(-1, bands)
    found = []
    for start in range(0, len(ids), PART):
        source = material.patches(ids[start : start + PART]).source()
        found.append(source[:, source.shape[1] // 2, source.shape[2] // 2].copy())
    return np.concatenate(found)


def trained_reference(
    asked: ReferenceConfig, config: RunConfig, material: Material, screen: Screen, cache: Path
) -> tuple[training.Trained, Preprocessing, dict[str, Any]]:
    """The network of the zoo that `asked` names, its preprocessing, and what the report tells of the training.

    Raises:
        ValueError: there is no ground truth, the patches or images are too small, or the training fails.
    """
    architecture: Architecture = named("an architecture", ARCHITECTURES, asked.zoo or "")
    if material.data.labels is None:
        key_of = "images.labels" if config.images else "scene.ground_truth"
        raise ValueError(
            f"Expected ground truth to train {asked.zoo!r} on, got {material.data.name} without labels; set "
            f"`{key_of}`, or give a trained model's `path` under `references`."
        )
    labels = material.data.labels.ravel()
    ids = material.split.train
    if asked.train_limit is not None and asked.train_limit < len(ids):
        ids = limit(ids, labels[ids], material.split.blocks[ids], count=asked.train_limit, seed=config.seed)
    architecture.check_patch(material.patch_shape)
    prepared = architecture.fit_preprocessing(_pixels(material, ids))
    if material.data.origin.get("bands"):
        # Said outright, so that the pair serves as files of another run, where models otherwise mean file order.
        prepared = replace(prepared, order=np.arange(material.patch_shape[2]))
    check = material.split.calibration
    epochs, batch = asked.epochs or architecture.epochs, asked.batch or architecture.batch
    learning_rate, patience = asked.learning_rate or architecture.learning_rate, asked.patience or PATIENCE
    with screen.stage(f"train   {asked.label}", total=epochs) as stage:
        trained = training.train(
            architecture,
            prepare_in_parts(prepared, material, ids),
            labels[ids],
            classes=len(material.class_names),
            validation=(prepare_in_parts(prepared, material, check), labels[check]) if len(check) else None,
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            patience=patience,
            seed=integer(config.seed, Purpose.TRAINING, key(asked.label)),
            cache=cache,
            on_event=_shown(stage.to),
        )
        stage.to(epochs, "from the cache" if trained.from_cache else f"kept epoch {trained.epoch}")
    setting = f"Adam {learning_rate:g}, batches of {batch}, at most {epochs} epochs, {patience} without progress"
    return trained, prepared, _facts(trained, architecture) | {"setting": setting, "patches": len(ids)}


def _shown(move: Callable[[float, str], None]) -> Callable[[dict[str, Any]], None]:
    def told(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            figures = [f"{name} {event[name]:.3f}" for name in ("accuracy", "val_accuracy") if name in event]
            move(event["epoch"], "  ".join(figures))

    return told


def _facts(trained: training.Trained, architecture: Architecture) -> dict[str, Any]:
    kept = trained.epoch - 1
    return {
        "accuracy": trained.history["accuracy"][kept],
        "val_accuracy": trained.history["val_accuracy"][kept] if "val_accuracy" in trained.history else None,
        "epochs": len(trained.history["loss"]),
        "seconds": trained.seconds,
        "citation": architecture.source,
        "published": architecture.published,
    }

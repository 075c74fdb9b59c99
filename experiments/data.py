"""The data of a run: loaded, split, and the patches chosen that are assessed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from diverget.loading import load_images, load_scene
from diverget.patches import Patches, cut
from diverget.randomness import Purpose, generator
from diverget.scene import ImageSet, Scene
from diverget.space import Space
from diverget.split import Split, limit, split
from diverget.store import Store
from diverget.synthetic import synthetic_scene
from experiments.charts.pictures import display_bands, shown, stretch
from experiments.config.schema import RunConfig
from relations import Sensor


@dataclass(frozen=True)
class Material:
    """What a run works on.

    Attributes:
        data: the scene or the images; `size` the side of a patch.
        split: which pixel serves for what.
        assessed: ids of the patches that are searched, spread evenly over classes and blocks.
        rated: ids of the patches that rates are drawn on, as many, in the natural proportions of the classes.
        baseline: ids for the clean comparison, in the natural proportions of the assessment split.
        calibration: ids for the ranges of full-integer models.
    """

    data: Scene | ImageSet
    size: int
    split: Split
    sensor: Sensor
    assessed: np.ndarray
    rated: np.ndarray
    baseline: np.ndarray
    calibration: np.ndarray

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.data.class_names

    def patches(self, ids: np.ndarray, space: Space | None = None) -> Patches:
        """The patches around `ids` with the surroundings that `space` needs, their values in the sensor's range."""
        margin = 0 if space is None else sum(space.margins(self.patch_shape[:2]))
        patches = cut(self.data, ids, size=self.size, margin=margin, blocks=self.split.blocks[ids])
        return replace(patches, data=self._clipped)

    @cached_property
    def _clipped(self) -> np.ndarray:
        """The data inside the sensor's range: follow-ups are clipped to it, and no distortion must be no change."""
        values = self.data.images if isinstance(self.data, ImageSet) else self.data.cube
        return np.clip(values, np.float32(self.sensor.low), np.float32(self.sensor.high))

    @property
    def patch_shape(self) -> tuple[int, int, int]:
        """(h, w, b) of one patch."""
        if isinstance(self.data, ImageSet):
            height, width, bands = self.data.images.shape[1:]
            return height, width, bands
        return self.size, self.size, self.data.bands


def gather(config: RunConfig) -> Material:
    """The data of `config`.

    Raises:
        ValueError, OSError: a file cannot be read as a scene or as images, or leaves nothing to assess.
    """
    data, size = _load(config)
    parts = split(
        data,
        protocol=config.split.protocol,
        patch=size,
        fractions=config.split.fractions,
        block=config.split.block,
        seed=config.seed,
    )
    labels = _labels(data)
    if len(parts.assessment) == 0:
        raise ValueError(
            f"Expected patches to assess in {data.name}, got none from {parts.description}; lower `scene.patch` or "
            "`split.block`, or raise the last of `split.fractions`."
        )
    return Material(
        data=data,
        size=size,
        split=parts,
        sensor=data.sensor(),
        assessed=limit(
            parts.assessment,
            labels[parts.assessment],
            parts.blocks[parts.assessment],
            count=config.split.assessed,
            seed=config.seed,
        ),
        rated=_sample(parts.assessment, config.split.assessed, config.seed, Purpose.RATE),
        baseline=_sample(parts.assessment, config.split.baseline, config.seed, Purpose.ASSESSED),
        calibration=_sample(parts.calibration, config.split.calibration, config.seed, Purpose.CALIBRATION),
    )


def check_material(config: RunConfig, material: Material) -> None:
    """Return when the data can bear the relations and the training, and the search's budget at least one generation.

    Raises:
        ValueError: one does not.
    """
    if material.data.labels is not None and any(reference.zoo for reference in config.references):
        classes = np.unique(material.data.labels.ravel()[material.split.train])
        if len(classes) < 2:
            names = "".join(f" ({material.class_names[label]})" for label in classes)
            raise ValueError(
                f"Expected at least two labelled classes to train on, got {len(classes)}{names} in the training part "
                f"of {material.data.name}; label another class there, change `split`, or give a trained model's `path` "
                "under `references`."
            )
        refuse_arms(config, len(material.class_names))
    if material.sensor.wavelengths is None:
        slots = config.space_in(config.tier).slots
        blind = [slot.relation.name for slot in slots if slot.relation.needs_wavelengths]
        if blind:
            leave_out = (
                f"`space: {{name: {config.space.name}, without: [{', '.join([*config.space.without, *blind])}]}}`"
                if config.space
                else "leave them out"
            )
            raise ValueError(
                f"Expected band centres for {', '.join(blind)}, which work in nm, got data without wavelengths; add "
                f"`wavelengths:` under `scene:`, or {'write ' if config.space else ''}{leave_out}."
            )
    least = 2 * config.search.population * len(material.assessed)
    if config.search.budget < least:
        raise ValueError(
            f"Expected `search.budget` of at least {least} queries, one generation of {config.search.population} "
            f"chains over {len(material.assessed)} patches through two models, got {config.search.budget}; raise "
            "it, or lower `search.population` or `split.assessed`."
        )


def refuse_arms(config: RunConfig, classes: int) -> None:
    """Return when every arm of the config can work with models of so many classes.

    Raises:
        ValueError: one needs more.
    """
    for arm in config.patchwise.chosen if config.patchwise is not None else ():
        if classes < arm.classes:
            raise ValueError(
                f"Expected at least {arm.classes} classes for the arm {arm.name}, got models of {classes}; leave it "
                "out of `patchwise.arms`, or take diffchaser_basic."
            )


def record(material: Material, store: Store) -> None:
    """Write `data.json` and `quicklook.npz`."""
    data, parts = material.data, material.split
    labels = _labels(data)
    cube = data.images if isinstance(data, ImageSet) else data.cube
    origin = dict(data.origin)
    warnings = list(origin.pop("warnings", ()))
    counts = {"train": parts.train, "calibration": parts.calibration, "assessment": parts.assessment}
    per_class = [
        {"class": name, **{kind: int((labels[ids] == c).sum()) for kind, ids in counts.items()}}
        for c, name in enumerate(data.class_names)
    ]
    store.write_json(
        "data.json",
        {
            "kind": "images" if isinstance(data, ImageSet) else "scene",
            "name": data.name,
            "digest": data.digest,
            "shape": cube.shape,
            "value_range": data.value_range,
            "unit": origin.pop("unit", None),
            "wavelengths": material.sensor.wavelengths,
            "class_names": data.class_names,
            "labelled": int((labels >= 0).sum()),
            "masked": 0 if isinstance(data, ImageSet) else int((~data.valid).sum()),
            "origin": origin,
            "warnings": warnings,
            "split": {
                "protocol": parts.protocol,
                "description": parts.description,
                "patch": material.size,
                "counts": {kind: len(ids) for kind, ids in counts.items()},
                "assessed": len(material.assessed),
                "rated": len(material.rated),
                "per_class": per_class if data.class_names else [],
                "leakage": parts.leakage,
                "notes": list(parts.notes),
            },
        },
    )
    look: dict[str, np.ndarray] = {}
    if isinstance(data, Scene):
        chosen = data.cube[:, :, display_bands(data.bands, material.sensor.wavelengths)]
        look["rgb"] = shown(chosen, *stretch(chosen, data.value_range))
        chart = np.zeros(data.valid.size, dtype=np.uint8)
        for number, ids in enumerate(counts.values(), start=1):
            chart[ids] = number
        look["split"] = chart.reshape(data.valid.shape)
    store.write_arrays("quicklook.npz", look)
    store.write_arrays("sensor.npz", _sensor_arrays(material.sensor))


def read_sensor(store: Store) -> Sensor:
    """The sensor that `record` wrote.

    Raises:
        Damaged: its file is.
    """
    arrays = store.read_arrays("sensor.npz", having=("range", "signal"))
    low, high = arrays["range"].tolist()
    return Sensor(low, high, signal=arrays["signal"], wavelengths=arrays.get("wavelengths"))


def _sensor_arrays(sensor: Sensor) -> dict[str, np.ndarray]:
    arrays = {"range": np.array([sensor.low, sensor.high]), "signal": sensor.signal}
    return arrays if sensor.wavelengths is None else {**arrays, "wavelengths": sensor.wavelengths}


def _load(config: RunConfig) -> tuple[Scene | ImageSet, int]:
    if config.images is not None:
        images = config.images
        loaded = load_images(
            images.path,
            labels=images.labels,
            image_key=images.image_key,
            label_key=images.label_key,
            value_range=images.value_range,
            class_names=images.class_names,
        )
        return loaded, max(loaded.images.shape[1:3])
    scene = config.scene
    assert scene is not None
    if scene.synthetic is not None:
        made = scene.synthetic
        return synthetic_scene(seed=made.seed, height=made.height, width=made.width), scene.patch
    assert scene.path is not None
    loaded_scene = load_scene(
        scene.path,
        ground_truth=scene.ground_truth,
        cube_key=scene.cube_key,
        label_key=scene.label_key,
        wavelengths=scene.wavelengths,
        wavelength_unit=scene.wavelength_unit,
        nodata=scene.nodata,
        value_range=scene.value_range,
        class_names=scene.class_names,
    )
    height, width = loaded_scene.cube.shape[:2]
    if scene.patch > min(height, width):
        raise ValueError(
            f"Expected `scene.patch` of at most {min(height, width)} pixels for {loaded_scene.name} of {height} × "
            f"{width}, got {scene.patch}; lower it."
        )
    return loaded_scene, scene.patch


def _labels(data: Scene | ImageSet) -> np.ndarray:
    count = len(data.images) if isinstance(data, ImageSet) else data.valid.size
    return np.full(count, -1) if data.labels is None else data.labels.ravel()


def _sample(ids: np.ndarray, count: int, seed: int, purpose: Purpose) -> np.ndarray:
    """At most `count` of `ids`, in ascending order."""
    if len(ids) <= count:
        return np.sort(ids)
    return np.sort(generator(seed, purpose, 1).choice(ids, size=count, replace=False))


def describe(material: Material) -> dict[str, Any]:
    """What `check` tells of the data."""
    return {
        "data": material.data.name,
        "split": material.split.description,
        "assessed": len(material.assessed),
        "notes": [*material.data.origin.get("warnings", ()), *material.split.notes],
    }

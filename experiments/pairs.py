"""The models of a run: references trained or loaded, quantised versions made or loaded, copied into the run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import preprocessing, quantise, tflite, training
from diverget.models.coverage import coverage
from diverget.models.model import check_input, check_pair
from diverget.models.preprocessing import Preprocessing
from diverget.models.tflite import TFLiteModel
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.models.zoo import Architecture
from diverget.randomness import Purpose, integer, key
from diverget.split import limit
from diverget.store import Store, appearing
from experiments.data import Material
from experiments.progress import Screen
from experiments.schema import KERAS_SUFFIXES, QuantisedConfig, ReferenceConfig, RunConfig, named

FLOAT_TOLERANCE = 1e-5
"""How far the float32 .tflite may be from Keras in probability: ten times what was measured on four networks."""

CHECKED = 64
"""Patches on which the float32 .tflite is compared with Keras."""

PATIENCE = 8
"""Epochs without a better validation loss before training stops (engineering judgement)."""


@dataclass(frozen=True)
class Pair:
    """A reference and a version of it under test; a control is a reference against itself."""

    name: str
    reference: TFLiteModel
    quantised: TFLiteModel
    control: bool


@dataclass(frozen=True)
class Subjects:
    """All pairs of a run."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class _Reference:
    """A reference ready to run; `keras` is None for one that came as .tflite."""

    label: str
    model: TFLiteModel
    keras: Path | None
    trust: bool
    facts: dict[str, Any]
    float_check: float | None


def prepare(config: RunConfig, material: Material, store: Store, screen: Screen, *, cache: Path) -> Subjects:
    """The pairs of `config`, every reference with every quantised version, then the controls.

    Raises:
        ValueError, OSError: a model cannot be trained, converted, loaded, or does not fit the data.
    """
    pairs: list[Pair] = []
    facts: list[dict[str, Any]] = []
    references = []
    for asked in config.references:
        reference = _reference(asked, config, material, store, screen, cache)
        references.append(reference.facts)
        versions = [
            (entry.label, _quantised(entry, reference, config, material, store, screen, cache))
            for entry in config.quantisations
        ]
        if config.control:
            # Loaded anew: the control must ask interpreters of its own, or it controls nothing.
            versions.append((asked.label, _stored(store, asked.label)))
        for label, model in versions:
            check_pair(reference.model, model)
            pair = Pair(f"{asked.label}/{label}", reference.model, model, control=label == asked.label)
            pairs.append(pair)
            facts.append(
                {
                    "pair": pair.name,
                    "reference": asked.label,
                    "quantised": label,
                    "control": pair.control,
                    "reference_model": _facts(reference.model, "float32", reference.float_check),
                    "quantised_model": _facts(model, label, None),
                }
            )
    if not store.has("models.json"):
        store.write_json("models.json", {"references": references, "pairs": facts})
    return Subjects(tuple(sorted(pairs, key=lambda pair: pair.control)))


def load_pair(store: Store, pair: str) -> tuple[TFLiteModel, TFLiteModel]:
    """The two models of a stored run, in fresh interpreters.

    Raises:
        ValueError: a file is damaged, or is not the one the run was made with.
    """
    for facts in store.read_json("models.json")["pairs"]:
        if facts["pair"] == pair:
            models = (_load(store, facts["reference_model"]), _load(store, facts["quantised_model"]))
            return models
    raise ValueError(f"Expected the pair {pair!r} in {store.path('models.json')}, got a run without it.")


def _load(store: Store, facts: dict[str, Any]) -> TFLiteModel:
    model = _stored(store, Path(facts["file"]).stem)
    if model.digest != facts["digest"]:
        raise ValueError(
            f"Expected the model {facts['file']} of digest {facts['digest'][:12]}, got {model.digest[:12]}: the file "
            "was changed after the run; put the original back."
        )
    return model


def _stored(store: Store, label: str) -> TFLiteModel:
    file = store.path(f"models/{label}.tflite")
    return tflite.load(file, preprocessing=preprocessing.load(file.with_suffix(".json")), name=label)


def _keep(store: Store, label: str, file: Path, prepared: Preprocessing, patch: tuple[int, int, int]) -> TFLiteModel:
    """Copy a network and its preprocessing into the run, and load it from there.

    Raises:
        ValueError: it is no network for such patches, or not the one that the run was begun with.
    """
    check_input(tflite.load(file, preprocessing=prepared, name=label), patch)
    kept = store.path(f"models/{label}.tflite")
    if not kept.exists():
        with appearing(kept.with_suffix(".json")) as temporary:
            prepared.save(temporary)
        with appearing(kept) as temporary:
            shutil.copyfile(file, temporary)
    elif kept.read_bytes() != file.read_bytes():
        raise ValueError(
            f"Expected the network of this run in {kept}, got another one than was made now: the run was begun with "
            "other versions (see manifest.json); remove that run's folder and start again."
        )
    return _stored(store, label)


def _facts(model: TFLiteModel, quantisation: str, float_check: float | None) -> dict[str, Any]:
    covered = asdict(coverage(model.path))
    covered["float_ops"] = [dict(zip(("op", "count", "macs"), op, strict=True)) for op in covered["float_ops"]]
    return {
        "name": model.name,
        "file": f"models/{model.path.name}",
        "digest": model.digest,
        "size_bytes": model.path.stat().st_size,
        "quantisation": quantisation,
        "input": list(model.input_shape),
        "output_step": model.output_step,
        "float_check": float_check,
        "coverage": covered,
    }


def _reference(
    asked: ReferenceConfig, config: RunConfig, material: Material, store: Store, screen: Screen, cache: Path
) -> _Reference:
    keras: Path | None = None
    trained: training.Trained | None = None
    architecture: Architecture | None = None
    if asked.zoo is not None:
        architecture = named("an architecture", ARCHITECTURES, asked.zoo)
        assert architecture is not None
        trained, prepared = _train(asked, architecture, config, material, screen, cache)
        keras, trust = trained.path, False
    else:
        assert asked.path is not None
        prepared = preprocessing.load(asked.preprocessing) if asked.preprocessing else preprocessing.identity("hwb")
        keras, trust = (asked.path if asked.path.suffix in KERAS_SUFFIXES else None), asked.trust
    if keras is None:
        assert asked.path is not None
        file = asked.path
    else:
        with screen.stage(f"convert {asked.label} to float32"):
            file = _converted(keras, "float32", None, config, cache, trust)
    model = _keep(store, asked.label, file, prepared, material.patch_shape)
    if material.class_names and model.classes < len(material.class_names):
        raise ValueError(
            f"Expected a model of at least {len(material.class_names)} classes for {material.data.name}, got "
            f"{model.classes} from {asked.label!r}; give the model that was trained for these classes."
        )
    difference = None
    if keras is not None and not store.has("models.json"):
        difference = _float_check(keras, model, material, trust)
    return _Reference(
        asked.label,
        model,
        keras,
        trust,
        facts={
            "name": asked.label,
            "kind": "zoo" if asked.zoo else "file",
            "digest": model.digest,
            "file": f"models/{model.path.name}",
            "size_bytes": model.path.stat().st_size,
            "parameters": trained.parameters if trained else None,
            "training": _training_facts(trained, architecture) if trained and architecture else None,
            "preprocessing": prepared.describe(),
        },
        float_check=difference,
    )


def _float_check(keras: Path, model: TFLiteModel, material: Material, trust: bool) -> float:
    """The largest difference of probability between Keras and its float32 .tflite.

    Raises:
        ValueError: more than `FLOAT_TOLERANCE`: the conversion changed the network.
    """
    z = model.preprocessing.apply(material.patches(material.assessed[:CHECKED]).source())
    difference = quantise.float_check(keras, model.path, z, trust=trust)
    if not difference <= FLOAT_TOLERANCE:
        raise ValueError(
            f"Expected the float32 .tflite of {model.name!r} within {FLOAT_TOLERANCE:g} of Keras, got a difference of "
            f"{difference:.3g} on {len(z)} patches: the converter changed the network; report its layers, or give the "
            "float .tflite you deploy as the reference."
        )
    return difference


def _train(
    asked: ReferenceConfig,
    architecture: Architecture,
    config: RunConfig,
    material: Material,
    screen: Screen,
    cache: Path,
) -> tuple[training.Trained, Preprocessing]:
    if material.data.labels is None:
        raise ValueError(
            f"Expected ground truth to train {asked.zoo!r} on, got {material.data.name} without labels; set "
            "`scene.ground_truth`, or give a trained model's `path` under `references`."
        )
    labels = material.data.labels.ravel()
    ids = material.split.train
    if asked.train_limit is not None and asked.train_limit < len(ids):
        ids = limit(
            ids,
            labels[ids],
            material.split.blocks[ids],
            count=asked.train_limit,
            seed=config.seed,
        )
    architecture.check_patch(material.size)
    train = material.patches(ids)
    source = train.source()
    # The centre pixels stand for the training pixels: every one of them once, no neighbour of another split.
    centre = source.shape[1] // 2, source.shape[2] // 2
    pixels = source[:, centre[0], centre[1]]
    prepared = architecture.fit_preprocessing(pixels)
    check = material.patches(material.split.calibration)
    epochs = asked.epochs or architecture.epochs
    with screen.stage(f"train   {asked.label}", total=epochs) as stage:
        trained = training.train(
            architecture,
            prepared.apply(source),
            train.labels,
            classes=len(material.class_names),
            validation=(prepared.apply(check.source()), check.labels) if len(check) else None,
            epochs=epochs,
            batch=asked.batch or architecture.batch,
            learning_rate=asked.learning_rate or architecture.learning_rate,
            patience=asked.patience or PATIENCE,
            seed=integer(config.seed, Purpose.TRAINING, key(asked.label)),
            cache=cache,
            on_event=_shown(stage.to),
        )
        stage.to(epochs, "from the cache" if trained.from_cache else f"kept epoch {trained.epoch}")
    return trained, prepared


def _shown(move: Callable[[float, str], None]) -> Callable[[dict[str, Any]], None]:
    def told(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            figures = [f"{name} {event[name]:.3f}" for name in ("accuracy", "val_accuracy") if name in event]
            move(event["epoch"], "  ".join(figures))

    return told


def _training_facts(trained: training.Trained, architecture: Architecture) -> dict[str, Any]:
    kept = trained.epoch - 1
    return {
        "accuracy": trained.history["accuracy"][kept],
        "val_accuracy": trained.history["val_accuracy"][kept] if "val_accuracy" in trained.history else None,
        "epochs": len(trained.history["loss"]),
        "seconds": trained.seconds,
        "citation": architecture.source,
    }


def _quantised(
    asked: QuantisedConfig,
    reference: _Reference,
    config: RunConfig,
    material: Material,
    store: Store,
    screen: Screen,
    cache: Path,
) -> TFLiteModel:
    prepared = preprocessing.load(asked.preprocessing) if asked.preprocessing else reference.model.preprocessing
    label = f"{reference.label}.{asked.label}"
    if asked.path is not None and asked.path.suffix not in KERAS_SUFFIXES:
        return _keep(store, label, asked.path, prepared, material.patch_shape)
    way, keras, trust = (
        ("float32", asked.path, asked.trust) if asked.path else (asked.quantisation, reference.keras, reference.trust)
    )
    assert way is not None and keras is not None
    calibration: np.ndarray | None = None
    if quantise.quantisation(way).needs_calibration:
        if len(material.calibration) == 0:
            raise ValueError(
                f"Expected calibration patches for {way!r}, got none from the split; raise the second of "
                "`split.fractions`, or leave full-integer quantisation out."
            )
        calibration = prepared.apply(material.patches(material.calibration).source())
        _record_calibration(store, material)
    with screen.stage(f"convert {reference.label} to {asked.label}"):
        file = _converted(keras, way, calibration, config, cache, trust)
    return _keep(store, label, file, prepared, material.patch_shape)


def _converted(
    keras: Path, way: str, calibration: np.ndarray | None, config: RunConfig, cache: Path, trust: bool
) -> Path:
    return quantise.convert(
        keras,
        quantise.quantisation(way),
        calibration=calibration,
        cache=cache,
        timeout=config.conversion_seconds,
        trust=trust,
    )


def _record_calibration(store: Store, material: Material) -> None:
    """Which patches set the ranges of the integer models."""
    if not store.has("calibration.json"):
        store.write_json(
            "calibration.json",
            {"source": "calibration split", "count": len(material.calibration), "ids": material.calibration},
        )

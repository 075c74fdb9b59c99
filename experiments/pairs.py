"""The models of a run: references trained or loaded, quantised versions made or loaded, copied into the run."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import preprocessing, quantise, tflite
from diverget.models.coverage import coverage
from diverget.models.model import check_input, check_pair
from diverget.models.preprocessing import Preprocessing
from diverget.models.tflite import TFLiteModel
from diverget.store import Store, appearing
from experiments.data import Material
from experiments.fit import check_bands, check_classes, in_file_order
from experiments.parts import KERAS_SUFFIXES, QuantisedConfig, ReferenceConfig
from experiments.progress import Screen
from experiments.schema import RunConfig
from experiments.training import prepare_in_parts, trained_reference

FLOAT_TOLERANCE = 1e-5
"""How far the float32 .tflite may be from Keras in probability: ten times what was measured on four networks."""

CHECKED = 64
"""Patches on which the float32 .tflite is compared with Keras."""

STALE_SECONDS = 86_400
"""Age at which a working folder in the cache belongs to no process that still lives."""


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

    A run that has its models (`models.json`, which is written last) takes them from its own folder: nothing is
    trained or converted again, and TensorFlow is not needed.

    Raises:
        ValueError, OSError: a model cannot be trained, converted, loaded, or does not fit the data.
    """
    if not store.has("models.json"):
        _make(config, material, store, screen, cache)
    loaded: dict[str, TFLiteModel] = {}

    def model(facts: dict[str, Any]) -> TFLiteModel:
        if facts["file"] not in loaded:
            loaded[facts["file"]] = _load(store, facts)
        return loaded[facts["file"]]

    pairs = []
    for entry in _recorded(store):
        # The two sides of a control ask interpreters of their own, or it controls nothing.
        reference = model(entry["reference_model"])
        quantised = reference.fresh() if entry["control"] else model(entry["quantised_model"])
        pairs.append(Pair(entry["pair"], reference, quantised, entry["control"]))
    return Subjects(tuple(sorted(pairs, key=lambda pair: pair.control)))


def _make(config: RunConfig, material: Material, store: Store, screen: Screen, cache: Path) -> None:
    """Put all models of `config` into the run, and record them in `models.json`."""
    _clear_stale(cache)
    pairs: list[dict[str, Any]] = []
    references = []
    for asked in config.references:
        reference = _reference(asked, config, material, store, screen, cache)
        references.append(reference.facts)
        float_facts = _facts(reference.model, "float32", reference.float_check)
        versions = []
        for entry in config.quantisations:
            model, difference = _quantised(entry, reference, config, material, store, screen, cache)
            check_pair(reference.model, model)
            versions.append((entry.label, False, _facts(model, entry.label, difference)))
        if config.control:
            versions.append((asked.label, True, {**float_facts, "quantisation": asked.label, "float_check": None}))
        for label, control, facts in versions:
            pairs.append(
                {
                    "pair": f"{asked.label}/{label}",
                    "reference": asked.label,
                    "quantised": label,
                    "control": control,
                    "reference_model": float_facts,
                    "quantised_model": facts,
                }
            )
    store.write_json("models.json", {"references": references, "pairs": pairs})


def _clear_stale(cache: Path) -> None:
    """Remove the working folders that killed trainings and conversions left in the cache."""
    for kind in (".training-*", ".conversion-*"):
        for folder in cache.glob(kind):
            if folder.stat().st_mtime < time.time() - STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def load_pair(store: Store, pair: str) -> tuple[TFLiteModel, TFLiteModel]:
    """The two models of a stored run, in fresh interpreters.

    Raises:
        ValueError: a file is damaged, or is not the one the run was made with.
    """
    known = {entry["pair"]: entry for entry in _recorded(store)}
    if pair not in known:
        raise ValueError(
            f"Expected the pair {pair!r} in {store.path('models.json')}, got {', '.join(known) or 'none'}; the folder "
            "was put together from several runs: take that of one run."
        )
    return _load(store, known[pair]["reference_model"]), _load(store, known[pair]["quantised_model"])


def _recorded(store: Store) -> list[dict[str, Any]]:
    """The pairs that `models.json` names, each with all that loading it takes.

    Raises:
        ValueError: the file was changed or damaged.
    """
    content = store.read_json("models.json")
    entries = content.get("pairs") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(map(_whole, entries)):
        raise ValueError(
            f"Expected a list of pairs with their two models in {store.path('models.json')}, got "
            f"{str(content)[:60]!r}: the file was changed; remove it and run again."
        )
    return entries


def _whole(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("pair"), str):
        return False
    sides = (entry.get("reference_model"), entry.get("quantised_model"))
    return isinstance(entry.get("control"), bool) and all(
        isinstance(side, dict) and isinstance(side.get("file"), str) and isinstance(side.get("digest"), str)
        for side in sides
    )


def _load(store: Store, facts: dict[str, Any]) -> TFLiteModel:
    model = _stored(store, Path(facts["file"]).name.removesuffix(".tflite"))
    if model.digest != facts["digest"]:
        raise ValueError(
            f"Expected the model {facts['file']} of digest {facts['digest'][:12]}, got {model.digest[:12]}: the file "
            "was changed after the run; put the original back."
        )
    return model


def _stored(store: Store, label: str) -> TFLiteModel:
    file = store.path(f"models/{label}.tflite")
    return tflite.load(file, preprocessing=preprocessing.load(file.with_suffix(".json")), name=label)


def _keep(store: Store, label: str, file: Path, prepared: Preprocessing, material: Material) -> TFLiteModel:
    """Copy a network and its preprocessing into the run, and load it from there.

    Raises:
        ValueError: it is no network for such patches and classes, or not the one that the run was begun with.
    """
    model = tflite.load(file, preprocessing=prepared, name=label)
    check_bands(model, material)
    check_input(model, material.patch_shape)
    check_classes(model, material)
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
    training_facts: dict[str, Any] | None = None
    parameters: int | None = None
    trust, difference = asked.trust, None
    if asked.path is None:
        trained, prepared, training_facts = trained_reference(asked, config, material, screen, cache)
        path, parameters = trained.path, trained.parameters
    else:
        given = preprocessing.load(asked.preprocessing) if asked.preprocessing else preprocessing.identity("hwb")
        path, prepared = asked.path, in_file_order(given, material)
    keras = path if path.suffix in KERAS_SUFFIXES else None
    file = path
    if keras is not None:
        with screen.stage(f"convert {asked.label} to float32"):
            file = _converted(keras, "float32", None, config, cache, trust)
    model = _keep(store, asked.label, file, prepared, material)
    if keras is not None:
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
            "parameters": parameters,
            "training": training_facts,
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


def _quantised(
    asked: QuantisedConfig,
    reference: _Reference,
    config: RunConfig,
    material: Material,
    store: Store,
    screen: Screen,
    cache: Path,
) -> tuple[TFLiteModel, float | None]:
    """A version under test, and how far it is from its Keras file where it is the float32 conversion of one."""
    label = f"{reference.label}.{asked.label}"
    prepared = reference.model.preprocessing
    if asked.preprocessing is not None:
        prepared = in_file_order(preprocessing.load(asked.preprocessing), material)
    if asked.path is not None and asked.path.suffix not in KERAS_SUFFIXES:
        return _keep(store, label, asked.path, prepared, material), None
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
        calibration = prepare_in_parts(prepared, material, material.calibration)
        _record_calibration(store, material)
    with screen.stage(f"convert {reference.label} to {asked.label}"):
        file = _converted(keras, way, calibration, config, cache, trust)
    model = _keep(store, label, file, prepared, material)
    return model, _float_check(keras, model, material, trust) if asked.path else None


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

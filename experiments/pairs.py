"""The models of a run: references trained or loaded, quantised versions made or loaded, copied into the run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import preprocessing, quantise
from diverget.models.deployed import Deployed
from diverget.models.made import clear_stale
from diverget.models.model import check_pair
from diverget.store import Store, appearing
from experiments.compression import compressed, told_of
from experiments.config.parts import QuantisedConfig, ReferenceConfig, is_deployed
from experiments.config.schema import RunConfig
from experiments.data import Material
from experiments.fit import in_file_order
from experiments.kept_models import facts, keep, load_kept, load_pair, recorded
from experiments.progress import Screen
from experiments.record import unquantised
from experiments.training import prepare_in_parts, trained_reference

__all__ = ["Pair", "Subjects", "load_pair", "prepare"]

FLOAT_TOLERANCE = 1e-5
"""How far the float32 .tflite may be from its Keras file or SavedModel in probability: ten times what was measured on
four networks."""

CHECKED = 64
"""Patches on which the float32 .tflite is compared with Keras."""


@dataclass(frozen=True)
class Pair:
    """A reference and a version of it under test; a control is a reference against itself.

    `unquantised` is the network that a compression left, in float; None without a compression, and where it trains
    under integers.
    """

    name: str
    reference: Deployed
    quantised: Deployed
    control: bool
    unquantised: Deployed | None = None


@dataclass(frozen=True)
class Subjects:
    """All pairs of a run."""

    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class _Reference:
    """A reference ready to run; `keras` is what it was converted from, a Keras file or a SavedModel, or None."""

    label: str
    model: Deployed
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
    loaded: dict[str, Deployed] = {}

    def model(told: dict[str, Any]) -> Deployed:
        if told["file"] not in loaded:
            loaded[told["file"]] = load_kept(store, told)
        return loaded[told["file"]]

    pairs = []
    for entry in recorded(store):
        # The two sides of a control ask interpreters of their own, or it controls nothing.
        reference = model(entry["reference_model"])
        quantised = reference.fresh() if entry["control"] else model(entry["quantised_model"])
        told = unquantised(entry)
        in_float = None if told is None else model(told)
        pairs.append(Pair(entry["pair"], reference, quantised, entry["control"], in_float))
    return Subjects(tuple(sorted(pairs, key=lambda pair: pair.control)))


def _make(config: RunConfig, material: Material, store: Store, screen: Screen, cache: Path) -> None:
    """Put all models of `config` into the run, and record them in `models.json`."""
    clear_stale(cache)
    pairs: list[dict[str, Any]] = []
    references = []
    for asked in config.references:
        reference = _reference(asked, config, material, store, screen, cache)
        references.append(reference.facts)
        float_facts = facts(reference.model, "float32", reference.float_check)
        versions = []
        for entry in config.quantisations:
            model, difference, more = _quantised(entry, reference, config, material, store, screen, cache)
            check_pair(reference.model, model)
            versions.append((entry.label, False, facts(model, entry.label, difference) | more))
        if config.control:
            versions.append((asked.label, True, {**float_facts, "quantisation": asked.label, "float_check": None}))
        for label, control, told in versions:
            pairs.append(
                {
                    "pair": f"{asked.label}/{label}",
                    "reference": asked.label,
                    "quantised": label,
                    "control": control,
                    "reference_model": float_facts,
                    "quantised_model": told,
                }
            )
    store.write_json("models.json", {"references": references, "pairs": pairs})


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
    keras = None if is_deployed(path) else path
    file = path
    if keras is not None:
        with screen.stage(f"convert {asked.label} to float32"):
            file = _converted(keras, "float32", None, config, cache, trust)
    model = keep(store, asked.label, file, prepared, material, (asked.kernels, asked.threads))
    if keras is not None:
        difference = _float_check(keras, model, material, cache, trust)
        _keep_keras(store, asked.label, keras)
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


def _keep_keras(store: Store, label: str, keras: Path) -> None:
    """Copy the Keras file of a reference into the run, for whoever converts it again."""
    kept = store.path(f"models/{label}{keras.suffix}")
    if keras.is_file() and not kept.exists():
        with appearing(kept) as temporary:
            shutil.copyfile(keras, temporary)


def _float_check(keras: Path, model: Deployed, material: Material, cache: Path, trust: bool) -> float:
    """The largest difference of probability between Keras and its float32 .tflite.

    Raises:
        ValueError: more than `FLOAT_TOLERANCE`: the conversion changed the network.
    """
    z = model.preprocessing.apply(material.patches(material.assessed[:CHECKED]).source())
    difference = quantise.float_check(keras, model.path, z, cache=cache, trust=trust)
    if not difference <= FLOAT_TOLERANCE:
        raise ValueError(
            f"Expected the float32 .tflite of {model.name!r} within {FLOAT_TOLERANCE:g} of {keras.name}, got a "
            f"difference of {difference:.3g} on {len(z)} patches: the converter changed the network; report its "
            "layers, or give the float .tflite you deploy as the reference."
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
) -> tuple[Deployed, float | None, dict[str, Any]]:
    """A version under test, how far it is from its Keras file where it is the float32 conversion of one, and what a
    compression before it told."""
    label = f"{reference.label}.{asked.label}"
    prepared = reference.model.preprocessing
    if asked.preprocessing is not None:
        prepared = in_file_order(preprocessing.load(asked.preprocessing), material)
    if asked.path is not None and is_deployed(asked.path):
        return keep(store, label, asked.path, prepared, material, (asked.kernels, asked.threads)), None, {}
    way, keras, trust = (
        ("float32", asked.path, asked.trust) if asked.path else (asked.quantisation, reference.keras, reference.trust)
    )
    assert way is not None and keras is not None
    place = (config, material, screen)
    trained = compressed(asked, reference.label, keras, prepared, *place, cache=cache, trust=trust)
    keras = trained.path if trained else keras
    calibration: np.ndarray | None = None
    if quantise.quantisation(way).needs_calibration and not is_deployed(keras):
        if len(material.calibration) == 0:
            raise ValueError(
                f"Expected calibration patches for {way!r}, got none from the split; raise the second of "
                "`split.fractions`, or leave full-integer quantisation out."
            )
        calibration = prepare_in_parts(prepared, material, material.calibration)
        _record_calibration(store, material)
    with screen.stage(f"convert {reference.label} to {asked.label}"):
        file = keras if is_deployed(keras) else _converted(keras, way, calibration, config, cache, trust)
    model = keep(store, label, file, prepared, material, (asked.kernels, asked.threads))
    if trained is None:
        difference = _float_check(keras, model, material, cache, trust) if asked.path is not None else None
        return model, difference, {}
    if is_deployed(keras):
        return model, None, told_of(asked, trained, model.path, None)
    plain = "float32_lowered" if quantise.quantisation(way).lowered else "float32"
    in_float = model
    if plain != way:
        with screen.stage(f"convert {label} to {plain}"):
            file = _converted(keras, plain, None, config, cache, trust)
        in_float = keep(store, f"{label}+{plain}", file, prepared, material, (asked.kernels, asked.threads))
    difference = _float_check(keras, in_float, material, cache, trust)
    told = told_of(asked, trained, model.path, facts(in_float, plain, difference))
    return model, difference if plain == way else None, told


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

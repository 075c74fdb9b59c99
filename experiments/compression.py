"""A reference compressed by training on the training split of a run, before it is converted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from diverget.models.compress import SETTINGS, Compressed, compress, compressed_size, compression, refuse
from diverget.models.preprocessing import Preprocessing
from diverget.randomness import Purpose, integer, key
from diverget.split import limit
from experiments.config.parts import KERAS_SUFFIXES, QuantisedConfig
from experiments.config.schema import RunConfig
from experiments.data import Material
from experiments.progress import Screen
from experiments.training import prepare_in_parts


def compressed(
    asked: QuantisedConfig,
    reference: str,
    keras: Path,
    prepared: Preprocessing,
    config: RunConfig,
    material: Material,
    screen: Screen,
    *,
    cache: Path,
    trust: bool,
) -> Compressed | None:
    """The network of the file `keras`, called `reference`, as `asked` compresses it; None where it does not.

    It learns from the patches that a reference of the zoo learnt from, and from no more than its steps can see.

    Raises:
        ValueError: there is no ground truth, the reference is no Keras file, or the compression refuses it or fails.
    """
    if asked.compression is None:
        return None
    way = compression(asked.compression)
    refuse_compression(asked, keras)
    labels = _labels(material, way.name, config)
    settings = way.filled({name: getattr(asked, name) for name in SETTINGS})
    ids, check = material.split.train, material.split.calibration
    bounds = [entry.train_limit for entry in config.references if entry.label == reference]
    most = min(settings.steps * settings.batch, *(bound for bound in bounds if bound is not None), len(ids))
    if most < len(ids):
        ids = limit(ids, labels[ids], material.split.blocks[ids], count=most, seed=config.seed)
    with screen.stage(f"{way.name} of {reference}", total=100) as stage:
        found = compress(
            keras,
            way,
            x=prepare_in_parts(prepared, material, ids),
            y=labels[ids],
            classes=len(material.class_names),
            validation=(prepare_in_parts(prepared, material, check), labels[check]) if len(check) else None,
            settings=settings,
            quantisation=asked.quantisation or way.quantisation,
            seed=integer(config.seed, Purpose.TRAINING, key(f"{reference}.{asked.label}")),
            cache=cache,
            timeout=config.compression_seconds,
            trust=trust,
            on_event=_shown(stage.to),
        )
        stage.to(100, "from the cache" if found.from_cache else f"{found.facts['steps']} steps")
    return found


def refuse_compression(asked: QuantisedConfig, keras: Path) -> None:
    """Return when nothing is known against compressing the network of the file `keras` as `asked`.

    Raises:
        FileNotFoundError, ValueError: it is no Keras file, or has layers that the compression or the quantisation
            after it cannot take.
    """
    way = compression(asked.compression or "")
    if keras.suffix not in KERAS_SUFFIXES:
        raise ValueError(
            f"Expected a Keras file ({', '.join(KERAS_SUFFIXES)}) to compress by {way.name!r}, got {keras}; give the "
            "network as it was saved by Keras, or the compressed .tflite file."
        )
    refuse(keras, way, asked.quantisation or way.quantisation, keeps_layers=asked.student is None)


def told_of(
    asked: QuantisedConfig, found: Compressed, file: Path, unquantised: dict[str, Any] | None
) -> dict[str, Any]:
    """What `models.json` keeps of a compression beside the facts of the model in `file`.

    Args:
        unquantised: the facts of the network that it left, in float; None where it left integers.
    """
    zlib = {"zlib_bytes": compressed_size(file)} if file.is_file() else {}
    named = {"name": asked.compression, "quantisation": asked.quantisation}
    return {"compression": {**named, **found.facts, **zlib, "unquantised": unquantised}}


def _labels(material: Material, name: str, config: RunConfig) -> Any:
    if material.data.labels is None:
        place = "images.labels" if config.images else "scene.ground_truth"
        raise ValueError(
            f"Expected ground truth to train under {name!r} on, got {material.data.name} without labels; set "
            f"`{place}`, or give the compressed model's `path` under `quantisations`."
        )
    return material.data.labels.ravel()


def _shown(move: Callable[[float, str], None]) -> Callable[[dict[str, Any]], None]:
    def told(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            move(100 * event["step"] / event["steps"], f"step {event['step']}  loss {event['loss']:.3f}")

    return told

"""`diverget blame`: for every pair of a stored run the layers of the quantised network, the one to blame first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from diverget.advice import keep_float, recalibrate
from diverget.blame import FINDINGS, Layer, blame, ranked_by
from diverget.findings import inputs
from diverget.models import tflite
from diverget.models.coverage import is_lowered
from diverget.models.deployed import Deployed, coverage
from diverget.models.graph import FLOAT_STEP
from diverget.models.layers import Unreadable, share_compared, shared_layers
from diverget.models.quantise import convert, quantisation
from diverget.models.tflite import TFLiteModel
from diverget.store import Store
from experiments.config.parts import KERAS_SUFFIXES
from experiments.kept_models import load_kept, recorded
from experiments.pairs import load_pair
from experiments.record import inseparable, mildness, unquantised
from experiments.record.contents import check
from experiments.record.reading import read_json, telling_damage
from experiments.wording import ending

FILE = "blame.json"
LOOKED_AT = [
    {
        **dict.fromkeys(("pair", "file", "tier"), str),
        **dict.fromkeys(("confirmed", "control"), bool),
        "finding": int,
        "severity": (int, float),
    }
]
"""What `findings.parquet` must hold of each finding here."""

SHOWN = 3
"""Layers of a pair that the command prints."""

OWN, BORROWED = "findings", "findings of other pairs"


def blame_run(root: Path, *, pair: str | None = None, most: int | None = None) -> list[str]:
    """Write `blame.json` into a run directory; the lines that tell it.

    For a lowered version the reference may have to be converted to `float32_lowered`. That file is written into the
    cache beside the run directory; `blame.json` tells its name and digest.

    Pairs without findings of their own are looked at on those of the other pairs. With `pair` the other entries of
    the file stay as they are. What of a model cannot be looked into is told in its entry, which then has no layers.

    Args:
        root: the run directory.
        pair: one pair instead of all.
        most: findings a pair, the mildest; `FINDINGS` at the most.

    Raises:
        ValueError: there is no such pair, `most` is out of range, the run has not come to its findings yet, or a file
            of it is damaged.
    """
    most = FINDINGS if most is None else most
    if not 1 <= most <= FINDINGS:
        raise ValueError(f"Expected 1 to {FINDINGS} findings for --findings, got {most}; give a number in between.")
    store = Store(root)
    for name, what in (("models.json", "models"), ("findings.parquet", "findings")):
        if not store.has(name):
            raise ValueError(
                f"Expected {what} in {root}, got a run that has not come that far; start it again to finish it."
            )
    tested = [entry["pair"] for entry in recorded(store) if not entry["control"]]
    if pair is not None and pair not in tested:
        raise ValueError(
            f"Expected a pair of {root} for --pair, got {pair!r}; choose one of {', '.join(tested) or 'none'}."
        )
    with telling_damage(store):
        found = store.read_table("findings.parquet")
        check(found, LOOKED_AT, file=store.path("findings.parquet"))
    findings = [row for row in found if row["confirmed"] and not row["control"]]
    findings.sort(key=mildness)
    known = {entry["pair"]: entry for entry in read_json(store, FILE)["pairs"]} if pair and store.has(FILE) else {}
    for name in tested if pair is None else [pair]:
        known[name] = _entry(store, name, findings, most)
    entries = [known[name] for name in tested if name in known]
    store.write_json(FILE, {"pairs": entries})
    return [line for entry in entries if pair in (None, entry["pair"]) for line in _lines(entry)]


LOWERED = "float32_lowered"
"""The quantisation that lowers a network and quantises nothing."""

INTEGER_WEIGHTS = ("dynamic int8", "weight-only int8")
"""The kinds of coverage that quantise a layer by its weights: those of float16 err less than a rounding to 8 bits, and
a float32 version is in float already."""

COMPARED = 0.99
"""Below this share of work in layers that both networks have, blame says what it cannot see (engineering judgement)."""

INSEPARABLE = (
    " The run has no float network of what {} left, so layers are compared with those of the reference: their errors "
    "are those of training and quantisation together, and no layer is advised to be kept in float or calibrated anew."
)
"""Said of a version that was trained under integers, or of one in a run that kept no such network."""


def _entry(store: Store, pair: str, findings: Sequence[Mapping[str, Any]], most: int) -> dict[str, Any]:
    """What `blame.json` holds of one pair."""
    own = [row for row in findings if row["pair"] == pair]
    chosen = (own or findings)[:most]
    entry: dict[str, Any] = {
        "pair": pair,
        "looked_at": OWN if own else BORROWED,
        "findings": [row["finding"] for row in chosen],
        "note": "",
        "compared_with": None,
        "layers": [],
        "keep_float": [],
        "recalibrate": [],
    }
    if not chosen:
        return entry | {"note": "No findings in this run: nothing parted, so no layer is to blame."}
    sources, follow_ups = inputs(
        [store.read_arrays(row["file"], having=("source", "margins", "follow_up")) for row in chosen]
    )
    told_pair = next(one for one in recorded(store) if one["pair"] == pair)
    in_float, together = unquantised(told_pair), inseparable(told_pair)
    try:
        reference, quantised = load_pair(store, pair)
        if in_float is None:
            reference, said = _compared_with(store, pair, reference, quantised, follow_ups)
        else:
            left = told_pair["quantised_model"]["compression"]["name"]
            if in_float["digest"] == quantised.digest:
                return entry | {
                    "note": f"Nothing of this version is quantised: it is the float network that {left} left."
                }
            reference = load_kept(store, in_float)
            said = f" Layers are compared with those of the network that {left} left, in float."
        shared = shared_layers(reference, quantised, purpose="blame")
    except Unreadable as refused:
        return entry | {"note": str(refused)}
    layers, compared = blame(shared, sources, follow_ups), share_compared(shared)
    told = "" if own else "No findings of this pair: looked at on the follow-ups of the run's other pairs."
    told += said
    told += INSEPARABLE.format(together) if together else ""
    integers = any(layer.low is not None for layer in layers)
    if not integers:
        told += " No activation of this version is an integer: there is no range to saturate or to calibrate."
    if compared < COMPARED:
        told += (
            f" Only {100 * compared:.0f} % of the multiply-accumulates lie in layers that both networks have; what the "
            "other layers cause is laid on the layers after them."
        )
    entry |= {
        "note": told.strip(),
        "compared_with": _told_of(store, reference),
        "layers": [_row(layer) for layer in layers],
    }
    if together:
        return entry
    return entry | {
        "keep_float": keep_float(layers) if integers or _gains_in_float(layers, quantised) else [],
        "recalibrate": recalibrate(layers),
    }


def _gains_in_float(layers: Sequence[Layer], quantised: Deployed) -> bool:
    """Whether a version with integer weights and float activations errs avoidably in the layer to blame most."""
    found = coverage(quantised)
    if not layers or found is None or found.kind not in INTEGER_WEIGHTS:
        return False
    return ranked_by(layers[0].sources.avoidable, layers[0].findings.avoidable) > 0


def _told_of(store: Store, reference: Deployed) -> dict[str, Any]:
    """The file that `reference_tensor`, `readers` and `keep_float` name activations of.

    `digest` is the SHA-256 of the file alone, `file` its path relative to the run directory, None if it lies outside.
    """
    assert isinstance(reference, TFLiteModel), "of other models no layer is compared"
    path, root = reference.path.resolve(), store.root.resolve()
    inside = path.is_relative_to(root)
    return {
        "name": path.name,
        "digest": reference.file_digest,
        "file": path.relative_to(root).as_posix() if inside else None,
    }


def _compared_with(
    store: Store, pair: str, reference: Deployed, quantised: Deployed, x: np.ndarray
) -> tuple[Deployed, str]:
    """The float network whose layers a quantised one is compared with, and what to say of it.

    It is the reference itself, but for a lowered version that of `float32_lowered`: the layers of a 3-D convolution
    and of its lowered form are not the same. The run may test it; else the reference's Keras file is converted.

    Args:
        x: raw patches (n, h, w, b) on which the two float networks must answer alike.
    """
    if not isinstance(quantised, TFLiteModel) or not isinstance(reference, TFLiteModel):
        return reference, ""
    if not is_lowered(quantised.graph) or is_lowered(reference.graph):
        return reference, ""
    try:
        lowered = _lowered(store, pair, reference)
    except (OSError, ValueError) as refused:
        return reference, f" The reference has no lowered form to compare with: {refused}"
    apart = float(np.abs(lowered.predict_proba(x) - reference.predict_proba(x)).max())
    if not apart <= FLOAT_STEP:
        return reference, (
            f" The lowered form of the reference is {apart:.2g} in probability apart from it, so the layers are those "
            "of the reference."
        )
    return lowered, " Layers are compared with those of the reference converted to float32_lowered."


def _lowered(store: Store, pair: str, reference: TFLiteModel) -> TFLiteModel:
    """The reference of a pair as `float32_lowered`.

    Raises:
        OSError, ValueError: the run keeps no Keras file, or it cannot be converted.
    """
    entries = recorded(store)
    kept = next(entry["reference_model"]["file"] for entry in entries if entry["pair"] == pair)
    for entry in entries:
        if entry["reference_model"]["file"] == kept and entry["quantised_model"].get("quantisation") == LOWERED:
            tested = load_kept(store, entry["quantised_model"])
            assert isinstance(tested, TFLiteModel)
            return tested
    files = [store.path(f"models/{reference.name}{suffix}") for suffix in KERAS_SUFFIXES]
    keras = next((file for file in files if file.is_file()), None)
    if keras is None:
        raise ValueError(
            f"Expected the Keras network of {reference.name!r} in {store.path('models')}, got none of "
            f"{', '.join(file.name for file in files)}; run with the Keras file as the reference."
        )
    file = convert(keras, quantisation(LOWERED), calibration=None, cache=store.root.parent / "cache")
    return tflite.load(
        file,
        preprocessing=reference.preprocessing,
        name=f"{reference.name}.{LOWERED}",
        kernels=reference.kernels,
        threads=reference.threads,
    )


def _row(layer: Layer) -> dict[str, Any]:
    row = asdict(layer)
    return row | {"shape": list(layer.shape), "readers": list(layer.readers)}


def _lines(entry: Mapping[str, Any]) -> list[str]:
    """What the command prints of one pair."""
    lines = [f"{entry['pair']}, {len(entry['findings'])} {entry['looked_at']}"]
    if entry["note"]:
        lines.append(f"  {entry['note']}")
    for place, layer in enumerate(entry["layers"][:SHOWN], start=1):
        seen = layer["findings"]
        lines.append(
            f"  {place}. layer {layer['index']} {layer['operator']}: own error {_decibels(seen['own_sqnr'])}, "
            f"{_avoidable(seen['avoidable'])} avoidable, effect {100 * seen['effect']:.0f} %, {seen['parted']} part "
            f"here{_ranges(seen)}  {ending(layer['tensor'], 60)}"
        )
    if entry["recalibrate"]:
        lines.append(f"  calibrate anew: {', '.join(_to_calibrate(entry))}")
    if entry["keep_float"]:
        lines.append(f"  keep in float: {', '.join(ending(name, 40) for name in entry['keep_float'])}")
    return lines


def _to_calibrate(entry: Mapping[str, Any]) -> list[str]:
    """Each activation to calibrate anew with its range, and what the float network reaches there on the findings."""
    of = {layer["tensor"]: layer for layer in entry["layers"]}
    return [
        f"{ending(name, 40)} ({of[name]['low']:.3g} to {of[name]['high']:.3g}, float reaches "
        f"{of[name]['findings']['least']:.3g} to {of[name]['findings']['greatest']:.3g})"
        for name in entry["recalibrate"]
    ]


def _decibels(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} dB"


def _avoidable(value: float | None) -> str:
    """None also within one rounding: there is nothing to avoid."""
    return _decibels(None if value is None or value <= 0 else value)


def _ranges(seen: Mapping[str, Any]) -> str:
    if seen["exceeded"] is None:
        return ""
    return f", {100 * seen['saturation']:.1f} % saturated, {100 * seen['unused']:.0f} % of the range unused"

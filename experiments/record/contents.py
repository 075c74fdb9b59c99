"""What the report expects of a run's files: keys and kinds, so that a damaged file is named and not stumbled over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diverget.store import Damaged, Store

NUMBER = (int, float)
COUNT = int


@dataclass(frozen=True)
class Optional:
    """Null, or what is expected."""

    expected: Any


@dataclass(frozen=True)
class Later:
    """What is expected, or no such key: files of earlier versions have none."""

    expected: Any


MODEL = {
    "name": str,
    "file": str,
    "digest": str,
    "size_bytes": COUNT,
    "quantisation": str,
    "output_step": NUMBER,
    "float_check": None,
    "coverage": Optional(
        {
            "share": NUMBER,
            "kind": str,
            "total_macs": COUNT,
            "float_ops": [{"op": str, "count": COUNT, "macs": COUNT}],
            "note": str,
        }
    ),
}

COMPRESSED = {"compression": Later({"name": str, "unquantised": Later(Optional({"file": str, "digest": str}))})}
"""What stands beside the facts of a version that was compressed before it was quantised."""

SEEN = {
    **dict.fromkeys(("sqnr", "own_sqnr", "saturation", "exceeded", "excess", "unused"), Optional(NUMBER)),
    **dict.fromkeys(("largest_error", "effect"), NUMBER),
    "parted": COUNT,
    "avoidable": Later(Optional(NUMBER)),
    **dict.fromkeys(("least", "greatest"), Later(NUMBER)),
}
"""One side of a layer, as `diverget.blame.Seen` says it."""

CONTENTS: Mapping[str, Any] = {
    "blame.json": {
        "pairs": [
            {
                **dict.fromkeys(("pair", "looked_at", "note"), str),
                "findings": [COUNT],
                "compared_with": Later(Optional({"name": str, "digest": str, "file": Optional(str)})),
                "layers": [
                    {
                        **dict.fromkeys(("operator", "tensor", "reference_tensor"), str),
                        **dict.fromkeys(("low", "high"), Optional(NUMBER)),
                        "index": COUNT,
                        "shape": [COUNT],
                        "identity": bool,
                        "readers": [str],
                        "passes_on": Later(bool),
                        "sources": SEEN,
                        "findings": SEEN,
                    }
                ],
                "keep_float": [str],
                "recalibrate": [str],
            }
        ]
    },
    "patchwise.parquet": [
        {
            **dict.fromkeys(("pair", "rung", "arm"), str),
            **dict.fromkeys(("repeat", "budget", "patch", "own", "spent", "invalid"), COUNT),
            **dict.fromkeys(("control", "natural", "apart", "revealed", "severity", "psnr")),
            "milder": [{"queries": COUNT, "severity": NUMBER}],
            "front": [{"severity": NUMBER, "divergence": NUMBER}],
        }
    ],
    "patchwise.json": [
        {
            **dict.fromkeys(("pair", "rung", "arm"), str),
            **dict.fromkeys(("repeat", "rounds", "rows"), COUNT),
            "seconds": NUMBER,
        }
    ],
    "archive.parquet": [
        {
            **dict.fromkeys(("pair", "tier", "family"), str),
            **dict.fromkeys(("reference_class", "quantised_class", "patches", "mildest"), COUNT),
            "severity": NUMBER,
            "control": None,
        }
    ],
    "gaps.parquet": [
        {
            **dict.fromkeys(("pair", "tier", "relation", "direction", "param", "unit"), str),
            **dict.fromkeys(("control", "jumps"), bool),
            **dict.fromkeys(("patch", "own", "crossings_reference", "crossings_quantised", "queries"), COUNT),
            **dict.fromkeys(("dose_end", "severity_end"), NUMBER),
            **dict.fromkeys(("dose_reference", "dose_quantised", "gap", "severity_reference", "severity_quantised")),
            **dict.fromkeys(("tied_reference", "tied_quantised")),
            **dict.fromkeys(("gap_severity", "value_reference", "value_quantised", "gap_value")),
        }
    ],
    "attribution.parquet": [
        {
            **dict.fromkeys(("pair", "kind", "side", "varied", "setting"), str),
            **dict.fromkeys(("survives", "vanishes", "speaks"), bool),
            **dict.fromkeys(("outcome", "said")),
            "finding": COUNT,
        }
    ],
    "kernels.parquet": [
        {
            **dict.fromkeys(("pair", "side", "kernels"), str),
            **dict.fromkeys(("agreement", "accuracy", "tied", "drift")),
            "own": bool,
            "patches": COUNT,
        }
    ],
    "repair.parquet": [
        {
            **dict.fromkeys(("pair", "method", "chosen"), str),
            **dict.fromkeys(("recommended", "confirmed"), bool),
            **dict.fromkeys(
                ("findings", "mended", "mended_tied", "new_clean", "gone_clean", "size_before", "size"), COUNT
            ),
            **dict.fromkeys(("drawn", "drawn_before", "drawn_apart", "new_drawn", "gone_drawn"), COUNT),
            **dict.fromkeys(("searched", "revealed_before", "revealed"), COUNT),
            **dict.fromkeys(("revealed_p", "agreement_before", "agreement", "coverage_before", "coverage"), NUMBER),
            **dict.fromkeys(("accuracy_before", "accuracy", "queries_before", "queries")),
        }
    ],
    "repair.json": {
        "rule": str,
        "most_float": Later(NUMBER),
        "pairs": [
            {
                **dict.fromkeys(("pair", "why"), str),
                **dict.fromkeys(("skipped", "recommended"), Optional(str)),
                "refused": {...: str},
                "reaches_target": bool,
                "throughput": Later({...: NUMBER}),
                "patches": Later(COUNT),
            }
        ],
    },
    "manifest.json": {"name": str, "digest": str, "config": dict, "versions": {"diverget": str}, "runtime": dict},
    "data.json": {
        "kind": str,
        "name": str,
        "digest": str,
        "shape": [COUNT],
        "value_range": [NUMBER],
        "unit": None,
        "wavelengths": None,
        "class_names": [str],
        "labelled": COUNT,
        "masked": COUNT,
        "warnings": [str],
        "split": {
            "protocol": str,
            "description": str,
            "patch": COUNT,
            "counts": {"train": COUNT, "calibration": COUNT, "assessment": COUNT},
            "assessed": COUNT,
            "per_class": [{"class": str, "train": COUNT, "calibration": COUNT, "assessment": COUNT}],
            "leakage": NUMBER,
            "notes": [str],
        },
    },
    "models.json": {
        "references": [
            {
                "name": str,
                "kind": str,
                "digest": str,
                "file": str,
                "size_bytes": COUNT,
                "parameters": None,
                "training": None,
                "preprocessing": str,
            }
        ],
        "pairs": [
            {
                "pair": str,
                "reference": str,
                "quantised": str,
                "control": bool,
                "reference_model": MODEL,
                "quantised_model": {**MODEL, **COMPRESSED},
            }
        ],
    },
    "baseline.json": {
        ...: {
            **dict.fromkeys(("patches", "labelled"), COUNT),
            **dict.fromkeys(("flips_to_wrong", "flips_to_right", "flips_wrong_to_wrong")),
            **dict.fromkeys(("ties", "tied_disagreements"), COUNT),
            **dict.fromkeys(("classes_predicted_reference", "classes_predicted_quantised"), COUNT),
            **dict.fromkeys(("accuracy_reference", "accuracy_quantised", "accuracy_interval_reference")),
            **dict.fromkeys(("confidence_drift", "throughput_reference", "throughput_quantised")),
            "agreement": NUMBER,
            "flips": [[COUNT]],
            "collapsed": bool,
            "per_class": [
                {"class": str, "n": COUNT, "accuracy_reference": None, "accuracy_quantised": None, "agreement": None}
            ],
        }
    },
    "summary.json": {"criteria": list, "criteria_met": bool, "complete": bool, "interrupted": bool},
    "timing.json": {
        "stages": [{"stage": str, "seconds": NUMBER}],
        "search": {...: {"queries": COUNT, "seconds": None}},
    },
    "rates.parquet": [
        {
            **dict.fromkeys(("pair", "tier", "relation"), str),
            "control": bool,
            **dict.fromkeys(("draws", "eligible", "inherited", "rejected", "tied", "blocks"), COUNT),
            **dict.fromkeys(("moved_together", "moved_apart", "revealed"), COUNT),
            **dict.fromkeys(("revealed_rate", "revealed_lower", "revealed_upper")),
            **dict.fromkeys(("disagreement_rate", "disagreement_lower", "disagreement_upper")),
        }
    ],
    "doses.parquet": [
        {
            **dict.fromkeys(("pair", "tier", "relation"), str),
            "control": bool,
            "severity": NUMBER,
            **dict.fromkeys(("draws", "eligible", "inherited", "rejected", "tied", "blocks"), COUNT),
            **dict.fromkeys(("moved_together", "moved_apart", "revealed"), COUNT),
            **dict.fromkeys(("revealed_rate", "revealed_lower", "revealed_upper")),
            **dict.fromkeys(("disagreement_rate", "disagreement_lower", "disagreement_upper")),
        }
    ],
    "flips.parquet": [
        {
            **dict.fromkeys(("pair", "tier", "relation", "outcome"), str),
            "control": bool,
            **dict.fromkeys(("own", "reference_class", "quantised_class", "draws"), COUNT),
        }
    ],
    "places.parquet": [
        {
            **dict.fromkeys(("pair", "tier"), str),
            "control": bool,
            **dict.fromkeys(("patch", "row", "col", "label", "own", "block", "draws", "rejected"), COUNT),
            **dict.fromkeys(("inherited", "tied", "moved_together", "moved_apart", "revealed"), COUNT),
        }
    ],
    "bands.parquet": [
        {
            **dict.fromkeys(("pair", "undone", "alone"), str),
            **dict.fromkeys(("finding", "group", "first", "last"), COUNT),
            **dict.fromkeys(("share", "restored"), NUMBER),
        }
    ],
    "calibration.json": {"source": str, "count": COUNT, "ids": [COUNT]},
    "findings.parquet": [
        {
            **dict.fromkeys(("pair", "rung", "tier", "found_by", "relation", "family", "chain", "file"), str),
            **dict.fromkeys(("control", "confirmed"), bool),
            **dict.fromkeys(("finding", "patch", "row", "col", "label", "reference_class", "quantised_class"), COUNT),
            **dict.fromkeys(("severity", "severity_found"), NUMBER),
            **dict.fromkeys(("psnr", "spectral_angle", "reference_margin", "quantised_margin")),
        }
    ],
}
"""By file, what it must hold: a kind, `[each]` of a list, the keys of an object (`...`: any key), None for anything,
`Optional` where null will do, `Later` where the key may be missing.

What else a file holds is no fault: a later version may tell more.
"""

COMMANDS = {"blame.json": "blame", "repair.json": "repair", "repair.parquet": "repair"}
"""Files that a command of their own adds to a finished run, and writes anew: of them the file alone is removed."""

FINDING_ARRAYS = (
    "source", "follow_up", "margins", "reference_source", "quantised_source", "reference", "quantised",
)  # fmt: skip
"""What the file of one finding must hold."""


def check(found: Any, expected: Any, *, file: Path, at: str = "") -> None:
    """Nothing, where `found` is as expected.

    Raises:
        Damaged: a key is missing or of another kind; the file, the place in it and the way out are told.
    """
    if isinstance(expected, Later):
        expected = expected.expected
    if isinstance(expected, Optional):
        expected = None if found is None else expected.expected
    if expected is None:
        return
    kind = dict if isinstance(expected, Mapping) else list if isinstance(expected, list) else expected
    if not isinstance(found, kind):
        names = " or ".join(_name(k) for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise Damaged(
            f"Expected {names}{f' at {at}' if at else ''} in {file}, got {_name(type(found))}", f"{_anew(file)}."
        )
    if isinstance(expected, list):
        for i, entry in enumerate(found):
            check(entry, expected[0], file=file, at=f"{at}[{i}]")
        return
    if not isinstance(expected, Mapping):
        return
    for key, each in expected.items():
        leaf = isinstance(each, (type, tuple))
        for name in found if key is ... else (key,):
            if leaf and name in found and isinstance(found[name], each):
                continue
            place = f"{at}.{name}" if at else name
            if name not in found and isinstance(each, Later):
                continue
            if name not in found:
                raise Damaged(
                    f"Expected the key {place} in {file}, got none",
                    f"{_anew(file)}, or render with the version of diverget that made the run.",
                )
            check(found[name], each, file=file, at=place)


def later(error: Damaged, store: Store) -> bool:
    """Whether what is damaged is one of the files that `COMMANDS` write."""
    return any(str(store.path(name)) in error.fact for name in COMMANDS)


def _anew(file: Path) -> str:
    """What brings a file of a run back."""
    command = COMMANDS.get(file.name)
    return f"make it anew with `diverget {command} {file.parent}`" if command else "remove that file and run again"


def damage(error: ValueError | OSError, store: Store) -> ValueError | OSError:
    """What is told of a run that looks complete, and of which a file cannot be read; `error` where that says it all.

    A complete run is not carried out again, so that what is lacking comes back with its whole folder alone.
    """
    if isinstance(error, Damaged) and later(error, store):
        return error
    if not store.has("manifest.json"):
        fact = f"Expected {store.path('manifest.json')}, got no such file"
    elif isinstance(error, Damaged):
        fact = error.fact
    elif isinstance(error, FileNotFoundError):
        fact = f"Expected {error.filename or error}, got no such file"
    elif isinstance(error, OSError):
        fact = f"Expected to read {error.filename or store.root}, got {error.strerror or error}"
    else:
        return error
    return Damaged(fact, f"remove the folder {store.root} and run again.")


def _name(kind: type) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false"}.get(kind, f"{kind.__name__}")

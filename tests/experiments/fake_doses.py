"""The tables of draws at fixed severities, of the boundary gaps and of the bands, invented, for a run of `fake_run`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diverget.tables import BANDS, DOSES, FLIPS, GAPS, PLACES

LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
RELATIONS = ("brightness", "haze", "gaussian_blur", "stripes")


def add(run: Path, *, patches: int = 60, relations: Sequence[str] = RELATIONS, seed: int = 4) -> Path:
    """Writes the tables into a run and returns it."""
    rng = np.random.default_rng(seed)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"] |= {"gaps": {"tier": "stress", "grid": 12, "halvings": 10}, "limits": {"psnr": 20.0}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    pairs = json.loads((run / "models.json").read_text())["pairs"]
    data = json.loads((run / "data.json").read_text())
    classes, shape = max(len(data["class_names"]), 2), data["shape"]
    tables: Mapping[str, tuple[pa.Schema, list[dict[str, Any]]]] = {
        "doses": (DOSES, [row for pair in pairs for row in _doses(pair, relations)]),
        "flips": (FLIPS, [row for pair in pairs for row in _flips(pair, classes)]),
        "places": (PLACES, [row for pair in pairs for row in _places(rng, pair, patches, shape)]),
        "gaps": (GAPS, [row for pair in pairs for row in _gaps(rng, pair, relations, classes)]),
        "bands": (BANDS, [row for pair in pairs if not pair["control"] for row in _bands(rng, pair)]),
    }
    for name, (schema, rows) in tables.items():
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), run / f"{name}.parquet")
    return run


def _named(pair: Mapping[str, Any]) -> dict[str, Any]:
    return {"pair": pair["pair"], "control": pair["control"]}


def _doses(pair: Mapping[str, Any], relations: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for tier in ("in_spec", "stress"):
        for i, relation in enumerate(relations):
            for level in LEVELS:
                eligible = 0 if (relation, level, tier) == (relations[-1], 1.0, "stress") else 280
                revealed = 0 if pair["control"] else round(eligible * 0.02 * level * i * (tier == "stress"))
                rate = revealed / eligible if eligible else None
                upper = None if rate is None else 1.5 * rate + 0.01
                row = {
                    **_named(pair), "tier": tier, "relation": relation, "severity": level, "draws": 300,
                    "eligible": eligible, "rejected": 288 - eligible, "inherited": 12, "tied": 0,
                    "moved_together": 0, "moved_apart": 0, "revealed": revealed, "blocks": 12 if eligible else 0,
                    **{f"{k}_{e}": v for k in ("revealed", "disagreement")
                       for e, v in (("rate", rate), ("lower", rate and rate / 2), ("upper", upper))},
                }  # fmt: skip
                rows.append(row)
    return rows


def _flips(pair: Mapping[str, Any], classes: int) -> list[dict[str, Any]]:
    kinds = {"REVEALED": (0, 0, 1, 7), "MOVED_APART": (0, 1, classes - 1, 3), "MOVED_TOGETHER": (1, 0, 0, 40),
             "TIED": (0, 0, 1, 2), "INHERITED": (1, 1, 0, 5)}  # fmt: skip
    rows = []
    for tier in ("in_spec", "stress"):
        for outcome, (own, reference, quantised, draws) in kinds.items():
            row = {"tier": tier, "relation": "haze", "outcome": outcome, "own": own, "reference_class": reference,
                   "quantised_class": quantised, "draws": draws}  # fmt: skip
            if not pair["control"] and (tier, outcome) != ("in_spec", "REVEALED"):
                rows.append({**_named(pair), **row})
    return rows


def _places(
    rng: np.random.Generator, pair: Mapping[str, Any], patches: int, shape: Sequence[int]
) -> list[dict[str, Any]]:
    rows = []
    for tier in ("in_spec", "stress"):
        for patch in range(patches):
            counts = dict.fromkeys(("rejected", "inherited", "tied", "moved_together", "moved_apart", "revealed"), 0)
            counts[list(counts)[patch % 6]] = 0 if pair["control"] else 4
            row = {"tier": tier, "patch": patch, "row": int(rng.integers(shape[0])), "col": int(rng.integers(shape[1])),
                   "label": 0, "own": 0, "block": patch // 5, "draws": 40, **counts}  # fmt: skip
            rows.append({**_named(pair), **row})
    return rows


def _gaps(
    rng: np.random.Generator, pair: Mapping[str, Any], relations: Sequence[str], classes: int
) -> list[dict[str, Any]]:
    rows = []
    for relation in relations:
        for patch in range(30):
            float_at, other_at = rng.random(2).tolist()
            if pair["control"]:
                other_at = float_at
            known: dict[str, Any] = {}
            for what in ("dose", "severity", "value"):
                known |= {f"{what}_reference": float_at, f"{what}_quantised": other_at}
            gap = float_at - other_at
            row = {"tier": "stress", "relation": relation, "direction": "high", "param": "depth", "unit": "share",
                   "jumps": False, "patch": patch, "own": patch % classes, "dose_end": 1.0, "severity_end": 1.0,
                   **known, "gap": gap, "gap_severity": gap, "gap_value": gap, "tied_reference": 0.01,
                   "tied_quantised": 0.01, "crossings_reference": 1, "crossings_quantised": 1,
                   "queries": 64}  # fmt: skip
            rows.append({**_named(pair), **row})
    return rows


def _bands(rng: np.random.Generator, pair: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "pair": pair["pair"], "finding": finding, "group": group, "first": group, "last": group, "share": 1 / 3,
            "restored": float(rng.normal(0.3, 0.2)), "undone": "SAME" if group else "REVEALED", "alone": "SAME",
        }
        for finding in range(5)
        for group in range(3)
    ]  # fmt: skip

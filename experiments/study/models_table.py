"""The table of every network with every compressed version of it that the runs of a study assessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from experiments.record import Row, Run
from experiments.record.card import headline_rate

TIERS = ("in_spec", "stress")

MODELS = pa.schema(
    [
        *[(name, pa.string()) for name in ("run", "data", "protocol", "reference", "quantised", "kind")],
        *[(name, pa.float64()) for name in ("coverage", "bytes", "size", "accuracy_reference", "accuracy_delta")],
        *[(name, pa.float64()) for name in ("agreement", "speed")],
        *[(f"{end}_{tier}", pa.float64()) for tier in TIERS for end in ("revealed", "lower", "upper")],
        ("findings", pa.int64()),
        ("mildest", pa.float64()),
        ("mildest_tier", pa.string()),
    ]
)
"""One row a network and version; null is what a run did not measure. `coverage`, the accuracies, `agreement` and the
rates are shares; `size` and `speed` are ratios to the float network, of bytes and of patches a second."""


def models(name: str, run: Run) -> Iterator[dict[str, Any]]:
    """The rows of `MODELS` of one run, called `name` in its study."""
    split = run.data["split"]["protocol"] if run.data else None
    for pair in run.tested():
        reference, quantised = pair["reference_model"], pair["quantised_model"]
        base = run.baseline.get(pair["pair"], {})
        covered = quantised.get("coverage") or {}
        found = run.found(pair["pair"])
        yield {
            "run": name,
            "data": run.data["name"] if run.data else None,
            "protocol": split,
            "reference": pair["reference"],
            "quantised": pair["quantised"],
            "kind": covered.get("kind"),
            "coverage": covered.get("share"),
            "bytes": quantised["size_bytes"],
            "size": quantised["size_bytes"] / reference["size_bytes"],
            "accuracy_reference": base.get("accuracy_reference"),
            "accuracy_delta": _less(base.get("accuracy_quantised"), base.get("accuracy_reference")),
            "agreement": base.get("agreement"),
            "speed": base["throughput_quantised"] / base["throughput_reference"] if base else None,
            **{key: value for tier in TIERS for key, value in _rate(run, pair, tier).items()},
            "findings": len(found),
            "mildest": found[0]["severity"] if found else None,
            "mildest_tier": found[0]["tier"] if found else None,
        }


def accuracies(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What each network is worth in float, by the protocol of the split: one entry a network and data."""
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        entry = told.setdefault((row["data"], row["reference"]), {"data": row["data"], "reference": row["reference"]})
        if row["accuracy_reference"] is not None:
            entry[row["protocol"]] = row["accuracy_reference"]
    return list(told.values())


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _rate(run: Run, pair: Row, tier: str) -> dict[str, float | None]:
    row = headline_rate(run, pair, tier) or {}
    ends = {"revealed": "revealed_rate", "lower": "revealed_lower", "upper": "revealed_upper"}
    return {f"{end}_{tier}": row.get(column) for end, column in ends.items()}

"""Findings asked again from a run directory alone: its arrays, its models, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diverget.findings import replay
from diverget.store import Store
from experiments.data import read_sensor
from experiments.pairs import load_pair
from experiments.record.contents import FINDING_ARRAYS
from experiments.record.reading import read_json, read_rows, telling_damage


def replay_findings(root: Path, number: int | None) -> list[dict[str, Any]]:
    """What came of each finding (of one, or of all): {"finding", "reproduced", "identical", "line", ...}.

    Raises:
        ValueError: the run has no findings yet, or none of that number; a model file is damaged or missing.
    """
    store = Store(root)
    if not store.has("findings.parquet"):
        raise ValueError(
            f"Expected findings in {root}, got a run that has not come that far; start it again to finish it."
        )
    with telling_damage(store):
        rows = [row for row in read_rows(store, "findings.parquet") if number in (None, row["finding"])]
        classes = read_json(store, "data.json")["class_names"]
    if number is not None and not rows:
        raise ValueError(f"Expected the number of a finding in {root}, got {number}; see its report.")
    sensor = read_sensor(store)
    results = []
    for row in rows:
        models = load_pair(store, row["pair"])
        came = replay(row, store.read_arrays(row["file"], having=FINDING_ARRAYS), models, sensor)
        verdict = "reproduces" if came.revealed else "DOES NOT REPRODUCE"
        exactly = ", bit for bit" if came.identical else ", not bit for bit"
        reference, quantised = int(came.reference.argmax()), int(came.quantised.argmax())
        results.append(
            {
                "finding": row["finding"],
                "pair": row["pair"],
                "reproduced": came.revealed,
                "identical": came.identical,
                "reference_class": reference,
                "quantised_class": quantised,
                "line": (
                    f"{row['finding']:>5}  {row['pair']}  {row['chain']}: {_named(classes, reference)} "
                    f"({came.reference[reference]:.3f}) / {_named(classes, quantised)} "
                    f"({came.quantised[quantised]:.3f}) — {verdict}{exactly}"
                ),
            }
        )
    return results


def _named(classes: list[str], number: int) -> str:
    return classes[number] if number < len(classes) else f"class {number}"

"""Rows of `patchwise.parquet` as a run leaves them, invented: arms of planted strength, a control without a find."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diverget.tables import PATCHWISE

Row = dict[str, Any]

STRENGTH: Mapping[str, float] = {
    "boundary": 0.09,
    "random": 0.006,
    "metropolis": 0.03,
    "nsga2": 0.02,
    "pso": 0.006,
    "dflare_as_described": 0.004,
    "dflare_as_shipped": 0.004,
    "dflare_uniform": 0.003,
    "diffchaser_basic": 0.001,
    "diffchaser": 0.002,
}
"""The chance of a REVEALED at each look, by arm; a disagreement of any kind is three times as likely."""

PIXELS = ("dflare", "diffchaser")
RUNGS = ("stress, psnr 20", "stress, psnr 30", "in_spec")


def row(**changes: Any) -> Row:
    """One row without a find, with `changes`."""
    plain = {
        "pair": "hybridsn/int8", "control": False, "rung": RUNGS[0], "arm": "boundary", "natural": True, "repeat": 0,
        "budget": 200, "patch": 0, "own": 1, "spent": 200, "apart": None, "revealed": None, "severity": None,
        "psnr": None, "invalid": 0, "milder": [], "front": [], "kinds": [],
    }  # fmt: skip
    assert set(changes) <= set(plain)
    return plain | changes


def rows(
    pairs: Sequence[tuple[str, bool]] = (("hybridsn/int8", False), ("hybridsn/hybridsn", True)),
    *,
    arms: Sequence[str] = tuple(STRENGTH),
    rungs: Sequence[str] = RUNGS,
    repeats: int = 3,
    patches: int = 40,
    budget: int = 200,
    random_budget: int = 1000,
    seed: int = 3,
) -> list[Row]:
    """All arms on all pairs (name, control) and rungs; a control is searched once and finds nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for pair, control in pairs:
        for step, rung in enumerate(rungs):
            for arm in arms:
                own = random_budget if arm == "random" else budget
                for repeat in range(1 if control else repeats):
                    same = {"pair": pair, "control": control, "rung": rung, "arm": arm, "repeat": repeat}
                    found += [
                        row(**same, budget=own, patch=3 * patch, natural=not arm.startswith(PIXELS))
                        | ({} if control else _searched(rng, arm, own, step))
                        for patch in range(patches)
                    ]
    return found


def _searched(rng: np.random.Generator, arm: str, budget: int, step: int) -> Row:
    chance = STRENGTH[arm] / (1 + 2 * step)
    looks = budget // 2
    hits = np.flatnonzero(rng.random(looks) < chance)
    parted = np.flatnonzero(rng.random(looks) < 3 * chance)
    apart = min([*hits[:1], *parted[:1]], default=None)
    pixels = arm.startswith(PIXELS)
    told: Row = {
        "apart": None if apart is None else 2 * int(apart) + 2,
        "revealed": 2 * int(hits[0]) + 2 if len(hits) else None,
        "invalid": int(rng.integers(0, looks // 2)) if pixels else 0,
    }
    if pixels:
        return told | ({"spent": told["revealed"]} if len(hits) else {"spent": budget})
    severities = rng.beta(2, 5, len(hits))
    least = np.minimum.accumulate(severities)
    new = np.flatnonzero(np.diff(least, prepend=np.inf) < 0)
    told["milder"] = [{"queries": 2 * int(hits[i]) + 2, "severity": float(severities[i])} for i in new]
    told["severity"] = float(least[-1]) if len(hits) else None
    told["psnr"] = 40.0 if len(hits) else None
    reach = np.sort(rng.random(4))
    told["front"] = [{"severity": float(s), "divergence": float(0.2 * s * chance**0.3)} for s in reach]
    return told | {"spent": budget}


def times(found: Sequence[Row]) -> list[Row]:
    """What `patchwise.json` holds of such rows: a second for each course."""
    courses = dict.fromkeys((r["pair"], r["rung"], r["arm"], r["repeat"]) for r in found)
    return [
        {"pair": pair, "rung": rung, "arm": arm, "repeat": repeat, "seconds": 1.25, "rounds": 100, "rows": 4000}
        for pair, rung, arm, repeat in courses
    ]


CONFIG = {
    "arms": list(STRENGTH), "budget": 200, "budgets": {"random": 1000}, "until": "spent", "repeats": 3,
    "labelled": True, "ladder": [],
}  # fmt: skip


def put(run: Path, found: Sequence[Row], config: Mapping[str, Any] = CONFIG) -> Path:
    """Write the rows, their times and the config's block into a run directory."""
    pq.write_table(pa.Table.from_pylist(list(found), schema=PATCHWISE), run / "patchwise.parquet")
    (run / "patchwise.json").write_text(json.dumps(times(found)))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"]["patchwise"] = dict(config)
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run

"""What the per-patch search left without a REVEALED, and what the boundary gaps of these patches say of the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from experiments.config.methods import RungConfig
from experiments.record import Row, Run

REASONS = {
    "missed": "a relation alone parts them: the search missed it",
    "still": "neither model leaves its class along any relation alone",
    "sturdier": "float leaves first along every relation that either leaves",
    "together": "no gap is wider than the ties: the boundaries coincide, or float leaves first",
}
"""Why a patch may have no REVEALED follow-up, in the order in which a patch is given one."""


def remains(run: Run, pair: str, gaps: Sequence[Row]) -> Row | None:
    """What each natural arm left without a REVEALED on the rung of the gaps, in one repeat within its budget: the mean
    number of patches over the repeats, in all and by reason, and those left by all arms and repeats together.

    Arms that change pixels are left out: what they do lies in no relation. None where no natural arm was run on that
    rung, or the gaps are not those of `pair`.
    """
    config = run.manifest["config"]
    rung = RungConfig(tier=config["gaps"]["tier"], limits=config["limits"]).name
    walked = [row for row in run.patchwise if (row["pair"], row["rung"]) == (pair, rung) and row["natural"]]
    if not walked or not gaps:
        return None
    rays: dict[int, list[Row]] = {row["patch"]: [] for row in walked}
    for row in gaps:
        if row["patch"] in rays:
            rays[row["patch"]].append(row)
    reasons = {patch: _reason(mine) for patch, mine in rays.items()}
    found = {row["patch"] for row in walked if row["revealed"] is not None}
    searches: dict[str, set[int]] = {}
    for row in walked:
        searches.setdefault(row["arm"], set()).add(row["repeat"])
    left: dict[str, Counter[str]] = {arm: Counter() for arm in searches}
    for row in walked:
        if row["revealed"] is None:
            left[row["arm"]][reasons[row["patch"]]] += 1
    rows = [
        {
            "arm": arm,
            "budget": next(row["budget"] for row in walked if row["arm"] == arm),
            "left": left[arm].total() / len(repeats),
            "by": [left[arm][reason] / len(repeats) for reason in REASONS],
        }
        for arm, repeats in searches.items()
    ]
    never = Counter(reasons[patch] for patch in rays if patch not in found)
    together = {"arm": "all together", "budget": None, "left": never.total(), "by": [never[name] for name in REASONS]}
    return {
        "rung": rung,
        "patches": len(rays),
        "reasons": list(REASONS.values()),
        "rows": [*rows, *([together] if len(walked) > len(rays) else [])],
    }


def sure(row: Row) -> bool:
    """Whether the quantised model has left for sure before float so much as comes to a tie."""
    return row["gap"] is not None and row["gap"] > (row["tied_reference"] + row["tied_quantised"]) / 2


def first(row: Row) -> int:
    """1 where the quantised model leaves first, -1 where float does, 0 where they leave together or not at all.

    A model that does not leave before the end of the ray leaves after one that does.
    """
    float_at, other_at = (np.inf if row[f"dose_{side}"] is None else row[f"dose_{side}"] for side in _SIDES)
    return int(float_at > other_at) - int(float_at < other_at)


_SIDES = ("reference", "quantised")


def _reason(rays: Sequence[Row]) -> str:
    """One of `REASONS` for the rays of one patch."""
    left = [row for row in rays if any(row[f"dose_{side}"] is not None for side in _SIDES)]
    if any(sure(row) or (row["dose_reference"] is None and first(row) > 0) for row in left):
        return "missed"
    if not left:
        return "still"
    return "sturdier" if all(first(row) < 0 for row in left) else "together"

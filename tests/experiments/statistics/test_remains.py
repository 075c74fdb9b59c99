"""What remains of the per-patch search, told by gaps that were made up: one patch for each reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.record import Run
from experiments.statistics.remains import REASONS, remains

PAIR, RUNG = "net/int8", "stress, psnr 20"


def ray(patch: int, reference: float | None, quantised: float | None, *, tied: float = 0.01) -> dict[str, Any]:
    gap = None if None in (reference, quantised) else reference - quantised  # type: ignore[operator]
    return {
        "pair": PAIR, "patch": patch, "dose_reference": reference, "dose_quantised": quantised, "gap": gap,
        "tied_reference": 0.0, "tied_quantised": tied,
    }  # fmt: skip


def walked(patch: int, revealed: int | None, **changes: Any) -> dict[str, Any]:
    row = {"pair": PAIR, "rung": RUNG, "natural": True, "arm": "boundary", "patch": patch, "revealed": revealed}
    row |= {"repeat": 0, "budget": 200}
    return row | changes


def run(rows: list[dict[str, Any]]) -> Run:
    config = {"gaps": {"tier": "stress"}, "limits": {"psnr": 20.0}}
    return Run(
        path=Path("."), manifest={"config": config}, data=None, references=[], pairs=[], baseline={}, rates=[],
        searches={}, findings=[], archive=[], patchwise=rows, patchwise_times=[], gaps=[], summary=None, timing={},
        quicklook={},
    )  # fmt: skip


def by_reason(row: dict[str, Any]) -> dict[str, float]:
    return {reason: patches for reason, patches in zip(REASONS, row["by"], strict=True) if patches}


@pytest.mark.parametrize(
    ("rays", "reason"),
    [
        ([ray(1, None, None), ray(1, None, None)], "still"),
        ([ray(1, 0.4, 0.5), ray(1, 0.4, None), ray(1, None, None)], "sturdier"),
        ([ray(1, 0.4, 0.5), ray(1, 0.5, 0.499)], "together"),
        ([ray(1, 0.5, 0.5)], "together"),
        ([ray(1, 0.4, 0.5), ray(1, 0.5, 0.4)], "missed"),
        ([ray(1, None, 0.4)], "missed"),
        ([], "still"),
    ],
)
def test_every_patch_without_a_find_is_given_one_reason(rays: list[dict[str, Any]], reason: str) -> None:
    told = remains(run([walked(1, None), walked(2, 14)]), PAIR, [*rays, ray(2, 0.5, 0.1)])
    assert told is not None and told["patches"] == 2
    (row,) = told["rows"]
    assert (row["arm"], row["budget"], row["left"], by_reason(row)) == ("boundary", 200, 1, {reason: 1})


def test_arms_are_told_apart_and_repeats_averaged() -> None:
    rows = [walked(1, None), walked(2, None), walked(1, 8, repeat=1), walked(2, None, repeat=1)]
    rows += [walked(patch, found, arm="random", budget=1000) for patch, found in ((1, None), (2, 500))]
    told = remains(run(rows), PAIR, [ray(1, 0.4, 0.5), ray(2, 0.5, 0.4)])
    assert told is not None
    boundary, random, together = told["rows"]
    assert (boundary["left"], by_reason(boundary)) == (1.5, {"sturdier": 0.5, "missed": 1.0})
    assert (random["budget"], random["left"], by_reason(random)) == (1000, 1, {"sturdier": 1})
    assert (together["arm"], together["left"], by_reason(together)) == ("all together", 0, {})


def test_other_rungs_other_pairs_and_changed_pixels_do_not_count() -> None:
    others = [walked(1, 3, rung="in_spec"), walked(1, 3, pair="net/net"), walked(1, 3, natural=False)]
    assert remains(run(others), PAIR, [ray(1, 0.4, 0.5)]) is None
    told = remains(run([*others, walked(1, None)]), PAIR, [ray(1, 0.4, 0.5)])
    assert told is not None and told["rows"][0]["left"] == 1
    assert remains(run([walked(1, None)]), PAIR, []) is None

"""What remains of the per-patch search, told by gaps that were made up: one patch for each reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.record import Run
from experiments.remains import REASONS, remains

PAIR, RUNG = "net/int8", "stress, psnr 20"


def ray(patch: int, reference: float | None, quantised: float | None, *, tied: float = 0.01) -> dict[str, Any]:
    gap = None if None in (reference, quantised) else reference - quantised  # type: ignore[operator]
    return {
        "pair": PAIR, "patch": patch, "dose_reference": reference, "dose_quantised": quantised, "gap": gap,
        "tied_reference": 0.0, "tied_quantised": tied,
    }  # fmt: skip


def walked(patch: int, revealed: int | None, **changes: Any) -> dict[str, Any]:
    row = {"pair": PAIR, "rung": RUNG, "natural": True, "arm": "boundary", "patch": patch, "revealed": revealed}
    return row | changes


def run(rows: list[dict[str, Any]]) -> Run:
    config = {"gaps": {"tier": "stress"}, "limits": {"psnr": 20.0}}
    return Run(
        path=Path("."), manifest={"config": config}, data=None, references=[], pairs=[], baseline={}, rates=[],
        searches={}, findings=[], archive=[], patchwise=rows, patchwise_times=[], gaps=[], summary=None, timing={},
        quicklook={},
    )  # fmt: skip


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
    assert told is not None and (told["patches"], told["left"]) == (2, 1)
    assert told["reasons"] == [{"told": REASONS[reason], "patches": 1}]


def test_a_patch_that_any_arm_or_repeat_revealed_does_not_remain() -> None:
    told = remains(run([walked(1, None), walked(1, 30, arm="random"), walked(2, None)]), PAIR, [ray(2, 0.4, 0.5)])
    assert told is not None and (told["patches"], told["left"]) == (2, 1) and told["arms"] == ["boundary", "random"]


def test_other_rungs_other_pairs_and_changed_pixels_do_not_count() -> None:
    others = [walked(1, 3, rung="in_spec"), walked(1, 3, pair="net/net"), walked(1, 3, natural=False)]
    assert remains(run(others), PAIR, [ray(1, 0.4, 0.5)]) is None
    told = remains(run([*others, walked(1, None)]), PAIR, [ray(1, 0.4, 0.5)])
    assert told is not None and told["left"] == 1
    assert remains(run([walked(1, None)]), PAIR, []) is None

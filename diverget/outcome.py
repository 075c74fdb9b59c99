"""What four predictions mean: reference and quantised, on the source and on the follow-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np


class Outcome(IntEnum):
    """What happened to one patch, tested in this order; only REVEALED blames the quantised model alone.

    Published measures are sums of these counts: DFLARE and DiffChaser count MOVED_APART + REVEALED.
    """

    INVALID = 0
    """The follow-up lies outside the validity limits."""
    INHERITED = 1
    """The two do not clearly agree on the source: they disagree, or one of them is tied there. A property of the
    patch, so the denominator never moves."""
    TIED = 2
    """The two differ on the follow-up, by less than one output step on a side: too close to call."""
    MOVED_TOGETHER = 3
    """The reference left its class and the quantised model went with it: the relation did not hold."""
    MOVED_APART = 4
    """The reference left its class and the two now disagree."""
    REVEALED = 5
    """The reference stayed, the quantised model left: it alone is to blame."""
    SAME = 6
    """Nobody moved."""


@dataclass(frozen=True)
class Evidence:
    """What was seen of `r` follow-ups, row by row.

    Attributes:
        reference_source, quantised_source: (r, k) float32 probabilities on the sources.
        reference, quantised: (r, k) float32 probabilities on the follow-ups.
        reference_step, quantised_step: the smallest difference of probabilities that counts on each side.
        severity: (r,) mean distance from neutral in [0, 1].
        psnr: (r,) dB, with the scene's range as the fixed peak.
        spectral_angle: (r,) radians, mean over the patch.
        within: (r,) bool, inside the validity limits.
        ssim: (r,) structural similarity, at most 1; a single NaN where nobody measured it, as are the next two:
        layers: (r,) how far the two models' inner activations are apart, 0 to 1.
        novel: (r,) 1 where the two models' probabilities were not seen before for that patch, else 0.
        shown: (r,) bool, whether a model saw the row; a single True where every row was shown.
    """

    reference_source: np.ndarray
    quantised_source: np.ndarray
    reference: np.ndarray
    quantised: np.ndarray
    reference_step: float
    quantised_step: float
    severity: np.ndarray
    psnr: np.ndarray
    spectral_angle: np.ndarray
    within: np.ndarray
    ssim: np.ndarray = field(default_factory=lambda: np.array(np.nan))
    layers: np.ndarray = field(default_factory=lambda: np.array(np.nan))
    novel: np.ndarray = field(default_factory=lambda: np.array(np.nan))
    shown: np.ndarray = field(default_factory=lambda: np.array(True))


def joined(parts: Sequence[Evidence]) -> Evidence:
    """The rows of all parts, one part after the other; the steps are those of the first.

    Raises:
        ValueError: there is no part.
    """
    if not parts:
        raise ValueError("Expected at least one part of evidence to join, got none; ask about at least one row.")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, column in vars(parts[0]).items()
        if np.ndim(column)
    }
    return replace(parts[0], **columns)


def taken(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """Some rows of the evidence."""
    columns: dict[str, Any] = {name: column[rows] for name, column in vars(evidence).items() if np.ndim(column)}
    return replace(evidence, **columns)


def refuse_nan(
    reference: np.ndarray,
    quantised: np.ndarray,
    patches: np.ndarray,
    where: Callable[[int], str],
    *,
    shown: np.ndarray | bool = True,
    halves: np.ndarray | bool = False,
) -> None:
    """Return when the two models answered every row that they saw with finite numbers.

    A NaN leads no other number, so it would pass for a tie, and a model that answers with nothing else for one that
    never disagrees.

    Args:
        reference, quantised: (r, k) probabilities.
        patches: (r,) positions in the problem; where: how a row came about, in words. Both for the error.
        shown: (r,) bool, the rows that a model saw; halves: (r,) bool, those of them that the reference alone saw.

    Raises:
        ValueError: one answered with NaN or infinity; the first such row is named.
    """
    broken = [shown & ~np.isfinite(side).all(axis=1) for side in (reference, quantised)]
    broken[1] &= ~np.asarray(halves)
    either = broken[0] | broken[1]
    if either.any():
        row = int(either.argmax())
        which = "the reference" if broken[0][row] else "the quantised model"
        raise ValueError(
            f"Expected finite probabilities, got NaN or infinity for patch {int(patches[row])} {where(row)}; look at "
            f"what {which} answers there."
        )


def preference(p: np.ndarray, over: np.ndarray) -> np.ndarray:
    """By how much each row of `p` (r, k) prefers its own class to class `over` (r,); 0 where they are one."""
    return p.max(axis=1) - np.take_along_axis(p, over[:, None], axis=1)[:, 0]


def decided(p: np.ndarray, over: np.ndarray, step: float) -> np.ndarray:
    """Whether each row prefers its class to class `over` by at least one `step` (to rounding)."""
    return preference(p, over) >= step * (1 - 1e-5)


def clear(p: np.ndarray, step: float) -> np.ndarray:
    """Whether the first class of each row leads the second by at least one `step` (to rounding)."""
    top = np.partition(p, -2, axis=1)[:, -2:]
    return (top[:, 1] - top[:, 0]) >= step * (1 - 1e-5)


def judge(evidence: Evidence) -> np.ndarray:
    """The `Outcome` of every row, (r,) uint8."""
    source_r = evidence.reference_source.argmax(axis=1)
    source_q = evidence.quantised_source.argmax(axis=1)
    agreed = (
        (source_r == source_q)
        & clear(evidence.reference_source, evidence.reference_step)
        & clear(evidence.quantised_source, evidence.quantised_step)
    )
    reference = evidence.reference.argmax(axis=1)
    quantised = evidence.quantised.argmax(axis=1)
    tied = (reference != quantised) & ~(
        decided(evidence.reference, quantised, evidence.reference_step)
        & decided(evidence.quantised, reference, evidence.quantised_step)
    )
    return np.select(
        [
            ~evidence.within,
            ~agreed,
            tied,
            (reference != source_r) & (quantised == reference),
            reference != source_r,
            quantised != source_r,
        ],
        [
            Outcome.INVALID,
            Outcome.INHERITED,
            Outcome.TIED,
            Outcome.MOVED_TOGETHER,
            Outcome.MOVED_APART,
            Outcome.REVEALED,
        ],
        Outcome.SAME,
    ).astype(np.uint8)

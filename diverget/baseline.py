"""What holds before any distortion: accuracy, agreement, flips, ties, collapse."""

from __future__ import annotations

from typing import Any

import numpy as np

from diverget.outcome import clear, decided
from diverget.scene import UNLABELLED

COLLAPSED = 0.5
"""A quantised model that uses less than this share of the classes its reference uses has collapsed
(engineering judgement; reported collapses leave one or two classes)."""


def baseline(
    reference: np.ndarray,
    quantised: np.ndarray,
    labels: np.ndarray,
    *,
    steps: tuple[float, float],
    class_names: tuple[str, ...],
) -> dict[str, Any]:
    """The clean comparison of two models on the same patches.

    A patch on which the two argmax differ by less than one output step on a side is a tie: it counts as
    agreement, and apart under `tied_disagreements`.

    Args:
        reference, quantised: (n, k) probabilities.
        labels: (n,) class, or `UNLABELLED`.
        steps: output step of reference and quantised model.
        class_names: k names.
    """
    own, other = reference.argmax(axis=1), quantised.argmax(axis=1)
    differ = own != other
    sure = decided(reference, other, steps[0]) & decided(quantised, own, steps[1])
    apart = differ & sure
    known = labels != UNLABELLED
    k = reference.shape[1]
    flips = np.zeros((k, k), dtype=np.int64)
    np.add.at(flips, (own[apart], other[apart]), 1)
    right_r, right_q = own == labels, other == labels
    used_r, used_q = len(np.unique(own)), len(np.unique(other))
    n = int(known.sum())

    def share(hits: np.ndarray) -> float | None:
        return float(hits[known].mean()) if n else None

    def count(hits: np.ndarray) -> int | None:
        return int((hits & apart & known).sum()) if n else None

    return {
        "patches": len(labels),
        "labelled": n,
        "accuracy_reference": share(right_r),
        "accuracy_quantised": share(right_q),
        "agreement": float(1 - apart.mean()),
        "flips_to_wrong": count(right_r & ~right_q),
        "flips_to_right": count(~right_r & right_q),
        "flips_wrong_to_wrong": count(~right_r & ~right_q),
        "flips": flips,
        "confidence_drift": float(np.abs(reference.max(axis=1) - quantised[np.arange(len(own)), own]).mean()),
        "ties": int((~clear(quantised, steps[1])).sum()),
        "tied_disagreements": int((differ & ~sure).sum()),
        "classes_predicted_reference": used_r,
        "classes_predicted_quantised": used_q,
        "collapsed": used_q < COLLAPSED * used_r,
        "per_class": [
            {
                "class": class_names[c],
                "n": int((labels == c).sum()),
                "accuracy_reference": float(right_r[labels == c].mean()),
                "accuracy_quantised": float(right_q[labels == c].mean()),
                "agreement": float(1 - apart[labels == c].mean()),
            }
            for c in range(min(k, len(class_names)))
            if (labels == c).any()
        ],
    }


CHANCE_LEVEL = 0.05
"""A reference is better than chance where an exact one-sided binomial test says so at this level."""


def check_better_than_chance(name: str, probabilities: np.ndarray, labels: np.ndarray) -> None:
    """Refuse a reference that has learnt nothing: there is no class for a distortion to change.

    Raises:
        ValueError: its accuracy is not above what always saying the commonest class, or one of k at random, gives.
    """
    from scipy.stats import binomtest

    known = labels != UNLABELLED
    n = int(known.sum())
    if n == 0:
        return
    right = int((probabilities.argmax(axis=1) == labels)[known].sum())
    chance = max(1 / probabilities.shape[1], float(np.bincount(labels[known]).max() / n))
    # A scene of one class leaves nothing to be better than.
    if chance < 1 and binomtest(right, n, chance, alternative="greater").pvalue > CHANCE_LEVEL:
        raise ValueError(
            f"Expected a reference better than chance ({chance:.1%}: always the commonest class), got {name!r} with "
            f"{right / n:.1%} on {n} clean assessment patches; check its preprocessing file and the order of its "
            "classes, or train it longer (`epochs:` under `references:`)."
        )

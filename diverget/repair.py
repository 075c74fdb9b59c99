"""Repair: which deviations a mended model no longer shows, which it shows anew, and which mending to recommend.

Judged is always on patches that the repair never saw. A finding stands just beyond the quantised model's boundary, so
any other quantisation of the network may mend about half of them by moving the boundary at random; whether a repair
takes deviations away or only elsewhere is told by what it shows anew and by a fresh search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget.outcome import decided

MOST_LOST = 0.005
"""Accuracy on clean patches (agreement, where nothing is labelled) that a repair may cost: half a point, engineering
judgement."""

TARGET = 0.4848
"""Share of held-out deviations to mend: the most that Tian et al. 2023, ACM TOSEM, doi 10.1145/3583564 report."""

MOST_FLOAT = 0.5
"""Share of the multiply-accumulates that a repair may move back from integers to float (engineering judgement: with
more the network is quantised in name only)."""

LEVEL = 0.05
"""Below this p a fresh search that reveals more patches counts against a repair: the custom of the field."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A way to mend a quantised model.

    Attributes:
        name: of its files and in every table.
        summary: one sentence for the report.
        converts: it needs the Keras network; the others work on the quantised file.
    """

    name: str
    summary: str
    converts: bool


METHODS = (
    Method("calibration", "Converted again, calibrated on natural distortions of the calibration patches too.", True),
    Method("keep_float", "Converted again with the layers to blame left in float.", True),
    Method("qat", "Quantisation-aware training on distorted training patches towards the float model's class.", True),
    Method("classifier_mlp", "A network with one hidden layer changes the class of unsure outputs.", False),
    Method("classifier_svm", "A support vector machine changes the class of unsure outputs.", False),
    Method("classifier_tree", "A decision tree changes the class of unsure outputs.", False),
)

NAMES = tuple(method.name for method in METHODS)


def held_out(blocks: np.ndarray, findings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which patches are held out of the repair, (n,) bool: whole blocks, about half of the findings.

    Blocks are dealt in random order, those with findings first, each to the part that has fewer findings so far, the
    others to the part that has fewer patches; of equals the repair is first. So with two blocks that have findings
    both parts have some.

    Args:
        blocks: (n,) the block of each patch; of images, a block of its own each.
        findings: (n,) how many findings each patch has.
    """
    names, where = np.unique(blocks, return_inverse=True)
    weight = np.bincount(where, weights=findings, minlength=len(names))
    size = np.bincount(where, minlength=len(names))
    order = rng.permutation(len(names))
    order = order[np.argsort(-(weight[order] > 0).astype(int), kind="stable")]
    part = np.zeros(len(names), dtype=bool)
    sums = np.zeros((2, 2))
    for block in order:
        # A block without findings says nothing of them: it goes where fewer patches are.
        mine = sums if weight[block] else sums[:, 1:]
        side = int(tuple(mine[1]) < tuple(mine[0]))
        part[block] = bool(side)
        sums[side] += weight[block], size[block]
    return np.asarray(part[where])


def apart(reference: np.ndarray, other: np.ndarray, steps: tuple[float, float]) -> np.ndarray:
    """Whether the two models disagree beyond ties, (n,) bool; probabilities (n, k), and the two output steps."""
    own, theirs = reference.argmax(axis=1), other.argmax(axis=1)
    return (own != theirs) & decided(reference, theirs, steps[0]) & decided(other, own, steps[1])


def tied(reference: np.ndarray, other: np.ndarray, steps: tuple[float, float]) -> np.ndarray:
    """Whether the two models differ by less than an output step on a side, (n,) bool."""
    return (reference.argmax(axis=1) != other.argmax(axis=1)) & ~apart(reference, other, steps)


def affordable(row: Row) -> bool:
    """Whether a repair costs no more than `MOST_LOST` of accuracy, or of agreement where nothing is labelled."""
    return not _lost(row, "agreement" if row["accuracy"] is None else "accuracy")


def _lost(row: Row, kind: str) -> bool:
    return bool(row[kind] < row[f"{kind}_before"] - MOST_LOST - 1e-12)


def created(row: Row) -> int:
    """Deviations that the unrepaired model did not show, on clean patches and random draws."""
    return int(row["new_clean"] + row["new_drawn"])


def removed(row: Row) -> int:
    """Deviations of the unrepaired model on clean patches and random draws that are gone."""
    return int(row["gone_clean"] + row["gone_drawn"])


def easier(row: Row) -> bool:
    """Whether a fresh search reveals more patches than before, and chance does not explain it."""
    return bool(row["revealed"] > row["revealed_before"] and row["revealed_p"] < LEVEL)


def reaches_target(row: Row) -> bool:
    """Whether a repair mends the `TARGET` share of the held-out findings at an affordable cost."""
    return bool(row["findings"] and row["mended"] / row["findings"] >= TARGET and affordable(row))


RULE = (
    "Among the repairs that reproduce alone in fresh interpreters, cost no more than half a point of accuracy on clean "
    "patches (of agreement, where nothing is labelled), create no more deviations on clean patches and random draws "
    "than they remove, and on which a fresh search does not reveal more patches than before by more than chance "
    f"explains (McNemar's exact test, p below {LEVEL:g}): the one that mends most held-out findings; of equals the one "
    "with the fewest created deviations, then the smaller file."
)


def recommend(rows: Sequence[Row]) -> tuple[str | None, str]:
    """The method to recommend by `RULE` among the measured rows of a pair, or None; and why, a sentence."""
    sound = [
        row for row in rows if row["confirmed"] and affordable(row) and created(row) <= removed(row) and not easier(row)
    ]
    fit = [row for row in sound if row["mended"]]
    if not rows:
        return None, "No repair could be tried."
    if not fit:
        return None, (
            "No repair mends anything without costing accuracy, creating more deviations than it removes, "
            "or letting a fresh search reveal more."
            if not sound
            else "No repair mends a held-out finding."
        )
    best = min(fit, key=lambda row: (-row["mended"], created(row), row["size"]))
    others = len(fit) - 1
    beside = f"of {others + 1} that fit the rule" if others else "the only one that fits the rule"
    why = f"{best['method']} mends most, {beside}." if others else f"{best['method']} is {beside}."
    if _lost(best, "agreement"):
        shares = f"{100 * best['agreement_before']:.1f} to {100 * best['agreement']:.1f} %"
        why += f" But on clean patches it agrees with float less often: {shares}."
    return best["method"], why

"""A repair judged on what it never saw, beside the unrepaired model: one row of `repair.parquet`."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget.lockstep import NEVER
from diverget.models.classifier import Corrected
from diverget.models.coverage import coverage
from diverget.models.tflite import TFLiteModel
from diverget.repair import apart, tied
from diverget.scene import UNLABELLED
from experiments.repair.ground import BUDGET, Ground, Said, Searched, said, said_of_all, search
from experiments.statistics import mcnemar

ROUNDS = 5
"""How often the two models take turns for the ratio of their throughputs; the median ratio is told."""

TIMED = 256
"""Patches of one turn."""


@dataclass(frozen=True, eq=False)
class Before:
    """What the reference and the unrepaired model say of the ground, asked once for all repairs of a pair."""

    reference: Said
    quantised: Said
    searched: Searched


def before(ground: Ground) -> Before:
    """What stands before any repair."""
    pair = ground.pair
    return Before(
        said_of_all(ground, pair.reference), said_of_all(ground, pair.quantised), search(ground, pair.quantised, None)
    )


def row(ground: Ground, model: TFLiteModel | Corrected, known: Before, size: int) -> dict[str, Any]:
    """What a repaired model does: the measured columns of `tables.REPAIR`; `size` is that of all its files in bytes."""
    pair, reference = ground.pair, known.reference
    after, searched = said_of_all(ground, model), search(ground, model, known.searched.members)
    steps = pair.reference.output_step, model.output_step
    held, mine = ground.held, ~ground.held
    wrong = apart(reference.findings, after.findings, steps)
    network = model.network if isinstance(model, Corrected) else model
    return {
        "confirmed": bool(np.array_equal(_alone(ground, model), wrong[held])),
        "repair_findings": int(mine.sum()),
        "repair_mended": int((~wrong[mine]).sum()),
        "findings": int(held.sum()),
        "mended": int((~wrong[held]).sum()),
        "mended_tied": int(tied(reference.findings, after.findings, steps)[held].sum()),
        **_clean(ground, known, after, steps),
        **_drawn(ground, known, after, steps),
        "searched": len(known.searched.members),
        "revealed_before": _revealed(known.searched),
        "revealed": _revealed(searched),
        "revealed_p": _chance(known.searched, searched),
        "queries_before": _queries(known.searched),
        "queries": _queries(searched),
        "size_before": pair.quantised.path.stat().st_size,
        "size": size,
        "coverage_before": coverage(pair.quantised.path).share,
        "coverage": coverage(network.path).share,
    }


def _clean(ground: Ground, known: Before, after: Said, steps: tuple[float, float]) -> dict[str, Any]:
    material, pair = ground.asked.material, ground.pair
    labels = material.patches(ground.clean).labels
    labelled = labels != UNLABELLED

    def right(p: np.ndarray) -> float | None:
        return float((p.argmax(axis=1) == labels)[labelled].mean()) if labelled.any() else None

    old = apart(known.reference.clean, known.quantised.clean, (steps[0], pair.quantised.output_step))
    new = apart(known.reference.clean, after.clean, steps)
    return {
        "clean": len(labels),
        "accuracy_reference": right(known.reference.clean),
        "accuracy_before": right(known.quantised.clean),
        "accuracy": right(after.clean),
        "agreement_before": float(1 - old.mean()),
        "agreement": float(1 - new.mean()),
        "new_clean": int((new & ~old).sum()),
        "gone_clean": int((old & ~new).sum()),
    }


def _drawn(ground: Ground, known: Before, after: Said, steps: tuple[float, float]) -> dict[str, Any]:
    old = apart(known.reference.drawn, known.quantised.drawn, (steps[0], ground.pair.quantised.output_step))
    new = apart(known.reference.drawn, after.drawn, steps)
    return {
        "drawn": len(new),
        "drawn_before": int(old.sum()),
        "drawn_apart": int(new.sum()),
        "new_drawn": int((new & ~old).sum()),
        "gone_drawn": int((old & ~new).sum()),
    }


def _alone(ground: Ground, model: TFLiteModel | Corrected) -> np.ndarray:
    """Whether the two still disagree on each held-out finding, asked alone in interpreters made for it, (n,) bool."""
    verdicts = []
    for x in ground.follow_ups[ground.held]:
        reference, other = ground.pair.reference.fresh(), model.fresh()
        steps = reference.output_step, other.output_step
        verdicts.append(apart(reference.predict_proba(x[None]), other.predict_proba(x[None]), steps)[0])
    return np.array(verdicts, dtype=bool)


def _revealed(searched: Searched) -> int:
    return int(_found(searched).sum())


def _found(searched: Searched) -> np.ndarray:
    """Which of the members something was revealed on, or part without any distortion, (n,) bool."""
    found = ~np.isin(searched.members, searched.trace.members)
    found |= np.isin(searched.members, searched.trace.members[searched.trace.revealed != NEVER])
    return np.asarray(found)


def _chance(old: Searched, new: Searched) -> float:
    """McNemar's p that a search finds something on as many of the patches before and after."""
    first, second = _found(old), _found(new)
    return mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))


def _queries(searched: Searched) -> float | None:
    """Mean queries a patch until REVEALED; a patch without counts with the whole budget, one that parts on its source
    with none."""
    n, revealed = len(searched.members), searched.trace.revealed
    return float(np.where(revealed != NEVER, revealed, BUDGET).sum() / n) if n else None


def throughput(ground: Ground, model: TFLiteModel | Corrected) -> float:
    """How many times the patches a second of the unrepaired model the repaired one does, the two in turns."""
    x = ground.asked.material.patches(ground.asked.material.baseline[:TIMED]).source()

    def seconds(one: TFLiteModel | Corrected) -> float:
        started = time.perf_counter()
        said(ground.asked.pool, one, x)
        return time.perf_counter() - started

    for one in (ground.pair.quantised, model):
        seconds(one)  # the first call makes the interpreters
    return statistics.median(seconds(ground.pair.quantised) / seconds(model) for _ in range(ROUNDS))

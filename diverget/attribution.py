"""What a finding is to be put down to: quantisation, a compression before it, the kernels that ran it, or the runtime.

A finding is a statement about two networks as they were run. The same file runs under several sets of kernels, with any
number of threads, and the reference may have run elsewhere altogether. So each finding is asked again, its source and
its follow-up, with one thing varied at a time, and named after what came of that:

    vanishes(v)   under the variation v the outcome is not REVEALED, save where the two models clearly disagree on the
                  source already: a disagreement that stands before the distortion cannot show that the flip has gone
    speaks(v)     the runtime runs v, and on clean patches the two sides agree under v as often as they do in the run,
                  to within `FAR`: kernels that make a worse network of the file acquit nobody
    kernel        a variation of kernels exists that speaks and under which the finding vanishes
    runtime       none such, but one of threads or of the runtime that speaks and under which it vanishes
    compression   neither, and with the network that the compression left, in float, in place of the quantised one it
                  is REVEALED as well: that network leaves the class before anything of it is quantised
    quantisation  none of these; where a compression trains under integers, training and quantisation together

A tie, on the source or on the follow-up, is no REVEALED, so under it a finding vanishes. `survives` is stricter than
not to vanish: it is REVEALED itself. In float all that does not survive vanishes: a network that disagrees on the
source has not shown the flip. The rule is not symmetrical in the kernels, and must not be: where one set is
faulty, what is found under it vanishes under a sound one and is the fault's, and what is found under a sound one is not
acquitted by a fault elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from diverget.models.model import Model
from diverget.outcome import Evidence, Outcome, decided, judge

KINDS = ("quantisation", "kernel", "runtime", "compression")
"""What a finding is put down to."""

VARIED = ("kernels", "threads", "runtime", "compression")
"""What is varied, one at a time."""

FAR = 0.02
"""A difference of agreement on clean patches above which a file is another network under other kernels (engineering
judgement: four of 200 patches; rounding alone moved one on small networks)."""

CHUNK = 64
"""Rows a call of a model, so that several workers share them."""


@dataclass(frozen=True)
class Variation:
    """One side of a pair run in another way.

    Attributes:
        side: `reference` or `quantised`, the one that `model` stands in for; the other says what it said.
        varied: one of `VARIED`.
        setting: what it is varied to, such as `builtin`, `2 threads`.
        model: None where the runtime refuses to run it so.
    """

    side: str
    varied: str
    setting: str
    model: Model | None


@dataclass(frozen=True)
class Asked:
    """What came of one variation, finding by finding; `outcomes` is None where nothing could be asked.

    Attributes:
        outcomes: (f,) uint8, an `Outcome` each.
        vanishes, survives: (f,) bool; with INHERITED by a clear disagreement neither holds.
        classes: (f,) int64, what the varied side says of the follow-up; -1 where nothing could be asked.
    """

    variation: Variation
    outcomes: np.ndarray | None
    vanishes: np.ndarray
    survives: np.ndarray
    classes: np.ndarray


def predicted(model: Model, x: np.ndarray, pool: Executor) -> np.ndarray:
    """Probabilities (n, k) float32 of raw patches x (n, h, w, b), by several workers; (0, k) of none."""
    chunks = [x[start : start + CHUNK] for start in range(0, len(x), CHUNK)]
    found = list(pool.map(model.predict_proba, chunks))
    return np.concatenate(found) if found else np.zeros((0, model.classes), dtype=np.float32)


def ask(
    variations: Iterable[Variation], seen: Evidence, sources: np.ndarray, follow_ups: np.ndarray, pool: Executor
) -> list[Asked]:
    """What comes of f findings under each variation.

    Args:
        seen: the four predictions of every finding as the run had them, (f, k) each.
        sources, follow_ups: (f, h, w, b) float32 raw patches.
    """
    return [_asked(variation, seen, sources, follow_ups, pool) for variation in variations]


def _asked(variation: Variation, seen: Evidence, sources: np.ndarray, follow_ups: np.ndarray, pool: Executor) -> Asked:
    model = variation.model
    if model is None:
        nothing = np.zeros(len(sources), dtype=bool)
        return Asked(variation, None, nothing, nothing, np.full(len(sources), -1))
    source, follow_up = (predicted(model, x, pool) for x in (sources, follow_ups))
    if variation.side == "reference":
        varied = replace(seen, reference_source=source, reference=follow_up, reference_step=model.output_step)
    else:
        varied = replace(seen, quantised_source=source, quantised=follow_up, quantised_step=model.output_step)
    outcomes = judge(varied)
    survives = outcomes == Outcome.REVEALED
    before = parted_before(varied) & (variation.varied != "compression")
    return Asked(variation, outcomes, ~survives & ~before, survives, follow_up.argmax(axis=1))


def parted_before(evidence: Evidence) -> np.ndarray:
    """(r,) bool, whether the two models clearly disagree on the source."""
    own = evidence.reference_source.argmax(axis=1)
    other = evidence.quantised_source.argmax(axis=1)
    return (
        (own != other)
        & decided(evidence.reference_source, other, evidence.reference_step)
        & decided(evidence.quantised_source, own, evidence.quantised_step)
    )


def kinds(varied: Sequence[str], vanishes: np.ndarray, speaks: Sequence[bool]) -> list[str]:
    """What each of f findings is put down to, one of `KINDS`, by the rule at the head of this file.

    Args:
        varied: for each of v variations one of `VARIED`.
        vanishes: (v, f) bool.
        speaks: for each variation whether it counts.
    """
    told = list(zip(varied, speaks, strict=True))

    def under(*wanted: str) -> list[int]:
        return [i for i, (what, counts) in enumerate(told) if counts and what in wanted]

    shown = {
        "kernel": vanishes[under("kernels")].any(axis=0),
        "runtime": vanishes[under("threads", "runtime")].any(axis=0),
        "compression": ~vanishes[under("compression")].all(axis=0),
    }
    return [str(kind) for kind in np.select(list(shown.values()), list(shown), "quantisation")]

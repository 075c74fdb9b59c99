"""Objectives and limits: pure numbers of one row of evidence; the mean over a candidate's rows is its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diverget.outcome import Evidence, Outcome, judge

Score = Callable[[Evidence], np.ndarray]


@dataclass(frozen=True)
class Objective:
    """A score (r,) with a direction; `name` is its function's."""

    score: Score
    maximise: bool

    @property
    def name(self) -> str:
        return self.score.__name__

    @property
    def summary(self) -> str:
        return (self.score.__doc__ or "").partition("\n")[0]


@dataclass(frozen=True)
class Limit:
    """A validity measure (r,) with the side on which a bound lies."""

    score: Score
    at_least: bool

    @property
    def name(self) -> str:
        return self.score.__name__

    @property
    def summary(self) -> str:
        return (self.score.__doc__ or "").partition("\n")[0]

    def excess(self, measured: np.ndarray, bound: float) -> np.ndarray:
        """By how much `measured` breaks `bound`; 0 or less where it holds."""
        return bound - measured if self.at_least else measured - bound


def revealed_share(evidence: Evidence) -> np.ndarray:
    """1 where only the quantised model left its class (`Outcome.REVEALED`), else 0."""
    return (judge(evidence) == Outcome.REVEALED).astype(np.float64)


def js_divergence(evidence: Evidence) -> np.ndarray:
    """Jensen-Shannon divergence of the two models' probabilities on the follow-up, in nats, 0 to ln 2.

    Source: Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37(1), 1991.
    """
    p = np.maximum(evidence.reference.astype(np.float64), 1e-12)
    q = np.maximum(evidence.quantised.astype(np.float64), 1e-12)
    mean = (p + q) / 2
    return ((p * np.log(p / mean)).sum(axis=1) + (q * np.log(q / mean)).sum(axis=1)) / 2


def margin_gap(evidence: Evidence) -> np.ndarray:
    """How much less the quantised model prefers the reference's source class than the reference does.

    With m(p) = p[c] - max of p over the other classes, c the reference's class on the source: m(reference) -
    m(quantised) on the follow-up, in [-2, 2]. It grows as the quantised model leaves c while the reference stays.
    """
    own = evidence.reference_source.argmax(axis=1)[:, None]

    def margin(p: np.ndarray) -> np.ndarray:
        others = p.astype(np.float64)
        mine = np.take_along_axis(others, own, axis=1)[:, 0]
        np.put_along_axis(others, own, -np.inf, axis=1)
        return mine - others.max(axis=1)

    return margin(evidence.reference) - margin(evidence.quantised)


def severity(evidence: Evidence) -> np.ndarray:
    """Mean distance of the strengths from neutral, 0 to 1."""
    return evidence.severity


def spectral_angle(evidence: Evidence) -> np.ndarray:
    """Mean angle between source and follow-up spectra, in radians."""
    return evidence.spectral_angle


def psnr(evidence: Evidence) -> np.ndarray:
    """Peak signal-to-noise ratio of the follow-up in dB, the scene's range as the fixed peak."""
    return evidence.psnr


OBJECTIVES = (
    Objective(revealed_share, maximise=True),
    Objective(js_divergence, maximise=True),
    Objective(margin_gap, maximise=True),
    Objective(severity, maximise=False),
    Objective(spectral_angle, maximise=False),
)

LIMITS = (
    Limit(psnr, at_least=True),
    Limit(spectral_angle, at_least=False),
)

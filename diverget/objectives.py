"""Objectives and limits: pure numbers of one row of evidence; the mean over a candidate's rows is its score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diverget.outcome import Evidence, Outcome, judge

Score = Callable[[Evidence], np.ndarray]

K = 1
"""Which runner-up `k_uncertainty` compares with the top: the first, whatever the number of classes."""


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
    """A validity measure (r,) with the side on which a bound lies, and the bounds that make sense."""

    score: Score
    at_least: bool
    lowest: float = -np.inf
    highest: float = np.inf

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
    p, q = _positive(evidence.reference), _positive(evidence.quantised)
    mean = (p + q) / 2
    return ((p * np.log(p / mean)).sum(axis=1) + (q * np.log(q / mean)).sum(axis=1)) / 2


def kl_divergence(evidence: Evidence) -> np.ndarray:
    """Kullback-Leibler divergence of the quantised model from the reference on the follow-up, in nats.

    sum of p · ln(p / q) over the classes, p the reference, q the quantised model. Probabilities below 1e-12 count as
    1e-12, so it stays finite where the quantised model rules a class out.

    Source: Kullback and Leibler, On information and sufficiency, Annals of Mathematical Statistics 22(1), 1951.
    """
    p, q = _positive(evidence.reference), _positive(evidence.quantised)
    return np.asarray((p * np.log(p / q)).sum(axis=1))


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


def top1_gap(evidence: Evidence) -> np.ndarray:
    """How far the two models' probabilities of their common class lie apart on the follow-up, 0 to 1.

    |p[c] - q[c]|, c the class of both; where they differ, that of the reference stands for it, so that the gap grows
    on as the quantised model leaves.

    Source: Tian et al., Finding deviated behaviors of the compressed DNN models for image classifications (DFLARE),
        ACM TOSEM 32(5), 2023: the difference that guides its search while both models agree.
    """
    own = evidence.reference.argmax(axis=1)[:, None]
    p, q = (np.take_along_axis(side, own, axis=1)[:, 0] for side in (evidence.reference, evidence.quantised))
    return np.abs(p.astype(np.float64) - q)


def k_uncertainty(evidence: Evidence) -> np.ndarray:
    """How undecided the models are on the follow-up: the mean of second minus first probability, -1 to 0.

    0 on a decision boundary of both models. The published fitness is the gap of the top and the k-th runner-up, made
    small; here k = 1 and the gaps of the two models are averaged.

    Source: Xie et al., DiffChaser: detecting disagreements for deep neural networks, IJCAI 2019.
    """

    def gap(p: np.ndarray) -> np.ndarray:
        top = np.partition(p.astype(np.float64), -1 - K, axis=1)[:, -1 - K :]
        return np.asarray(top.max(axis=1) - top[:, 0])

    return -(gap(evidence.reference) + gap(evidence.quantised)) / 2


def novelty(evidence: Evidence) -> np.ndarray:
    """1 where the two models' probabilities were not seen before for the patch, else 0.

    A pair of probability vectors, side by side, is new when its squared Euclidean distance to every one known of the
    patch is above 0.5. Known are the pair on the source and those that earlier generations showed; all candidates of a
    generation are held against the same. Follow-ups outside the limits show nothing new.

    Source: Tian et al., Finding deviated behaviors of the compressed DNN models for image classifications (DFLARE),
        ACM TOSEM 32(5), 2023; the distance and its bound from its code, https://github.com/yqtianust/DFlare .
    """
    return evidence.novel


def layer_divergence(evidence: Evidence) -> np.ndarray:
    """How far the two models' inner activations are apart on the follow-up, 0 to 1; for two .tflite networks.

    The mean over the layers both have of ‖a − b‖ / (‖a‖ + ‖b‖), a the reference's and b the quantised model's
    dequantised activations. White box. Each follow-up goes through both models a second time; the queries count it
    once.

    Source: engineering judgement; a relative distance, so that no layer outweighs the others by its range.
    """
    return evidence.layers


def severity(evidence: Evidence) -> np.ndarray:
    """Mean distance of the strengths from neutral, 0 to 1."""
    return evidence.severity


def spectral_angle(evidence: Evidence) -> np.ndarray:
    """Mean angle between source and follow-up spectra, in radians."""
    return evidence.spectral_angle


def psnr(evidence: Evidence) -> np.ndarray:
    """Peak signal-to-noise ratio of the follow-up in dB, the scene's range as the fixed peak."""
    return evidence.psnr


def ssim(evidence: Evidence) -> np.ndarray:
    """Structural similarity of source and follow-up, at most 1."""
    return evidence.ssim


def rmse(evidence: Evidence) -> np.ndarray:
    """Root mean square change of the values as a share of the scene's range, 0 to 1 within the range.

    sqrt(mean((y - x)²)) / range, which is 10^(-psnr / 20): the peak of PSNR is that range.
    """
    return np.asarray(10 ** (-evidence.psnr / 20))


def one_minus_ssim(evidence: Evidence) -> np.ndarray:
    """One minus the structural similarity of source and follow-up, 0 where nothing changed.

    Source: Z. Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 13,
        2004.
    """
    return 1 - evidence.ssim


def keep_label(evidence: Evidence) -> np.ndarray:
    """1 where the reference keeps its class of the source on the follow-up, 0 where it left; the bound is 1."""
    kept = evidence.reference.argmax(axis=1) == evidence.reference_source.argmax(axis=1)
    return kept.astype(np.float64)


def _positive(p: np.ndarray) -> np.ndarray:
    """Probabilities in float64, none below 1e-12."""
    return np.asarray(np.maximum(p.astype(np.float64), 1e-12))


OBJECTIVES = (
    Objective(revealed_share, maximise=True),
    Objective(js_divergence, maximise=True),
    Objective(kl_divergence, maximise=True),
    Objective(margin_gap, maximise=True),
    Objective(top1_gap, maximise=True),
    Objective(k_uncertainty, maximise=True),
    Objective(novelty, maximise=True),
    Objective(layer_divergence, maximise=True),
    Objective(severity, maximise=False),
    Objective(spectral_angle, maximise=False),
    Objective(rmse, maximise=False),
    Objective(one_minus_ssim, maximise=False),
)

LIMITS = (
    Limit(psnr, at_least=True, lowest=0),
    Limit(ssim, at_least=True, lowest=-1, highest=1),
    Limit(spectral_angle, at_least=False, lowest=0, highest=np.pi),
    Limit(severity, at_least=False, lowest=0, highest=1),
    Limit(keep_label, at_least=True, lowest=1, highest=1),
)

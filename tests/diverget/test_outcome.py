from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diverget.objectives import js_divergence, margin_gap, revealed_share
from diverget.outcome import Evidence, Outcome, joined, judge, refuse_nan

A, B, C = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]
STEP = 1 / 256


def evidence(reference_source: list, quantised_source: list, reference: list, quantised: list) -> Evidence:
    one = np.ones(1)
    rows = (np.array([p], dtype=np.float32) for p in (reference_source, quantised_source, reference, quantised))
    return Evidence(*rows, 1e-4, STEP, one, one, one, one.astype(bool))


@pytest.mark.parametrize(
    ("predictions", "outcome"),
    [
        ((A, B, A, A), Outcome.INHERITED),
        ((A, B, B, A), Outcome.INHERITED),
        ((A, [0.4, 0.4, 0.2], A, B), Outcome.INHERITED),
        (([0.4, 0.39995, 0.2], A, A, B), Outcome.INHERITED),
        ((A, A, B, B), Outcome.MOVED_TOGETHER),
        ((A, A, B, A), Outcome.MOVED_APART),
        ((A, A, B, C), Outcome.MOVED_APART),
        ((A, A, A, B), Outcome.REVEALED),
        ((A, A, A, A), Outcome.SAME),
        ((A, A, A, [0.4, 0.4 + 0.9 * STEP, 0.1]), Outcome.TIED),
        ((A, A, A, [0.4, 0.4 + STEP, 0.1]), Outcome.REVEALED),
        ((A, A, [0.45, 0.44995, 0.1], B), Outcome.TIED),
        ((A, A, [0.45, 0.4498, 0.1], B), Outcome.REVEALED),
        ((A, A, B, [0.4, 0.4, 0.2]), Outcome.TIED),
    ],
)
def test_hand_written_table(predictions: tuple, outcome: Outcome) -> None:
    assert judge(evidence(*predictions))[0] == outcome


def test_no_evidence_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="at least one part of evidence"):
        joined([])


def test_a_row_outside_the_limits_is_never_a_finding() -> None:
    seen = evidence(A, A, A, B)
    assert judge(replace(seen, within=np.array([False])))[0] == Outcome.INVALID
    assert revealed_share(replace(seen, within=np.array([False])))[0] == 0
    assert revealed_share(seen)[0] == 1


def test_a_tie_that_argmax_breaks_by_index_is_not_a_disagreement() -> None:
    assert judge(evidence(B, B, B, [0.45, 0.45, 0.1]))[0] == Outcome.TIED


def test_an_answer_that_is_no_number_is_refused_where_a_model_gave_it() -> None:
    said, patches = np.array([A, B, C], dtype=np.float32), np.array([4, 9, 7])
    broken = said.copy()
    broken[1, 2] = np.nan
    broken[2, 0] = np.inf
    refuse_nan(said, said, patches, str)
    with pytest.raises(ValueError, match="for patch 9 row 1; look at what the reference answers"):
        refuse_nan(broken, broken, patches, lambda row: f"row {row}")
    with pytest.raises(ValueError, match="for patch 9 row 1; look at what the quantised model answers"):
        refuse_nan(said, broken, patches, lambda row: f"row {row}")
    with pytest.raises(ValueError, match="for patch 7 row 2"):
        refuse_nan(said, broken, patches, lambda row: f"row {row}", halves=np.array([False, True, False]))
    refuse_nan(said, broken, patches, str, halves=np.array([False, True, True]))
    refuse_nan(broken, broken, patches, str, shown=np.array([True, False, False]))


def test_js_divergence_agrees_with_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    seen = evidence(A, A, [0.7, 0.2, 0.1], [0.2, 0.5, 0.3])
    assert js_divergence(seen)[0] == pytest.approx(jensenshannon(seen.reference[0], seen.quantised[0]) ** 2, rel=1e-6)
    assert js_divergence(evidence(A, A, A, A))[0] == pytest.approx(0, abs=1e-12)
    assert js_divergence(evidence(A, A, [1, 0, 0], [0, 1, 0]))[0] == pytest.approx(np.log(2), rel=1e-6)


def test_margin_gap_by_hand() -> None:
    assert margin_gap(evidence(A, A, A, [0.3, 0.6, 0.1]))[0] == pytest.approx(0.7 - (0.3 - 0.6), rel=1e-6)

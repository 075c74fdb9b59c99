"""The rules of repair on made-up numbers."""

from __future__ import annotations

import numpy as np
import pytest

from diverget.repair import MOST_LOST, apart, held_out, reaches_target, recommend, tied


def made_up(method: str, **changed: object) -> dict[str, object]:
    """A row of a repair that mends half of the findings and costs nothing."""
    return {
        "method": method, "confirmed": True, "findings": 100, "mended": 50, "size": 1000,
        "accuracy_before": 0.9, "accuracy": 0.9, "agreement_before": 0.99, "agreement": 0.99,
        "new_clean": 0, "gone_clean": 1, "new_drawn": 2, "gone_drawn": 4,
        "revealed_before": 8, "revealed": 8, "revealed_p": 1.0, **changed,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(20))
def test_blocks_stay_whole_and_both_parts_have_findings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 12, size=200)
    findings = rng.poisson(0.4, size=200)
    out = held_out(blocks, findings, np.random.default_rng(seed))
    for block in np.unique(blocks):
        assert len(set(out[blocks == block])) == 1
    weights = np.bincount(blocks, weights=findings)
    # Dealt to the lighter part, the two never differ by more than the heaviest block.
    assert abs(findings[out].sum() - findings[~out].sum()) <= weights.max()
    assert np.array_equal(out, held_out(blocks, findings, np.random.default_rng(seed)))


def test_two_blocks_with_findings_are_enough() -> None:
    blocks, findings = np.repeat(np.arange(30), 4), np.zeros(120, dtype=int)
    findings[[8, 100]] = 3, 1
    out = held_out(blocks, findings, np.random.default_rng(0))
    assert out[8] != out[100] and 30 <= out.sum() <= 90


def test_one_block_with_findings_leaves_none_held_out() -> None:
    out = held_out(np.array([0, 1, 2]), np.array([0, 5, 0]), np.random.default_rng(0))
    assert not out[1] and out.any()


def test_a_disagreement_within_a_step_is_a_tie() -> None:
    reference = np.array([[0.6, 0.4], [0.6, 0.4], [0.50001, 0.49999], [0.6, 0.4]])
    other = np.array([[0.4, 0.6], [0.499, 0.501], [0.4, 0.6], [0.7, 0.3]])
    steps = (1e-4, 1 / 256)
    assert apart(reference, other, steps).tolist() == [True, False, False, False]
    assert tied(reference, other, steps).tolist() == [False, True, True, False]


def test_most_mended_wins_among_those_that_fit() -> None:
    rows = [
        made_up("weak", mended=20),
        made_up("dear", mended=99, accuracy=0.9 - MOST_LOST - 0.001),
        made_up("elsewhere", mended=98, new_drawn=50),
        made_up("unsure", mended=97, confirmed=False),
        made_up("found more easily", mended=95, revealed=14, revealed_p=0.03),
        made_up("good", mended=60, accuracy=0.9 - MOST_LOST),
    ]
    assert recommend(rows)[0] == "good"
    assert reaches_target(rows[-1]) and not reaches_target(rows[0]) and not reaches_target(rows[1])


def test_equals_are_told_apart_by_what_they_create_and_then_by_size() -> None:
    assert recommend([made_up("a", new_drawn=3), made_up("b", new_drawn=1), made_up("c", size=1)])[0] == "b"
    assert recommend([made_up("a"), made_up("b", size=999)])[0] == "b"
    assert recommend([made_up("a"), made_up("b")])[0] == "a"


def test_a_loss_of_agreement_is_told_beside_the_recommendation() -> None:
    assert "But" not in recommend([made_up("a")])[1]
    name, why = recommend([made_up("a", agreement=0.977)])
    assert name == "a" and "But on clean patches it agrees with float less often: 99.0 to 97.7 %." in why


def test_without_labels_the_agreement_counts() -> None:
    unlabelled = {"accuracy": None, "accuracy_before": None}
    rows = [made_up("a", mended=70, agreement=0.98, **unlabelled), made_up("b", agreement=0.986, **unlabelled)]
    assert recommend(rows)[0] == "b"


def test_nothing_is_recommended_that_mends_nothing() -> None:
    assert recommend([]) == (None, "No repair could be tried.")
    assert recommend([made_up("a", mended=0)])[0] is None
    name, why = recommend([made_up("a", new_clean=9)])
    assert name is None and "creating more" in why

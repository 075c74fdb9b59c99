"""The rule that names a finding, on planted predictions, and the asking, on models that are tables."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from diverget.attribution import CHUNK, KINDS, Variation, ask, kinds, parted_before, predicted
from diverget.models.preprocessing import Preprocessing, identity
from diverget.outcome import Evidence, Outcome

STEP = 0.01
A, B, C = np.eye(3, dtype=np.float32) * 0.8 + 0.1
RAW = identity()
TIE = np.array([0.45, 0.45, 0.1], dtype=np.float32)
NEARLY = np.array([0.446, 0.454, 0.1], dtype=np.float32)


@dataclass(frozen=True)
class Told:
    """A model that reads its answer off the patch: its three values are the probabilities."""

    name: str = "told"
    digest: str = "0"
    classes: int = 3
    input_shape: tuple[int, ...] = (1, 1, 3)
    output_step: float = STEP
    preprocessing: Preprocessing = RAW

    def infer(self, z: np.ndarray) -> np.ndarray:
        return z.reshape(-1, 3).astype(np.float32)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.infer(x)


def evidence(n: int) -> Evidence:
    """n findings: both say A of the source, the quantised model B of the follow-up."""
    unknown = np.full(n, np.nan)
    return Evidence(
        reference_source=np.tile(A, (n, 1)),
        quantised_source=np.tile(A, (n, 1)),
        reference=np.tile(A, (n, 1)),
        quantised=np.tile(B, (n, 1)),
        reference_step=STEP,
        quantised_step=STEP,
        severity=unknown,
        psnr=unknown,
        spectral_angle=unknown,
        within=np.ones(n, dtype=bool),
    )


def patches(*said: np.ndarray) -> np.ndarray:
    return np.stack(said).reshape(-1, 1, 1, 3)


CASES = (
    # (what the varied side says of source and follow-up, outcome, survives, vanishes)
    ("quantised", A, B, Outcome.REVEALED, True, False),
    ("quantised", A, C, Outcome.REVEALED, True, False),
    ("quantised", A, A, Outcome.SAME, False, True),
    ("quantised", A, TIE, Outcome.SAME, False, True),
    ("quantised", A, NEARLY, Outcome.TIED, False, True),
    ("quantised", TIE, B, Outcome.INHERITED, False, True),
    ("quantised", B, B, Outcome.INHERITED, False, False),
    ("quantised", B, A, Outcome.INHERITED, False, False),
    ("reference", A, A, Outcome.REVEALED, True, False),
    ("reference", A, B, Outcome.MOVED_TOGETHER, False, True),
    ("reference", A, C, Outcome.MOVED_APART, False, True),
    ("reference", C, C, Outcome.INHERITED, False, False),
)


@pytest.mark.parametrize("side", ["quantised", "reference"])
def test_each_way_a_finding_can_come_out(side: str, pool: ThreadPoolExecutor) -> None:
    mine = [case for case in CASES if case[0] == side]
    sources, follow_ups = patches(*(case[1] for case in mine)), patches(*(case[2] for case in mine))
    (told,) = ask([Variation(side, "kernels", "builtin", Told())], evidence(len(mine)), sources, follow_ups, pool)
    assert told.outcomes is not None
    assert [Outcome(outcome) for outcome in told.outcomes] == [case[3] for case in mine]
    assert told.survives.tolist() == [case[4] for case in mine]
    assert told.vanishes.tolist() == [case[5] for case in mine]
    assert told.classes.tolist() == [int(case[2].argmax()) for case in mine]


def test_a_network_that_parts_on_the_source_shows_no_flip_of_the_compression(pool: ThreadPoolExecutor) -> None:
    said = [(A, B), (A, A), (B, A), (B, B)]
    sources, follow_ups = patches(*(source for source, _ in said)), patches(*(after for _, after in said))
    (told,) = ask([Variation("quantised", "compression", "in float", Told())], evidence(4), sources, follow_ups, pool)
    assert told.survives.tolist() == (~told.vanishes).tolist() == [True, False, False, False]
    assert kinds(["compression"], told.vanishes[None], [True]) == ["compression", *["quantisation"] * 3]


def test_what_the_runtime_refuses_says_nothing(pool: ThreadPoolExecutor) -> None:
    x = patches(A, A)
    (told,) = ask([Variation("quantised", "kernels", "reference", None)], evidence(2), x, x, pool)
    assert told.outcomes is None and not told.survives.any() and not told.vanishes.any()
    assert kinds(["kernels"], told.vanishes[None], [True]) == ["quantisation"] * 2


def test_a_kind_for_every_combination() -> None:
    varied = ["kernels", "threads", "kernels", "runtime", "compression"]
    vanishes = np.array([[bool(number >> bit & 1) for number in range(32)] for bit in range(5)])
    expected = []
    for number in range(32):
        gone = {varied[bit] for bit in range(5) if number >> bit & 1}
        left = "quantisation" if "compression" in gone else "compression"
        expected.append("kernel" if "kernels" in gone else "runtime" if gone - {"compression"} else left)
    assert kinds(varied, vanishes, [True] * 5) == expected
    assert set(expected) == set(KINDS)


def test_what_does_not_speak_acquits_nobody() -> None:
    vanishes = np.ones((2, 3), dtype=bool)
    assert kinds(["kernels", "threads"], vanishes, [False, True]) == ["runtime"] * 3
    assert kinds(["kernels", "kernels"], vanishes, [False, True]) == ["kernel"] * 3
    assert kinds(["kernels", "threads"], vanishes, [False, False]) == ["quantisation"] * 3


def test_kinds_of_a_pair_without_any_variation() -> None:
    assert kinds([], np.zeros((0, 3), dtype=bool), []) == ["quantisation"] * 3


def test_parted_before_needs_a_clear_disagreement() -> None:
    one = evidence(1)
    said = [(A, B), (A, A), (A, NEARLY), (TIE, B)]
    found = [
        bool(parted_before(Evidence(**{**vars(one), "reference_source": r[None], "quantised_source": q[None]}))[0])
        for r, q in said
    ]
    assert found == [True, False, False, False]


def test_predictions_of_many_rows_keep_their_order(pool: ThreadPoolExecutor) -> None:
    x = np.random.default_rng(0).random((3 * CHUNK + 5, 1, 1, 3)).astype(np.float32)
    np.testing.assert_array_equal(predicted(Told(), x, pool), x.reshape(-1, 3))
    assert predicted(Told(), x[:0], pool).shape == (0, 3)

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from skimage.metrics import structural_similarity

from diverget import tables
from diverget.objectives import LIMITS, OBJECTIVES, Limit, Objective
from diverget.outcome import Evidence, Outcome, judge
from diverget.problem import Bounded, Problem, pose
from diverget.scene import Scene
from diverget.space import rows_of
from tests.conftest import toy_problem

OBJECTIVE = {objective.name: objective for objective in OBJECTIVES}
LIMIT = {limit.name: limit for limit in LIMITS}

SURE, UNSURE, OTHER = [0.7, 0.2, 0.1], [0.45, 0.4, 0.15], [0.2, 0.5, 0.3]


def evidence(
    reference: Sequence[float] = SURE,
    quantised: Sequence[float] = SURE,
    *,
    source: Sequence[float] = SURE,
    severity: float = 0.25,
    psnr: float = 40.0,
    angle: float = 0.1,
    ssim: float = 0.9,
    within: bool = True,
    layers: float = 0.3,
    novel: float = 0.0,
) -> Evidence:
    """One row."""
    sides = (np.array([p], dtype=np.float32) for p in (source, source, reference, quantised))
    measures = (np.array([value]) for value in (severity, psnr, angle))
    more = (np.array([value]) for value in (ssim, layers, novel))
    return Evidence(*sides, 1e-4, 1e-4, *measures, np.array([within]), *more)


def score(name: str, seen: Evidence) -> float:
    entry: Objective | Limit = OBJECTIVE.get(name) or LIMIT[name]
    values = entry.score(seen)
    assert values.shape == (1,) and values.dtype == np.float64
    return float(values[0])


ln = np.log

BY_HAND = [
    ("revealed_share", evidence(SURE, OTHER), 1.0),
    ("revealed_share", evidence(SURE, UNSURE), 0.0),
    ("revealed_share", evidence(OTHER, SURE), 0.0),
    (
        "js_divergence",
        evidence(SURE, OTHER),
        (0.7 * ln(0.7 / 0.45) + 0.2 * ln(0.2 / 0.35) + 0.1 * ln(0.1 / 0.2)) / 2
        + (0.2 * ln(0.2 / 0.45) + 0.5 * ln(0.5 / 0.35) + 0.3 * ln(0.3 / 0.2)) / 2,
    ),
    ("kl_divergence", evidence(SURE, OTHER), 0.7 * ln(0.7 / 0.2) + 0.2 * ln(0.2 / 0.5) + 0.1 * ln(0.1 / 0.3)),
    ("kl_divergence", evidence(OTHER, SURE), 0.2 * ln(0.2 / 0.7) + 0.5 * ln(0.5 / 0.2) + 0.3 * ln(0.3 / 0.1)),
    ("kl_divergence", evidence([0.5, 0.5, 0], [1, 0, 0]), 0.5 * ln(0.5) + 0.5 * ln(0.5 / 1e-12)),
    ("margin_gap", evidence(SURE, OTHER), 0.5 - (0.2 - 0.5)),
    ("margin_gap", evidence(OTHER, SURE), -0.3 - 0.5),
    ("top1_gap", evidence(SURE, UNSURE), 0.25),
    ("top1_gap", evidence(UNSURE, SURE), 0.25),
    ("top1_gap", evidence(SURE, OTHER), 0.5),
    ("top1_gap", evidence([0.5, 0.3, 0.2], [0.1, 0.5, 0.4]), 0.4),
    ("k_uncertainty", evidence(SURE, UNSURE), -(0.5 + 0.05) / 2),
    ("k_uncertainty", evidence([0.5, 0.0, 0.5], [0.5, 0.5, 0.0]), 0.0),
    ("k_uncertainty", evidence([1, 0, 0], [0, 0, 1]), -1.0),
    ("novelty", evidence(novel=1.0), 1.0),
    ("layer_divergence", evidence(layers=0.25), 0.25),
    ("severity", evidence(severity=0.3), 0.3),
    ("spectral_angle", evidence(angle=0.2), 0.2),
    ("rmse", evidence(psnr=40.0), 0.01),
    ("rmse", evidence(psnr=np.inf), 0.0),
    ("rmse", evidence(psnr=0.0), 1.0),
    ("one_minus_ssim", evidence(ssim=0.9), 0.1),
    ("one_minus_ssim", evidence(ssim=-0.5), 1.5),
    ("psnr", evidence(psnr=31.0), 31.0),
    ("ssim", evidence(ssim=0.8), 0.8),
    ("keep_label", evidence(UNSURE, OTHER), 1.0),
    ("keep_label", evidence(OTHER, SURE), 0.0),
]


@pytest.mark.parametrize(("name", "seen", "expected"), BY_HAND, ids=[name for name, _, _ in BY_HAND])
def test_by_hand(name: str, seen: Evidence, expected: float) -> None:
    assert score(name, seen) == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_every_objective_and_limit_is_reckoned_by_hand() -> None:
    assert {name for name, _, _ in BY_HAND} == OBJECTIVE.keys() | LIMIT.keys()


MORE_WANTED = {
    "revealed_share": (evidence(SURE, UNSURE), evidence(SURE, OTHER)),
    "js_divergence": (evidence(SURE, UNSURE), evidence(SURE, OTHER)),
    "kl_divergence": (evidence(SURE, UNSURE), evidence(SURE, OTHER)),
    "margin_gap": (evidence(SURE, UNSURE), evidence(SURE, OTHER)),
    "top1_gap": (evidence(SURE, UNSURE), evidence(SURE, OTHER)),
    "k_uncertainty": (evidence(SURE, SURE), evidence(UNSURE, UNSURE)),
    "novelty": (evidence(novel=0.0), evidence(novel=1.0)),
    "layer_divergence": (evidence(layers=0.1), evidence(layers=0.2)),
    "severity": (evidence(severity=0.4), evidence(severity=0.3)),
    "spectral_angle": (evidence(angle=0.4), evidence(angle=0.3)),
    "rmse": (evidence(psnr=20.0), evidence(psnr=30.0)),
    "one_minus_ssim": (evidence(ssim=0.6), evidence(ssim=0.7)),
}
"""For each objective a row, and one that a search for the mildest disagreement should like better."""


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)
def test_the_direction_leads_to_mild_disagreements(objective: Objective) -> None:
    worse, better = (score(objective.name, seen) for seen in MORE_WANTED[objective.name])
    assert (better > worse) == objective.maximise
    assert better != worse


@pytest.mark.parametrize(
    ("name", "bound", "holds", "breaks"),
    [
        ("psnr", 30.0, evidence(psnr=30.0), evidence(psnr=29.9)),
        ("ssim", 0.8, evidence(ssim=0.8), evidence(ssim=0.79)),
        ("spectral_angle", 0.2, evidence(angle=0.2), evidence(angle=0.21)),
        ("severity", 0.5, evidence(severity=0.5), evidence(severity=0.51)),
        ("keep_label", 1.0, evidence(UNSURE, OTHER), evidence(OTHER, SURE)),
    ],
)
def test_a_limit_holds_on_its_side_and_at_its_bound(name: str, bound: float, holds: Evidence, breaks: Evidence) -> None:
    limit = LIMIT[name]
    assert limit.excess(limit.score(holds), bound)[0] <= 0
    assert limit.excess(limit.score(breaks), bound)[0] > 0


def test_probabilities_of_any_number_of_classes_have_a_runner_up() -> None:
    assert score("k_uncertainty", evidence([0.6, 0.4], [0.9, 0.1], source=[1, 0])) == pytest.approx(-0.5)
    ten = np.linspace(0.01, 0.19, 10)
    assert score("k_uncertainty", evidence(ten, ten, source=ten)) == pytest.approx(-0.02, abs=1e-6)


def test_what_nobody_measured_is_one_nan() -> None:
    seen = evidence()
    optional = ("ssim", "layers", "novel")
    without = Evidence(**{name: value for name, value in vars(seen).items() if name not in optional})
    for name in optional:
        assert np.shape(getattr(without, name)) == () and np.isnan(getattr(without, name))


def asked(problem: Problem, *names: str, limits: Sequence[tuple[str, float]] = ()) -> Problem:
    return replace(
        problem,
        objectives=tuple(OBJECTIVE[name] for name in names),
        limits=tuple(Bounded(LIMIT[name], bound) for name, bound in limits),
    )


@pytest.fixture(scope="module")
def wide(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    return toy_problem(scene, pool, patches=12)


def rows(problem: Problem) -> tuple[Evidence, np.ndarray, np.ndarray]:
    """Evidence of one chain a patch, with the sources and the follow-ups."""
    n = len(problem.patches)
    values = problem.space.decode(np.random.default_rng(8).random((n, problem.space.dimensions)))
    return (
        problem.rows(values, np.arange(n)),
        problem.patches.source(np.arange(n)),
        problem.follow_ups(values, np.arange(n)),
    )


def test_rmse_and_ssim_are_those_of_the_pixels(wide: Problem) -> None:
    seen, source, moved = rows(asked(wide, "rmse", "one_minus_ssim"))
    rmse = np.sqrt(((moved - source).astype(np.float64) ** 2).mean(axis=(1, 2, 3)))  # the range is 0 to 1
    np.testing.assert_allclose(OBJECTIVE["rmse"].score(seen), rmse, rtol=1e-5)
    ssim = [
        structural_similarity(x, y, win_size=5, data_range=1.0, channel_axis=-1)
        for x, y in zip(source.astype(np.float64), moved.astype(np.float64), strict=True)
    ]
    np.testing.assert_allclose(LIMIT["ssim"].score(seen), ssim, rtol=1e-5)
    assert np.min(rmse) > 0 and np.max(ssim) < 1


def test_ssim_and_angle_are_measured_only_where_they_count(wide: Problem) -> None:
    for problem, ssim, angle in (
        (asked(wide, "severity"), False, False),
        (asked(wide, "one_minus_ssim"), True, False),
        (asked(wide, "severity", limits=[("ssim", 0.5)]), True, False),
        (asked(wide, "rmse", "spectral_angle"), False, True),
    ):
        seen = rows(problem)[0]
        assert seen.ssim.shape == seen.spectral_angle.shape == seen.psnr.shape
        assert np.isfinite(seen.ssim).all() == ssim and np.isnan(seen.ssim).all() != ssim
        assert np.isfinite(seen.spectral_angle).all() == angle


@pytest.mark.parametrize(("name", "bound"), [("ssim", 0.6), ("severity", 0.5), ("keep_label", 1.0)])
def test_a_limit_rejects_rows_and_candidates(wide: Problem, name: str, bound: float) -> None:
    problem = asked(wide, "severity", limits=[(name, bound)])
    seen, *_ = rows(problem)
    held = LIMIT[name].excess(LIMIT[name].score(seen), bound) <= 0
    assert 0 < held.sum() < len(held), "the bound lies among the rows"
    np.testing.assert_array_equal(seen.within, held)
    np.testing.assert_array_equal(judge(seen) == Outcome.INVALID, ~held)
    u = np.random.default_rng(2).random((30, problem.space.dimensions))
    evaluation = problem.evaluate(u)
    assert 0 < evaluation.feasible.sum() < len(u)
    assert np.isfinite(evaluation.excess).all()
    assert problem.evaluate(problem.space.neutral()[None]).feasible.all()


def test_the_reference_that_must_keep_its_class_never_moves(wide: Problem) -> None:
    u = np.random.default_rng(3).random((40, wide.space.dimensions))
    free = asked(wide, "severity").evaluate(u).counts.sum(axis=0)
    kept = asked(wide, "severity", limits=[("keep_label", 1.0)]).evaluate(u).counts.sum(axis=0)
    assert free[Outcome.MOVED_TOGETHER] > 0
    assert kept[Outcome.MOVED_TOGETHER] == kept[Outcome.MOVED_APART] == 0
    assert kept[Outcome.REVEALED] == free[Outcome.REVEALED] > 0


def test_neutral_is_perfect_in_every_distance(wide: Problem) -> None:
    problem = asked(wide, *(objective.name for objective in OBJECTIVES if not objective.maximise))
    np.testing.assert_allclose(problem.evaluate(problem.space.neutral()[None]).scores, 0, atol=1e-12)


def test_follow_ups_without_a_severity_cannot_be_limited_in_it(wide: Problem) -> None:
    x = wide.patches.source(np.arange(3))
    shown = asked(wide, "severity", limits=[("ssim", 0.99)]).shown(x, np.arange(3))
    assert shown.within.all() and np.isnan(shown.severity).all()
    with pytest.raises(ValueError, match="no limit on the severity"):
        asked(wide, "severity", limits=[("severity", 0.5)]).shown(x, np.arange(3))


def test_a_state_is_new_until_it_is_known(wide: Problem) -> None:
    """Against a twin in plain Python: generations in order, every patch with a memory of its own."""
    problem = replace(asked(wide, "novelty", "severity"), limits=wide.limits)
    schema = tables.evaluations(problem.space, problem.objectives, problem.limits)
    rng, known = np.random.default_rng(4), problem.known_at_first()
    lists = [[state] for state in known[0]]
    shares = []
    for generation in range(6):
        u = rng.random((9, problem.space.dimensions))
        evaluation = problem.evaluate(u, known=known)
        n = len(problem.patches)
        seen = problem.rows(rows_of(evaluation.values, np.repeat(np.arange(9), n)), np.tile(np.arange(n), 9))
        states = np.concatenate([seen.reference, seen.quantised], axis=1)
        novel = [
            bool(seen.within[row]) and all(((states[row] - old) ** 2).sum() > 0.5 for old in lists[row % n])
            for row in range(9 * n)
        ]
        np.testing.assert_allclose(evaluation.scores[:, 0], np.reshape(novel, (9, n)).mean(axis=1))
        shares.append(np.mean(novel))
        for row in np.flatnonzero(novel):
            if all(((states[row] - old) ** 2).sum() > 0.5 for old in lists[row % n]):
                lists[row % n].append(states[row])
        rows = tables.rows(
            evaluation,
            problem.space,
            problem.objectives,
            problem.limits,
            pair="toy",
            control=False,
            generation=generation,
            first=0,
            queries_each=1,
        )
        kept = pa.Table.from_pylist(rows, schema=schema).to_pylist()
        known = tables.remembered_of(kept, known)
        np.testing.assert_array_equal(known, tables.remembered_of(rows, known))
        assert np.isfinite(known[:, :, 0]).sum(axis=0).tolist() == [len(own) for own in lists]
    assert shares[0] > 2 * np.mean(shares[1:]) > 0, "what is seen again is not new"


def test_an_unasked_memory_costs_nothing(wide: Problem) -> None:
    problem = asked(wide, "severity")
    assert not problem.remembers
    assert not problem.evaluate(np.random.default_rng(1).random((3, problem.space.dimensions))).novel.any()
    assert "novel" not in tables.evaluations(problem.space, problem.objectives, problem.limits).names


def test_networks_without_a_file_have_no_layers_to_compare(wide: Problem) -> None:
    with pytest.raises(ValueError, match=r"Expected two \.tflite networks .* got 'toy'"):
        pose(
            wide.reference,
            wide.quantised,
            wide.patches,
            wide.space,
            wide.sensor,
            objectives=[OBJECTIVE["layer_divergence"]],
            limits=(),
            pool=wide.pool,
            seed=1,
        )

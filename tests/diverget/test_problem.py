from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

import diverget.problem as module
from diverget.findings import stored_field
from diverget.objectives import OBJECTIVES
from diverget.outcome import Outcome, judge
from diverget.patches import draw_field
from diverget.problem import Problem, pose
from diverget.rates import dose_outcomes, draw_outcomes
from diverget.scene import Scene
from diverget.space import rows_of
from relations import distort, get
from relations.core import layers_of
from tests.conftest import TOY, toy_problem
from tests.toys import Linear, linear_pair


def points(problem: Problem, count: int) -> np.ndarray:
    return np.random.default_rng(5).random((count, problem.space.dimensions))


def test_the_toy_pair_disagrees_in_earnest(problem: Problem) -> None:
    evaluation = problem.evaluate(points(problem, 30))
    assert evaluation.counts.sum() == 30 * len(problem.patches)
    assert evaluation.counts[:, Outcome.REVEALED].sum() > 5
    assert sum(map(len, evaluation.revealed)) == evaluation.counts[:, Outcome.REVEALED].sum()


def test_scores_are_means_over_the_patches(problem: Problem) -> None:
    evaluation = problem.evaluate(points(problem, 4))
    names = [objective.name for objective in problem.objectives]
    np.testing.assert_allclose(
        evaluation.scores[:, names.index("revealed_share")],
        evaluation.counts[:, Outcome.REVEALED] / len(problem.patches),
    )
    np.testing.assert_allclose(evaluation.scores[:, names.index("severity")], evaluation.severity)


def test_chunks_and_workers_change_nothing(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    u = points(problem, 6)
    whole = problem.evaluate(u)
    monkeypatch.setattr(module, "CHUNK_ROWS", (7, 7))
    with ThreadPoolExecutor(3) as pool:
        split = replace(problem, pool=pool).evaluate(u)
    np.testing.assert_array_equal(whole.scores, split.scores)
    np.testing.assert_array_equal(whole.limits, split.limits)
    assert whole.revealed == split.revealed


def test_a_row_alone_is_the_row_in_the_batch(problem: Problem) -> None:
    u = points(problem, 8)
    values, patches = problem.space.decode(u), np.arange(8) * 3
    batch = problem.rows(values, patches)
    for i in range(8):
        alone = problem.rows(rows_of(values, np.array([i])), patches[i : i + 1])
        np.testing.assert_array_equal(alone.reference[0], batch.reference[i])
        np.testing.assert_array_equal(alone.quantised[0], batch.quantised[i])
        assert alone.psnr[0] == batch.psnr[i]


def test_neutral_changes_nothing(problem: Problem) -> None:
    evaluation = problem.evaluate(problem.space.neutral()[None])
    inherited = (problem.reference_source.argmax(1) != problem.quantised_source.argmax(1)).sum()
    assert evaluation.counts[0, Outcome.INHERITED] == inherited
    assert evaluation.counts[0, Outcome.SAME] == len(problem.patches) - inherited
    assert np.isfinite(evaluation.limits).all()


def test_limits_reject_rows(problem: Problem) -> None:
    u = points(problem, 5)
    strict = replace(problem, limits=(replace(problem.limits[0], bound=200.0),)).evaluate(u)
    assert (strict.counts[:, Outcome.INVALID] == len(problem.patches)).all()
    assert not strict.feasible.any()
    assert strict.counts[:, Outcome.REVEALED].sum() == 0


def test_a_model_against_itself_reveals_nothing(scene: Scene, problem: Problem) -> None:
    itself = replace(problem, quantised=linear_pair(scene)[0], quantised_source=problem.reference_source)
    evaluation = itself.evaluate(points(problem, 30))
    for outcome in (Outcome.INHERITED, Outcome.MOVED_APART, Outcome.REVEALED, Outcome.TIED):
        assert evaluation.counts[:, outcome].sum() == 0


def test_rates_repeat_and_differ_by_seed_and_name(problem: Problem) -> None:
    def drawn(*, seed: int, name: str) -> np.ndarray:
        return draw_outcomes(problem, problem.space, problem.patches, draws=3, seed=seed, name=name)

    first = drawn(seed=1, name="x")
    assert first.shape == (len(problem.patches), 3)
    np.testing.assert_array_equal(first, drawn(seed=1, name="x"))
    assert (first != drawn(seed=2, name="x")).any()
    assert (first != drawn(seed=1, name="y")).any()


def test_every_draw_has_noise_of_its_own_and_the_search_keeps_one(problem: Problem) -> None:
    stripes = get("stripes")
    fields = [draw_field(stripes, problem.patches, seed=3, draw=draw) for draw in (0, 0, 1, 2)]
    values = [field.values for field in fields if field is not None]
    np.testing.assert_array_equal(values[0], values[1])
    assert (values[1] != values[2]).any() and (values[2] != values[3]).any()


LAYERED = (*TOY, "pixel_noise", "dead_lines")
"""Some of these have fields of several layers."""


def test_windows_and_fields_too_large_to_hold_are_cut_anew(
    scene: Scene, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = toy_problem(scene, pool, names=LAYERED)
    u = points(problem, 3)
    held = problem.evaluate(u)
    assert problem.patches.held is not None
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    monkeypatch.setattr("diverget.patches.HELD_BYTES", 0)
    cut = replace(problem, patches=replace(problem.patches))
    np.testing.assert_array_equal(held.scores, cut.evaluate(u).scores)
    assert cut.patches.held is None
    some = np.array([7, 3, 3])
    np.testing.assert_array_equal(cut.patches.windows(some), problem.patches.windows(some))
    np.testing.assert_array_equal(cut.patches.source(some), problem.patches.source(some))


def test_chunks_of_any_size_give_the_same_rows(
    scene: Scene, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = toy_problem(scene, pool, names=LAYERED)
    u = points(problem, 2)
    whole = problem.evaluate(u)
    monkeypatch.setattr(module, "CHUNK_MOST", 1)
    np.testing.assert_array_equal(whole.scores, problem.evaluate(u).scores)


def test_a_finding_with_fields_of_several_layers_replays_from_its_arrays(
    scene: Scene, pool: ThreadPoolExecutor
) -> None:
    problem = toy_problem(scene, pool, names=LAYERED)
    values = problem.space.decode(points(problem, 1))
    patch = np.array([5])
    under = problem.fields_under(patch)
    arrays = {
        f"field{layer}_{slot.relation.name}": drawn[0]
        for slot, layers in zip(problem.space.slots, under, strict=True)
        for layer, drawn in enumerate(layers_of(layers))
    }
    assert {"field1_pixel_noise", "field1_dead_lines"} <= arrays.keys()
    fields = [stored_field(arrays, slot.relation) for slot in problem.space.slots]
    again = distort(
        problem.patches.windows(patch), problem.space.chain(values), fields, problem.sensor, margins=problem.margins
    )
    np.testing.assert_array_equal(again, problem.follow_ups(values, patch))


def test_fields_do_not_depend_on_which_patches_are_asked_for(
    scene: Scene, pool: ThreadPoolExecutor, problem: Problem
) -> None:
    few = toy_problem(scene, pool, patches=40)
    u = points(problem, 1)
    np.testing.assert_array_equal(
        few.follow_ups(few.space.decode(u), np.array([7])), problem.follow_ups(problem.space.decode(u), np.array([7]))
    )


def test_judged_rows_agree_with_the_counts(problem: Problem) -> None:
    u = points(problem, 2)
    n = len(problem.patches)
    evidence = problem.rows(rows_of(problem.space.decode(u), np.repeat([0, 1], n)), np.tile(np.arange(n), 2))
    counts = np.bincount(judge(evidence)[:n], minlength=7)
    np.testing.assert_array_equal(problem.evaluate(u).counts[0], counts)


@dataclass(frozen=True)
class Dazzled(Linear):
    """A `Linear` that answers with NaN where the patch is brighter than 0.6 in the mean."""

    def infer(self, z: np.ndarray) -> np.ndarray:
        p = Linear.infer(self, z)
        return np.where(z.mean(axis=(1, 2, 3))[:, None] > 0.6, np.float32("nan"), p)


def test_an_answer_that_is_no_number_is_refused_whatever_the_objectives(problem: Problem) -> None:
    """A share of REVEALED and a severity are numbers all the same: no score would show it."""
    quantised = problem.quantised
    assert isinstance(quantised, Linear)
    broken = replace(
        problem,
        quantised=Dazzled("dazzled", quantised.weights, quantised.bias),
        objectives=tuple(one for one in OBJECTIVES if one.name in ("revealed_share", "severity")),
    )
    u = problem.space.neutral() + np.zeros((3, 1))
    assert np.isfinite(broken.evaluate(u).scores).all()
    gain = [param.name for _, param, _ in problem.space.axes].index("gain")
    u[2, gain] = 1.0
    with pytest.raises(
        ValueError, match=r"NaN or infinity for patch \d+ at \[.*1\.0.*what the quantised model"
    ) as told:
        broken.evaluate(u)
    assert str(u[2].round(6).tolist()) in str(told.value)
    with pytest.raises(ValueError, match=r"for patch \d+ under draw \d of all, stress"):
        draw_outcomes(broken, problem.space, problem.patches, draws=4, seed=1, name="all")
    with pytest.raises(ValueError, match=r"for patch \d+ under draw \d of all at some severity"):
        dose_outcomes(broken, problem.space, problem.patches, severities=[0.5], draws=4, seed=1, name="all")


def test_an_answer_that_is_no_number_on_a_source_is_refused(problem: Problem) -> None:
    """A patch on which a model is mute would pass for one on which the two do not agree, and be left out."""
    reference = problem.reference
    assert isinstance(reference, Linear)
    with pytest.raises(ValueError, match=r"for patch \d+ as it is, undistorted; look at what the reference answers"):
        pose(
            Linear("mute", reference.weights * np.nan, reference.bias),
            problem.quantised,
            problem.patches,
            problem.space,
            problem.sensor,
            objectives=problem.objectives,
            limits=problem.limits,
            pool=problem.pool,
            seed=1,
        )

"""Rays, limits along them, and the walk to the boundary, on a pair whose boundaries are known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from diverget import lockstep
from diverget.boundary import MOST_LOOKS, STEEP, _Rays, boundary, lenders, log_odds, moved_along, proposed
from diverget.lockstep import NEVER, Until, eligible
from diverget.objectives import LIMITS, Limit
from diverget.outcome import Evidence, Outcome, judge, taken
from diverget.problem import Bounded, Problem
from diverget.rays import along, random_doses, reach
from diverget.scene import Scene
from tests.conftest import toy_problem
from tests.toys import Linear

STEP = 0.1
"""Weights rounded to this: the two boundaries lie close, and random draws hardly ever fall between them."""

SMOOTH = ("brightness", "offset", "gaussian_blur", "gaussian_noise", "band_shift")


@pytest.fixture(scope="module")
def smooth(scene: Scene, pool: ThreadPoolExecutor) -> Problem:
    problem = toy_problem(scene, pool, patches=80, names=SMOOTH)
    close = Linear("toy, finely rounded", np.round(problem.reference.weights / STEP) * STEP, problem.reference.bias)  # type: ignore[attr-defined]
    return replace(
        problem,
        quantised=close,
        quantised_source=close.predict_proba(problem.patches.source()),
        limits=(Bounded(LIMITS[0], 15.0),),
    )


def walked(problem: Problem, *, budget: int = 120, seed: int = 1, until: Until = Until.REVEALED):
    return lockstep.run(
        problem,
        boundary,
        members=eligible(problem, labelled=False),
        budget=budget,
        rng=np.random.default_rng(seed),
        until=until,
    )


def mildest(trace: lockstep.Trace) -> tuple[np.ndarray, np.ndarray]:
    """The severity (n,) and the point (n, d) of the mildest follow-up of each patch over all kinds, NaN without one."""
    points = np.full((len(trace.members), trace.kinds.u.shape[1]), np.nan)
    for row in np.argsort(-trace.kinds.severity, kind="stable"):
        points[trace.kinds.patches[row]] = trace.kinds.u[row]
    return trace.severity, points


def test_every_row_shown_is_paid_for(smooth: Problem) -> None:
    """One row a patch and round: none is shown after a find of the same round, so all rows count."""
    members = eligible(smooth, labelled=False)
    shown = []

    def look(number: int, asked: lockstep.Asked) -> Evidence:
        assert len(set(asked.patches.tolist())) == len(asked.patches)
        shown.append(asked.price)
        return lockstep.seen_by_models(smooth, members, asked)

    trace = lockstep.run(smooth, boundary, members=members, budget=40, rng=np.random.default_rng(1), look=look)
    assert trace.rows < trace.spent.sum() < 2 * trace.rows and set(np.concatenate(shown)) == {1, 2}


def test_a_ray_starts_at_neutral_keeps_shapes_and_grows_in_severity(smooth: Problem) -> None:
    space = smooth.space
    u = np.random.default_rng(0).random((5, space.dimensions))
    start, middle, end = (along(space, u, np.full(5, t)) for t in (0.0, 0.5, 1.0))
    assert (space.severity(space.decode(start)) == 0).all()
    np.testing.assert_allclose(space.severity(space.decode(middle)), space.severity(space.decode(end)) / 2, rtol=1e-9)
    np.testing.assert_array_equal(end, u)


def test_the_reach_of_a_ray_holds_and_a_little_more_does_not(smooth: Problem) -> None:
    rng = np.random.default_rng(3)
    n = len(smooth.patches)
    u, patches = rng.random((n, smooth.space.dimensions)), np.arange(n)
    dose = reach(smooth, u, patches)

    def within(t: np.ndarray) -> np.ndarray:
        return smooth.measured(smooth.space.decode(along(smooth.space, u, t)), patches).within

    assert within(dose).all() and (dose > 0).all()
    short = dose < 1
    assert short.sum() > n / 4
    beyond = within(np.minimum(1.2 * dose, 1.0))
    assert not beyond[short].any()


@pytest.mark.parametrize("names", [("brightness", "offset"), ("impulse_noise", "gaussian_noise", "brightness")])
@pytest.mark.parametrize(("limit", "bound"), [("psnr", 18.0), ("ssim", 0.9)])
def test_looks_alone_tell_how_far_a_ray_reaches(
    scene: Scene, pool: ThreadPoolExecutor, names: tuple[str, ...], limit: str, bound: float
) -> None:
    """Ends guessed too far are drawn in and ends guessed too near moved on, until they lie where `reach` puts them."""
    bounded = Bounded(next(one for one in LIMITS if one.name == limit), bound)
    problem = replace(toy_problem(scene, pool, patches=40, names=names), limits=(bounded,))
    rows, space = np.arange(40), problem.space
    u = np.random.default_rng(3).random((40, space.dimensions))
    wanted = reach(problem, u, rows)
    short = (wanted > 0) & (wanted < 1)
    assert short.sum() > 10
    for first in (np.ones(40), 0.2 * wanted):
        rays = _Rays.none(40, space.dimensions)
        rays.u[:] = u
        rays.start(rows, np.ones(40), first, np.ones(40), np.zeros(40))
        rays.end[:] = np.where(first < 1, first, 1.0)
        held = np.zeros(40)
        for _ in range(8):
            dose = rays.end.copy()
            evidence = problem.measured(space.decode(along(space, u, dose)), rows)
            out = np.flatnonzero(~evidence.within)
            held = np.where(evidence.within, np.maximum(held, dose), held)
            rays.shorten(out, dose[out], taken(evidence, out), problem)
            on = np.flatnonzero(evidence.within)
            rays.lengthen(on, dose[on], taken(evidence, on), problem)
        ratio = held[short] / wanted[short]
        assert np.median(ratio) > (0.9 if limit == "psnr" else 0.5), np.sort(ratio)


def test_of_several_crossings_one_is_bracketed_by_a_dose_that_holds_and_one_that_does_not() -> None:
    """Log-odds that fall through 0, come back and fall again: which crossing is taken hangs on the first look."""
    n = 60
    rows, odds_at = np.arange(n), np.array([0.0, 0.2, 0.45, 0.7, 1.0])
    shape = np.random.default_rng(1).uniform([2, -4, 0.5, -4, -6], [5, -0.5, 4, -0.5, -1], (n, 5))

    def odds(dose: np.ndarray) -> np.ndarray:
        return np.array([np.interp(one, odds_at, y) for one, y in zip(dose, shape, strict=True)])

    rays = _Rays.none(n, 1)
    first = np.linspace(0.05, 1.0, n)
    rays.start(rows, np.ones(n), first, shape[:, 0], np.zeros(n))
    for _ in range(MOST_LOOKS):
        dose = rays.next_dose(rows)
        assert ((dose >= rays.low) & (dose <= np.minimum(rays.high, 1.0))).all(), "no look leaves the bracket"
        rays.tell(rows, dose, odds(dose), np.full(n, np.nan))
    assert (odds(rays.low) > 0).all() and (odds(rays.high) <= 0).all()
    assert (rays.high - rays.low < 1e-3).all()
    late = rays.low > 0.45
    assert 5 < late.sum() < n - 5, "the early crossing on some rays, the late one on others"
    assert (rays.low[first < 0.05] < 0.2).all()


def test_log_odds_by_hand() -> None:
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    odds, larger = log_odds(p, np.zeros(4, dtype=np.int64))
    np.testing.assert_allclose(odds, [np.log(2), np.log(2 / 7), STEEP, -STEEP], rtol=1e-6)
    np.testing.assert_allclose(larger, [0.6, 0.7, 1.0, 1.0], rtol=1e-6)


def test_it_finds_as_much_as_random_draws_in_far_fewer_queries(smooth: Problem) -> None:
    trace = walked(smooth)
    drawn = lockstep.run(
        smooth, random_doses, members=trace.members, budget=2000, rng=np.random.default_rng(1), until=Until.REVEALED
    )
    ours, theirs = trace.revealed != NEVER, drawn.revealed != NEVER
    assert ours.sum() >= theirs.sum() >= 5
    both = ours & theirs
    assert np.median(trace.revealed[both]) < np.median(drawn.revealed[both]) / 4


def test_what_it_finds_is_revealed_within_the_limits(smooth: Problem) -> None:
    trace = walked(smooth)
    found = np.flatnonzero(trace.revealed != NEVER)
    evidence = smooth.rows(smooth.space.decode(mildest(trace)[1][found]), trace.members[found])
    assert (judge(evidence) == Outcome.REVEALED).all()
    assert (evidence.psnr >= 15).all()
    assert trace.invalid.sum() == 0


def test_staying_on_makes_findings_milder(smooth: Problem) -> None:
    first = walked(smooth)
    on = walked(smooth, until=Until.SPENT)
    before, after = mildest(first)[0], mildest(on)[0]
    both = np.isfinite(before) & np.isfinite(after)
    assert both.sum() >= 5
    assert np.median(after[both]) < 0.7 * np.median(before[both])


def test_a_model_against_itself_has_no_finding(smooth: Problem) -> None:
    same = replace(smooth, quantised=smooth.reference, quantised_source=smooth.reference_source)
    trace = walked(same)
    assert (trace.apart == NEVER).all() and (trace.revealed == NEVER).all()


def test_the_same_seed_gives_the_same_walk(smooth: Problem) -> None:
    one, again = walked(smooth), walked(smooth)
    np.testing.assert_array_equal(one.kinds.u, again.kinds.u)
    np.testing.assert_array_equal(one.revealed, again.revealed)


def test_a_space_of_jumps_alone_is_walked_too(scene: Scene, pool: ThreadPoolExecutor) -> None:
    problem = toy_problem(scene, pool, patches=30, names=("impulse_noise", "radiometric_quantisation"))
    trace = walked(problem, budget=40, until=Until.SPENT)
    assert (trace.spent >= 39).all()  # a last query is left where only the reference was asked


def test_rays_of_jumps_reach_their_limit_too(scene: Scene, pool: ThreadPoolExecutor) -> None:
    """A share of hit values moves PSNR by 10 dB a factor of ten, not 20: the guess must not fall short for ever."""
    problem = toy_problem(scene, pool, patches=60, names=("impulse_noise", "stripes", "brightness", "gaussian_noise"))
    problem = replace(problem, limits=(Bounded(LIMITS[0], 20.0),))
    u = np.random.default_rng(3).random((60, problem.space.dimensions))
    dose = reach(problem, u, np.arange(60))
    assert (dose > 0).mean() > 0.95
    assert problem.measured(problem.space.decode(along(problem.space, u, dose)), np.arange(60)).within.all()


def test_a_limit_on_the_severity_is_met_exactly(smooth: Problem) -> None:
    severity = next(limit for limit in LIMITS if limit.name == "severity")
    limited = replace(smooth, limits=(Bounded(severity, 0.02),))
    n = len(smooth.patches)
    u = np.random.default_rng(3).random((n, smooth.space.dimensions))
    dose = reach(limited, u, np.arange(n))
    reached = smooth.space.severity(smooth.space.decode(along(smooth.space, u, dose)))
    np.testing.assert_allclose(reached, 0.02, rtol=1e-6)


@pytest.mark.parametrize("names", [("brightness", "gaussian_blur"), ("radiometric_quantisation",)])
def test_random_doses_spend_no_query_on_the_source_itself(
    scene: Scene, pool: ThreadPoolExecutor, names: tuple[str, ...]
) -> None:
    """A whole strength comes to nothing at small doses; such a follow-up is not shown."""
    problem = toy_problem(scene, pool, patches=30, names=names)
    members = eligible(problem)
    severities = []

    def look(number: int, asked: lockstep.Asked):
        evidence = lockstep.seen_by_models(problem, members, asked)
        severities.append(evidence.severity)
        return evidence

    trace = lockstep.run(
        problem, random_doses, members=members, budget=40, rng=np.random.default_rng(1), until=Until.SPENT, look=look
    )
    assert (trace.spent == 40).all() and np.concatenate(severities).min() > 0


def test_random_doses_give_up_where_no_ray_reaches_anything(smooth: Problem) -> None:
    closed = replace(smooth, limits=(Bounded(LIMITS[3], 0.0),))
    trace = lockstep.run(
        closed, random_doses, members=eligible(smooth), budget=20, rng=np.random.default_rng(1), until=Until.SPENT
    )
    assert (trace.spent == 0).all()


def test_only_patches_of_the_class_that_have_a_finding_lend() -> None:
    classes = np.array([0, 1, 0, 1, 2, 0])
    found = np.array([True, False, True, True, False, False])
    new = np.repeat(np.arange(6), 200)
    lender = lenders(new, classes, found, np.random.default_rng(0), share=0.4)
    others = lender != new
    assert found[lender[others]].all()
    np.testing.assert_array_equal(classes[lender], classes[new])
    assert set(lender[new == 5]) == {0, 2, 5} and set(lender[new == 4]) == {4}


def test_rays_leave_relations_that_jump_alone(scene: Scene, pool: ThreadPoolExecutor) -> None:
    problem = toy_problem(scene, pool, patches=10, names=("brightness", "impulse_noise", "stripes"))
    named = [param.name for _, param, _ in problem.space.axes]
    moved = moved_along(problem.space)
    assert [name for name, used in zip(named, moved, strict=True) if used] == ["gain"]
    best = np.full((500, problem.space.dimensions), 0.9)
    ends, _ = proposed(problem, best, np.ones(500, dtype=bool), np.random.default_rng(0))
    strengths = problem.space.severity(problem.space.decode(ends))
    assert (strengths > 0).all() and (ends[:, ~moved] == problem.space.neutral()[~moved]).all()
    jumps = toy_problem(scene, pool, patches=10, names=("stripes",))
    assert moved_along(jumps.space).sum() == len(jumps.space.strength_columns())


def test_where_nothing_came_for_long_a_disagreement_of_either_order_is_taken(
    smooth: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the quantised model favours a class, the reference leaves that class first on every ray."""
    classes = smooth.reference_source.argmax(axis=1)
    found = {100: 0, np.inf: 0}
    for favoured in np.unique(classes):
        bias = smooth.reference.bias + 0.0015 * (np.arange(smooth.reference.classes) == favoured)  # type: ignore[attr-defined]
        partial = replace(smooth.reference, name="partial", bias=bias)  # type: ignore[type-var]
        problem = replace(smooth, quantised=partial, quantised_source=partial.predict_proba(smooth.patches.source()))
        for late in found:
            monkeypatch.setattr("diverget.boundary.LATE", late)
            trace = walked(problem, budget=200)
            found[late] += (trace.apart[classes[trace.members] == favoured] != NEVER).sum()
    assert found[100] > 2 * found[np.inf], found


def test_what_the_quantised_model_leaves_where_the_reference_stays_is_found(smooth: Problem) -> None:
    """The reference is sure of one class everywhere, so its log-odds tell nothing of the other's boundary."""
    quantised = smooth.reference
    classes = quantised.classes
    sure = Linear("sure", np.zeros_like(quantised.weights), np.where(np.arange(classes) == 0, 5.0, 0.0))  # type: ignore[attr-defined]
    problem = replace(
        smooth,
        reference=sure,
        reference_source=sure.predict_proba(smooth.patches.source()),
        quantised=quantised,
        quantised_source=smooth.reference_source,
    )
    traces = [walked(problem, budget=40, seed=seed) for seed in range(4)]
    assert len(traces[0].members) >= 10
    assert np.mean([(trace.revealed != NEVER).mean() for trace in traces]) > 0.5


def _outside_the_island(evidence: Evidence) -> np.ndarray:
    """1 outside the severities from 0.05 to 0.3, 0 inside."""
    return 1.0 - ((evidence.severity > 0.05) & (evidence.severity < 0.3))


def test_a_ray_that_leaves_the_limits_and_comes_back_is_given_up(scene: Scene, pool: ThreadPoolExecutor) -> None:
    problem = replace(
        toy_problem(scene, pool, patches=12, names=("brightness", "offset")),
        limits=(Bounded(Limit(_outside_the_island, True), 1.0),),
    )
    members, refused = eligible(problem, labelled=False), dict[tuple[int, bytes], int]()

    def look(number: int, asked: lockstep.Asked) -> Evidence:
        seen = lockstep.seen_by_models(problem, members, asked)
        assert asked.u is not None
        for row in np.flatnonzero(~seen.shown):
            point = int(asked.patches[row]), asked.u[row].tobytes()
            refused[point] = refused.get(point, 0) + 1
        return seen

    trace = lockstep.run(
        problem,
        boundary,
        members=members,
        budget=40,
        rng=np.random.default_rng(1),
        until=Until.SPENT,
        look=look,
    )
    assert refused and max(refused.values()) == 1
    assert (trace.spent >= 39).all()

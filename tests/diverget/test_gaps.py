"""The boundary gap on pairs whose boundaries are known: thresholds on the brightness of a patch."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest

from diverget.gaps import HIGH, LOW, BoundaryGaps, directions, measure
from diverget.lockstep import eligible
from diverget.objectives import LIMITS, Limit
from diverget.outcome import Evidence, Outcome, judge
from diverget.patches import cut
from diverget.problem import Bounded, Problem, pose
from diverget.rays import along
from diverget.scene import Scene
from diverget.space import Space
from relations import ALL, get
from tests.toys import IDENTITY, linear_pair

GRID, HALVINGS = 12, 10
CELL = 1 / GRID


@dataclass(frozen=True)
class Edges:
    """Two classes that take turns: the class is the parity of how many of the `edges` lie below the patch's mean."""

    name: str
    edges: tuple[float, ...]
    output_step: float = 1e-4
    preprocessing = IDENTITY
    classes = 2
    input_shape = (5, 5, 12)

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.edges).encode()).hexdigest()

    def infer(self, z: np.ndarray) -> np.ndarray:
        means = z.mean(axis=(1, 2, 3), dtype=np.float64)
        odd = (means[:, None] > np.array(self.edges)).sum(axis=1) % 2
        return np.where(odd[:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return self.infer(x)

    def fresh(self) -> Edges:
        return self


@dataclass(frozen=True)
class Unsure(Edges):
    """The same, but at a tie wherever the mean lies within `wide` above its first edge."""

    wide: float = 0.0

    def infer(self, z: np.ndarray) -> np.ndarray:
        means = z.mean(axis=(1, 2, 3), dtype=np.float64)
        tied = (means > self.edges[0]) & (means <= self.edges[0] + self.wide)
        return np.where(tied[:, None], np.float32(0.5), Edges.infer(self, z))


def posed(
    scene: Scene,
    pool: ThreadPoolExecutor,
    relation: str,
    reference: Edges,
    quantised: Edges,
    *,
    tier: str = "stress",
    narrowed: dict[str, tuple[float, float]] | None = None,
    limits: tuple[Bounded, ...] = (),
    wide: bool = True,
) -> Problem:
    """30 patches of a scene of means near 0.5; with `wide`, in a sensor so wide that nothing clips."""
    space = Space.of([get(relation)], tier=tier, narrowed={relation: narrowed or {}})
    ids = np.random.default_rng(2).choice(scene.valid.size, size=30, replace=False)
    sensor = scene.sensor()
    return pose(
        reference,
        quantised,
        cut(scene, ids, size=5, margin=sum(space.margins((5, 5))), blocks=ids // 100),
        space,
        replace(sensor, low=-9.0, high=9.0) if wide else sensor,
        objectives=(),
        limits=limits,
        pool=pool,
        seed=3,
    )


def gaps(problem: Problem, *, members: np.ndarray | None = None) -> BoundaryGaps:
    return measure(
        problem,
        members=eligible(problem, labelled=False) if members is None else members,
        rng=np.random.default_rng(0),
        grid=GRID,
        halvings=HALVINGS,
    )


def means_of(problem: Problem, patches: np.ndarray) -> np.ndarray:
    return problem.patches.source(patches).mean(axis=(1, 2, 3), dtype=np.float64)


def test_both_crossings_are_where_the_thresholds_are(scene: Scene, pool: ThreadPoolExecutor) -> None:
    """Under x · (1 + gain), gain = ± t/2, the mean m reaches the threshold h at t = 2 |h / m − 1|."""
    problem = posed(scene, pool, "brightness", Edges("float", (0.62,)), Edges("coarse", (0.60,)))
    found = gaps(problem)
    up, m = found.directions == HIGH, means_of(problem, found.patches)
    assert up.sum() == (~up).sum() == len(eligible(problem, labelled=False)) > 20
    for dose, value, h in (
        (found.reference, found.value_reference, 0.62),
        (found.quantised, found.value_quantised, 0.60),
    ):
        expected = np.where(up, 1, -1) * 2 * (h / m - 1)
        reached = (expected > 0) & (expected <= 1)
        np.testing.assert_array_equal(np.isfinite(dose), reached)
        late = (dose - expected)[reached]
        assert reached.sum() > 15 and (late > -1e-6).all() and (late <= CELL / 2**HALVINGS + 1e-6).all()
        np.testing.assert_allclose(value[reached], (np.where(up, 1, -1) * dose / 2)[reached], rtol=1e-9)
    both = np.isfinite(found.gap)
    gap = (np.where(up, 1, -1) * 2 * (0.62 - 0.60) / m)[both]
    np.testing.assert_allclose(found.gap[both], gap, atol=CELL / 2**HALVINGS + 1e-6)
    np.testing.assert_allclose(found.gap_severity[both], gap, atol=CELL / 2**HALVINGS + 1e-6)
    np.testing.assert_allclose(found.gap_value[both], gap / 2, atol=CELL / 2**HALVINGS + 1e-6)
    assert (found.gap[both & up] > 0).all()
    assert (found.crossings_reference == np.isfinite(found.reference)).all()
    assert (found.param, found.unit, found.jumps) == ("gain", "relative change of the signal", False)
    assert (found.end == 1).all()


def test_between_the_two_doses_a_patch_is_revealed(scene: Scene, pool: ThreadPoolExecutor) -> None:
    problem = posed(scene, pool, "brightness", Edges("float", (0.62,)), Edges("coarse", (0.60,)))
    found = gaps(problem)
    rows = np.flatnonzero(found.gap > 0)
    assert len(rows) > 10 and (found.directions[rows] == HIGH).all()
    u = np.ones((len(rows), 1))
    for share in (0.0, 0.5, 0.9):
        dose = found.quantised[rows] + share * found.gap[rows]
        evidence = problem.rows(problem.space.decode(along(problem.space, u, dose)), found.patches[rows])
        assert (judge(evidence) == Outcome.REVEALED).all()


def test_of_several_crossings_the_first_counts(scene: Scene, pool: ThreadPoolExecutor) -> None:
    """Upwards the reference leaves at 0.62, comes back at 0.68 and leaves again at 0.74."""
    problem = posed(scene, pool, "brightness", Edges("float", (0.62, 0.68, 0.74)), Edges("coarse", (0.70,)))
    m = means_of(problem, np.arange(len(problem.patches)))
    found = gaps(problem, members=np.flatnonzero((m > 0.45) & (m < 0.6)))
    up = found.directions == HIGH
    np.testing.assert_allclose(
        found.reference[up], 2 * (0.62 / means_of(problem, found.patches[up]) - 1), atol=CELL / 2**HALVINGS + 1e-6
    )
    # 1.5 m tells how many of the three edges lie within the ray.
    edges = (1.5 * means_of(problem, found.patches[up])[:, None] > (0.62, 0.68, 0.74)).sum(axis=1)
    np.testing.assert_array_equal(found.crossings_reference[up], edges)
    assert (edges == 3).sum() > 5
    assert (found.crossings_quantised[up] <= 1).all() and np.isnan(found.reference[~up]).all()


def test_a_model_against_itself_has_no_gap(scene: Scene, pool: ThreadPoolExecutor) -> None:
    toy, _ = linear_pair(scene)
    for relation in ("brightness", "white_noise", "stripes", "band_loss", "translation", "haze"):
        found = gaps(posed(scene, pool, relation, toy, toy, wide=False))
        np.testing.assert_array_equal(found.reference, found.quantised)
        both = np.isfinite(found.reference)
        assert both.any()
        assert (found.gap[both] == 0).all() and (found.gap_value[both] == 0).all()
        np.testing.assert_array_equal(found.crossings_reference, found.crossings_quantised)


def test_a_ray_ends_at_the_limits_and_what_lies_beyond_is_censored(scene: Scene, pool: ThreadPoolExecutor) -> None:
    limit = Bounded(LIMITS[0], 45.0)
    problem = posed(scene, pool, "offset", Edges("float", (0.62,)), Edges("coarse", (0.57,)), limits=(limit,))
    found = gaps(problem)
    # The level t · 0.3 up, t · 0.1 down, of a range of 18: a PSNR of −20 lg level.
    up = found.directions == HIGH
    ends = 20 * np.log10(1 / (found.end * np.where(up, 0.3, 0.1)))
    assert (ends >= 45 - 1e-6).all() and (ends[up] < 45.35).all()
    level = 18 * 0.3 * found.end
    m = means_of(problem, found.patches)
    np.testing.assert_array_equal(np.isfinite(found.reference)[up], ((m < 0.62) & (m + level >= 0.62))[up])
    assert 3 < np.isfinite(found.reference[up]).sum() < up.sum() - 3
    assert (np.isfinite(found.quantised) & np.isnan(found.reference))[up].any()
    np.testing.assert_allclose(found.severity_end[up], found.end[up], rtol=1e-9)
    np.testing.assert_allclose(found.severity_end[~up], found.end[~up] / 3, rtol=1e-9)
    assert np.isnan(found.gap[np.isnan(found.reference)]).all()


def test_where_no_dose_is_within_the_limits_nothing_is_asked(scene: Scene, pool: ThreadPoolExecutor) -> None:
    severity = next(limit for limit in LIMITS if limit.name == "severity")
    pair = Edges("float", (0.62,)), Edges("coarse", (0.57,))
    found = gaps(posed(scene, pool, "brightness", *pair, limits=(Bounded(severity, 0.0),)))
    assert (found.end == 0).all() and len(found.end) > 40
    assert (found.queries == 0).all() and np.isnan(found.reference).all() and np.isnan(found.quantised).all()
    assert (found.severity_end == 0).all() and (found.crossings_reference == 0).all()


def test_a_look_outside_the_limits_ends_the_ray(scene: Scene, pool: ThreadPoolExecutor) -> None:
    """Outside from a severity of 0.4 to 0.9, inside again at the end: the ray ends at the look before, 4 of 12."""

    def beyond(evidence: Evidence) -> np.ndarray:
        return ((evidence.severity > 0.4) & (evidence.severity < 0.9)).astype(np.float64)

    limit = Bounded(Limit(beyond, at_least=False), 0.5)
    problem = posed(scene, pool, "brightness", Edges("float", (0.56,)), Edges("coarse", (0.55,)), limits=(limit,))
    found = gaps(problem)
    np.testing.assert_allclose(found.end, 4 / 12)
    m, up = means_of(problem, found.patches), found.directions == HIGH
    np.testing.assert_array_equal(np.isfinite(found.reference)[up], ((m < 0.56) & (m * (1 + 2 / 12) > 0.56))[up])
    assert (m[up] * 1.5 > 0.56).sum() > np.isfinite(found.reference[up]).sum() > 3


def test_a_model_leaves_in_the_middle_of_its_tie(scene: Scene, pool: ThreadPoolExecutor) -> None:
    """Tied from 0.60 to 0.65, where it leaves; a tie at which it does not leave, at 0.5, moves nothing."""
    fine = CELL / 2**HALVINGS + 1e-6
    problem = posed(scene, pool, "brightness", Edges("float", (0.62,)), Unsure("tied", (0.60,), wide=0.05))
    found = gaps(problem)
    both = np.isfinite(found.gap) & (found.directions == HIGH)
    m = means_of(problem, found.patches)[both]
    np.testing.assert_allclose(found.quantised[both], 2 * (0.625 / m - 1), atol=fine)
    np.testing.assert_allclose(found.tied_quantised[both], 2 * (0.65 - 0.60) / m, atol=fine)
    assert both.sum() > 10 and (found.tied_reference[both] == 0).all()
    assert (found.crossings_quantised[both] == 1).all()
    earlier = replace(problem, quantised=Unsure("tied early", (0.56, 0.5600001, 0.62), wide=0.03))
    m = means_of(problem, np.arange(len(problem.patches)))
    members = np.flatnonzero(m < 0.55)
    found = gaps(earlier, members=members)
    both = np.isfinite(found.reference)
    assert (both & (found.directions == HIGH)).sum() > 10
    np.testing.assert_allclose(found.gap[both], 0, atol=1e-9)


def test_queries_are_two_a_look_and_a_look_tells_of_both(scene: Scene, pool: ThreadPoolExecutor) -> None:
    same = gaps(posed(scene, pool, "brightness", Edges("float", (0.62,)), Edges("twin", (0.62,))))
    crossed = np.isfinite(same.reference)
    assert (same.queries[crossed] == 2 * (GRID + HALVINGS)).all() and (same.queries[~crossed] == 2 * GRID).all()
    other = gaps(posed(scene, pool, "brightness", Edges("float", (0.64,)), Edges("coarse", (0.52,))))
    apart = np.floor(other.reference / CELL) != np.floor(other.quantised / CELL)
    both = np.isfinite(other.gap)
    assert (both & apart).any()
    assert (other.queries[both & apart] == 2 * (GRID + 2 * HALVINGS)).all()


def test_whole_values_are_told_as_jumps_with_the_value_that_leaves(scene: Scene, pool: ThreadPoolExecutor) -> None:
    finely = Edges("float", tuple(np.arange(0.3, 0.7, 0.004))), Edges("coarse", tuple(np.arange(0.3, 0.7, 0.008)))
    found = gaps(posed(scene, pool, "median_blur", *finely, wide=False))
    assert found.jumps and set(found.directions) == {HIGH}
    left = np.isfinite(found.reference)
    assert left.any() and set(found.value_reference[left]) <= {1.0, 2.0}
    np.testing.assert_array_equal(found.severity_reference[left], found.value_reference[left] / 2)
    # Cells of a third, of which neutral is the middle of the first: the jump to 1 stands at t = 1/5, that to 2 at 3/5.
    jumps = np.where(found.value_reference[left] == 1, 0.2, 0.6)
    assert ((found.reference[left] >= jumps - 1e-9) & (found.reference[left] <= jumps + CELL / 2**HALVINGS)).all()


def test_the_shapes_of_a_patch_do_not_hang_on_who_else_takes_part(scene: Scene, pool: ThreadPoolExecutor) -> None:
    problem = posed(scene, pool, "haze", *linear_pair(scene), wide=False)  # type: ignore[arg-type]
    members = eligible(problem, labelled=False)
    whole, part = gaps(problem), gaps(problem, members=members[1::2])
    mine = np.isin(whole.patches, members[1::2])
    assert np.isfinite(whole.reference[mine]).any()
    np.testing.assert_array_equal(whole.reference[mine], part.reference)
    np.testing.assert_array_equal(whole.quantised[mine], part.quantised)


def test_directions_by_hand() -> None:
    def ends(relation: str, **bounds: tuple[float, float]) -> dict[str, list[float]]:
        space = Space.of([get(relation)], tier="stress", narrowed={relation: bounds})
        return {name: end.tolist() for name, end in directions(space).items()}

    assert ends("brightness") == {HIGH: [1.0], LOW: [0.0]}
    assert ends("brightness", gain=(-0.1, 0.0)) == {LOW: [0.0]}
    assert ends("brightness", gain=(0.0, 0.0)) == {}
    assert ends("gaussian_blur") == {HIGH: [1.0]}
    assert list(ends("radiometric_quantisation")) == [LOW]
    # sigma has one side, mean has two.
    assert ends("multiplicative_noise") == {HIGH: [1.0, 1.0], LOW: [1.0, 0.0]}


def test_a_relation_without_room_has_no_rays(scene: Scene, pool: ThreadPoolExecutor) -> None:
    pair = Edges("float", (0.62,)), Edges("coarse", (0.6,))
    found = gaps(posed(scene, pool, "brightness", *pair, narrowed={"gain": (0.0, 0.0)}))
    assert len(found.patches) == len(found.gap) == 0


def test_every_relation_is_measured(scene: Scene, pool: ThreadPoolExecutor) -> None:
    toy, rounded = linear_pair(scene)
    for name in ALL:
        problem = posed(scene, pool, name, toy, rounded, limits=(Bounded(LIMITS[0], 15.0),), wide=False)  # type: ignore[arg-type]
        found = gaps(problem, members=np.arange(4))
        assert len(found.patches) in (4, 8) and found.unit
        both = np.isfinite(found.gap)
        assert (found.reference[both] <= found.end[both]).all()


def test_an_answer_that_is_no_number_is_refused(scene: Scene, pool: ThreadPoolExecutor) -> None:
    @dataclass(frozen=True)
    class Broken(Edges):
        def infer(self, z: np.ndarray) -> np.ndarray:
            p = Edges.infer(self, z)
            return np.where(z.mean(axis=(1, 2, 3))[:, None] > 0.75, np.float32("nan"), p)

    problem = posed(scene, pool, "brightness", Edges("float", (0.62,)), Broken("broken", (0.6,)))
    with pytest.raises(ValueError, match=r"got NaN or infinity for patch \d+ at dose .* of brightness"):
        gaps(problem)

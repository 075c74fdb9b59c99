"""What holds for every relation; adding one adds its tests."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import relations
from relations import ALL, FAMILIES, TIERS, Param, Relation, Sensor, Step, distort
from relations.core import layers_of
from relations.core import relation as declare
from tests.relations.conftest import HIGH, LOW, Cut, applied, cut, distorted, dose, each, wavelengths

SIZES = [(9, 7, 7), (1, 1, 204), (7, 4, 1), (1, 1, 1), (28, 28, 1), (6, 5, 3), (3, 5, 31), (25, 25, 103), (2, 11, 204)]

every_relation = pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
free_of_wavelengths = pytest.mark.parametrize(
    "relation", [pytest.param(r, id=r.name) for r in ALL.values() if not r.needs_wavelengths]
)
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def far_ends(relation: Relation) -> list[tuple[str, float, float]]:
    """(param, neutral, end) for each end of the stress bounds of each strength that differs from neutral.

    An angle comes round again: it moves a patch farther as far as a right angle.
    """
    return [
        (param.name, param.neutral, float(np.clip(end, -90, 90)) if param.unit.startswith("degrees") else end)
        for param in relation.params
        if param.neutral is not None
        for end in param.stress
        if end != param.neutral
    ]


def middle(param: Param) -> float:
    """A value in the midst of the stress bounds, halfway to the farther end where it would be the neutral one."""
    value = float(param.decode(np.array(0.5), param.stress))
    return float(param.decode(np.array(0.75), param.stress)) if value == param.neutral else value


def beyond(patches: Cut) -> Cut:
    """The same patches with values below and above the sensor's range, and below zero, among those inside."""
    return replace(patches, x=2 * patches.x - np.float32(HIGH / 2))


def without_wavelengths(patches: Cut) -> Cut:
    return replace(patches, sensor=replace(patches.sensor, wavelengths=None))


@every_size
@every_relation
def test_neutral_strengths_change_no_bit(relation: Relation, size: tuple[int, int, int]) -> None:
    patches = cut(relation, rows=5, size=size)
    values = dose(relation, rows=5, seed=3, neutral=True)
    assert applied(relation, patches, values).tobytes() == patches.x.tobytes()
    assert distorted(relation, patches, values).tobytes() == patches.x.tobytes()
    outside = beyond(patches)
    assert applied(relation, outside, values).tobytes() == outside.x.tobytes()


@every_relation
def test_a_neutral_row_among_moved_ones_changes_no_bit(relation: Relation) -> None:
    patches = cut(relation, rows=6, size=(9, 7, 31))
    moved, still = dose(relation, rows=6), dose(relation, rows=6, neutral=True)
    values = {name: np.where(np.arange(6) == 2, still[name], moved[name]) for name in moved}
    follow_ups = distorted(relation, patches, values)
    assert follow_ups[2].tobytes() == patches.x[2].tobytes()
    assert not np.array_equal(follow_ups, patches.x)


@every_size
@every_relation
def test_a_row_does_not_depend_on_its_batch(relation: Relation, size: tuple[int, int, int]) -> None:
    rows = 12
    patches, values = beyond(cut(relation, rows=rows, size=size)), dose(relation, rows=rows)
    together = applied(relation, patches, values)
    rng = np.random.default_rng(11)
    batches = [np.array([row]) for row in range(rows)]
    batches += [
        np.arange(rows)[::-1],
        rng.permutation(rows),
        rng.integers(0, rows, 5),
        rng.integers(0, rows, 40),
    ]
    for batch in batches:
        apart = applied(relation, patches.rows(batch), {name: v[batch] for name, v in values.items()})
        assert apart.tobytes() == together[batch].tobytes(), batch


@pytest.mark.parametrize("size", [(9, 7, 31), (5, 6, 3), (3, 5, 1)], ids=str)
@free_of_wavelengths
def test_it_does_without_wavelengths(relation: Relation, size: tuple[int, int, int]) -> None:
    patches, values = without_wavelengths(cut(relation, rows=6, size=size)), dose(relation, rows=6)
    y = applied(relation, patches, values)
    assert (y.shape, y.dtype) == (patches.x.shape, np.float32)
    assert np.isfinite(y).all()
    for batch in (np.array([4]), np.arange(6)[::-1]):
        apart = applied(relation, patches.rows(batch), {name: v[batch] for name, v in values.items()})
        assert apart.tobytes() == y[batch].tobytes()
    neutral = dose(relation, rows=6, seed=3, neutral=True)
    assert applied(relation, patches, neutral).tobytes() == patches.x.tobytes()


@every_relation
def test_the_layout_in_memory_does_not_matter(relation: Relation) -> None:
    patches, values = cut(relation, rows=4, size=(9, 7, 31)), dose(relation, rows=4)
    padded = np.pad(patches.x, ((0, 0), (2, 2), (1, 1), (0, 3)))[:, 2:-2, 1:-1, :-3]
    turned = np.ascontiguousarray(patches.x.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    expected = applied(relation, patches, values).tobytes()
    for view in (padded, turned):
        assert not view.flags.c_contiguous
        assert applied(relation, Cut(view, patches.field, patches.sensor), values).tobytes() == expected


@every_size
@every_relation
def test_shape_dtype_and_finiteness_are_kept_and_the_input_is_untouched(
    relation: Relation, size: tuple[int, int, int]
) -> None:
    patches, values = cut(relation, rows=4, size=size), dose(relation, rows=4)
    before = patches.x.copy()
    drawn = [layer.copy() for layer in layers_of(patches.field)]
    patches.x.flags.writeable = False
    y = applied(relation, patches, values)
    assert (y.shape, y.dtype) == (before.shape, np.float32)
    assert np.isfinite(y).all()
    assert not np.shares_memory(y, patches.x)
    assert np.array_equal(patches.x, before)
    assert all(np.array_equal(now, then) for now, then in zip(layers_of(patches.field), drawn, strict=True))


@every_relation
def test_no_patches_give_no_follow_ups(relation: Relation) -> None:
    none = cut(relation, rows=3, size=(9, 7, 31)).rows(np.zeros(0, dtype=int))
    assert applied(relation, none, dose(relation, rows=0)).shape == (0, 9, 7, 31)


@every_relation
def test_the_seed_decides_and_only_where_something_is_drawn(relation: Relation) -> None:
    shape = (12, 10, 31)
    if relation.draw is None:
        assert cut(relation, rows=2, size=shape).field is None
        return
    draws = (layers_of(relation.draw(np.random.default_rng(seed), shape)) for seed in (5, 5, 6))
    for first, again, other in zip(*draws, strict=True):
        assert first.tobytes() == again.tobytes()
        assert not np.array_equal(first, other)
        assert first.dtype == np.float32
        assert np.broadcast_shapes(first.shape, shape) == shape


@every_relation
def test_another_field_gives_another_follow_up(relation: Relation) -> None:
    patches, values = cut(relation, rows=8, size=(9, 7, 31)), dose(relation, rows=8)
    if relation.draw is None:
        return
    other = relation.draw(np.random.default_rng(99), (9, 7, 31))
    elsewhere = Cut(patches.x, each(other, lambda layer: np.broadcast_to(layer, (8, *layer.shape))), patches.sensor)
    assert not np.array_equal(applied(relation, patches, values), applied(relation, elsewhere, values))


@pytest.mark.parametrize(
    ("relation", "strength", "neutral", "end"),
    [pytest.param(r, *ends, id=f"{r.name}-{ends[0]}-{ends[2]}") for r in ALL.values() for ends in far_ends(r)],
)
def test_a_higher_dose_moves_a_patch_farther(relation: Relation, strength: str, neutral: float, end: float) -> None:
    rows = 24
    patches = cut(relation, rows=rows, size=(9, 9, 103))
    values = {param.name: np.full(rows, middle(param)) for param in relation.params}
    start = applied(relation, patches, {**values, strength: np.full(rows, neutral)})
    far = [0.0]
    for share in (0.1, 0.25, 0.5, 0.75, 1.0):
        level = np.full(rows, neutral + share * (end - neutral))
        far.append(float(np.abs(applied(relation, patches, {**values, strength: level}) - start).mean()))
    assert far == sorted(far)
    assert far[1] > 0


@every_relation
def test_bounds_units_and_source_are_declared(relation: Relation) -> None:
    assert relation.family in FAMILIES
    assert relation.source.strip()
    assert any(param.neutral is not None for param in relation.params)
    for param in relation.params:
        assert param.unit.strip()
        for tier in TIERS:
            low, high = getattr(param, tier)
            assert low < high or (param.integer and low == high)
            assert np.array_equal(param.decode(np.array([0.0, 1.0]), (low, high)), [low, high])
            if param.neutral is not None:
                assert low <= param.neutral <= high
                assert param.decode(param.encode(param.neutral, (low, high)), (low, high)) == param.neutral


@every_relation
def test_the_docstring_says_what_comes_out(relation: Relation) -> None:
    doc = relation.apply.__doc__ or ""
    assert doc.startswith("The patch ")
    assert relation.summary.endswith(".")
    for word in ("x'", "Args:", "Source:", *(f"{param.name}:" for param in relation.params)):
        assert word in doc, word


@every_relation
def test_the_margin_keeps_the_edge_of_the_array_out_of_sight(relation: Relation) -> None:
    rows, height, width = 4, 7, 5
    margin = relation.margin_for(relation.bounds("stress"), (height, width))
    wide = cut(relation, rows=rows, size=(height + 2 * margin + 6, width + 2 * margin + 6, 7))
    values = dose(relation, rows=rows)
    inner = slice(3 + margin, -3 - margin)
    near = slice(3, -3)
    whole = applied(relation, wide, values)[:, inner, inner]
    field = each(
        wide.field,
        lambda f: f[:, near if f.shape[1] > 1 else slice(None), near if f.shape[2] > 1 else slice(None)],
    )
    narrow = applied(relation, Cut(wide.x[:, near, near], field, wide.sensor), values)
    kept = narrow[:, margin:-margin, margin:-margin] if margin else narrow
    np.testing.assert_allclose(kept, whole, rtol=1e-5)
    if margin:
        trimmed = applied(relation, Cut(wide.x[:, near, near], field, wide.sensor), values, trim=margin)
        np.testing.assert_allclose(trimmed, whole, rtol=1e-5)


@every_relation
def test_no_margin_is_asked_for_when_nothing_happens(relation: Relation) -> None:
    still = {p.name: p.stress if p.neutral is None else (p.neutral, p.neutral) for p in relation.params}
    assert relation.margin_for(still, (9, 7)) == 0


@every_relation
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_shape_value_and_content(relation: Relation, data: st.DataObject) -> None:
    rows, height, width = (data.draw(st.integers(1, 4)) for _ in range(3))
    bands = data.draw(st.integers(1, 9))
    contents = st.floats(LOW, HIGH, width=32)
    x = data.draw(hnp.arrays(np.float32, (rows, height, width, bands), elements=contents))
    values = {
        param.name: np.array([data.draw(st.floats(*param.stress)) for _ in range(rows)]) for param in relation.params
    }
    field = None
    if relation.draw is not None:
        drawn = relation.draw(np.random.default_rng(data.draw(st.integers(0, 99))), (height, width, bands))
        field = each(drawn, lambda layer: np.broadcast_to(layer, (rows, *layer.shape)))
    centres = wavelengths(bands) if relation.needs_wavelengths or data.draw(st.booleans()) else None
    sensor = Sensor(LOW, HIGH, np.full(bands, HIGH / 3, np.float32), centres)
    y = distort(x, [Step(relation, values)], [field], sensor)
    assert (y.shape, y.dtype) == (x.shape, np.float32)
    assert np.isfinite(y).all() and y.min() >= LOW and y.max() <= HIGH
    row = data.draw(st.integers(0, rows - 1))
    alone = distort(
        x[row : row + 1],
        [Step(relation, {name: float(v[row]) for name, v in values.items()})],
        [each(field, lambda layer: layer[row : row + 1])],
        sensor,
    )
    assert alone.tobytes() == y[row : row + 1].tobytes()
    neutral = {p.name: values[p.name] if p.neutral is None else p.neutral for p in relation.params}
    assert distort(x, [Step(relation, neutral)], [field], sensor).tobytes() == x.tobytes()


def test_all_holds_the_families_in_acquisition_order() -> None:
    order = [FAMILIES.index(relation.family) for relation in ALL.values()]
    assert order == sorted(order)


def test_every_decorated_function_is_in_all() -> None:
    """A family file that `__init__` forgets to import would hide its relations."""
    declared = set()
    for path in Path(relations.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                calls = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
                declared |= {node.name for call in calls if isinstance(call, ast.Name) and call.id == "relation"}
    assert declared == set(ALL)


def test_the_contract_catches_a_relation_that_looks_at_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relations.core._FOUND", {})

    @declare(params=ALL["brightness"].params, source="made up")
    def leaky(x, field, sensor, *, gain):
        """The patch moved towards the mean of its batch."""
        return x + gain * x.mean()

    from relations.core import _FOUND

    with pytest.raises(AssertionError):
        test_a_row_does_not_depend_on_its_batch(_FOUND["leaky"], (3, 5, 31))


def largest_step(relation: Relation, strength: str, doses: int) -> float:
    """The most that any value of a patch moves from one of `doses` equal doses to the next."""
    patches = cut(relation, rows=1, size=(17, 17, 31))
    values = {param.name: np.full(doses, middle(param)) for param in relation.params}
    param = next(p for p in relation.params if p.name == strength)
    values[strength] = param.decode(np.linspace(0, 1, doses), param.stress)
    swept = applied(relation, patches.rows(np.zeros(doses, dtype=int)), values).astype(np.float64)
    return float(np.abs(np.diff(swept, axis=0)).max())


@pytest.mark.parametrize(
    ("relation", "strength"),
    [
        pytest.param(r, p, id=f"{r.name}-{p.name}")
        for r in ALL.values()
        for p in r.params
        if p.neutral is not None and not p.integer
    ],
)
def test_what_jumps_says_so_and_nothing_else(relation: Relation, strength: Param) -> None:
    coarse, fine = (largest_step(relation, strength.name, doses) for doses in (101, 401))
    assert (fine > 0.5 * coarse) == strength.jumps, (coarse, fine)

"""Params, chains and the errors that name what was expected, what came, where from and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relations import ALL, Param, Sensor, Step, distort, get
from relations.core import relation, switch
from tests.relations.conftest import HIGH, LOW, cut, strongest, wavelengths


def test_a_chain_is_its_steps_one_after_another_and_clipped_once_at_the_end() -> None:
    patches = cut(None, rows=3, size=(9, 7, 31))
    darker, lifted = (
        Step(get("offset"), {"level": -0.1}),
        Step(get("brightness"), {"gain": np.array([0.5, 0.2, 0.0])}),
    )
    found = distort(patches.x, [darker, lifted], [None, None], patches.sensor)
    expected = (patches.x - np.float32(0.1 * (HIGH - LOW))) * np.array([1.5, 1.2, 1.0])[:, None, None, None]
    np.testing.assert_allclose(found, np.clip(expected, LOW, HIGH), rtol=1e-5, atol=1e-3)
    other = distort(patches.x, [lifted, darker], [None, None], patches.sensor)
    assert not np.allclose(found, other, rtol=1e-3)


def test_the_margin_is_used_up_by_its_step() -> None:
    patches = cut(None, rows=2, size=(15, 13, 7))
    blur = Step(get("gaussian_blur"), {"sigma": 0.5})
    found = distort(patches.x, [blur], [None], patches.sensor, margins=[3])
    whole = distort(patches.x, [blur], [None], patches.sensor)
    assert found.shape == (2, 9, 7, 7)
    assert found.tobytes() == whole[:, 3:-3, 3:-3].tobytes()


def test_an_empty_chain_gives_the_source_in_an_array_of_its_own() -> None:
    patches = cut(None, rows=2, size=(9, 7, 3))
    found = distort(patches.x, [], [], patches.sensor)
    assert found.tobytes() == patches.x.tobytes()
    assert not np.shares_memory(found, patches.x)


@given(st.floats(0, 1), st.sampled_from([p for r in ALL.values() for p in r.params]))
def test_decode_stays_inside_and_encode_is_its_inverse(u: float, param: Param) -> None:
    for bounds in (param.in_spec, param.stress):
        value = param.decode(np.array(u), bounds)
        assert bounds[0] <= value <= bounds[1]
        if param.integer:
            assert param.decode(param.encode(value, bounds), bounds) == value == round(float(value))
        elif bounds[0] < bounds[1]:
            assert param.encode(value, bounds) == pytest.approx(u, abs=1e-9)
        assert 0 <= param.strength(value, bounds) <= 1


def test_whole_and_logarithmic_params_decode_to_their_kind() -> None:
    count = Param("count", "lines", in_spec=(0, 2), stress=(0, 4), neutral=0, integer=True)
    assert count.decode(np.linspace(0, 1, 10), (0, 4)).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    ratio = Param("ratio", "times", in_spec=(0.5, 2), stress=(0.1, 10), neutral=1, log=True)
    assert ratio.decode(np.array([0, 0.5, 1]), (0.1, 10)).tolist() == pytest.approx([0.1, 1, 10])
    assert ratio.strength(np.array([0.1, 1, 10]), (0.1, 10)).tolist() == pytest.approx([1, 0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_spec": (1, 0)}, r"low <= high in in_spec of param 'p', got \(1, 0\)"),
        ({"in_spec": (-2, 1)}, r"in_spec inside stress of 'p': \(-2, 1\), \(-1, 1\)"),
        ({"neutral": 3}, r"neutral value of 'p' inside in_spec \(-1, 1\), got 3"),
        ({"log": True}, r"positive bounds of the log param 'p', got \(-1, 1\)"),
        ({"unit": ""}, r"a unit for param 'p'"),
    ],
)
def test_a_param_that_contradicts_itself_is_refused(change: dict, message: str) -> None:
    sound: dict[str, Any] = {"name": "p", "unit": "nm", "in_spec": (-1, 1), "stress": (-1, 1), "neutral": 0}
    Param(**sound)
    with pytest.raises(ValueError, match=message):
        Param(**{**sound, **change})


def test_a_switch_has_a_word_for_each_value() -> None:
    fill = switch("fill", "interpolated", "zero")
    assert [fill.words(value) for value in (0.0, 1.0)] == ["interpolated", "zero"]
    assert fill.unit == "0 interpolated, 1 zero"
    assert get("offset").params[0].words(0.0123456) == "0.0123 share of the sensor's range"
    with pytest.raises(ValueError, match=r"whole bounds \(0, 1\) of the switch 'p'"):
        Param("p", "0 a, 1 b", in_spec=(0, 1), stress=(0, 1), choices=("a", "b"))


def test_an_unknown_relation_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"name of a relation, got 'gausian_blur'; did you mean gaussian_blur"):
        get("gausian_blur")


def test_a_name_is_taken_once_and_both_places_are_told() -> None:
    place = ALL["brightness"].where.replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"relation at {__name__}:\d+; 'brightness' is at {place}"):

        @relation(params=(), source="made up")
        def brightness(x, field, sensor):
            return x


def test_params_and_keywords_must_be_the_same() -> None:
    with pytest.raises(ValueError, match=r"the keywords \['gain'\] of 'dimmer' at .*, got \['depth'\]"):

        @relation(params=ALL["brightness"].params, source="made up")
        def dimmer(x, field, sensor, *, depth):
            return x

    assert "dimmer" not in ALL


def test_patches_of_another_rank_dtype_or_band_count_are_refused() -> None:
    patches = cut(None, rows=2, size=(9, 7, 3))
    with pytest.raises(ValueError, match=r"got shape \(9, 7, 3\), float32; stack"):
        distort(patches.x[0], [], [], patches.sensor)
    with pytest.raises(ValueError, match=r"got shape \(2, 9, 7, 3\), float64; stack"):
        distort(patches.x.astype(np.float64), [], [], patches.sensor)
    with pytest.raises(ValueError, match=r"sensor's 3 bands, got shape \(2, 9, 7, 2\)"):
        distort(patches.x[..., :2], [], [], patches.sensor)


def test_every_step_needs_its_field() -> None:
    patches = cut(None, rows=2, size=(9, 7, 3))
    with pytest.raises(ValueError, match=r"each of 1 steps, got 0"):
        distort(patches.x, [Step(get("brightness"), {"gain": 0.1})], [], patches.sensor)


@pytest.mark.parametrize("values", [{}, {"depth": 0.1}, {"gain": 0.1, "depth": 0.1}])
def test_a_step_needs_the_values_of_its_params(values: dict[str, float]) -> None:
    came = ", ".join(values) or "none"
    with pytest.raises(ValueError, match=rf"values for gain of the relation 'brightness', got {came}; give"):
        Step(get("brightness"), values)


@pytest.mark.parametrize("name", [name for name, r in ALL.items() if r.needs_wavelengths])
def test_missing_wavelengths_are_told_with_what_to_do(name: str) -> None:
    patches = cut(ALL[name], rows=2, size=(9, 7, 103))
    blind = Sensor(LOW, HIGH, patches.sensor.signal)
    step = Step(ALL[name], strongest(ALL[name]))
    distort(patches.x, [step], [patches.field], patches.sensor)
    with pytest.raises(ValueError, match=rf"Relation '{name}' works in nm .* without wavelengths; add `wavelengths:`"):
        distort(patches.x, [step], [patches.field], blind)


@pytest.mark.parametrize("name", [name for name, r in ALL.items() if not r.needs_wavelengths])
def test_other_relations_do_without_wavelengths(name: str) -> None:
    patches = cut(ALL[name], rows=2, size=(9, 7, 103))
    step = Step(ALL[name], strongest(ALL[name]))
    found = distort(patches.x, [step], [patches.field], Sensor(LOW, HIGH, patches.sensor.signal))
    assert not np.array_equal(found, patches.x)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.6, r"brightness.gain \(relative change of the signal\) within the stress bounds \[-0.5, 0.5\], got 0.6"),
        (float("nan"), r"got nan; choose a value inside"),
        (np.array([0.1, -0.7]), r"got -0.7; choose"),
        (np.zeros((2, 1)), r"one number a row for brightness.gain, got float64 of shape \(2, 1\)"),
        ("much", r"a number or one number a row for brightness.gain"),
    ],
)
def test_a_value_that_is_none_of_the_param_is_refused(value: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Step(get("brightness"), {"gain": value})


def test_a_bound_that_float32_rounds_is_still_a_bound() -> None:
    for name in ALL:
        for param in ALL[name].params:
            Step(ALL[name], {**strongest(ALL[name]), param.name: np.float32(param.stress[1])})


def test_patches_that_are_not_finite_are_refused() -> None:
    patches = cut(None, rows=3, size=(9, 7, 3))
    for broken in (np.nan, np.inf, -np.inf):
        x = patches.x.copy()
        x[1, 2, 3, 1] = broken
        with pytest.raises(ValueError, match=r"finite values, got NaN or infinity in row 1 of the patches; mask"):
            distort(x, [], [], patches.sensor)


def test_values_fields_and_margins_must_fit_the_patches() -> None:
    patches = cut(get("stripes"), rows=3, size=(9, 7, 3))
    stripes = Step(get("stripes"), strongest(get("stripes")))
    gains = Step(get("brightness"), {"gain": np.array([0.1, 0.2])})
    with pytest.raises(ValueError, match=r"one for each of 3 patches, got \(2,\); repeat"):
        distort(patches.x, [gains], [None], patches.sensor)
    with pytest.raises(ValueError, match=r"a field of shape \(3, .* for the relation 'stripes', got none; cut"):
        distort(patches.x, [stripes], [None], patches.sensor)
    with pytest.raises(ValueError, match=r"no field for the relation 'brightness', got"):
        distort(patches.x, [Step(get("brightness"), {"gain": 0.1})], [patches.field], patches.sensor)
    with pytest.raises(ValueError, match=r"with 4 pixels of surroundings on each side, got shape \(3, 9, 7, 3\)"):
        blur = Step(get("gaussian_blur"), {"sigma": 1.0})
        distort(patches.x, [blur], [None], patches.sensor, margins=[4])


def test_fields_must_have_the_layers_and_the_shape_that_were_drawn() -> None:
    lines, stripes = get("dead_lines"), get("stripes")
    patches, striped = cut(lines, rows=3, size=(9, 7, 3)), cut(stripes, rows=3, size=(9, 7, 3))
    assert isinstance(patches.field, tuple) and isinstance(striped.field, np.ndarray)
    step, stripe = Step(lines, strongest(lines)), Step(stripes, strongest(stripes))
    distort(patches.x, [step], [patches.field], patches.sensor)
    for wrong in (patches.field[0], patches.field[:1], (*patches.field, patches.field[0])):
        with pytest.raises(ValueError, match=rf"Expected {lines.layers} fields of shape .*'dead_lines', got .*; cut"):
            distort(patches.x, [step], [wrong], patches.sensor)
    for broken in (striped.field[:, :, 1:], striped.field[0], (striped.field,)):
        with pytest.raises(ValueError, match=r"a field of shape \(3, 9 \| 1, 7 \| 1, 3 \| 1\) .*'stripes', got"):
            distort(patches.x, [stripe], [broken], patches.sensor)
    noise = get("gaussian_noise")
    noisy = cut(noise, rows=3, size=(9, 7, 3))
    assert isinstance(noisy.field, np.ndarray)
    noisy.field[2, 4, 4, 1] = np.nan
    with pytest.raises(ValueError, match=r"finite follow-ups, got NaN or infinity in row 2; look at the fields"):
        distort(noisy.x, [Step(noise, {"level": 0.05})], [noisy.field], noisy.sensor)


def test_a_margin_belongs_to_relations_that_need_one() -> None:
    patches = cut(None, rows=2, size=(9, 7, 3))
    blur, gain = Step(get("gaussian_blur"), {"sigma": 0.5}), Step(get("brightness"), {"gain": 0.1})
    with pytest.raises(ValueError, match=r"no margin for the relation 'brightness', got 2; take `margin_for`"):
        distort(patches.x, [gain], [None], patches.sensor, margins=[2])
    with pytest.raises(ValueError, match=r"0 or more pixels for the relation 'gaussian_blur', got -1"):
        distort(patches.x, [blur], [None], patches.sensor, margins=[-1])


def test_what_is_no_array_or_no_relation_is_refused() -> None:
    patches = cut(None, rows=2, size=(9, 7, 3))
    with pytest.raises(ValueError, match=r"float32, got list; stack"):
        distort(patches.x.tolist(), [], [], patches.sensor)
    with pytest.raises(ValueError, match=r"a relation for a step, got 'haze'; look it up"):
        Step("haze", {"depth": 0.1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"name of a relation, got None"):
        get(None)  # type: ignore[arg-type]


def test_a_sensor_takes_lists_and_refuses_what_is_not_finite_or_in_micrometres() -> None:
    sensor = Sensor(0.0, 1.0, [0.1, 0.2], [400, 500])  # type: ignore[arg-type]
    assert sensor.signal.dtype == np.float32 and sensor.wavelengths is not None
    with pytest.raises(ValueError, match=r"in nm, got 0.4 to 2.4, which look like µm; multiply by 1000"):
        Sensor(0.0, 1.0, np.ones(2, np.float32), np.array([0.4, 2.4]))
    with pytest.raises(ValueError, match=r"finite range and signal"):
        Sensor(0.0, 1.0, np.array([0.1, np.nan], np.float32))
    with pytest.raises(ValueError, match=r"finite range and signal, got \(0.0, inf\)"):
        Sensor(0.0, np.inf, np.ones(2, np.float32))


def test_a_sensor_that_contradicts_itself_is_refused() -> None:
    signal = np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"low < high as the sensor's range, got \(1\.0, 1\.0\)"):
        Sensor(1.0, 1.0, signal)
    with pytest.raises(ValueError, match=r"each of the 4 bands of the signal, got 5 from 430\.0"):
        Sensor(0.0, 1.0, signal, wavelengths(5))
    with pytest.raises(ValueError, match=r"ascending positive wavelengths.*; sort the bands"):
        Sensor(0.0, 1.0, signal, wavelengths(4)[::-1])

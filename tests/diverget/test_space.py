from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diverget.space import Space
from relations import ALL, Param, get

EVERY = Space.of(list(ALL.values()), tier="stress")


@given(st.integers(0, 2**32 - 1))
def test_round_trip_gives_the_values_back(seed: int) -> None:
    u = np.random.default_rng(seed).random((7, EVERY.dimensions))
    values = EVERY.decode(u)
    again = EVERY.decode(EVERY.encode(values))
    for slot, other in zip(values, again, strict=True):
        for name in slot:
            np.testing.assert_allclose(other[name], slot[name], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("tier", ["in_spec", "stress"])
def test_the_ends_of_the_cube_are_the_ends_of_the_bounds(tier: str) -> None:
    space = Space.of(list(ALL.values()), tier=tier)
    low, high = space.decode(np.zeros((1, space.dimensions))), space.decode(np.ones((1, space.dimensions)))
    for slot, param, bounds in space.axes:
        assert (low[slot][param.name][0], high[slot][param.name][0]) == bounds


def test_neutral_is_exactly_neutral_and_has_no_severity() -> None:
    values = EVERY.decode(EVERY.neutral()[None])
    assert EVERY.severity(values)[0] == 0
    assert not any(step.active(1)[0] for step in EVERY.chain(values))
    assert EVERY.words(values, 0) == "nothing"


def test_severity_is_one_where_every_strength_is_farthest() -> None:
    space = Space.of([get("gaussian_blur"), get("brightness")], tier="stress")
    far = [max(bounds, key=lambda end, p=param: abs(end - p.neutral)) for _, param, bounds in space.axes]
    values = tuple({p.name: np.array([far[i]])} for i, (_, p, _) in enumerate(space.axes))
    assert space.severity(values)[0] == pytest.approx(1.0)
    half = space.decode((space.encode(values) + space.neutral()) / 2)
    assert space.severity(half)[0] == pytest.approx(0.5)


def test_integers_are_equally_likely_and_come_back_exactly() -> None:
    bits = Param("bits", "bits", in_spec=(10, 14), stress=(4, 14), neutral=14, integer=True)
    decoded = bits.decode(np.linspace(0, 1, 11001), bits.stress)
    assert set(decoded) == set(range(4, 15))
    assert np.ptp(np.unique(decoded, return_counts=True)[1]) <= 2
    np.testing.assert_array_equal(bits.decode(bits.encode(decoded, bits.stress), bits.stress), decoded)


def test_log_params_stay_inside_their_bounds() -> None:
    gain = Param("gain", "times", in_spec=(0.9, 1.1), stress=(0.001, 10.0), neutral=1.0, log=True)
    assert gain.decode(np.array([0.0, 1.0]), gain.stress).tolist() == [0.001, 10.0]
    assert float(gain.decode(gain.encode(1.0, gain.stress), gain.stress)) == 1.0


@pytest.mark.parametrize(
    ("narrowed", "told"),
    [
        ({"sigma": (0.0, 99.0)}, "within the declared stress bounds"),
        ({"sigma": (0.5, 1.0)}, "neutral value 0.0"),
        ({"width": (0.0, 1.0)}, "got 'width'"),
    ],
)
def test_wrong_bounds_are_refused(narrowed: dict[str, tuple[float, float]], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Space.of([get("gaussian_blur")], tier="stress", narrowed={"gaussian_blur": narrowed})


def test_a_relation_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'brightness' 2 times"):
        Space.of([get("brightness"), get("brightness")], tier="stress")


def test_chains_stand_in_acquisition_order() -> None:
    space = Space.of([get("gaussian_noise"), get("gaussian_blur"), get("brightness")], tier="in_spec")
    assert [slot.relation.name for slot in space.slots] == ["gaussian_blur", "brightness", "gaussian_noise"]

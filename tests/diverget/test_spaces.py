from __future__ import annotations

import numpy as np
import pytest

from diverget.space import Space
from diverget.spaces import PSNR_LIMIT, SPACES, NamedSpace
from relations import ALL, FAMILIES, get

BY_NAME = {space.name: space for space in SPACES}
every_space = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


@every_space
def test_it_is_a_space_inside_the_declared_bounds(space: NamedSpace) -> None:
    built = Space.of(space.relations, tier=space.tier, narrowed=space.narrowed)
    assert built.severity(built.decode(built.neutral()[None]))[0] == 0
    assert built.dimensions >= len(space.relations) > 0
    assert space.summary and space.source


def test_everything_holds_everything_and_each_family_its_own() -> None:
    for name in ("in_spec", "stress"):
        assert [r.name for r in BY_NAME[name].relations] == list(ALL)
        assert BY_NAME[name].tier == name
    for family in FAMILIES:
        assert {r.family for r in BY_NAME[family].relations} == {family}
    assert sum(len(BY_NAME[family].relations) for family in FAMILIES) == len(ALL)


def test_the_sister_has_the_published_bounds_and_limit() -> None:
    sister = BY_NAME["diverget_sister"]
    assert sister.limits == {"psnr": PSNR_LIMIT} == {"psnr": 20.0}
    assert sister.narrowed["zoom"]["factor"] == (0.3, 5.0)
    low, high = sister.narrowed["rotation"]["angle"]
    assert high - low == 360
    for name in ("salt_and_pepper", "pixel_noise", "band_noise"):
        assert sister.narrowed[name]["share"] == (0.0, 0.07)
    assert sister.narrowed["band_loss"] == {"share": (0.0, 0.5), "fill": (0, 0)}


def test_dflare_has_seven_mutations() -> None:
    assert len(BY_NAME["dflare"].relations) == 7
    assert BY_NAME["dflare"].limits == {}


def test_the_five_severities_lie_in_the_space_and_grow() -> None:
    space = BY_NAME["common_corruptions"]
    assert {r.name for r in space.relations} == set(space.severities)
    for name, ladder in space.severities.items():
        assert len(ladder) == 5
        relation = get(name)
        bounds = {**relation.bounds(space.tier), **space.narrowed[name]}
        strengths = []
        for step in ladder:
            assert set(step) == {param.name for param in relation.params}
            for param in relation.params:
                low, high = bounds[param.name]
                assert low <= step[param.name] <= high
            strengths.append(sum(float(p.strength(step[p.name], bounds[p.name])) for p in relation.params))
        assert (np.diff(strengths) >= 0).all() and strengths[0] > 0

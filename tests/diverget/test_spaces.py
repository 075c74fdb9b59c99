from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.filters import gaussian

from diverget.space import Space
from diverget.spaces import PSNR_LIMIT, SPACES, NamedSpace
from relations import ALL, FAMILIES, get
from tests.relations.conftest import column, sensor_of

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


def test_the_sisters_lines_and_regions_hit_up_to_a_fifth_of_the_bands() -> None:
    sister = BY_NAME["diverget_sister"]
    assert sister.narrowed["dead_lines"] == {"share": (0.0, 0.2), "bands": (0.0, 0.2), "filled": (0.5, 1.0)}
    assert sister.narrowed["region_loss"] == {"size": (0.0, 5.0), "bands": (0.0, 0.2)}


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


def variance(kernel: np.ndarray) -> tuple[float, float]:
    """Second moments about the centroid of the rows and of the columns."""
    spread = []
    for axis in (0, 1):
        line = kernel.sum(axis=1 - axis, dtype=np.float64)
        place = np.arange(len(line)) - np.average(np.arange(len(line)), weights=line)
        spread.append(float(np.average(place**2, weights=line)))
    return spread[0], spread[1]


def spread_of(name: str, **values: float) -> tuple[float, float]:
    """The variance of what a relation makes of a point."""
    point = np.zeros((1, 33, 33, 1), np.float32)
    point[0, 16, 16] = 1
    shaped = {param: column(value) for param, value in values.items()}
    return variance(get(name).apply(point, None, sensor_of(1), **shaped)[0, :, :, 0])


@pytest.mark.parametrize("severity", range(5))
def test_the_blurs_have_the_variance_of_the_published_kernels(severity: int) -> None:
    ladders = BY_NAME["common_corruptions"].severities
    point = np.zeros((33, 33))
    point[16, 16] = 1
    sampled = gaussian(point, sigma=(0.4, 0.6, 0.7, 0.8, 1.0)[severity], truncate=4)
    ours = spread_of("gaussian_blur", **ladders["gaussian_blur"][severity])
    assert ours == pytest.approx(variance(sampled), rel=0.05)

    radius, alias = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity]
    place = np.arange(-8, 9)
    disk = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float32)
    disk = cv2.GaussianBlur(disk / disk.sum(), (3, 3), alias)
    assert spread_of("defocus", **ladders["defocus"][severity]) == pytest.approx(variance(disk), rel=0.05)

    reach, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity]
    trail = np.exp(-0.5 * (np.arange(2 * reach + 1) / sigma) ** 2)
    down, across = spread_of("motion_blur", **ladders["motion_blur"][severity])
    assert down == pytest.approx(0, abs=1e-6)
    assert across == pytest.approx(variance(trail[None])[1], rel=0.05)


def test_dflares_gaussian_ends_at_the_variance_of_opencvs_widest_kernel() -> None:
    end = BY_NAME["dflare"].narrowed["gaussian_blur"]["sigma"][1]
    kernel = cv2.getGaussianKernel(7, 0)
    assert spread_of("gaussian_blur", sigma=end) == pytest.approx(variance(kernel @ kernel.T), rel=0.02)

"""What holds of the library as a whole: nothing is unchecked, untimed or hungry."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from relations import ALL, FAMILIES, Relation, Step, distort
from tests.bench.plain import PLAIN
from tests.relations.conftest import cut, dose, strongest

HERE = Path(__file__).parent

CATALOGUE = {
    "atmosphere": "haze water_vapour thin_cirrus adjacency",
    "optics": "gaussian_blur motion_blur defocus stray_light misregistration translation rotation zoom",
    "spectral": "band_shift smile bandwidth band_loss",
    "radiometry": "brightness gain_drift offset contrast gamma shadow illumination_gradient saturation",
    "sensor": "gaussian_noise shot_noise correlated_noise impulse_noise multiplicative_noise stripes dead_lines "
    "region_loss pixel_noise band_noise radiometric_quantisation lossy_compression",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_holds_its_distortions(family: str) -> None:
    assert {name for name, relation in ALL.items() if relation.family == family} >= set(CATALOGUE[family].split())


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_its_physics_is_checked(relation: Relation) -> None:
    assert f'"{relation.name}"' in (HERE / f"test_{relation.family}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_its_plain_version_does_the_like(relation: Relation) -> None:
    """The versions that `make bench` compares with are versions of the same thing."""
    patches = cut(relation, rows=1, size=(11, 9, 31))
    rng = np.random.default_rng(3)
    values = strongest(relation)
    follow_up = PLAIN[relation.name](patches.x[0], values, patches.sensor, rng)
    assert follow_up.shape == patches.x[0].shape
    assert np.isfinite(follow_up).all()
    assert not np.array_equal(follow_up, patches.x[0])


def test_no_plain_version_is_orphaned() -> None:
    assert PLAIN.keys() == ALL.keys()


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_it_takes_at_most_four_times_its_input(relation: Relation) -> None:
    rows = 96
    patches = cut(relation, rows=rows, size=(25, 25, 103))
    step = Step(relation, dose(relation, rows=rows))
    tracemalloc.start()
    distort(patches.x, [step], [patches.field], patches.sensor)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 4 * patches.x.nbytes

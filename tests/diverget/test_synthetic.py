"""The embedded scene: reproducible, physically plausible, fit to be split, and not too easy."""

from __future__ import annotations

import numpy as np
import pytest

from diverget import materials
from diverget.materials import CLASSES, MATERIALS
from diverget.scene import UNLABELLED, Scene
from diverget.split import split
from diverget.synthetic import WATER_WINDOWS, band_centres, synthetic_scene

NM = np.arange(400.0, 2451.0, 2.0)
TYPICAL = {name: material(NM, 0.0, np.zeros(4)) for name, material in MATERIALS.items()}
GREEN = ("maize", "soybean", "sugar beet", "grassland", "woodland")


@pytest.fixture(scope="module")
def farmland() -> Scene:
    return synthetic_scene()


def at(name: str, nm: float) -> float:
    return float(np.interp(nm, NM, TYPICAL[name]))


def depth(name: str, left: float, centre: float, right: float) -> float:
    """Depth of a feature below the straight line between its shoulders, as a share of that line."""
    line = np.interp(centre, (left, right), (at(name, left), at(name, right)))
    return 1 - at(name, centre) / float(line)


def test_every_spectrum_is_a_reflectance() -> None:
    rng = np.random.default_rng(0)
    for name, material in MATERIALS.items():
        for _ in range(20):
            spectrum = material(NM, rng.normal(), np.clip(rng.standard_normal(4), -2.2, 2.2))
            assert spectrum.shape == NM.shape and (spectrum > 0).all() and (spectrum < 1).all(), name


@pytest.mark.parametrize("name", GREEN)
def test_vegetation_has_its_features(name: str) -> None:
    assert at(name, 800) > 4 * at(name, 676), "red edge"
    assert at(name, 550) > 1.3 * at(name, 676) and at(name, 550) > 1.5 * at(name, 470), "green peak"
    edge = NM[(NM > 680) & (NM < 780)][np.argmax(np.diff(np.interp(np.arange(680, 781, 2), NM, TYPICAL[name])))]
    assert 695 <= edge <= 735, "the red edge is steepest near 715 nm"
    assert depth(name, 920, 972, 1070) > 0.02 and depth(name, 1090, 1200, 1270) > 0.03, "leaf water"
    assert at(name, 1650) > 1.7 * at(name, 1450) and at(name, 1650) > 2.5 * at(name, 1940), "leaf water"


def test_more_chlorophyll_moves_the_red_edge_to_longer_wavelengths() -> None:
    def edge(chlorophyll: float) -> float:
        leaf = materials.foliage(NM, chlorophyll=chlorophyll, water=0.1, dry=0.1)
        near = (NM > 670) & (NM < 780)
        return float(NM[near][np.argmax(np.gradient(leaf)[near])])

    assert edge(1.6) > edge(0.3) + 4


def test_litter_soils_and_roofs_have_their_features() -> None:
    assert depth("stubble", 2030, 2105, 2215) > 0.05, "cellulose"
    assert depth("loamy soil", 2130, 2208, 2250) > 0.05 and depth("loamy soil", 760, 885, 1050) > 0.05
    assert depth("chalky soil", 2270, 2337, 2410) > 0.05, "carbonate"
    assert depth("loamy soil", 2030, 2105, 2160) < 0 < depth("chalky soil", 2170, 2208, 2250)
    assert depth("tiled roof", 760, 880, 1100) > 0.05 and at("tiled roof", 650) > 2 * at("tiled roof", 500)
    assert at("painted metal roof", 450) > 2 * at("painted metal roof", 400), "titanium white"
    assert np.abs(np.gradient(TYPICAL["asphalt"])).max() < 0.002
    assert at("water", 560) > 4 * at("water", 860) and TYPICAL["water"][NM > 1000].max() < 0.02


def test_liquid_water_absorption() -> None:
    peaks = [NM[(low < NM) & (high > NM)] for low, high in ((930, 1030), (1400, 1550), (1880, 2000))]
    highest = [float(part[np.argmax(materials.water_absorption(part))]) for part in peaks]
    assert np.allclose(highest, [975, 1450, 1930], atol=12)


def test_bands_leave_out_the_water_windows() -> None:
    nm = band_centres()
    assert 110 <= len(nm) <= 130 and nm[0] == 400 and 2430 <= nm[-1] <= 2450 and (np.diff(nm) > 0).all()
    for low, high in WATER_WINDOWS:
        assert not ((nm >= low) & (nm <= high)).any()


def test_the_scene_is_whole(farmland: Scene) -> None:
    assert farmland.cube.shape == (128, 128, len(band_centres())) and farmland.cube.dtype == np.float32
    assert (farmland.cube == np.round(farmland.cube)).all()
    assert farmland.cube.min() >= 0 and farmland.cube.max() <= farmland.value_range[1] == 10_000
    assert farmland.class_names == tuple(CLASSES) and farmland.valid.all()
    assert farmland.labels is not None and farmland.labels.dtype == np.int32
    unlabelled = (farmland.labels == UNLABELLED).mean()
    assert 0.2 < unlabelled < 0.55
    assert np.bincount(farmland.labels[farmland.labels >= 0]).min() >= 150


def test_the_seed_decides(farmland: Scene) -> None:
    small = synthetic_scene(seed=3, height=48, width=64)
    assert small.digest == synthetic_scene(seed=3, height=48, width=64).digest
    assert small.digest != synthetic_scene(seed=4, height=48, width=64).digest
    assert small.cube.shape[:2] == (48, 64)
    with pytest.raises(ValueError, match="height=40, width=64"):
        synthetic_scene(height=40, width=64)


def test_spectra_vary_within_a_class_smoothly(farmland: Scene) -> None:
    assert farmland.labels is not None
    nir = farmland.cube[:, :, 40]
    maize = farmland.labels == 0
    assert nir[maize].std() / nir[maize].mean() > 0.03
    beside = maize[:, 1:] & maize[:, :-1]
    assert np.abs(np.diff(nir, axis=1))[beside].mean() < 0.7 * nir[maize].std() * 2 / np.sqrt(np.pi)


def test_noise_follows_the_ratio() -> None:
    noisy, quiet = (synthetic_scene(seed=5, height=48, width=48, snr=snr).cube for snr in (0.2, 50.0))
    difference = (noisy - quiet).std(axis=(0, 1)) / quiet.mean(axis=(0, 1))
    nm = band_centres()
    assert 0.003 < difference[nm == 1240].item() < 0.06
    assert difference[nm == 2440] > 2 * difference[nm == 1700]


@pytest.mark.parametrize("patch", [9, 25])
def test_every_class_is_in_every_part(farmland: Scene, patch: int) -> None:
    found = split(farmland, patch=patch, seed=0)
    assert (found.counts[:, 0] >= 50).all() and (found.counts[:, 2] >= 30).all()
    assert found.centre_leakage == 0


def test_classes_are_told_apart_but_not_perfectly(farmland: Scene) -> None:
    """A linear discriminant on single pixels, trained and tested on different blocks."""
    assert farmland.labels is not None
    found = split(farmland, patch=9, seed=0)
    pixels, labels = farmland.cube.reshape(-1, farmland.bands).astype(np.float64), farmland.labels.ravel()
    x, y = pixels[found.train], labels[found.train]
    means = np.stack([x[y == label].mean(axis=0) for label in range(len(CLASSES))])
    scatter = np.cov((x - means[y]).T)
    inverse = np.linalg.inv(scatter + 1e-4 * np.trace(scatter) / len(scatter) * np.eye(len(scatter)))
    scores = pixels[found.assessment] @ inverse @ means.T - 0.5 * np.einsum("kb,bc,kc->k", means, inverse, means)
    accuracy = (scores.argmax(axis=1) == labels[found.assessment]).mean()
    assert 0.80 < accuracy < 0.98

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models import quantise, zoo
from diverget.models.child import run
from diverget.models.coverage import coverage
from tests.diverget.models.networks import SAID, build_all, require_tensorflow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    require_tensorflow()
    folder = tmp_path_factory.mktemp("zoo")
    networks = [["hybridsn", [25, 25, 30, 1], 16], ["depthwise", [7, 7, 12], 5], ["spectral", [4, 1], 3]]
    counts = run(build_all, {"networks": networks, "folder": str(folder)}, **SAID, timeout=120)
    return folder, counts


@pytest.mark.slow
def test_hybridsn_has_the_published_number_of_parameters(built: tuple[Path, dict[str, int]]) -> None:
    assert built[1]["hybridsn"] == 5_122_176


@pytest.mark.slow
def test_int8_leaves_the_three_3d_convolutions_of_hybridsn_in_float(
    built: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    z = np.random.default_rng(0).normal(size=(2, 25, 25, 30, 1)).astype(np.float32)
    path = quantise.convert(built[0] / "hybridsn.keras", quantise.quantisation("int8"), calibration=z, cache=tmp_path)
    found = coverage(path)
    macs = 23 * 23 * 24 * 8 * 63 + 21 * 21 * 20 * 16 * 45 * 8 + 19 * 19 * 18 * 32 * 27 * 16
    assert (found.kind, found.float_ops) == ("int8", (("CONV_3D", 3, macs),))
    assert found.share == pytest.approx(0.406, abs=1e-3) and "3 CONV_3D with 59 %" in found.note


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape"), [("depthwise", (7, 7, 12)), ("spectral", (4, 1))])
def test_every_operator_of_the_small_networks_has_an_int8_kernel(
    built: tuple[Path, dict[str, int]], tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    z = np.random.default_rng(0).normal(size=(8, *shape)).astype(np.float32)
    entry = quantise.quantisation("int8")
    found = coverage(quantise.convert(built[0] / f"{name}.keras", entry, calibration=z, cache=tmp_path))
    assert (found.kind, found.share, found.float_ops, found.note) == ("int8", 1.0, (), "")


def test_settings_are_whole() -> None:
    assert zoo.NAMES == ("hybridsn", "depthwise", "spectral")
    for architecture in zoo.ALL:
        assert architecture.source and architecture.summary.endswith(".")


def test_preprocessing_never_asks_for_more_components_than_bands() -> None:
    pixels = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    assert zoo.HYBRIDSN.fit_preprocessing(pixels).shape((25, 25, 40)) == (25, 25, 30, 1)
    assert zoo.DEPTHWISE.fit_preprocessing(pixels[:, :8]).shape((7, 7, 8)) == (7, 7, 8)
    assert zoo.SPECTRAL.fit_preprocessing(pixels).shape((7, 7, 40)) == (40, 1)


def test_patches_too_small_are_told_with_the_minimum() -> None:
    with pytest.raises(ValueError, match=r"at least 9 pixels.*'hybridsn', got 7"):
        zoo.HYBRIDSN.check_patch(7)
    zoo.HYBRIDSN.check_patch(9)
    with pytest.raises(ValueError, match="at least 13 components"):
        zoo.HYBRIDSN.build(None, (9, 9, 12, 1), 3)  # type: ignore[arg-type]

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverget.models import quantise, zoo
from diverget.models.child import run
from diverget.models.coverage import coverage
from tests.diverget.models.networks import SAID, build_all, require_tensorflow

EACH = pytest.mark.parametrize("architecture", zoo.ALL, ids=lambda architecture: architecture.name)
PUBLISHED = {
    "hybridsn": ((25, 25, 30, 1), 16, 5_122_176),
    "ssrn": ((7, 7, 103, 1), 9, 217_273),
    # Layer by layer: 560 + 1220 + 18935 + 3710 + 3710 + 2485, and 13 bands of 35 left for the classes.
    "cnn3d": ((5, 5, 103, 1), 9, 30_620 + 9 * (13 * 35 + 1)),
    # 20 kernels of 24, 40 pools of 20 into 100, and the classes: Salinas.
    "spectral": ((224, 1), 16, 20 * 25 + 100 * (40 * 20 + 1) + 16 * 101),
    "lenet1": ((28, 28, 1), 10, 7_206),
    "lenet5": ((28, 28, 1), 10, 107_786),
    "resnet20": ((32, 32, 3), 10, 274_442),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Each network at the size it was published for, untrained: the folder of the files, and its parameters."""
    require_tensorflow()
    folder = tmp_path_factory.mktemp("published")
    networks = [[name, list(shape), classes] for name, (shape, classes, _) in PUBLISHED.items()]
    return folder, run(build_all, {"networks": networks, "folder": str(folder)}, **SAID, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_the_published_number_of_parameters(published: tuple[Path, dict[str, int]], name: str) -> None:
    assert published[1][name] == PUBLISHED[name][2]


@pytest.mark.slow
def test_the_float_share_of_hybridsn_at_its_published_size_is_told(
    published: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    z = np.random.default_rng(0).normal(size=(2, 25, 25, 30, 1)).astype(np.float32)
    way = quantise.quantisation("int8")
    found = coverage(quantise.convert(published[0] / "hybridsn.keras", way, calibration=z, cache=tmp_path))
    macs = 23 * 23 * 24 * 8 * 63 + 21 * 21 * 20 * 16 * 45 * 8 + 19 * 19 * 18 * 32 * 27 * 16
    assert (found.kind, found.float_ops) == ("int8", (("CONV_3D", 3, macs),))
    assert found.share == pytest.approx(0.406, abs=1e-3) and "3 CONV_3D with 59 %" in found.note


def test_settings_are_whole() -> None:
    assert zoo.NAMES == ("hybridsn", "ssrn", "cnn3d", "spectral", "depthwise", "lenet1", "lenet5", "resnet20")
    for architecture in zoo.ALL:
        assert architecture.source and architecture.summary.endswith(".")
        assert bool(architecture.published) == (architecture.name != "depthwise")
    assert zoo.SSRN.published == "7 × 7 pixels; all bands; RMSprop 0.0003, batches of 16, 200 epochs"


@pytest.mark.parametrize(("bands", "kernel", "pool"), [(220, 24, 5), (224, 24, 5), (103, 11, 3)])
def test_the_spectral_network_has_the_published_kernels_and_pools(bands: int, kernel: int, pool: int) -> None:
    """Indian Pines, Salinas, Pavia University."""
    built: dict[str, Any] = {}

    class Layers:
        """Notes what a layer was made with."""

        def __getattr__(self, name: str) -> Any:
            def layer(*settings: Any, **_: Any) -> Callable[[Any], Any]:
                built.setdefault(name, settings)
                return lambda x: x

            return layer

    class Keras:
        layers = Layers()

        def Model(self, *_: Any) -> None:
            return None

    zoo.SPECTRAL.build(Keras(), (bands, 1), 9)  # type: ignore[arg-type]
    assert (built["Conv1D"], built["MaxPooling1D"]) == ((20, kernel), (pool,))


def test_preprocessing_never_asks_for_more_components_than_bands() -> None:
    pixels = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    assert zoo.HYBRIDSN.fit_preprocessing(pixels).shape((25, 25, 40)) == (25, 25, 30, 1)
    assert zoo.DEPTHWISE.fit_preprocessing(pixels[:, :8]).shape((7, 7, 8)) == (7, 7, 8)
    assert zoo.SPECTRAL.fit_preprocessing(pixels).shape((7, 7, 40)) == (40, 1)
    assert zoo.SSRN.fit_preprocessing(pixels).shape((7, 7, 40)) == (7, 7, 40, 1)


def test_images_are_standardised_channel_by_channel() -> None:
    pixels = np.random.default_rng(0).normal([10, 100, 200], [1, 20, 5], size=(500, 3)).astype(np.float32)
    prepared = zoo.RESNET20.fit_preprocessing(pixels).apply(pixels.reshape(5, 10, 10, 3)).reshape(-1, 3)
    assert prepared.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-4)
    assert prepared.std(axis=0) == pytest.approx(np.ones(3), abs=1e-2)


@pytest.mark.parametrize(
    ("architecture", "shape", "told"),
    [
        (zoo.HYBRIDSN, (7, 9, 40), r"patches of at least 9 pixels a side for the architecture 'hybridsn', got 7"),
        (zoo.HYBRIDSN, (9, 9, 12), r"at least 13 components .*'hybridsn'.*, got 12"),
        (zoo.SSRN, (7, 7, 6), r"at least 7 bands .*'ssrn'.*, got 6"),
        (zoo.SPECTRAL, (1, 1, 8), r"at least 9 bands .*'spectral'.*, got 8"),
        (zoo.LENET5, (28, 6, 1), r"images of at least 8 pixels a side .*'lenet5', got 6; give larger images"),
    ],
)
def test_what_is_too_small_is_told_with_the_minimum(
    architecture: zoo.Architecture, shape: tuple[int, int, int], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        architecture.check_patch(shape)
    prepared = {"hwb": shape, "hwb1": (*shape, 1), "centre": (shape[2], 1)}[architecture.layout]
    with pytest.raises(ValueError, match=told):
        architecture.build(None, prepared, 3)  # type: ignore[arg-type]


@EACH
def test_the_smallest_size_is_taken(architecture: zoo.Architecture) -> None:
    side, depth = architecture.smallest_patch, architecture.smallest_depth
    architecture.check_patch((side, side, depth))
    with pytest.raises(ValueError, match="at least"):
        replace(architecture, smallest_depth=depth + 1).check_patch((side, side, depth))

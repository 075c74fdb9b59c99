"""The layer to blame in a network that was trained: a range four times too wide or too narrow is found at its layer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from diverget.blame import Layer
from diverget.models import quantise, tflite, training, zoo
from diverget.models.preprocessing import Preprocessing
from diverget.models.tflite import TFLiteModel
from diverget.patches import cut
from diverget.scene import UNLABELLED
from diverget.synthetic import synthetic_scene
from tests.diverget import planting
from tests.diverget.models import networks
from tests.diverget.planting import blamed

SIZE = 7
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Pair:
    """A trained network in float and int8, and patches with distorted versions of them."""

    reference: TFLiteModel
    quantised: TFLiteModel
    sources: np.ndarray
    follow_ups: np.ndarray


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The depthwise network of the zoo after two epochs on the embedded scene.

    Follow-ups are a little darker. In one of four some values are three times the brightest of the scene, far beyond
    what the network was calibrated for, as impulse noise makes them.
    """
    networks.require_tensorflow()
    folder = tmp_path_factory.mktemp("trained")
    scene = synthetic_scene(height=64, width=64)
    rng = np.random.default_rng(0)
    labelled = np.flatnonzero(scene.labels.ravel() != UNLABELLED)
    chosen = rng.choice(labelled, 464, replace=False)
    x = cut(scene, chosen, size=SIZE, margin=0, blocks=np.arange(len(chosen))).source()
    classes, y = np.unique(scene.labels.ravel()[chosen], return_inverse=True)
    learnt = x[:400]
    prepared = Preprocessing(
        shift=learnt.mean(axis=(0, 1, 2)), scale=learnt.std(axis=(0, 1, 2)), components=None, layout="hwb"
    )
    trained = training.train(
        zoo.DEPTHWISE, prepared.apply(learnt), y[:400], classes=len(classes), validation=None, epochs=2, batch=32,
        learning_rate=2e-3, patience=2, seed=1, cache=folder,
    )  # fmt: skip
    models = [
        tflite.load(
            quantise.convert(
                trained.path, quantise.quantisation(way), calibration=prepared.apply(learnt[:200]), cache=folder
            ),
            preprocessing=prepared,
            name=way,
        )
        for way in ("float32", "int8")
    ]
    sources = x[400:]
    follow_ups = (0.97 * sources).astype(np.float32)
    hot = rng.random(follow_ups[::4].shape) < 0.02
    follow_ups[::4][hot] = 3 * x.max()
    return Pair(*models, sources, follow_ups)


def faulty(pair: Pair, tensor: int, factor: float, folder: Path) -> tuple[Layer, ...]:
    """What is blamed where the range of one activation is `factor` times as wide."""
    file = folder / f"{tensor}.tflite"
    file.write_bytes(planting.wrong_range(pair.quantised.content, tensor, factor))
    model = tflite.load(file, preprocessing=pair.quantised.preprocessing, name="faulty")
    return blamed(pair.reference, model, pair.sources, pair.follow_ups)


@pytest.mark.parametrize("factor", [4.0, 0.25])
def test_every_layer_with_a_wrong_range_is_blamed(pair: Pair, factor: float, tmp_path: Path) -> None:
    found, by_own = [], []
    layers = planting.integer_layers(pair.quantised.content)
    for _, tensor in layers:
        name = pair.quantised.graph.tensors[tensor].name
        ranked = faulty(pair, tensor, factor, tmp_path)
        found.append(ranked[0].tensor == name)
        by_own.append(min(ranked, key=lambda layer: layer.findings.own_sqnr or 999).tensor == name)
    assert len(layers) == 12 and all(found), found
    assert factor < 1 or sum(by_own) < 6, "where the own error on the follow-ups ranks, their hot values hide faults"


def test_without_a_fault_the_hot_values_are_blamed_on_the_input(pair: Pair) -> None:
    first = blamed(pair.reference, pair.quantised, pair.sources, pair.follow_ups)[0]
    assert first.operator in ("QUANTIZE", "FULLY_CONNECTED") and first.findings.avoidable > first.sources.avoidable + 3
    clean = blamed(pair.reference, pair.quantised, pair.sources, pair.sources)
    assert max(layer.sources.avoidable for layer in clean) < 9, "four times too wide is 12 dB"

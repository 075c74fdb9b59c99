"""Every network of the zoo from its config to the report: trained, quantised to int8 and assessed in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from diverget.models import zoo
from experiments import data, training
from experiments.config import ConfigError, load
from experiments.progress import Screen
from experiments.run import run
from tests.diverget.models.networks import require_tensorflow

SHARED = """
name: zoo
seed: 3
split: {assessed: 6, baseline: 150, calibration: 8, fractions: [0.5, 0.2, 0.3]}
references: [{zoo: %s, train_limit: 192, batch: 8, epochs: %d, learning_rate: %g}]
quantisations: [int8]
relations: [brightness, gaussian_noise]
limits: {}
rates: {draws: 1, doses: []}
search: {population: 4, budget: 48}
control: false
attribution: false
"""
TRAINED = {"hybridsn": (6, 0.001)}
"""Epochs and rate that make a reference better than chance, as a run demands; (3, 0.003) for the others."""
CONV_3D = {"hybridsn": 3, "ssrn": 11, "cnn3d": 6}
"""3-D convolutions that int8 leaves in float."""

SIDE = 12
CLASSES = 3


def written(folder: Path, architecture: zoo.Architecture, *, channels: int = 1) -> Path:
    """A config for `architecture`, with images where it wants them."""
    if architecture.data == "scene":
        section = f"scene: {{synthetic: {{height: 48, width: 48}}, patch: {architecture.smallest_patch | 1}}}\n"
    else:
        np.savez(folder / "images.npz", **bars(channels))
        section = f"images: {{path: {folder}/images.npz}}\n"
    path = folder / "zoo.yaml"
    path.write_text(SHARED % (architecture.name, *TRAINED.get(architecture.name, (3, 0.003))) + section)
    return path


def bars(channels: int) -> dict[str, np.ndarray]:
    """Images of 8 bits with a bright bar in one of three places."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, CLASSES, 150).astype(np.uint8)
    images = rng.integers(0, 60, (150, SIDE, SIDE, channels), dtype=np.uint8)
    for place in range(CLASSES):
        images[labels == place, 4 * place : 4 * place + 3] += 150
    return {"images": images if channels > 1 else images[..., 0], "labels": labels}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", zoo.ALL, ids=lambda architecture: architecture.name)
def test_a_network_is_trained_quantised_and_assessed(tmp_path: Path, architecture: zoo.Architecture) -> None:
    require_tensorflow()
    channels, volumes = (3 if architecture.name == "resnet20" else 1), architecture.name in CONV_3D
    assert volumes == ("3-D" in architecture.summary)
    config = load(written(tmp_path, architecture, channels=channels))
    root, _ = run(config, tmp_path / "out", Screen(Console(quiet=True)))
    assert json.loads((root / "summary.json").read_text())["complete"]
    models = json.loads((root / "models.json").read_text())
    (reference,), (pair,) = models["references"], models["pairs"]
    told = reference["training"]
    assert (told["citation"], told["published"]) == (architecture.source, architecture.published)
    assert told["epochs"] >= 3 and told["setting"].startswith("Adam 0.00") and ", batches of 8, " in told["setting"]
    assert told["setting"] in (root / "report.html").read_text()
    assert abs(pair["reference_model"]["float_check"]) <= 1e-5
    covered = pair["quantised_model"]["coverage"]
    left = {op["op"]: op["count"] for op in covered["float_ops"]}
    assert covered["kind"] == "int8" and left == ({"CONV_3D": CONV_3D[architecture.name]} if volumes else {})
    assert (covered["share"] < 1) == volumes == ("CONV_3D" in covered["note"])
    assert (root / "report.html").stat().st_size > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_the_preprocessing_of_images_is_fitted_on_all_pixels_of_the_training_images(
    tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = data.gather(load(written(tmp_path, zoo.LENET5, channels=channels)))
    ids = material.split.train
    pixels = training._pixels(material, ids)
    assert pixels.shape == (len(ids) * SIDE * SIDE, channels)
    given = bars(channels)["images"].reshape(-1, SIDE, SIDE, channels)[ids]
    assert pixels.mean(axis=0) == pytest.approx(given.mean(axis=(0, 1, 2)), rel=1e-5)
    monkeypatch.setattr(training, "PIXELS", 10 * SIDE * SIDE)
    assert 0 < len(training._pixels(material, ids)) <= 10 * SIDE * SIDE


@pytest.mark.parametrize(
    ("section", "name", "told"),
    [
        ("scene: {synthetic: {}}", "lenet5", "networks for `scene`, got lenet5; choose one of hybridsn"),
        ("images: {path: x.npz}", "ssrn", "networks for `images`, got ssrn; choose one of lenet1, lenet5, resnet20"),
    ],
)
def test_a_network_of_other_data_is_refused_with_the_config(tmp_path: Path, section: str, name: str, told: str) -> None:
    path = tmp_path / "zoo.yaml"
    path.write_text(f"{SHARED % (name, 1, 0.001)}{section}\n")
    with pytest.raises(ConfigError) as problem:
        load(path)
    assert told in str(problem.value)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diverget.models import child, quantise
from diverget.models.child import ModelError
from diverget.models.keras_file import inspect_keras, network_digest
from diverget.models.training import Trained
from tests.diverget.models.networks import patches, require_tensorflow, train_tiny
from tests.forking import program


@pytest.mark.slow
def test_a_network_is_trained_once(trained: Trained) -> None:
    assert not trained.from_cache
    assert trained.history["val_accuracy"][trained.epoch - 1] > 0.9
    again = train_tiny(trained.path.parent)
    assert again.from_cache and again.path == trained.path
    assert (again.history, again.seconds, again.epoch) == (trained.history, trained.seconds, trained.epoch)
    found = inspect_keras(trained.path)
    assert (found.family, found.input_shape, found.classes) == ("keras", (5, 5, 4), 3)
    assert sorted(path.suffix for path in trained.path.parent.iterdir()) == [".json", ".keras"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_network_from_nothing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, float32 = train_tiny(tmp_path / "a", seed=6), quantise.quantisation("float32")
    first = quantise.convert(trained.path, float32, calibration=None, cache=tmp_path / "b")
    # The others were forked; these two jobs have the process that they have in the product.
    monkeypatch.setattr(child, "program", program)
    again = train_tiny(tmp_path / "a")
    second = quantise.convert(again.path, float32, calibration=None, cache=tmp_path / "c")
    assert network_digest(again.path) == network_digest(trained.path)
    assert again.path.name == trained.path.name != other.path.name
    assert network_digest(other.path) != network_digest(trained.path)
    assert first.read_bytes() == second.read_bytes() and first.name == second.name


@pytest.mark.slow
def test_epochs_are_told_and_an_interruption_leaves_no_entry(tmp_path: Path) -> None:
    require_tensorflow()
    events: list[dict[str, Any]] = []

    def interrupt(event: dict[str, Any]) -> None:
        events.append(event)
        if event["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path, on_event=interrupt, balanced=True)
    assert not list(tmp_path.iterdir())
    assert [(event["event"], event["epoch"], event["epochs"]) for event in events] == [("epoch", 1, 6), ("epoch", 2, 6)]
    assert set(events[0]) >= {"loss", "accuracy", "val_accuracy"}


@pytest.mark.slow
def test_half_an_entry_does_not_count(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / trained.path.name).write_bytes(b"half")
    assert not train_tiny(tmp_path).from_cache
    assert network_digest(tmp_path / trained.path.name) == network_digest(trained.path)
    json.loads((tmp_path / trained.path.name).with_suffix(".json").read_text())


@pytest.mark.slow
def test_a_loss_that_explodes_is_an_error(tmp_path: Path) -> None:
    require_tensorflow()
    x, y = patches(40, seed=1)
    with pytest.raises(ModelError, match=r"finite loss.*learning rate of 1e\+30"):
        train_tiny(tmp_path, learning_rate=1e30, validation=None)
    assert not list(tmp_path.iterdir())
    assert len(x) == len(y)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"classes": 2}, "from 0 to 1"),
        ({"validation": (np.zeros((0, 5, 5, 4), np.float32), np.zeros(0, int))}, "validation"),
        ({"validation": (np.full((1, 5, 5, 4), np.nan, np.float32), np.zeros(1, int))}, "finite"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        train_tiny(tmp_path / "cache", **changed)

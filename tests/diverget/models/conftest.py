"""Where the tests of models find networks: golden .tflite files, fresh Keras files, the real LeNet-5."""

from __future__ import annotations

from pathlib import Path

import pytest

from diverget.models import training
from diverget.models.child import run
from tests.diverget.models import networks


@pytest.fixture(scope="session")
def golden() -> Path:
    """A tiny network in every quantisation, as `bless.py` wrote it."""
    return Path(__file__).resolve().parents[2] / "golden" / "models"


@pytest.fixture(scope="session")
def lenet(shared_data: Path) -> Path:
    return shared_data / "models" / "mnist_lenet5"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> training.Trained:
    networks.require_tensorflow()
    return networks.train_tiny(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Keras files of both families, some of which carry code that would touch `marker`."""
    networks.require_tensorflow()
    folder = tmp_path_factory.mktemp("keras")
    run(
        networks.make_networks,
        {"folder": str(folder), "marker": str(folder / "marker")},
        **networks.SAID,
        timeout=300,
    )
    return folder

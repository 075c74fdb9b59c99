"""Write tests/golden/models anew: `python -m tests.diverget.models.bless` (needs TensorFlow).

A tiny trained network as .tflite in five quantisations, with logits, with a batch size written in, and with a
TensorFlow operator: so that the tests of the LiteRT side need no TensorFlow.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from diverget.models import quantise, training
from diverget.models.child import run
from tests.diverget.models import networks

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "models"

WRITTEN = ("float32", "float16", "dynamic_int8", "int8", "int8_io")
"""The quantisations of the files."""


def bless() -> None:
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        z, _ = networks.patches(50, seed=3)
        made: training.Trained = networks.train_tiny(cache / "training")
        for entry in map(quantise.quantisation, WRITTEN):
            shutil.copy(quantise.convert(made.path, entry, calibration=z, cache=cache), GOLDEN / f"{entry.name}.tflite")
        run(networks.make_networks, {"folder": folder, "marker": f"{folder}/marker"}, **networks.SAID, timeout=300)
        for name in ("float32", "int8"):
            for source in ("logits", "fixed"):
                target = GOLDEN / f"{source}_{name}.tflite"
                entry = quantise.quantisation(name)
                shutil.copy(quantise.convert(cache / f"{source}.keras", entry, calibration=z, cache=cache), target)
        shutil.copy(cache / "flex.tflite", GOLDEN / "flex.tflite")


if __name__ == "__main__":
    bless()

"""What lowering gains: `python -m tests.bench.lowering`.

For each network of the zoo with 3-D convolutions, with random weights: as float32, as plain int8, which leaves CONV_3D
in float, and as int8_lowered. Patches a second of one interpreter thread in batches of eight, the three in turn, round
after round; the ratio of int8_lowered to plain int8 is taken round by round. Agreement is the share of random inputs
on which the class is that of float32. On a machine that is shared, run it with `nice -n 0` and trust the ratios.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from diverget.models import preprocessing, quantise, tflite
from diverget.models.child import run
from diverget.models.coverage import coverage
from diverget.models.tflite import TFLiteModel
from tests.diverget.models import volumes

NETWORKS = (("hybridsn", (25, 25, 30, 1), 64), ("ssrn", (7, 7, 103, 1), 256))
"""Name in the zoo, prepared input as published, patches a round."""

WAYS = ("float32", "int8", "int8_lowered")
CLASSES, CALIBRATION, COMPARED, ROUNDS = 16, 64, 256, 9


def seconds(model: TFLiteModel, z: np.ndarray) -> float:
    """Seconds of processor time over z: what others run meanwhile is not in it."""
    started = time.thread_time()
    model.infer(z)
    return time.thread_time() - started


def compare(name: str, shape: tuple[int, ...], rows: int, folder: Path) -> None:
    """Print one network in every way."""
    network = folder / f"{name}.keras"
    told = {str(network): ["keras", f"zoo.{name}", [list(shape), CLASSES]]}
    run(volumes.write, {"networks": told}, task=f"the building of {name}", advice="look again", timeout=None)
    z = np.random.default_rng(0).normal(size=(CALIBRATION + COMPARED, *shape)).astype(np.float32)
    models = {}
    for way in WAYS:
        entry = quantise.quantisation(way)
        path = quantise.convert(network, entry, calibration=z[:CALIBRATION], cache=folder, timeout=3600)
        models[way] = tflite.load(path, preprocessing=preprocessing.identity(), name=way)
    z = z[CALIBRATION:]
    outputs = {way: model.infer(z) for way, model in models.items()}
    rounds = [{way: seconds(model, z[:rows]) for way, model in models.items()} for _ in range(ROUNDS)]
    print(f"{name} {' × '.join(map(str, shape))}, median of {ROUNDS} rounds of {rows} patches")
    for way, model in models.items():
        covered = coverage(model.path)
        speed = rows / np.median([found[way] for found in rounds])
        same = np.mean(outputs[way].argmax(axis=1) == outputs["float32"].argmax(axis=1))
        print(
            f"  {way:<13} {speed:8,.0f} patches/s  agreement {same:6.1%}  "
            f"{model.path.stat().st_size / 1024:7,.0f} KiB  {covered.share:6.1%} of "
            f"{covered.total_macs / 1e6:,.1f} M multiply-accumulates quantised"
        )
    for other in ("int8", "float32"):
        ratios = sorted(found[other] / found["int8_lowered"] for found in rounds)
        print(f"  int8_lowered / {other}: {np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as folder:
        for name, shape, rows in NETWORKS:
            compare(name, shape, rows, Path(folder))

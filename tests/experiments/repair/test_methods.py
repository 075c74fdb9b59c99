"""What repairs are made of."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from experiments.repair import methods
from experiments.repair.methods import Workshop, within


@pytest.mark.parametrize(("beyond", "ends"), [(0.0, (-2, 6)), (0.25, (-4, 8)), (np.inf, (-100, 300))])
def test_a_harsh_value_widens_the_range_so_far_and_no_further(beyond: float, ends: tuple[float, float]) -> None:
    clean = np.array([[-2.0, 0.0], [1.0, 6.0]], dtype=np.float32)
    distorted = np.array([[-100.0, 0.5], [7.5, 300.0]], dtype=np.float32)
    found = within(clean, distorted, beyond)
    assert (found.min(), found.max(), found.dtype) == (*ends, np.float32)
    assert found[0, 1] == np.float32(0.5)


def test_inputs_that_are_all_the_same_have_no_range_to_widen() -> None:
    found = within(np.ones((2, 3), np.float32), np.array([[0.0, 1.0, 2.0]], np.float32), np.inf)
    np.testing.assert_array_equal(found, [[0, 1, 2]])


def test_the_keras_network_is_looked_for_once_and_only_by_what_converts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def refuse(ground: Any, cache: Path) -> None:
        looked.append(cache)
        raise ValueError("Expected TensorFlow, got none; install it.")

    monkeypatch.setattr(methods, "find_keras", refuse)
    ground: Any = SimpleNamespace()
    shop = Workshop(ground, "int8", Path("cache"), None, 0.5)
    assert looked == []
    for mend in (methods.calibration, methods.keep_float, methods.qat):
        with pytest.raises(ValueError, match="Expected TensorFlow, got none"):
            mend(shop)
    assert looked == [Path("cache")]


def test_the_check_of_the_keras_network_keeps_to_the_time_limit_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "float.keras"
    file.write_bytes(b"network")
    seen = {}

    def convert(path: Path, *_: Any, **settings: Any) -> Path:
        seen.update(settings)
        return path

    monkeypatch.setattr(methods.quantise, "convert", convert)
    entry = SimpleNamespace(label="float", path=file, trust=False)
    config = SimpleNamespace(references=[entry], conversion_seconds=7.0)
    asked = SimpleNamespace(config=config, store=SimpleNamespace(path=lambda name: tmp_path / "run" / name))
    ground: Any = SimpleNamespace(
        asked=asked, pair=SimpleNamespace(reference=SimpleNamespace(name="float", content=b"network"))
    )
    assert methods.find_keras(ground, tmp_path) == methods.Source(file, False)
    assert seen["timeout"] == 7.0


def test_conversions_are_compared_under_the_kernels_of_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((3, 1, 1, 2), np.float32)
    model = SimpleNamespace(
        kernels="builtin", threads=4, output_step=0.0, predict_proba=lambda x: np.tile([0.75, 0.25], (len(x), 1))
    )
    asked = []

    def load(path: Path, **settings: Any) -> Any:
        asked.append((settings["kernels"], settings["threads"]))
        return model

    monkeypatch.setattr(methods.tflite, "load", load)
    material = SimpleNamespace(calibration=np.arange(3), patches=lambda ids: SimpleNamespace(source=lambda: x))
    with ThreadPoolExecutor(1) as pool:
        ground: Any = SimpleNamespace(
            asked=SimpleNamespace(pool=pool, material=material),
            pair=SimpleNamespace(reference=model, quantised=model, name="float/int8"),
            held=np.array([True, False, False]),
            follow_ups=x,
        )
        shop: Any = SimpleNamespace(ground=ground, prepared=None)
        best = methods._best(shop, {"one": Path("one.tflite"), "other": Path("other.tflite")})
    assert asked == [("builtin", 4), ("builtin", 4)] and best.chosen == "one"

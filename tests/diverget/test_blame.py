"""The layer to blame: planted faults are found, worked numbers come out, nothing is blamed where nothing differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diverget import blame as module
from diverget.advice import keep_float, recalibrate
from diverget.blame import avoidable, parting, passes_on, representable
from diverget.models import tflite
from diverget.models.cut import Part, needed, part_of
from diverget.models.graph import Graph, Op, Tensor
from diverget.models.layers import Unreadable, network_input, shared_layers
from diverget.models.preprocessing import identity
from diverget.models.tflite import TFLiteModel
from tests.diverget import planting
from tests.diverget.models import networks
from tests.diverget.planting import blamed
from tests.toys import linear_pair, toy_scene

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"


def network(name: str) -> TFLiteModel:
    return tflite.load(GOLDEN / f"{name}.tflite", preprocessing=identity("hwb"), name=name)


def looked_at(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Sources and follow-ups within the calibrated ranges: a small gain."""
    x = networks.patches(count, seed=3)[0]
    return x, (x * np.float32(0.95)).astype(np.float32)


FAULTS = {
    "ten times too wide": (planting.wrong_range, 10.0),
    "clipped to a tenth": (planting.wrong_range, 0.1),
    "weights taken for a tenth": (planting.wrong_weights, 0.1),
    "weights taken for twice": (planting.wrong_weights, 2.0),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["int8", "int8_io", "fixed_int8", "logits_int8"])
def test_a_planted_fault_is_blamed_at_its_layer(way: str, fault: str, tmp_path: Path) -> None:
    """Every layer of every golden network: the mean's weights are none, all else can be faulty."""
    reference = network({"fixed_int8": "fixed_float32", "logits_int8": "logits_float32"}.get(way, "float32"))
    plant, factor = FAULTS[fault]
    content = (GOLDEN / f"{way}.tflite").read_bytes()
    sources, follow_ups = looked_at()
    planted = 0
    for operator, tensor in planting.integer_layers(content):
        if plant is planting.wrong_weights and operator not in planting.WEIGHTED:
            continue
        file = tmp_path / f"{tensor}.tflite"
        file.write_bytes(plant(content, tensor, factor))
        faulty = tflite.load(file, preprocessing=identity("hwb"), name="faulty")
        layers = blamed(reference, faulty, sources, follow_ups)
        assert layers[0].tensor == faulty.graph.tensors[tensor].name, (operator, [x.operator for x in layers])
        if fault == "ten times too wide":
            assert layers[0].tensor in recalibrate(layers) and layers[0].findings.unused > 0.85
        if fault == "clipped to a tenth":
            assert layers[0].tensor in recalibrate(layers) and layers[0].findings.saturation > 0.1
        assert keep_float(layers)
        planted += 1
    assert planted >= 2


def test_the_network_as_converted_is_blamed_elsewhere() -> None:
    """What the planted faults are told apart from: the golden int8 network errs little in every layer."""
    layers = blamed(network("float32"), network("int8"), *looked_at())
    assert [layer.operator for layer in sorted(layers, key=lambda layer: layer.index)] == [
        "QUANTIZE", "CONV_2D", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert min(layer.findings.own_sqnr for layer in layers) > 25
    assert sum(layer.findings.effect for layer in layers) == pytest.approx(1)
    beyond = [layer.sources.avoidable + layer.findings.avoidable for layer in layers]
    assert beyond == sorted(beyond, reverse=True) and max(beyond) < 2 * 6, "less than a bit beyond one rounding"


def test_a_planted_fault_is_no_fault_of_the_layers_after_it(tmp_path: Path) -> None:
    """The error goes on to the end, the layers' own stays where it was made."""
    content = (GOLDEN / "int8.tflite").read_bytes()
    tensor = next(index for operator, index in planting.integer_layers(content) if operator == "CONV_2D")
    file = tmp_path / "faulty.tflite"
    file.write_bytes(planting.wrong_range(content, tensor, 0.1))
    faulty = tflite.load(file, preprocessing=identity("hwb"), name="faulty")
    by_index = sorted(blamed(network("float32"), faulty, *looked_at()), key=lambda layer: layer.index)
    assert [layer.findings.sqnr < 10 for layer in by_index] == [False, True, True, True]
    assert [layer.findings.own_sqnr < 10 for layer in by_index] == [False, True, False, False]


def test_a_planted_file_means_the_same_at_factor_one(tmp_path: Path) -> None:
    content = (GOLDEN / "int8.tflite").read_bytes()
    x, whole = networks.patches(16, seed=4)[0], network("int8")
    for _, tensor in planting.integer_layers(content):
        file = tmp_path / f"{tensor}.tflite"
        file.write_bytes(planting.wrong_range(content, tensor, 1.0))
        same = tflite.load(file, preprocessing=identity("hwb"), name="same")
        np.testing.assert_array_equal(same.predict_proba(x), whole.predict_proba(x))


def test_no_layer_is_blamed_where_nothing_differs() -> None:
    own = network("float32")
    layers = blamed(own, own.fresh(), *looked_at())
    assert all(layer.findings.own_sqnr is None and layer.findings.effect == 0 for layer in layers)
    assert all(layer.findings.parted == 0 and layer.findings.largest_error == 0 for layer in layers)
    assert keep_float(layers) == recalibrate(layers) == []


@pytest.mark.parametrize("way", ["float16", "dynamic_int8"])
def test_versions_with_float_activations_have_errors_and_no_ranges(way: str) -> None:
    layers = blamed(network("float32"), network(way), *looked_at())
    assert all(layer.low is None and layer.findings.saturation is None for layer in layers)
    assert all(layer.findings.unused is None and layer.findings.exceeded is None for layer in layers)
    assert 20 < layers[0].findings.own_sqnr < 90
    assert recalibrate(layers) == []


def test_layers_far_within_a_rounding_are_ranked_by_their_own_error() -> None:
    """Weights in float16: the convolution errs more, the dense layer moves the answer more, for it stands last."""
    first, second, last = blamed(network("float32"), network("float16"), *looked_at())
    assert [layer.operator for layer in (first, second, last)] == ["CONV_2D", "FULLY_CONNECTED", "MEAN"]
    for layer in (first, second):
        assert round(layer.sources.avoidable, 6) == round(layer.findings.avoidable, 6) == module.LEAST
    assert first.findings.own_sqnr < second.findings.own_sqnr - 3
    assert first.findings.effect < 0.2 < 0.8 < second.findings.effect
    assert last.findings.own_sqnr is None


def test_what_a_follow_up_exceeds_is_told_of_the_input() -> None:
    """Ten times the light: the input's range is too narrow for it, on the follow-ups alone."""
    sources, _ = looked_at()
    reference, quantised = network("float32"), network("int8")
    first = blamed(reference, quantised, sources, sources * np.float32(10))[0]
    assert first.operator == "QUANTIZE" and first.identity
    x = sources.astype(np.float64) * 10
    slack = (first.high - first.low) / 255 / 2
    beyond = (x < first.low - slack) | (x > first.high + slack)
    assert first.findings.exceeded == pytest.approx(beyond.mean()) and beyond.mean() > 0.3
    assert first.findings.saturation == pytest.approx(beyond.mean())
    assert first.findings.excess == pytest.approx(
        max(first.low - x.min(), x.max() - first.high) / (first.high - first.low)
    )
    assert (first.sources.exceeded or 0) < 0.01
    assert (first.findings.least, first.findings.greatest) == pytest.approx((x.min(), x.max()))
    assert (first.sources.least, first.sources.greatest) == pytest.approx((x.min() / 10, x.max() / 10))
    assert keep_float([first]) == list(first.readers) != []


def test_own_error_and_signal_to_noise_are_those_of_the_formula() -> None:
    """The input's row by row, from the file's scale: it has no layer before it, so both are the same."""
    sources, _ = looked_at()
    quantised = network("int8")
    layers = blamed(network("float32"), quantised, sources, sources)
    held = quantised.graph.tensors[next(op.outputs[0] for op in quantised.graph.ops if op.name == "QUANTIZE")]
    x = sources.reshape(len(sources), -1).astype(np.float64)
    steps = np.clip(np.rint(x / held.scale) + held.zero_point, -128, 127)
    noise = (steps - held.zero_point) * held.scale - x
    expected = np.mean([10 * np.log10((a**2).sum() / (b**2).sum()) for a, b in zip(x, noise, strict=True)])
    (first,) = (layer for layer in layers if layer.operator == "QUANTIZE")
    assert first.sources.own_sqnr == pytest.approx(expected, abs=1e-3)
    assert first.sources.sqnr == first.sources.own_sqnr == first.findings.own_sqnr
    assert first.sources.largest_error == pytest.approx(np.abs(noise).max(), rel=1e-5)
    assert first.sources.unused == pytest.approx(1 - (steps.max() - steps.min()) / 255)


def test_the_avoidable_error_is_what_lies_above_one_rounding() -> None:
    """Row by row in plain Python; rounding a uniform signal in its own range has none, four times the step 12 dB."""
    rng = np.random.default_rng(1)
    signal = rng.uniform(-1, 1, (6, 4000)) * np.array([[1], [1], [1], [1], [1], [3]])
    span, step = (-1.0, 1.0), 2 / 255
    ends = np.stack([signal.min(axis=1), signal.max(axis=1)])
    for factor, expected in ((1, 0.0), (4, 12.04)):
        noise = np.mean((np.rint(signal / (factor * step)) * factor * step - signal) ** 2, axis=1)
        each = []
        for row, (low, high) in zip(noise, ends.T, strict=True):
            best = (max(high, span[1], 0) - min(low, span[0], 0)) / 255
            each.append(10 * np.log10(row / (best**2 / 12)))
        assert avoidable(noise, ends, span) == pytest.approx(np.mean(each))
        assert np.mean(each[:5]) == pytest.approx(expected, abs=0.1)
        assert each[5] == pytest.approx(expected - 9.54, abs=0.1), "a patch of three times the span may step that far"
    assert avoidable(np.zeros(6), ends, span) is None
    assert avoidable(np.array([0.0, step**2 / 12]), ends[:, :2], span) == pytest.approx(module.LEAST / 2, abs=0.1)
    assert avoidable(np.ones(1), np.zeros((2, 1)), (0.0, 0.0)) is None, "nothing is represented"


def test_the_steps_of_the_answer_and_where_a_row_leaves() -> None:
    """Three layers, two rows of two classes, reckoned by hand; a common shift of all classes is no step."""
    answers = np.array(
        [
            [[1.0, 0.0], [3.0, 0.0]],
            [[2.0, 1.0], [3.0, 0.0]],
            [[0.0, 2.0], [1.0, 2.0]],
            [[0.0, 3.0], [2.0, 1.0]],
        ]
    )
    share, parted = parting(answers)
    # Row 0 steps by 0, then from 1 to -2, then to -3: squares 0, 9, 1. Row 1 by 0, 3 to -1, back to 1: 0, 16, 4.
    np.testing.assert_allclose(share, [0, (0.9 + 0.8) / 2, (0.1 + 0.2) / 2])
    assert parted.tolist() == [0, 1, 0], "row 1 is away for one layer only"


def test_chunks_do_not_change_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = network("float32"), network("int8")
    whole = blamed(*pair, *looked_at())
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    parts = blamed(*pair, *looked_at())
    assert [replace(a, sources=b.sources, findings=b.findings) for a, b in zip(parts, whole, strict=True)] == list(
        whole
    )
    assert [layer.findings for layer in parts] == [layer.findings for layer in whole]


def test_a_part_of_a_network_computes_what_the_whole_does() -> None:
    model, x = network("float32"), networks.patches(8, seed=5)[0]
    shared = shared_layers(model, model.fresh())
    conv, mean, dense = shared.reference_tensors
    inner = dict(zip((conv, mean, dense), model.inner(x, (conv, mean, dense)), strict=True))
    places, given = needed(model.graph, [network_input(model.graph), conv], [dense])
    assert given == (conv,), "the input is not needed once the first layer is known"
    assert [model.graph.ops[place].name for place in places] == ["MEAN", "FULLY_CONNECTED"]
    content = part_of(model.content, model.graph, [conv], [mean, dense])
    part = Part(content, kernels="xnnpack", threads=1, folds=model.folds, batch=1)
    found = part.run({conv: inner[conv]})
    np.testing.assert_array_equal(found[0], inner[mean])
    np.testing.assert_array_equal(found[1], inner[dense])
    with pytest.raises(ValueError, match="without the input of the network; give the input as well"):
        needed(model.graph, [dense], [mean])
    with pytest.raises(ValueError, match="all known; take them as they are"):
        part_of(model.content, model.graph, [mean], [mean])


def test_the_numbers_that_an_integer_represents() -> None:
    assert representable(Tensor((1, 4), "int8", 0.5, False, -128)) == (0.0, 127.5)
    assert representable(Tensor((1, 4), "uint8", 0.5, False, 100)) == (-50.0, 77.5)
    assert representable(Tensor((1, 4), "float32", 0.0, False)) is None


def test_a_concatenation_of_one_range_passes_it_on() -> None:
    """By the scales of a hand-made graph: as its inputs have them, another one, floats, constants beside them."""

    def told(*given: Tensor) -> bool:
        tensors = {0: Tensor((1, 8), "int8", 0.5, False, 3), **dict(enumerate(given, start=1))}
        op = Op("CONCATENATION", tuple(range(1, len(tensors))), (0,))
        return passes_on(Graph("", tensors, (op,), (4,), 8, 1, False, False, 1e-4), 0)

    same, weights = Tensor((1, 4), "int8", 0.5, False, 3), Tensor((4, 4), "int8", 0.1, True)
    assert told(same) and told(same, same) and told(same, weights)
    assert not told(same, replace(same, scale=0.25)) and not told(same, replace(same, zero_point=2))
    assert not told(Tensor((1, 4), "float32", 0.0, False)) and not told(weights) and not told()
    graph = network("int8").graph
    assert not any(passes_on(graph, index) for op in graph.ops for index in op.outputs if op.name in planting.WEIGHTED)


def test_models_without_layers_to_read_are_refused() -> None:
    reference, quantised = linear_pair(toy_scene())
    x = np.zeros((1, 5, 5, 4), np.float32)
    with pytest.raises(Unreadable, match=r"Expected two .tflite networks for blame, got .* convert it\.$"):
        blamed(reference, quantised, x, x)

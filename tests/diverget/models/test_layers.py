from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diverget.models import tflite
from diverget.models.graph import Op, Tensor
from diverget.models.layers import share_compared, shared_layers
from diverget.models.preprocessing import identity
from diverget.models.tflite import TFLiteModel
from diverget.objectives import OBJECTIVES, layer_divergence
from diverget.patches import cut
from diverget.problem import pose
from diverget.scene import Scene
from diverget.space import Space
from relations import get
from tests.diverget.models import networks

PAIRS = {
    "float16": ("float32", 1e-5, 1e-3),
    "dynamic_int8": ("float32", 2e-4, 5e-3),
    "int8": ("float32", 2e-3, 0.1),
    "int8_io": ("float32", 2e-3, 0.1),
    "fixed_int8": ("fixed_float32", 2e-3, 0.1),
    "logits_int8": ("logits_float32", 2e-3, 0.1),
}
"""For each version its reference, and between what its layers are apart on average: the coarser, the farther."""


def network(folder: Path, name: str) -> TFLiteModel:
    return tflite.load(folder / f"{name}.tflite", preprocessing=identity("hwb"), name=name)


def inputs(count: int = 21) -> np.ndarray:
    return networks.patches(count, seed=3)[0]


@pytest.mark.parametrize("way", PAIRS)
def test_the_versions_of_a_network_share_its_layers(golden: Path, way: str) -> None:
    of, low, high = PAIRS[way]
    shared = shared_layers(network(golden, of), network(golden, way))
    assert shared.names == ("CONV_2D", "MEAN", "FULLY_CONNECTED")
    assert share_compared(shared) == 1
    apart = shared.divergence(inputs())
    assert apart.shape == (21,) and apart.dtype == np.float64
    assert apart.min() >= 0 and low < apart.mean() < high


def test_the_distance_is_relative_to_both_sides(golden: Path) -> None:
    """The mean over the layers of |a - b| / (|a| + |b|), reckoned row by row."""
    shared = shared_layers(network(golden, "float32"), network(golden, "int8"))
    ours = shared.reference.inner(inputs(), shared.reference_tensors)
    theirs = shared.quantised.inner(inputs(), shared.quantised_tensors)
    assert [a.shape for a in ours] == [b.shape for b in theirs] == [(21, 288), (21, 32), (21, 3)]
    norm = np.linalg.norm
    expected = [
        np.mean([norm(a[i] - b[i]) / (norm(a[i]) + norm(b[i])) for a, b in zip(ours, theirs, strict=True)])
        for i in range(21)
    ]
    np.testing.assert_allclose(shared.divergence(inputs()), expected, rtol=1e-5)


def test_a_network_is_nowhere_apart_from_itself(golden: Path) -> None:
    own = network(golden, "int8")
    assert (shared_layers(own, own.fresh()).divergence(inputs()) == 0).all()


@pytest.mark.parametrize("way", PAIRS)
def test_a_row_alone_is_the_row_in_the_batch_from_any_thread(golden: Path, way: str) -> None:
    shared, x = shared_layers(network(golden, PAIRS[way][0]), network(golden, way)), inputs()
    whole = shared.divergence(x)
    np.testing.assert_array_equal(np.concatenate([shared.divergence(row[None]) for row in x]), whole)
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(shared.divergence, [x[:5], x[5:9], x[9:]]))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_inner_activations_are_those_of_the_network(golden: Path) -> None:
    """The dense layer gives what the mean times its weights says; the network's output is its softmax."""
    model, x = network(golden, "float32"), inputs()
    shared = shared_layers(model, model.fresh())
    mean, dense = model.inner(x, shared.reference_tensors[1:])
    op = next(op for op in model.graph.ops if op.name == "FULLY_CONNECTED")
    session = model._session(inner=True)
    weights, bias = (session.interpreter.get_tensor(index) for index in op.inputs[1:])
    assert mean.shape == (21, 32) and dense.shape == (21, 3)
    np.testing.assert_allclose(mean @ weights.T + bias, dense, atol=1e-5)
    np.testing.assert_allclose(tflite.softmax(dense), model.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("way", ["float32", *PAIRS])
def test_an_interpreter_that_can_be_looked_into_predicts_the_same(golden: Path, way: str) -> None:
    model = network(golden, way)
    part = inputs(model.graph.rows)
    inside = model._session(inner=True).run(part).reshape(-1, model.classes)
    np.testing.assert_array_equal(tflite.softmax(inside) if model.logits else inside, model.infer(part))


def with_graph(model: TFLiteModel, ops: list[tuple[str, tuple[int, ...]]]) -> TFLiteModel:
    """The model as if its graph were a line of operators with outputs of these shapes."""
    tensors = {index: Tensor(shape, "float32", 0.0, False) for index, (_, shape) in enumerate(ops)}
    told = tuple(Op(name, (max(0, index - 1),), (index,)) for index, (name, _) in enumerate(ops))
    return replace(model, graph=replace(model.graph, tensors=tensors, ops=told))


def test_layers_are_matched_by_order_operator_and_shape(golden: Path) -> None:
    conv, pool, dense, end = (
        ("CONV_2D", (1, 3, 3, 8)),
        ("MEAN", (1, 8)),
        ("FULLY_CONNECTED", (1, 3)),
        ("SOFTMAX", (1, 3)),
    )
    mover, other, batchless = ("QUANTIZE", (1, 3, 3, 8)), ("ADD", (1, 3, 3, 8)), ("CONV_2D", (9, 8))
    reference = with_graph(network(golden, "float32"), [conv, conv, batchless, pool, dense, end])
    quantised = with_graph(network(golden, "int8"), [mover, conv, mover, other, conv, pool, dense, end, mover])
    shared = shared_layers(reference, quantised)
    assert shared.names == ("CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED")
    assert shared.reference_tensors == (0, 1, 3, 4)
    assert shared.quantised_tensors == (1, 4, 5, 6)


def test_a_pair_without_a_shared_layer_is_refused_when_it_is_posed(
    golden: Path, scene: Scene, pool: ThreadPoolExecutor
) -> None:
    reference = network(golden, "float32")
    stranger = with_graph(network(golden, "int8"), [("QUANTIZE", (1, 4)), ("TANH", (1, 7)), ("SOFTMAX", (1, 3))])
    narrow = replace(scene, cube=scene.cube[:, :, :4], wavelengths=np.linspace(450, 900, 4), labels=scene.labels % 3)
    space = Space.of([get("brightness")], tier="stress")
    patches = cut(narrow, np.arange(20), size=5, margin=sum(space.margins((5, 5))), blocks=np.arange(20))
    asked = [objective for objective in OBJECTIVES if objective.score is layer_divergence]
    told = r"Expected inner layers that 'float32' and 'int8' share .* got CONV_2D, MEAN, FULLY_CONNECTED and TANH"
    with pytest.raises(ValueError, match=told):
        pose(reference, stranger, patches, space, narrow.sensor(), objectives=asked, limits=[], pool=pool, seed=1)
    problem = pose(
        reference,
        network(golden, "int8"),
        patches,
        space,
        narrow.sensor(),
        objectives=asked,
        limits=[],
        pool=pool,
        seed=1,
    )
    u = np.random.default_rng(0).random((5, space.dimensions))
    scores = problem.evaluate(u).scores[:, 0]
    follow_ups = problem.follow_ups(space.decode(np.repeat(u, 20, axis=0)), np.tile(np.arange(20), 5))
    assert problem.layers is not None
    np.testing.assert_allclose(scores, problem.layers.divergence(follow_ups).reshape(5, 20).mean(axis=1))
    assert scores.std() > 0
    assert np.isnan(problem.rows(space.decode(u), np.arange(5)).layers).all(), "measured for the score alone"

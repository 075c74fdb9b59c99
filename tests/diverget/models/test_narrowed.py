"""Every network of the zoo has a narrower twin that distillation can train."""

from __future__ import annotations

from typing import Any

from diverget.models import zoo
from diverget.models.child import Emit, run
from diverget.models.compress.bridge import narrowed
from tests.diverget.models.networks import require_tensorflow

SHAPES = {
    "hybridsn": (11, 11, 30, 1),
    "ssrn": (9, 9, 60, 1),
    "cnn3d": (9, 9, 60, 1),
    "spectral": (120, 1),
    "depthwise": (11, 11, 60),
    "lenet1": (28, 28, 1),
    "lenet5": (28, 28, 1),
    "resnet20": (28, 28, 1),
}
"""Prepared inputs; ssrn folds its channels into a depth that one kernel spans."""


def narrow_all(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: the parameters of each network, of its twin at each width, and the twin's outputs."""
    import keras
    import tf_keras

    found: dict[str, Any] = {}
    for family in (keras, tf_keras):
        for architecture in zoo.ALL:
            model = architecture.build(family, SHAPES[architecture.name], 7)
            twins = [narrowed(model, width) for width in payload["widths"]]
            found[f"{family.__name__} {architecture.name}"] = [
                [model.count_params(), *(twin.count_params() for twin in twins)],
                [int(twin.output_shape[-1]) for twin in twins],
            ]
    return found


def test_all_fit_together_at_any_width() -> None:
    require_tensorflow()
    found = run(narrow_all, {"widths": [1, 0.5, 0.3]}, task="narrowing", advice="look again", timeout=None)
    assert len(found) == 2 * len(zoo.ALL) and set(SHAPES) == set(zoo.NAMES)
    for name, (parameters, classes) in found.items():
        whole, same, half, third = parameters
        assert whole == same and third < half < 0.6 * whole, name
        assert classes == [7, 7, 7], name

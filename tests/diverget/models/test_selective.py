"""Layers left in float: the coverage says that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diverget.models.coverage import coverage
from diverget.models.graph import examine
from diverget.models.quantise import convert, quantisation
from diverget.models.selective import convert_selective
from diverget.models.training import Trained
from tests.diverget.models.networks import patches


@pytest.mark.slow
def test_the_named_layers_and_no_others_stay_in_float(trained: Trained, tmp_path: Path) -> None:
    z, _ = patches(30, seed=3)
    whole = convert(trained.path, quantisation("int8"), calibration=z, cache=tmp_path)
    graph = examine(whole)
    convolution, dense = (
        next(graph.tensors[op.outputs[0]].name for op in graph.ops if op.name == kind)
        for kind in ("CONV_2D", "FULLY_CONNECTED")
    )
    kept = {"convolution": [convolution], "dense": [dense], "both": [convolution, dense], "neither": ["no such"]}
    made = convert_selective(trained.path, kept, calibration=z, cache=tmp_path)
    assert coverage(whole).share == 1
    left = {name: {op for op, _, macs in coverage(path).float_ops if macs} for name, path in made.items()}
    assert left == {
        "convolution": {"CONV_2D"}, "dense": {"FULLY_CONNECTED"}, "both": {"CONV_2D", "FULLY_CONNECTED"},
        "neither": set(),
    }  # fmt: skip
    assert coverage(made["both"]).share == 0 and coverage(made["neither"]).share == 1
    again = convert_selective(trained.path, {"renamed": [dense]}, calibration=z, cache=tmp_path)
    assert again["renamed"] == made["dense"]


@pytest.mark.slow
def test_without_calibration_inputs_it_is_refused(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"finite calibration inputs"):
        convert_selective(trained.path, {"a": []}, calibration=np.zeros((0, 5, 5, 4)), cache=tmp_path)

"""Compressions in a config: short forms, names, refusals; and a whole run with two of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import load
from experiments.config.parts import QuantisedConfig
from experiments.config.schema import RunConfig
from tests.diverget.models.networks import require_tensorflow
from tests.experiments.small import CONFIG, run_directory, write

WHOLE = """
name: small
seed: 5
scene: {synthetic: {height: 64, width: 64}, patch: 7}
split: {assessed: 20, baseline: 100, calibration: 40}
references: [{zoo: depthwise, epochs: 6}]
quantisations:
  - {compression: qat, steps: 20}
  - {compression: pruning, quantisation: int8, steps: 20}
relations: [brightness, offset]
rates: {draws: 1, doses: []}
search: {population: 4, budget: 160}
control: false
attribution: false
"""


def versions(*entries: Any, zoo: str = "depthwise") -> tuple[QuantisedConfig, ...]:
    """The quantised versions of a config that names `entries`."""
    tree = {
        "name": "x",
        "scene": {"synthetic": {}},
        "references": [{"zoo": zoo}],
        "quantisations": list(entries),
        "relations": ["brightness"],
    }
    return TypeAdapter(RunConfig).validate_python(tree).quantisations


def test_a_word_is_a_compression_or_a_quantisation_or_both() -> None:
    found = versions("int8", "qat", "pruning+int8", "pruning", "qat+int8_io", "distillation + float16")
    assert [(entry.compression, entry.quantisation, entry.label) for entry in found] == [
        (None, "int8", "int8"),
        ("qat", "int8", "qat"),
        ("pruning", "int8", "pruning-int8"),
        ("pruning", "float32", "pruning"),
        ("qat", "int8_io", "qat-int8_io"),
        ("distillation", "float16", "distillation-float16"),
    ]


def test_defaults_are_written_out_and_read_back() -> None:
    (entry,) = versions({"compression": "pruning", "steps": 7})
    told = entry.model_dump(mode="json", exclude_none=True)
    assert (told["steps"], told["sparsity"], told["quantisation"]) == (7, 0.5, "float32")
    assert "clusters" not in told and "temperature" not in told
    assert versions(entry.model_dump(mode="json")) == (entry,)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("prunning", "a quantisation or a compression, got 'prunning'; did you mean pruning"),
        ("pruning+int9", "a quantisation, got 'int9'; did you mean int8"),
        ("squeeze+int8", "a compression, got 'squeeze'"),
        ("qat+float16", "after qat the quantisation int8 or int8_io.*got 'float16'"),
        ({"compression": "qat", "sparsity": 0.5}, "`compression: qat` leaves without effect, got `sparsity`"),
        ({"quantisation": "int8", "steps": 5}, "`no compression` leaves without effect, got `steps`"),
        ({"compression": "distillation", "student": "depthwis"}, "did you mean depthwise"),
        ({"compression": "pruning", "path": "a.tflite"}, "`path` leaves without effect, got `compression`"),
        ({"compression": "pruning", "sparsity": 1}, "less than 1"),
    ],
)
def test_what_cannot_be_meant_is_told(entry: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        versions(entry)


def test_volumes_are_not_trained_under_integers() -> None:
    with pytest.raises(ValidationError, match=r"training of hybridsn, whose 3-D.*got pruned_qat; .*int8_lowered"):
        versions("pruned_qat", zoo="hybridsn")
    assert versions("pruning+int8", zoo="hybridsn")


@pytest.mark.parametrize(
    ("entry", "zoo", "told"),
    [
        ("int16x8", "hybridsn", "that hybridsn can take, got int16x8: CONV_3D has no int16x8 .*; take int8_lowered"),
        ("pruning+int16x8", "ssrn", "that ssrn can take, got pruning-int16x8: CONV_3D has no int16x8 kernel"),
        ("int8_lowered", "depthwise", "that depthwise can take, got int8_lowered: .* to lower; take int8"),
        ("clustering+float32_lowered", "spectral", "that spectral can take, .* convolution to lower; take float32"),
    ],
)
def test_what_a_network_cannot_take_is_told_before_it_is_trained(entry: str, zoo: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        versions(entry, zoo=zoo)
    small = {"compression": "distillation", "student": "depthwise", "quantisation": "int16x8"}
    assert versions(small, zoo="hybridsn"), "the student is what is converted"
    assert versions("pruning+int8_lowered", zoo="cnn3d")


def test_a_deployed_reference_cannot_be_compressed(tmp_path: Path) -> None:
    text = CONFIG.replace("{path: %(golden)s/int8.tflite, name: int8}", "pruning+int8")
    with pytest.raises(ValueError, match="cannot be quantised"):
        load(write(tmp_path, text))


@pytest.mark.slow
def test_a_run_compares_compressed_versions(tmp_path: Path) -> None:
    require_tensorflow()
    path = write(tmp_path, WHOLE)
    done = CliRunner().invoke(app, ["run", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    place = run_directory(tmp_path / "out")
    entries = json.loads((place / "models.json").read_text())["pairs"]
    told = {entry["quantised"]: entry["quantised_model"] for entry in entries if not entry["control"]}
    assert set(told) == {"qat", "pruning-int8"}
    assert all(model["coverage"]["share"] == 1.0 for model in told.values())
    assert told["qat"]["compression"]["steps"] == 20 and told["qat"]["compression"]["unquantised"] is None
    pruned = told["pruning-int8"]["compression"]
    assert pruned["sparsity"] == pytest.approx(0.5, abs=0.02)
    assert pruned["zlib_bytes"] < told["pruning-int8"]["size_bytes"]
    assert pruned["unquantised"]["coverage"]["kind"] == "float32" and pruned["unquantised"]["float_check"] < 1e-5
    assert (place / pruned["unquantised"]["file"]).is_file() and (place / "report.html").is_file()

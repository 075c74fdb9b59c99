"""What a configuration says against a quantisation, before anything is executed."""

from __future__ import annotations

from typing import Any

import pytest

from diverget.models.keras_file import Layer, layers_in
from diverget.models.quantisations import QUANTISATIONS, caveat, quantisation, refusal, remark

INPUT = Layer("in", "InputLayer", {"batch_shape": [None, 7, 7, 30, 1]})
DENSE = Layer("out", "Dense", {"units": 9})
VOLUME = Layer("first", "Conv3D", {"groups": 1, "dilation_rate": [1, 1, 1], "data_format": "channels_last"})
PLAIN = [entry.name for entry in QUANTISATIONS if not entry.lowered]


def network(*layers: Layer) -> tuple[Layer, ...]:
    return (INPUT, *layers, DENSE)


def other(**changed: Any) -> Layer:
    return Layer("second", "Conv3D", VOLUME.config | changed)


def refused(layers: tuple[Layer, ...]) -> dict[str, str | None]:
    return {entry.name: refusal(layers, entry) for entry in QUANTISATIONS}


def test_without_conv3d_there_is_nothing_to_lower() -> None:
    told = refused(network(Layer("c", "Conv2D", {})))
    assert {name for name, reason in told.items() if reason} == {"float32_lowered", "int8_lowered"}
    assert "nothing to lower: take int8" in (told["int8_lowered"] or "")
    assert "take float32" in (told["float32_lowered"] or "")


def test_conv3d_has_no_int16x8_and_stays_float_where_it_is_not_lowered() -> None:
    layers = network(VOLUME, other())
    told = refused(layers)
    assert {name for name, reason in told.items() if reason} == {"int16x8"}
    assert "Conv3D 'first' and 1 more" in (told["int16x8"] or "") and "take int8_lowered" in (told["int16x8"] or "")
    notes = {entry.name for entry in QUANTISATIONS if "CONV_3D stays float" in (caveat(layers, entry) or "")}
    assert notes == {"dynamic_int8", "int8", "int8_io", "int8_per_tensor", "int16x8"}


@pytest.mark.parametrize(
    ("layer", "word"),
    [(Layer("p", "MaxPooling3D", {}), "MaxPooling3D 'p'"), (other(dilation_rate=[1, 1, 2]), "dilated")],
)
def test_what_tflite_cannot_do_but_lowering_can(layer: Layer, word: str) -> None:
    told = refused(network(VOLUME, layer))
    assert [name for name, reason in told.items() if reason] == PLAIN
    assert all(word in (told[name] or "") and "int8_lowered" in (told[name] or "") for name in PLAIN)


def test_what_nothing_can_do() -> None:
    for layer in (Layer("m", "ConvLSTM2D", {}), other(groups=2)):
        assert all(reason and layer.name in reason for reason in refused(network(VOLUME, layer)).values())


def test_recurrent_layers_need_a_batch_size_and_no_calibration() -> None:
    def told(batch: int | None, **config: Any) -> dict[str, str | None]:
        first = Layer("in", "InputLayer", {"batch_shape": [batch, 12, 1]})
        found = refused((first, Layer("memory", "LSTM", config), DENSE))
        return {name: reason for name, reason in found.items() if name in PLAIN}

    assert all("batch size is open" in (reason or "") for reason in told(None).values())
    fixed = told(1)
    assert {name for name, reason in fixed.items() if reason} == {
        entry.name for entry in QUANTISATIONS if entry.needs_calibration and not entry.lowered
    }
    assert not any(told(None, unroll=True).values())
    inner = {"layer": {"class_name": "LSTM", "config": {"unroll": False}}}
    wrapped = (INPUT, Layer("both", "Bidirectional", inner), DENSE)
    assert "Bidirectional 'both'" in (refusal(wrapped, quantisation("int8")) or "")


def test_small_float_operators_are_a_remark() -> None:
    layers = network(Layer("n", "LayerNormalization", {}))
    assert remark(layers, quantisation("int8")) == "small operators of LayerNormalization 'n' stay float"
    assert remark(layers, quantisation("float16")) == remark(network(), quantisation("int8")) == ""


def test_layers_of_nested_networks_are_read() -> None:
    deep = {"class_name": "Conv3D", "config": {"name": "deep"}}
    inner = {"class_name": "Functional", "config": {"name": "inside", "layers": [deep]}}
    config = {
        "class_name": "Sequential",
        "config": {"layers": [{"class_name": "Dense", "config": {"name": "d"}}, inner]},
    }
    told = [(layer.name, layer.kind, layer.network) for layer in layers_in(config)]
    assert told == [("d", "Dense", None), ("deep", "Conv3D", "inside")]

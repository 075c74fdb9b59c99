"""The quantisations by name, and which of them a network can take, told by its configuration before any conversion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diverget.models.keras_file import Layer
from diverget.models.lowering import obstacle


@dataclass(frozen=True)
class Quantisation:
    """A way from a Keras network to a .tflite file.

    Attributes:
        name: its name in a config.
        summary: one sentence for the report.
        needs_calibration: ranges of the activations come from prepared inputs.
        lowered: Conv3D layers are rewritten as 2-D convolutions first.
    """

    name: str
    summary: str
    needs_calibration: bool
    lowered: bool = False


QUANTISATIONS = (
    Quantisation("float32", "Nothing is quantised: the float reference.", False),
    Quantisation("float16", "Weights are stored as float16; CPUs compute in float32.", False),
    Quantisation("dynamic_int8", "Weights are int8; activations are quantised on the fly, in each operator.", False),
    Quantisation("int8", "Weights and activations are int8 where an int8 kernel exists; input and output float.", True),
    Quantisation("int8_io", "As int8, with int8 input and output.", True),
    Quantisation("int8_per_tensor", "As int8, with one scale for all filters of a layer instead of one each.", True),
    Quantisation(
        "int16x8",
        "Weights are int8, activations int16; it runs on reference kernels, tens of times slower than float32.",
        True,
    ),
    Quantisation(
        "float32_lowered",
        "Nothing is quantised; 3-D convolutions are rewritten as 2-D ones over gathered depth slices.",
        False,
        lowered=True,
    ),
    Quantisation(
        "int8_lowered",
        "As int8, after 3-D convolutions are rewritten as 2-D ones: they are int8 too, which plain int8 leaves float.",
        True,
        lowered=True,
    ),
)

IN_FLOAT = ("float32", "float32_lowered")
"""Those that quantise nothing."""

UNCONVERTIBLE = ("AveragePooling3D", "MaxPooling3D")
"""Layers without a TFLite operator that have a lowered form."""

RECURRENT = ("GRU", "LSTM", "SimpleRNN")
WRAPPED = ("Bidirectional", "RNN")
CONV_LSTM = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")

FLOAT_NORMS = ("GroupNormalization", "LayerNormalization", "MultiHeadAttention", "UnitNormalization")
"""Layers of which the converter leaves small operators in float."""


def quantisation(name: str) -> Quantisation:
    """The quantisation called `name`.

    Raises:
        ValueError: there is none.
    """
    for entry in QUANTISATIONS:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in QUANTISATIONS)
    raise ValueError(f"Expected the name of a quantisation, got {name!r}; choose one of {known}.")


def refusal(layers: Sequence[Layer], quantisation: Quantisation) -> str | None:
    """Why a network of such layers cannot be converted that way, with what to do; None where nothing is known against.

    Source: each refusal is a conversion that failed with TensorFlow 2.20 and 2.21 (engineering judgement where it is
    said of a layer's relatives).
    """
    volumes = [layer for layer in layers if layer.kind == "Conv3D"]
    if quantisation.lowered:
        if not volumes and not _of(layers, UNCONVERTIBLE):
            plain = quantisation.name.removesuffix("_lowered")
            return f"the network has no Conv3D layer, so there is nothing to lower: take {plain}"
        return next(filter(None, (obstacle(layer.name, layer.kind, layer.config) for layer in layers)), None)
    found = _of(layers, CONV_LSTM)
    if found:
        return f"{_named(found)} has no TFLite operator: replace it, by convolutions say"
    found = [layer for layer in layers if layer.kind in (*RECURRENT, *WRAPPED)]
    unrolled = all(_recurrent(layer).get("unroll") for layer in found)
    if found and not unrolled:
        batch = next((layer.config["batch_shape"][0] for layer in layers if layer.config.get("batch_shape")), None)
        if batch is None:
            return (
                f"{_named(found)} is recurrent and the batch size is open, which the converter refuses: build the "
                "network with unroll=True, or with a batch size in its input"
            )
        if quantisation.needs_calibration:
            return (
                f"{_named(found)} is recurrent, and the converter's process dies when it quantises it with "
                "calibration: build the network with unroll=True, or take another quantisation"
            )
    found = _of(layers, UNCONVERTIBLE)
    if found:
        return f"{_named(found)} has no TFLite operator: take float32_lowered or int8_lowered, or strided Conv3D layers"
    found = [layer for layer in volumes if _above_one(layer.config.get("dilation_rate"))]
    if found:
        return f"{_named(found)} is dilated, which CONV_3D cannot be: take float32_lowered or int8_lowered"
    found = [layer for layer in volumes if _above_one(layer.config.get("groups"))]
    if found:
        return (
            f"{_named(found)} has groups, which no runtime kernel of CONV_3D takes: split it into layers of one group"
        )
    if quantisation.name == "int16x8" and volumes:
        return f"CONV_3D has no int16x8 kernel ({_named(volumes)}): take int8_lowered"
    return None


def caveat(layers: Sequence[Layer], quantisation: Quantisation) -> str | None:
    """What a network that can be converted that way still leaves in float; None where nothing is known of it."""
    if quantisation.lowered or quantisation.name in ("float32", "float16"):
        return None
    if any(layer.kind == "Conv3D" for layer in layers):
        return "CONV_3D stays float: take int8_lowered for integer arithmetic throughout"
    return None


def remark(layers: Sequence[Layer], quantisation: Quantisation) -> str:
    """What to know of a conversion that is possible and quantises most of the network, or ""."""
    found = _of(layers, FLOAT_NORMS)
    if found and quantisation.needs_calibration:
        return f"small operators of {_named(found)} stay float"
    return ""


def _of(layers: Iterable[Layer], kinds: Sequence[str]) -> list[Layer]:
    return [layer for layer in layers if layer.kind in kinds]


def _named(layers: Sequence[Layer]) -> str:
    """The first of some layers by name and class, and how many more there are."""
    first = f"{layers[0].kind} {layers[0].name!r}"
    return first if len(layers) == 1 else f"{first} and {len(layers) - 1} more"


def _recurrent(layer: Layer) -> dict[str, object]:
    """The configuration that says how a recurrent layer runs: its own, or of the layer it wraps."""
    inner = layer.config.get("layer")
    config = inner.get("config") if isinstance(inner, dict) else layer.config
    return config if isinstance(config, dict) else {}


def _above_one(sizes: object) -> bool:
    held = sizes if isinstance(sizes, list | tuple) else [sizes]
    return any(isinstance(size, int) and size > 1 for size in held)

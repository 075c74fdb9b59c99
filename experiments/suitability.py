"""Which quantisations and compressions a network can take: a zoo's by its name, any other by its Keras file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from diverget.models import compress, quantisations
from diverget.models.keras_file import Layer, inspect_keras, layers_of
from diverget.models.quantise import layers_built
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.models.zoo import NAMES, Architecture
from experiments.config.parts import KERAS_SUFFIXES

BANDS, CLASSES = 103, 9
"""Of the Pavia University scene: a size to build a zoo's network of bands for; its layers do not depend on it."""


def suitability(model: str) -> list[dict[str, str]]:
    """One row a way of compression: its `name`, its `kind`, whether it is `possible`, and what to know of it.

    Args:
        model: the name of a network of the zoo, which is built untrained, or the path of a Keras file, which is read
            without executing it.

    Raises:
        FileNotFoundError, ValueError: neither of the two, or a file without a network.
    """
    layers, code = _layers(model), _code(model)
    rows = [*_quantisations(layers), *_compressions(layers)]
    return [_with_trust(row, code) if code and row["possible"] != "refused" else row for row in rows]


def _with_trust(row: dict[str, str], code: str) -> dict[str, str]:
    return row | {"possible": "needs trust", "note": "; ".join(filter(None, (code, row["note"])))}


def _code(model: str) -> str:
    """What to know of code in a Keras file; "" where it holds none."""
    if Path(model).suffix not in KERAS_SUFFIXES:
        return ""
    found = inspect_keras(Path(model))
    names = (*(f"Lambda {name!r}" for name in found.lambda_layers), *found.custom_objects)
    return f"carries code ({', '.join(names[:5])}): refused without `trust: true`" if names else ""


def _quantisations(layers: tuple[Layer, ...]) -> Iterator[dict[str, str]]:
    for entry in quantisations.QUANTISATIONS:
        refused, caveat = quantisations.refusal(layers, entry), quantisations.caveat(layers, entry)
        verdict = "refused" if refused else "mostly float" if caveat else "possible"
        told = refused or caveat or quantisations.remark(layers, entry)
        yield {"name": entry.name, "kind": "quantisation", "possible": verdict, "note": told}


def _compressions(layers: tuple[Layer, ...]) -> Iterator[dict[str, str]]:
    for entry in compress.COMPRESSIONS:
        refused = compress.refusal(layers, entry)
        verdict = "refused" if refused else "possible"
        yield {"name": entry.name, "kind": "compression", "possible": verdict, "note": refused or ""}


def _layers(model: str) -> tuple[Layer, ...]:
    for architecture in ARCHITECTURES:
        if architecture.name == model:
            return layers_built(architecture.build, _input_shape(architecture), CLASSES)
    if Path(model).suffix in KERAS_SUFFIXES:
        return layers_of(Path(model))
    raise ValueError(
        f"Expected a network of the zoo or a Keras file ({', '.join(KERAS_SUFFIXES)}) for --for, got {model!r}; choose "
        f"one of {', '.join(NAMES)}, or give the path of a file."
    )


def _input_shape(architecture: Architecture) -> tuple[int, ...]:
    """A prepared input that the architecture takes."""
    side = max(architecture.smallest_patch, architecture.published_patch or 1)
    bands = BANDS if architecture.data == "scene" else 1
    depth = max(architecture.pca or bands, architecture.smallest_depth)
    return {"hwb": (side, side, depth), "hwb1": (side, side, depth, 1), "centre": (depth, 1)}[architecture.layout]

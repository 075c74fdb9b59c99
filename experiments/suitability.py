"""Which quantisations and compressions a network can take: a zoo's by its name, any other by its file."""

from __future__ import annotations

from pathlib import Path

from diverget.models import compress, quantisations
from diverget.models.compress import Compression
from diverget.models.keras_file import KerasFile, Layer, inspect_keras, layers_of
from diverget.models.quantisations import Quantisation
from diverget.models.quantise import layers_built
from diverget.models.saved_model import inspect_saved_model, is_saved_model
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.models.zoo import NAMES, Architecture
from experiments.config.parts import DEPLOYED_SUFFIXES, KERAS_SUFFIXES, is_deployed

BANDS, CLASSES = 103, 9
"""Of the Pavia University scene: a size to build a zoo's network of bands for; its layers do not depend on it."""


WAYS: tuple[Quantisation | Compression, ...] = (*quantisations.QUANTISATIONS, *compress.COMPRESSIONS)


def suitability(model: str) -> list[dict[str, str]]:
    """One row a way of compression: its `name`, its `kind`, whether it is `possible`, and what to know of it.

    Args:
        model: the name of a network of the zoo, which is built untrained, or the path of a network file or SavedModel
            directory, which is read without executing it.

    Raises:
        FileNotFoundError, ValueError: neither of the two, or a file without a network.
    """
    path = Path(model)
    if path.is_file() and is_deployed(path):
        reason = f"a {path.suffix} cannot be converted again: give its Keras file"
        return [_row(way, refused=reason) for way in WAYS]
    if is_saved_model(path):
        return _with_trust([_of_saved_model(way) for way in WAYS], inspect_saved_model(path, trust=True))
    layers = _layers(model)
    rows = [_of_layers(way, layers) for way in WAYS]
    return _with_trust(rows, inspect_keras(path)) if path.suffix in KERAS_SUFFIXES else rows


def _with_trust(rows: list[dict[str, str]], found: KerasFile) -> list[dict[str, str]]:
    """The rows with what to know of code in the file, where it holds any."""
    names = (*(f"Lambda {name!r}" for name in found.lambda_layers), *found.custom_objects)
    if not names:
        return rows
    code = f"carries code ({', '.join(names[:5])}): refused without `trust: true`"
    return [
        row
        if row["possible"] == "refused"
        else row | {"possible": "needs trust", "note": "; ".join(filter(None, (code, row["note"])))}
        for row in rows
    ]


def _of_saved_model(way: Quantisation | Compression) -> dict[str, str]:
    if isinstance(way, Quantisation) and not way.lowered:
        return _row(way)
    asked = "lowered" if isinstance(way, Quantisation) else "compressed"
    return _row(way, refused=f"a SavedModel tells no layers that could be {asked}: give the Keras file")


def _of_layers(way: Quantisation | Compression, layers: tuple[Layer, ...]) -> dict[str, str]:
    if isinstance(way, Compression):
        return _row(way, refused=compress.refusal(layers, way))
    caveat, remark = quantisations.caveat(layers, way), quantisations.remark(layers, way)
    return _row(way, refused=quantisations.refusal(layers, way), caveat=caveat, remark=remark)


def _row(
    way: Quantisation | Compression, *, refused: str | None = None, caveat: str | None = None, remark: str = ""
) -> dict[str, str]:
    kind = "quantisation" if isinstance(way, Quantisation) else "compression"
    verdict = "refused" if refused else "mostly float" if caveat else "possible"
    return {"name": way.name, "kind": kind, "possible": verdict, "note": refused or caveat or remark}


def _layers(model: str) -> tuple[Layer, ...]:
    for architecture in ARCHITECTURES:
        if architecture.name == model:
            return layers_built(architecture.build, _input_shape(architecture), CLASSES)
    if Path(model).suffix in KERAS_SUFFIXES:
        return layers_of(Path(model))
    raise ValueError(
        f"Expected a network of the zoo, a network file ({', '.join((*KERAS_SUFFIXES, *DEPLOYED_SUFFIXES))}) or a "
        f"SavedModel directory for --for, got {model!r}; choose one of {', '.join(NAMES)}, or correct the path."
    )


def _input_shape(architecture: Architecture) -> tuple[int, ...]:
    """A prepared input that the architecture takes."""
    side = max(architecture.smallest_patch, architecture.published_patch or 1)
    bands = BANDS if architecture.data == "scene" else 1
    depth = max(architecture.pca or bands, architecture.smallest_depth)
    return {"hwb": (side, side, depth), "hwb1": (side, side, depth, 1), "centre": (depth, 1)}[architecture.layout]

"""Network files that are run as they are: which runtime opens which, and what it says of them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from diverget.models import onnx, tflite
from diverget.models import runtime as litert
from diverget.models.coverage import Coverage, covered
from diverget.models.onnx import OnnxModel
from diverget.models.preprocessing import Preprocessing
from diverget.models.tflite import TFLiteModel

Deployed = TFLiteModel | OnnxModel
"""A model read from a file that a runtime opens without conversion."""

SUFFIXES = (".tflite", ".onnx")


def load(
    path: Path,
    *,
    preprocessing: Preprocessing,
    name: str,
    kernels: str = tflite.USUAL[0],
    threads: int = tflite.USUAL[1],
) -> Deployed:
    """The model in the .tflite or .onnx file at `path`; `kernels` and `threads` are LiteRT's alone.

    Raises:
        FileNotFoundError, ValueError: as `load` of `tflite` and of `onnx` do.
    """
    if Path(path).suffix == ".onnx":
        return onnx.load(path, preprocessing=preprocessing, name=name)
    return tflite.load(path, preprocessing=preprocessing, name=name, kernels=kernels, threads=threads)


def kernel_sets(model: Deployed) -> tuple[str, ...]:
    """The names of the kernels that the runtime of a model can compute it with."""
    return onnx.KERNELS if isinstance(model, OnnxModel) else tuple(litert.KERNELS)


def under(model: Deployed, *, kernels: str, threads: int) -> Deployed:
    """The same file and preprocessing, run in another way.

    Raises:
        ValueError: the runtime refuses.
    """
    if isinstance(model, OnnxModel):
        return model.under(kernels=kernels, threads=threads)
    return tflite.load(model.path, preprocessing=model.preprocessing, name=model.name, kernels=kernels, threads=threads)


def runtime(model: Deployed) -> str:
    """The runtime that a model is run by, with its version: `LiteRT 2.3.0 with XNNPACK`, say."""
    if isinstance(model, OnnxModel):
        return f"onnxruntime {version('onnxruntime')} on the CPU"
    kernels = "XNNPACK" if model.kernels == "xnnpack" else f"{model.kernels} kernels"
    return f"LiteRT {version('ai-edge-litert')} with {kernels}"


def coverage(model: Deployed) -> Coverage | None:
    """How much of a model is quantised; None where its operators do not tell."""
    return model.graph.coverage if isinstance(model, OnnxModel) else covered(model.graph)

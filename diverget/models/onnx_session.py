"""One onnxruntime session: built quietly, fed a batch, read out. Neither onnxruntime nor onnx at import."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.runtime import dequantised, quiet
from diverget.models.runtime import quantised as quantised_values

TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
}
"""The types of inputs and outputs that can be fed and read, by onnxruntime's name, with NumPy's."""


@dataclass(frozen=True)
class End:
    """The input or the output of a network.

    Attributes:
        name: of its tensor.
        dtype: NumPy's name of its type.
        scale, zero_point: an integer q stands for (q − zero_point) · scale.
    """

    name: str
    dtype: str
    scale: float = 1.0
    zero_point: int = 0

    @property
    def is_float(self) -> bool:
        return np.dtype(self.dtype).kind == "f"

    def given(self, z: np.ndarray) -> np.ndarray:
        """float32 values z as the tensor wants them: cast, or round(z / scale) + zero point, clipped."""
        if self.is_float:
            with np.errstate(over="ignore"):
                return np.ascontiguousarray(z, dtype=self.dtype)
        return quantised_values(z, self._tensor)

    def taken(self, values: np.ndarray) -> np.ndarray:
        """What the tensor holds, float32: cast, or (values − zero point) · scale."""
        return values.astype(np.float32, copy=False) if self.is_float else dequantised(values, self._tensor)

    @property
    def _tensor(self) -> dict[str, Any]:
        return {"dtype": np.dtype(self.dtype), "quantization": (self.scale, self.zero_point)}


class OnnxSession:
    """One session of a network on the CPU, for one thread, with `threads` inside.

    `optimised=False` leaves the graph as the file has it: each operator is computed by itself, and every tensor can be
    an output.
    """

    def __init__(self, content: bytes, *, optimised: bool = True, threads: int = 1) -> None:
        with quiet():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
            options.use_deterministic_compute = True
            options.log_severity_level = 4
            # Whatever the bytes look like: the other format would be read past the checks made on this one.
            options.add_session_config_entry("session.load_model_format", "ONNX")
            if not optimised:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            self.session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, z: np.ndarray, source: End, target: End) -> np.ndarray:
        """The outputs of prepared inputs z (n, *input_shape) float32 in one call, float32, dequantised."""
        return target.taken(self.session.run([target.name], {source.name: source.given(z)})[0])


def failures() -> tuple[type[Exception], ...]:
    """What onnxruntime raises on a network it refuses or cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = ("EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return (*(getattr(state, name) for name in own if hasattr(state, name)), RuntimeError, TypeError, ValueError)


def check_installed(path: Path) -> None:
    """Return when an .onnx file can be read and run here.

    Raises:
        ValueError: onnxruntime or onnx is missing.
    """
    missing = [name for name in ("onnxruntime", "onnx") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"Expected onnxruntime and onnx to run {path}, found no module {' and '.join(map(repr, missing))} in "
            f'{sys.executable}; install the extra: pip install "diverget[onnx]".'
        )

"""One LiteRT interpreter: built quietly, fed a batch, read out. No TensorFlow."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

KERNELS = {
    "xnnpack": "BUILTIN",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
"""The kernel sets by name, with LiteRT's name of the op resolver: the same file can be another model in each."""

CHATTER = (b"INFO:", b"WARNING:", b"VERBOSE:", b"I0000", b"W0000")
_FD2 = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the C++ side's chatter off the terminal; whatever else was written meanwhile follows at the end.

    One thread at a time: the redirection is of the whole process.
    """
    with _FD2, tempfile.TemporaryFile() as caught:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            said = b"".join(line for line in caught.readlines() if not line.startswith(CHATTER))
            while said:
                said = said[os.write(2, said) :]


class Session:
    """One interpreter of a network, for one thread.

    `rows` is the batch it is allocated for; a batch of another size is allocated anew, which costs 0.1 ms once the
    largest size has been seen. With `inner` the activations of every operator stay readable after a run: under XNNPACK
    each operator is then delegated by itself, with the same kernels (outputs bit for bit the same and no slower,
    measured on float32, float16 and int8 networks).
    """

    def __init__(self, content: bytes, *, kernels: str, threads: int, inner: bool = False) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of the memory that inner tensors take
            self.interpreter: Any = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType[KERNELS[kernels]],
                experimental_preserve_all_tensors=inner,
            )
            self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]
        self.tensors = {int(tensor["index"]): tensor for tensor in self.interpreter.get_tensor_details()}
        self.rows = int(self.input["shape"][0])
        self.fresh = True

    def run(self, z: np.ndarray) -> np.ndarray:
        """The outputs of prepared inputs z (n, *input_shape) float32 in one invocation, float32, dequantised."""
        if len(z) != self.rows:
            with quiet():
                self.interpreter.resize_tensor_input(self.input["index"], [len(z), *z.shape[1:]])
                self.interpreter.allocate_tensors()
            self.rows, self.fresh = len(z), True
        self.interpreter.set_tensor(self.input["index"], quantised(z, self.input))
        if self.fresh:
            with quiet():
                self.interpreter.invoke()
            self.fresh = False
        else:
            self.interpreter.invoke()
        return self.held(int(self.output["index"]))

    def held(self, index: int) -> np.ndarray:
        """What tensor `index` holds after a run, float32, dequantised: the output, or with `inner` any activation."""
        return dequantised(self.interpreter.get_tensor(index), self.tensors[index])


def quantised(z: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """z as the tensor wants it: round(z / scale) + zero point, halves to even, clipped to the integer's range."""
    dtype = np.dtype(tensor["dtype"])
    if dtype == np.float32:
        return z
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(dtype)
    steps = np.rint(z / np.float32(scale)) + np.float32(zero_point)
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantised(values: np.ndarray, tensor: dict[str, Any]) -> np.ndarray:
    """(values - zero point) · scale of an integer tensor, float32; a float tensor as it is."""
    if values.dtype == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)

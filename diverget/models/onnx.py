"""An .onnx file as a model: onnxruntime sessions on the CPU, one a thread. No TensorFlow."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from diverget.models.model import batches
from diverget.models.onnx_graph import OnnxGraph, examine
from diverget.models.onnx_session import OnnxSession, failures
from diverget.models.preprocessing import Preprocessing
from diverget.models.tflite import softmax

KERNELS = ("cpu", "unfused")
"""How a graph is computed: as onnxruntime optimises it, integer kernels in place of what dequantises and quantises
again, or operator by operator as the file has them."""


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A network in onnxruntime, with its preprocessing.

    Every Python thread gets a session of its own on its first call, with one thread inside. Rows come out bit for bit
    the same alone, in any batch and from any thread: the batch is 8 where a probe of the file showed that, else 1 (or
    the size written into the file, its last batch padded).

    Attributes:
        digest: SHA-256 of the network and of the preprocessing.
        file_digest: SHA-256 of the network alone, its weights read in from wherever they lie.
        logits: the network gives logits, and `infer` their softmax. Known from the graph (a Softmax at its end) or
            else from a probe whose rows are no probabilities.
        output_step: one quantum of an output made from integers; 2^-11 of a float16 one, 1e-4 of any other float.
            With logits of quantum s it is tanh(s / 2).
        content: the network as ONNX bytes.
        kernels, threads: how the sessions run: `cpu` and 1, but for `under`.
    """

    name: str
    path: Path
    digest: str
    file_digest: str
    preprocessing: Preprocessing
    input_shape: tuple[int, ...]
    classes: int
    output_step: float
    logits: bool
    graph: OnnxGraph = field(repr=False)
    content: bytes = field(repr=False)
    kernels: str = "cpu"
    threads: int = 1
    _own: threading.local = field(default_factory=threading.local, repr=False)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of raw patches x (n, h, w, b) float32."""
        return self.infer(self.preprocessing.apply(x))

    def infer(self, z: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of prepared inputs z (n, *input_shape) float32.

        Raises:
            ValueError: z has another shape or type.
        """
        graph = self.graph
        parts = batches(z, input_shape=self.input_shape, rows=graph.rows, fixed=graph.fixed, name=self.name)
        found = np.empty((len(z), self.classes), dtype=np.float32)
        for start, part, count in parts:
            scores = self._session().run(part, graph.source, graph.target)
            found[start : start + count] = scores.reshape(-1, self.classes)[:count]
        return softmax(found) if self.logits else found

    def fresh(self) -> OnnxModel:
        """The same model with sessions of its own, none of them used yet."""
        return replace(self, _own=threading.local())

    def under(self, *, kernels: str, threads: int) -> OnnxModel:
        """The same network with sessions that run in another way, for comparison: rows may depend on their batch.

        Raises:
            ValueError: onnxruntime cannot run it so.
        """
        other = replace(self, kernels=kernels, threads=threads, _own=threading.local())
        try:
            other.infer(np.zeros((1, *self.input_shape), dtype=np.float32))
        except failures() as error:
            raise ValueError(
                f"Expected {self.name!r} to run under {kernels} with {threads} threads, got {str(error)[:200]}; take "
                "another way to run it."
            ) from None
        return other

    def _session(self) -> OnnxSession:
        session: OnnxSession | None = getattr(self._own, "session", None)
        if session is None:
            optimised = self.kernels == KERNELS[0]
            session = self._own.session = OnnxSession(self.content, optimised=optimised, threads=self.threads)
        return session


def load(path: Path, *, preprocessing: Preprocessing, name: str) -> OnnxModel:
    """The model in the .onnx file at `path`.

    Args:
        path: the file; float or integer (8 or 16 bits) input and output, a fixed or an open batch size, weights inside
            or in files of its folder.
        preprocessing: from raw patches to the network's inputs; the layouts `bhw` and `1bhw` are channels first.
        name: what the report calls it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: onnxruntime missing, not an .onnx file, a damaged one, operators from elsewhere, weights outside
            its folder, or none that takes one patch and gives at least two class scores.
    """
    path = Path(path)
    graph = examine(path)
    return OnnxModel(
        name=name,
        path=path,
        digest=sha256(f"{graph.digest} {preprocessing.digest}".encode()).hexdigest(),
        file_digest=graph.digest,
        preprocessing=preprocessing,
        input_shape=graph.input_shape,
        classes=graph.classes,
        output_step=graph.output_step,
        logits=graph.logits,
        graph=graph,
        content=graph.content,
    )

"""A .tflite file as a model: LiteRT interpreters, one a thread. No TensorFlow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from diverget.models.folds import by_row, folds
from diverget.models.graph import Graph, examine, read
from diverget.models.model import batches
from diverget.models.preprocessing import Preprocessing
from diverget.models.runtime import Session

USUAL = ("xnnpack", 1)
"""Kernels and threads of an interpreter where nothing else is said."""


@dataclass(frozen=True, eq=False)
class TFLiteModel:
    """A network in LiteRT, with its preprocessing.

    Every Python thread gets an interpreter of its own on its first call. Rows come out bit for bit the same alone,
    in any batch and from any thread: the batch is 8 where a probe of the file showed that, else 1 (or the size
    written into the file, its last batch padded).

    Attributes:
        digest: SHA-256 of the file, of the preprocessing, and of kernels and threads where they are not the default.
        file_digest: SHA-256 of the file alone.
        logits: the network gives logits, and `infer` their softmax. Known from the graph (a SOFTMAX at its end) or
            else from a probe whose rows are no probabilities.
        output_step: one quantum of an integer output; 1e-4 of a float one. With logits of quantum s it is
            tanh(s / 2), the most that two probabilities can differ by when their logits are one quantum apart.
        kernels, threads: how the interpreters run; part of a result's identity.
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
    kernels: str
    threads: int
    graph: Graph = field(repr=False)
    content: bytes = field(repr=False)
    _own: threading.local = field(default_factory=threading.local, repr=False)

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of raw patches x (n, h, w, b) float32."""
        return self.infer(self.preprocessing.apply(x))

    def infer(self, z: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of prepared inputs z (n, *input_shape) float32.

        Raises:
            ValueError: z has another shape or type.
        """
        found = np.empty((len(z), self.classes), dtype=np.float32)
        for start, part, count in self._parts(z):
            found[start : start + count] = self._session().run(part).reshape(-1, self.classes)[:count]
        return softmax(found) if self.logits else found

    def inner(self, z: np.ndarray, tensors: Sequence[int]) -> list[np.ndarray]:
        """The activations of `tensors` of the graph for prepared inputs z, one array (n, values) float32 each.

        They come from an interpreter of their own, so this costs as much as `infer`. The tensors are among `folds`.

        Raises:
            ValueError: z has another shape or type.
        """
        found: list[list[np.ndarray]] = [[] for _ in tensors]
        for _, part, count in self._parts(z):
            session = self._session(inner=True)
            session.run(part)
            for held, index in zip(found, tensors, strict=True):
                held.append(by_row(session.held(index), self.folds[index], len(part))[:count])
        return [np.concatenate(held) for held in found]

    @cached_property
    def folds(self) -> dict[int, int]:
        """Where the rows of a batch lie in the activations, by tensor."""
        return folds(self.graph)

    def _parts(self, z: np.ndarray) -> Iterator[tuple[int, np.ndarray, int]]:
        """Batches as the interpreter takes them: where each starts, its rows, and how many of them are no padding."""
        return batches(z, input_shape=self.input_shape, rows=self.graph.rows, fixed=self.graph.fixed, name=self.name)

    def fresh(self) -> TFLiteModel:
        """The same model with interpreters of its own, none of them used yet."""
        return replace(self, _own=threading.local())

    def _session(self, *, inner: bool = False) -> Session:
        name = "inner" if inner else "session"
        session: Session | None = getattr(self._own, name, None)
        if session is None:
            session = Session(self.content, kernels=self.kernels, threads=self.threads, inner=inner)
            setattr(self._own, name, session)
        return session


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (n, k) float32 of logits (n, k), computed in float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    weights = np.exp(shifted)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def load(
    path: Path, *, preprocessing: Preprocessing, name: str, kernels: str = "xnnpack", threads: int = 1
) -> TFLiteModel:
    """The model in the .tflite file at `path`.

    Args:
        path: the file; float or integer (int8, uint8, int16) input and output, a fixed or an open batch size.
        preprocessing: from raw patches to the network's inputs.
        name: what the report calls it.
        kernels: `xnnpack`, `builtin` (no delegate) or `reference`.
        threads: threads of one interpreter.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a .tflite file, a damaged one, one that needs TensorFlow's operators (Flex), or none that
            takes one patch and gives at least two class scores.
    """
    path = Path(path)
    graph = examine(path, kernels=kernels)
    content = read(path)
    found = sha256(content)
    identity = f"{found.hexdigest()} {preprocessing.digest}"
    if (kernels, threads) != USUAL:
        identity += f" {kernels} {threads}"
    return TFLiteModel(
        name=name,
        path=path,
        digest=sha256(identity.encode()).hexdigest(),
        file_digest=found.hexdigest(),
        preprocessing=preprocessing,
        input_shape=graph.input_shape,
        classes=graph.classes,
        output_step=graph.output_step,
        logits=graph.logits,
        kernels=kernels,
        threads=threads,
        graph=graph,
        content=content,
    )

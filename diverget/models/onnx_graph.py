"""What an .onnx file says of itself: its ends, its weights, how its outputs read. Found in a child process.

The file comes from anywhere, and a damaged one can end the process that opens it. So the first look is taken by a
child, and this process opens only what the child came back from. Weights in files of their own are read into the
network, so that one piece of bytes is all of it.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.models.coverage import Coverage
from diverget.models.graph import BATCH, FLOAT_STEP, LOOK_SECONDS, probabilities, quantum_of_probability
from diverget.models.onnx_coverage import Nodes, coverage_of
from diverget.models.onnx_ends import HALF_STEP, output_step, source_of, target_of
from diverget.models.onnx_file import companions, damaged, gather_weights, inlined, refuse_custom
from diverget.models.onnx_session import TYPES, End, OnnxSession, check_installed, failures


@dataclass(frozen=True)
class OnnxGraph:
    """A network as its file tells it.

    Attributes:
        content: the network with all its weights, ONNX bytes.
        digest: SHA-256 of `content`.
        source, target: its input and output.
        input_shape: one prepared input, without the batch axis.
        classes: number of outputs of one row.
        rows: rows a call; the same for all where `fixed`, at the most otherwise.
        fixed: the batch size is written into the file.
        logits: the outputs are not probabilities; a softmax makes them so.
        output_step: probabilities closer than this count as tied.
        coverage: how much of it is quantised, or None where its operators do not tell.
    """

    content: bytes = field(repr=False)
    digest: str
    source: End
    target: End
    input_shape: tuple[int, ...]
    classes: int
    rows: int
    fixed: bool
    logits: bool
    output_step: float
    coverage: Coverage | None


def examine(path: Path) -> OnnxGraph:
    """The graph of the .onnx file at `path`, as onnxruntime runs it on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: onnxruntime or onnx missing, no .onnx file, a damaged one, operators from elsewhere, weights
            outside its folder, several inputs or outputs, an input of open shape, fewer than two classes, or outputs
            that change from call to call.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected an .onnx file, found nothing at {path}; check the path, or export the network first."
        )
    check_installed(path)
    content = path.read_bytes()
    key = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in companions(path)]
    return _examine(str(path), sha256(content).hexdigest(), repr(key))


@lru_cache(maxsize=16)
def _examine(path: str, digest: str, beside: str) -> OnnxGraph:
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        told = run(
            look,
            {"path": path, "whole": str(whole)},
            task=f"the first look at {path}",
            advice="the file is damaged or beyond this onnxruntime: export the network again",
            timeout=LOOK_SECONDS,
        )
        content = whole.read_bytes() if whole.is_file() else Path(path).read_bytes()
    covered = told["coverage"]
    if covered is not None:
        covered = Coverage(**covered | {"float_ops": tuple(tuple(entry) for entry in covered["float_ops"])})
    return OnnxGraph(
        content=content,
        digest=sha256(content).hexdigest(),
        source=End(**told["source"]),
        target=End(**told["target"]),
        input_shape=tuple(told["input_shape"]),
        classes=told["classes"],
        rows=told["rows"],
        fixed=told["fixed"],
        logits=told["logits"],
        output_step=told["output_step"],
        coverage=covered,
    )


def look(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: read the file, check what it reaches for, run it on random inputs, count its operators."""
    from google.protobuf.message import DecodeError, EncodeError
    from onnx import ModelProto

    path = Path(payload["path"])
    try:
        model = ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise damaged(path, error) from None
    if not model.graph.node:
        raise damaged(path, "it holds no operator")
    refuse_custom(model, path)
    gathered = gather_weights(model, path)
    try:
        content = model.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise ModelError(
            f"Expected a network of less than 2 GB, got {path}, which cannot be held in one piece ({error}); give a "
            "smaller one."
        ) from None
    if gathered:
        Path(payload["whole"]).write_bytes(content)
    session = _session(content, path)
    shape, fixed = _input(session, path)
    nodes = Nodes.of(inlined(model))
    (given,), (taken,) = session.session.get_inputs(), session.session.get_outputs()
    source, target = source_of(nodes, given, path), target_of(nodes, taken, path)
    rng = np.random.default_rng(np.random.SeedSequence(0))
    z = rng.standard_normal((shape[0] if fixed else BATCH, *shape[1:])).astype(np.float32)
    if not source.is_float:
        z *= np.float32(source.scale * 64)
    alone, again = (_alone(session, z, fixed, source, target, path) for _ in range(2))
    if not np.array_equal(alone, again, equal_nan=True):
        raise ModelError(
            f"Expected the same outputs for the same inputs, got others from call to call in {path}; remove the "
            "random operator (dropout in training mode, say) and export the network for inference."
        )
    if alone.ndim < 1 or len(alone) != len(z) or alone.size // len(z) < 2:
        raise ModelError(
            f"Expected one row of at least 2 class scores for each input, got outputs of shape {alone.shape} for "
            f"{len(z)} inputs in {path}; for a yes-or-no network give both classes an output."
        )
    alone = alone.reshape(len(z), -1)
    rows = shape[0] if fixed else BATCH if _same_in_batch(_session(content, path), z, alone, source, target) else 1
    step, softmax_inside = output_step(nodes, target, alone)
    classes = alone.shape[1]
    logits = not softmax_inside and not probabilities(alone, step)
    if logits and step not in (FLOAT_STEP, HALF_STEP):
        step = quantum_of_probability(step)
    found = coverage_of(nodes, inlined(model), z[: shape[0] if fixed else 1], source)
    return {
        "source": asdict(source),
        "target": asdict(target),
        "input_shape": shape[1:],
        "classes": classes,
        "rows": rows,
        "fixed": fixed,
        "logits": logits,
        "output_step": step,
        "coverage": None if found is None else asdict(found),
    }


def _session(content: bytes, path: Path) -> OnnxSession:
    try:
        return OnnxSession(content)
    except failures() as error:
        raise damaged(path, str(error)[:300]) from None


def _input(session: OnnxSession, path: Path) -> tuple[list[int], bool]:
    """The shape of the input, 1 for an open batch, and whether the batch is written into the file."""
    inputs, outputs = session.session.get_inputs(), session.session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"Expected a network with one input and one output, got {len(inputs)} and {len(outputs)} in {path}; "
            "export a version that takes the patch alone and gives the classes alone."
        )
    for tensor in (inputs[0], outputs[0]):
        if tensor.type not in TYPES:
            raise ModelError(
                f"Expected inputs and outputs of the types {', '.join(TYPES.values())}, got {tensor.type} at "
                f"{tensor.name!r} in {path}; export the network with one of these."
            )
    shape = list(inputs[0].shape)
    if len(shape) < 2 or not all(isinstance(side, int) and side > 0 for side in shape[1:]):
        raise ModelError(
            f"Expected an input of fixed shape behind a batch axis, got {shape} in {path}; export the network with "
            "the patch size written into its input."
        )
    fixed = isinstance(shape[0], int) and shape[0] > 0
    return [shape[0] if fixed else 1, *shape[1:]], fixed


def _alone(session: OnnxSession, z: np.ndarray, fixed: bool, source: End, target: End, path: Path) -> np.ndarray:
    """The outputs of each row alone (of all at once where the batch is fixed)."""
    try:
        if fixed:
            return session.run(z, source, target)
        return np.concatenate([session.run(row[None], source, target) for row in z])
    except failures() as error:
        raise damaged(path, str(error)[:300]) from None


def _same_in_batch(session: OnnxSession, z: np.ndarray, alone: np.ndarray, source: End, target: End) -> bool:
    """Whether rows come out bit for bit the same in batches of 2 to 8 as alone."""
    try:
        found = [session.run(z[:rows], source, target) for rows in range(len(z), 1, -1)]
    except failures():
        return False
    return all(np.array_equal(part.reshape(-1), alone[: len(part)].reshape(-1), equal_nan=True) for part in found)

"""What a .tflite file says of itself: tensors, operators, and how its outputs read. Found in a child process.

The file comes from anywhere, and a damaged one can end the process that opens it. So the first look is taken by a
child, and this process opens only what the child came back from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.models.runtime import KERNELS, Session

IDENTIFIER = b"TFL3"
BATCH = 8
"""Rows an invocation: with XNNPACK larger batches gain nothing and lose the cache."""

FLOAT_STEP = 1e-4
LOOK_SECONDS = 120.0
INTEGERS = ("int8", "uint8", "int16")


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph at batch size 1 (or the fixed one); `dtype` is NumPy's name.

    An integer q of it stands for (q - zero_point) · scale. `name` is the one in the file.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float
    constant: bool
    zero_point: int = 0
    name: str = ""


@dataclass(frozen=True)
class Op:
    """An operator by TFLite's name, with the indices of its tensors; -1 stands for an absent one.

    `order` is that of the axes after a TRANSPOSE, where the file has it.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network as its file tells it.

    Attributes:
        digest: SHA-256 of the file.
        tensors: by index.
        ops: in order of execution.
        input_shape: one prepared input, without the batch axis.
        classes: number of outputs of one row.
        rows: rows an invocation; the same for all where `fixed`, at the most otherwise.
        fixed: the batch size is written into the file.
        logits: the outputs are not probabilities; a softmax makes them so.
        output_step: probabilities closer than this count as tied.
    """

    digest: str
    tensors: dict[int, Tensor]
    ops: tuple[Op, ...]
    input_shape: tuple[int, ...]
    classes: int
    rows: int
    fixed: bool
    logits: bool
    output_step: float


def read(path: Path) -> bytes:
    """The content of a .tflite file.

    Raises:
        FileNotFoundError: there is none at `path`.
        ValueError: the file has another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a .tflite file, found nothing at {path}; check the path, or convert the network first."
        )
    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ValueError(
            f"Expected a .tflite file with the identifier {IDENTIFIER.decode()} at byte 4, got {content[4:8]!r} "
            f"({len(content)} bytes) in {path}; give the file the TFLite converter wrote."
        )
    return content


def examine(path: Path, *, kernels: str = "xnnpack") -> Graph:
    """The graph of the .tflite file at `path`, as the interpreter with `kernels` runs it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no .tflite file, a damaged one, operators outside the built-in ones, several inputs or outputs,
            an input of open shape, fewer than two classes; or unknown `kernels`.
    """
    if kernels not in KERNELS:
        raise ValueError(f"Expected kernels to be one of {', '.join(KERNELS)}, got {kernels!r}; choose one of them.")
    return _examine(str(path), sha256(read(path)).hexdigest(), kernels)


@lru_cache(maxsize=64)
def _examine(path: str, digest: str, kernels: str) -> Graph:
    told = run(
        look,
        {"path": path, "kernels": kernels},
        task=f"the first look at {path}",
        advice="the file is damaged or beyond this interpreter: convert the network again",
        timeout=LOOK_SECONDS,
    )
    return Graph(
        digest=digest,
        tensors={int(i): Tensor(**t | {"shape": tuple(t["shape"])}) for i, t in told["tensors"].items()},
        ops=tuple(Op(op["name"], *(tuple(op[key]) for key in ("inputs", "outputs", "order"))) for op in told["ops"]),
        input_shape=tuple(told["input_shape"]),
        classes=told["classes"],
        rows=told["rows"],
        fixed=told["fixed"],
        logits=told["logits"],
        output_step=told["output_step"],
    )


def look(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: open the file, list its operators, run it on random inputs."""
    path, kernels = payload["path"], payload["kernels"]
    content = Path(path).read_bytes()
    plain = _session(content, path, "builtin")
    inputs, outputs = plain.interpreter.get_input_details(), plain.interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelError(
            f"Expected a network with one input and one output, got {len(inputs)} and {len(outputs)} in {path}; "
            "convert a version that takes the patch alone and gives the classes alone."
        )
    (source,), (target,) = inputs, outputs
    shape = [int(side) for side in source["shape"]]
    signature = [int(side) for side in source["shape_signature"]] or shape
    if len(shape) < 2 or -1 in signature[1:]:
        raise ModelError(
            f"Expected an input of fixed shape behind a batch axis, got {signature} in {path}; convert the network "
            "with the patch size written into its input."
        )
    fixed = signature[0] != -1
    classes = int(np.prod(target["shape"])) // shape[0]
    if int(target["shape"][0]) != shape[0] or classes < 2:
        raise ModelError(
            f"Expected one row of at least 2 class scores for each input, got outputs of shape "
            f"{target['shape'].tolist()} in {path}; for a yes-or-no network give both classes an output."
        )
    for tensor in (source, target):
        if np.dtype(tensor["dtype"]).name not in ("float32", *INTEGERS):
            raise ModelError(
                f"Expected float32, int8, uint8 or int16 inputs and outputs, got {np.dtype(tensor['dtype']).name} at "
                f"{tensor['name']!r} in {path}; convert the network with one of these."
            )
    tensors, ops = _listed(plain)
    session = plain if kernels == "builtin" else _session(content, path, kernels)
    rng = np.random.default_rng(np.random.SeedSequence(0))
    z = rng.standard_normal((shape[0] if fixed else BATCH, *shape[1:])).astype(np.float32)
    if np.dtype(source["dtype"]) != np.float32:
        z *= np.float32(source["quantization"][0] * 64)
    alone = session.run(z) if fixed else np.concatenate([session.run(row[None]) for row in z])
    rows = shape[0] if fixed else BATCH if _same_in_batch(_session(content, path, kernels), z, alone) else 1
    step, softmax_inside = _output_step(tensors, ops, int(target["index"]))
    alone = alone.reshape(-1, classes)
    logits = not softmax_inside and not probabilities(alone, step)
    if logits and step != FLOAT_STEP:
        step = quantum_of_probability(step)
    return {
        "tensors": {str(index): asdict(tensor) for index, tensor in tensors.items()},
        "ops": [asdict(op) for op in ops],
        "input_shape": shape[1:],
        "classes": classes,
        "rows": rows,
        "fixed": fixed,
        "logits": logits,
        "output_step": step,
    }


def _session(content: bytes, path: str, kernels: str) -> Session:
    try:
        return Session(content, kernels=kernels, threads=1)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        if "Flex" in reason or "Select TensorFlow op" in reason:
            raise ModelError(
                f"Expected built-in TFLite operators only, got TensorFlow operators (Flex) in {path}: {reason[:300]}; "
                "convert the network without SELECT_TF_OPS, or replace the layer that needs them."
            ) from None
        raise ModelError(
            f"Expected a .tflite file that the LiteRT interpreter accepts, got {path}, which it refuses: "
            f"{reason[:300]}; the file is damaged or was made for another runtime, convert the network again."
        ) from None


def quantum_of_probability(step: float) -> float:
    """The most that two probabilities differ by whose logits are one quantum apart, of two classes."""
    return float(np.tanh(step / 2))


def probabilities(outputs: np.ndarray, step: float) -> bool:
    """Whether rows of outputs (n, k) read as probabilities, up to `step`: within 0 and 1, and 1 in sum."""
    slack = 1e-3 + outputs.shape[1] * step / 2
    return not (outputs.min() < -slack or outputs.max() > 1 + slack or (np.abs(outputs.sum(axis=1) - 1) > slack).any())


def _same_in_batch(session: Session, z: np.ndarray, alone: np.ndarray) -> bool:
    """Whether rows come out bit for bit the same in batches of 8 and 3 as alone."""
    try:
        found = [session.run(z), session.run(z[:3])]
    except (ValueError, RuntimeError):
        return False
    return all(np.array_equal(part, alone[: len(part)]) for part in found)


def _listed(session: Session) -> tuple[dict[int, Tensor], tuple[Op, ...]]:
    """Tensors and operators of an interpreter without delegates, which would hide them."""
    ops = tuple(
        Op(op["op_name"], tuple(int(i) for i in op["inputs"]), tuple(int(i) for i in op["outputs"]))
        for op in session.interpreter._get_ops_details()
    )
    computed = {index for op in ops for index in op.outputs} | {int(session.input["index"])}
    tensors = {
        int(tensor["index"]): Tensor(
            shape=tuple(int(side) for side in tensor["shape"]),
            dtype=np.dtype(tensor["dtype"]).name,
            scale=float(tensor["quantization"][0]),
            constant=int(tensor["index"]) not in computed,
            zero_point=int(tensor["quantization"][1]),
            name=str(tensor["name"]),
        )
        for tensor in session.interpreter.get_tensor_details()
    }
    return tensors, tuple(_with_order(session, tensors, op) for op in ops)


def _with_order(session: Session, tensors: dict[int, Tensor], op: Op) -> Op:
    if op.name != "TRANSPOSE" or not tensors[op.inputs[1]].constant:
        return op
    return replace(op, order=tuple(map(int, session.interpreter.get_tensor(op.inputs[1]))))


def _output_step(tensors: dict[int, Tensor], ops: tuple[Op, ...], index: int) -> tuple[float, bool]:
    """One quantum of the integer tensor the output is (dequantised) from, or 1e-4; and whether a softmax made it."""
    makers = {output: op for op in ops for output in op.outputs}
    softmax, after = False, None
    while True:
        tensor, maker = tensors[index], makers.get(index)
        if after is None and tensor.dtype in INTEGERS and tensor.scale > 0:
            after = tensor.scale if not softmax else quantum_of_probability(tensor.scale)
        if maker is None or maker.name not in ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "SOFTMAX"):
            return (FLOAT_STEP if after is None else after), softmax
        softmax |= maker.name == "SOFTMAX"
        index = maker.inputs[0]

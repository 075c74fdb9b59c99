"""A SavedModel directory: what it holds, told from its protocol buffer without loading it; then opened, in a child.

A SavedModel is a program. Its operators can read and write files or call Python, some of them as soon as it is loaded
or converted. So they are listed first, and a directory with any that does more than compute is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.models.keras_file import KerasFile

FAMILY = "saved_model"
PROGRAM = "saved_model.pb"
SIGNATURE = "serving_default"
LOOK_SECONDS = 180.0

REACHING = re.compile(
    r"Checkpoint|Copy|Dataset|Debug|Decode|DTensor|Example|Experimental|File|ImmutableConst|Infeed|Iterator|Library|"
    r"Load|Lookup|Outfeed|Print|Proto|Py_?Func|Python|Queue|Reader|Record|Remote|Restore|Rpc|Save|Session|Summary|"
    r"Table|TPU|Vocab|Xla"
)
"""In the name of an operator: it reads, writes, calls or decodes what is no tensor. TensorFlow's list of operators
holds each of these words in such names (and in some harmless ones); whether an operator is stateful does not tell,
since ReadFile and WriteFile are not."""

STATEFUL = (
    "_Arg", "_Retval", "Assert", "AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp", "Case",
    "CheckNumerics", "CheckNumericsV2", "DeviceIndex", "DisableCopyOnRead", "If", "RandomStandardNormal",
    "RandomUniform", "RandomUniformInt", "ReadVariableOp", "ResourceGather", "ResourceGatherNd",
    "StatefulPartitionedCall", "StatelessRandomGetAlg", "TruncatedNormal", "VarHandleOp", "VarIsInitializedOp",
    "Variable", "VariableShape", "VariableV2", "While",
)  # fmt: skip
"""Operators with a state that do no more than compute and keep variables."""

SAVING = ("MergeV2Checkpoints", "SaveV2", "ShardedFilename")
RESTORING = ("RestoreV2",)
"""What the two functions may do that save and restore the variables, and no other."""


def is_saved_model(path: Path) -> bool:
    """Whether there is a SavedModel directory at `path`."""
    return (Path(path) / PROGRAM).is_file()


def directory_digest(path: Path) -> str:
    """SHA-256 of the files of a directory: of their places in it and of what they hold."""
    path = Path(path)
    found = sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        with open(file, "rb") as stream:
            content = file_digest(stream, "sha256").hexdigest()
        found.update(f"{file.relative_to(path).as_posix()} {content}\n".encode())
    return found.hexdigest()


def inspect_saved_model(path: Path, *, trust: bool) -> KerasFile:
    """What the SavedModel at `path` takes, as its default signature says.

    Raises:
        ValueError: no SavedModel, one without a default signature of one input and one output, or one with operators
            that do more than compute and that is not trusted; TensorFlow missing.
    """
    told = _looked(str(path), sha256((Path(path) / PROGRAM).read_bytes()).hexdigest())
    if told["foreign"] and not trust:
        raise ValueError(
            f"Expected a SavedModel that only computes, got the operator(s) {', '.join(told['foreign'][:6])} in "
            f"{path}, which can reach files, other programs or Python; nothing was loaded. If you trust its author, "
            "say so (trust: true), or give the .tflite files instead."
        )
    return KerasFile(
        family=FAMILY,
        input_shape=None if told["shape"] is None else tuple(told["shape"][1:]),
        classes=None,
        lambda_layers=(),
        custom_objects=tuple(told["foreign"]),
    )


@lru_cache(maxsize=16)
def _looked(path: str, digest: str) -> dict[str, Any]:
    return run(
        look,
        {"path": path},
        task=f"the first look at {path}",
        advice="the directory is damaged: save the network again",
        timeout=LOOK_SECONDS,
    )


def look(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: the shape of the default signature's input, and the operators that do more than compute."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = payload["path"]
    try:
        saved = saved_model_pb2.SavedModel.FromString((Path(path) / PROGRAM).read_bytes())
    except DecodeError as error:
        raise ModelError(
            f"Expected a SavedModel in {path}, got a {PROGRAM} that cannot be read ({error}); save the network again "
            "and copy the whole directory."
        ) from None
    serving = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    signature = serving[0].signature_def.get(SIGNATURE) if serving else None
    if signature is None or len(signature.inputs) != 1 or len(signature.outputs) != 1:
        told = "none" if signature is None else f"{len(signature.inputs)} and {len(signature.outputs)}"
        raise ModelError(
            f"Expected the signature {SIGNATURE!r} with one input and one output in {path}, got {told}; export the "
            "network with model.export(), or tf.saved_model.save() with that signature."
        )
    (source,) = signature.inputs.values()
    shape = None if source.tensor_shape.unknown_rank else [d.size for d in source.tensor_shape.dim]
    foreign = sorted({name for graph in saved.meta_graphs for name in _foreign(graph)})
    return {"shape": None if shape is None else [side if side >= 0 else None for side in shape], "foreign": foreign}


def _foreign(graph: Any) -> list[str]:
    """The operators of a graph and its functions that do more than compute, the standard saving and restoring of
    variables left out."""
    from tensorflow.python.framework import op_def_registry

    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    saver = graph.saver_def
    savers = {saver.save_tensor_name.partition(":")[0]: SAVING, saver.restore_op_name: RESTORING}
    allowed: dict[str, tuple[str, ...]] = {}
    calls: list[str] = list(graph.object_graph_def.concrete_functions)
    bodies = [("", graph.graph_def.node), *((name, function.node_def) for name, function in functions.items())]
    for body, nodes in bodies:
        for node in nodes:
            called = [f.name for value in node.attr.values() for f in (value.func, *value.list.func) if f.name]
            if node.op in functions:
                called.append(node.op)
            calls += called
            if not body and node.name in savers and len(called) == 1:
                allowed[called[0]] = savers[node.name]
    found = []
    for body, nodes in bodies:
        # Whatever else calls such a function could make it save or restore something else.
        standard = allowed.get(body, ()) if calls.count(body) == 1 else ()
        for node in nodes:
            known = op_def_registry.get(node.op)
            if node.op in functions or node.op in standard or node.op in STATEFUL:
                continue
            if known is None or known.is_stateful or REACHING.search(node.op):
                found.append(node.op)
    return found


def converter(path: str) -> tuple[Any, int]:
    """TensorFlow's converter of the default signature, and the rows it takes at once (1 where that is open)."""
    import tensorflow as tf

    try:
        (source,) = _signature(path).structured_input_signature[1].values()
        return tf.lite.TFLiteConverter.from_saved_model(path, signature_keys=[SIGNATURE]), source.shape[0] or 1
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unloadable(path, error) from None


def predicted(path: str, z: np.ndarray) -> np.ndarray:
    """The outputs of the default signature on prepared inputs z, as they are."""
    try:
        signature = _signature(path)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unloadable(path, error) from None
    ((name, source),) = signature.structured_input_signature[1].items()
    fixed = source.shape[0]
    rows = fixed or 32
    parts = []
    for start in range(0, len(z), rows):
        part = z[start : start + rows]
        padded = np.concatenate([part, np.repeat(part[-1:], rows - len(part) if fixed else 0, axis=0)])
        (found,) = signature(**{name: padded}).values()
        parts.append(np.asarray(found)[: len(part)])
    return np.concatenate(parts).astype(np.float32)


def _signature(path: str) -> Any:
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signature = loaded.signatures[SIGNATURE]
    signature.keeps_alive = loaded  # A function holds its variables weakly.
    return signature


def _unloadable(path: str, error: Exception) -> ModelError:
    said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ModelError(
        f"Expected a SavedModel that TensorFlow loads, got {path}, which it refuses: {said[:300]}; save the network "
        "again with this version and copy the whole directory, or give the .tflite files."
    )

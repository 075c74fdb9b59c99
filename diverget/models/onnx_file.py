"""Reading an .onnx file, in a child process: the operators it names, and the weights that lie in files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diverget.models.child import ModelError

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Where operators come from that onnxruntime brings along; any other needs a library of its own."""


def companions(path: Path) -> tuple[Path, ...]:
    """The files beside the .onnx file at `path` that may hold weights of it: their names stand in it."""
    content = Path(path).read_bytes()
    if b"location" not in content:  # the key under which such a file is named
        return ()
    beside = (file for file in sorted(Path(path).parent.iterdir()) if file.is_file() and file != Path(path))
    return tuple(file for file in beside if file.name.encode() in content)


def damaged(path: Path, reason: object) -> ModelError:
    """The error that says that a file is no network onnxruntime takes, and why."""
    said = " ".join(str(reason).split())
    return ModelError(
        f"Expected an .onnx file that onnxruntime accepts, got {path}, which is none ({said}); the file is damaged or "
        "of another format, export the network again."
    )


def refuse_custom(model: Any, path: Path) -> None:
    """Return when every operator is one of ONNX, of onnxruntime, or a function that the file itself defines.

    Raises:
        ModelError: one needs a library of its own.
    """
    own = {(function.domain, function.name) for function in model.functions}
    used = [node for holder in (model.graph, *model.functions) for node in _nodes(holder)]
    foreign = [f"{n.domain}:{n.op_type}" for n in used if n.domain not in DOMAINS and (n.domain, n.op_type) not in own]
    if foreign:
        raise ModelError(
            f"Expected operators of ONNX and onnxruntime alone, got {', '.join(sorted(set(foreign))[:5])} in {path}, "
            "which need a library of their own; nothing was loaded. Export the network without them."
        )


def _nodes(holder: Any) -> Iterator[Any]:
    """Every operator of a graph or function, those of the graphs inside its operators too."""
    for node in holder.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def gather_weights(model: Any, path: Path) -> bool:
    """Read weights that lie in files beside the network into it; whether there were any.

    Raises:
        ModelError: they lie outside the network's folder, or cannot be read.
    """
    from onnx import TensorProto

    folder = path.parent.resolve()
    found = False
    for tensor in (tensor for holder in (model.graph, *model.functions) for tensor in _tensors(holder)):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        place = (folder / location).resolve()
        if place.parent != folder or Path(location).is_absolute():
            raise ModelError(
                f"Expected the weights of {path} in its own folder, got external data at {location!r}; nothing was "
                "read. Save the network with its weights in one file."
            )
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
            if offset < 0 or length < -1 or not place.is_file():
                raise ValueError("no such file or place in it")
            with open(place, "rb") as file:
                file.seek(offset)
                values = file.read(length)
            if length >= 0 and len(values) != length:
                raise ValueError(f"{len(values)} bytes of {length}")
        except (OSError, ValueError) as error:
            raise ModelError(
                f"Expected the weights of {path} in {location!r} beside it, got none there ({error}); copy both files "
                "together, or save the network with its weights in one file."
            ) from None
        tensor.ClearField("external_data")
        tensor.data_location = TensorProto.DEFAULT
        tensor.raw_data = values
        found = True
    return found


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor stored in a graph."""
    sparse = list(graph.sparse_initializer) if hasattr(graph, "sparse_initializer") else []
    yield from graph.initializer if hasattr(graph, "initializer") else ()
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
    for pair in sparse:
        yield from (pair.values, pair.indices)


def inlined(model: Any) -> Any:
    """The network without functions of its own, their operators in their place."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    return inline_local_functions(model)

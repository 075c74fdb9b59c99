"""What a Keras file holds, read as JSON and HDF5: nothing in it is executed, and TensorFlow is not needed.

A damaged HDF5 file can end or stall the library that opens it, so a child process does that.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest, sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.packed import refuse_bomb

SUFFIXES = (".keras", ".h5", ".hdf5")
OWN_MODULE = re.compile(r"(tf_)?keras(\.\w+)*")
OWN_CLASS = re.compile(r"[A-Z]\w*")
VALUES = ("__tensor__", "__numpy__", "__keras_tensor__", "__tuple__", "__ellipsis__", "slice", "TensorShape")
"""Class names under which Keras writes plain values."""

REACHING_OUT = ("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
"""Keras' own classes that run code or graphs from elsewhere."""

DAMAGES = (
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file raises; too deep a configuration is a RecursionError, which is a RuntimeError."""

LOOK_SECONDS = 300.0
"""After which the look at a file is given up: seconds for the largest, for ever for a damaged one."""

PURE_OPERATORS = ("math.", "nn.", "__operators__.")
"""TensorFlow functions that a Keras 2 file may name: they compute; others (`io.`, say) reach outside."""


@dataclass(frozen=True)
class KerasFile:
    """A network file as its configuration tells it.

    Attributes:
        family: `keras` (Keras 3) or `tf_keras` (Keras 2): who can load it.
        input_shape: of one input, without the batch axis; None where the file does not say, as are single sides.
        classes: units of the last layer with units, or None.
        lambda_layers: names of layers that carry code in the file and would execute it.
        custom_objects: layers and functions that are not Keras' own; of a SavedModel, operators that do more than
            compute.
    """

    family: str
    input_shape: tuple[int | None, ...] | None
    classes: int | None
    lambda_layers: tuple[str, ...]
    custom_objects: tuple[str, ...]


def inspect_keras(path: Path) -> KerasFile:
    """What the `.keras` or `.h5` file at `path` holds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no Keras network with its configuration.
    """
    config, written_by = _configuration(Path(path))
    layers = list(_layers(config))
    old = any("batch_input_shape" in layer.get("config", {}) for layer in layers)
    family = "tf_keras" if written_by.startswith("2") or (old and not written_by) else "keras"
    shapes = (
        layer["config"].get(key)
        for layer in layers
        for key in ("batch_shape", "batch_input_shape")
        if layer.get("config", {}).get(key)
    )
    shape = next(shapes, None)
    units = [layer["config"]["units"] for layer in layers if isinstance(layer.get("config", {}).get("units"), int)]
    lambdas, custom = _foreign(config)
    return KerasFile(
        family=family,
        input_shape=None if shape is None else tuple(shape[1:]),
        classes=units[-1] if units else None,
        lambda_layers=tuple(lambdas),
        custom_objects=tuple(custom),
    )


@dataclass(frozen=True)
class Layer:
    """A layer as a configuration tells it: its name, its class, its settings.

    Attributes:
        network: name of the network inside the network that holds the layer; None for a layer of the network itself.
    """

    name: str
    kind: str
    config: dict[str, Any]
    network: str | None = None


def layers_of(path: Path) -> tuple[Layer, ...]:
    """Every layer of the `.keras` or `.h5` file at `path`, nested networks opened, in the file's order.

    Raises:
        FileNotFoundError, ValueError: as `inspect_keras` does.
    """
    return layers_in(_configuration(Path(path))[0])


def layers_in(config: dict[str, Any]) -> tuple[Layer, ...]:
    """Every layer of a network's configuration, nested networks opened, in its order."""
    found = []
    for entry in config["config"].get("layers") or [config]:
        for layer in _layers(entry):
            kind, network = str(layer.get("class_name")).rpartition(">")[2], None if layer is entry else _name(entry)
            found.append(Layer(_name(layer), kind, _settings(layer), network))
    return tuple(found)


def _settings(layer: dict[str, Any]) -> dict[str, Any]:
    inner = layer.get("config")
    return inner if isinstance(inner, dict) else {}


def _name(layer: dict[str, Any]) -> str:
    return str(_settings(layer).get("name") or layer.get("name") or "?")


def check_harmless(path: Path, found: KerasFile) -> None:
    """Return when loading the file executes no code of its own.

    Raises:
        ValueError: it holds Lambda layers or objects that are not Keras' own.
    """
    if found.lambda_layers:
        raise ValueError(
            f"Expected a network without code of its own, got Lambda layer(s) {', '.join(found.lambda_layers)} in "
            f"{path}, which run whatever Python the file carries; nothing was executed. If you trust its author, say "
            "so (trust: true), or give the .tflite files instead."
        )
    if found.custom_objects:
        raise ValueError(
            f"Expected layers and functions of Keras alone, got {', '.join(found.custom_objects[:5])} in {path}; "
            "nothing was executed. Convert the network where that code lives and give the .tflite files, or, if the "
            "installed Keras knows these objects and you trust the author, say so (trust: true)."
        )


def network_digest(path: Path) -> str:
    """SHA-256 of configuration and weights: the same for two files of one network, whenever they were written."""
    told = _looked(Path(path))
    if told["digest"] is None:
        raise ValueError(
            f"Expected the weights of a Keras network in {path}, got a file where they cannot be read "
            f"({told['reason']}); save it with model.save() and copy it whole."
        )
    return str(told["digest"])


def _configuration(path: Path) -> tuple[dict[str, Any], str]:
    """The configuration of the network and the version of Keras that wrote it ("" where unsaid)."""
    told = _looked(path)
    return json.loads(told["config"]), told["written_by"]


def _looked(path: Path) -> dict[str, Any]:
    """What `look` tells of a file, asked once for the same bytes."""
    if not path.is_file():
        what = "a directory (a SavedModel?)" if path.is_dir() else "nothing"
        raise FileNotFoundError(
            f"Expected a Keras file ({', '.join(SUFFIXES)}), found {what} at {path}; check the path, or save the "
            "network as .keras."
        )
    with open(path, "rb") as stream:
        return _look_at(str(path), file_digest(stream, "sha256").hexdigest())


@lru_cache(maxsize=64)
def _look_at(path: str, content: str) -> dict[str, Any]:
    return run(
        look,
        {"path": path},
        task=f"the first look at {path}",
        advice="the file is damaged: save it with model.save() and copy it whole",
        timeout=LOOK_SECONDS,
    )


def look(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: the configuration as JSON, and the digest of configuration and weights, None with the reason where these
    cannot be read."""
    path = Path(payload["path"])
    config, written_by = _read_configuration(path)
    found = sha256(json.dumps([config, written_by], sort_keys=True).encode())

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        # The optimiser's state does not change what the network computes.
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            if item.is_virtual or item.external:
                raise ValueError(f"{name} takes its values from other files")
            refuse_bomb(path, item.nbytes)
            values = np.asarray(item[()])
            found.update(f"{name} {values.shape} {values.dtype.str} ".encode())
            found.update(values.tobytes())

    told: dict[str, Any] = {"config": json.dumps(config), "written_by": written_by}
    try:
        with _weights(path) as file:
            file.visititems(add)
    except DAMAGES as error:
        return {**told, "digest": None, "reason": str(error)}
    return {**told, "digest": found.hexdigest()}


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of an archive, by its very name; nothing else of the archive is unpacked."""
    refuse_bomb(path, archive.getinfo(name).file_size)
    return archive.read(name)


def _read_configuration(path: Path) -> tuple[dict[str, Any], str]:
    """What `_configuration` gives, read in this process.

    Raises:
        ModelError: the file holds no network with its configuration.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                config = _stable(json.loads(_member(path, archive, "config.json")))
                metadata = json.loads(_member(path, archive, "metadata.json"))
                written_by = metadata.get("keras_version", "") if isinstance(metadata, dict) else ""
        else:
            with h5py.File(path, "r") as file:
                config = _stable(json.loads(file.attrs["model_config"]))
                written_by = file.attrs.get("keras_version", "")
    except DAMAGES as error:
        raise ModelError(
            f"Expected a whole Keras network, a .keras archive or an .h5 file with its configuration, got {path}, "
            f"where it cannot be read ({error}); save it with model.save(), not save_weights(), and copy it whole."
        ) from None
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict) or not _well_formed(config):
        raise ModelError(
            f"Expected the configuration of a Sequential or Functional network in {path}, got "
            f"{str(config)[:80]!r}; a subclassed network carries none: convert it to .tflite where its code lives."
        )
    return config, written_by.decode() if isinstance(written_by, bytes) else str(written_by)


def _well_formed(layer: Any) -> bool:
    """Whether every layer is an object, and every shape a list, as Keras writes them."""
    if not isinstance(layer, dict):
        return False
    inner = layer.get("config")
    if not isinstance(inner, dict):
        return inner is None or isinstance(inner, str)
    shapes = [inner.get(key) for key in ("batch_shape", "batch_input_shape")]
    layers = inner.get("layers", [])
    return (
        all(shape is None or isinstance(shape, list) for shape in shapes)
        and isinstance(layers, list)
        and all(map(_well_formed, layers))
    )


def _weights(path: Path) -> h5py.File:
    if not zipfile.is_zipfile(path):
        return h5py.File(path, "r")
    with zipfile.ZipFile(path) as archive:
        stored: IO[bytes] = BytesIO(_member(path, archive, "model.weights.h5"))
    return h5py.File(stored, "r")


def _layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every layer of a network, nested networks opened, in the file's order."""
    inner = config.get("config")
    layers = inner.get("layers", []) if isinstance(inner, dict) else []
    if not layers and isinstance(inner, dict):
        yield config
    for layer in layers:
        yield from _layers(layer)


def _foreign(node: Any) -> tuple[list[str], list[str]]:
    """Lambda layers, and objects that are not Keras' own, anywhere in a configuration."""
    lambdas: list[str] = []
    custom: list[str] = []

    def visit(node: Any, name: str) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item, name)
        if not isinstance(node, dict):
            return
        inner = node.get("config")
        name = str(inner.get("name", name)) if isinstance(inner, dict) else name
        class_name = node.get("class_name")
        if class_name is not None and not _own(node):
            if str(class_name).rpartition(">")[2] in ("Lambda", "__lambda__"):
                lambdas.append(name)
            else:
                custom.append(str(inner if class_name == "function" else node.get("registered_name") or class_name))
        for value in node.values():
            visit(value, name)

    visit(node, "?")
    return list(dict.fromkeys(lambdas)), list(dict.fromkeys(custom))


def _own(node: dict[str, Any]) -> bool:
    """Whether a serialised object is a class of Keras itself, or a plain value."""
    class_name, module = node["class_name"], node.get("module")
    if class_name in VALUES:
        return True
    if not isinstance(class_name, str) or not OWN_CLASS.fullmatch(class_name) or class_name in REACHING_OUT:
        return False
    if class_name in ("TFOpLambda", "SlicingOpLambda"):
        inner = node.get("config")
        return isinstance(inner, dict) and str(inner.get("function", "")).startswith(PURE_OPERATORS)
    registered = node.get("registered_name")
    if isinstance(registered, str) and ">" in registered:
        return False
    if module is None:
        # Old files name the class alone, and only Keras' own classes are looked up that way.
        return registered is None
    return isinstance(module, str) and OWN_MODULE.fullmatch(module) is not None


def _stable(node: Any) -> Any:
    """A configuration without what changes from one save to the next: memory addresses, and training settings,
    without which networks are loaded."""
    if isinstance(node, dict):
        return {key: _stable(value) for key, value in node.items() if key not in ("shared_object_id", "compile_config")}
    return [_stable(item) for item in node] if isinstance(node, list) else node

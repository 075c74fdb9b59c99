"""What a config is, whatever its files are called: every file it names stands for its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from diverget.formats import companions
from diverget.models import onnx_graph, saved_model


def content_digest(path: Path) -> str:
    """The digest of a file and of those beside it that belong to it: a header's data, an .onnx file's weights.

    Of a SavedModel it is the digest of the directory.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a header cannot be read or has no data file.
    """
    if saved_model.is_saved_model(path):
        return saved_model.directory_digest(path)
    own = _file_digest(path)
    beside = onnx_graph.companions(path) if path.suffix == ".onnx" else companions(path)
    others = [_file_digest(other) for other in beside]
    return hashlib.sha256("".join([own, *others]).encode()).hexdigest() if others else own


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a file at {path}, got none; correct the path in the config (paths in a config are relative to "
            "its folder, those of --set to the current one)."
        )
    told = path.stat()
    return _digest_as_it_was(path, told.st_mtime_ns, told.st_size, told.st_ino)


@lru_cache(maxsize=1024)
def _digest_as_it_was(path: Path, changed: int, size: int, number: int) -> str:
    """The digest of a file, read once as long as it stays what it is: the cells of a sweep share their scenes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_content(tree: Any, contents: Mapping[str, str]) -> Any:
    """`tree` with every path that is a key of `contents` replaced by its value."""
    if isinstance(tree, dict):
        return {key: by_content(value, contents) for key, value in tree.items()}
    if isinstance(tree, list):
        return [by_content(value, contents) for value in tree]
    return contents.get(tree, tree) if isinstance(tree, str) else tree

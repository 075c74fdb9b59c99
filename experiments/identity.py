"""What a config is, whatever its files are called: every file it names stands for its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diverget.formats import companions


def content_digest(path: Path) -> str:
    """The digest of a file, and of the data file beside it where it is a header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a header cannot be read or has no data file.
    """
    own = _file_digest(path)
    others = [_file_digest(other) for other in companions(path)]
    return hashlib.sha256("".join([own, *others]).encode()).hexdigest() if others else own


def _file_digest(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a file at {path}, got none; correct the path in the config (paths in a config are relative to "
            "its folder, those of --set to the current one)."
        )
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_content(tree: Any, contents: Mapping[str, str]) -> Any:
    """`tree` with every path that is a key of `contents` replaced by its value."""
    if isinstance(tree, dict):
        return {key: by_content(value, contents) for key, value in tree.items()}
    if isinstance(tree, list):
        return [by_content(value, contents) for value in tree]
    return contents.get(tree, tree) if isinstance(tree, str) else tree

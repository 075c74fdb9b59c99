"""Files that take long to make, made once and kept: networks trained, compressed and converted."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from diverget.locks import locked

PREFIX = ".making-"
"""Of the folders in which files are made, beside where they will stand."""

STALE_SECONDS = 86_400
"""Age at which such a folder belongs to no process that still lives."""


def made_once(files: Sequence[Path], make: Callable[[Path], None]) -> bool:
    """See that `files`, all of one folder, are there, and tell whether they were already.

    What is missing `make(folder)` writes, each file under its own name, into a fresh folder beside them, from which
    they are moved in the order given: the last one in place means that all are. Of two processes that want the same
    files one makes them and the other waits.
    """
    place = files[0].parent
    place.mkdir(parents=True, exist_ok=True)
    with locked(files[0]):
        found = all(file.is_file() for file in files)
        if not found:
            with tempfile.TemporaryDirectory(prefix=PREFIX, dir=place) as folder:
                make(Path(folder))
                for file in files:
                    os.replace(Path(folder, file.name), file)
    return found


def clear_stale(place: Path) -> None:
    """Remove the folders that killed processes left in `place`."""
    for folder in place.glob(f"{PREFIX}*"):
        if folder.stat().st_mtime < time.time() - STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)

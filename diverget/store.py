"""The run directory: written once, never rewritten, never half written.

Every file appears by rename, so whatever instant a run is killed at, a file is there whole or not at all.
The store is the run: what is in it is not computed again, and the report reads nothing else.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import os
import platform
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NO_ARRAYS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, KeyError, MemoryError, OSError, RuntimeError, ValueError,
)  # fmt: skip
"""What NumPy and zipfile raise of the bytes of an .npz that is damaged."""


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well.

    Raises:
        OSError: the disk is full, or the folder may not be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two hosts of a network file system may have processes of one number: the name holds chance in place of it.
    temporary = path.with_name(f".{path.name}.{platform.node()}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Held(ValueError):
    """A run directory that another process holds."""


class Damaged(ValueError):
    """A file of a run that cannot be read.

    Attributes:
        fact: what was expected in which file, and what stands there, without a way out.
    """

    def __init__(self, fact: str, way_out: str) -> None:
        super().__init__(fact, way_out)
        self.fact = fact

    def __str__(self) -> str:
        return ": ".join(self.args)


class Store:
    """One run's directory. Names are relative to it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Where the file `name` of the run lies.

        Raises:
            ValueError: it would lie outside the run's directory, or is no name of a file.
        """
        if not name or "\0" in name or "\\" in name or PurePosixPath(name).is_absolute() or ".." in name.split("/"):
            raise ValueError(
                f"Expected the name of a file inside {self.root}, got {name[:80]!r}, which leads elsewhere; nothing "
                "was read or written. The run was changed: take it from where it was made."
            )
        return self.root / name

    def beside(self, name: str) -> Path:
        """The directory `name` beside this one.

        Raises:
            ValueError: it would lie elsewhere, or is no name of a directory.
        """
        if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
            raise ValueError(
                f"Expected the name of a directory beside {self.root}, got {name[:80]!r}, which leads elsewhere; "
                "nothing was read or written. Start the study again, or take it from where it was made."
            )
        return self.root.parent / name

    def has(self, name: str) -> bool:
        return self.path(name).exists()

    def write_json(self, name: str, content: Any) -> None:
        """`content` as JSON; NaN becomes null."""
        text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        with appearing(self.path(name)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read_json(self, name: str) -> Any:
        """The content of a JSON file.

        Raises:
            Damaged: it is no JSON; the way out is told.
        """
        try:
            return json.loads(self.path(name).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            where = f"damage at line {error.lineno}"
        except UnicodeDecodeError as error:
            where = f"damage at byte {error.start}"
        except RecursionError:
            where = "too many levels"
        except ValueError:
            where = "a number of too many digits"
        raise Damaged(f"Expected JSON in {self.path(name)}, got {where}", "remove that file and run again.")

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
        """`rows` as Parquet. The same rows give the same bytes."""
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
        with appearing(self.path(name)) as temporary:
            pq.write_table(table, temporary, compression="zstd")

    def read_table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a Parquet file.

        Raises:
            Damaged: it is.
        """
        content = self.path(name).read_bytes()
        try:
            rows: list[dict[str, Any]] = pq.read_table(pa.BufferReader(content)).to_pylist()
        # A flipped byte may read as a type, an encoding or a compression that there is not.
        except (pa.ArrowException, ValueError, OSError) as error:
            raise Damaged(
                f"Expected Parquet in {self.path(name)}, got damage", "remove that file and run again."
            ) from error
        return rows

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """`arrays` as a compressed .npz."""
        with appearing(self.path(name)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def read_arrays(self, name: str, *, having: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """The arrays of an .npz, those of the names `having` among them.

        Raises:
            Damaged: it is, or lacks one of them.
        """
        way_out = "remove that run's folder and run again."
        content = self.path(name).read_bytes()
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                arrays = dict(stored)
        # A flipped byte may read as another compression, as a password, or as a size that there is not.
        except NO_ARRAYS as error:
            raise Damaged(f"Expected arrays in {self.path(name)}, got damage ({error})", way_out) from error
        lacking = [key for key in having if key not in arrays]
        if lacking:
            raise Damaged(f"Expected the key {lacking[0]} in {self.path(name)}, got none", way_out)
        return arrays

    def remove(self, name: str) -> None:
        """Remove a folder of parts, once what was made of them is written."""
        shutil.rmtree(self.path(name), ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the directory: no other process writes here meanwhile, and what a killed one left is removed.

        Raises:
            Held: another process holds it.
        """
        import fcntl

        self.root.mkdir(parents=True, exist_ok=True)
        with open(self.path(".lock"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Held(
                    f"Expected {self.root} to be free, got a run that is writing there now; wait for it, or stop "
                    "it first."
                ) from None
            for left in self.root.rglob(".*.tmp"):
                left.unlink()
            yield


def plain(content: Any) -> Any:
    """`content` in JSON's own types: arrays as lists, NumPy scalars as numbers, NaN and infinity as None."""
    # Almost all of a table is one of these four, and asking whether a value is a Mapping takes longest.
    if content is None or type(content) in (str, int, bool):
        return content
    if type(content) is float:
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, np.ndarray):
        return plain(content.tolist())
    if isinstance(content, (list, tuple)):
        return [plain(value) for value in content]
    if isinstance(content, np.generic):
        return plain(content.item())
    return content

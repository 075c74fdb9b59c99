"""One process at a time: a lock that falls with whoever holds it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system without locks answers."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file `path` for the length of the block; whoever comes second waits.

    The lock is a hidden file beside it. It falls with the process that holds it, however that ends, and is removed at
    the end of the block. Where a file system has no locks nobody waits: the same work may be done twice, and either
    result stands.
    """
    import fcntl

    place = path.with_name(f".{path.name}.lock")
    while True:
        with open(place, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            if not _is(lock.fileno(), place):  # Whoever held it has removed it: what was waited for is no longer there.
                continue
            try:
                yield
            finally:
                place.unlink(missing_ok=True)
            return


def _is(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that stands at `path` now."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

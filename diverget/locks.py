"""One process at a time: a lock that falls with whoever holds it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a file system without locks answers."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file `path` for the length of the block; whoever comes second waits.

    The lock is a hidden file beside it, and falls with the process that holds it, however that ends. Where a file
    system has no locks nobody waits: the same work may be done twice, and either result stands.
    """
    import fcntl

    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield

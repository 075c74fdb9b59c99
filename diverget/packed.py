"""How much a packed file may stand for: a small one can promise more values than fit into memory."""

from __future__ import annotations

from pathlib import Path

HARMLESS_BYTES = 64 * 2**20
"""Unpacked, this much is never refused."""

MOST_PACKED = 400
"""Unpacked bytes to one of a file. Cubes pack 1 to 10 times, and DEFLATE 1032 times at the most: engineering judgement.
"""


def most_unpacked(path: Path) -> int:
    """The bytes that the file at `path` may unpack to."""
    return max(HARMLESS_BYTES, MOST_PACKED * path.stat().st_size)


def refuse_bomb(path: Path, promised: int) -> None:
    """Return when what a file promises to unpack to, in bytes, is no more than such a file can honestly hold.

    Raises:
        ValueError: it is more; what is wrong, for the reader to put into its own error.
    """
    if promised > most_unpacked(path):
        raise ValueError(f"it promises more than {MOST_PACKED} times its own size, {promised:,} bytes")

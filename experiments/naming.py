"""Names that folders and files are called after."""

from __future__ import annotations

LONGEST_NAME = 128
"""Bytes of a run's or a study's name: file systems end at 255 (`NAME_MAX` of Linux), and digests, suffixes and the
marks of temporary files come on top (engineering judgement)."""


def short_name(name: str) -> str:
    """`name`, where folders and files can be called after it.

    Raises:
        ValueError: it is too long.
    """
    length = len(name.encode())
    if length > LONGEST_NAME:
        raise ValueError(
            f"expected a name of at most {LONGEST_NAME} bytes, for folders and files are called after it, got "
            f"{length}; shorten it"
        )
    return name

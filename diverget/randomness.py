"""Every random stream of a run, derived from its one root seed by purpose. Nothing else may draw."""

from __future__ import annotations

from enum import IntEnum
from zlib import crc32

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. Numbers are part of every stored run: add at the end, never renumber."""

    FIELD = 1
    SEARCH = 2
    RATE = 3
    SPLIT = 4
    ASSESSED = 5
    TRAINING = 6
    CALIBRATION = 7
    BOOTSTRAP = 8
    PATCHWISE = 9
    GAPS = 10
    REPAIR = 11
    DOSE = 12


def key(name: str) -> int:
    """A number for `name` that is the same on every machine and in every process."""
    return crc32(name.encode())


def generator(root: int, purpose: Purpose, *more: int) -> np.random.Generator:
    """The stream of `purpose` under the root seed `root`, told apart by `more`."""
    return np.random.default_rng(np.random.SeedSequence([root, purpose, *more]))


def integer(root: int, purpose: Purpose, *more: int) -> int:
    """A seed below 2**31 for a library that wants a plain number."""
    return int(np.random.SeedSequence([root, purpose, *more]).generate_state(1)[0] >> 1)

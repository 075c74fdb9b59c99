"""What a fresh search tells of a repair."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from diverget.lockstep import NEVER
from experiments.repair.ground import Searched
from experiments.repair.judged import _chance, _found, _revealed


def searched(members: list[int], found: dict[int, int]) -> Searched:
    """A search on the members that `found` names, with the queries to the first REVEALED of each."""
    trace: Any = SimpleNamespace(members=np.array(list(found)), revealed=np.array(list(found.values())))
    return Searched(np.array(members), trace)


def test_a_patch_that_parts_without_distortion_counts_as_found() -> None:
    one = searched([1, 3, 5], {1: NEVER, 5: 7})
    assert _found(one).tolist() == [False, True, True]
    assert _revealed(one) == 2


def test_a_patch_more_is_chance_and_six_are_not() -> None:
    none = dict.fromkeys(range(10), NEVER)
    old = searched(list(range(10)), none)
    assert _chance(old, searched(list(range(10)), none | {3: 9})) == 1
    assert _chance(old, searched(list(range(10)), none | dict.fromkeys(range(6), 9))) == pytest.approx(2 / 2**6)

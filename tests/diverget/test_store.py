"""Files of a run directory appear whole, whoever else writes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from diverget.store import Store, appearing


def test_two_writers_of_one_process_number_have_temporary_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hosts of a network file system number their processes each for itself.
    monkeypatch.setattr(os, "getpid", lambda: 7)
    path = tmp_path / "summary.json"
    with appearing(path) as first:
        first.write_text("first")
        with appearing(path) as second:
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second" and first.read_text() == "first"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "rates").mkdir()
    with pytest.raises(OSError), appearing(tmp_path / "rates" / "a.json") as left:
        left.write_text("half")
        left = left.rename(left.with_name(left.name.replace("a.json", "b.json")))
    assert left.exists()
    with Store(tmp_path).alone():
        assert not left.exists()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(TypeError):
        store.write_json("x.json", {"set": {1, 2}})
    assert list(tmp_path.iterdir()) == []
    store.write_json("x.json", {"nan": float("nan"), "array": np.arange(2), "scalar": np.float32(0.5)})
    assert store.read_json("x.json") == {"nan": None, "array": [0, 1], "scalar": 0.5}

"""Files of a run directory appear whole, whoever else writes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from diverget.store import Damaged, Store, appearing


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


def test_whatever_byte_is_damaged_the_file_is_read_or_told(tmp_path: Path) -> None:
    store, rng = Store(tmp_path), np.random.default_rng(0)
    schema = pa.schema([("name", pa.string()), ("numbers", pa.list_(pa.float64()))])
    store.write_table("a.parquet", [{"name": str(n), "numbers": [n / 3, n]} for n in range(50)], schema)
    store.write_arrays("a.npz", {"x": rng.random((4, 3)), "ids": np.arange(9)})
    store.write_json("a.json", {"a": [1, 2.5, None], "b": {"c": "d"}})
    told = 0
    for name, read in (("a.parquet", store.read_table), ("a.npz", store.read_arrays), ("a.json", store.read_json)):
        whole = store.path(name).read_bytes()
        for place in range(len(whole)):
            flipped = whole[place] ^ (1 << int(rng.integers(8)))
            store.path(name).write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
            try:
                read(name)
            except Damaged as error:
                assert str(store.path(name)) in str(error)
                told += 1
    assert told > 500


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5000])
def test_json_beyond_what_can_be_read_is_damage(tmp_path: Path, text: str) -> None:
    Path(tmp_path, "a.json").write_text(text)
    with pytest.raises(Damaged, match=r"a\.json, got (too many levels|a number of too many digits)"):
        Store(tmp_path).read_json("a.json")

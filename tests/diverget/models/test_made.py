"""Files that are made once."""

import threading
import time
from pathlib import Path

import pytest

from diverget.models.made import PREFIX, made_once


def test_what_is_there_is_not_made_again_and_half_an_entry_does_not_count(tmp_path: Path) -> None:
    network, record = tmp_path / "cache" / "a.keras", tmp_path / "cache" / "a.json"
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / network.name).write_text(f"network {len(calls)}")
        (folder / record.name).write_text(f"record {len(calls)}")

    assert not made_once((network, record), make)
    assert made_once((network, record), make)
    record.unlink()
    assert not made_once((network, record), make)
    assert (network.read_text(), record.read_text(), len(calls)) == ("network 2", "record 2", 2)
    assert sorted(path.name for path in network.parent.iterdir()) == ["a.json", "a.keras"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "a.tflite").write_text("half")
        raise ValueError("Expected nothing, got this")

    with pytest.raises(ValueError, match="got this"):
        made_once([tmp_path / "a.tflite"], make)
    assert not list(tmp_path.iterdir())


def test_of_two_that_want_the_same_one_makes_it_and_the_other_waits(tmp_path: Path) -> None:
    made, found = [], []

    def make(folder: Path) -> None:
        assert folder.name.startswith(PREFIX)
        made.append(folder)
        time.sleep(0.2)
        (folder / "a.tflite").write_text("whole")

    threads = [threading.Thread(target=lambda: found.append(made_once([tmp_path / "a.tflite"], make))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and sorted(found) == [False, True]

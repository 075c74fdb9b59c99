"""Files of a run that are damaged or gone: each is named, with the way out that there is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from diverget.store import Damaged, Store
from experiments.cli import app
from experiments.gate import gate
from experiments.kept_models import recorded
from experiments.record import read
from experiments.record.reading import ALWAYS, WHERE_ASKED
from experiments.report import render
from experiments.stages.drawn import read_clean, read_drawn
from tests.experiments import fake_arms
from tests.experiments.fake_run import build


@pytest.mark.parametrize(
    ("file", "damaged"),
    [
        ("manifest.json", "[]"),
        ("manifest.json", '{"schema": 1}'),
        ("models.json", "{}"),
        ("data.json", "{}"),
        ("data.json", '{"kind": 3}'),
        ("baseline.json", '{"hybridsn/int8": {}}'),
        ("summary.json", "{}"),
        ("timing.json", "[]"),
        ("timing.json", '{"stages": [{}], "search": {}}'),
    ],
)
def test_a_damaged_json_file_is_named(file: str, damaged: str, tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    (run / file).write_text(damaged)
    with pytest.raises(ValueError, match=rf"^Expected .*{re.escape(file)}.*got.*: (remove|render) "):
        render(run)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(
    "file",
    ["quicklook.npz", "findings/0000.npz", "rates.parquet", "findings.parquet", "evaluations/part-00003.parquet"],
)
def test_a_truncated_file_is_named(file: str, kept: float, tmp_path: Path) -> None:
    run = build(tmp_path, findings=1)
    content = (run / file).read_bytes()
    (run / file).write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=rf"^Expected .*{re.escape(file)}"):
        render(run)


def test_a_finding_without_an_array_is_named(tmp_path: Path) -> None:
    run = build(tmp_path, findings=1)
    with np.load(run / "findings" / "0000.npz") as arrays:
        np.savez(run / "findings" / "0000.npz", **{k: v for k, v in dict(arrays).items() if k != "margins"})
    with pytest.raises(ValueError, match=r"the key margins in .*0000\.npz"):
        render(run)


@pytest.mark.parametrize(
    ("file", "column"), [("evaluations/part-00000.parquet", "queries"), ("rates.parquet", "eligible")]
)
def test_a_table_without_a_column_is_named(tmp_path: Path, file: str, column: str) -> None:
    run = build(tmp_path, findings=1)
    pq.write_table(pq.read_table(run / file).drop_columns([column]), run / file)
    with pytest.raises(ValueError, match=rf"{column} in .*{re.escape(file)}"):
        render(run)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build(tmp_path, findings=1)


def change(run: Path, **config: Any) -> None:
    """Set keys of the config that the run was made under."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"] |= config
    (run / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ALWAYS)
def test_a_file_of_a_complete_run_that_is_gone_is_damage(run: Path, name: str) -> None:
    (run / name).unlink()
    for look in (read, render, lambda place: gate(place, texts=["findings <= 0"])):
        with pytest.raises(Damaged, match=rf"^Expected .*{re.escape(name)}, got no such file: remove the folder "):
            look(run)
    # Of a run that was stopped it is what was not reached.
    (run / "summary.json").unlink()
    assert not read(run).complete


@pytest.mark.parametrize("key", list(WHERE_ASKED))
def test_a_table_that_the_config_asked_for_is_wanted(run: Path, key: str) -> None:
    read(run)
    change(run, **({"rates": {"doses": [0.5]}} if key == "doses" else {key: {"tier": "stress"}}))
    with pytest.raises(Damaged, match=rf"{re.escape(WHERE_ASKED[key][0])}, got no such file"):
        read(run)


@pytest.mark.parametrize("which", [slice(None), slice(0, 1), slice(9, 10), slice(-1, None)])
def test_a_part_of_a_search_that_is_gone_is_damage(run: Path, which: slice) -> None:
    searched = read(run).searches
    for part in sorted((run / "evaluations").glob("part-*.parquet"))[which]:
        part.unlink()
    pattern = rf"^Expected every part of the search of hybridsn/int8 in .*: remove the folder {run} and run again\.$"
    for look in (read, render, lambda place: gate(place, texts=["findings <= 0"])):
        with pytest.raises(Damaged, match=pattern):
            look(run)
    # Of a run that was stopped it is what was not reached.
    (run / "summary.json").unlink()
    assert sum(len(search.queries) for search in read(run).searches.values()) < 2 * len(
        searched["hybridsn/int8"].queries
    )


def test_the_way_out_is_the_one_that_there_is(run: Path) -> None:
    (run / "findings.parquet").write_bytes(b"")
    with pytest.raises(Damaged) as told:
        read(run)
    assert str(told.value).endswith(f": remove the folder {run} and run again.")
    # What a command after the run wrote is written anew by it.
    (run / "blame.json").write_text("{")
    (run / "findings.parquet").unlink()
    shutil.copy(build(run / "other", findings=1) / "findings.parquet", run)
    with pytest.raises(Damaged, match=r"blame\.json, got damage at line 1: remove that file and run again\.$"):
        read(run)
    (run / "blame.json").unlink()
    (run / "summary.json").unlink()
    (run / "findings.parquet").write_bytes(b"")
    with pytest.raises(Damaged, match=r"findings\.parquet, got damage: remove that file and run again\.$"):
        read(run)


def test_a_finding_whose_file_is_gone_is_damage(run: Path) -> None:
    (run / "findings" / "0000.npz").unlink()
    with pytest.raises(Damaged, match=rf"0000\.npz, got no such file: remove the folder {run} and run again\.$"):
        render(run)


def test_a_patch_that_lacks_in_the_searches_is_damage(run: Path) -> None:
    fake_arms.put(run, [fake_arms.row(patch=0), fake_arms.row(patch=1), fake_arms.row(patch=1, repeat=1)])
    with pytest.raises(
        Damaged, match=rf"^Expected in patchwise\.parquet every patch once .*: remove the folder {run} "
    ):
        render(run)


@pytest.mark.parametrize("key", ["pair", "patches", "blocks"])
def test_draws_without_an_array_are_damage(tmp_path: Path, key: str) -> None:
    arrays = {"pair": np.array("a/b"), "patches": np.arange(3), "blocks": np.arange(3)}
    store = Store(tmp_path)
    store.write_arrays("rates/outcomes-00.npz", arrays)
    assert list(read_drawn(store)) == ["a/b"]
    store.write_arrays("rates/outcomes-00.npz", {name: kept for name, kept in arrays.items() if name != key})
    with pytest.raises(Damaged, match=rf"the key {key} in .*outcomes-00\.npz, got none: remove that run's folder"):
        read_drawn(store)


def test_clean_patches_without_an_array_are_damage(tmp_path: Path) -> None:
    names = ("patches", "blocks", "labels", "assessed", "assessed_blocks", "said:a/b", "apart:a/b")
    store = Store(tmp_path)
    store.write_arrays("clean.npz", {name: np.arange(3) for name in names})
    found = read_clean(store)
    assert found is not None and list(found.said) == list(found.apart) == ["a/b"]
    store.write_arrays("clean.npz", {name: np.arange(3) for name in names if name != "assessed_blocks"})
    with pytest.raises(Damaged, match=r"the key assessed_blocks in .*clean\.npz"):
        read_clean(store)


@pytest.mark.parametrize("content", ["[]", "{}", '{"pairs": 3}', '{"pairs": [{"pair": "a/b", "control": false}]}', "{"])
def test_models_that_are_not_recorded_are_damage(run: Path, content: str) -> None:
    assert len(recorded(Store(run))) == 2
    (run / "models.json").write_text(content)
    with pytest.raises(Damaged, match=rf"models\.json, got .*: remove the folder {run} and run again"):
        recorded(Store(run))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("findings.parquet", b""),
        ("findings.parquet", "a table without its columns"),
        ("data.json", b"{}"),
        ("models.json", b"{}"),
    ],
)
@pytest.mark.parametrize("command", [("replay", "--all"), ("export",), ("blame",), ("repair",)])
def test_commands_after_a_run_tell_a_damaged_file(
    run: Path, command: tuple[str, ...], file: str, content: bytes | str
) -> None:
    Store(run).write_arrays("sensor.npz", {"range": np.array([0.0, 1.0]), "signal": np.ones(118, np.float32)})
    if isinstance(content, bytes):
        (run / file).write_bytes(content)
    else:
        pq.write_table(pq.read_table(run / file).select(["finding"]), run / file)
    done = CliRunner().invoke(app, [command[0], str(run), *command[1:]])
    assert done.exit_code == 2 and isinstance(done.exception, SystemExit), (done.output, done.exception)
    assert "error: Expected " in done.output and "Traceback" not in done.output


def test_a_config_of_another_version_is_not_mended(run: Path) -> None:
    change(run, sead=3)
    done = CliRunner().invoke(app, ["repair", str(run)])
    assert done.exit_code == 2 and "error: Expected a config of this version in " in done.output
    assert "mend the run with the version of diverget that made it" in done.output and "pydantic" not in done.output

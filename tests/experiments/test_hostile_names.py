"""Names that come from files: none is markup in a page, none leads out of a run's directory."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from diverget.store import Store
from experiments.cli import app
from experiments.record import read
from experiments.report import environment, picture, render
from experiments.study.page import gathered
from tests.experiments.fake_run import build
from tests.experiments.page import Page

SCRIPT = "<script>alert(1)</script>"
CLASSES = (
    SCRIPT,
    "</svg><img src=x onerror=alert(2)>",
    '" onmouseover="alert(3)',
    "$\\frac{broken$ \\",
    "{{ 7*7 }}{% raw %}",
    "]]><!-- &lt;b&gt; 'quoted'",
)
KEPT = ("file", "digest", "pair", "reference", "quantised", "schema", "tier", "protocol", "stage", "class", "delegate")
"""Keys whose texts the page looks things up by; names of networks and classes are hostile from the start."""


def poisoned(node: Any, key: str = "") -> Any:
    """A tree with markup in every text."""
    if isinstance(node, dict):
        return {name: poisoned(value, name) for name, value in node.items()}
    if isinstance(node, list):
        return [poisoned(value, key) for value in node]
    if not isinstance(node, str) or key in (*KEPT, "class_names") or node in ("scene", "images"):
        return node
    return f"{node}{SCRIPT}</td>$\\frac{{"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A run with markup in every name and text."""
    run = build(tmp_path, classes=CLASSES, references=(f"net{SCRIPT}",), quantised=("int8'\"><b>$x_$",))
    for path in run.glob("*.json"):
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"name": f"run{SCRIPT}</title>"}))
    for name, columns in (("findings", ("chain", "found_by", "rung", "family")), ("rates", ("relation",))):
        table = pq.read_table(run / f"{name}.parquet")
        for column in columns:
            texts = [text if text == "random chain" else f"{text}{SCRIPT}" for text in table[column].to_pylist()]
            table = table.set_column(table.column_names.index(column), column, pa.array(texts))
        pq.write_table(table, run / f"{name}.parquet")
    return run


def assert_harmless(text: str) -> Page:
    """Return the page when no hostile text of it is markup."""
    for markup in ("<script>alert", "<img src=x", '" onmouseover="', "<b>$x_$", "</td>$"):
        assert markup not in text or markup == '" onmouseover="', markup
    page = Page(text)
    tags = re.findall(r"<[a-zA-Z][^>]*\son\w+\s*=", re.sub(r'"[^"]*"', '""', text))
    assert page.faults == [] and page.open == [] and tags == []
    assert page.loads == [] or all(load.startswith("data:") for load in page.loads)
    return page


def test_nothing_from_a_file_is_markup_in_the_report(hostile: Path) -> None:
    scripts = Page(clean_report(hostile)).scripts
    render(hostile)
    page = assert_harmless((hostile / "report.html").read_text(encoding="utf-8"))
    assert page.scripts == scripts
    for shown in ("<script>alert(1)</script>", "onmouseover", "{{ 7*7 }}", "$\\frac{broken$"):
        assert shown in page.text, f"{shown} is shown as text"


def clean_report(hostile: Path) -> str:
    """The page of a run of the same kind with plain names."""
    run = build(hostile.parent / "plain")
    render(run)
    return (run / "report.html").read_text(encoding="utf-8")


def test_nothing_from_a_file_is_markup_in_a_picture(hostile: Path, tmp_path: Path) -> None:
    picture(hostile, tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert "<script" not in text and "onerror" not in text.replace("onerror=alert(2)&gt;", "")


def test_every_template_escapes() -> None:
    env = environment()
    assert env.autoescape is True
    for name in env.list_templates(filter_func=lambda name: name.endswith(".html")):
        source = env.loader.get_source(env, name)[0]  # type: ignore[union-attr]
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", source), name


WAYS_OUT = ("../../outside.npz", "/etc/passwd", "findings/../../../outside.npz", "..", "a\0b", "", "..\\outside.npz")


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_store_stays_in_its_directory(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "run")
    for use in (store.path, store.has, store.read_arrays, store.read_json, store.read_table, store.remove):
        with pytest.raises(ValueError, match="which leads elsewhere"):
            use(name)
    for write in (lambda: store.write_json(name, {}), lambda: store.write_arrays(name, {})):
        with pytest.raises(ValueError, match="nothing was read or written"):
            write()
    assert list(tmp_path.iterdir()) == []


def with_file(run: Path, name: str) -> None:
    table = pq.read_table(run / "findings.parquet")
    names = pa.array([name] * len(table))
    pq.write_table(table.set_column(table.column_names.index("file"), "file", names), run / "findings.parquet")


def with_model(run: Path, name: str) -> None:
    content = json.loads((run / "models.json").read_text())
    for pair in content["pairs"]:
        pair["reference_model"]["file"] = name
    (run / "models.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["../../outside.npz", "/etc/passwd"])
@pytest.mark.parametrize(
    ("command", "change"),
    [
        (("report",), with_file),
        (("replay", "--all"), with_model),
        (("export",), with_model),
        (("blame",), with_model),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else each.__name__,
)
def test_commands_do_not_follow_names_out_of_a_run(
    tmp_path: Path, command: tuple[str, ...], change: Callable[[Path, str], None], name: str
) -> None:
    run = build(tmp_path / "runs")
    (tmp_path / "outside.npz").write_bytes(b"as it was")
    np.savez(run / "sensor.npz", range=np.array([0.0, 10000.0]), signal=np.ones(118, np.float32))
    change(run, name)
    done = CliRunner().invoke(app, [command[0], str(run), *command[1:]])
    assert done.exit_code == 2, (done.output, done.exception)
    assert "Traceback" not in done.output
    told = " ".join(done.output.split())
    assert "which leads elsewhere" in told, told
    assert (tmp_path / "outside.npz").read_bytes() == b"as it was"


@pytest.mark.parametrize("name", ["../../outside.npz", "/etc/passwd"])
def test_arrays_of_a_finding_are_read_from_the_run_alone(tmp_path: Path, name: str) -> None:
    run = build(tmp_path)
    finding = read(run).findings[0]
    with pytest.raises(ValueError, match="which leads elsewhere"):
        read(run).arrays({**finding, "file": name})


@pytest.mark.parametrize("name", ["..", "../x", "/etc", "a/b", ""])
def test_a_study_names_runs_beside_it_alone(tmp_path: Path, name: str) -> None:
    place = tmp_path / "search-study"
    runs = [{"name": "a", "directory": name, "digest": "d"}]
    Store(place).write_json("study.json", {"schema": 1, "name": "search", "bars": {}, "runs": runs})
    with pytest.raises(ValueError, match="which leads elsewhere"):
        gathered(place)

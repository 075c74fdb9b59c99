from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diverget.models.child import run
from diverget.models.compress import COMPRESSIONS
from diverget.models.deployed import SUFFIXES
from diverget.models.quantisations import QUANTISATIONS
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.spaces import SPACES
from experiments.cli import KINDS, app
from relations import ALL
from tests.diverget.models import saved_networks
from tests.diverget.models.networks import SAID, require_tensorflow
from tests.diverget.models.test_keras_file import LAMBDA_3, dense, network, write_keras


@pytest.mark.parametrize("columns", ["80", "160"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_as_a_table_and_for_programs(
    kind: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    rows = json.loads(CliRunner().invoke(app, ["list", kind, "--json"]).stdout)
    shown = CliRunner().invoke(app, ["list", kind])
    assert shown.exit_code == 0
    assert all(row["name"] in shown.stdout for row in rows)


def test_the_relations_come_with_family_params_units_bounds_and_source() -> None:
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(app, ["list", "relations", "--json"]).stdout)}
    assert rows.keys() == ALL.keys()
    for name, relation in ALL.items():
        row = rows[name]
        assert (row["family"], row["source"]) == (relation.family, relation.source)
        assert [(p["name"], p["unit"], tuple(p["stress"])) for p in row["params"]] == [
            (p.name, p.unit, p.stress) for p in relation.params
        ]


def test_units_are_not_broken_into_letters_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["list", "relations"]).stdout
    assert "relative change of the signal" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_spaces_come_with_bounds_limits_and_severities() -> None:
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(app, ["list", "spaces", "--json"]).stdout)}
    assert list(rows) == [space.name for space in SPACES]
    assert rows["diverget_sister"]["relations"]["zoom"] == {"factor": [0.3, 5.0]}
    assert rows["diverget_sister"]["limits"] == {"psnr": 20}
    assert len(rows["common_corruptions"]["severities"]["haze"]) == 5
    assert rows["in_spec"]["relations"].keys() == ALL.keys()


def test_the_optimisers_come_with_objectives_and_limits() -> None:
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(app, ["list", "optimisers", "--json"]).stdout)}
    assert (rows["cmaes"]["objectives"], rows["cmaes"]["limits"]) == ("one", "yes")
    assert (rows["moead"]["objectives"], rows["moead"]["limits"]) == ("2 or more", "no")


def test_the_networks_come_with_the_setting_published_and_the_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(app, ["list", "models", "--json"]).stdout)}
    for architecture in ARCHITECTURES:
        row = rows[architecture.name]
        assert row["source"] == architecture.source and (architecture.published or "judgement") in row["published"]
        assert f"Adam {architecture.learning_rate:g}, batches of {architecture.batch}, at most" in row["here"]
    assert rows["hybridsn"]["published"].endswith("Adam 0.001, batches of 256, 100 epochs")
    assert rows["hybridsn"]["here"] == (
        "from 9 × 9 pixels; 30 components, or all bands where there are fewer; Adam 0.001, batches of 32, at most 30 "
        "epochs, fewer where 8 bring no progress"
    )
    assert rows["ssrn"]["here"].startswith("from 3 × 3 pixels; all bands; Adam 0.0003")
    assert all("batches of" in row["published"] for name, row in rows.items() if name != "depthwise")
    monkeypatch.setenv("COLUMNS", "160")
    shown = CliRunner().invoke(app, ["list", "models"]).stdout
    assert shown.count("published: ") == shown.count("here: ") == shown.count("Source: ") == len(rows)


def test_an_unknown_kind_is_refused() -> None:
    told = CliRunner().invoke(app, ["list", "relation"])
    assert told.exit_code == 2
    assert "Expected one of relations, spaces" in told.output


def test_what_a_keras_file_can_take_is_told_without_executing_it(tmp_path: Path) -> None:
    volume = {"class_name": "Conv3D", "module": "keras.layers", "config": {"name": "deep", "filters": 4}}
    path = write_keras(tmp_path / "n.keras", network(volume, dense()))
    rows = json.loads(CliRunner().invoke(app, ["list", "quantisations", "--for", str(path), "--json"]).stdout)
    told = {row["name"]: (row["possible"], row["note"]) for row in rows if row["kind"] == "quantisation"}
    assert list(told) == [entry.name for entry in QUANTISATIONS]
    assert told["float32"] == told["int8_lowered"] == ("possible", "")
    assert told["int8"][0] == "mostly float" and "CONV_3D stays float" in told["int8"][1]
    assert told["int16x8"][0] == "refused" and "Conv3D 'deep'" in told["int16x8"][1]
    shown = CliRunner().invoke(app, ["list", "quantisations", "--for", str(path)])
    assert shown.exit_code == 0 and "mostly float" in shown.stdout


def test_code_in_a_keras_file_is_told(tmp_path: Path) -> None:
    custom = {"class_name": "Own", "module": "theirs", "registered_name": "p>Own", "config": {"name": "o"}}
    path = write_keras(tmp_path / "n.keras", network(LAMBDA_3, custom, dense()))
    rows = json.loads(CliRunner().invoke(app, ["list", "quantisations", "--for", str(path), "--json"]).stdout)
    told = {row["name"]: (row["possible"], row["note"]) for row in rows}
    assert told["int8"] == ("needs trust", "carries code (Lambda 'evil', p>Own): refused without `trust: true`")
    assert told["int8_lowered"][0] == "refused" and told["distillation"][0] == "needs trust"
    assert not any(possible == "possible" for possible, _ in told.values())


def rows_for(path: Path) -> dict[str, tuple[str, str]]:
    found = CliRunner().invoke(app, ["list", "quantisations", "--for", str(path), "--json"])
    return {row["name"]: (row["possible"], row["note"]) for row in json.loads(found.stdout)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_run_as_it_is_takes_nothing(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"deployed{suffix}"
    path.touch()
    told = rows_for(path)
    assert list(told) == [way.name for way in (*QUANTISATIONS, *COMPRESSIONS)]
    assert set(told.values()) == {("refused", f"a {suffix} cannot be converted again: give its Keras file")}


@pytest.mark.slow
def test_a_saved_model_takes_what_needs_no_layers(tmp_path: Path) -> None:
    require_tensorflow()
    run(saved_networks.make, {"folder": str(tmp_path), "marker": str(tmp_path / "marker")}, **SAID, timeout=300)
    told = rows_for(tmp_path / "plain")
    assert {name for name, (possible, _) in told.items() if possible == "possible"} == {
        entry.name for entry in QUANTISATIONS if not entry.lowered
    }
    assert told["int8_lowered"][1] == "a SavedModel tells no layers that could be lowered: give the Keras file"
    assert told["pruning"][1] == "a SavedModel tells no layers that could be compressed: give the Keras file"
    code = "carries code (ReadFile): refused without `trust: true`"
    told = rows_for(tmp_path / "readfile")
    assert told["int8"] == ("needs trust", code) and told["int8_lowered"][0] == told["pruning"][0] == "refused"


@pytest.mark.slow
def test_what_a_network_of_the_zoo_can_take_is_told() -> None:
    require_tensorflow()
    rows = json.loads(CliRunner().invoke(app, ["list", "quantisations", "--for", "depthwise", "--json"]).stdout)
    told = {row["name"]: row["possible"] for row in rows}
    assert told["int8"] == told["int16x8"] == "possible" and told["int8_lowered"] == "refused"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["quantisations", "--for", "hybrid"], "Expected a network of the zoo, a network file"),
        (["quantisations", "--for", "none.tflite"], "correct the path"),
        (["quantisations", "--for", "none.keras"], "found nothing at none.keras"),
        (["relations", "--for", "hybridsn"], "Expected --for beside `list quantisations` alone"),
    ],
)
def test_a_network_that_cannot_be_read_is_refused(asked: list[str], message: str) -> None:
    told = CliRunner().invoke(app, ["list", *asked])
    assert told.exit_code == 2 and message in told.output

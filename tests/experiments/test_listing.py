from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from diverget.spaces import SPACES
from experiments.cli import KINDS, app
from relations import ALL


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


def test_an_unknown_kind_is_refused() -> None:
    told = CliRunner().invoke(app, ["list", "relation"])
    assert told.exit_code == 2
    assert "Expected one of relations, spaces" in told.output

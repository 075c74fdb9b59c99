"""The published schemas accept what the code accepts, and refuse what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from experiments.config import ConfigError, load, read_tree
from experiments.config.parts import QuantisedConfig
from experiments.json_schema import SCHEMAS, text
from experiments.record.card import card
from tests.experiments.fake_run import build
from tests.experiments.small import CONFIG, diverget, write

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs"

MINIMAL: dict[str, Any] = {
    "name": "small",
    "scene": {"synthetic": {}},
    "references": ["depthwise"],
    "quantisations": ["int8"],
    "relations": ["brightness"],
}


def problems(kind: str, tree: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMAS[kind]()).iter_errors(tree)]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_each_is_a_schema_of_the_draft(kind: str) -> None:
    Draft202012Validator.check_schema(json.loads(text(kind)))
    assert text(kind) == text(kind)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    assert problems("run", read_tree(path)) == []


@pytest.mark.parametrize("path", sorted((CONFIGS / "studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_studies_are_valid(path: Path) -> None:
    assert problems("study", read_tree(path)) == []


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"references": [{"zoo": "depthwise", "epochs": 3}]},
        {"quantisations": ["qat", "pruning+int8", {"quantisation": "int8", "name": "mine"}]},
        {"relations": ["offset", {"gaussian_blur": {"sigma": [0, 0.5]}}, {"stripes": None}]},
        {"relations": [{"name": "gaussian_blur", "bounds": {"sigma": [0, 0.5]}}]},
        {"limits": {"keep_label": True, "psnr": 20}},
        {"criteria": ["agreement >= 0.9"]},
        {"gaps": {}, "patchwise": {"arms": ["random"], "budgets": {"random": 50}}},
        {"seed": -1},
        {"seed": True},
        {"sead": 1},
        {"references": ["resnet"]},
        {"references": []},
        {"quantisations": ["int9"]},
        {"quantisations": ["pruning+int9"]},
        {"relations": ["brightnes"]},
        {"relations": [{"gaussian_blur": {"sigma": [0, 50]}}]},
        {"relations": [{"gaussian_blur": {"sgma": [0, 1]}}]},
        {"limits": {"psrn": 20}},
        {"limits": {"severity": 20}},
        {"limits": {"spectral_angle": -1}},
        {"search": {"optimiser": "nsga9"}},
        {"rates": {"draws": "many"}},
        {"tier": "harsh"},
        {"scene": {"synthetic": {"height": 5}}},
    ],
    ids=lambda change: json.dumps(change)[:60],
)
def test_schema_and_loader_agree(change: dict[str, Any], tmp_path: Path) -> None:
    tree = MINIMAL | change
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(tree))  # JSON is YAML
    try:
        load(path)
        loads = True
    except ConfigError:
        loads = False
    assert loads == (problems("run", tree) == []), problems("run", tree)


@pytest.mark.parametrize("space", ["radiometry", {"name": "sensor", "without": "stripes"}])
def test_a_named_space_stands_in_place_of_relations(space: Any) -> None:
    tree = {key: value for key, value in MINIMAL.items() if key != "relations"}
    assert problems("run", tree) != []
    assert problems("run", tree | {"space": space}) == []
    assert problems("run", tree | {"space": "radiometri"}) != []


def test_a_study_is_checked_down_to_its_runs() -> None:
    study = read_tree(CONFIGS / "studies" / "search.yaml")
    assert problems("study", study | {"shared": {"serch": {}}}) != []
    assert problems("study", study | {"shared": {"rates": {"draws": 0}}}) != []
    run = study["runs"][0] | {"set": {"splitt.assessed": 3}}
    assert problems("study", study | {"runs": [run]}) != []


@pytest.mark.parametrize("kind", ["run", "study"])
def test_every_key_is_described(kind: str) -> None:
    schema = SCHEMAS[kind]()
    bare = []

    def visit(node: Any, place: str) -> None:
        if isinstance(node, dict):
            for key, entry in node.get("properties", {}).items():
                told = entry.get("description")
                for ref in [entry.get("$ref"), *(each.get("$ref") for each in entry.get("anyOf", ()))]:
                    told = told or (ref and schema["$defs"][ref.rpartition("/")[2]].get("description"))
                if not told:
                    bare.append(f"{place}.{key}")
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(inner, (dict, list)):
                visit(inner, f"{place}.{key}")

    visit(schema, kind)
    assert bare == []


def test_alpha_is_told_as_distillation_weighs_it() -> None:
    told = QuantisedConfig.model_fields["alpha"].description or ""
    assert told.startswith("Weight of the softened teacher") and told.endswith("the rest is the labels'.")


def test_defaults_stand_in_the_schema() -> None:
    properties = SCHEMAS["run"]()["properties"]
    assert properties["limits"]["default"] == {"psnr": 20.0}
    assert properties["workers"]["default"] == 2
    assert properties["search"]["default"]["optimiser"] == "nsga2"


@pytest.mark.parametrize("complete", [True, False])
def test_the_card_of_a_run_is_valid(tmp_path: Path, complete: bool) -> None:
    found = card(build(tmp_path, complete=complete, evaluations=complete))
    assert problems("card", found) == []
    assert problems("card", {key: value for key, value in found.items() if key != "verdict"}) != []
    assert problems("card", found | {"complete": "yes"}) != []
    assert problems("card", found | {"schema": "diverget-card/0"}) != []


def test_the_card_of_nothing_is_valid(tmp_path: Path) -> None:
    run = build(tmp_path)
    for file in run.rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            file.unlink()
    assert problems("card", card(run)) == []


def test_the_published_schema_is_what_the_command_writes(tmp_path: Path) -> None:
    published = (ROOT / "docs" / "card.schema.json").read_text(encoding="utf-8")
    assert published == text("card"), "write it anew: diverget schema card --out docs/card.schema.json"
    done = diverget("schema", "card", "--out", tmp_path / "card.json")
    assert (done.returncode, (tmp_path / "card.json").read_text(encoding="utf-8")) == (0, published)
    refused = diverget("schema", "carte")
    assert refused.returncode == 2 and "run, study, card" in refused.stderr


@pytest.mark.parametrize(
    ("more", "metric"),
    [
        ("patchwise=null", "minimal_severity.median"),
        ("patchwise={ladder: [{tier: in_spec, limits: {psnr: 33}}]}", "minimal_severity.median"),
        ("patchwise={arms: [dflare_uniform, diffchaser]}", "minimal_severity.median"),
        ("rates.tiers=[stress]", "revealed_rate.in_spec.upper"),
        ("rates.tiers=[stress]", "revealed_rate.in_spec"),
        ("rates.tiers=[stress]", "revealed_rate.in_spec.brightness.upper"),
        ("tier=stress", "revealed_rate.stress.haze"),
        ("gaps=null", "boundary_gap.median"),
        ("attribution=false", "findings.kernel"),
    ],
)
def test_criteria_that_the_run_never_measures_are_refused(tmp_path: Path, more: str, metric: str) -> None:
    written = CONFIG + f"criteria: ['agreement >= 0.9', '{metric} <= 0.5']\n"
    with pytest.raises(ConfigError, match=rf"criteria\.1.*got '{metric}'"):
        load(write(tmp_path, written), overrides=[more])

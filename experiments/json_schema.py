"""JSON Schemas for editors and other programs: of a run's config, of a study's file, of a run's card.

Source: JSON Schema, draft 2020-12, https://json-schema.org/specification.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any

import relations
from diverget.arms import ARMS
from diverget.models.compress.table import COMPRESSIONS
from diverget.models.quantise import QUANTISATIONS
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.objectives import LIMITS, OBJECTIVES
from diverget.optimisers import OPTIMISERS
from diverget.spaces import SPACES
from experiments.config.schema import RunConfig
from experiments.config.strict import Strict
from experiments.record.card_schema import card_schema
from experiments.statistics.derived import WORDS
from experiments.study import StudyConfig
from experiments.sweep import SweepConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"

SWEPT = {
    "grid": "Lists of values by `key.path`, every combination of them a run.",
    "zip": "Lists of values by `key.path`, which advance together.",
    "cells": "Values by `key.path` of each run.",
}
"""The keys of `sweep`, described."""

Tree = dict[str, Any]


def run_schema() -> Tree:
    """The schema of a run's config, its short forms included."""
    schema = _generated(RunConfig, "Config of a run")
    _complete_run(schema, schema["$defs"])
    schema["required"] = [key for key in schema["required"] if key != "relations"]
    schema["anyOf"] = [{"required": ["relations"]}, {"required": ["space"]}]
    sweep = _generated(SweepConfig, "")
    for name, words in SWEPT.items():
        sweep["properties"][name]["description"] = words
    schema["properties"]["sweep"] = {key: sweep[key] for key in ("type", "additionalProperties", "properties")} | {
        "description": "What varies; with it the config is one of many runs, for `diverget sweep`."
    }
    return schema


def study_schema() -> Tree:
    """The schema of a study's file; what it lays over its runs is part of a run's config."""
    schema, run = _generated(StudyConfig, "A study of several runs"), run_schema()
    run["properties"].pop("sweep")
    part = {key: run[key] for key in ("type", "additionalProperties", "properties")}
    schema["$defs"] |= run["$defs"] | {"RunPart": {**part, "description": "Keys of a run's config."}}
    schema["properties"]["shared"] = {**schema["properties"]["shared"], "$ref": "#/$defs/RunPart"}
    schema["properties"]["shared"].pop("additionalProperties", None)
    keys = "|".join(run["properties"])
    schema["$defs"]["StudyRunConfig"]["properties"]["set"]["propertyNames"] = {"pattern": rf"^({keys})(\.[\w-]+)*$"}
    for name, bar in schema["$defs"]["BarsConfig"]["properties"].items():
        words, more = WORDS[name]
        bar["description"] = f"{words[0].upper()}{words[1:]}: at {'least' if more else 'most'} this."
    return schema


SCHEMAS: Mapping[str, Callable[[], Tree]] = {"run": run_schema, "study": study_schema, "card": card_schema}
"""By what they describe."""


def text(kind: str) -> str:
    """The schema of a `run`, a `study` or a `card`, as JSON; the same bytes every time.

    Raises:
        ValueError: there is no schema of that kind.
    """
    if kind not in SCHEMAS:
        raise ValueError(f"Expected one of {', '.join(SCHEMAS)}, got {kind!r}; name one of them.")
    return json.dumps(SCHEMAS[kind](), indent=1, ensure_ascii=False) + "\n"


def _generated(model: type[Strict], title: str) -> Tree:
    """Pydantic's schema of `model`, with plain titles."""
    schema = model.model_json_schema()
    for each in (schema, *schema.get("$defs", {}).values()):
        for entry in each.get("properties", {}).values():
            entry.pop("title", None)
        each.pop("title", None)
    return {"$schema": DIALECT, "title": title, **schema}


def _complete_run(schema: Tree, parts: Tree) -> None:
    """Put into pydantic's schema what it cannot know: names that are looked up, and short forms."""
    zoo, quantisations = _names(ARCHITECTURES), _names(QUANTISATIONS)
    _choose(parts["ReferenceConfig"], "zoo", zoo)
    _choose(parts["QuantisedConfig"], "student", zoo)
    _choose(parts["QuantisedConfig"], "quantisation", quantisations)
    _choose(parts["QuantisedConfig"], "compression", _names(COMPRESSIONS))
    _choose(parts["SpaceConfig"], "name", _names(SPACES))
    _choose(parts["SearchConfig"], "optimiser", _names(OPTIMISERS))
    parts["SearchConfig"]["properties"]["objectives"]["items"] = {"enum": _names(OBJECTIVES)}
    if "PatchwiseConfig" in parts:
        arms = parts["PatchwiseConfig"]["properties"]
        arms["arms"]["items"] = {"enum": _names(ARMS)}
        arms["budgets"]["propertyNames"] = {"enum": _names(ARMS)}
    for holder in (schema, parts["RungConfig"]):
        holder["properties"]["limits"] |= {"additionalProperties": False, "properties": _limits()}
    without = parts["SpaceConfig"]["properties"]["without"]
    some = {"type": "string", "enum": list(relations.ALL)}
    without |= {"anyOf": [some, {"type": "array", "items": some}]}
    for key in ("type", "items"):
        without.pop(key, None)

    _shortened(parts, "CriterionConfig", {"type": "string", "description": "Such as `agreement >= 0.99`."})
    versions = [*quantisations, *_names(COMPRESSIONS)]
    _shortened(parts, "ReferenceConfig", {"enum": zoo, "description": "A network of the zoo."})
    _shortened(
        parts,
        "QuantisedConfig",
        {"enum": versions, "description": "A quantisation or a compression."},
        {"type": "string", "pattern": rf"^({'|'.join(_names(COMPRESSIONS))})\s*\+\s*({'|'.join(quantisations)})$"},
    )
    _shortened(parts, "SpaceConfig", {"enum": _names(SPACES), "description": "A named space."})
    _shortened(
        parts,
        "RelationConfig",
        {"enum": list(relations.ALL), "description": "A relation with the tier's own bounds."},
        {
            "type": "object",
            "description": "A relation with narrowed bounds.",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {name: _bounds(relation) for name, relation in relations.ALL.items()},
        },
    )
    whole = parts["RelationConfig"]["anyOf"][-1]["properties"]
    whole["name"]["enum"] = list(relations.ALL)


def _names(table: Sequence[Any]) -> list[str]:
    return [entry.name for entry in table]


def _choose(part: Tree, key: str, names: Sequence[str]) -> None:
    """Let the key of a part be one of `names`, or null where it could be before."""
    entry = part["properties"][key]
    optional = any(each.get("type") == "null" for each in entry.pop("anyOf", ()))
    entry.pop("type", None)
    entry["enum"] = [*names, None] if optional else list(names)


def _shortened(parts: Tree, name: str, *short: Tree) -> None:
    """Let other forms stand for a part."""
    whole = dict(parts[name])
    parts[name] = {"description": whole.get("description", ""), "anyOf": [*short, whole]}


def _limits() -> Tree:
    """Bounds of each limit; `true` and `false` stand for 1 and 0."""
    found: Tree = {}
    for limit in LIMITS:
        ends = (("minimum", limit.lowest), ("maximum", limit.highest))
        found[limit.name] = {
            "type": ["number", "boolean"] if limit.lowest == limit.highest else "number",
            "description": limit.summary,
            **{key: float(end) for key, end in ends if isfinite(end)},
        }
    return found


def _bounds(relation: relations.Relation) -> Tree:
    """Bounds of each param of a relation, within those of the harshest tier."""
    return {
        "type": ["object", "null"],  # null: the tier's own bounds
        "description": relation.summary,
        "additionalProperties": False,
        "properties": {
            param.name: {
                "type": "array",
                "items": {"type": "number", "minimum": param.stress[0], "maximum": param.stress[1]},
                "minItems": 2,
                "maxItems": 2,
                "description": f"Lowest and highest {param.name.replace('_', ' ')}, in {param.unit}.",
            }
            for param in relation.params
        },
    }

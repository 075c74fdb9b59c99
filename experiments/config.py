"""From YAML to a `RunConfig`, every problem of a file told at once. The only place that reads YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from experiments.parts import PATH_KEYS
from experiments.schema import RunConfig


class ConfigError(ValueError):
    """All problems of a config at once."""


def load(
    path: Path,
    *,
    over: Mapping[str, Any] = MappingProxyType({}),
    put: Mapping[str, Any] = MappingProxyType({}),
    overrides: Sequence[str] = (),
) -> RunConfig:
    """The config in the YAML file at `path`, some keys set anew.

    Args:
        over: a tree that is laid over the file's: mappings key by key, all else replaced.
        put: values by `key.path`, put in place after that.
        overrides: `key.path=value`, set last.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML, or has problems; all of them are listed.
    """
    tree = _laid_over(read_tree(path), over)
    for key, value in put.items():
        _put(tree, key, deepcopy(value), f"{key}={value!r}")
    for override in overrides:
        _set(tree, override)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(listed_problems(path, error, RunConfig)) from error


def read_tree(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file at `path`, with the files that it names anchored to its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML, or no mapping.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a config file at {path}, got none; see `configs/` for examples.")
    try:
        tree = _anchored(yaml.safe_load(path.read_text(encoding="utf-8")), path.parent.resolve())
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"Expected YAML in {path}, got: {error}") from error
    except RecursionError:
        raise ConfigError(
            f"Expected YAML of a few levels in {path}, got a hundred or more inside each other (an alias of itself?); "
            "see configs/quickstart.yaml."
        ) from None
    if not isinstance(tree, dict):
        raise ConfigError(
            f"Expected `key: value` pairs in {path}, got {type(tree).__name__}; see configs/quickstart.yaml."
        )
    return tree


def listed_problems(path: Path, error: ValidationError, model: type[BaseModel]) -> str:
    """All problems that `model` has with the file at `path`, a line each."""
    problems = error.errors()
    places = [entry["loc"] for entry in problems]
    # A list whose entries are wrong is not too short as well.
    lines = [
        _problem(entry, model)
        for entry in problems
        if not (entry["type"] == "too_short" and any(_inside(place, entry["loc"]) for place in places))
    ]
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return f"{path} has {count}:\n" + "\n".join(f"  {line}" for line in lines)


def _laid_over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    for key, value in over.items():
        under = merged.get(key)
        merged[key] = (
            _laid_over(under, value) if isinstance(under, dict) and isinstance(value, Mapping) else deepcopy(value)
        )
    return merged


def _inside(place: Sequence[Any], outer: Sequence[Any]) -> bool:
    return len(place) > len(outer) and tuple(place[: len(outer)]) == tuple(outer)


def _anchored(tree: Any, folder: Path) -> Any:
    if isinstance(tree, dict):
        return {
            key: str(folder / value) if key in PATH_KEYS and isinstance(value, str) else _anchored(value, folder)
            for key, value in tree.items()
        }
    return [_anchored(value, folder) for value in tree] if isinstance(tree, list) else tree


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"Expected --set key.path=value, got {override!r}.")
    try:
        value = _anchored(yaml.safe_load(text), Path.cwd())
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"Expected a YAML value in --set {override!r}, got: {error}") from error
    except RecursionError:
        raise ConfigError(
            f"Expected a YAML value of a few levels in --set {override[:60]!r}, got hundreds inside each other; "
            "correct it."
        ) from None
    if key.split(".")[-1] in PATH_KEYS and isinstance(value, str):
        value = str(Path.cwd() / value)
    _put(tree, key, value, override)


def _put(tree: dict[str, Any], key: str, value: Any, override: str) -> None:
    *parents, last = key.split(".")
    place: Any = tree
    for depth, parent in enumerate(parents):
        place = _step(place, parent, override, ".".join(parents[: depth + 1]))
    if isinstance(place, list):
        place[_position(place, last, override, key)] = value
    else:
        place[last] = value


def _step(place: Any, key: str, override: str, where: str) -> Any:
    if isinstance(place, list):
        child = place[_position(place, key, override, where)]
    else:
        child = place.get(key)
        if child is None:
            child = place[key] = {}
    if not isinstance(child, (dict, list)):
        raise ConfigError(f"Expected `{where}` in --set {override!r} to hold keys of its own, got {child!r}.")
    return child


def _position(place: list[Any], key: str, override: str, where: str) -> int:
    if not key.isdigit() or int(key) >= len(place):
        raise ConfigError(f"Expected a position 0 to {len(place) - 1} at {where} in --set {override!r}, got {key!r}.")
    return int(key)


def _problem(entry: Any, model: type[BaseModel]) -> str:
    """One problem in a line: where, what, and the nearest known key."""
    where = ".".join(str(part) for part in entry["loc"]) or "the config"
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        near = get_close_matches(str(entry["loc"][-1]), _keys_at(entry["loc"][:-1], model), n=1)
        return f"{where}: unknown key" + (f"; did you mean `{near[0]}`?" if near else "; remove it")
    if entry["type"] == "missing" and where == "relations":
        return "relations: expected a list of relations, or a named `space`, got none; see `diverget list spaces`"
    if entry["type"] == "missing":
        return f"{where}: expected a value, got none; add it"
    got = entry.get("input")
    shown = "" if entry["type"] == "value_error" else f" (got {str(got)[:60]!r})"
    return f"{where}: {message[0].lower() + message[1:]}{shown}"


def _keys_at(loc: Sequence[Any], outer: type[BaseModel]) -> list[str]:
    model: Any = outer
    for part in loc:
        if isinstance(part, str) and part in getattr(model, "model_fields", {}):
            model = _model_in(model.model_fields[part].annotation)
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None

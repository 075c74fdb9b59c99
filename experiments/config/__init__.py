"""From YAML to a `RunConfig`, every problem of a file told at once, with its line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from experiments.config.document import MOST_BYTES, MOST_LEVELS, Document, DocumentError, Place, parse
from experiments.config.parts import PATH_KEYS
from experiments.config.schema import RunConfig, spelt_out
from experiments.config.zoo import Fault

Origins = Mapping[Place, str]
"""Where each key was written: `configs/x.yaml:12`, or `--set seed=x`."""

PLAINLY = {
    r"^integer$": "a whole number",
    r"^number$": "a number",
    r"^(list|tuple)$": "a list in brackets",
    r"^string$": "a text",
    r"^boolean$": "true or false",
    r"^dictionary( or instance of \w+)?$": "keys with values",
    r"^(greater|less) ": r"a value \1 ",
    r"^String should match pattern": "a text that matches",
    r"^(List|Tuple|Dictionary|String) should have ": "",
}
"""Pydantic's words for what it expects, as patterns, with ours."""


SWEEP = "sweep"
"""The key under which a config says what is varied from cell to cell."""

RUNS = "runs"
"""The key under which a study lists its runs."""

KINDS = {
    "run": "a config of one run",
    "sweep": "a sweep, which stands for many runs",
    "study": "a study of several runs",
}
"""What a file may be, by the command that starts it."""


HOLDERS = ("scene", "images", "references", "quantisations")
"""The keys of a config under which files are named."""


class ConfigError(ValueError):
    """All problems of a config at once."""


def load(
    path: Path,
    *,
    over: Mapping[str, Any] = MappingProxyType({}),
    put: Mapping[str, Any] = MappingProxyType({}),
    overrides: Sequence[str] = (),
    files: bool = False,
    origins: Origins = MappingProxyType({}),
    read: tuple[dict[str, Any], Origins] | None = None,
) -> RunConfig:
    """The config in the YAML file at `path`, some keys set anew.

    Args:
        over: a tree that is laid over the file's: mappings key by key, all else replaced.
        put: values by `key.path`, put in place after that.
        overrides: `key.path=value`, set last.
        files: whether a file that is named and not there is a problem too.
        origins: where the keys of `over` and `put` were written, as far as that is known.
        read: what `read_with_origins` gave, where the file was read before.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML, or has problems; all of them are listed.
    """
    tree, told = read_with_origins(path) if read is None else (deepcopy(read[0]), read[1])
    refuse_other_kind(path, tree, wanted="run")
    known = dict(told)
    tree = _laid_over(tree, over)
    for place, value in _places(over, ()):
        if not isinstance(value, Mapping):
            _set_anew(known, place, origins, "set anew")
        elif place in origins:
            known.setdefault(place, origins[place])
    for key, value in put.items():
        _put(tree, key, deepcopy(value), origins.get(tuple(key.split(".")), str(path)))
        _set_anew(known, tuple(key.split(".")), origins, "set anew")
    for override in overrides:
        _set(tree, override)
        _set_anew(known, tuple(override.partition("=")[0].split(".")), {}, f"--set {override[:60]}")
    missing = _missing_files(tree) if files else []
    try:
        config = RunConfig.model_validate(tree)
    except ValidationError as error:
        more = [*_faults_beside(tree, error), *missing]
        raise ConfigError(listed_problems(path, error, RunConfig, known, more)) from error
    if missing:
        raise ConfigError(_headed(f"{path} has", [_line(fault, known, path) for fault in missing]))
    return config


def _faults_beside(tree: Mapping[str, Any], error: ValidationError) -> list[Fault]:
    """What does not go together among the keys that are valid by themselves, where others are not."""
    if any("told" in entry.get("ctx", {}) for entry in error.errors()):
        return []  # These are all of them: they are only looked for where every key is valid.
    wrong = {str(entry["loc"][0]) for entry in error.errors() if entry["loc"]}
    spelt = spelt_out(dict(tree))
    fields = RunConfig.model_fields
    valid = {
        name: TypeAdapter[Any](cast(Any, fields[name].annotation)).validate_python(value)
        for name, value in spelt.items()
        if name in fields and name not in wrong
    }
    return RunConfig.model_construct(**valid).faults(without=wrong)


def _missing_files(tree: Mapping[str, Any]) -> list[Fault]:
    """The files that a config names and that are not there."""
    return [
        (
            place,
            f"expected a file at {value}, got none; correct the path (paths in a config are relative to its folder, "
            "those of --set to the current one)",
        )
        for key in HOLDERS
        for place, value in _leaves(tree.get(key), (key,))
        if place[-1] in PATH_KEYS and isinstance(value, str) and not _is_there(value)
    ]


def _leaves(tree: Any, above: Place) -> list[tuple[Place, Any]]:
    """Every value of a tree that holds no others, with its place."""
    entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list) else None
    if entries is None:
        return [(above, tree)]
    return [leaf for key, value in entries for leaf in _leaves(value, (*above, str(key)))]


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # Too long a name, say, or one with a NUL in it.
        return False


def read_tree(path: Path) -> dict[str, Any]:
    """The mapping in the YAML file at `path`, with the files that it names anchored to its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML, or no mapping.
    """
    return read_with_origins(path)[0]


def read_with_origins(path: Path) -> tuple[dict[str, Any], Origins]:
    """What `read_tree` gives, and where each key stands.

    Raises:
        FileNotFoundError, ConfigError: as `read_tree` does.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a config file at {path}, got none; see `configs/` for examples.")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ConfigError(f"Expected a config of at most {MOST_BYTES:,} bytes, got {size:,} in {path}; shorten it.")
    try:
        found: Document = parse(path.read_text(encoding="utf-8"))
    except DocumentError as error:
        lines = [f"{path}:{line}: {what}" if line else f"{path}: {what}" for line, what in error.problems]
        raise ConfigError(_headed(f"Expected YAML in {path}, got", lines)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"Expected YAML in {path}, got bytes that are no UTF-8 text ({error}).") from error
    if not isinstance(found.value, dict):
        raise ConfigError(
            f"Expected `key: value` pairs in {path}, got {type(found.value).__name__}; see configs/quickstart.yaml."
        )
    tree: dict[str, Any] = _anchored(found.value, path.parent.resolve())
    return tree, {place: f"{path}:{line}" for place, line in found.lines.items()}


def refuse_other_kind(path: Path, tree: Mapping[str, Any], *, wanted: str) -> None:
    """Return when the file at `path` is of the kind that `wanted`, a key of `KINDS`, starts.

    Raises:
        ConfigError: it is of another kind; the command that starts it is told.
    """
    found = "sweep" if SWEEP in tree else "study" if RUNS in tree else "run"
    if SWEEP in tree and RUNS in tree:
        raise ConfigError(
            f"Expected either `{SWEEP}` or `{RUNS}` in {path}, got both; a study has runs and does not vary keys: "
            "remove one of them."
        )
    if found != wanted:
        raise ConfigError(
            f"Expected {KINDS[wanted]} in {path}, got {KINDS[found]}; start it with `diverget {found} {path}`."
        )


def listed_problems(
    path: Path,
    error: ValidationError,
    model: type[BaseModel],
    origins: Origins = MappingProxyType({}),
    more: Sequence[Fault] = (),
) -> str:
    """All problems that `model` has with the file at `path`, and `more` of them, a line each."""
    problems = error.errors()
    places = [entry["loc"] for entry in problems]
    # A list whose entries are wrong is not too short as well.
    lines = [
        f"{_origin(entry['loc'], origins, path)}: {_problem(entry, model)}"
        for entry in problems
        if not (entry["type"] == "too_short" and any(_inside(place, entry["loc"]) for place in places))
    ]
    return _headed(f"{path} has", [*lines, *(_line(fault, origins, path) for fault in more)])


def _line(fault: Fault, origins: Origins, path: Path) -> str:
    place, told = fault
    return f"{_origin(place, origins, path)}: {_where(place)}: {told[0].lower() + told[1:]}"


def _where(place: Sequence[Any]) -> str:
    return ".".join(map(str, place)) or "the config"


def _headed(head: str, lines: Sequence[str]) -> str:
    count = f"{len(lines)} problem{'s' if len(lines) > 1 else ''}"
    return f"{head} {count}:\n" + "\n".join(f"  {line}" for line in lines)


def _origin(loc: Sequence[Any], origins: Origins, path: Path) -> str:
    """Where the innermost known key of a problem was written; the file alone where the config as a whole is meant."""
    place = tuple(map(str, loc))
    return next((origins[place[:end]] for end in range(len(place), 0, -1) if place[:end] in origins), str(path))


def _set_anew(known: dict[Place, str], place: Place, origins: Origins, otherwise: str) -> None:
    """Note that what stands at `place` and inside it is not the file's, but was written where `origins` says."""
    for inner in [each for each in known if _inside(each, place)]:
        del known[inner]
    known[place] = origins.get(place, otherwise)
    known |= {inner: told for inner, told in origins.items() if _inside(inner, place)}


def _places(tree: Mapping[str, Any], above: Place) -> list[tuple[Place, Any]]:
    """Every key of a tree and of the mappings in it, with its value."""
    found: list[tuple[Place, Any]] = []
    for key, value in tree.items():
        found.append(((*above, str(key)), value))
        if isinstance(value, Mapping):
            found += _places(value, (*above, str(key)))
    return found


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


def anchored(key: str, value: Any, folder: Path) -> Any:
    """The value of `key.path` as it is set: of a key that names a file, a path from `folder` on."""
    return str(folder / value) if key.split(".")[-1] in PATH_KEYS and isinstance(value, str) else value


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
        value = _anchored(parse(text).value, Path.cwd())
    except DocumentError as error:
        raise ConfigError(f"Expected a YAML value in --set {override[:60]!r}, got: {error}") from error
    if key.split(".")[-1] in PATH_KEYS and isinstance(value, str):
        value = str(Path.cwd() / value)
    _put(tree, key, value, f"--set {override[:60]}")


def _put(tree: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *parents, last = key.split(".")
    if len(parents) > MOST_LEVELS:
        raise ConfigError(f"{origin}: expected at most {MOST_LEVELS} levels in {key[:60]}, got {len(parents) + 1}")
    place: Any = tree
    for depth, parent in enumerate(parents):
        place = _step(place, parent, origin, ".".join(parents[: depth + 1]))
    if isinstance(place, list):
        place[_position(place, last, origin, key)] = value
    else:
        place[last] = value


def _step(place: Any, key: str, origin: str, where: str) -> Any:
    if isinstance(place, list):
        child = place[_position(place, key, origin, where)]
    else:
        child = place.get(key)
        if child is None:
            child = place[key] = {}
    if not isinstance(child, (dict, list)):
        raise ConfigError(f"{origin}: expected {where} to hold keys of its own, got {child!r}; correct the key")
    return child


def _position(place: list[Any], key: str, origin: str, where: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        told = f"{origin}: expected a position 0 to {len(place) - 1} in {where}, got {key!r}; count from 0"
        if where.startswith("relations."):
            told += ", or, in a sweep, name the bounds of one param: relations.<relation>.<param>"
        raise ConfigError(told)
    return int(key)


def _problem(entry: Any, model: type[BaseModel]) -> str:
    """One problem in a line: where, what, and the nearest known key."""
    where = _where(entry["loc"])
    message = entry["msg"].removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        near = get_close_matches(str(entry["loc"][-1]), _keys_at(entry["loc"][:-1], model), n=1)
        return f"{where}: unknown key" + (f"; did you mean `{near[0]}`?" if near else "; remove it")
    if entry["type"] == "missing" and where == "relations":
        return "relations: expected a list of relations, or a named `space`, got none; see `diverget list spaces`"
    if entry["type"] == "missing":
        return f"{where}: expected a value, got none; add it"
    if entry["type"] == "value_error":
        return f"{where}: {message[0].lower() + message[1:]}"
    choices = entry["type"] == "literal_error"
    told = entry["ctx"]["expected"].replace("'", "") if choices else message.partition(",")[0]
    expected = re.sub(r"^Input should be (an? valid )?", "", told)
    for pydantic, plain in PLAINLY.items():
        expected = re.sub(pydantic, plain, expected)
    return f"{where}: expected {expected}, got {str(entry.get('input'))[:60]!r}"


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

"""A sweep: one config and the values of some of its keys, expanded into cells, each an ordinary run."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from experiments.config import (
    RUNS,
    SWEEP,
    ConfigError,
    Origins,
    anchored,
    listed_problems,
    load,
    read_with_origins,
    refuse_other_kind,
)
from experiments.config.parts import PATH_KEYS
from experiments.config.schema import RunConfig
from experiments.config.strict import Strict

LISTS = ("references", "quantisations", "relations")
"""Keys that hold a list: a single entry as a swept value stands for the list of it."""

MOST_CELLS = 100_000
"""More is a mistake in a grid and not a plan; every cell is expanded and checked before the first one starts
(engineering judgement)."""

COMPLETE, BEGUN, WAITING, FAILED, ELSEWHERE = "complete", "begun", "not begun", "failed", "under way elsewhere"
DAMAGED = "damaged"
"""The states of a cell. Under way elsewhere is one whose run directory another process holds, damaged one that was
complete and has a file that cannot be read."""

Values = Mapping[str, Any]


class SweepConfig(Strict):
    """What varies: every cell is one of `cells`, with one row of `zip`, with one point of `grid`."""

    grid: dict[str, tuple[Any, ...]] = Field({})
    zip: dict[str, tuple[Any, ...]] = Field({})
    cells: tuple[dict[str, Any], ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SweepConfig:
        if not self.grid and not self.zip and self.cells is None:
            raise ValueError("expected `grid`, `zip` or `cells` with keys to vary, got none of them; add one")
        for block, lists in (("grid", self.grid), ("zip", self.zip)):
            for key, values in lists.items():
                if not values:
                    raise ValueError(f"expected values of `{key}` in `{block}`, got an empty list; add some")
        lengths = {key: len(values) for key, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise ValueError(f"expected lists of one length in `zip`, got {told}; make them equal, or use `grid`")
        if self.cells is not None and not (self.cells and all(self.cells)):
            what = "an entry without keys" if self.cells else "an empty list"
            raise ValueError(f"expected in `cells` mappings of keys to values, got {what}; add some, or remove it")
        self._refuse_clashes()
        return self

    def _refuse_clashes(self) -> None:
        blocks = {"grid": list(self.grid), "zip": list(self.zip), "cells": self.keys_of_cells()}
        owners: dict[str, str] = {}
        for block, keys in blocks.items():
            for key in keys:
                if key in owners:
                    raise ValueError(
                        f"expected every key once, got `{key}` in `{owners[key]}` and in `{block}`; keep one of them"
                    )
                if key.split(".")[0] == SWEEP:
                    raise ValueError(f"expected keys of the config, got `{key}` in `{block}`; a sweep is not swept")
                owners[key] = block
        for key in owners:
            outer = [other for other in owners if key.startswith(f"{other}.")]
            if outer:
                raise ValueError(
                    f"expected keys apart from each other, got `{key}` inside `{outer[0]}`; vary one of them"
                )

    def keys_of_cells(self) -> list[str]:
        """The keys that `cells` names, in order."""
        return list(dict.fromkeys(key for cell in self.cells or () for key in cell))

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that varies, the one that changes least first."""
        return (*self.keys_of_cells(), *self.zip, *self.grid)

    def size(self) -> int:
        """How many cells it stands for, equal ones counted as often as they come."""
        size = len(self.cells or (1,)) * (len(next(iter(self.zip.values()))) if self.zip else 1)
        for values in self.grid.values():
            size *= len(values)
        return size

    def expanded(self) -> Iterator[tuple[dict[str, Any], dict[str, tuple[str, ...]]]]:
        """The values of every cell, and where in the block each stands; the last key of `grid` changes fastest."""
        cells = [
            {key: (value, ("cells", str(i), key)) for key, value in cell.items()}
            for i, cell in enumerate(self.cells or ({},))
        ]
        columns = [
            [(key, (value, ("zip", key, str(i)))) for i, value in enumerate(list_)] for key, list_ in self.zip.items()
        ]
        axes = [
            [(key, (value, ("grid", key, str(i)))) for i, value in enumerate(list_)] for key, list_ in self.grid.items()
        ]
        for cell, row, point in itertools.product(
            cells, zip(*columns, strict=True) if columns else [()], itertools.product(*axes)
        ):
            told = {**cell, **dict(row), **dict(point)}
            ordered = {key: told[key] for key in self.keys if key in told}
            yield (
                {key: value for key, (value, _) in ordered.items()},
                {key: place for key, (_, place) in ordered.items()},
            )


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: its number, counted from 1 in the order of the sweep.
        values: what it has of each swept key.
        config: the whole of it.
        digest: of the config; two cells of one digest are one.
        also: the numbers of the cells that came to the same.
        apart: the keys in which those differ nevertheless; none of them determines a result.
    """

    name: str
    values: Values
    config: RunConfig
    digest: str
    also: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of its run directory."""
        return f"{self.config.name}-{self.digest[:8]}"


@dataclass(frozen=True)
class Sweep:
    """A sweep whose every cell is valid."""

    name: str
    keys: tuple[str, ...]
    cells: tuple[Cell, ...]

    def directory(self, out: Path) -> Path:
        """Where its page stands; the runs lie beside it."""
        return out / f"{self.name}-sweep"


def load_sweep(path: Path, *, overrides: Sequence[str] = ()) -> Sweep:
    """The sweep in the YAML file at `path`, every cell expanded and checked.

    Args:
        overrides: `key.path=value`, set in every cell.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML, has no `sweep`, or that or a cell has problems, a named file that is not there among
            them; all are listed, with their cells.
    """
    tree, origins = read_with_origins(path)
    if SWEEP not in tree and RUNS not in tree:
        raise ConfigError(
            f"Expected `{SWEEP}:` in {path}, got a config of one run; add what varies (`grid`, `zip` or `cells`), or "
            f"start it with `diverget run {path}`."
        )
    refuse_other_kind(path, tree, wanted="sweep")
    asked = _asked(path, tree.pop(SWEEP), origins)
    _refuse_swept(asked, overrides)
    folder = path.parent.resolve()
    width = len(str(asked.size()))
    found: dict[str, Cell] = {}
    problems: dict[str, list[str]] = {}
    for number, (values, stands) in enumerate(asked.expanded(), start=1):
        name = f"{number:0{width}d}"
        try:
            put, keys = _put_of(tree, {key: anchored(key, value, folder) for key, value in values.items()})
            places = {tuple(place.split(".")): _line(origins, stands[key]) for place, key in keys.items()}
            config = load(path, put=put, overrides=overrides, files=True, origins=places, read=(tree, origins))
            cell = Cell(name, values, config, config.digest())
            found[cell.digest] = _joined(found.get(cell.digest), cell)
        except (ValueError, OSError) as error:
            problems.setdefault(str(error), []).append(name)
    if problems:
        raise ConfigError("\n".join(f"{cells_in_words(names)}: {text}" for text, names in problems.items()))
    cells = tuple(found.values())
    return Sweep(_name_of(path, tree, cells), asked.keys, cells)


def _line(origins: Origins, place: tuple[str, ...]) -> str:
    """Where a swept value stands in the file: its own line, else that of its key."""
    return next(origins[whole] for n in range(len(place), -1, -1) if (whole := (SWEEP, *place[:n])) in origins)


def _joined(first: Cell | None, cell: Cell) -> Cell:
    """The first cell of a digest, with `cell` noted beside it.

    Raises:
        ConfigError: the two have different criteria, and one run has one verdict.
    """
    if first is None:
        return cell
    if first.config.asked_criteria != cell.config.asked_criteria:
        raise ConfigError(
            f"Expected one list of `criteria` for one run, got others than those of cell {first.name}, which is the "
            "same run; criteria judge a run and do not change it: keep one list, and ask `diverget gate` about others."
        )
    mine, theirs = first.config.effective(), cell.config.effective()
    apart = dict.fromkeys((*first.apart, *(key for key in mine if mine[key] != theirs[key])))
    return replace(first, also=(*first.also, cell.name), apart=tuple(apart))


def _asked(path: Path, block: Any, origins: Origins) -> SweepConfig:
    own = {place[1:]: where for place, where in origins.items() if place[:1] == (SWEEP,)}
    try:
        asked = SweepConfig.model_validate(block)
    except ValidationError as error:
        raise ConfigError(f"`{SWEEP}` of {listed_problems(path, error, SweepConfig, own)}") from error
    if asked.size() > MOST_CELLS:
        raise ConfigError(
            f"Expected at most {MOST_CELLS:,} cells from `{SWEEP}` of {path}, got {asked.size():,}; shorten a list of "
            "`grid`, or use `zip`."
        )
    return asked


def _refuse_swept(asked: SweepConfig, overrides: Sequence[str]) -> None:
    for override in overrides:
        key = override.partition("=")[0]
        swept = [each for each in asked.keys if f"{key}.".startswith(f"{each}.") or each.startswith(f"{key}.")]
        if swept or key.split(".")[0] == SWEEP:
            raise ConfigError(
                f"Expected in --set a key that every cell shares, got {override!r}, which the sweep varies"
                f"{f' (`{swept[0]}`)' if swept else ''}; change the file, or set another key."
            )


def _name_of(path: Path, tree: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """What the sweep is called: as the config is, whether or not its cells have names of their own."""
    name = tree.get("name")
    return name if isinstance(name, str) and len({cell.config.name for cell in cells}) > 1 else cells[0].config.name


def cells_in_words(names: Sequence[str]) -> str:
    """`cell 03`, `cells 03 and 04`, `cells 03, 04, 05 and 21 more`."""
    if len(names) == 1:
        return f"cell {names[0]}"
    told = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
    return f"cells {', '.join(told[:-1])} and {told[-1]}"


def _put_of(tree: Mapping[str, Any], values: Values) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a cell as `load` puts them in place, and the swept key behind each place.

    A single entry stands for a list of it; `relations.<name>.<param>` is the bounds of that relation, wherever in the
    list it stands.

    Raises:
        ConfigError: the config lists no such relation.
    """
    put: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for key, value in values.items():
        parts, place = key.split("."), key
        if key in LISTS and not isinstance(value, list):
            put[key] = [value]
        elif parts[0] == "relations" and len(parts) == 3 and not parts[1].isdigit():
            place, bounds = _relation(tree, put, parts[1])
            put[place] = {"name": parts[1], "bounds": {**bounds, parts[2]: value}}
        else:
            put[key] = value
        keys[place] = key
    return put, keys


def _relation(tree: Mapping[str, Any], put: Values, name: str) -> tuple[str, dict[str, Any]]:
    """Where the relation called `name` stands, as a key, and its bounds so far.

    Raises:
        ConfigError: the config lists no such relation.
    """
    listed = tree.get("relations")
    if not isinstance(listed, list):
        raise ConfigError(
            f"Expected a list under `relations:` that holds {name}, whose bounds the sweep varies, got "
            f"{'none' if listed is None else repr(listed)[:60]}; the bounds of a named `space` are swept by writing "
            "its relations out under `relations:` in its place."
        )
    names = []
    for position, entry in enumerate(listed):
        entry = put.get(f"relations.{position}", entry)
        short = isinstance(entry, dict) and len(entry) == 1 and "name" not in entry
        own = next(iter(entry)) if short else entry.get("name") if isinstance(entry, dict) else entry
        if own == name:
            bounds = (entry[own] if short else entry.get("bounds")) if isinstance(entry, dict) else None
            return f"relations.{position}", dict(bounds or {})
        names.append(str(own))
    near = get_close_matches(name, names, n=1)
    advice = f"did you mean `relations.{near[0]}`?" if near else f"there are {', '.join(names) or 'none'}"
    raise ConfigError(f"Expected a relation of the config after `relations.`, got {name!r}; {advice}")


def worded(key: str, value: Any) -> str:
    """A swept value in as few words as tell it from others."""
    if isinstance(value, str):
        return Path(value).name if key.split(".")[-1] in PATH_KEYS else value
    if isinstance(value, Mapping):
        for naming in ("name", "zoo", "quantisation", "path"):
            if isinstance(value.get(naming), str):
                others = {k: v for k, v in value.items() if k != naming}
                more = ", ".join(f"{k} {worded(k, v)}" for k, v in others.items())
                return worded(naming, value[naming]) + (f" ({more})" if more else "")
        return ", ".join(f"{k} {worded(k, v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)) and not all(isinstance(each, (int, float)) for each in value):
        return " + ".join(worded(key, each) for each in value)
    return json.dumps(value, ensure_ascii=False)


def differs(cell: Cell) -> str:
    """What a cell has of each swept key, in a line."""
    return ", ".join(f"{key} {worded(key, value)}" for key, value in cell.values.items())

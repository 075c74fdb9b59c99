"""What can stand in a config, as rows and as a table."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

import relations
from diverget.arms import ARMS
from diverget.models.compress import COMPRESSIONS
from diverget.models.quantise import QUANTISATIONS
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.objectives import LIMITS, OBJECTIVES
from diverget.optimisers import OPTIMISERS
from diverget.spaces import SPACES
from experiments.config.criteria import FAMILIES, METRICS
from experiments.training import PATIENCE

NARROW = 110
"""Characters of a terminal below which a relation's name stands above its params, not beside them."""


def entries(kind: str, network: str | None = None) -> list[dict[str, Any]]:
    """The rows of `kind`; every row has a `name`. Of the quantisations, those of a `network` say what it can take.

    Raises:
        ValueError, OSError: as `suitability` does.
    """
    if kind == "relations":
        return [
            {
                "name": relation.name,
                "family": relation.family,
                "summary": relation.summary,
                "params": [
                    {
                        "name": param.name,
                        "unit": param.unit,
                        "in_spec": list(param.in_spec),
                        "stress": list(param.stress),
                        "neutral": param.neutral,
                    }
                    for param in relation.params
                ],
                "needs_wavelengths": relation.needs_wavelengths,
                "source": relation.source,
            }
            for relation in relations.ALL.values()
        ]
    if kind == "spaces":
        return [
            {
                "name": space.name,
                "summary": space.summary,
                "tier": space.tier,
                "relations": {
                    relation.name: {
                        param: list(ends)
                        for param, ends in {
                            **relation.bounds(space.tier),
                            **space.narrowed.get(relation.name, {}),
                        }.items()
                    }
                    for relation in space.relations
                },
                "limits": dict(space.limits),
                "severities": {name: [dict(step) for step in ladder] for name, ladder in space.severities.items()},
                "source": space.source,
            }
            for space in SPACES
        ]
    if kind == "arms":
        return [{"name": a.name, "natural": a.natural, "summary": a.summary} for a in ARMS]
    if kind == "optimisers":
        return [
            {"name": o.name, "objectives": o.objectives, "limits": "yes" if o.limits else "no", "summary": o.summary}
            for o in OPTIMISERS
        ]
    if kind == "objectives":
        return [{"name": o.name, "sense": _sense(o.maximise), "summary": o.summary} for o in OBJECTIVES]
    if kind == "limits":
        return [
            {"name": x.name, "bound": "at least" if x.at_least else "at most", "summary": x.summary} for x in LIMITS
        ]
    if kind == "models":
        return [
            {
                "name": a.name,
                "data": a.data,
                "summary": a.summary,
                "published": a.published or "sizes by engineering judgement",
                "here": f"{a.usual}, fewer where {PATIENCE} bring no progress",
                "source": a.source,
            }
            for a in ARCHITECTURES
        ]
    if kind == "quantisations" and network is not None:
        from experiments.suitability import suitability

        return [dict(row) for row in suitability(network)]
    if kind == "quantisations":
        return [{"name": q.name, "summary": q.summary} for q in QUANTISATIONS]
    if kind == "compressions":
        return [
            {
                "name": c.name,
                "summary": c.summary,
                "settings": ", ".join(c.settings),
                "then": c.quantisation,
                "source": c.source,
            }
            for c in COMPRESSIONS
        ]
    return [{"name": name, "summary": summary} for name, summary in {**METRICS, **FAMILIES}.items()]


def table(kind: str, rows: list[dict[str, Any]]) -> None:
    """Print `rows` as a table; relations one table a family."""
    console = Console()
    if kind == "relations":
        cells = [_cells(param) for row in rows for param in row["params"]]
        names = max(len(row["name"]) for row in rows)
        params, _, *bounds = (max(map(len, column)) for column in zip(*cells, strict=True))
        for family in dict.fromkeys(row["family"] for row in rows):
            held = [row for row in rows if row["family"] == family]
            beside = names if console.width >= NARROW else 0
            console.print(_family(family, held, beside, params, bounds), markup=False)
        return
    shown = Table(title=kind, title_justify="left", show_lines=kind in ("spaces", "models"))
    if kind in ("spaces", "models"):
        rows = [_space(row) if kind == "spaces" else _model(row) for row in rows]
    for column in rows[0]:
        shown.add_column(column, overflow="fold", no_wrap=kind in ("spaces", "models") and column == "name")
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    console.print(shown, markup=False)


def _family(family: str, rows: list[dict[str, Any]], names: int, params: int, bounds: list[int]) -> Table:
    """A family's relations: the name, and beside it summary, params and source beneath each other.

    Columns of their own would make each relation as tall as its source, a sentence or three, is long.

    Args:
        names, params, bounds: characters of these columns, the same in all families; units and sentences take the
            rest. Without room for names (0) they stand above.
    """
    shown = Table(title=f"family: {family}", title_justify="left", box=box.HORIZONTALS, show_lines=True, expand=True)
    if names:
        shown.add_column("relation", width=names, overflow="fold")
    shown.add_column("what it does; param, unit, in_spec, stress; source", ratio=1)
    for row in rows:
        knobs = Table.grid(padding=(0, 2, 0, 0), expand=True)
        knobs.add_column(width=params, style="bold", overflow="fold")
        knobs.add_column(ratio=1, overflow="fold")
        for width in bounds:
            knobs.add_column(width=width)
        for param in row["params"]:
            knobs.add_row(*(Text(text) for text in _cells(param)))
        needs = " Needs wavelengths." if row["needs_wavelengths"] else ""
        source = Text(f"Source: {row['source']}", style="dim")
        name, told = Text(row["name"], style="bold"), (Text(row["summary"] + needs), knobs, source)
        shown.add_row(*((name, Group(*told)) if names else (Group(name, *told),)))
    return shown


def _cells(param: dict[str, Any]) -> tuple[str, ...]:
    shape = "" if param["neutral"] is not None else " (shape)"
    return param["name"], param["unit"] + shape, _range(param["in_spec"]), _range(param["stress"])


def _space(row: dict[str, Any]) -> dict[str, str]:
    """A named space in words: its bounds where they are its own, its severities where it has some."""
    published = next(space for space in SPACES if space.name == row["name"]).narrowed
    lines = [row["summary"]]
    if not published:
        lines += ["", ", ".join(row["relations"])]
    for name, own in published.items():
        ladder = row["severities"].get(name)
        knobs = (
            [f"{param} {' '.join(f'{step[param]:.3g}' for step in ladder)}" for param in ladder[0]]
            if ladder
            else [f"{param} {_range(list(ends))}" for param, ends in own.items()]
        )
        lines.append(f"{name}: {', '.join(knobs)}")
    limits = ", ".join(f"{name} {bound:g}" for name, bound in row["limits"].items())
    return {
        "name": row["name"],
        "bounds": row["tier"],
        "limits": limits or ("none" if published else "the config's"),
        "what it holds": "\n".join([*lines, f"Source: {row['source']}"]),
    }


def _model(row: dict[str, Any]) -> dict[str, str]:
    """A network of the zoo: what it is, the setting it was published under, and the one it has here by default."""
    told = [f"published: {row['published']}", f"here: {row['here']}", f"Source: {row['source']}"]
    return {"name": row["name"], "data": row["data"], "what it is": "\n".join([row["summary"], *told])}


def _sense(maximise: bool) -> str:
    return "maximise" if maximise else "minimise"


def _range(bounds: list[float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"

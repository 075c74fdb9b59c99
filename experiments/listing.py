"""What can stand in a config, as rows and as a table."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

import relations
from diverget.models.quantise import QUANTISATIONS
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.objectives import LIMITS, OBJECTIVES
from diverget.optimisers import OPTIMISERS
from experiments.criteria import METRICS


def entries(kind: str) -> list[dict[str, Any]]:
    """The rows of `kind`; every row has a `name`."""
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
    if kind == "optimisers":
        return [{"name": o.name, "objectives": o.objectives, "summary": o.summary} for o in OPTIMISERS]
    if kind == "objectives":
        return [{"name": o.name, "sense": _sense(o.maximise), "summary": o.summary} for o in OBJECTIVES]
    if kind == "limits":
        return [
            {"name": x.name, "bound": "at least" if x.at_least else "at most", "summary": x.summary} for x in LIMITS
        ]
    if kind == "models":
        return [{"name": a.name, "summary": a.summary, "source": a.source} for a in ARCHITECTURES]
    if kind == "quantisations":
        return [{"name": q.name, "summary": q.summary} for q in QUANTISATIONS]
    return [{"name": name, "summary": summary} for name, summary in METRICS.items()]


def table(kind: str, rows: list[dict[str, Any]]) -> None:
    """Print `rows` as a table."""
    shown = Table(title=kind, title_justify="left", show_lines=kind == "relations")
    if kind == "relations":
        rows = [
            {
                "name": row["name"],
                "family": row["family"],
                "what it does": row["summary"],
                "params (in spec; stress)": "\n".join(
                    f"{p['name']}: {_range(p['in_spec'])}; {_range(p['stress'])} {p['unit']}" for p in row["params"]
                ),
                "source": row["source"],
            }
            for row in rows
        ]
    for column in rows[0]:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(str(value) for value in row.values()))
    Console().print(shown, markup=False)


def _sense(maximise: bool) -> str:
    return "maximise" if maximise else "minimise"


def _range(bounds: list[float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"

"""The section on fronts: divergence against severity as one number, the hypervolume, for every search of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from diverget.evolution.volume import MOST_DIVERGENCE, hypervolume
from experiments.charts import figures
from experiments.record import Row, Run, Search, spoken
from experiments.sections.page import Plot, Section
from experiments.statistics.trials import BOUNDARY

LOOKS = 24
"""Points of a curve of hypervolume against queries (engineering judgement)."""

OBJECTIVE = "js_divergence"
"""The objective whose fronts have a volume: it is bounded, so a reference point can be stated for all runs."""


def fronts(run: Run) -> Section:
    """Hypervolumes of the search over all patches and of the fronts that each arm left of each patch."""
    searches = [
        (pair, run.searches[pair["pair"]])
        for pair in run.tested()
        if pair["pair"] in run.searches and OBJECTIVE in run.searches[pair["pair"]].scores
    ]
    plots = []
    if searches:
        svg = figures.curves(
            [(spoken(pair), *_growth(s)) for pair, s in searches],
            x="queries",
            y="hypervolume",
            name="hypervolume",
            label="Hypervolume of the search's front against queries, by pair.",
        )
        reading = "A curve that still climbs at its end says that a larger budget would push the front further."
        plots.append(Plot("Hypervolume of the search against queries", svg, reading))
    rows = table(run)
    walking = [arm for arm in BOUNDARY if any(row["by"] == arm for row in rows)]
    values = {"rows": rows, "plots": plots, "most": MOST_DIVERGENCE, "walking": walking}
    return Section("fronts", "Fronts and hypervolume", "fronts.html", values)


def table(run: Run) -> list[dict[str, Any]]:
    """A row a pair and search: how many fronts there are, and their hypervolume (median, quartiles)."""
    rows = []
    for pair in run.tested():
        search = run.searches.get(pair["pair"])
        if search is not None and OBJECTIVE in search.scores:
            whole = hypervolume(search.severity[search.feasible], search.scores[OBJECTIVE][search.feasible])
            optimiser = (run.manifest["config"].get("search") or {}).get("optimiser", "search")
            rows.append(_row(pair, "mean over all patches", optimiser, np.array([whole])))
        walked = [row for row in run.patchwise if row["pair"] == pair["pair"] and row["natural"]]
        for rung, arm in dict.fromkeys((row["rung"], row["arm"]) for row in walked):
            mine = [row for row in walked if (row["rung"], row["arm"]) == (rung, arm)]
            if any(row["front"] for row in mine):
                rows.append(_row(pair, f"each patch, {rung}", arm, np.array([_of_patch(row["front"]) for row in mine])))
    return rows


def _row(pair: Row, what: str, by: str, volumes: np.ndarray) -> dict[str, Any]:
    low, median, high = (float(end) for end in np.percentile(volumes, (25, 50, 75)))
    return {
        "pair": pair["pair"],
        "name": spoken(pair),
        "front": what,
        "by": by,
        "fronts": len(volumes),
        "median": median,
        "quartiles": (low, high) if len(volumes) > 1 else None,
        "mean": float(volumes.mean()),
    }


def _of_patch(front: Sequence[Row]) -> float:
    return hypervolume(
        np.array([point["severity"] for point in front], dtype=np.float64),
        np.array([point["divergence"] for point in front], dtype=np.float64),
    )


def _growth(search: Search) -> tuple[np.ndarray, np.ndarray]:
    """Queries (g,) and the hypervolume of all feasible candidates up to there."""
    ends = np.unique(np.linspace(1, len(search.queries), LOOKS).astype(np.int64))
    volumes = []
    for end in ends:
        usable = search.feasible[:end]
        volumes.append(hypervolume(search.severity[:end][usable], search.scores[OBJECTIVE][:end][usable]))
    return search.queries[ends - 1], np.array(volumes)

"""The section on kinds of findings: what the archive of diversity holds and how much of it is filled."""

from __future__ import annotations

from typing import Any

import relations
from experiments.record import Row, Run, spoken
from experiments.sections.arms import unfollowed
from experiments.sections.page import Section


def diversity(run: Run) -> Section:
    """How many kinds of findings there are, by family of relation, tier and pair of classes, each at its mildest."""
    walking, left = unfollowed(run.manifest["config"])
    rows = [line for pair in run.tested() for line in _lines(run, pair)]
    return Section(
        "kinds",
        "Kinds of findings",
        "diversity.html",
        {"rows": rows, "coverage": _coverage(run), "walking": walking, "left": left},
    )


def _lines(run: Run, pair: Row) -> list[dict[str, Any]]:
    mine = [row for row in run.archive if row["pair"] == pair["pair"]]
    places = sorted({(row["tier"], row["family"]) for row in mine})
    lines = []
    for tier, family in places:
        cells = [row for row in mine if (row["tier"], row["family"]) == (tier, family)]
        first = min(cells, key=lambda row: (row["severity"], row["mildest"]))
        lines.append(
            {
                "name": spoken(pair),
                "tier": tier,
                "family": family,
                "patches": sum(row["patches"] for row in cells),
                "class_pairs": len(cells),
                "severity": first["severity"],
                "classes": f"{run.class_name(first['reference_class'])} → {run.class_name(first['quantised_class'])}",
                "finding": first["mildest"],
            }
        )
    return lines


def _coverage(run: Run) -> list[dict[str, Any]]:
    """For each pair and tier the share of the archive's cells that hold a finding, and what the cells are."""
    config = run.manifest["config"]
    families = {relations.get(entry["name"]).family for entry in config.get("relations", [])}
    ladder = (config.get("patchwise") or {}).get("ladder", [])
    tiers = sorted({rung["tier"] for rung in (config, *ladder) if "tier" in rung})
    k = len(run.class_names)
    told = []
    for pair in run.tested():
        mine = [row for row in run.archive if row["pair"] == pair["pair"]]
        for tier in tiers:
            cells = [row for row in mine if row["tier"] == tier]
            told.append(
                {
                    "name": spoken(pair),
                    "tier": tier,
                    "filled": len(cells),
                    "cells": len(families) * k * (k - 1),
                    "families": len({row["family"] for row in cells}),
                    "of_families": len(families),
                    "class_pairs": len({(row["reference_class"], row["quantised_class"]) for row in cells}),
                    "of_class_pairs": k * (k - 1),
                }
            )
    return told

"""The section on severities: how the rates of every relation grow from mild to harsh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from experiments.charts.figures import MUTED, QUANTISED
from experiments.charts.panels import Course, panels
from experiments.record import FEWEST_BLOCKS, FEWEST_DRAWS, Row, Run, spoken
from experiments.record.card import ranked, why_not
from experiments.sections.page import Alert, Plot, Section
from experiments.wording import TIERS, interval, number, percent, plural


def doses(run: Run) -> Section:
    """Rates of every relation alone at several severities, a chart a tier, the numbers folded beneath."""
    blocks = []
    for i, pair in enumerate(ranked(run)):
        mine = [row for row in run.doses if row["pair"] == pair["pair"]]
        if mine:
            tiers = [tier for tier in TIERS if any(row["tier"] == tier for row in mine)]
            blocks.append(
                {
                    "name": spoken(pair),
                    "plots": [
                        _plot(
                            f"{spoken(pair)}, {TIERS[tier]}",
                            [row for row in mine if row["tier"] == tier],
                            name=f"doses-{i}-{tier}",
                        )
                        for tier in tiers
                    ],
                    "rows": [{**row, "why_not": why_not(row)} for row in mine],
                }
            )
    parted = sum(row["revealed"] + row["moved_apart"] for row in run.doses if row["control"])
    drawn = sum(row["draws"] for row in run.doses if row["control"])
    text = f"Control: on {plural(parted, 'draw')} at these severities a model parted from itself. It must be none."
    values = {
        "blocks": blocks,
        "severities": sorted({row["severity"] for row in run.doses}),
        "control": Alert("bad", text) if parted else None,
        "control_draws": drawn,
        "fewest": (FEWEST_DRAWS, FEWEST_BLOCKS),
    }
    return Section("severities", "How often, from mild to harsh", "doses.html", values)


def _plot(title: str, rows: Sequence[Row], *, name: str) -> Plot:
    return Plot(title, dose_panels(rows, name=name, label=f"Rate against severity, {title}"), _reading(rows))


def dose_panels(rows: Sequence[Row], *, name: str, label: str) -> Markup:
    """Rate against severity, a panel a relation: REVEALED and any disagreement, each with its band.

    Args:
        rows: of one pair and tier; relation, severity, enough, and rate, lower, upper of both kinds.
    """
    groups = []
    for relation in dict.fromkeys(row["relation"] for row in rows):
        mine = sorted((row for row in rows if row["relation"] == relation), key=lambda row: row["severity"])
        courses = []
        for kind, colour, dash in (("disagreement", MUTED, "--"), ("revealed", QUANTISED, "-")):
            y, lower, upper = (
                np.array([row[f"{kind}_{end}"] if row["enough"] else np.nan for row in mine], dtype=np.float64)
                for end in ("rate", "lower", "upper")
            )
            at = np.array([row["severity"] for row in mine])
            courses.append(Course(at, y, lower, upper, colour, dash, dots=True))
        groups.append((relation, courses))
    said = _reading(rows)
    return panels(groups, x="severity", y="share of draws", name=name, label=f"{label}. {said}", roots=True)


def _reading(rows: Sequence[Row]) -> str:
    told = [row for row in rows if row["enough"]]
    hit = [row for row in told if row["revealed"]]
    if not told:
        return "Too few draws of every relation count at every severity: nothing is told."
    if not hit:
        most = max(row["revealed_upper"] for row in told)
        return f"No draw was REVEALED at any severity; the intervals end at {percent(most)} or below."
    top = max(hit, key=lambda row: (row["revealed_rate"], -row["severity"]))
    mild = min(hit, key=lambda row: (row["severity"], -row["revealed_rate"]))
    said = (
        f"Highest: {top['relation']} at severity {number(top['severity'], 2)}, REVEALED on "
        f"{percent(top['revealed_rate'])} of the draws "
        f"({interval(top['revealed_lower'], top['revealed_upper'])})."
    )
    if (mild["relation"], mild["severity"]) != (top["relation"], top["severity"]):
        said += f" Already at {number(mild['severity'], 2)}: {mild['relation']}, {percent(mild['revealed_rate'])}."
    return said

"""The section on the least severity that reveals: survival curves by relation and by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diverget.store import Store
from experiments.charts.figures import QUANTISED, REFERENCE
from experiments.charts.panels import Course, panels
from experiments.record import Run, spoken
from experiments.sections.page import Plot, Section
from experiments.stages.drawn import read_clean
from experiments.statistics import LEAST_CORRELATION
from experiments.statistics.survival import SHARES, Subjects, Survival, grouped
from experiments.wording import number, percent, plural

TITLES = {"relation": "boundary gaps, by relation", "class": "boundary gaps, by class"}


def survival(run: Run) -> Section:
    """How mild: the severity by which sources are REVEALED, with what is censored."""
    clean = read_clean(Store(run.path))
    patches = None if clean is None else clean.assessed_blocks
    blocks, told = [], {}
    for i, pair in enumerate(run.tested()):
        found = grouped(run, pair["pair"], patches)
        if found:
            told[pair["pair"]] = found
            drawn = ["relation", *[kind for kind in found if kind.startswith("searched")][:1]]
            drawn = [kind for kind in drawn if kind in found]
            if drawn == ["relation"]:
                drawn.append("class")
            blocks.append(
                {
                    "name": spoken(pair),
                    "plots": [
                        _plot(spoken(pair), kind, found[kind], name=f"survival-{i}-{place}")
                        for place, kind in enumerate(drawn)
                    ],
                    "tables": [(title(kind), [_row(one) for one in subjects]) for kind, subjects in found.items()],
                }
            )
    values = {
        "blocks": blocks,
        "shares": SHARES,
        "grouped": told,
        "by_block": clean is not None,
        "correlation": LEAST_CORRELATION,
    }
    return Section("survival", "How mild: survival curves", "survival.html", values)


def title(kind: str) -> str:
    """What a kind of `grouped` is called."""
    rung = kind.removeprefix("searched, ")
    return TITLES.get(kind, f"per-patch search, by class ({rung})")


def _plot(pair: str, kind: str, subjects: Sequence[Subjects], *, name: str) -> Plot:
    curves = [(one.group, one.curve) for one in subjects]
    colour = QUANTISED if kind == "relation" else REFERENCE
    said = _reading(kind, curves)
    what = f"{pair}, {title(kind)}"
    svg = panels(
        [(group, [_course(curve, colour)]) for group, curve in curves],
        x="severity",
        y="share not REVEALED yet",
        name=name,
        label=f"Survival curves, {what}. {said}",
    )
    return Plot(what, svg, said)


def _reading(kind: str, curves: Sequence[tuple[str, Survival]]) -> str:
    events = sum(curve.events for _, curve in curves)
    of = sum(curve.subjects for _, curve in curves)
    unit = ("patch", "patches") if kind.startswith("searched") else ("ray", "rays")
    said = f"{plural(events, *unit)} of {plural(of, *unit)} REVEALED."
    tenth = SHARES[1]
    reached = [(at, group) for group, curve in curves if (at := curve.reached(tenth)) is not None]
    if not reached:
        return f"{said} No curve falls to {percent(1 - tenth)}."
    at, group = min(reached)
    return f"{said} First down to {percent(1 - tenth)}: {group}, at severity {number(at, 2)}."


def _course(curve: Survival, colour: str) -> Course:
    x, y, lower, upper = curve.staircase()
    return Course(x, y, lower, upper, colour)


def _row(subjects: Subjects) -> dict[str, Any]:
    curve = subjects.curve
    return {
        "group": subjects.group,
        "subjects": curve.subjects,
        "events": curve.events,
        "share": curve.events / curve.subjects,
        "left": int(subjects.left.sum()),
        "ended": curve.subjects - curve.events - int(subjects.left.sum()),
        "reached": [curve.reached(share) for share in SHARES],
        "end": curve.end,
    }

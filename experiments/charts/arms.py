"""Curves of the arms of a per-patch search: success, severity and front, in colours that an arm keeps on a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.charts import figures
from experiments.statistics.comparison import success
from experiments.statistics.trials import MOST, RANDOM, Cell, Trial
from experiments.wording import number

POINTS = 41
"""Points of a curve: fine enough for the eye, and the page stays small."""

DASHES = {"": "", "dashed": "5 2", "dotted": "1.2 1.6"}
"""By its CSS name, the dash of a line: stroke and gap in points."""


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: its colour and its dash, a key of `DASHES`."""

    arm: str
    colour: str
    dash: str

    @property
    def variable(self) -> str:
        return figures.THEME[self.colour]

    def line(self) -> str | tuple[float, tuple[float, ...]]:
        dash = DASHES[self.dash]
        return (0.0, tuple(float(part) for part in dash.split())) if dash else "-"


def looks(trials: Sequence[Trial]) -> dict[str, Look]:
    """A look for every arm: natural arms solid, arms that change pixels dashed, random grey and dotted."""
    natural = list(dict.fromkeys(t.arm for t in trials if t.natural and t.arm != RANDOM))
    pixels = list(dict.fromkeys(t.arm for t in trials if not t.natural))
    colours = figures.SERIES
    found = {arm: Look(arm, colours[i % len(colours)], "") for i, arm in enumerate(natural)}
    found |= {arm: Look(arm, colours[(i + 4) % len(colours)], "dashed") for i, arm in enumerate(pixels)}
    order = dict.fromkeys(t.arm for t in trials)
    return {arm: found.get(arm, Look(arm, figures.MUTED, "dotted")) for arm in order}


@dataclass(frozen=True)
class Line:
    """One curve with its band; `lower` and `upper` are None without one."""

    look: Look
    x: np.ndarray
    y: np.ndarray
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    faint: bool = False


def success_lines(cell: Cell, reached: str, look: dict[str, Look]) -> list[Line]:
    """The share of patches that each arm had by a number of queries; `reached` is `apart` or `revealed`."""
    at = np.unique(np.round(np.linspace(0, cell.budget, POINTS)))
    return [Line(look[t.arm], at, *success(getattr(t, reached), at)) for t in cell.trials]


def severity_lines(cell: Cell, look: dict[str, Look]) -> list[Line]:
    """The share of patches with a REVEALED follow-up of at most a severity; random's whole budget as a faint line."""
    drawn = [t.within(cell.budget) for t in cell.trials if t.natural]
    whole = [t for t in cell.trials if t.arm == RANDOM and t.budget > cell.budget]
    at = np.linspace(0, _reach([t.severity for t in (*drawn, *whole)]), POINTS)
    lines = [Line(look[t.arm], at, *success(t.severity, at)) for t in drawn]
    return lines + [Line(look[t.arm], at, success(t.severity, at)[0], faint=True) for t in whole]


def _reach(severities: Sequence[np.ndarray]) -> float:
    finite = np.concatenate([s[np.isfinite(s)] for s in severities]) if severities else np.zeros(0)
    return float(finite.max()) if len(finite) else MOST


def best_by_severity(trial: Trial, at: np.ndarray) -> np.ndarray:
    """The median over patches and repeats of the greatest divergence at a severity of at most `at` (g,), 0 if none."""
    best = np.zeros((trial.spent.size, len(at)))
    place = np.searchsorted(at, trial.front[:, 1], side="left")
    inside = place < len(at)
    owner = trial.front[inside, 0].astype(np.int64)
    np.maximum.at(best, (owner, place[inside]), trial.front[inside, 2])
    median: np.ndarray = np.median(np.maximum.accumulate(best, axis=1), axis=0)
    return median


def front_lines(cell: Cell, look: dict[str, Look]) -> list[Line]:
    """The median front of each arm that keeps one, over its own whole budget."""
    kept = [t for t in cell.trials if len(t.front)]
    reach = max((float(t.front[:, 1].max()) for t in kept), default=MOST)
    at = np.linspace(0, reach, POINTS)
    return [Line(look[t.arm], at, best_by_severity(t, at)) for t in kept]


def curves(lines: Sequence[Line], *, x: str, y: str, name: str, label: str, shares: bool = True) -> Markup:
    """The lines with their bands over one x axis; the page's own legend names them.

    Args:
        shares: the y axis runs from 0 to 100 %.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for line in lines:
            if line.lower is not None and line.upper is not None:
                axes.fill_between(line.x, line.lower, line.upper, color=line.look.colour, alpha=0.09, lw=0)
        for line in lines:
            width, dash = (0.9, "-") if line.faint else (1.6, line.look.line())
            axes.plot(line.x, line.y, color=line.look.colour, ls=dash, lw=width)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_xlim(0, max((float(line.x[-1]) for line in lines), default=1.0))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
        if shares:
            axes.set_ylim(-0.02, 1.02)
            axes.set_yticks(np.linspace(0, 1, 5))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))

    return figures.chart(draw, name=name, label=label, height=226)

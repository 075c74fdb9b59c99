"""Small multiples: one panel a group under shared axes, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.charts.figures import WIDTH, chart
from experiments.wording import cut

FEW = 8
"""Panels that still stand two abreast."""

SHARES = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)
"""Ticks of an axis of square roots."""

PANEL, GAP, TOP, BOTTOM, LEFT = 62, 24, 18, 38, 54
"""Pixels of a panel's height, between two rows, and around them for titles and labels."""


@dataclass(frozen=True)
class Course:
    """A line with its band in one panel; NaN leaves a hole, and so does a band without ends."""

    x: np.ndarray
    y: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    colour: str
    dash: str = "-"
    dots: bool = False


def panels(
    groups: Sequence[tuple[str, Sequence[Course]]], *, x: str, y: str, name: str, label: str, roots: bool = False
) -> Markup:
    """A panel a group (title, its lines), shares on the y axis, severities on the x axis from 0 on.

    Args:
        roots: the y axis is one of square roots from 0, so that small shares show beside large ones; else it is
            linear and ends at 1.
    """
    columns = 2 if len(groups) <= FEW else 3
    rows = -(-len(groups) // columns)
    courses = [course for _, drawn in groups for course in drawn]
    far = max((float(np.nanmax(course.x)) for course in courses if len(course.x)), default=1.0)
    values = [v for c in courses for v in (c.y, c.lower, c.upper) if np.isfinite(v).any()]
    least = min((float(np.nanmin(v)) for v in values), default=0.0)
    most = max((float(np.nanmax(v)) for v in values), default=1.0)

    height = TOP + BOTTOM + PANEL * rows + GAP * (rows - 1)

    def draw(figure: Figure) -> None:
        # Room that is known needs no layout, which measures every text of every panel.
        figure.set_layout_engine(None)
        wide = (WIDTH - LEFT - 8 - (columns - 1) * 14) / columns
        figure.subplots_adjust(
            left=LEFT / WIDTH,
            right=1 - 8 / WIDTH,
            top=1 - TOP / height,
            bottom=BOTTOM / height,
            wspace=14 / wide,
            hspace=GAP / PANEL,
        )
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.ravel()):
            if place >= len(groups):
                axes.set_axis_off()
                continue
            title, drawn = groups[place]
            for course in drawn:
                if np.isfinite(course.lower).any():
                    axes.fill_between(
                        course.x,
                        course.lower,
                        course.upper,
                        color=course.colour,
                        alpha=0.18 if course.dash == "-" else 0.1,
                        lw=0,
                    )
                marker = "o" if course.dots else ""
                axes.plot(course.x, course.y, color=course.colour, ls=course.dash, marker=marker, ms=2.8, lw=1.3)
            axes.set_title(cut(title, 24 if columns == 2 else 17), fontsize=9, fontweight="normal")
            axes.tick_params(labelsize=8.5)
            if place >= len(groups) - columns:
                axes.tick_params(labelbottom=True)
        axes = grid[0, 0]
        axes.set_xlim(0, far * 1.03)
        if roots:
            axes.set_yscale("function", functions=(lambda v: np.sqrt(np.maximum(v, 0)), np.square))
            top = min(1.0, max(most, 0.01))
            axes.set_ylim(0, top)
            ticks = [tick for tick in SHARES if tick <= top]
        else:
            low = np.floor(10 * min(least, 0.9)) / 10
            axes.set_ylim(low, 1.005)
            ticks = np.linspace(low, 1, 3).tolist()
        axes.set_yticks(ticks)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}"))
        grid[-1, 0].set_xlabel(x)
        grid[rows // 2 if rows > 1 else 0, 0].set_ylabel(y)

    return chart(draw, name=name, label=label, height=height)

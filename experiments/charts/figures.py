"""Charts as inline SVG whose colours follow the page's theme. Pure functions of numbers; no pyplot, no state."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import TightLayoutEngine
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.record import EVERYTHING
from experiments.wording import cut, number, share

INK, MUTED, FAINT, PAPER = "#1c2127", "#5c6670", "#dde2e8", "#fefefd"
REFERENCE, QUANTISED = "#0a6ebd", "#c9500a"
IN_SPEC, STRESS = "#00806a", "#9a4a9c"
SERIES = ("#c9500b", "#0a6ebe", "#00806b", "#9a4a9d", "#8a6d00", "#4b5a69")

THEME = {
    INK: "ink",
    MUTED: "muted",
    FAINT: "faint",
    PAPER: "paper",
    REFERENCE: "reference",
    QUANTISED: "quantised",
    IN_SPEC: "in-spec",
    STRESS: "stress",
    **{colour: f"series-{i}" for i, colour in enumerate(SERIES, start=1)},
}
"""Colours and the CSS variables that replace them in the page. From Okabe and Ito's palette for the colour-blind,
darkened until text and thin lines reach a contrast of 4.5 on paper; no two names share one colour."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "diverget",
    "path.simplify": False,
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
}

WIDTH = 400
"""Pixels of a chart: readable on a phone, two abreast on a desk, where it may grow by a third."""


@contextmanager
def style(more: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """The look of every figure while the block lasts."""
    settings: Any = {**STYLE, **more}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Only the layout uses matplotlib's own font; the reader's browser has the glyphs that it lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def chart(draw: Callable[[Figure], None], *, name: str, label: str, height: float, width: float = WIDTH) -> Markup:
    """An `<svg>` element, the same bytes for the same drawing.

    Args:
        draw: paints the figure.
        name: unique in the page; the prefix of the element's ids.
        label: what a reader who cannot see it is told.
        height, width: in CSS pixels.
    """
    buffer = io.StringIO()
    with style():
        # Not the constrained layout: its solver's last digits change from run to run, and with them the bytes.
        figure = Figure(
            figsize=(width / 72, height / 72),
            # Without a rectangle the whole figure is laid out, in one pass instead of two.
            layout=TightLayoutEngine(pad=0.3, w_pad=1.2, h_pad=0.8, rect=None),  # type: ignore[arg-type]
        )
        draw(figure)
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    body = buffer.getvalue()
    body = body[body.index(">", body.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S)
    body = re.sub(r"font-family:[^;\"]*;?\s*", "", body)
    used = set(re.findall(r"#([\w-]+)[\")]", body))
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = re.sub(r"#[0-9a-f]{6}", lambda m: f"var(--{THEME[m[0]]})" if m[0] in THEME else m[0], body)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r' (d|x|y|transform)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), body)
    return Markup(
        f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 {width:g} {height:g}" '
        f'style="max-width:{1.3 * width:g}px" xmlns="http://www.w3.org/2000/svg">{body}'
    )


def _percent_axis(axes: Axes, most: int = 4) -> None:
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))


def rates(rows: Sequence[Mapping], *, name: str, label: str) -> Markup:
    """Rates with their intervals, one line a relation, one panel a tier with a scale of its own.

    Args:
        rows: of one pair; relation, tier, revealed_rate, revealed_lower, revealed_upper, enough. Rows of too few
            draws leave their line empty.
    """
    relations = list(dict.fromkeys(row["relation"] for row in rows))
    tiers = [tier for tier in ("in_spec", "stress") if any(row["tier"] == tier for row in rows)]

    def draw(figure: Figure) -> None:
        panels = np.atleast_1d(figure.subplots(1, len(tiers), sharey=True))
        for axes, tier in zip(panels, tiers, strict=True):
            colour, marker = (IN_SPEC, "o") if tier == "in_spec" else (STRESS, "D")
            known = [row for row in rows if row["tier"] == tier and row["enough"]]
            end = _far_end(known)
            for row in known:
                y, upper = relations.index(row["relation"]), row["revealed_upper"]
                axes.plot([row["revealed_lower"], min(upper, end)], [y, y], color=colour, lw=2, alpha=0.55)
                axes.plot(row["revealed_rate"], y, marker=marker, color=colour, ms=5, clip_on=False, zorder=3)
                if upper > end:
                    axes.plot(end, y, marker=">", color=colour, ms=4, clip_on=False)
            axes.set_title(tier, color=colour)
            axes.set_xlim(0, end)
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
            _percent_axis(axes, 3)
        panels[0].set_yticks(range(len(relations)), [cut(r, 24) for r in relations], color=INK)
        panels[0].set_ylim(len(relations) - 0.5, -0.5)
        panels[0].tick_params(axis="y", pad=8)

    return chart(draw, name=name, label=label, height=58 + 19 * len(relations))


def _far_end(rows: Sequence[Mapping]) -> float:
    """Where an axis of rates ends: the widest interval of a relation with hits, so that one without does not
    squeeze all others; its own interval, which the effective number of draws alone decides, runs out of the panel."""
    uppers = [row["revealed_upper"] for row in rows if row["revealed_rate"]]
    return 1.08 * max(uppers or [row["revealed_upper"] for row in rows], default=0.0) or 1.0


def rate_bars_on(axes: Axes, rows: Sequence[Mapping], *, most: int = 14) -> None:
    """Paint the in-spec rates of one pair as bars with their intervals, the highest first, all relations on top."""
    known = [row for row in rows if row["tier"] == "in_spec" and row["enough"]]
    known.sort(key=lambda row: (row["relation"] != EVERYTHING, -row["revealed_rate"], row["relation"]))
    shown = known[:most]
    end = 100 * _far_end(shown)
    for y, row in enumerate(shown):
        rate, lower, upper = (100 * row[f"revealed_{part}"] for part in ("rate", "lower", "upper"))
        axes.barh(y, rate, height=0.62, color=IN_SPEC, alpha=1 if row["relation"] == EVERYTHING else 0.6)
        axes.plot([lower, min(upper, end)], [y, y], color=INK, lw=1)
        text = f"{share(row['revealed_rate'])} (≤ {share(row['revealed_upper'])})" if upper > end else share(rate / 100)
        axes.annotate(text, (min(upper, end), y), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(shown)), [cut(row["relation"], 22) for row in shown], color=INK)
    axes.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    axes.set_xlim(0, end * (1.3 if any(100 * row["revealed_upper"] > end for row in shown) else 1.1))
    axes.grid(axis="y", visible=False)
    axes.set_title("how often, in spec")
    axes.set_xlabel("% of the draws")


def curves(series: Sequence[tuple[str, np.ndarray, np.ndarray]], *, x: str, y: str, name: str, label: str) -> Markup:
    """Lines over a shared x axis, one a series (name, x, y), told apart by colour and dash."""
    dashes = ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (6, 2, 1, 2)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (title, at, value) in enumerate(series):
            axes.plot(
                *_corners(at, value),
                color=SERIES[i % len(SERIES)],
                ls=dashes[i % len(dashes)],
                label=cut(title, 30),
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_xlim(left=0)
        thousands = axes.get_xlim()[1] >= 10_000
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 1000:g}k" if thousands and v else f"{v:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
        if len(series) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2)

    return chart(draw, name=name, label=label, height=236)


def _corners(at: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A staircase of its corners alone: thousands of candidates improve a few dozen times."""
    keep = np.r_[True, value[1:] != value[:-1]] if len(value) else np.zeros(0, bool)
    stairs_x = np.r_[np.repeat(at[keep], 2)[1:], at[-1:]]
    return stairs_x, np.repeat(value[keep], 2)


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Indices of the points that no other beats, ascending in the first coordinate.

    The first coordinate is minimised, the second maximised; of equal points the first stays; points that are not
    finite never belong.

    Args:
        points: (n, 2) float.
    """
    usable = np.flatnonzero(np.isfinite(points).all(axis=1))
    order = usable[np.lexsort((usable, -points[usable, 1], points[usable, 0]))]
    front: list[int] = []
    for i in order:
        if not front or points[i, 1] > points[front[-1], 1]:
            front.append(int(i))
    return np.array(front, dtype=np.int64)


def front(points: np.ndarray, *, x: str, y: str, name: str, label: str) -> Markup:
    """All candidates (severity, divergence) as dots, those no other beats joined by a line.

    Dots that fall on the same cell of a fine grid are drawn once, so the size of the page has a bound.
    """
    best = pareto_front(points)
    usable = points[np.isfinite(points).all(axis=1)]
    reach = np.maximum(np.ptp(usable, axis=0), 1e-12) if len(usable) else np.ones(2)
    _, first = np.unique(np.round(usable / reach * (160, 110)), axis=0, return_index=True)
    dots = usable[np.sort(first)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.update_datalim(dots)
        # One path of zero-length strokes with round caps: a dot takes 40 bytes instead of 200.
        codes = np.tile([Path.MOVETO, Path.LINETO], len(dots))
        path = Path(np.repeat(dots, 2, axis=0), codes) if len(dots) else Path(np.zeros((1, 2)))
        axes.add_patch(PathPatch(path, fill=False, edgecolor=MUTED, lw=2.6, capstyle="round", alpha=0.35))
        axes.plot(
            points[best, 0],
            points[best, 1],
            color=QUANTISED,
            marker="o",
            ms=4,
            lw=1.4,
            label="no milder one diverges as much",
        )
        axes.autoscale_view()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2)

    return chart(draw, name=name, label=label, height=246)


def matrix(counts: np.ndarray, classes: Sequence[str], *, x: str, y: str, name: str, label: str) -> Markup:
    """A class-by-class table of counts as a heat map; the diagonal and the classes without any count are left out.

    Args:
        counts: (k, k) int, from (row) and to (column).
    """
    off = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    rows, cols = np.flatnonzero(off.sum(axis=1)), np.flatnonzero(off.sum(axis=0))
    part = off[np.ix_(rows, cols)]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, row in enumerate(part):
            for j, value in enumerate(row):
                strength = value / part.max()
                same = rows[i] == cols[j]
                # The limits are set below, so no cell need be measured for them.
                axes.add_artist(
                    Rectangle(
                        (j - 0.47, i - 0.46),
                        0.94,
                        0.92,
                        facecolor=QUANTISED if value else FAINT,
                        alpha=0.12 + 0.43 * strength if value else 0.15 if same else 0.45,
                    )
                )
                if value:
                    axes.text(
                        j,
                        i,
                        f"{value:d}",
                        ha="center",
                        va="center",
                        fontsize=9,
                        color=INK,
                        fontweight="bold",
                    )
        axes.set_xlim(-0.5, len(cols) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(cols)), [cut(classes[int(c)], 18) for c in cols], rotation=40, ha="right", color=INK)
        axes.set_yticks(range(len(rows)), [cut(classes[int(r)], 18) for r in rows], color=INK)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    return chart(draw, name=name, label=label, height=140 + 27 * len(rows), width=min(WIDTH, 190 + 48 * len(cols)))

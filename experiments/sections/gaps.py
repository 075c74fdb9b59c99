"""The section on boundary gaps: which of the two models leaves its class first on a ray, and by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter

from diverget.gaps import HIGH, LOW
from experiments.charts.figures import INK, MUTED, QUANTISED, REFERENCE, chart
from experiments.record import Row, Run, spoken
from experiments.sections.page import Alert, Plot, Section
from experiments.statistics.remains import first, remains, sure
from experiments.wording import count, cut, number, plural

ENDS = (5.0, 95.0)
"""Per cent between which nine gaps of ten lie (engineering judgement)."""

FEWEST = 20
"""Gaps below which their 5 and 95 % are not told: with fewer they are the two extremes (1 / 0.05)."""

ARROW = {HIGH: " ↑", LOW: " ↓"}

LINEAR = 1e-3
"""Severities below which the axis of gaps is linear; beyond, every step is a factor of ten (engineering judgement)."""


def gaps(run: Run) -> Section:
    """For every pair and relation: how often each model leaves, which leaves first, how far apart."""
    blocks = []
    for i, pair in enumerate(run.tested()):
        mine = [row for row in run.gaps if row["pair"] == pair["pair"]]
        if mine:
            blocks.append(
                {
                    "pair": pair["pair"],
                    "name": spoken(pair),
                    "relations": _relations(mine),
                    "classes": _grouped(mine, lambda row: row["own"], lambda row: run.class_name(row["own"])),
                    "remains": remains(run, pair["pair"], mine),
                    "plot": _plot(spoken(pair), mine, number=i),
                }
            )
    asked = run.manifest["config"].get("gaps") or {}
    values = {
        "blocks": blocks,
        "tier": asked.get("tier"),
        "grid": asked.get("grid"),
        "halvings": asked.get("halvings"),
        "fewest": FEWEST,
        "jumps": any(row["jumps"] for row in run.gaps),
        "control": _control(run),
    }
    return Section("gaps", "Boundary gaps", "gaps.html", values)


def _relations(rows: Sequence[Row]) -> list[Row]:
    """A line a relation and direction, in the order of the config."""
    both = {row["relation"] for row in rows if row["direction"] == LOW} & {
        row["relation"] for row in rows if row["direction"] == HIGH
    }
    return _grouped(
        rows,
        lambda row: (row["relation"], row["direction"]),
        lambda row: row["relation"] + (ARROW[row["direction"]] if row["relation"] in both else ""),
    )


def _grouped(rows: Sequence[Row], by: Callable[[Row], Hashable], called: Callable[[Row], str]) -> list[Row]:
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    return [_line(called(group[0]), group) for group in groups.values()]


def _line(name: str, rows: Sequence[Row]) -> Row:
    """What a group of rays says; shares of nothing are None."""
    n = len(rows)
    float_leaves = [row["dose_reference"] is not None for row in rows]
    other_leaves = [row["dose_quantised"] is not None for row in rows]
    some = sum(a or b for a, b in zip(float_leaves, other_leaves, strict=True))
    sides = Counter(first(row) for row in rows)
    known = sum(row["gap"] is not None for row in rows)
    return {
        "name": name,
        "param": rows[0]["param"],
        "unit": rows[0]["unit"],
        "jumps": rows[0]["jumps"],
        "rays": n,
        "float_leaves": sum(float_leaves) / n,
        "quantised_leaves": sum(other_leaves) / n,
        "quantised_first": sides[1] / some if some else None,
        "float_first": sides[-1] / some if some else None,
        "beyond_ties": sum(sure(row) for row in rows) / known if known else None,
        "value": _spread([row["gap_value"] for row in rows]),
        "severity": _spread([row["gap_severity"] for row in rows]),
        "more": sum(max(row["crossings_reference"], row["crossings_quantised"]) > 1 for row in rows) / n,
        "censored": sum(row["gap"] is None for row in rows) / n,
    }


def _spread(gaps: Sequence[float | None]) -> Row:
    """Median, the ends of what nine of ten lie between, and the median without signs, of the gaps that are known."""
    known = np.array([gap for gap in gaps if gap is not None], dtype=np.float64)
    ends = [float(end) for end in np.percentile(known, ENDS)] if len(known) >= FEWEST else None
    median, width = (float(np.median(of)) if len(known) else None for of in (known, np.abs(known)))
    return {"n": len(known), "median": median, "ends": ends, "width": width}


def _control(run: Run) -> Row | None:
    """How many rays a model was compared with itself on, and on how many the two left apart, which must be none."""
    rows = [row for row in run.gaps if row["control"]]
    apart = sum(first(row) != 0 for row in rows)
    if not rows:
        return None
    told = f"Control: on {plural(apart, 'ray')} of {count(len(rows))} a model left its class apart from itself. "
    return {
        "rays": len(rows),
        "alert": Alert("bad", told + "Trust no gap until that is understood.") if apart else None,
    }


def _plot(name: str, rows: Sequence[Row], *, number: int) -> Plot | None:
    known: dict[str, list[float]] = {}
    for row in rows:
        if row["gap_severity"] is not None:
            known.setdefault(row["relation"], []).append(row["gap_severity"])
    if not known:
        return None
    groups = sorted(((relation, np.array(gaps)) for relation, gaps in known.items()), key=lambda g: -np.median(g[1]))
    jumping = {row["relation"] for row in rows if row["jumps"]}
    top, gaps = groups[0]
    svg = distributions(
        [(relation + (" (jumps)" if relation in jumping else ""), gaps) for relation, gaps in groups],
        name=f"gaps-{number}",
        label=(
            f"Boundary gaps of {name} as severities, one strip a relation; the largest median, "
            f"{_signed(np.median(gaps))}, is that of {top}."
        ),
    )
    reading = (
        "A dot is a ray that both models leave. Right of 0 the quantised model leaves first, and the gap is the "
        "stretch of severities on which the patch is REVEALED, up to ties; left of 0 float does. The bar holds the "
        "middle half, the stroke is the median. A strip that lies evenly about 0 says that quantisation moves the "
        f"boundary to either side alike. The axis is linear up to {LINEAR:g} and logarithmic beyond."
    )
    return Plot(f"Boundary gaps by relation, {name}", svg, reading)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(float(value), 2)


def distributions(groups: Sequence[tuple[str, np.ndarray]], *, name: str, label: str) -> Markup:
    """Gaps as strips of dots around 0 with the middle half and the median, one line a group, in the given order.

    Args:
        groups: (what it is called, its gaps (g,)).
    """
    far = max(float(np.abs(gaps).max()) for _, gaps in groups)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.8)
        end = max(1.4 * far, 2 * LINEAR)
        axes.axvline(0, color=MUTED, lw=1)
        for y, (_, gaps) in enumerate(groups):
            for colour, side in ((QUANTISED, gaps > 0), (REFERENCE, gaps < 0), (MUTED, gaps == 0)):
                axes.add_patch(_dots(gaps[side], y, colour))
            low, middle, high = np.percentile(gaps, (25, 50, 75))
            axes.add_patch(Rectangle((low, y - 0.13), high - low, 0.26, facecolor=INK, alpha=0.55, lw=0, zorder=3))
            axes.plot([middle, middle], [y - 0.36, y + 0.36], color=INK, lw=2, zorder=4)
        axes.set_xlim(-end, end)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        ticks = [sign * 10.0**power for power in (-3, -2, -1, 0) for sign in (-1, 1) if 10.0**power <= end]
        axes.set_xticks([0.0, *ticks])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x)))
        axes.xaxis.set_minor_locator(axes.xaxis.get_major_locator())
        axes.set_yticks(range(len(groups)), [cut(called, 26) for called, _ in groups], color=INK)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("← float leaves first · severity · quantised first →")

    return chart(draw, name=name, label=label, height=66 + 26 * len(groups))


def _dots(gaps: np.ndarray, y: int, colour: str) -> PathPatch:
    """Dots about the line `y`, as one path of zero-length strokes; those on the same spot are drawn once."""
    gaps = np.unique(np.round(gaps, 5))
    # Spread by the golden ratio: even, whatever the number of dots, and the same each time.
    spread = y + 0.3 * (2 * (np.arange(1, len(gaps) + 1) * (5**0.5 - 1) / 2 % 1) - 1)
    points = np.repeat(np.stack([gaps, spread], axis=1), 2, axis=0) if len(gaps) else np.zeros((1, 2))
    path = Path(points, np.tile([Path.MOVETO, Path.LINETO], len(gaps)) if len(gaps) else None)
    return PathPatch(path, fill=False, edgecolor=colour, lw=2.6, capstyle="round", alpha=0.55)

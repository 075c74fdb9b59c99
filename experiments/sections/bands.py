"""The section on bands: in which groups of bands the change lies that makes a finding flip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.charts.figures import INK, MUTED, QUANTISED, chart
from experiments.record import Row, Run, spoken
from experiments.sections.page import Plot, Section
from experiments.wording import number, percent, plural


def bands(run: Run) -> Section:
    """For every pair and group of bands: what of the swing it restores, how many findings need it."""
    wavelengths = run.data["wavelengths"] if run.data else None
    blocks = []
    for i, pair in enumerate(run.tested()):
        rows = [row for row in run.bands if row["pair"] == pair["pair"]]
        if rows:
            lines = table(rows, wavelengths)
            name = spoken(pair)
            said = _reading(lines)
            svg = chart_of(lines, wavelengths, name=f"bands-{i}", label=f"Bands that matter, {name}. {said}")
            blocks.append({"name": name, "rows": lines, "plot": Plot(f"Bands that matter, {name}", svg, said)})
    return Section("bands", "Bands that matter", "bands.html", {"blocks": blocks})


def table(rows: Sequence[Row], wavelengths: Sequence[float] | None) -> list[dict[str, Any]]:
    """A line a group of bands, in their order; shares are of all findings asked about."""
    lines = []
    for group in sorted({row["group"] for row in rows}):
        mine = [row for row in rows if row["group"] == group]
        ends = mine[0]["first"], mine[0]["last"]
        lines.append(
            {
                "pair": mine[0]["pair"],
                "group": group,
                "first": ends[0],
                "last": ends[1],
                "nm": None if wavelengths is None else (wavelengths[ends[0]], wavelengths[ends[1]]),
                "findings": len(mine),
                "needed": sum(row["undone"] != "REVEALED" for row in mine) / len(mine),
                "enough": sum(row["alone"] == "REVEALED" for row in mine) / len(mine),
                "change": float(np.mean([row["share"] for row in mine])),
                **dict(zip(("lower", "restored", "upper"), _quartiles([row["restored"] for row in mine]), strict=True)),
            }
        )
    return lines


def _quartiles(shares: Sequence[float]) -> list[float]:
    return [float(end) for end in np.percentile(shares, (25, 50, 75))]


def _span(line: Row) -> str:
    if line["nm"] is None:
        return f"bands {line['first']} to {line['last']}" if line["first"] < line["last"] else f"band {line['first']}"
    return f"{number(line['nm'][0], 4)} to {number(line['nm'][1], 4)} nm"


def _reading(lines: Sequence[Row]) -> str:
    top = max(lines, key=lambda line: (line["restored"], -line["group"]))
    single = max(lines, key=lambda line: (line["enough"], -line["group"]))
    said = (
        f"{_span(top)} matter most: undone there, the median of {plural(top['findings'], 'finding')} takes back "
        f"{percent(top['restored'])} of the swing, with {percent(top['change'])} of the change"
    )
    if not single["enough"]:
        return f"{said}; no group alone is enough for any."
    return f"{said}; {_span(single)} alone is enough for {percent(single['enough'])} of the findings."


def chart_of(lines: Sequence[Row], wavelengths: Sequence[float] | None, *, name: str, label: str) -> Markup:
    """Bars of the median share of the swing that a group restores with the middle half, and the share of the change."""
    edges = [line["nm"] or (line["first"] - 0.5, line["last"] + 0.5) for line in lines]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for line, (left, right) in zip(lines, edges, strict=True):
            middle = (left + right) / 2
            axes.bar(left, line["restored"], width=right - left, align="edge", color=QUANTISED, alpha=0.75, lw=0)
            axes.plot([middle, middle], [line["lower"], line["upper"]], color=INK, lw=1.2)
            axes.plot([left, right], [line["change"]] * 2, color=MUTED, lw=1.4, ls=(0, (3, 1.5)))
        axes.axhline(0, color=MUTED, lw=0.7)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %".replace("-", "−")))
        axes.set_xlabel("band" if wavelengths is None else "wavelength (nm)")
        axes.set_ylabel("share of the swing")

    return chart(draw, name=name, label=label, height=216)

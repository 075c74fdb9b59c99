"""The section on blame: layer by layer, where the quantised network parts from the float one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diverget.blame import ranked_by
from experiments.charts.figures import IN_SPEC, INK, MUTED, QUANTISED, STRESS, chart
from experiments.record import Row, Run, spoken
from experiments.sections.page import Plot, Section
from experiments.wording import number, percent

SHOWN = 12
"""Layers of a pair in the table; the rest is folded away (engineering judgement: one screen)."""

TICKS = 20
"""Names of layers on an axis, at the most; beyond, every second one is left out, or more."""


def blame(run: Run) -> Section:
    """For every pair that was looked into: the layers ranked, the picture, and what to do."""
    told = {entry["pair"]: entry for entry in run.blame}
    blocks = []
    for i, pair in enumerate(run.tested()):
        if pair["pair"] not in told:
            continue
        entry = told[pair["pair"]]
        layers = entry["layers"]
        blocks.append(
            {
                "pair": pair["pair"],
                "name": spoken(pair),
                "findings": len(entry["findings"]),
                "looked_at": entry["looked_at"],
                "note": entry["note"],
                "compared_with": entry.get("compared_with"),
                "first": layers[0] if layers and layers[0]["findings"]["own_sqnr"] is not None else None,
                "within": bool(layers) and "avoidable" in layers[0]["findings"] and not _beyond(layers[0]),
                "integers": any(layer["low"] is not None for layer in layers),
                "layers": layers[:SHOWN],
                "rest": layers[SHOWN:],
                "keep_float": entry["keep_float"],
                "recalibrate": [layer for layer in layers if layer["tensor"] in entry["recalibrate"]],
                "plot": _plot(spoken(pair), layers, number_of=i) if layers else None,
            }
        )
    return Section("blame", "Blame", "blame.html", {"blocks": blocks, "run": run.path.resolve().name})


def _beyond(layer: Row) -> bool:
    """Whether a layer errs more than one rounding to 8 bits; a file without the avoidable error does not tell."""
    return ranked_by(*(layer[side].get("avoidable") for side in ("sources", "findings"))) > 0


def _plot(name: str, ranked: Sequence[Row], *, number_of: int) -> Plot:
    first = ranked[0]
    own = first["findings"]["own_sqnr"]
    marked = first["index"] if own is not None else None
    told = f"layer {marked}, {first['operator']}, with {number(own)} dB of its own" if own is not None else "none"
    svg = layer_lines(
        sorted(ranked, key=lambda layer: layer["index"]),
        marked,
        name=f"blame-{number_of}",
        label=(
            f"Signal to quantisation noise of the layers of {name}, on sources and on findings; the layer "
            f"blamed first is {told}."
        ),
    )
    saturated = max((layer["findings"]["saturation"] or 0.0 for layer in ranked), default=0.0)
    reading = (
        "Lines: signal to noise of each layer's activations, all errors before it included, so they fall where error "
        "comes in. Crosses: each layer alone, on findings. "
        + _said_of_first(first)
        + (
            f"Bars: share of its integers that saturate on findings, {percent(saturated)} at the most."
            if any(layer["low"] is not None for layer in ranked)
            else "No bars: there are no integers to saturate."
        )
    )
    return Plot(f"Layers from input to output, {name}", svg, reading)


def _said_of_first(first: Row) -> str:
    if first["findings"]["own_sqnr"] is None:
        return ""
    if _beyond(first):
        return "The marked layer errs furthest beyond what rounding to 8 bits must cost. "
    return f"The marked layer has {number(first['findings']['own_sqnr'])} dB of its own. "


def layer_lines(layers: Sequence[Row], marked: int | None, *, name: str, label: str) -> Markup:
    """SQNR of layers left to right, on sources and on findings, and bars of saturation beneath.

    Args:
        layers: as in `blame.json`, in order of execution.
        marked: the index of the layer to blame.
    """
    at = np.arange(len(layers))

    def column(side: str, key: str) -> np.ndarray:
        return np.array(
            [np.nan if layer[side][key] is None else layer[side][key] for layer in layers], dtype=np.float64
        )

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        place = next((i for i, layer in enumerate(layers) if layer["index"] == marked), None)
        for axes in (upper, lower):
            if place is not None:
                axes.axvspan(place - 0.45, place + 0.45, color=QUANTISED, alpha=0.16, lw=0)
        upper.plot(at, column("sources", "sqnr"), color=IN_SPEC, marker="o", ms=4, label="sources")
        upper.plot(at, column("findings", "sqnr"), color=STRESS, marker="D", ms=4, ls=(0, (5, 2)), label="findings")
        upper.plot(at, column("findings", "own_sqnr"), color=MUTED, marker="x", ms=5, ls="none", label="layer alone")
        upper.set_ylabel("SQNR, dB")
        upper.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        upper.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderaxespad=0.2)
        saturated = 100 * column("findings", "saturation")
        lower.bar(at, np.nan_to_num(saturated), width=0.7, color=QUANTISED)
        lower.set_ylim(0, max(1.0, 1.15 * float(np.nan_to_num(saturated).max())))
        lower.set_ylabel("saturated, %")
        lower.yaxis.set_major_locator(MaxNLocator(3))
        step = -(-len(layers) // TICKS)
        names = [f"{layer['index']} {_short(layer['operator'])}" for layer in layers]
        lower.set_xticks(at[::step], names[::step], rotation=55, ha="right", rotation_mode="anchor", color=INK)
        lower.set_xlim(-0.6, len(layers) - 0.4)
        for axes in (upper, lower):
            axes.grid(axis="x", visible=False)

    return chart(draw, name=name, label=label, height=330)


def _short(operator: str) -> str:
    return {"DEPTHWISE_CONV_2D": "DW_CONV_2D", "FULLY_CONNECTED": "FULLY_CONN"}.get(operator, operator)

"""Charts of one finding: its spectra, and what both models believe of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.charts.figures import INK, MUTED, QUANTISED, REFERENCE, chart
from experiments.wording import cut, number

LEAST = 0.02
"""Probability below which a class's bars could not be seen."""

MOST = 4
"""Classes beside each other; those that a model chose always belong."""


def spectra_on(
    panels: Sequence[Axes], before: np.ndarray, after: np.ndarray, wavelengths: Sequence[float] | None, unit: str
) -> None:
    """Paint the centre pixel's spectrum before and after, and below it the change, of that pixel and of the patch.

    The shade is the range of the change over all pixels: noise that spares the centre shows there alone. Where
    bands are missing the lines break.

    Args:
        before, after: (h, w, b).
    """
    at = np.arange(before.shape[-1], dtype=np.float64) if wavelengths is None else np.asarray(wavelengths, np.float64)
    steps = np.diff(at)
    gaps = np.flatnonzero(steps > 2.5 * np.median(steps)) + 1 if len(steps) else np.zeros(0, int)
    change = after.astype(np.float64) - before
    middle = before.shape[0] // 2, before.shape[1] // 2
    at, source, follow_up, moved, least, most = (
        np.insert(np.asarray(v, np.float64), gaps, np.nan)
        for v in (at, before[middle], after[middle], change[middle], change.min(axis=(0, 1)), change.max(axis=(0, 1)))
    )
    upper, lower = panels
    upper.plot(at, source, color=MUTED, lw=2.4, alpha=0.55, label="source")
    upper.plot(at, follow_up, color=INK, lw=1.1, label="follow-up")
    upper.set_ylabel(unit)
    upper.legend(loc="upper right", ncols=2, borderaxespad=0, handlelength=1.4)
    upper.margins(x=0.01, y=0.18)
    upper.tick_params(labelbottom=False)
    lower.axhline(0, color=MUTED, lw=0.7)
    lower.fill_between(at, least, most, color=MUTED, alpha=0.3, lw=0)
    lower.plot(at, moved, color=INK, lw=1.1)
    lower.set_ylabel("change")
    lower.set_xlabel("band" if wavelengths is None else "wavelength (nm)")
    lower.margins(x=0.01, y=0.15)
    for axes in panels:
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))


def spectra(
    before: np.ndarray, after: np.ndarray, wavelengths: Sequence[float] | None, *, unit: str, name: str, label: str
) -> Markup:
    """The centre pixel of a patch (h, w, b) before and after, over wavelength or band number, with the change."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        spectra_on(panels, before, after, wavelengths, unit)

    return chart(draw, name=name, label=label, height=268)


def beliefs_on(
    panels: Sequence[Axes], probabilities: Sequence[np.ndarray], classes: Sequence[str], models: Sequence[str]
) -> None:
    """Paint the top classes before and after: one panel each, two bars a class, an arrow at each choice.

    Args:
        probabilities: reference and quantised on the source, reference and quantised on the follow-up, (k,) each.
    """
    stacked = np.stack(probabilities)
    peak = stacked.max(axis=0)
    choices = np.unique(stacked.argmax(axis=1))
    rest = np.setdiff1d(np.flatnonzero(peak >= LEAST), choices)
    rest = rest[np.argsort(-peak[rest], kind="stable")][: max(0, MOST - len(choices))]
    tops = np.concatenate([choices, rest])
    tops = tops[np.argsort(-peak[tops], kind="stable")]
    for axes, title, pair in zip(panels, ("source", "follow-up"), (stacked[:2], stacked[2:]), strict=True):
        for shift, p, colour, model in zip((-0.19, 0.19), pair, (REFERENCE, QUANTISED), models, strict=True):
            axes.barh(np.arange(len(tops)) + shift, p[tops], height=0.33, color=colour, label=model)
            axes.plot(1.04, list(tops).index(p.argmax()) + shift, marker="<", ms=4, color=colour, clip_on=False)
        axes.set_title(title)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
        axes.set_ylim(len(tops) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(tops)), [cut(classes[t], 20) for t in tops], color=INK)


def beliefs(
    probabilities: Sequence[np.ndarray],
    classes: Sequence[str],
    models: Sequence[str],
    *,
    name: str,
    label: str,
) -> Markup:
    """Both models' probabilities of the top classes before and after; an arrow marks each model's choice."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        beliefs_on(panels, probabilities, classes, models)

    return chart(draw, name=name, label=label, height=172)

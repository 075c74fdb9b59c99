"""The drawing of the catalogue: cards of text, pictures and spectra on one tall page, laid out in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from experiments.catalogue import Catalogue, Specimen, about, decibels, introduction, span
from experiments.charts.figures import INK, MUTED, PAPER, QUANTISED, REFERENCE, STYLE, style
from experiments.wording import number
from relations import TIERS, Param

COLOURS = {"source": MUTED, "in_spec": REFERENCE, "stress": QUANTISED}

DPI = 100
SCALE = 72 / DPI
"""Points in a pixel of the page."""

EDGE, CARD, GUTTER = 48, 868, 56
WIDTH = 2 * EDGE + 2 * CARD + GUTTER
"""Pixels: two cards abreast."""

PICTURE, SPACE = 164, 10
"""Side of a picture and the space between two: a crop of 41 pixels at a scale of 4."""

PLOT = 590
"""Where in a card the spectrum's axis starts; the numbers of its scale stand left of it."""

BOUNDS = (PLOT, PLOT + 146)
"""Where in a card the bounds of the two tiers stand."""

TITLE, FAMILY, NAME, TEXT, SMALL = 30, 23, 17, 13.5, 12
"""Heights of the letters in pixels."""

LINE = 19
"""Pixels from one line of text to the next."""

FEW = 12
"""Below this many bands each is a dot as well."""

GAP_FACTOR = 2.5
"""Bands this many times farther apart than usual are not joined, as in the report."""


def look() -> AbstractContextManager[None]:
    """The style in which a page is drawn and saved."""
    paper = {"figure.facecolor": PAPER, "savefig.facecolor": PAPER, "savefig.dpi": DPI}
    return style({**paper, "svg.fonttype": "path", "image.composite_image": False})


@dataclass(frozen=True)
class Card:
    """One relation's texts, broken into lines that fit."""

    specimen: Specimen
    summary: tuple[str, ...]
    params: tuple[tuple[Param, tuple[str, ...]], ...]

    @property
    def words(self) -> int:
        """Pixels above the pictures' captions."""
        lines = len(self.summary) + sum(len(unit) for _, unit in self.params)
        return 30 + LINE * lines + 8


def drawn(catalogue: Catalogue, *, only: str | None = None) -> Figure:
    """The page of `catalogue`, or the cards of the family `only` without any heading. To be called inside `look`."""
    plan, y = [], 0.0
    lead = [line for text in introduction(catalogue) for line in broken_text(text, 16, WIDTH - 2 * EDGE)]
    if only is None:
        y = EDGE + 56 + 24 * len(lead) + 40
    headings = []
    for family, specimens in catalogue.families:
        if only not in (None, family):
            continue
        if only is None:
            headings.append((family, y))
            y += 74
        else:
            y += 24
        cards = [_card(specimen) for specimen in specimens]
        for pair in (cards[i : i + 2] for i in range(0, len(cards), 2)):
            words = max(card.words for card in pair)
            plan += [(card, EDGE + column * (CARD + GUTTER), y, words) for column, card in enumerate(pair)]
            y += words + SMALL + 8 + PICTURE + 54
    height = round(y + (0 if only else 12))
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    if only is None:
        _head(axes, lead)
    for family, top in headings:
        axes.plot([EDGE, WIDTH - EDGE], [top, top], color=MUTED, lw=0.8)
        at = EDGE + _say(axes, EDGE, top + 42, family.capitalize(), FAMILY, weight="bold")
        _say(axes, at + 16, top + 42, about(family), 15, MUTED)
    for card, x, top, words in plan:
        _draw_card(figure, axes, catalogue, card, x, top, words)
    return figure


def _head(axes: Axes, lead: Sequence[str]) -> None:
    _say(axes, EDGE, EDGE + 28, "Every relation at the end of its bounds", TITLE, weight="bold")
    for i, line in enumerate(lead):
        _say(axes, EDGE, EDGE + 64 + 24 * i, line, 16, MUTED)
    x, y = float(EDGE), EDGE + 64 + 24 * len(lead) + 8
    for name, colour in COLOURS.items():
        axes.plot([x, x + 30], [y - 5, y - 5], color=colour, lw=3.2 if name == "source" else 1.8)
        x += 40 + _say(axes, x + 40, y, name, 15, colour, weight="bold") + 32


def _draw_card(
    figure: Figure, axes: Axes, catalogue: Catalogue, card: Card, x: float, top: float, words: float
) -> None:
    specimen = card.specimen
    _say(axes, x, top + 16, specimen.relation.name, NAME, weight="bold")
    y = top + 38
    for line in card.summary:
        _say(axes, x, y, line, TEXT, MUTED)
        y += LINE
    for param, unit in card.params:
        at = x + _say(axes, x, y, param.name, TEXT, weight="bold")
        for tier, place in zip(TIERS, BOUNDS, strict=True):
            bounds = param.in_spec if tier == "in_spec" else param.stress
            _say(axes, x + place, y, span(bounds), TEXT, COLOURS[tier])
        for i, line in enumerate(unit):
            _say(axes, at + 8 if i == 0 else x + 16, y, line, TEXT, MUTED)
            y += LINE
    y = top + words + SMALL
    pictures = {"source": catalogue.source, **specimen.follow_ups}
    for column, (name, values) in enumerate(pictures.items()):
        left = x + column * (PICTURE + SPACE)
        ratio = specimen.psnr.get(name)
        caption = name if ratio is None else f"{name}, {decibels(ratio)}"
        _say(axes, left, y, caption, SMALL, COLOURS[name], weight="bold")
        _picture(axes, catalogue.painted(values), left, y + 8, specimen.pixel)
    if catalogue.source.shape[-1] > 1:
        wavelengths = catalogue.sensor.wavelengths
        over = "band number" if wavelengths is None else "wavelength in nm"
        _say(axes, x + PLOT, y, f"{catalogue.unit} over {over}", SMALL, MUTED)
        height = axes.get_ylim()[0]
        box = (x + PLOT) / WIDTH, 1 - (y + 8 + PICTURE) / height, (CARD - PLOT) / WIDTH, PICTURE / height
        spectra = {name: values[specimen.pixel] for name, values in pictures.items()}
        _spectra(figure.add_axes(box), spectra, wavelengths)


def _picture(axes: Axes, rgb: np.ndarray, left: float, top: float, pixel: tuple[int, int]) -> None:
    axes.imshow(
        rgb,
        extent=(left, left + PICTURE, top + PICTURE, top),
        interpolation="none" if PICTURE % len(rgb) == 0 else "nearest",
        aspect="auto",
    )
    size = PICTURE / len(rgb)
    corner = left + pixel[1] * size, top + pixel[0] * size
    for colour, width in ((PAPER, 3.0), (INK, 1.2)):
        axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=colour, lw=width * SCALE))


def _spectra(axes: Axes, spectra: dict[str, np.ndarray], wavelengths: np.ndarray | None) -> None:
    bands = len(spectra["source"])
    at = np.arange(bands, dtype=np.float64) if wavelengths is None else np.asarray(wavelengths, dtype=np.float64)
    steps = np.diff(at)
    gaps = np.flatnonzero(steps > GAP_FACTOR * np.median(steps)) + 1
    at = np.insert(at, gaps, np.nan)
    axes.set_prop_cycle(marker=["o" if bands < FEW else "none"], ms=[3])
    for layer, (name, width) in enumerate({"source": 3.4, "stress": 1.3, "in_spec": 1.3}.items(), start=2):
        line = np.insert(spectra[name].astype(np.float64), gaps, np.nan)
        axes.plot(at, line, color=COLOURS[name], lw=width, alpha=0.5 if name == "source" else 1.0, zorder=layer)
    axes.margins(x=0.01, y=0.08)
    axes.tick_params(labelsize=SMALL * SCALE, pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=wavelengths is None))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))


def _card(specimen: Specimen) -> Card:
    params = []
    for param in specimen.relation.params:
        unit = param.unit
        if param.neutral is None:
            unit += f" (drawn at {number(specimen.values['stress'][param.name])})"
        # A line that goes on starts further left, so what fits beside the name fits there as well.
        room = BOUNDS[0] - 12 - 16 - width_of(param.name, TEXT, "bold")
        params.append((param, tuple(broken_text(unit, TEXT, room))))
    return Card(specimen, tuple(broken_text(specimen.relation.summary, TEXT, CARD)), tuple(params))


def _say(axes: Axes, x: float, y: float, text: str, size: float, colour: str = INK, *, weight: str = "normal") -> float:
    """Write `text` on the baseline `y`, letters `size` pixels high; its width in pixels."""
    axes.text(x, y, text, fontsize=size * SCALE, color=colour, fontweight=weight, va="baseline")
    return width_of(text, size, weight)


@lru_cache(maxsize=4096)
def width_of(text: str, size: float, weight: str = "normal") -> float:
    """Pixels that `text` takes."""
    font = FontProperties(family=str(STYLE["font.family"]), size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, False)[0])


def broken_text(text: str, size: float, room: float) -> list[str]:
    """`text` in lines of at most `room` pixels; a word wider than that has a line of its own."""
    lines: list[str] = []
    for word in text.split():
        if lines and width_of(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]

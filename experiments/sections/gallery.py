"""Findings to look at: which to show, what each shows, and the picture of the best one for a README."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diverget.findings import source_patch
from experiments.charts import close_ups, figures, pictures
from experiments.record import Row, Run, flip, mildness, read, spoken
from experiments.record.card import ranked
from experiments.wording import cut, number

MOST = 14
"""Findings in the gallery: as many as a reader looks at, far fewer than a run may hold."""

FEWEST_BANDS = 4
"""Below this many bands a spectrum says less than the picture."""

PROBABILITIES = ("reference_source", "quantised_source", "reference", "quantised")

PIXELS = 150
"""Longer side of a picture, before its pixels are repeated a whole number of times."""


def chosen(run: Run, *, most: int = MOST) -> list[Row]:
    """At most `most` findings, the mildest first, spread over pairs of models and pairs of classes.

    First the mildest of every (pair, class from, class to), then the second mildest of each, until enough.
    """
    rank: Counter = Counter()
    order = []
    for finding in sorted((f for pair in run.tested() for f in run.found(pair["pair"])), key=mildness):
        place = (finding["pair"], finding["reference_class"], finding["quantised_class"])
        order.append((rank[place], finding))
        rank[place] += 1
    shown = [finding for _, finding in sorted(order, key=lambda entry: entry[0])[:most]]
    return sorted(shown, key=mildness)


def relations_at_work(findings: Sequence[Row]) -> list[tuple[str, int]]:
    """Relations that are left in the chains after shrinking, with the number of findings each is in."""
    names = Counter(name for f in findings for name in {step.split(" ")[0] for step in f["chain"].split(" → ")})
    return sorted(names.items(), key=lambda item: (-item[1], item[0]))


def before_and_after(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The source without its surroundings and the follow-up, (h, w, b) each."""
    return source_patch(arrays), arrays["follow_up"]


def painted(run: Run, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as (h, w, 3) uint8 under one stretch: the source's percentiles in a scene, the value range for images."""
    assert run.data is not None
    bands = pictures.display_bands(before.shape[-1], run.data["wavelengths"])
    if run.data["kind"] == "images":
        low, high = (np.full(1, end) for end in run.data["value_range"])
    else:
        low, high = pictures.stretch(before[..., bands], run.data["value_range"])
    return pictures.shown(before[..., bands], low, high), pictures.shown(after[..., bands], low, high)


def pair_of(run: Run, finding: Row) -> Row:
    """The pair that a finding belongs to."""
    return next(pair for pair in run.pairs if pair["pair"] == finding["pair"])


def unit_of(run: Run) -> str:
    """The unit on a spectrum's axis."""
    return (run.data and run.data["unit"]) or "value"


def view(run: Run, finding: Row) -> dict[str, Any]:
    """What the page shows of one finding: pictures, spectra, beliefs, and its facts in words."""
    assert run.data is not None
    arrays = run.arrays(finding)
    before, after = before_and_after(arrays)
    this = finding["finding"]
    kept, other = run.class_name(finding["reference_class"]), run.class_name(finding["quantised_class"])
    in_scene = run.data["kind"] == "scene"
    where = f"row {finding['row']}, column {finding['col']}" if in_scene else f"image {finding['row']}"
    spectra = None
    if before.shape[-1] >= FEWEST_BANDS:
        spectra = close_ups.spectra(
            before,
            after,
            run.data["wavelengths"],
            unit=unit_of(run),
            name=f"spectra-{this}",
            label=f"Spectrum of the centre pixel of finding {this} before and after, and the change over the patch.",
        )
    beliefs = close_ups.beliefs(
        [arrays[key] for key in PROBABILITIES],
        [run.class_name(c) for c in range(len(arrays["reference"]))],
        ("float", pair_of(run, finding)["quantised"]),
        name=f"beliefs-{this}",
        label=f"Top classes before and after: float stays with {kept}, the quantised model goes to {other}.",
    )
    return {
        **finding,
        "name": spoken(pair_of(run, finding)),
        "kind_of_flip": flip(pair_of(run, finding), run.kind(this)),
        "kept": kept,
        "other": other,
        "steps": finding["chain"].split(" → "),
        "where": where,
        "truth": None if finding["label"] < 0 else run.class_name(finding["label"]),
        "pictures": _pictures(run, before, after, where),
        "spectra": spectra,
        "beliefs": beliefs,
        "command": f"diverget replay {run.path.resolve().name} --finding {this}",
    }


def _pictures(run: Run, before: np.ndarray, after: np.ndarray, where: str) -> list[tuple[str, str, str]]:
    """(caption, data URI, what a reader who cannot see it is told) of source, follow-up and change."""
    first, second = painted(run, before, after)
    moved, full = pictures.change(before, after)
    scale = f"{number(full, 2)} {unit_of(run)}"
    told = (
        ("source", first, f"The source patch at {where}."),
        ("follow-up", second, "The same patch after the distortion, under the same stretch."),
        (
            f"change ±{number(full, 2)}",
            moved,
            f"Mean change over the bands: orange brighter, blue darker, up to {scale}.",
        ),
    )
    return [(caption, pictures.png(pictures.upscaled(rgb, pixels=PIXELS)), text) for caption, rgb, text in told]


def picture(run_dir: Path, path: Path) -> None:
    """Write one picture of a run: its most telling finding, and the rates of that finding's pair.

    The finding is the mildest of the pair that parts most often. The suffix of `path` (.png, .svg) chooses the
    format; the same run gives the same bytes.

    Raises:
        ValueError: the run has no finding to show.
        FileNotFoundError: `run_dir` holds no run.
    """
    run = read(run_dir)
    found = [finding for pair in ranked(run) for finding in run.found(pair["pair"])[:1]]
    if not found:
        raise ValueError(f"Expected a run with findings for a picture, got none in {run_dir}: choose another run.")
    finding = found[0]
    with figures.style({"figure.facecolor": figures.PAPER, "savefig.facecolor": figures.PAPER, "svg.fonttype": "path"}):
        figure = Figure(figsize=(12.4, 6.4))
        _compose(figure, run, finding)
        metadata = {".svg": {"Date": None}, ".png": {"Software": None}}.get(path.suffix)
        figure.savefig(path, dpi=130, metadata=metadata)


def _compose(figure: Figure, run: Run, finding: Row) -> None:
    arrays = run.arrays(finding)
    before, after = before_and_after(arrays)
    pair = pair_of(run, finding)
    kept, other = run.class_name(finding["reference_class"]), run.class_name(finding["quantised_class"])
    title = f"Float keeps {cut(kept, 30)}, {spoken(pair)} sees {cut(other, 30)}"
    facts = f"{finding['chain']}   (severity {number(finding['severity'], 2)}, PSNR {number(finding['psnr'])} dB)"
    figure.text(0.012, 0.95, title, fontsize=17, fontweight="bold", va="center")
    figure.text(0.012, 0.895, cut(facts, 150), color=figures.MUTED, fontsize=11, va="center")
    titles = ("source", "follow-up, same stretch")
    for bottom, image, title in zip((0.45, 0.02), painted(run, before, after), titles, strict=True):
        _show(figure.add_axes((0.012, bottom, 0.195, 0.375)), image, title)
    if before.shape[-1] >= FEWEST_BANDS:
        upper = figure.add_axes((0.27, 0.565, 0.375, 0.26))
        lower = figure.add_axes((0.27, 0.455, 0.375, 0.1), sharex=upper)
        wavelengths = run.data["wavelengths"] if run.data else None
        close_ups.spectra_on((upper, lower), before, after, wavelengths, unit_of(run))
        upper.set_title("spectrum of the centre pixel")
    else:
        moved, _ = pictures.change(before, after)
        _show(figure.add_axes((0.34, 0.45, 0.195, 0.375)), moved, "change: orange brighter, blue darker")
    first = figure.add_axes((0.34, 0.105, 0.14, 0.225))
    second = figure.add_axes((0.505, 0.105, 0.14, 0.225), sharey=first)
    second.tick_params(labelleft=False)
    names = [run.class_name(c) for c in range(len(arrays["reference"]))]
    close_ups.beliefs_on((first, second), [arrays[key] for key in PROBABILITIES], names, ("float", pair["quantised"]))
    handles = first.get_legend_handles_labels()
    figure.legend(*handles, loc="lower right", bbox_to_anchor=(0.65, 0.01), ncols=2, borderaxespad=0)
    rates = [row for row in run.rates if row["pair"] == pair["pair"]]
    figures.rate_bars_on(figure.add_axes((0.785, 0.105, 0.195, 0.72)), rates)


def _show(axes: Axes, image: np.ndarray, title: str) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
    axes.set_anchor("NW")

"""A page of every relation at the end of its bounds: what each does to one crop of a scene, gathered and written."""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import relations
from diverget.loading import load_scene
from diverget.patches import cut, draw_field
from diverget.scene import Scene
from diverget.space import Space
from diverget.store import appearing
from diverget.synthetic import synthetic_scene
from experiments.charts.pictures import display_bands, shown, stretch
from experiments.wording import number
from relations import FAMILIES, TIERS, Param, Relation, Sensor, Step, distort, psnr

SUFFIXES = (".html", ".png", ".svg", ".pdf")

SIDE = 41
"""Side of the crop in pixels, odd as every patch is: wide enough for fields, roads and roofs at once."""

SEED = 0
"""Root seed of the fields: the same page from the same scene."""

STEP = 5
NEAREST = (np.round(np.arange(256) / STEP) * STEP).astype(np.uint8)
"""What each of 256 levels becomes in a PNG: 52 of them look the same and take a sixth less room."""

CLEARLY = 0.5
"""The spectrum shown is that of the pixel nearest to the middle that changes this share of the greatest change."""


@dataclass(frozen=True)
class Specimen:
    """One relation at the end of each tier.

    Attributes:
        relation: which.
        values: by tier, the value of every param.
        follow_ups: by tier, the distorted crop, (h, w, b) float32.
        psnr: by tier, in dB; inf where nothing changed.
        pixel: (row, column) in the crop, whose spectrum is shown.
    """

    relation: Relation
    values: Mapping[str, Mapping[str, float]]
    follow_ups: Mapping[str, np.ndarray]
    psnr: Mapping[str, float]
    pixel: tuple[int, int]


@dataclass(frozen=True)
class Catalogue:
    """What the page shows.

    Attributes:
        scene: its name; `unit` what its values are counted in.
        sensor: range, signal and wavelengths of the scene.
        source: the crop, (h, w, b) float32; `corner` its upper left pixel (row, column) in the scene.
        specimens: one for each relation, in acquisition order.
        left_out: relations that need wavelengths, where the scene has none.
    """

    scene: str
    unit: str
    sensor: Sensor
    source: np.ndarray
    corner: tuple[int, int]
    specimens: tuple[Specimen, ...]
    left_out: tuple[str, ...]

    @property
    def families(self) -> list[tuple[str, list[Specimen]]]:
        """The families that have a specimen, in acquisition order, with them."""
        known = list(FAMILIES) + sorted({s.relation.family for s in self.specimens} - set(FAMILIES))
        grouped = [(family, [s for s in self.specimens if s.relation.family == family]) for family in known]
        return [(family, held) for family, held in grouped if held]

    @property
    def notes(self) -> list[str]:
        """What the reader must know beside the pictures: one sentence if relations were left out."""
        if not self.left_out:
            return []
        return [f"Left out, because they work in nm and this scene has no wavelengths: {', '.join(self.left_out)}."]

    def painted(self, x: np.ndarray) -> np.ndarray:
        """`x` (h, w, b) in false colour under the stretch of the source, (h, w, 3) uint8."""
        bands = display_bands(self.source.shape[-1], self.sensor.wavelengths)
        return shown(x[..., bands], *stretch(self.source[..., bands], (self.sensor.low, self.sensor.high)))


def end_values(relation: Relation, tier: str) -> dict[str, float]:
    """The value of every param at the end of `tier`.

    A strength stands at the bound farthest from neutral, the upper one of two as far. A shape param stands where it
    does in both tiers, so that only strength tells them apart: in the middle of `in_spec`, a whole number at its top.
    """
    return {param.name: _end(param, tier) for param in relation.params}


def _end(param: Param, tier: str) -> float:
    if param.neutral is None:
        return float(param.in_spec[1] if param.integer else param.decode(np.array(0.5), param.in_spec))
    low, high = bounds = param.in_spec if tier == "in_spec" else param.stress
    return float(low if param.strength(low, bounds) > param.strength(high, bounds) + 1e-9 else high)


def gather(scene: Scene, *, chosen: Iterable[Relation] | None = None, side: int = SIDE) -> Catalogue:
    """Distort the liveliest crop of `scene` by each relation alone, at the end of each tier.

    Args:
        scene: what the crop is cut from.
        chosen: relations in acquisition order; all of them without.
        side: of the crop, odd; a smaller scene gives a smaller crop.
    """
    sensor = scene.sensor()
    scene = replace(scene, cube=np.clip(scene.cube, np.float32(sensor.low), np.float32(sensor.high)))
    side = min(side, *((length - 1) // 2 * 2 + 1 for length in scene.cube.shape[:2]))
    row, col = liveliest(scene, side)
    able: list[Relation] = []
    left_out: list[Relation] = []
    for relation in relations.ALL.values() if chosen is None else chosen:
        lacking = relation.needs_wavelengths and sensor.wavelengths is None
        (left_out if lacking else able).append(relation)
    corner = row - side // 2, col - side // 2
    return Catalogue(
        scene=scene.name,
        unit=str(scene.origin.get("unit") or "value"),
        sensor=sensor,
        source=scene.cube[corner[0] : corner[0] + side, corner[1] : corner[1] + side],
        corner=corner,
        specimens=tuple(_specimen(relation, scene, sensor, (row, col), side) for relation in able),
        left_out=tuple(relation.name for relation in left_out),
    )


def liveliest(scene: Scene, side: int) -> tuple[int, int]:
    """(row, column) of the middle of the window of `side` pixels with the most edges, the fewest of them masked."""
    bands = display_bands(scene.bands, scene.wavelengths)
    rgb = shown(scene.cube[..., bands], *stretch(scene.cube[..., bands], scene.value_range)).astype(np.float32)
    edges = np.zeros(scene.valid.shape, dtype=np.float32)
    edges[1:] += np.abs(np.diff(rgb, axis=0)).sum(axis=-1)
    edges[:, 1:] += np.abs(np.diff(rgb, axis=1)).sum(axis=-1)
    seen, valid = (
        cv2.boxFilter(part, cv2.CV_64F, (side, side), normalize=True, borderType=cv2.BORDER_CONSTANT)
        for part in (np.where(scene.valid, edges, 0), scene.valid.astype(np.float32))
    )
    half = side // 2
    inner = slice(half, scene.valid.shape[0] - half), slice(half, scene.valid.shape[1] - half)
    # Rounded, so that the last bits of a running sum do not decide between windows that are alike.
    score = np.round((seen * valid**4)[inner], 6)
    row, col = np.unravel_index(int(score.argmax()), score.shape)
    return int(row) + half, int(col) + half


def _specimen(relation: Relation, scene: Scene, sensor: Sensor, at: tuple[int, int], side: int) -> Specimen:
    everywhere = np.array([at[0] * scene.cube.shape[1] + at[1]])
    field, source = None, np.empty(0)
    values, follow_ups, ratios = {}, {}, {}
    for tier in TIERS:
        margins = Space.of([relation], tier=tier).margins((side, side))
        patches = cut(scene, everywhere, size=side, margin=sum(margins), blocks=np.zeros(1))
        field = field or draw_field(relation, patches, seed=SEED)
        drawn = None if field is None else field.under(patches, np.arange(1), patches.margin)
        values[tier] = end_values(relation, tier)
        source = patches.source()
        moved = distort(patches.windows(), [Step(relation, values[tier])], [drawn], sensor, margins=margins)
        follow_ups[tier] = moved[0]
        ratios[tier] = float(psnr(source, moved, peak=sensor.high - sensor.low)[0])
    change = np.abs(follow_ups["stress"] - source[0]).mean(axis=-1)
    return Specimen(relation, values, follow_ups, ratios, _telling_pixel(change))


def _telling_pixel(change: np.ndarray) -> tuple[int, int]:
    """The pixel nearest to the middle that changes clearly; the middle where nothing does. `change` is (h, w)."""
    row, col = np.indices(change.shape)
    away = (row - change.shape[0] // 2) ** 2 + (col - change.shape[1] // 2) ** 2
    clear = np.where(change >= CLEARLY * change.max(), away, np.iinfo(np.int64).max)
    found = np.unravel_index(int(clear.argmin()), change.shape)
    return int(found[0]), int(found[1])


def scene_of(path: Path | None, *, cube_key: str | None = None, label_key: str | None = None) -> Scene:
    """The scene in `path`, or the embedded one without.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it cannot be taken as a scene.
    """
    if path is None:
        return synthetic_scene()
    try:
        return load_scene(path, cube_key=cube_key, label_key=label_key)
    except ValueError as error:
        # The loader speaks to those who write a config.
        advice = str(error).replace("scene.cube_key", "--cube-key").replace("scene.label_key", "--label-key")
        raise ValueError(advice) from error


def require_suffix(out: Path) -> None:
    """Return where `out` names a format that can be drawn.

    Raises:
        ValueError: it does not.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"Expected a file for --out that ends in one of {', '.join(SUFFIXES)}, got {out.suffix or 'no suffix'!r} "
            f"in {str(out)!r}; name the file with one of these suffixes."
        )


def write(catalogue: Catalogue, out: Path) -> None:
    """Draw the page into `out`, in the format of its suffix; the same catalogue gives the same bytes.

    Raises:
        ValueError: no such format.
        OSError: `out` cannot be written.
    """
    require_suffix(out)
    suffix = out.suffix.lower()
    content = page(catalogue).encode() if suffix == ".html" else picture(catalogue, suffix)
    with appearing(out) as temporary:
        temporary.write_bytes(content)


def picture(catalogue: Catalogue, suffix: str, *, family: str | None = None) -> bytes:
    """The picture in the format of `suffix`: the whole page, or the rows of one family without any heading."""
    from experiments.catalogue.drawing import drawn, look

    with look():
        figure = drawn(catalogue, only=family)
        if suffix == ".png":
            return _png(figure)
        buffer = io.BytesIO()
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[suffix]
        figure.savefig(buffer, format=suffix[1:], metadata=metadata)
    return buffer.getvalue()


def _png(figure: Figure) -> bytes:
    """The PNG of a figure, a third smaller than matplotlib's: no alpha, fewer colours, and no filters, because the
    rows of enlarged pixels repeat as they are."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    colours = np.asarray(canvas.buffer_rgba())[..., 2::-1]
    rounded = NEAREST[np.ascontiguousarray(colours)]
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
    plain = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return cv2.imencode(".png", rounded, smallest + plain)[1].tobytes()


def page(catalogue: Catalogue) -> str:
    """One offline HTML page: the picture of each family, and a table of all params and sources."""
    from experiments.report import environment

    families = [
        {
            "name": family,
            "about": about(family),
            "picture": "data:image/png;base64," + b64encode(picture(catalogue, ".png", family=family)).decode(),
            "alt": told(family, specimens),
        }
        for family, specimens in catalogue.families
    ]
    rows = [_row(relation) for relation in relations.ALL.values()]
    template = environment().get_template("catalogue.html")
    return template.render(catalogue=catalogue, families=families, rows=rows, introduction=introduction(catalogue))


def introduction(catalogue: Catalogue) -> list[str]:
    """The sentences at the head of the page."""
    (row, col), side = catalogue.corner, catalogue.source.shape[0]
    return [
        f"One crop of {catalogue.scene}, {side} × {side} pixels from row {row}, column {col}, in false colour; every "
        "picture under the stretch of its source. Each relation acts alone, all its strengths at the bound farthest "
        "from neutral, with the PSNR that is left.",
        "in_spec is what flying sensors are measured to do, stress is far harsher. Spectra are those of the marked "
        "pixel. A param without a neutral value is drawn where its line says.",
        *catalogue.notes,
    ]


def about(family: str) -> str:
    """What the family's module says of itself in its first line."""
    module = sys.modules.get(f"relations.{family}")
    first = ((module and module.__doc__) or "").strip().partition("\n")[0]
    said = first.partition(": ")[2] or first
    return said[:1].upper() + said[1:]


def told(family: str, specimens: Sequence[Specimen]) -> str:
    """What a reader who cannot see a family's picture is told."""
    each = "; ".join(
        f"{s.relation.name}, {decibels(s.psnr['in_spec'])} in spec and {decibels(s.psnr['stress'])} in stress"
        for s in specimens
    )
    return f"For each relation of {family} the source, both ends and the spectrum of one pixel. PSNR: {each}."


def decibels(ratio: float) -> str:
    """A PSNR in words; infinite where nothing changed."""
    return f"{ratio:.0f} dB" if np.isfinite(ratio) else "unchanged"


def span(bounds: Sequence[float]) -> str:
    """Bounds in words."""
    return f"{number(bounds[0])} to {number(bounds[1])}"


def _row(relation: Relation) -> dict[str, Any]:
    return {
        "name": relation.name,
        "family": relation.family,
        "summary": relation.summary,
        "needs_wavelengths": relation.needs_wavelengths,
        "source": relation.source,
        "params": [
            {
                "name": param.name,
                "unit": param.unit,
                "in_spec": span(param.in_spec),
                "stress": span(param.stress),
                "neutral": "none: a shape" if param.neutral is None else number(param.neutral),
            }
            for param in relation.params
        ],
    }

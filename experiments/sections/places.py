"""The section on places: what became of every rated patch, painted where it lies in the scene."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.charts import pictures
from experiments.record import Row, Run, spoken
from experiments.record.card import ranked
from experiments.sections.page import Section
from experiments.wording import plural

KINDS = {
    "revealed": ("#e69f00", "REVEALED at least once"),
    "moved_apart": ("#cc79a7", "moved apart at least once, never REVEALED"),
    "moved_together": ("#56b4e9", "moved together at least once, never apart"),
    "still": ("#f0f0f0", "never moved"),
    "inherited": ("#1a1a1a", "in disagreement or tied on the source already"),
}
"""What a patch is painted as, the first that holds: colour and words. Source of the colours: Okabe and Ito, Color
universal design, 2008."""

PIXELS = 560
"""Longer side of a map."""

GREYS = 12
"""Step between the greys of the background, which is to be small and not to be looked at."""


def places(run: Run) -> Section:
    """A map a pair and tier of a scene; counts alone of images."""
    rgb = run.quicklook.get("rgb")
    tested = {pair["pair"]: spoken(pair) for pair in ranked(run)}
    maps = []
    for name, spoken_name in tested.items():
        for tier in dict.fromkeys(row["tier"] for row in run.places if row["pair"] == name):
            rows = [row for row in run.places if (row["pair"], row["tier"]) == (name, tier)]
            counts = Counter(kind_of(row) for row in rows)
            said = ", ".join(f"{counts[kind]} {words}" for kind, (_, words) in KINDS.items() if counts[kind])
            maps.append(
                {
                    "title": f"{spoken_name}, {tier}",
                    "picture": None if rgb is None or "split" not in run.quicklook else painted(rgb, rows),
                    "said": f"{plural(len(rows), 'patch', 'patches')}: {said}",
                    "top": _worst(run, rows),
                }
            )
    return Section("places", "Where it happens", "places.html", {"maps": maps, "legend": KINDS})


def kind_of(row: Row) -> str:
    """A key of `KINDS`."""
    if row["inherited"]:
        return "inherited"
    return next((kind for kind in ("revealed", "moved_apart", "moved_together") if row[kind]), "still")


def _worst(run: Run, rows: Sequence[Row], most: int = 3) -> list[dict[str, Any]]:
    """The patches with the largest share of REVEALED draws."""
    counted = [(row["revealed"] / max(row["draws"] - row["rejected"], 1), row) for row in rows if row["revealed"]]
    counted.sort(key=lambda entry: (-entry[0], entry[1]["patch"]))
    return [
        {"row": row["row"], "col": row["col"], "share": share, "class": run.class_name(row["own"])}
        for share, row in counted[:most]
    ]


def painted(rgb: np.ndarray, rows: Sequence[Row]) -> str:
    """The scene in pale grey with a square for every patch, as a data URI; the rarest kinds lie on top."""
    times = max(1, round(PIXELS / max(rgb.shape[:2])))
    grey = pictures.upscaled(np.broadcast_to(rgb.mean(axis=-1, keepdims=True) * 0.45 + 85, rgb.shape), pixels=PIXELS)
    canvas = (grey // GREYS * GREYS).astype(np.uint8)
    scale = canvas.shape[0] / rgb.shape[0]
    radius = max(2, round(max(canvas.shape[:2]) / 110), times // 2)
    for kind in ("still", "moved_together", "inherited", "moved_apart", "revealed"):
        colour = np.array([int(KINDS[kind][0][i : i + 2], 16) for i in (1, 3, 5)], dtype=np.uint8)
        for row in rows:
            if kind_of(row) == kind:
                y, x = (int((row[axis] + 0.5) * scale) for axis in ("row", "col"))
                canvas[max(y - radius - 1, 0) : y + radius + 2, max(x - radius - 1, 0) : x + radius + 2] = 40
                canvas[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = colour
    return pictures.png(canvas)

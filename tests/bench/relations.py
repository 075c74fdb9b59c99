"""How fast each relation is: against a copy of its input, and against one patch at a time with other libraries.

For 512 patches of 25 x 25 x 103 with other values in every row: the time of `distort` with that relation alone over
that of `np.copy`, the time of the plain version (`plain.py`) over that of `distort`, and the memory taken on top of the
input, in inputs, the result included. Fields are drawn and cut beforehand, as a run does once; the plain versions draw
their own noise, as one does without fields, so rows of random relations compare two ways of working.
"""

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import time
import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from relations import ALL, Relation, Sensor, Step, distort
from relations.core import Drawn
from tests.bench.plain import PLAIN

ROWS, SIZE = 512, (25, 25, 103)
ROUNDS = 5
PLAIN_SECONDS = 1.0
"""What a round of the plain version may take: as many of the patches as fit, at least 8."""


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def field_of(relation: Relation, rows: int, rng: np.random.Generator) -> Drawn | None:
    """A field under `rows` patches that stand side by side in a scene."""
    if relation.draw is None:
        return None
    height, width, bands = SIZE
    drawn = relation.draw(rng, (height, width * 8, bands))

    def under(layer: np.ndarray) -> np.ndarray:
        if layer.shape[1] == 1:
            return np.repeat(layer[None], rows, axis=0)
        patches = np.stack([layer[:, k * width : (k + 1) * width] for k in range(8)])
        return np.ascontiguousarray(patches[np.arange(rows) % 8])

    return tuple(under(layer) for layer in drawn) if isinstance(drawn, tuple) else under(drawn)


def plain_seconds(
    name: str, x: np.ndarray, values: dict[str, np.ndarray], sensor: Sensor, rng: np.random.Generator
) -> float:
    """Seconds of the plain version for all patches, its results collected in one array as `distort` gives them."""

    def one_by_one(rows: int) -> np.ndarray:
        out = np.empty((rows, *SIZE), dtype=np.float32)
        for i in range(rows):
            out[i] = PLAIN[name](x[i], {key: float(column[i]) for key, column in values.items()}, sensor, rng)
        return out

    one_by_one(2)
    each = seconds(lambda: one_by_one(8)) / 8
    rows = int(np.clip(PLAIN_SECONDS / each, 8, len(x)))
    return float(np.median([seconds(lambda: one_by_one(rows)) for _ in range(3)])) * len(x) / rows


def measure() -> None:
    """Print a row for each relation, then the medians and the worst."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    x = rng.uniform(100, 4000, (ROWS, *SIZE)).astype(np.float32)
    sensor = Sensor(50.0, 4000.0, x.mean(axis=(0, 1, 2)), 430 + 4.2 * np.arange(SIZE[2]))
    shown = Table(title=f"{ROWS} patches of {' x '.join(map(str, SIZE))}", title_justify="left")
    for column in ("relation", "copies", "times faster", "memory"):
        shown.add_column(column, justify="left" if column == "relation" else "right")
    rows = []
    for name, relation in ALL.items():
        u = rng.random((ROWS, len(relation.params)))
        values = {p.name: p.decode(u[:, k], p.stress) for k, p in enumerate(relation.params)}
        drawn = field_of(relation, ROWS, rng)
        step = Step(relation, values)
        work = lambda step=step, drawn=drawn: distort(x, [step], [drawn], sensor)  # noqa: E731
        work()
        pairs = [(seconds(work), seconds(x.copy)) for _ in range(ROUNDS)]
        own = float(np.median([a for a, _ in pairs]))
        slow = plain_seconds(name, x, values, sensor, rng)
        tracemalloc.start()
        work()
        peak = tracemalloc.get_traced_memory()[1] / x.nbytes
        tracemalloc.stop()
        rows.append((own / float(np.median([b for _, b in pairs])), slow / own, peak))
        shown.add_row(name, *(f"{value:.1f}" for value in rows[-1]))
    table = np.array(rows)
    Console().print(shown)
    print(f"copies: median {np.median(table[:, 0]):.1f}, worst {table[:, 0].max():.1f}")
    print(f"times faster than one patch at a time: median {np.median(table[:, 1]):.1f}")
    print(f"memory on top of the input: at most {table[:, 2].max():.1f} times the input")


if __name__ == "__main__":
    measure()

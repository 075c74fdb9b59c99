"""How fast each relation is: against a copy of its input, and against one patch at a time with other libraries.

For 512 patches of 25 x 25 x 103 with other values in every row: the time of `distort` with that relation alone over
that of `np.copy`, the time of the plain version (`plain.py`) over that of `distort`, and the memory taken on top of the
input, in inputs, the result included. The plain versions draw their own noise, patch by patch. A field is drawn once
for a scene and cut under the patches, and serves all chains tried on them; so a relation with a field has two numbers:
without drawing, as for each further chain, and "with drawing", as for the very first. Exits with 1 where a limit is
missed.
"""

from __future__ import annotations

import os

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import NamedTuple

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from relations import ALL, Relation, Sensor, Step, distort
from relations.core import Drawn
from tests.bench.plain import LIBRARY, PLAIN

ROWS, SIZE = 512, (25, 25, 103)
PATCHES_DOWN = 16
"""The patches lie side by side in a scene, 16 down and 32 across, without overlap."""

ROUNDS = 5
PLAIN_SECONDS = 0.7
"""What a round of the plain version may take: as many of the patches as fit, at least 8."""

MEDIAN_COPIES = 8.0
"""A formula of one line takes 2 to 4 (measured); the typical relation may take twice that. Engineering judgement."""

WORST_COPIES = 60.0
"""About 3 s for 512 patches, 6 ms a patch, so that no one relation decides how long a search takes. Engineering
judgement."""

MEMORY = 4.0
"""Inputs: the result is one, three are left for scratch; the same limit as in the tests."""

TIMES_FASTER = 5.0
"""A goal and no limit: many plain versions are one line of NumPy, and there is little to be gained on them."""


class Measured(NamedTuple):
    """What is measured of a relation: time in copies of the input, its plain version's time over it without and with
    the drawing of its field, memory in inputs."""

    copies: float
    faster: float
    with_drawing: float
    memory: float


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def field_of(relation: Relation, rng: np.random.Generator) -> Drawn | None:
    """The field of a scene in which the patches lie side by side, cut under each of them."""
    if relation.draw is None:
        return None
    height, width, bands = SIZE
    across = ROWS // PATCHES_DOWN
    drawn = relation.draw(rng, (height * PATCHES_DOWN, width * across, bands))
    number = np.arange(ROWS)[:, None]
    nowhere = np.zeros((ROWS, 1), dtype=int)

    def under(layer: np.ndarray) -> np.ndarray:
        i = number // across * height + np.arange(height) if layer.shape[0] > 1 else nowhere
        j = number % across * width + np.arange(width) if layer.shape[1] > 1 else nowhere
        return layer[i[:, :, None], j[:, None, :]]

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


def measured(relation: Relation, x: np.ndarray, sensor: Sensor, rng: np.random.Generator) -> Measured:
    """The numbers of one relation on the patches `x`, with other values in every row."""
    u = rng.random((ROWS, len(relation.params)))
    values = {p.name: p.decode(u[:, k], p.stress) for k, p in enumerate(relation.params)}
    drawing = 0.0 if relation.draw is None else min(seconds(lambda: field_of(relation, rng)) for _ in range(2))
    drawn = field_of(relation, rng)
    step = Step(relation, values)

    def work() -> np.ndarray:
        return distort(x, [step], [drawn], sensor)

    work()
    own, copy = np.median([(seconds(work), seconds(x.copy)) for _ in range(ROUNDS)], axis=0).tolist()
    plain = plain_seconds(relation.name, x, values, sensor, rng)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / x.nbytes
    tracemalloc.stop()
    return Measured(own / copy, plain / own, plain / (own + drawing), peak)


def missed(results: Iterable[Measured]) -> list[str]:
    """A sentence for each limit that is not kept."""
    copies, _, _, memory = np.array(list(results)).T
    kept = (
        ("The median relation takes", np.median(copies), MEDIAN_COPIES, "copies of its input"),
        ("The slowest relation takes", copies.max(), WORST_COPIES, "copies of its input"),
        ("The hungriest relation takes", memory.max(), MEMORY, "times the memory of its input"),
    )
    return [f"{who} {got:.1f} {what}; at most {most:g} are allowed." for who, got, most, what in kept if got > most]


def shown(results: dict[str, Measured]) -> None:
    """Print a row for each relation, then the medians and the worst."""
    table = Table(title=f"{ROWS} patches of {' x '.join(map(str, SIZE))}", title_justify="left")
    table.add_column("relation")
    for column in ("copies", "times faster", "with drawing", "memory"):
        table.add_column(column, justify="right")
    for name, result in results.items():
        drawing = "" if ALL[name].draw is None else f"{result.with_drawing:.1f}"
        marked = f"{name} *" if name in LIBRARY else name
        table.add_row(marked, f"{result.copies:.1f}", f"{result.faster:.1f}", drawing, f"{result.memory:.1f}")
    Console().print(table)
    print("* the plain version calls scikit-image, OpenCV or SciPy")
    copies, _, _, memory = np.array(list(results.values())).T
    print(f"copies: median {np.median(copies):.1f}, worst {copies.max():.1f}")
    print(f"memory on top of the input: at most {memory.max():.1f} times the input")
    library = [result for name, result in results.items() if name in LIBRARY]
    for which, chosen in (("all relations", list(results.values())), ("those marked *", library)):
        _, faster, drawing, _ = np.median(chosen, axis=0)
        goal = "met" if faster >= TIMES_FASTER else "missed"
        print(
            f"times faster than one patch at a time, median of {which}: {faster:.1f}, with drawing {drawing:.1f} "
            f"(goal {TIMES_FASTER:g}: {goal})"
        )


def main() -> None:
    """Measure every relation, print the numbers, and exit with 1 where a limit is missed."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(1)
    x = rng.uniform(100, 4000, (ROWS, *SIZE)).astype(np.float32)
    sensor = Sensor(50.0, 4000.0, x.mean(axis=(0, 1, 2)), 430 + 4.2 * np.arange(SIZE[2]))
    results = {name: measured(relation, x, sensor, rng) for name, relation in ALL.items()}
    shown(results)
    sys.exit("\n".join(missed(results.values())) or None)


if __name__ == "__main__":
    main()

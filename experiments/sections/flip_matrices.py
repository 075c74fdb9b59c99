"""Class moves under random draws, in four kinds, pair of classes by pair of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.charts import figures
from experiments.record import Row, Run, spoken
from experiments.record.card import ranked
from experiments.sections.page import Plot
from experiments.wording import count, plural

MOST_CLASSES = 16
"""Classes of a matrix, those that move most: more cannot be read (engineering judgement)."""

MOST_PAIRS = 30
"""Rows of the table beneath."""

KINDS: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "revealed": (("REVEALED",), "float stays with", "quantised goes to"),
    "apart": (("MOVED_APART",), "float goes to", "quantised goes to"),
    "together": (("MOVED_TOGETHER",), "both leave", "both go to"),
    "tied": (("TIED", "INHERITED"), "float says", "quantised says"),
}
"""The four kinds: outcomes counted together, and what rows and columns of the matrix are."""

TITLES = {
    "revealed": "REVEALED",
    "apart": "Moved apart",
    "together": "Moved together",
    "tied": "Tied or inherited",
}


def drawn(run: Run) -> list[dict[str, Any]]:
    """A block a pair and tier with its table of class pairs; matrices of the pair that parts most often alone."""
    blocks = []
    for i, pair in enumerate(ranked(run)):
        mine = [row for row in run.flips if row["pair"] == pair["pair"]]
        for tier in dict.fromkeys(row["tier"] for row in mine):
            rows = [row for row in mine if row["tier"] == tier]
            name = f"{spoken(pair)}, {tier}"
            counted = {kind: counts(rows, kind, len(run.class_names)) for kind in KINDS}
            blocks.append(
                {
                    "name": name,
                    "plots": [
                        _plot(run, name, kind, matrix, anchor=f"moves-{i}-{tier}-{kind}")
                        for kind, matrix in counted.items()
                        if i == 0 and off_diagonal(matrix).any()
                    ],
                    "empty": [
                        TITLES[kind].lower() for kind, matrix in counted.items() if not off_diagonal(matrix).any()
                    ],
                    "rows": _pairs(run, counted),
                }
            )
    return blocks


def counts(rows: Sequence[Row], kind: str, classes: int) -> np.ndarray:
    """Draws of a kind by the classes of its matrix's rows and columns, (k, k) int64."""
    outcomes = KINDS[kind][0]
    mine = [row for row in rows if row["outcome"] in outcomes]
    left = "own" if kind in ("revealed", "together") else "reference_class"
    places = np.array([[row[left], row["quantised_class"]] for row in mine], dtype=np.int64).reshape(-1, 2)
    k = max(classes, int(places.max(initial=-1)) + 1)
    found = np.zeros((k, k), dtype=np.int64)
    np.add.at(found, (places[:, 0], places[:, 1]), [row["draws"] for row in mine])
    return found


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """`matrix` (k, k) without its diagonal."""
    return matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))


def _plot(run: Run, name: str, kind: str, matrix: np.ndarray, *, anchor: str) -> Plot:
    off = off_diagonal(matrix)
    busy = np.sort(np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")[:MOST_CLASSES])
    part = off[np.ix_(busy, busy)]
    _, rows, columns = KINDS[kind]
    place = np.unravel_index(int(off.argmax()), off.shape)
    total = int(off.sum())
    reading = (
        f"{plural(total, 'draw')}; most often {run.class_name(int(place[0]))} → {run.class_name(int(place[1]))} "
        f"({count(int(off.max()))})."
    )
    if int(part.sum()) < total:
        reading += f" Shown are the {len(busy)} classes that move most."
    if kind == "tied" and (same := int(np.trace(matrix))):
        reading += f" On {plural(same, 'more draw')} both gave one class and one of them was tied on the source."
    svg = figures.matrix(
        part,
        [run.class_name(int(c)) for c in busy],
        x=columns,
        y=rows,
        name=anchor,
        label=f"{TITLES[kind]}, {name}: {rows} (rows), {columns} (columns). {reading}",
    )
    return Plot(TITLES[kind], svg, reading)


def _pairs(run: Run, counted: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Pairs of classes with their draws of each kind, those REVEALED most first."""
    k = max(len(matrix) for matrix in counted.values())
    stack = np.zeros((len(counted), k, k), dtype=np.int64)
    for i, matrix in enumerate(counted.values()):
        stack[i, : len(matrix), : len(matrix)] = off_diagonal(matrix)
    some = np.argwhere(stack.sum(axis=0) > 0)
    rows = [(stack[:, a, b].tolist(), int(a), int(b)) for a, b in some]
    rows.sort(key=lambda row: ([-n for n in row[0]], row[1:]))
    return [
        {"from": run.class_name(a), "to": run.class_name(b), "counts": numbers} for numbers, a, b in rows[:MOST_PAIRS]
    ]

"""Cells that differ in their quantisations alone met the same draws: their networks set beside each other, paired."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diverget.store import Damaged, Store
from experiments.config.schema import NEUTRAL
from experiments.record import EVERYTHING, Row
from experiments.record.contents import damage
from experiments.record.reading import read_json
from experiments.sections.beside import compared
from experiments.stages.drawn import Drawn, drawn_file, read_drawn
from experiments.sweep import COMPLETE

APART = ("quantisations", "name", "criteria", *NEUTRAL)
"""Keys in which two configs may differ whose draws, patches and float networks are the same."""

MOST_COUPLES = 100
"""Couples that are tested: the bootstrap and the sign flips of one take about a tenth of a second a tier (engineering
judgement)."""

COLUMNS = (
    *((name, pa.string()) for name in ("first_cell", "first_pair", "second_cell", "second_pair", "tier")),
    *((name, pa.int64()) for name in ("draws", "blocks", "first_alone", "second_alone")),
    *((name, pa.float64()) for name in ("difference", "lower", "upper", "p_mcnemar", "p_sign_flip")),
)
"""The columns of paired.csv; p-values are those of single tests, without a correction for many."""


def paired(told: Row, place: Path, damaged: dict[str, str]) -> tuple[list[dict[str, Any]], int]:
    """A row a tier and couple of quantised networks in two cells, and how many couples there are.

    A row is one of `beside_section.compared` with "cells", the names of both, and "pairs". Couples have the same float
    network, byte for byte, in cells that differ in `APART` alone; beyond `MOST_COUPLES` none is looked at. Couples of
    the same networks with the same outcome of every draw are one, whichever side is first.

    Args:
        damaged: the cells of which a file cannot be read, with what to do; receives those in which one is found. All
            of them are left out.
    """
    drawn: dict[str, Drawn] = {}
    couples: list[tuple[Row, Row]] = []
    seen: set[frozenset[tuple[Any, ...]]] = set()
    whole = 0
    for group in _groups(told, place, damaged):
        mine = list(_couples(group))
        room = max(MOST_COUPLES - len(couples), 0)
        for pair in group if mine and room else ():
            try:
                drawn |= _drawn(pair)
            except (ValueError, OSError) as error:
                damaged[pair["cell"]] = str(damage(error, pair["store"]))
        mine = [both for both in mine if not any(pair["cell"] in damaged for pair in both)]
        whole += len(mine)
        for both in mine[:room]:
            if not _same_patches(drawn, both):
                continue
            trials = _trials(drawn, both)
            # Two tests of one and the same thing would weigh twice in Holm's correction.
            whole -= trials in seen
            couples += [] if trials in seen else [both]
            seen.add(trials)
    rows = compared(couples, drawn, seed=0)
    for row in rows:
        row["cells"] = [pair["cell"] for pair in row["couple"]]
        row["pairs"] = [f"{pair['reference']}/{pair['quantised']}" for pair in row["couple"]]
    return rows, whole


def _groups(told: Row, place: Path, damaged: dict[str, str]) -> Iterator[list[Row]]:
    """The pairs under test of complete cells, those of cells that differ in `APART` alone together."""
    found: dict[str, list[Row]] = {}
    for cell in told["cells"]:
        store = Store(Store(place).beside(cell["directory"]))
        # A folder that was removed as told is carried out again, and no damage.
        if cell["state"] != COMPLETE or cell["name"] in damaged or not store.has("summary.json"):
            continue
        try:
            manifest, models = read_json(store, "manifest.json"), read_json(store, "models.json")
        except (ValueError, OSError) as error:
            damaged[cell["name"]] = str(damage(error, store))
            continue
        same = json.dumps({k: v for k, v in manifest["config"].items() if k not in APART}, sort_keys=True)
        found.setdefault(same, []).extend(
            {
                "cell": cell["name"],
                "store": store,
                "number": number,
                "pair": f"{cell['name']} {pair['pair']}",
                "reference": pair["reference"],
                "quantised": pair["quantised"],
                "control": False,
                "digests": (pair["reference_model"]["digest"], pair["quantised_model"]["digest"]),
            }
            for number, pair in enumerate(each for each in models["pairs"] if not each["control"])
        )
    yield from found.values()


def _couples(group: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Two quantised networks of one float network, in two cells."""
    for first, second in itertools.combinations(group, 2):
        (float_first, mine), (float_second, theirs) = first["digests"], second["digests"]
        if first["cell"] != second["cell"] and float_first == float_second and mine != theirs:
            yield first, second


def _drawn(pair: Row) -> dict[str, Drawn]:
    """The draws of all relations of one pair, under its name in the sweep.

    Raises:
        Damaged: they cannot be read, or are gone.
    """
    name, store = pair["pair"].partition(" ")[2], pair["store"]
    found = read_drawn(store).get(name)
    if found is None:
        file = store.path(drawn_file(pair["number"]))
        raise Damaged(f"Expected the draws of {name} in {file}, got none", "remove that run's folder and run again.")
    outcomes = {key: kept for key, kept in found.outcomes.items() if key[1] == EVERYTHING}
    return {pair["pair"]: Drawn(found.patches, found.blocks, outcomes)}


def _same_patches(drawn: Mapping[str, Drawn], couple: tuple[Row, Row]) -> bool:
    first, second = (drawn.get(pair["pair"]) for pair in couple)
    return first is not None and second is not None and np.array_equal(first.patches, second.patches)


def _trials(drawn: Mapping[str, Drawn], couple: tuple[Row, Row]) -> frozenset[tuple[Any, ...]]:
    """What tells the comparison of a couple from others, whichever side is first: its networks and what came of their
    draws."""
    found = []
    for pair in couple:
        mine = drawn[pair["pair"]]
        outcomes = tuple((key, sha256(kept.tobytes()).digest()) for key, kept in sorted(mine.outcomes.items()))
        found.append((pair["digests"], outcomes, mine.patches.tobytes()))
    return frozenset(found)


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows as paired.csv has them."""
    columns = [
        [row["cells"][0] for row in rows],
        [row["pairs"][0] for row in rows],
        [row["cells"][1] for row in rows],
        [row["pairs"][1] for row in rows],
        [row["tier"] for row in rows],
        *(
            [getattr(row["found"], name) for row in rows]
            for name in ("trials", "blocks", "first_only", "second_only", "value", "lower", "upper")
        ),
        *([getattr(row["found"], name) for row in rows] for name in ("mcnemar", "blockwise")),
    ]
    arrays = [pa.array(column, kind) for column, (_, kind) in zip(columns, COLUMNS, strict=True)]
    return pa.table(arrays, schema=pa.schema(list(COLUMNS)))

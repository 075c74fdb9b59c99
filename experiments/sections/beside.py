"""The section that sets the quantised versions of one float network beside each other, on the same random draws."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from diverget.randomness import Purpose, generator, key
from diverget.store import Store
from experiments.record import EVERYTHING, FEWEST_BLOCKS, FEWEST_DRAWS, Row, Run, spoken
from experiments.sections.arms import chance
from experiments.sections.page import Section
from experiments.stages.drawn import Drawn, read_drawn, revealed_in_both
from experiments.statistics import paired_difference
from experiments.statistics.comparison import LEVEL, holm_by_test


def beside(run: Run) -> Section:
    """Which of two quantised versions leaves its class more often where float stays, draw by draw."""
    drawn = read_drawn(Store(run.path))
    couples = [
        (first, second)
        for first, second in itertools.combinations(run.tested(), 2)
        if first["reference"] == second["reference"]
    ]
    rows = compared(couples, drawn, seed=run.manifest["config"].get("seed", 0))
    values = {
        "rows": rows,
        "couples": len(couples),
        "kept": bool(drawn),
        "lacking": [spoken(pair) for pair in run.tested() if pair["pair"] not in drawn] if couples and drawn else [],
        "everything": EVERYTHING,
        "level": LEVEL,
        "fewest": (FEWEST_DRAWS, FEWEST_BLOCKS),
    }
    return Section("beside", "Quantisations beside each other", "beside.html", values)


def compared(couples: Sequence[tuple[Row, Row]], drawn: dict[str, Drawn], *, seed: int) -> list[dict[str, Any]]:
    """A row a tier and couple of pairs, over the draws of all relations; Holm's correction is over all rows told."""
    rows: list[dict[str, Any]] = []
    for first, second in couples:
        a, b = drawn.get(first["pair"]), drawn.get(second["pair"])
        if a is None or b is None:
            continue
        for tier, relation in a.outcomes:
            if relation != EVERYTHING or (tier, relation) not in b.outcomes:
                continue
            hits = revealed_in_both(a.outcomes[tier, relation], b.outcomes[tier, relation])
            rng = generator(seed, Purpose.BOOTSTRAP, key("beside"), key(tier), key(first["pair"]), key(second["pair"]))
            found = paired_difference(*hits, a.blocks, rng=rng, level=LEVEL)
            enough = found.trials >= FEWEST_DRAWS and found.blocks >= FEWEST_BLOCKS
            names = spoken(first), spoken(second)
            row = {"tier": tier, "first": names[0], "second": names[1], "found": found, "enough": enough}
            rows.append({**row, "couple": (first, second)})
    told = [row for row in rows if row["enough"]]
    family = [{"mcnemar": row["found"].mcnemar, "blockwise": row["found"].blockwise} for row in told]
    for row, tests in zip(told, holm_by_test(family), strict=True):
        row |= {name: chance(p) for name, p in tests.items()} | {"words": _words(row, tests["blockwise"])}
        row["adjusted"] = tests
    return rows


def _words(row: Row, p: float) -> str:
    if p >= 1 - LEVEL:
        return "no difference shown"
    more = row["second"] if row["found"].value > 0 else row["first"]
    return f"{more} leaves more often"

"""Two finished runs beside each other: is the second one's quantised model worse? A pure function of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diverget.randomness import Purpose, generator, key
from diverget.scene import UNLABELLED
from diverget.store import Store, plain
from experiments.compare.comparable import caveats, lacking, ladder, matched, pair_caveats, together
from experiments.config.criteria import NOTHING_INSIDE
from experiments.record import EVERYTHING, FEWEST_BLOCKS, FEWEST_DRAWS, Row, Run, read
from experiments.stages.drawn import Clean, Drawn, read_clean, read_drawn, revealed_in_both
from experiments.statistics import Difference, mean_difference, paired_difference
from experiments.statistics.comparison import LEVEL, holm_by_test
from experiments.statistics.survival import any_inside, mildest
from experiments.statistics.trials import MOST
from experiments.wording import listed

SCHEMA = "diverget-compare/2"
"""Raised when a key changes its meaning or goes; a new key leaves it."""

TOLERANCE = 0.001
"""How much worse is still called no difference: a tenth of a point of a share, or of a severity (engineering
judgement: less than one patch in a thousand)."""

WORSE, BETTER, NONE, UNJUDGED, TOLD = "worse", "better", "no difference shown", "not judged", "told only"

PAIRED = (
    "paired on the same trials; Tango's score interval on the effective number of trials that a bootstrap over blocks "
    "gives; p of blocks by sign flips, p of single trials by the exact McNemar test"
)
MEANS = "mean change patch by patch; t interval with the variance of a bootstrap over blocks; p of blocks by sign flips"
COUNTED = "one number a run, without an interval"

UNMEASURED = "nothing guarded was measured"


@dataclass(frozen=True, eq=False)
class Side:
    """One run with what it kept of single trials."""

    run: Run
    drawn: dict[str, Drawn]
    clean: Clean | None


def compare(
    before: Path, after: Path, *, pair_a: str | None = None, pair_b: str | None = None, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """What `after` is worth beside `before`, in JSON's own types; differences are `after` less `before`.

    A pair is worse where the whole interval of a guarded quantity lies more than `tolerance` on the bad side. Guarded
    are clean accuracy and agreement, the REVEALED rates in both tiers, of all relations together and one by one, and
    the mildest severity patch by patch. All guarded rows of all pairs are one family: their intervals hold together at
    `LEVEL`, by Bonferroni, and their p are Holm's. Counts of findings, coverage and size are told. A pair in which
    nothing guarded can be judged is not judged, and says why.

    Raises:
        ValueError, OSError: a folder is no run, the two do not compare, or nothing guarded was measured in both.
    """
    a, b = (Side(run, read_drawn(Store(run.path)), read_clean(Store(run.path))) for run in (read(before), read(after)))
    notes = caveats(a.run, b.run)
    couples, left = matched(a.run, b.run, pair_a, pair_b)
    seed = a.run.manifest["config"]["seed"]
    # How many rows are guarded does not depend on the level of their intervals, and that level depends on how many.
    family = sum(row["guarded"] for couple in couples for row in _rows(a, b, *couple, seed, LEVEL))
    each = [_rows(a, b, *couple, seed, 1 - (1 - LEVEL) / max(family, 1)) for couple in couples]
    guarded = [row for rows in each for row in rows if row["guarded"]]
    tests = holm_by_test([{name: row[name] for name in ("mcnemar", "blockwise")} for row in guarded])
    for row, adjusted in zip(guarded, tests, strict=True):
        row |= adjusted
    pairs = []
    for (first, second), rows in zip(couples, each, strict=True):
        notes += pair_caveats(first, second)
        rows = [row | {"judged": _judged(row, tolerance)} for row in rows]
        pairs.append({"a": first["pair"], "b": second["pair"], **_verdict(rows), "rows": rows})
    if not guarded:
        why = together([row["unjudged"] for pair in pairs for row in pair["rows"] if row["unjudged"]]) or UNMEASURED
        raise ValueError(
            f"Expected runs that keep the outcome of every draw and clean patch, with {FEWEST_DRAWS} draws in "
            f"{FEWEST_BLOCKS} blocks at least, got nothing to judge by: {why}. Run them again, or raise "
            "`split.assessed` or lower `split.block`."
        )
    unjudged = [pair["b"] for pair in pairs if pair["verdict"] == UNJUDGED]
    if unjudged:
        left.append(f"The verdict says nothing of {listed(unjudged)}: not judged.")
    content = {
        "schema": SCHEMA,
        "a": _named(a.run),
        "b": _named(b.run),
        "tolerance": tolerance,
        "level": LEVEL,
        "family": family,
        "verdict": next((v for v in (WORSE, BETTER) if any(pair["verdict"] == v for pair in pairs)), NONE),
        "caveats": [*notes, *left],
        "pairs": pairs,
    }
    found: dict[str, Any] = plain(content)
    return found


def _named(run: Run) -> dict[str, Any]:
    return {"run": run.path.resolve().name, "name": run.manifest["name"], "digest": run.manifest["digest"]}


def _rows(a: Side, b: Side, first: Row, second: Row, seed: int, level: float) -> list[dict[str, Any]]:
    """All rows of one pair, the intervals of guarded ones at `level`."""
    rows = [*_clean(a, b, first, second, seed, level), *_rates(a, b, first, second, seed, level)]
    return [*rows, *_severities(a, b, first, second, seed, level), *_counts(a.run, b.run, first, second)]


def _verdict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a pair comes to, the quantities that make it so, and why it is not judged where it is not."""
    verdict = next((v for v in (WORSE, BETTER, NONE) if any(row["judged"] == v for row in rows)), UNJUDGED)
    why = together([row["unjudged"] for row in rows if row["unjudged"]]) or UNMEASURED
    return {
        "verdict": verdict,
        "reasons": [row["words"] for row in rows if row["judged"] == verdict != NONE and verdict != UNJUDGED],
        "why": why if verdict == UNJUDGED else None,
    }


def _judged(row: Row, tolerance: float) -> str:
    """What a row says; only a guarded one with an interval says anything."""
    if not row["guarded"]:
        return UNJUDGED if row["unjudged"] else TOLD
    lower, upper = row["lower"], row["upper"]
    if row["worse_when"] == "less":
        lower, upper = -upper, -lower
    return WORSE if lower > tolerance else BETTER if upper < -tolerance else NONE


def _row(quantity: str, words: str, worse_when: str | None, unit: str, **more: Any) -> dict[str, Any]:
    """A row with every key; what is not told is None."""
    empty = dict.fromkeys(
        ("tier", "relation", "a", "b", "difference", "lower", "upper", "level", "trials", "blocks", "first_only",
         "second_only", "mcnemar", "blockwise", "unjudged", "note")
    )  # fmt: skip
    row = {"quantity": quantity, "words": words, "guarded": False, "worse_when": worse_when, "unit": unit, **empty}
    return row | {"method": COUNTED} | more


def _measured(found: Difference, level: float, method: str, *, a: float, b: float) -> dict[str, Any]:
    """The keys of a row that a paired comparison gives; too little of it is told and not judged."""
    same: dict[str, Any] = {"a": a, "b": b, "difference": found.value}
    same |= {"trials": found.trials, "blocks": found.blocks, "level": level, "method": method}
    counts = math.isfinite(found.mcnemar)
    if counts:
        same |= {"first_only": found.first_only, "second_only": found.second_only}
    if found.trials < FEWEST_DRAWS or found.blocks < FEWEST_BLOCKS:
        few = f"fewer than {FEWEST_DRAWS} trials or {FEWEST_BLOCKS} blocks ({found.trials} in {found.blocks})"
        return same | {"unjudged": few}
    tests = {"blockwise": found.blockwise, "mcnemar": found.mcnemar if counts else None}
    return same | tests | {"lower": found.lower, "upper": found.upper, "guarded": True}


def _hits(
    first: np.ndarray, second: np.ndarray, both: np.ndarray, blocks: np.ndarray, level: float, rng: np.random.Generator
) -> dict[str, Any]:
    found = paired_difference(first, second, both, blocks, rng=rng, level=level)
    a, b = (float(hits[both].mean()) if both.any() else math.nan for hits in (first, second))
    return _measured(found, level, PAIRED, a=a, b=b)


def _rng(seed: int, *names: str) -> np.random.Generator:
    return generator(seed, Purpose.BOOTSTRAP, key("compare"), *map(key, names))


def _clean(a: Side, b: Side, first: Row, second: Row, seed: int, level: float) -> Iterator[dict[str, Any]]:
    """Accuracy and agreement on clean patches, patch by patch."""
    agreement = _row("agreement", "agreement on clean patches", "less", "share")
    accuracy = _row("accuracy", "accuracy on clean patches", "less", "share")
    one, two = (
        side.clean if side.clean is not None and pair["pair"] in side.clean.said else None
        for side, pair in ((a, first), (b, second))
    )
    if one is None or two is None or not np.array_equal(one.patches, two.patches):
        ours, theirs = a.run.baseline[first["pair"]], b.run.baseline[second["pair"]]
        for row, name in ((accuracy, "accuracy_quantised"), (agreement, "agreement")):
            x, y = ours[name], theirs[name]
            known = None not in (x, y)
            why = lacking(a.run, b.run, (one, two), "single clean patches") or "the clean patches differ"
            yield row | {"a": x, "b": y, "difference": y - x if known else None, "unjudged": why}
        return
    known = one.labels != UNLABELLED
    right = [side.said[pair["pair"]] == one.labels for side, pair in ((one, first), (two, second))]
    same = [~side.apart[pair["pair"]] for side, pair in ((one, first), (two, second))]
    if known.any():
        rng = _rng(seed, "accuracy", first["pair"])
        yield accuracy | _hits(right[0][:, None], right[1][:, None], known[:, None], one.blocks, level, rng)
    every, rng = np.ones((len(known), 1), dtype=bool), _rng(seed, "agreement", first["pair"])
    yield agreement | _hits(same[0][:, None], same[1][:, None], every, one.blocks, level, rng)


def _rates(a: Side, b: Side, first: Row, second: Row, seed: int, level: float) -> Iterator[dict[str, Any]]:
    """The REVEALED rates on the same draws, of all relations together and of single ones."""
    one, two = a.drawn.get(first["pair"]), b.drawn.get(second["pair"])
    if one is None or two is None or not np.array_equal(one.patches, two.patches):
        why = lacking(a.run, b.run, (one, two), "outcomes of single draws") or "the draws lie on other patches"
        words = "REVEALED rate, all relations together"
        yield _row("revealed_rate", words, "more", "share", relation=EVERYTHING, unjudged=why)
        return
    wanted = [cell for cell in one.outcomes if cell in two.outcomes]
    for tier, relation in sorted(wanted, key=lambda cell: cell[1] != EVERYTHING):
        alone = relation != EVERYTHING
        hits = revealed_in_both(one.outcomes[tier, relation], two.outcomes[tier, relation])
        name = f"revealed_rate.{tier}" + (f".{relation}" if alone else "")
        words = f"REVEALED rate, {tier}, {relation if alone else 'all relations together'}"
        rng = _rng(seed, name, first["pair"])
        row = _row(name, words, "more", "share", tier=tier, relation=relation)
        yield row | _hits(*hits, one.blocks, level, rng)


def _searches(side: Side, rows: Sequence[Row]) -> dict[str, tuple[int, str, int]]:
    """What each arm was given: its budget, when it leaves a patch, how often it was repeated."""
    asked = side.run.manifest["config"]["patchwise"]
    return {row["arm"]: (row["budget"], asked["until"], asked.get("repeats", 1)) for row in rows}


def _severities(a: Side, b: Side, first: Row, second: Row, seed: int, level: float) -> Iterator[dict[str, Any]]:
    """The mildest severity that reveals each patch, on every rung that both searched alike."""
    for rung in ladder(a.run):
        walked = [
            [row for row in side.run.patchwise if (row["pair"], row["rung"]) == (pair["pair"], rung) and row["natural"]]
            for side, pair in ((a, first), (b, second))
        ]
        searches = [_searches(side, rows) for side, rows in zip((a, b), walked, strict=True)]
        arms = [arm for arm in searches[0] if searches[0][arm] == searches[1].get(arm)]
        walked = [[row for row in rows if row["arm"] in arms] for rows in walked]
        ours, theirs = (mildest(rows, without=MOST) for rows in walked)
        patches = np.array(sorted(ours.keys() & theirs.keys()), dtype=np.int64)
        if not len(patches):
            continue
        x, y = (np.array([found[patch] for patch in patches]) for found in (ours, theirs))
        row = _row("minimal_severity", f"mildest severity that reveals a patch, {rung}", "less", "severity")
        if not all(any_inside(rows) for rows in walked):
            yield row | {"unjudged": NOTHING_INSIDE}
            continue
        if a.clean is None or b.clean is None or not np.array_equal(a.clean.assessed, b.clean.assessed):
            told = {"a": float(x.mean()), "b": float(y.mean()), "difference": float((y - x).mean())}
            why = lacking(a.run, b.run, (a.clean, b.clean), "blocks of its patches") or "the searched patches differ"
            yield row | told | {"unjudged": why}
            continue
        rng = _rng(seed, "severity", rung, first["pair"])
        found = mean_difference(y - x, a.clean.assessed_blocks[patches], rng=rng, level=level)
        yield row | _measured(found, level, MEANS, a=float(x.mean()), b=float(y.mean()))


def _counts(a: Run, b: Run, first: Row, second: Row) -> Iterator[dict[str, Any]]:
    """What is told and not judged: findings of the searches, coverage, size."""

    def told(quantity: str, words: str, worse_when: str, unit: str, values: list[Any], note: str) -> dict[str, Any]:
        x, y = values
        difference = None if None in values else y - x
        return _row(quantity, words, worse_when, unit, a=x, b=y, difference=difference, note=note)

    found = [a.found(first["pair"]), b.found(second["pair"])]
    how = "what a search found within its budget, not how often it happens"
    yield told("findings", "confirmed findings", "more", "count", [len(rows) for rows in found], how)
    tier = a.manifest["config"]["tier"]
    least = [next((row["severity"] for row in rows if row["tier"] == tier), None) for rows in found]
    yield told("findings.mildest", f"severity of the mildest finding, {tier}", "less", "severity", least, how)
    models = first["quantised_model"], second["quantised_model"]
    shares = [model["coverage"]["share"] if model["coverage"] else None for model in models]
    yield told("coverage", "work in the promised arithmetic", "less", "share", shares, "share of the MACs")
    yield told("size", "size of the quantised file", "more", "bytes", [model["size_bytes"] for model in models], "")

"""The section on repair: what was tried on the int8 versions, what it mended and cost, which to take."""

from __future__ import annotations

from typing import Any

from diverget.repair import METHODS, TARGET, affordable, created, removed
from experiments.record import Row, Run, spoken
from experiments.sections.page import Section
from experiments.wording import number, percent, plural


def repair(run: Run) -> Section:
    """For every pair that was mended, or skipped: before and after, side by side, and the recommendation."""
    told = {entry["pair"]: entry for entry in (run.repair or {}).get("pairs", ())}
    blocks = [_block(run, pair, told[pair["pair"]]) for pair in run.tested() if pair["pair"] in told]
    values = {
        "blocks": [block for block in blocks if block["lines"] or block["refused"]],
        "skipped": [block for block in blocks if not block["lines"] and not block["refused"]],
        "methods": METHODS,
        "rule": (run.repair or {}).get("rule"),
        "target": percent(TARGET),
        "most_float": (run.repair or {}).get("most_float"),
        "run": run.path.name,
    }
    return Section("repair", "Repair", "repair.html", values)


def _block(run: Run, pair: Row, entry: Row) -> dict[str, Any]:
    rows = [row for row in run.repaired if row["pair"] == pair["pair"]]
    chosen = next((row for row in rows if row["recommended"]), None)
    return {
        "name": spoken(pair),
        "why": entry["why"],
        "lines": [_line(row, entry.get("throughput", {}).get(row["method"])) for row in rows],
        "before": rows[0] if rows else None,
        "refused": sorted(entry["refused"].items()),
        "recommended": None if chosen is None else _recommendation(chosen),
        "reaches": entry["reaches_target"],
        "folder": pair["quantised_model"]["name"],
        "patches": entry.get("patches"),
    }


def _line(row: Row, speed: float | None) -> dict[str, Any]:
    return {
        **row,
        "share": row["mended"] / row["findings"] if row["findings"] else None,
        "created": created(row),
        "removed": removed(row),
        "revealed_share": row["revealed"] / row["searched"] if row["searched"] else None,
        "speed": speed,
        "too_dear": not affordable(row),
    }


def _chance(row: Row) -> str:
    return "" if row["revealed"] == row["revealed_before"] else f" (McNemar's p {row['revealed_p']:.2g})"


def _recommendation(row: Row) -> str:
    """The recommended repair in one sentence."""
    kind = "agreement" if row["accuracy"] is None else "accuracy"
    share = row["mended"] / row["findings"] if row["findings"] else None
    return (
        f"{row['method']} ({row['chosen']}): it mends {percent(share)} of "
        f"{plural(row['findings'], 'held-out finding')} ({row['mended_tied']} by a tie), creates "
        f"{plural(created(row), 'deviation')} and removes {removed(row)} on clean patches and random draws; a fresh "
        f"search reveals {row['revealed']} of {row['searched']} patches, {row['revealed_before']} before"
        f"{_chance(row)}; {kind} on "
        f"clean patches {percent(row[f'{kind}_before'])} before and {percent(row[kind])} after; "
        f"{number(row['size'] / row['size_before'])} times the size."
    )

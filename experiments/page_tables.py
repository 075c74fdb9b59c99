"""The tables that are worked out for the page alone, as CSV beside it: `tables/*.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from diverget.store import Store, appearing
from experiments import bands_section, fronts_section
from experiments.record import Row, Run
from experiments.survival import SHARES, grouped


def write(run: Run) -> None:
    """Write every table that has rows into the folder of `run`."""
    for name, rows in tables(run).items():
        if rows:
            with appearing(Store(run.path).path(name)) as temporary, open(temporary, "w", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def tables(run: Run) -> Mapping[str, Sequence[Row]]:
    """The rows of each table by its name in the run's folder."""
    curves, groups = _survival(run)
    return {
        "tables/survival.csv": curves,
        "tables/survival_groups.csv": groups,
        "tables/hypervolume.csv": [_volume(row) for row in fronts_section.table(run)],
        "tables/bands.csv": _bands(run),
    }


def _survival(run: Run) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Steps of all curves, and a line a curve."""
    curves, groups = [], []
    for pair in run.tested():
        for kind, subjects in grouped(run, pair["pair"]).items():
            for one in subjects:
                curve = one.curve
                place = {"pair": pair["pair"], "by": kind, "group": one.group}
                curves += [
                    {**place, "severity": at, "surviving": left, "lower": lower, "upper": upper}
                    for at, left, lower, upper in zip(
                        *(column.tolist() for column in (curve.at, curve.surviving, curve.lower, curve.upper)),
                        strict=True,
                    )
                ]
                left = int(one.left.sum())
                groups.append(
                    {
                        **place,
                        "subjects": curve.subjects,
                        "revealed": curve.events,
                        "censored_float_left_or_tied": left,
                        "censored_end": curve.subjects - curve.events - left,
                        **{f"severity_at_{share:g}": curve.reached(share) for share in SHARES},
                        "end": curve.end,
                    }
                )
    return curves, groups


def _volume(row: Row) -> dict[str, Any]:
    low, high = row["quartiles"] or (None, None)
    kept = {name: row[name] for name in ("pair", "front", "by", "fronts", "median", "mean")}
    return {**kept, "lower_quartile": low, "upper_quartile": high}


def _bands(run: Run) -> list[dict[str, Any]]:
    rows = []
    for pair in run.tested():
        mine = [row for row in run.bands if row["pair"] == pair["pair"]]
        for line in bands_section.table(mine, run.data["wavelengths"] if run.data else None):
            low, high = line["nm"] or (None, None)
            kept = {name: line[name] for name in ("pair", "group", "first", "last")}
            told = ("findings", "restored", "lower", "upper", "change", "needed", "enough")
            rest = {name: line[name] for name in told}
            rows.append({**kept, "nm_first": low, "nm_last": high, **rest})
    return rows

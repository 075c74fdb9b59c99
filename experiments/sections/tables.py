"""The tables that are worked out for the page alone, as CSV beside it: `tables/*.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diverget.store import Store, appearing
from experiments.record import Row
from experiments.sections.page import Section
from experiments.statistics.survival import SHARES, Subjects


def write(run_dir: Path, sections: Sequence[Section]) -> None:
    """Write every table that has rows into the folder of a run, from the sections of its page."""
    for name, rows in tables(sections).items():
        if rows:
            with appearing(Store(run_dir).path(name)) as temporary, open(temporary, "w", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def tables(sections: Sequence[Section]) -> Mapping[str, Sequence[Row]]:
    """The rows of each table by its name in the run's folder."""
    values = {section.anchor: section.values for section in sections}
    curves, groups = _survival(values["survival"]["grouped"])
    return {
        "tables/survival.csv": curves,
        "tables/survival_groups.csv": groups,
        "tables/hypervolume.csv": [_volume(row) for row in values["fronts"]["rows"]],
        "tables/bands.csv": [_band(line) for block in values["bands"]["blocks"] for line in block["rows"]],
    }


def _survival(
    grouped: Mapping[str, Mapping[str, Sequence[Subjects]]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Steps of all curves, and a line a curve; `grouped` by pair."""
    curves, groups = [], []
    for pair, kinds in grouped.items():
        for kind, subjects in kinds.items():
            for one in subjects:
                curve = one.curve
                place = {"pair": pair, "by": kind, "group": one.group}
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


def _band(line: Row) -> dict[str, Any]:
    low, high = line["nm"] or (None, None)
    kept = {name: line[name] for name in ("pair", "group", "first", "last")}
    told = ("findings", "restored", "lower", "upper", "change", "needed", "enough")
    return {**kept, "nm_first": low, "nm_last": high, **{name: line[name] for name in told}}

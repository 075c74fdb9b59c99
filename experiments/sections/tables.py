"""The tables that are worked out for the page alone, as CSV beside it: `tables/*.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
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
                columns = dict.fromkeys(column for row in rows for column in row)
                writer = csv.DictWriter(file, list(columns), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def tables(sections: Sequence[Section]) -> Mapping[str, Sequence[Row]]:
    """The rows of each table by its name in the run's folder."""
    values = {section.anchor: section.values for section in sections}
    curves, groups = _survival(values["survival"]["grouped"])
    return {
        "tables/models.csv": [_model(row) for row in values["models"]["rows"]],
        "tables/split.csv": values["data"]["data"]["split"]["per_class"] if values["data"]["data"] else [],
        "tables/baseline.csv": [_clean(pair, row) for pair, row in values["baseline"]["rows"]],
        "tables/baseline_classes.csv": [
            {"pair": pair, **line} for pair, row in values["baseline"]["rows"] for line in row["per_class"]
        ],
        "tables/beside.csv": [_couple(row) for row in values["beside"]["rows"]],
        "tables/gaps.csv": [
            _gap(block["pair"], by, row) for block in values["gaps"]["blocks"] for by, row in _groups(block)
        ],
        "tables/survival.csv": curves,
        "tables/survival_groups.csv": groups,
        "tables/search.csv": [_search(row) for row in values["search"]["rows"]],
        "tables/arms.csv": [
            _arm(pair["pair"], block.rung, row)
            for pair in values["patches"]["pairs"]
            for block in pair["blocks"]
            for row in block.rows
        ],
        "tables/hypervolume.csv": [_volume(row) for row in values["fronts"]["rows"]],
        "tables/bands.csv": [_band(line) for block in values["bands"]["blocks"] for line in block["rows"]],
        "tables/blame.csv": [
            _layer(block["pair"], layer)
            for block in values["blame"]["blocks"]
            for layer in (*block["layers"], *block["rest"])
        ],
    }


def _model(row: Row) -> dict[str, Any]:
    reference, quantised, coverage = row["reference"], row["quantised"], row["coverage"] or {}
    return {
        "pair": row["pair"],
        "scheme": quantised["quantisation"],
        "reference_bytes": reference["size_bytes"],
        "quantised_bytes": quantised["size_bytes"],
        "coverage": coverage.get("share"),
        "kind": coverage.get("kind"),
        "total_macs": coverage.get("total_macs"),
        "left_in_float": row["float_ops"],
        "output_step": quantised["output_step"],
        "float_check": reference["float_check"],
        "reference_digest": reference["digest"],
        "quantised_digest": quantised["digest"],
    }


def _clean(pair: str, row: Row) -> dict[str, Any]:
    """The baseline of a pair without its matrix, its classes, and the speeds, which no two runs share."""
    lower, upper = row["accuracy_interval_reference"] or (None, None)
    kept = {
        name: value
        for name, value in row.items()
        if not isinstance(value, (list, dict)) and not name.startswith(("accuracy_interval", "throughput"))
    }
    return {"pair": pair, **kept, "accuracy_reference_lower": lower, "accuracy_reference_upper": upper}


def _couple(row: Row) -> dict[str, Any]:
    """Two versions draw by draw; `holm` are corrected, empty where too little was drawn to be told."""
    first, second = (pair["pair"] for pair in row["couple"])
    found, adjusted = row["found"], row.get("adjusted", {})
    return {
        "first": first,
        "second": second,
        "tier": row["tier"],
        "draws": found.trials,
        "blocks": found.blocks,
        "first_alone": found.first_only,
        "second_alone": found.second_only,
        "difference": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "p_mcnemar": found.mcnemar,
        "p_sign_flip": found.blockwise,
        "p_mcnemar_holm": adjusted.get("mcnemar"),
        "p_sign_flip_holm": adjusted.get("blockwise"),
    }


def _groups(block: Row) -> Iterator[tuple[str, Row]]:
    yield from (("relation", row) for row in block["relations"])
    yield from (("class", row) for row in block["classes"])


def _gap(pair: str, by: str, row: Row) -> dict[str, Any]:
    told: dict[str, Any] = {"pair": pair, "by": by, "group": row["name"]}
    shares = ("rays", "float_leaves", "quantised_leaves", "quantised_first", "float_first", "beyond_ties", "more",
              "censored")  # fmt: skip
    told |= {name: row[name] for name in shares}
    for of in ("severity", "value"):
        # Classes hold rays of all relations, whose units differ.
        known = row[of] if of == "severity" or by == "relation" else {"median": None, "ends": None}
        low, high = known["ends"] or (None, None)
        told |= {f"gap_{of}_median": known["median"], f"gap_{of}_5": low, f"gap_{of}_95": high}
    return told | {name: row[name] if by == "relation" else None for name in ("param", "unit")}


def _search(row: Row) -> dict[str, Any]:
    kept = {name: row[name] for name in ("pair", "queries", "candidates", "feasible")}
    told = {**kept, "patches_revealed": row["revealed"], "findings": len(row["found"])}
    told["mildest"] = row["found"][0]["severity"] if row["found"] else None
    told |= {f"best_{name}": value for name, value in row["best"].items()}
    return told | {f"patches_{name}": number for name, number in row["outcomes"].items()}


def _arm(pair: str, rung: str, row: Row) -> dict[str, Any]:
    """An arm on a pair and rung; inf is beyond what was looked for, and p are those before and after Holm."""
    found = ("arm", "budget", "patches", "repeats", *(
        f"{kind}_{what}" for kind in ("apart", "revealed") for what in ("share", "lower", "upper", "median", "mean")
    ), "severity_median", "invalid", "inside_median", "inside_spent", "spent")  # fmt: skip
    told: dict[str, Any] = {"pair": pair, "rung": rung, **{name: row[name] for name in found}}
    for measure, test in row["tests"].items():
        told[f"a12_{measure}"] = None if test is None else test.a12
        told[f"p_{measure}"] = None if test is None else test.p
        told[f"p_{measure}_holm"] = None if test is None else test.adjusted
    return told


def _layer(pair: str, layer: Row) -> dict[str, Any]:
    kept = {name: layer[name] for name in ("index", "operator", "tensor", "low", "high")}
    told: dict[str, Any] = {"pair": pair, **kept, "shape": " × ".join(map(str, layer["shape"]))}
    for side in ("findings", "sources"):
        told |= {f"{side}_{name}": value for name, value in layer[side].items()}
    return told


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

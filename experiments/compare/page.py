"""What a comparison leaves behind: compare.json, compare.csv and one offline page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diverget.store import appearing
from experiments.compare import BETTER, NONE, TOLD, UNJUDGED, WORSE
from experiments.report import environment
from experiments.sections.arms import chance
from experiments.wording import NARROW, count, number, percent, points, size

HEADLINES = {
    WORSE: "The next model is worse.",
    BETTER: "The next model is better, and nothing guarded is worse.",
    NONE: "No difference was shown.",
}

COLUMNS = (
    "pair_a", "pair_b", "quantity", "tier", "relation", "judged", "guarded", "worse_when", "unit", "a", "b",
    "difference", "lower", "upper", "level", "trials", "blocks", "first_only", "second_only", "blockwise", "mcnemar",
    "unjudged", "note", "method",
)  # fmt: skip

MARKS = {
    WORSE: "✗ worse",
    BETTER: "✓ better",
    NONE: "no difference shown",
    UNJUDGED: "– not judged",
    TOLD: "told only",
}


def write(found: Mapping[str, Any], folder: Path) -> Path:
    """Write `compare.json`, `compare.csv` and `compare.html` into `folder`; the path of the page.

    Raises:
        OSError: the folder may not be written.
    """
    table = io.StringIO()
    rows = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for pair in found["pairs"]:
        rows.writerows({**row, "pair_a": pair["a"], "pair_b": pair["b"]} for row in pair["rows"])
    content = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for name, text in (("compare.json", content), ("compare.csv", table.getvalue()), ("compare.html", page(found))):
        with appearing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return folder / "compare.html"


def page(found: Mapping[str, Any]) -> str:
    """The page of a comparison as HTML that loads nothing."""
    pairs = [{**pair, "anchor": f"pair-{i}", "rows": [_shown(row) for row in pair["rows"]]}
             for i, pair in enumerate(found["pairs"])]  # fmt: skip
    methods: dict[str, list[str]] = {}
    for row in (row for pair in found["pairs"] for row in pair["rows"]):
        names = methods.setdefault(row["method"], [])
        names += [] if row["words"] in names else [row["words"]]
    values = {"found": found, "pairs": pairs, "headline": HEADLINES[found["verdict"]], "methods": methods}
    values["marks"] = MARKS
    return environment().get_template("compare.html").render(values)


def lines(found: Mapping[str, Any]) -> list[str]:
    """What to tell on a terminal."""
    told = [f"{found['a']['run']} → {found['b']['run']}"]
    told += [f"  note: {caveat}" for caveat in found["caveats"]]
    for pair in found["pairs"]:
        names = pair["a"] if pair["a"] == pair["b"] else f"{pair['a']} → {pair['b']}"
        told.append(f"{names}: {pair['verdict']}" + (f" ({pair['why']})" if pair["why"] else ""))
        shown = [row for row in pair["rows"] if row["judged"] in (WORSE, BETTER) or not row["relation"]
                 or row["quantity"].count(".") == 1]  # fmt: skip
        for row in map(_shown, shown):
            told.append(f"  {row['mark']:<20}{row['words']}: {row['a']} → {row['b']}  {row['change']} {row['range']}")
    return [*told, HEADLINES[found["verdict"]]]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in words."""
    speak = {"share": percent, "severity": number, "count": count, "bytes": size}[row["unit"]]
    ends = row["lower"], row["upper"]
    return {
        "words": row["words"],
        "judged": row["judged"],
        "mark": MARKS[row["judged"]],
        "a": speak(row["a"]),
        "b": speak(row["b"]),
        "change": _signed(row["difference"], row["unit"]),
        "range": f"({_bare(ends[0], row['unit'])} to {_signed(ends[1], row['unit'])})" if None not in ends else "",
        "trials": count(row["trials"]),
        "blocks": count(row["blocks"]),
        "first_only": count(row["first_only"]),
        "second_only": count(row["second_only"]),
        "blockwise": "–" if row["blockwise"] is None else chance(row["blockwise"]),
        "mcnemar": "–" if row["mcnemar"] is None else chance(row["mcnemar"]),
        "note": f"not judged: {row['unjudged']}" if row["unjudged"] else row["note"] or "",
    }


def _bare(value: float | None, unit: str) -> str:
    """The first end of an interval, whose unit stands at the second."""
    return _signed(value, unit).removesuffix(f"{NARROW}pp")


def _signed(value: float | None, unit: str) -> str:
    """A difference with its sign, in points where it is one of shares."""
    if value is None or unit == "share":
        return points(value)
    text = size(abs(value)) if unit == "bytes" else number(abs(value))
    return text if value == 0 else f"{'+' if value > 0 else '−'}{text}"

"""The report's sections in reading order: each a function from a run to what its template shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from experiments.charts import pictures
from experiments.config.criteria import state
from experiments.record import EVERYTHING, Row, Run, of_sides, spoken
from experiments.record.card import calibration, control, headline, how_mild, ranked, why_not
from experiments.sections import attribution as attribution_section
from experiments.sections import gallery
from experiments.sections.arms import patchwise
from experiments.sections.bands import bands
from experiments.sections.beside import beside
from experiments.sections.blame import blame
from experiments.sections.diversity import diversity
from experiments.sections.doses import doses
from experiments.sections.fronts import fronts
from experiments.sections.gaps import gaps
from experiments.sections.measured import baseline, flips, rates, search
from experiments.sections.page import Alert, Section, Tile
from experiments.sections.places import places
from experiments.sections.repair import repair
from experiments.sections.survival import survival
from experiments.wording import count, in_tier, interval, large, listed, number, percent, plural, size, without_folders

MOSTLY = 0.5
"""Below this share of MACs in the promised arithmetic, a model is quantised in name only."""

PROMISES = ("float16", "dynamic_int8", "int8", "int8_io", "int8_per_tensor", "int16x8", "int8_lowered")
"""Quantisations that promise another arithmetic or storage: float32 under such a name is a mishap."""

FRAGILE = 0.2
"""Above this share of in-spec draws on which float itself leaves its class, the reference is the problem."""


def alerts(run: Run) -> list[Alert]:
    """What puts the numbers of this run in doubt, the gravest first."""
    found = []
    checked = control(run)
    if checked["passed"] is False:
        text = (
            f"The control failed: {listed(checked['pairs']) or 'a model'} must never part from itself, yet "
            f"{plural(checked['findings'], 'finding')}, {plural(checked['revealed_draws'], 'draw')} and "
            f"{plural(checked['parted_patches'], 'per-patch search', 'per-patch searches')} say it does. "
            "Trust no number below until that is understood."
            if checked["findings"] or checked["revealed_draws"] or checked["parted_patches"]
            else f"The control failed: {listed(checked['pairs']) or 'a model'} does not pass against itself. Trust no "
            "number below until that is understood."
        )
        found.append(Alert("bad", text))
    for pair in run.tested():
        found += _doubts(spoken(pair), pair["quantised_model"], run.baseline.get(pair["pair"]))
    found += [*_fragile(run), *attribution_section.alerts(run)]
    if not run.complete:
        text = (
            "This run is incomplete: it was interrupted or is still going. What stands here was measured, what is "
            "missing was not reached; start the same command again to resume it."
        )
        found.append(Alert("warn", text))
    if run.data and run.data["split"]["leakage"] > 0:
        shared = (
            "patches share pixels with a training patch"
            if run.data["kind"] == "scene"
            else "images equal a training image"
        )
        text = (
            f"{percent(run.data['split']['leakage'])} of the assessed {shared}, so the accuracies may flatter; the "
            "agreement of the two models suffers less."
        )
        found.append(Alert("warn", text))
    unconfirmed = (run.summary or {}).get("unconfirmed") or 0
    if unconfirmed:
        verb = "is" if unconfirmed == 1 else "are"
        text = (
            f"{plural(unconfirmed, 'finding')} did not reproduce alone in a fresh interpreter and {verb} not counted."
        )
        found.append(Alert("warn", text))
    found += [Alert("warn", text) for text in of_sides(run.tested())]
    for pair in run.tested():
        if not_quantised(pair["quantised_model"]):
            text = f"{spoken(pair)} is not quantised: float32 throughout. Its rates say what that change did, no more."
            found.append(Alert("note", text))
    return found + [Alert("note", without_folders(text)) for text in (run.data["warnings"] if run.data else ())]


def _fragile(run: Run) -> list[Alert]:
    """References whose own class does not survive in-spec draws, one alert each."""
    most: dict[str, float] = {}
    for pair in run.tested():
        row = run.rate(pair["pair"], "in_spec")
        if row and row["enough"] and row["reference_moved_share"] > FRAGILE:
            most[pair["reference"]] = max(most.get(pair["reference"], 0.0), row["reference_moved_share"])
    return [
        Alert(
            "warn",
            f"Float {name} itself left its class in {percent(share)} of the in-spec draws of all relations together: "
            "the class itself does not survive, the reference is fragile before quantisation.",
        )
        for name, share in most.items()
    ]


def not_quantised(model: Row) -> bool:
    """Whether a model under test is a float32 network by intention, such as a pruned one, and not by mishap."""
    return bool(model["coverage"]) and model["coverage"]["kind"] == "float32" and model["quantisation"] not in PROMISES


def _doubts(name: str, model: Row, clean: Row | None) -> list[Alert]:
    """Whether a pair is worth assessing at all."""
    found = []
    coverage = model["coverage"]
    if coverage and coverage["share"] < MOSTLY and not not_quantised(model):
        text = (
            f"{name} is mostly float: only {percent(coverage['share'])} of its multiply-accumulates run quantised. "
            f"Left in float: {float_operators(coverage) or 'not told'}. A small divergence then says little about "
            "quantisation."
        )
        found.append(Alert("bad", text))
    if clean and clean["collapsed"]:
        text = (
            f"{name} has collapsed: on clean patches it predicts "
            f"{plural(clean['classes_predicted_quantised'], 'class', 'classes')} where float predicts "
            f"{count(clean['classes_predicted_reference'])}. Mend the conversion first."
        )
        found.append(Alert("bad", text))
    return found


def float_operators(coverage: Row) -> str:
    """The operators left in float in words, empty where there are none."""
    return listed([f"{op['op']} ×{op['count']} ({large(op['macs'])} MACs)" for op in coverage["float_ops"]])


def opening(run: Run) -> Section:
    """The verdict, what puts it in doubt, the numbers behind it, the criteria."""
    pairs = ranked(run)
    values = {
        "first": headline(run),
        "mildest": how_mild(run, pairs[0]) if pairs else "",
        "alerts": alerts(run),
        "tiles": _tiles(run, pairs[0]) if pairs else [],
        "of": spoken(pairs[0]) if len(pairs) > 1 else None,
        "overview": [_overview(run, pair) for pair in pairs] if len(pairs) > 1 else [],
        "criteria": [{**row, "state": state(row)} for row in (run.summary or {}).get("criteria", [])],
        "control": control(run),
        "uncontrolled": run.complete and not run.controls(),
    }
    return Section("verdict", "Verdict", "verdict.html", values)


def _tiles(run: Run, pair: Row) -> list[Tile]:
    """The numbers of one pair."""
    line = _overview(run, pair)
    tiles = []
    for tier, what in (("in_spec", "in spec: quantised leaves, float stays"), ("stress", "under stress: the same")):
        row = line[tier]
        if row and row["enough"]:
            beneath = (
                f"95 % interval {interval(row['revealed_lower'], row['revealed_upper'])}; float itself left in "
                f"{percent(row['reference_moved_share'])}"
            )
            tiles.append(Tile(what, percent(row["revealed_rate"]), beneath))
        elif row:
            tiles.append(Tile(what, "not measured", why_not(row), told=False))
    if line["agreement"] is not None:
        patches = run.baseline[pair["pair"]]["patches"]
        tiles.append(Tile("agreement on clean patches", percent(line["agreement"]), f"of {count(patches)} patches"))
    if line["found"] is not None:
        beneath = (
            f"mildest severity {number(line['severity'], 2)}, {line['tier']}" if line["found"] else "within the budget"
        )
        tiles.append(Tile("findings", count(line["found"]), beneath))
    sizes = f"{size(pair['reference_model']['size_bytes'])} → {size(pair['quantised_model']['size_bytes'])}"
    return [*tiles, Tile("smaller than float", f"{line['smaller']:.1f}×", sizes)]


def _overview(run: Run, pair: Row) -> dict[str, Any]:
    """The numbers of one pair that a reader asks for first."""
    found = run.found(pair["pair"])
    return {
        "name": spoken(pair),
        "in_spec": run.rate(pair["pair"], "in_spec"),
        "stress": run.rate(pair["pair"], "stress"),
        "agreement": run.baseline[pair["pair"]]["agreement"] if pair["pair"] in run.baseline else None,
        "found": len(found) if pair["pair"] in run.searches or found else None,
        "severity": found[0]["severity"] if found else None,
        "tier": in_tier(found[0]["tier"]) if found else "",
        "smaller": pair["reference_model"]["size_bytes"] / pair["quantised_model"]["size_bytes"],
    }


def models(run: Run) -> Section:
    """Which files were compared, and how much of the quantised one really is quantised."""
    rows = []
    for pair in run.tested():
        coverage = pair["quantised_model"]["coverage"]
        row = {
            "pair": pair["pair"],
            "name": spoken(pair),
            "reference": pair["reference_model"],
            "quantised": pair["quantised_model"],
            "coverage": coverage,
            "float_ops": float_operators(coverage) if coverage else "",
            "note": coverage["note"].partition("Left in float:")[0].strip() if coverage else "",
            "quantised_at_all": not not_quantised(pair["quantised_model"]),
            "doubtful": bool(coverage) and coverage["share"] < MOSTLY,
        }
        rows.append(row)
    sides = [pair[f"{side}_model"] for pair in run.pairs for side in ("reference", "quantised")]
    values = {
        "rows": rows,
        "references": run.references,
        "controls": [spoken(pair) for pair in run.controls()],
        "runtimes": {side["name"]: side["runtime"] for side in sides if "runtime" in side},
    }
    return Section("models", "Models and coverage", "models.html", values)


def data(run: Run) -> Section:
    """What was looked at, how it was split, and where in the scene the findings lie."""
    found = [finding for pair in run.tested() for finding in run.found(pair["pair"])]
    rgb = run.quicklook.get("rgb")
    values = {
        "data": run.data,
        "scene": _scene(run, found) if rgb is not None and "split" in run.quicklook else None,
        "sheet": pictures.png(rgb) if rgb is not None and "split" not in run.quicklook else None,
        "notes": [without_folders(note) for note in run.data["split"]["notes"]] if run.data else [],
        "legend": pictures.SPLIT_COLOURS,
        "found": len(found),
    }
    return Section("data", "Data and split", "data.html", values)


def _scene(run: Run, found: list[Row]) -> dict[str, Any]:
    """Both maps, and a mark for every finding, linked where the gallery shows it."""
    rgb, split = run.quicklook["rgb"], run.quicklook["split"]
    shown = {finding["finding"] for finding in gallery.chosen(run)}
    marks = []
    for f in found:
        change = f"{run.class_name(f['reference_class'])} → {run.class_name(f['quantised_class'])}"
        mark = {
            "x": f["col"] + 0.5,
            "y": f["row"] + 0.5,
            "number": f["finding"],
            "linked": f["finding"] in shown,
            "title": f"Finding {f['finding']}: {change}",
        }
        marks.append(mark)
    return {
        "height": rgb.shape[0],
        "width": rgb.shape[1],
        "radius": max(rgb.shape[:2]) / 75,
        "rgb": pictures.png(pictures.upscaled(rgb, pixels=480)),
        "split": pictures.png(pictures.upscaled(pictures.split_map(rgb, split), pixels=480)),
        "marks": marks,
    }


def findings(run: Run) -> Section:
    """The findings themselves, the mildest of every kind."""
    values = {
        "views": [gallery.view(run, finding) for finding in gallery.chosen(run)],
        "total": sum(len(run.found(pair["pair"])) for pair in run.tested()),
        "run": run.path.resolve().name,
        "searched": any(pair["pair"] in run.searches for pair in run.tested()),
        "kind": run.data["kind"] if run.data else None,
    }
    return Section("findings", "Findings", "findings.html", values)


def limits(run: Run) -> Section:
    """What the statement rests on, and what it does not cover."""
    rows = []
    for pair in run.tested():
        outcomes = run.searches[pair["pair"]].outcomes if pair["pair"] in run.searches else {}
        total = sum(outcomes.values())
        if total:
            rows.append((spoken(pair), total, {name: n / total for name, n in outcomes.items()}))
    drawn = [row for row in run.rates if not row["control"]]
    values = {
        "rows": rows,
        "relations": sorted({row["relation"] for row in drawn} - {EVERYTHING}),
        "barren": sorted({f"{row['relation']} ({row['tier']})" for row in drawn if not row["enough"]}),
        "blocks": max((row["blocks"] for row in drawn), default=None),
        "runtime": run.manifest["runtime"],
        "data": run.data,
    }
    return Section("limits", "Validity and limits", "limits.html", values)


def card(run: Run) -> Section:
    """With what it was made: run, runtime, versions, digests, times, the whole config."""
    files: dict[str, Row] = {}
    for pair in run.pairs:
        for side in ("reference_model", "quantised_model"):
            files.setdefault(pair[side]["file"], pair[side])
    values = {
        "manifest": run.manifest,
        "files": list(files.values()),
        "data": run.data,
        "timing": run.timing,
        "calibration": calibration(run),
        "covered": [
            (spoken(pair), pair["quantised_model"]["coverage"])
            for pair in run.tested()
            if pair["quantised_model"]["coverage"]
        ],
        "config": json.dumps(run.manifest["config"], indent=2, ensure_ascii=False),
    }
    return Section("card", "Card", "card.html", values)


SECTIONS: tuple[Callable[[Run], Section], ...] = (
    opening,
    models,
    data,
    baseline,
    rates,
    beside,
    doses,
    gaps,
    survival,
    search,
    patchwise,
    fronts,
    flips,
    places,
    diversity,
    findings,
    bands,
    attribution_section.attribution,
    blame,
    repair,
    limits,
    card,
)
"""In reading order, all but the list of tables that ends the page. A new section is one function, one template and one
name here."""

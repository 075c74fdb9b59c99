"""The command `repair`: mend the int8 pairs of a finished run, judge every mending, recommend one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diverget import tables
from diverget.models.tflite import TFLiteModel
from diverget.repair import METHODS, MOST_FLOAT, NAMES, RULE, reaches_target, recommend
from diverget.store import Damaged, Store, appearing
from experiments import data
from experiments.config.schema import RunConfig
from experiments.kept_models import load_pair, recorded
from experiments.progress import Screen
from experiments.record.reading import read_json, read_rows, telling_damage
from experiments.repair.ground import Ground, Subject, ground
from experiments.repair.judged import Before, before, row, throughput
from experiments.repair.methods import MENDING, Mended, Workshop, stored, way_of
from experiments.stages import Run

FORMAT = 3
"""Raised when a repair is made or judged in another way: what is on disk is then done again."""

LONGEST = "qat"
"""The repair that takes by far the longest goes last: what the others gave is on disk by then."""


@dataclass(frozen=True)
class Mending:
    """What came of one pair: measured rows, why methods were refused, why all of it was skipped."""

    pair: str
    rows: list[dict[str, Any]]
    refused: dict[str, str]
    skipped: str | None
    told: dict[str, Any]


def repair(
    root: Path,
    screen: Screen,
    *,
    methods: Sequence[str] = NAMES,
    steps: int | None = None,
    most_float: float = MOST_FLOAT,
) -> list[dict[str, Any]]:
    """Mend and judge; write `repair/`, `repair.parquet` and `repair.json`; the entries of `repair.json` a pair.

    Args:
        methods: names of those to try; what came of others before is kept, and judged beside them.
        steps: of the quantisation-aware training; None for its default.
        most_float: share of the multiply-accumulates that a repair may move to float.

    Raises:
        ValueError, OSError: no such method, no finished run, or one whose data or models are not what they were.
    """
    for method in methods:
        if method not in NAMES:
            raise ValueError(f"Expected a method of repair, got {method!r}; choose of {', '.join(NAMES)}.")
    store = Store(root)
    if not store.has("findings.parquet") or not store.has("models.json"):
        raise ValueError(
            f"Expected findings in {root} to mend, got a run that has not come that far; start it again to finish it."
        )
    with telling_damage(store):
        manifest, told_of_data = read_json(store, "manifest.json"), read_json(store, "data.json")
        found = read_rows(store, "findings.parquet")
    config = _config(store, manifest["config"])
    with store.alone(), ThreadPoolExecutor(config.workers) as pool:
        with screen.stage("data"):
            material = data.gather(config)
            if material.data.digest != told_of_data["digest"]:
                raise ValueError(
                    f"Expected the data that {root} was made with, got other content in {material.data.name}; put "
                    "the original file back."
                )
        asked = Run(config, store, screen, material, pool)
        findings = [one for one in found if one["confirmed"]]
        earlier = _earlier(store)
        done = [
            _pair(asked, entry, [one for one in findings if one["pair"] == entry["pair"]], methods, steps, most_float)
            for entry in recorded(store)
            if not entry["control"]
        ]
        refused = {entry["pair"]: entry["refused"] for entry in earlier.get("pairs", ())}
        rows, told = [], []
        for one in done:
            name, why = recommend(one.rows)
            rows += [{**line, "recommended": line["method"] == name} for line in one.rows]
            best = next((line for line in one.rows if line["method"] == name), None)
            told.append(
                {
                    "pair": one.pair,
                    "skipped": one.skipped,
                    "refused": _refused(one, refused.get(one.pair, {}), methods),
                    "recommended": name,
                    "why": one.skipped or why,
                    "reaches_target": best is not None and reaches_target(best),
                    **one.told,
                }
            )
        store.write_table("repair.parquet", rows, tables.REPAIR)
        if "keep_float" not in methods:
            most_float = earlier.get("most_float", most_float)
        store.write_json("repair.json", {"rule": RULE, "most_float": most_float, "pairs": told})
    return told


def _earlier(store: Store) -> dict[str, Any]:
    """What `repair.json` says so far; nothing where it is not there, or is damaged: it is written anew."""
    try:
        found: dict[str, Any] = read_json(store, "repair.json") if store.has("repair.json") else {}
    except Damaged:
        return {}
    return found


def _refused(done: Mending, earlier: dict[str, str], asked_for: Sequence[str]) -> dict[str, str]:
    """Why methods were refused, by name: now, or earlier where they were not asked for and have no row."""
    silent = {*asked_for, *(row["method"] for row in done.rows)}
    return {method: why for method, why in earlier.items() if method not in silent} | done.refused


def _config(store: Store, kept: dict[str, Any]) -> RunConfig:
    """The config that a run was made under.

    Raises:
        ValueError: this version does not know it.
    """
    try:
        return RunConfig.model_validate(kept | {"criteria": []})  # By what it was judged is nothing to a repair.
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"Expected a config of this version in {store.path('manifest.json')}, got one with other keys or values "
            f"({where}: {first['msg']}); mend the run with the version of diverget that made it."
        ) from None


def _pair(
    asked: Run,
    entry: dict[str, Any],
    findings: list[dict[str, Any]],
    methods: Sequence[str],
    steps: int | None,
    most_float: float,
) -> Mending:
    name = entry["pair"]

    def skipped(why: str) -> Mending:
        asked.screen.say(f"  {name}: skipped, {why}")
        return Mending(name, [], {}, why, {})

    kind = (entry["quantised_model"]["coverage"] or {"kind": "of another file format"})["kind"]
    if kind != "int8":
        return skipped(f"its multiply-accumulates are {kind}: repairs are for int8 .tflite files")
    if not findings:
        return skipped("nothing was found to mend")
    reference, quantised = load_pair(asked.store, name)
    if not isinstance(reference, TFLiteModel) or not isinstance(quantised, TFLiteModel):
        return skipped("repairs are for .tflite files")
    try:
        with asked.screen.stage(f"draws   {name}"):
            prepared = ground(asked, Subject(name, reference, quantised), findings)
    except ValueError as error:
        return skipped(str(error))
    cache = asked.store.root.parent / "cache"
    shop = Workshop(prepared, way_of(prepared), cache, steps, most_float)
    return _mended(prepared, shop, methods)


def _mended(ground: Ground, shop: Workshop, asked_for: Sequence[str]) -> Mending:
    store, screen = ground.asked.store, ground.asked.screen
    rows, refused, ratios = [], {}, {}
    known: Before | None = None
    judged_on = {
        "format": FORMAT,
        "digest": ground.pair.quantised.digest,
        "held": [int(finding["finding"]) for finding, held in zip(ground.rows, ground.held, strict=True) if held],
    }
    for method in sorted(METHODS, key=lambda method: method.name == LONGEST):
        record = f"repair/{ground.label}/{method.name}.measured.json"
        mark = judged_on | {
            "steps": shop.steps if method.name == LONGEST else None,
            "most_float": shop.most_float if method.name == "keep_float" else None,
        }
        kept = store.read_json(record) if store.has(record) else {}
        marked = kept.get("mark", {})
        if method.name not in asked_for:
            if marked | judged_on != marked:
                continue
        elif marked != mark:
            with screen.stage(f"repair  {ground.pair.name}", total=3) as stage:
                try:
                    stage.to(0, f"{method.name}: made")
                    mended = MENDING[method.name](shop)
                except ValueError as error:
                    store.path(record).unlink(missing_ok=True)  # What it came to under other settings.
                    refused[method.name] = str(error)
                    stage.to(3, f"{method.name}: not possible")
                    continue
                size = _keep(store, ground.label, method.name, mended, ground)
                stage.to(1, f"{method.name}: judged")
                known = known or before(ground)
                model = stored(store.path(f"repair/{ground.label}"), method.name, ground.pair.quantised)
                line = {"pair": ground.pair.name, "method": method.name, "chosen": mended.chosen}
                kept = {
                    "mark": mark,
                    "row": {**line, **row(ground, model, known, size)},
                    "throughput": throughput(ground, model),
                }
                store.write_json(record, kept)
                stage.to(3, f"{method.name}: {kept['row']['mended']} of {kept['row']['findings']} mended")
        rows.append(kept["row"])
        ratios[method.name] = kept["throughput"]
    order = [method.name for method in METHODS]
    rows.sort(key=lambda line: order.index(line["method"]))
    told = {"throughput": ratios, "blocks": list(ground.blocks), "patches": len(ground.kept_out)}
    return Mending(ground.pair.name, rows, refused, None, told)


def _keep(store: Store, label: str, method: str, mended: Mended, ground: Ground) -> int:
    """Copy a repair into the run; its size in bytes."""
    prepared = (ground.pair.quantised if mended.classifier else ground.pair.reference).preprocessing
    kept = store.path(f"repair/{label}/{method}.tflite")
    with appearing(kept.with_suffix(".json")) as temporary:
        prepared.save(temporary)
    with appearing(kept) as temporary:
        shutil.copyfile(mended.path, temporary)
    size = kept.stat().st_size
    if mended.classifier is not None:
        with appearing(kept.with_suffix(".npz")) as temporary:
            mended.classifier.save(temporary)
        size += kept.with_suffix(".npz").stat().st_size
    return size


def lines(told: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the terminal says: a table a pair, why methods were refused, the recommendation."""
    found = []
    heads = f"{'':<17}{'mended':>14}{'new / gone':>12}{'revealed':>15}{'accuracy':>16}{'size':>9}{'speed':>7}  "
    for pair in told:
        found.append("")
        if pair["skipped"]:
            found.append(f"{pair['pair']}: skipped, {pair['skipped']}")
            continue
        found.append(f"{pair['pair']}: {pair['patches']} held-out patches")
        found.append(heads.rstrip())
        for line in (one for one in rows if one["pair"] == pair["pair"]):
            found.append(_line(line, pair["throughput"][line["method"]]))
        found += [f"{name:<17}not possible: {why}" for name, why in pair["refused"].items()]
        found.append(f"recommended: {pair['recommended'] or 'none'}. {pair['why']}")
    return found


def _line(row: dict[str, Any], speed: float) -> str:
    share = f"{row['mended']}/{row['findings']} {100 * row['mended'] / max(1, row['findings']):.0f} %"
    new = f"{row['new_clean'] + row['new_drawn']} / {row['gone_clean'] + row['gone_drawn']}"
    again = f"{row['revealed_before']}→{row['revealed']}/{row['searched']}"
    names = ("agreement_before", "agreement") if row["accuracy"] is None else ("accuracy_before", "accuracy")
    right = "→".join(f"{100 * row[name]:.2f}" for name in names)
    mark = "*" if row["recommended"] else " "
    size = f"{row['size'] / 1000:.0f} kB"
    return (
        f"{mark}{row['method']:<16}{share:>14}{new:>12}{again:>15}{right:>16}{size:>9}{speed:>6.2f}×  {row['chosen']}"
    )

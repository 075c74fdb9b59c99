"""The stage that asks every confirmed finding again, run in other ways and not quantised, and names its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diverget import tables
from diverget.attribution import FAR, Variation, ask, kinds, predicted
from diverget.baseline import baseline
from diverget.findings import inputs
from diverget.models.deployed import Deployed, coverage, kernel_sets, runtime, under
from diverget.models.model import Model
from diverget.outcome import Evidence, Outcome
from experiments.pairs import Pair, Subjects
from experiments.stages import Run

CLEAN = 200
"""Clean patches on which the kernel sets are compared: enough for a share to within 4 points (engineering judgement),
few enough for the reference kernels, which took ten times as long as the others on a 3-D network (measured)."""

Versions = dict[tuple[str, str, int], Model | None]
"""Models under kernels and threads, by digest, kernels and threads; None where the runtime refuses."""


def attribution(asked: Run, subjects: Subjects, findings: Sequence[Mapping[str, Any]]) -> dict[int, str] | None:
    """The kind of every confirmed finding by its number; None where the config asks for none.

    A part of `attribution/` a pair, then `kernels.parquet` (clean patches under every kernel set) and, last of all,
    `attribution.parquet`.
    """
    store = asked.store
    if not asked.config.attribution:
        return None
    if not store.has("attribution.parquet"):
        rows: list[dict[str, Any]] = []
        clean: list[dict[str, Any]] = []
        made: Versions = {}
        for number, pair in enumerate(subjects.pairs):
            part, clean_part = f"attribution/part-{number:02d}.parquet", f"attribution/clean-{number:02d}.parquet"
            mine = [row for row in findings if row["pair"] == pair.name and row["confirmed"]]
            if not store.has(clean_part):
                store.write_table(clean_part, _clean(asked, pair, made), tables.KERNELS)
            compared = store.read_table(clean_part)
            if not store.has(part):
                told = _attributed(asked, pair, common_runtime(pair, subjects), mine, compared, made)
                store.write_table(part, told, tables.ATTRIBUTION)
            rows += store.read_table(part)
            clean += compared
        store.write_table("kernels.parquet", clean, tables.KERNELS)
        store.write_table("attribution.parquet", rows, tables.ATTRIBUTION)
    return {row["finding"]: row["kind"] for row in store.read_table("attribution.parquet")}


def common_runtime(pair: Pair, subjects: Subjects) -> Deployed | None:
    """The reference of `pair` in float32 on the runtime of the quantised side, where it runs on another one.

    None where both sides share a runtime, and where the run holds no such file among the versions of that reference.
    """
    wanted = type(pair.quantised)
    if isinstance(pair.reference, wanted):
        return None
    for other in subjects.pairs:
        model = other.quantised
        if other.control or other.reference.digest != pair.reference.digest or not isinstance(model, wanted):
            continue
        told = coverage(model)
        if told is not None and told.kind == "float32":
            return model
    return None


def variations(pair: Pair, common: Deployed | None, made: Versions) -> list[Variation]:
    """What is varied of `pair`: each side's kernels, then its threads, the reference's runtime, the quantisation."""
    found = []
    for side, model in (("quantised", pair.quantised), ("reference", pair.reference)):
        for kernels in kernel_sets(model):
            if kernels != model.kernels:
                found.append(Variation(side, "kernels", kernels, _version(model, kernels, model.threads, made)))
        threads = 2 if model.threads == 1 else 1
        word = f"{threads} thread{'s' if threads > 1 else ''}"
        found.append(Variation(side, "threads", word, _version(model, model.kernels, threads, made)))
    if common is not None:
        found.append(Variation("reference", "runtime", runtime(common).split()[0], common))
    if pair.unquantised is not None:
        found.append(Variation("quantised", "compression", "in float", pair.unquantised))
    return found


def _version(model: Deployed, kernels: str, threads: int, made: Versions) -> Model | None:
    key = model.digest, kernels, threads
    if key not in made:
        try:
            made[key] = under(model, kernels=kernels, threads=threads)
        except ValueError:  # the first look says so in a child: these kernels lack an operator, or crash
            made[key] = None
    return made[key]


def _attributed(
    asked: Run,
    pair: Pair,
    common: Deployed | None,
    findings: Sequence[Mapping[str, Any]],
    clean: Sequence[Mapping[str, Any]],
    made: Versions,
) -> list[dict[str, Any]]:
    """The rows of a pair, finding by finding; `clean` are its rows of `kernels.parquet`."""
    if not findings:
        return []
    with asked.screen.stage(f"attribute {pair.name}", total=1) as stage:
        stored = [asked.store.read_arrays(row["file"]) for row in findings]
        varied = variations(pair, common, made)
        told = ask(varied, seen_of(pair, stored), *inputs(stored), asked.pool)
        counts = [speaks(one, clean) for one in varied]
        vanishes = np.array([one.vanishes for one in told]).reshape(len(told), len(findings))
        named = kinds([one.varied for one in varied], vanishes, counts)
        stage.to(1, ", ".join(f"{named.count(kind)} {kind}" for kind in dict.fromkeys(named)))
    return [
        {
            "finding": row["finding"],
            "pair": pair.name,
            "kind": named[i],
            "side": one.variation.side,
            "varied": one.variation.varied,
            "setting": one.variation.setting,
            "outcome": None if one.outcomes is None else Outcome(one.outcomes[i]).name,
            "survives": bool(one.survives[i]),
            "vanishes": bool(one.vanishes[i]),
            "speaks": counts[number],
            "said": None if one.outcomes is None else int(one.classes[i]),
        }
        for i, row in enumerate(findings)
        for number, one in enumerate(told)
    ]


def speaks(variation: Variation, clean: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a variation says anything of a finding, by the rows of `kernels.parquet` of its pair."""
    if variation.model is None:
        return False
    mine = [row for row in clean if row["side"] == variation.side]
    own = [row["agreement"] for row in mine if row["own"]]
    there = [row["agreement"] for row in mine if row["kernels"] == variation.setting]
    return not (own and there) or there[0] >= own[0] - FAR


def seen_of(pair: Pair, stored: Sequence[Mapping[str, np.ndarray]]) -> Evidence:
    """What the run saw of findings; they lie within the limits, and what distances they have is not asked."""
    predictions = {
        name: np.stack([arrays[name] for arrays in stored])
        for name in ("reference_source", "quantised_source", "reference", "quantised")
    }
    unknown = np.full(len(stored), np.nan)
    return Evidence(
        **predictions,
        reference_step=pair.reference.output_step,
        quantised_step=pair.quantised.output_step,
        severity=unknown,
        psnr=unknown,
        spectral_angle=unknown,
        within=np.ones(len(stored), dtype=bool),
    )


def _clean(asked: Run, pair: Pair, made: Versions) -> list[dict[str, Any]]:
    """Clean patches with one side under every kernel set, the other as the run has it; of a control nothing."""
    if pair.control:
        return []
    ids = asked.material.baseline
    patches = asked.material.patches(ids[np.unique(np.linspace(0, len(ids) - 1, CLEAN).astype(np.int64))])
    x, rows = patches.source(), []
    usual = {
        "reference": predicted(pair.reference, x, asked.pool),
        "quantised": predicted(pair.quantised, x, asked.pool),
    }
    settings = [
        (side, model, kernels)
        for side, model in (("quantised", pair.quantised), ("reference", pair.reference))
        for kernels in kernel_sets(model)
    ]
    with asked.screen.stage(f"kernels {pair.name}", total=len(settings)) as stage:
        for done, (side, model, kernels) in enumerate(settings):
            stage.to(done, f"{side} {kernels}")
            own = kernels == model.kernels
            version = model if own else _version(model, kernels, model.threads, made)
            row: dict[str, Any] = {"pair": pair.name, "side": side, "kernels": kernels, "own": own, "patches": len(x)}
            if version is not None:
                found = usual[side] if own else predicted(version, x, asked.pool)
                sides = usual | {side: found}
                clean = baseline(
                    sides["reference"],
                    sides["quantised"],
                    patches.labels,
                    steps=(pair.reference.output_step, pair.quantised.output_step),
                    class_names=asked.material.class_names,
                )
                row |= {
                    "agreement": clean["agreement"],
                    "accuracy": clean[f"accuracy_{side}"],
                    "tied": clean["tied_disagreements"],
                    "drift": float(np.abs(found - usual[side]).max()),
                }
            rows.append(row)
    return rows

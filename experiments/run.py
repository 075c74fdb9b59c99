"""One assessment: data, models, baseline, rates, search, findings, report. Whatever is stored is not done again."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diverget import tables
from diverget.attribution import KINDS
from diverget.store import Store
from experiments import attribution, criteria, data, found, gaps, stages
from experiments.pairs import Subjects, prepare
from experiments.patchwise import patchwise, refuse_arms
from experiments.progress import Screen
from experiments.record import EVERYTHING, enough
from experiments.report import render
from experiments.schema import RunConfig

SCHEMA = 1
DECISIVE = ("diverget", "numpy", "scipy", "pymoo", "ai_edge_litert", "opencv_python", "pyarrow")
"""The versions that evaluations depend on once the models are in the run."""

ONNX = "onnxruntime"
"""Another of them, where a network of the run is an .onnx file."""

TOLD = ("python", *DECISIVE, ONNX, "scikit_image", "tensorflow", "keras", "tf_keras")


def versions() -> dict[str, str | None]:
    """The versions that a result depends on or was made with; None where a package is not installed."""

    def installed(name: str) -> str | None:
        if name == "python":
            return platform.python_version()
        try:
            return version(name.replace("_", "-"))
        except PackageNotFoundError:
            return None

    return {name: installed(name) for name in TOLD}


def directory(config: RunConfig, out: Path) -> Path:
    """Where the run of `config` lives: named by all that determines its result."""
    return out / f"{config.name}-{config.digest()[:8]}"


def run(config: RunConfig, out: Path, screen: Screen) -> tuple[Path, bool]:
    """Carry the assessment of `config` to its end: (the run directory, whether all criteria were met).

    A run that was stopped, at whatever instant, goes on where it stood and ends with the same bytes.

    Raises:
        ValueError, OSError: the config, the data or a model cannot be used; what was evaluated stays.
    """
    store = Store(directory(config, out))
    if store.has("summary.json"):
        screen.say("complete already; the report is written anew")
        render(store.root)
        return store.root, bool(store.read_json("summary.json")["criteria_met"])
    with store.alone():
        return store.root, _carry_out(config, store, screen, cache=out / "cache")


def _carry_out(config: RunConfig, store: Store, screen: Screen, *, cache: Path) -> bool:
    _manifest(config, store)
    with screen.stage("data"):
        material = data.gather(config)
        data.check_material(config, material)
        if not (store.has("data.json") and store.has("sensor.npz")):
            data.record(material, store)
    for note in (*material.data.origin.get("warnings", ()), *material.split.notes):
        screen.say(f"  note: {note}")
    with ThreadPoolExecutor(config.workers) as pool:
        asked = stages.Run(config, store, screen, material, pool)
        subjects = prepare(config, material, store, screen, cache=cache)
        refuse_arms(asked, subjects)
        stages.baselines(asked, subjects)
        for number, pair in enumerate(subjects.pairs):
            stages.rates(asked, number, pair)
            gaps.gaps(asked, number, pair)
            stages.search(asked, number, pair)
        rows = [
            row for number in range(len(subjects.pairs)) for row in store.read_table(f"rates/part-{number:02d}.parquet")
        ]
        if not store.has("rates.parquet"):
            store.write_table("rates.parquet", rows, tables.RATES)
        gaps.joined(asked, subjects)
        patchwise(asked, subjects)
        findings = found.findings(asked, subjects)
        kinds = attribution.attribution(asked, subjects, findings)
    return _conclude(asked, subjects, rows, findings, kinds)


def _manifest(config: RunConfig, store: Store) -> None:
    """Write the manifest; of a run already begun, check that it goes on under the versions it was begun with.

    Raises:
        ValueError: it would not.
    """
    now = versions()
    if store.has("manifest.json"):
        begun = store.read_json("manifest.json").get("versions", {})
        decisive = (*DECISIVE, ONNX) if _runs_onnx(config) else DECISIVE
        other = [f"{name} {begun.get(name)} → {now[name]}" for name in decisive if begun.get(name) != now[name]]
        if other:
            raise ValueError(
                f"Expected the versions that {store.root} was begun with, got others ({', '.join(other)}): results of "
                "both must not be mixed; remove that folder, or run in the old environment."
            )
        return
    ways = {(entry.kernels, entry.threads) for entry in config.references}
    ways |= {(entry.kernels, entry.threads) for entry in config.quantisations}
    kernels = sorted({kernels for kernels, _ in ways}, reverse=True)
    threads = sorted({threads for _, threads in ways})
    store.write_json(
        "manifest.json",
        {
            "schema": SCHEMA,
            "name": config.name,
            "digest": config.digest(),
            "config": config.effective(),
            "versions": now,
            "runtime": {
                "interpreter": f"LiteRT {now['ai_edge_litert']}"
                + (f" and onnxruntime {now[ONNX]}" if _runs_onnx(config) else ""),
                "delegate": "XNNPACK" if "xnnpack" in kernels else "none",
                "kernels": ", ".join(kernels),
                "threads": ", ".join(map(str, threads)),
                "batch": 8,
                "workers": config.workers,
            },
        },
    )


def _runs_onnx(config: RunConfig) -> bool:
    """Whether a network of the run is an .onnx file."""
    paths = [*(entry.path for entry in config.references), *(entry.path for entry in config.quantisations)]
    return any(path is not None and path.suffix == ".onnx" for path in paths)


def _conclude(
    asked: stages.Run,
    subjects: Subjects,
    rates: Sequence[dict[str, Any]],
    findings: Sequence[dict[str, Any]],
    kinds: Mapping[int, str] | None,
) -> bool:
    store, config = asked.store, asked.config
    base = store.read_json("baseline.json")
    measured = {
        pair.name: _metrics(config, pair.name, base[pair.name], rates, findings, kinds)
        for pair in subjects.pairs
        if not pair.control
    }
    statements = criteria.check(config.criteria, measured)
    control = sum(row["control"] for row in findings)
    drawn = sum(row["revealed"] + row["moved_apart"] for row in rates if row["control"])
    walked = store.read_table("patchwise.parquet") if store.has("patchwise.parquet") else []
    parted = sum(row["apart"] is not None for row in walked if row["control"])
    passed = control + drawn + parted == 0
    met = all(statement["met"] for statement in statements) and passed
    _timing(asked, subjects)
    store.write_json(
        "summary.json",
        {
            "control_findings": control,
            "control_passed": passed,
            "unconfirmed": sum(not row["confirmed"] for row in findings),
            "criteria": statements,
            "criteria_met": met,
            "complete": True,
            "interrupted": False,
        },
    )
    with asked.screen.stage("report"):
        render(store.root)
    return met


def _metrics(
    config: RunConfig,
    pair: str,
    base: dict[str, Any],
    rates: Sequence[dict[str, Any]],
    findings: Sequence[dict[str, Any]],
    kinds: Mapping[int, str] | None,
) -> dict[str, float | None]:
    rung = config.own_rung.name
    mine = [row for row in findings if row["pair"] == pair and row["rung"] == rung and row["confirmed"]]
    accuracies = base["accuracy_reference"], base["accuracy_quantised"]
    known = None not in accuracies
    measured: dict[str, float | None] = {
        "agreement": base["agreement"],
        "accuracy_drop": accuracies[0] - accuracies[1] if known else None,
        "findings": len(mine),
        "minimal_severity": min((row["severity"] for row in mine), default=1.0),
    }
    if kinds is not None:
        told = Counter(kinds[row["finding"]] for row in mine)
        measured.update({f"findings.{kind}": told[kind] for kind in KINDS})
    for row in rates:
        if row["pair"] == pair and row["relation"] == EVERYTHING and enough(row):
            measured[f"revealed_rate.{row['tier']}"] = row["revealed_rate"]
            measured[f"revealed_rate.{row['tier']}.upper"] = row["revealed_upper"]
    return measured


def _timing(asked: stages.Run, subjects: Subjects) -> None:
    """Write `timing.json`: the seconds of this session's stages, and each search's queries and measured speed."""
    spent = [asked.store.read_json(f"evaluations/done-{number:02d}.json") for number in range(len(subjects.pairs))]
    asked.store.write_json(
        "timing.json",
        {
            "stages": [{"stage": stage, "seconds": seconds} for stage, seconds in asked.screen.seconds.items()],
            "search": {
                search["pair"]: {
                    "queries": search["queries"],
                    "seconds": search["queries"] / search["queries_per_second"]
                    if search["queries_per_second"]
                    else None,
                    "queries_per_second": search["queries_per_second"],
                }
                for search in spent
            },
        },
    )

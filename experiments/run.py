"""One assessment: data, models, baseline, rates, search, findings, report. Whatever is stored is not done again."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from diverget import tables
from diverget.store import Damaged, Store
from experiments import data, stages
from experiments.config.criteria import Criterion
from experiments.config.schema import RunConfig
from experiments.gate import Judged, conclude
from experiments.kept_models import recorded
from experiments.named_networks import check_networks, refuse_networks
from experiments.pairs import Subjects, prepare
from experiments.progress import Screen
from experiments.record import of_sides
from experiments.record.contents import damage
from experiments.report import render
from experiments.stages import attribution, bands, doses, found, gaps
from experiments.stages.patchwise import patchwise

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
    """Carry the assessment of `config` to its end: (the run directory, whether no criterion failed).

    A run that was stopped, at whatever instant, goes on where it stood and ends with the same bytes. One that is
    complete is judged by the criteria of `config` and measures nothing.

    Raises:
        ValueError, OSError: the config, the data or a model cannot be used; what was evaluated stays.
    """
    store = Store(directory(config, out))
    if store.has("summary.json"):
        screen.say("complete already; the report is written anew")
        return store.root, judge_anew(store, config.asked_criteria).passed
    with store.alone():
        return store.root, _carry_out(config, store, screen, cache=out / "cache")


def judge_anew(store: Store, criteria: Sequence[Criterion]) -> Judged:
    """What the run in `store`, whose stages are all done, comes to under `criteria`; its report is written anew.

    Raises:
        Held: another process writes there.
        ValueError, OSError: a file of the run is damaged or gone, or cannot be written.
    """
    with store.alone():
        # Without its report a run is not complete: one that is stopped here is judged again.
        store.path("report.html").unlink(missing_ok=True)
        try:
            judged = conclude(store, criteria)
            render(store.root)
        except (Damaged, FileNotFoundError) as error:
            raise damage(error, store) from error
    return judged


def _carry_out(config: RunConfig, store: Store, screen: Screen, *, cache: Path) -> bool:
    _manifest(config, store)
    begun = store.has("models.json")
    if not begun:
        refuse_networks(config)
    with screen.stage("data"):
        material = data.gather(config)
        data.check_material(config, material)
        if not begun:
            check_networks(config, material)
        if not (store.has("data.json") and store.has("sensor.npz")):
            data.record(material, store)
    for note in (*material.data.origin.get("warnings", ()), *material.split.notes):
        screen.say(f"  note: {note}")
    with ThreadPoolExecutor(config.workers) as pool:
        asked = stages.Run(config, store, screen, material, pool)
        subjects = prepare(config, material, store, screen, cache=cache)
        for note in of_sides(entry for entry in recorded(store) if not entry["control"]):
            screen.say(f"  note: {note}")
        data.refuse_arms(config, subjects.pairs[0].reference.classes)
        stages.baselines(asked, subjects)
        for number, pair in enumerate(subjects.pairs):
            stages.rates(asked, number, pair)
            doses.doses(asked, number, pair)
            gaps.gaps(asked, number, pair)
            stages.search(asked, number, pair)
        parts = [f"rates/part-{number:02d}.parquet" for number in range(len(subjects.pairs))]
        stages.join(store, "rates.parquet", parts, tables.RATES)
        doses.joined(asked, subjects)
        gaps.joined(asked, subjects)
        patchwise(asked, subjects)
        findings = found.findings(asked, subjects)
        attribution.attribution(asked, subjects, findings)
        bands.bands(asked, subjects, findings)
    return _conclude(asked, subjects)


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


def _conclude(asked: stages.Run, subjects: Subjects) -> bool:
    _timing(asked, subjects)
    judged = conclude(asked.store, asked.config.asked_criteria)
    with asked.screen.stage("report"):
        render(asked.store.root)
    return judged.passed


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

"""A sweep carried out: its data looked at, its cost told, its cells handed to an executor, its page written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.store import Store
from experiments.check import FAST, SLOW, queries, seconds_to_distort
from experiments.data import Material, check_material, gather
from experiments.executors import EXECUTORS, Asked, Done, Job
from experiments.executors.executor import cores
from experiments.executors.job import job_of
from experiments.executors.slurm import HERE
from experiments.parts import named
from experiments.progress import Screen
from experiments.schema import RunConfig
from experiments.sweep import Cell, Sweep, cells_in_words, differs
from experiments.wording import count, listed, plural, seconds

SCHEMA = 1

COMPLETE, BEGUN, WAITING, FAILED = "complete", "begun", "not begun", "failed"
"""The states of a cell."""

ARRAY = 256
"""Jobs of a Slurm array that run at a time, where nothing else is said: submitit's own default."""

WRITE_SECONDS = 2.0
"""Between two writings of sweep.json while cells end: of a thousand short cells it must not cost more than they do
(engineering judgement)."""


@dataclass(frozen=True)
class Cost:
    """What a cell would cost: queries, and seconds of a guess at the speed of its networks."""

    queries: int
    seconds: float


@dataclass(frozen=True)
class Ended:
    """How a sweep ended: the folder of its page, the messages of the cells that failed, whether all criteria hold."""

    place: Path
    failed: Mapping[str, str]
    met: bool


def state(cell: Cell, out: Path) -> str:
    """What the disk says of a cell."""
    store = Store(out / cell.folder)
    # A run that was killed between its summary and its report is carried out again, which writes the report alone.
    whole = store.has("summary.json") and store.has("report.html")
    return COMPLETE if whole else BEGUN if store.has("manifest.json") else WAITING


def costs(sweep: Sweep, out: Path, *, workers: int) -> dict[str, Cost]:
    """The cost of each cell that is not complete, by its name; its data is looked at on the way, each source once.

    Raises:
        ValueError, OSError: data that cannot be used; all problems are told, with their cells.
    """
    sources: dict[str, Material | str] = {}
    slowness: dict[str, float] = {}
    found: dict[str, Cost] = {}
    problems: dict[str, list[str]] = {}
    for cell in sweep.cells:
        if state(cell, out) == COMPLETE:
            continue
        try:
            material = _material(cell.config, sources)
            found[cell.name] = _cost(cell.config, material, slowness, workers)
        except (ValueError, OSError) as error:
            problems.setdefault(str(error), []).append(cell.name)
    if problems:
        raise ValueError("\n".join(f"{cells_in_words(names)}: {text}" for text, names in problems.items()))
    return found


def _material(config: RunConfig, sources: dict[str, Material | str]) -> Material:
    """The data of a config, from `sources` where an earlier cell has the same."""
    told = config.effective()
    source = json.dumps([told["scene"], told["images"], told["split"]], sort_keys=True)
    if source not in sources:
        try:
            sources[source] = gather(config)
        except (ValueError, OSError) as error:
            sources[source] = str(error)
    found = sources[source]
    if isinstance(found, str):
        raise ValueError(found)
    check_material(config, found)
    for reference in config.references:
        if reference.zoo:
            named("an architecture", ARCHITECTURES, reference.zoo).check_patch(found.patch_shape)
    return found


def _cost(config: RunConfig, material: Material, slowness: dict[str, float], workers: int) -> Cost:
    told = config.effective()
    kind = json.dumps([told[key] for key in ("scene", "images", "relations", "tier")], sort_keys=True)
    if kind not in slowness:
        slowness[kind] = seconds_to_distort(config, material)
    volumes = [architecture.name for architecture in ARCHITECTURES if architecture.layout == "hwb1"]
    speed = SLOW if any(entry.zoo in volumes for entry in config.references) else FAST
    total = sum(queries(config, material).values())
    return Cost(total, total * (1 / speed + slowness[kind] / 2 / workers))


def workers_of(engine: str, processes: int, address: str | None) -> int | None:
    """Threads of a cell such that all cells at a time share the cores of this machine; None for the config's own."""
    here = engine in ("serial", "processes") or (engine == "dask" and address is None) or address == HERE
    return max(1, cores() // processes) if here else None


def processes_of(engine: str, asked: int | None) -> int:
    """How many cells are carried out at a time."""
    if engine == "serial":
        return 1
    return asked or (ARRAY if engine == "slurm" else cores())


def sweep_lines(
    sweep: Sweep, out: Path, *, engine: str = "serial", processes: int = 1, address: str | None = None
) -> Iterator[str]:
    """Lines that tell every cell: its run directory, its state, what it would cost and what it has of its own.

    Nothing is trained, run or written.

    Raises:
        ValueError, OSError: data that cannot be used.
    """
    told = costs(sweep, out, workers=workers_of(engine, processes, address) or sweep.cells[0].config.workers)
    rows = [("cell", "state", "queries", "time", "run directory", "what differs")]
    for cell in sweep.cells:
        cost = told.get(cell.name)
        figures = (count(cost.queries), seconds(cost.seconds)) if cost else ("–", "–")
        rows.append((cell.name, state(cell, out), *figures, str(out / cell.folder), differs(cell)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        figured = [
            text.rjust(width) if i in (2, 3) else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield "  ".join([*figured, row[-1]])
    yield from same_cells(sweep)
    done = len(sweep.cells) - len(told)
    whole = sum(cost.seconds for cost in told.values()) / min(processes, max(len(told), 1))
    yield (
        f"{plural(len(sweep.cells), 'cell')}, {count(done)} complete; {count(sum(c.queries for c in told.values()))} "
        f"queries at most, about {seconds(whole)} with {count(processes)} at a time; training and conversion come on "
        f"top, each network once, then from {out / 'cache'}"
    )


def same_cells(sweep: Sweep) -> Iterator[str]:
    """A line for every cell that others came to."""
    for cell in sweep.cells:
        if cell.also:
            why = (
                f"they differ only in {listed(cell.apart)}, which {'does' if len(cell.apart) == 1 else 'do'} not "
                f"determine a result; cell {cell.name} stands for all"
                if cell.apart
                else "the same config"
            )
            yield f"note: {cells_in_words((cell.name, *cell.also))} are one: {why}"


def note(sweep: Sweep, out: Path, failed: Mapping[str, str]) -> Path:
    """Write `sweep.json`, which says where the cells lie and how they stand; the folder of the sweep's page."""
    store = Store(sweep.directory(out))
    cells = [
        {
            "name": cell.name,
            "also": cell.also,
            "directory": cell.folder,
            "digest": cell.digest,
            "values": cell.values,
            "state": FAILED if cell.name in failed else state(cell, out),
            "message": failed.get(cell.name, ""),
        }
        for cell in sweep.cells
    ]
    store.write_json("sweep.json", {"schema": SCHEMA, "name": sweep.name, "keys": sweep.keys, "cells": cells})
    return store.root


def carry_out(
    sweep: Sweep,
    out: Path,
    screen: Screen,
    *,
    engine: str = "serial",
    processes: int | None = None,
    address: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> Ended:
    """Carry every cell that is not complete to its end on an executor, then write the page.

    A cell that fails is told, and the others go on.

    Raises:
        ValueError, OSError: data cannot be used, or the executor cannot start; what was evaluated stays.
    """
    from experiments.sweep_page import render_sweep

    at_a_time = processes_of(engine, processes)
    workers = workers_of(engine, at_a_time, address)
    told = costs(sweep, out, workers=workers or sweep.cells[0].config.workers)
    for line in same_cells(sweep):
        screen.say(line)
    place = note(sweep, out, {})
    jobs = [_job(cell, out, place, workers) for cell in sweep.cells if cell.name in told]
    done = len(sweep.cells) - len(jobs)
    screen.say(f"{plural(len(sweep.cells), 'cell')}, {count(done)} complete already; {at_a_time} at a time")
    asked = Asked(at_a_time, place, screen.say, address=address, settings=settings or {})
    failed: dict[str, str] = {}
    if jobs:
        try:
            _watched(sweep, jobs, told, EXECUTORS[engine](jobs, asked), out, screen, failed)
        finally:
            note(sweep, out, failed)
    render_sweep(place)
    met = all(
        Store(out / cell.folder).read_json("summary.json")["criteria_met"]
        for cell in sweep.cells
        if state(cell, out) == COMPLETE
    )
    return Ended(place, failed, met)


def _job(cell: Cell, out: Path, place: Path, workers: int | None) -> Job:
    config = json.dumps(cell.config.effective())
    log = place / "logs" / f"{cell.folder}.txt"
    return job_of(cell.name, config, out=out, log=log, workers=workers or cell.config.workers)


def _watched(
    sweep: Sweep,
    jobs: Sequence[Job],
    told: Mapping[str, Cost],
    ending: Iterator[Done],
    out: Path,
    screen: Screen,
    failed: dict[str, str],
) -> None:
    """Wait until all cells have ended; every end moves the bar and writes a line.

    Args:
        failed: receives the messages of the cells that failed, as they do, so that Ctrl-C forgets none.
    """
    by_name = {cell.name: cell for cell in sweep.cells}
    started = written = time.monotonic()
    whole, spent = sum(cost.queries for cost in told.values()), 0
    with screen.stage("cells", total=whole) as stage:
        for number, done in enumerate(ending, start=1):
            if done.met is None:
                failed[done.name] = done.message
            spent += told[done.name].queries
            now = time.monotonic()
            left = (now - started) * (whole - spent) / spent if spent else None
            stage.to(spent, f"{number} of {len(jobs)}" + (f", about {seconds(left)} left" if left else ""))
            screen.say(_line(by_name[done.name], done, f"{number} of {len(jobs)}", left))
            if now - written > WRITE_SECONDS:
                note(sweep, out, failed)
                written = now


def _line(cell: Cell, done: Done, number: str, left: float | None) -> str:
    how = f"failed: {done.message}" if done.met is None else "complete" if done.met else "complete, criteria not met"
    rest = f"; about {seconds(left)} left" if left else ""
    return f"{number}{rest}: cell {cell.name} ({differs(cell)}) {how}"


def ended_in_words(sweep: Sweep, ended: Ended) -> Iterator[str]:
    """Lines that tell how a sweep ended."""
    by_name: dict[str, Any] = {cell.name: cell for cell in sweep.cells}
    for name, message in ended.failed.items():
        yield f"cell {name} ({differs(by_name[name])}) failed: {message}"
    if ended.failed:
        whole = plural(len(sweep.cells), "cell")
        yield f"{count(len(ended.failed))} of {whole} failed; the same command tries them again and keeps the others"
    yield f"report: {ended.place / 'report.html'}"

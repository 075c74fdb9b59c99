"""A sweep carried out: its data looked at, its cost told, its cells handed to an executor, its page written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diverget.store import Damaged, Held, Store
from experiments.executors import EXECUTORS, Asked, Done, Job
from experiments.executors.executor import cores
from experiments.executors.job import job_of
from experiments.executors.slurm import HERE
from experiments.gate import as_asked
from experiments.progress import Screen
from experiments.record.contents import damage
from experiments.record.reading import read_json
from experiments.sweep import COMPLETE, DAMAGED, ELSEWHERE, FAILED, Cell, Sweep, cells_in_words, differs
from experiments.sweep.costs import Cost, costs, looking, state
from experiments.sweep.watch import Watch, watching
from experiments.wording import count, listed, plural, seconds

SCHEMA = 1

ARRAY = 256
"""Jobs of a Slurm array that run at a time, where nothing else is said: submitit's own default."""

WRITE_SECONDS = 2.0
"""Between two writings of sweep.json while cells end: of a thousand short cells it must not cost more than they do
(engineering judgement)."""


@dataclass(frozen=True)
class Ended:
    """How a sweep ended.

    Attributes:
        place: the folder of its page.
        failed: the messages of the cells that failed, by name.
        elsewhere: the cells whose run directories other processes hold.
        met: whether the criteria of all cells that are complete hold.
        damaged: the cells of which a file cannot be read, by name, each with the file and what to do.
    """

    place: Path
    failed: Mapping[str, str]
    elsewhere: Sequence[str]
    met: bool
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every cell came to its end."""
        return not self.failed and not self.elsewhere and not self.damaged


def workers_of(engine: str, processes: int, address: str | None) -> int | None:
    """Threads of a cell such that all cells at a time share the cores of this machine; None for the config's own."""
    here = engine in ("serial", "processes") or (engine == "dask" and address is None) or address == HERE
    return max(1, cores() // processes) if here else None


def processes_of(engine: str, asked: int | None, address: str | None = None) -> int:
    """How many cells are carried out at a time."""
    if engine == "serial":
        return 1
    return asked or (ARRAY if engine == "slurm" and address != HERE else cores())


def sweep_lines(
    sweep: Sweep, out: Path, screen: Screen, *, engine: str = "serial", processes: int = 1, address: str | None = None
) -> Iterator[str]:
    """Lines that tell every cell: its run directory, its state, what it would cost and what it has of its own.

    Nothing is trained, run or written.

    Args:
        screen: shows how many cells are looked at.

    Raises:
        ValueError, OSError: data that cannot be used.
    """
    workers = workers_of(engine, processes, address) or sweep.cells[0].config.workers
    with looking(screen) as looked:
        told = costs(sweep, out, workers=workers, looked=looked)
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
        f"top, each network once, then from {out / 'cache'}, and some seconds a cell to start, to shrink and to report"
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


def note(sweep: Sweep, out: Path, stuck: Mapping[str, Done], damaged: Mapping[str, str] = MappingProxyType({})) -> Path:
    """Write `sweep.json`, which says where the cells lie and how they stand; the folder of the sweep's page.

    Args:
        stuck: the cells that did not come to their end, by name.
        damaged: the cells of which a file cannot be read, by name, with what to do.
    """
    store = Store(sweep.directory(out))
    cells = [
        {
            "name": cell.name,
            "also": cell.also,
            "directory": cell.folder,
            "digest": cell.digest,
            "values": cell.values,
            "state": state_of(cell, out, stuck, damaged),
            "message": stuck[cell.name].message if cell.name in stuck else damaged.get(cell.name, ""),
        }
        for cell in sweep.cells
    ]
    store.write_json("sweep.json", {"schema": SCHEMA, "name": sweep.name, "keys": sweep.keys, "cells": cells})
    return store.root


def _replaced(sweep: Sweep, out: Path) -> Iterator[str]:
    """A line where the page of another sweep of this name is about to make room for that of this one."""
    store = Store(sweep.directory(out))
    if not store.has("sweep.json"):
        return
    try:
        before = {cell["digest"] for cell in store.read_json("sweep.json")["cells"]}
    except (Damaged, KeyError, TypeError):
        return  # It is written anew.
    gone = before - {cell.digest for cell in sweep.cells}
    if gone:
        yield (
            f"{store.root} showed {plural(len(gone), 'cell')} that this sweep does not have: their runs stay, its page "
            "and tables are replaced; give this sweep another `name` to keep both"
        )


def state_of(cell: Cell, out: Path, stuck: Mapping[str, Done], damaged: Mapping[str, str]) -> str:
    """How a cell stands, given those that did not come to their end, and those that are damaged."""
    if cell.name not in stuck:
        return DAMAGED if cell.name in damaged else state(cell, out)
    return ELSEWHERE if stuck[cell.name].held else FAILED


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

    A cell that fails is told, and the others go on. One that is complete is judged anew where it was judged by other
    criteria than it has.

    Raises:
        ValueError, OSError: data cannot be used, or the executor cannot start; what was evaluated stays.
    """
    from experiments.sweep.page import render_sweep

    at_a_time = processes_of(engine, processes, address)
    workers = workers_of(engine, at_a_time, address)
    with looking(screen) as looked:
        told = costs(sweep, out, workers=workers or sweep.cells[0].config.workers, looked=looked)
    for line in same_cells(sweep):
        screen.say(line)
    for line in _replaced(sweep, out):
        screen.say(line)
    place = note(sweep, out, {})
    jobs = [_job(cell, out, place, workers) for cell in sweep.cells if cell.name in told]
    done = len(sweep.cells) - len(jobs)
    screen.say(f"{plural(len(sweep.cells), 'cell')}, {count(done)} complete already; {at_a_time} at a time")
    asked = Asked(at_a_time, place, screen.say, address=address, settings=settings or {})
    stuck: dict[str, Done] = {}
    damaged: dict[str, str] = {}
    try:
        _judge_anew([cell for cell in sweep.cells if cell.name not in told], out, screen, stuck, damaged)
        if stuck or damaged:
            note(sweep, out, stuck, damaged)
        if jobs:
            _watched(sweep, jobs, told, EXECUTORS[engine](jobs, asked), out, screen, stuck, damaged)
        _look_again([cell for cell in sweep.cells if cell.name in stuck], out, stuck, damaged)
    finally:
        note(sweep, out, stuck, damaged)
    found = render_sweep(place)
    if found != damaged:
        damaged |= found
        note(sweep, out, stuck, damaged)
    states = {cell.name: state_of(cell, out, stuck, damaged) for cell in sweep.cells}
    met = all(_summary(cell, out)["criteria_met"] for cell in sweep.cells if states[cell.name] == COMPLETE)
    failed = {name: done.message for name, done in stuck.items() if not done.held}
    held = [name for name, done in stuck.items() if done.held]
    return Ended(place, failed, held, met, {name: told for name, told in damaged.items() if name not in stuck})


def _judge_anew(
    cells: Sequence[Cell], out: Path, screen: Screen, stuck: dict[str, Done], damaged: dict[str, str]
) -> None:
    """Judge those of complete `cells` that were judged by other criteria than they have, and write their reports.

    Args:
        stuck: receives the cells for which that failed, or whose directory another process holds.
        damaged: receives those of which a file cannot be read.
    """
    from experiments.run import judge_anew

    for cell in cells:
        try:
            if not _judged(cell, out):
                judge_anew(Store(out / cell.folder), cell.config.asked_criteria)
                screen.say(f"cell {cell.name} ({differs(cell)}) complete under other criteria: judged anew")
        except Held as error:
            stuck[cell.name] = Done(cell.name, None, str(error), held=True)
        except ValueError as error:
            damaged[cell.name] = str(damage(error, Store(out / cell.folder)))
        except OSError as error:
            stuck[cell.name] = Done(cell.name, None, str(error))


def _look_again(cells: Sequence[Cell], out: Path, stuck: dict[str, Done], damaged: dict[str, str]) -> None:
    """Drop from `stuck` those of `cells` that others held and have brought to their end meanwhile.

    Args:
        damaged: receives those of which a file cannot be read.
    """
    for cell in cells:
        if not stuck[cell.name].held:
            continue
        try:
            ended = _judged(cell, out)
        except (ValueError, OSError) as error:
            damaged[cell.name] = str(damage(error, Store(out / cell.folder)))
            ended = True
        if ended:
            del stuck[cell.name]


def _job(cell: Cell, out: Path, place: Path, workers: int | None) -> Job:
    config = json.dumps(cell.config.effective())
    log = place / "logs" / f"{cell.folder}.txt"
    return job_of(cell.name, config, out=out, log=log, workers=workers or cell.config.workers)


def _judged(cell: Cell, out: Path) -> bool:
    """Whether a cell is complete, under the criteria that it has.

    Raises:
        ValueError: its summary is damaged.
    """
    if state(cell, out) != COMPLETE:
        return False
    return bool(_summary(cell, out).get("asked") == as_asked(cell.config.asked_criteria))


def _summary(cell: Cell, out: Path) -> dict[str, Any]:
    """The summary of a complete cell.

    Raises:
        ValueError: it is damaged.
    """
    return dict(read_json(Store(out / cell.folder), "summary.json"))


def _watched(
    sweep: Sweep,
    jobs: Sequence[Job],
    told: Mapping[str, Cost],
    ending: Iterator[Done],
    out: Path,
    screen: Screen,
    stuck: dict[str, Done],
    damaged: Mapping[str, str],
) -> None:
    """Wait until all cells have ended; every end writes a line.

    Args:
        stuck: receives the cells that did not come to their end, at once, so that Ctrl-C forgets none.
        damaged: the complete cells of which a file cannot be read.
    """
    by_name = {cell.name: cell for cell in sweep.cells}
    written = time.monotonic()
    watch = Watch(jobs, told)
    with watching(watch, screen):
        for number, done in enumerate(ending, start=1):
            if done.met is None:
                stuck[done.name] = done
            # Words over a thousand cells would cost more than a short cell does: whoever looks once a second has them.
            watch.end(done.name)
            now = time.monotonic()
            screen.say(_line(by_name[done.name], done, f"{number} of {len(jobs)}", watch.left()))
            if now - written > WRITE_SECONDS:
                note(sweep, out, stuck, damaged)
                written = now


def _line(cell: Cell, done: Done, number: str, left: float | None) -> str:
    if done.met is None:
        how = f"{ELSEWHERE if done.held else FAILED}: {done.message}"
    else:
        how = COMPLETE if done.met else f"{COMPLETE}, criteria not met"
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
    for name, message in ended.damaged.items():
        yield f"cell {name} ({differs(by_name[name])}) {DAMAGED}: {message}"
    if ended.damaged:
        yield (
            f"{count(len(ended.damaged))} of {plural(len(sweep.cells), 'cell')} {DAMAGED} and without numbers on the "
            "page; do what is said above, then the same command makes good what is lacking and keeps the others"
        )
    if ended.elsewhere:
        yield (
            f"{cells_in_words(ended.elsewhere)} {ELSEWHERE}: other processes write into their run directories; wait "
            "for them, then the same command completes the page"
        )
    yield f"report: {ended.place / 'report.html'}"

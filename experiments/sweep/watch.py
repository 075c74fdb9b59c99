"""What a person sees while cells are carried out, here or elsewhere: ends at once, and how far the others are."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from experiments.executors import Job
from experiments.executors.far import Far, forget, path_of, read_far
from experiments.progress import Screen, Stage
from experiments.sweep.costs import Cost
from experiments.wording import count, plural, seconds

LOOK_SECONDS = 1.0
"""Between two looks at how far the cells are (engineering judgement)."""

SAY_SECONDS = 60.0
"""Between two lines about that where there is no terminal (engineering judgement)."""

MOST_RUNNING = 3
"""Cells whose stage stands beside the bar (engineering judgement: a line of a terminal)."""


@dataclass
class Watch:
    """The cells that were asked for, and how they stand.

    Attributes:
        jobs: of the cells; told: what each costs, by name.
        ended: the names of those that have ended.
        spent: queries of these; whole: queries of all cells.
    """

    jobs: Sequence[Job]
    told: Mapping[str, Cost]
    ended: list[str] = field(default_factory=list, init=False)
    spent: int = field(default=0, init=False)
    whole: int = field(init=False)
    started: float = field(default_factory=lambda: time.monotonic(), init=False)
    _left: tuple[float, float] | None = field(default=None, init=False)
    _under_way: int = field(default=0, init=False)
    _left_behind: dict[Path, tuple[int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.whole = sum(self.told[job.name].queries for job in self.jobs)

    def end(self, name: str) -> None:
        """Note that a cell has ended, and how long the others will take at the speed so far.

        Of the others that were under way at the last look half is taken as done, which they are on average.
        """
        self.ended.append(name)
        self.spent += self.told[name].queries
        now, still = time.monotonic(), len(self.jobs) - len(self.ended)
        self._under_way = min(max(self._under_way - 1, 0), still)
        if self.spent:
            rest = self.whole - self.spent
            done = self.spent + (0.5 * self._under_way * rest / still if still else 0.0)
            self._left = now, (now - self.started) * (self.whole - done) / done

    def left(self) -> float | None:
        """Seconds until all have ended, None as long as none has."""
        if self._left is None:
            return None
        at, left = self._left
        return max(left - (time.monotonic() - at), 0.0)

    def running(self) -> list[Far]:
        """How far each cell is that is under way, in the order of the sweep."""
        gone = set(self.ended)
        there = self._there()
        files = [path_of(job.log) for job in self.jobs if job.name not in gone]
        looked = [read_far(file) for file in files if file in there and _written(file) != self._left_behind.get(file)]
        found = [far for far in looked if far is not None]
        self._under_way = len(found)
        return found

    def begin(self) -> None:
        """Forget what processes told that are dead; what else lies there is passed over until it is told anew."""
        self.forget()
        self._left_behind = {file: _written(file) for file in self._there()}

    def forget(self) -> None:
        """Remove what dead processes told of these cells: a killed sweep, or worker, leaves it."""
        there = self._there()
        for job in self.jobs:
            if (file := path_of(job.log)) in there:
                forget(file)

    def _there(self) -> set[Path]:
        # One look at a folder tells of all cells: of a thousand most have nothing to read.
        return {file for folder in {job.log.parent for job in self.jobs} for file in _files(folder)}

    def words(self) -> str:
        """`3 of 24 cells · 2 running (rates depthwise/int8 40 %; search depthwise/int8 5 %) · about 12 min left`."""
        parts = [f"{count(len(self.ended))} of {plural(len(self.jobs), 'cell')}"]
        if running := self.running():
            shown = "; ".join(map(str, running[:MOST_RUNNING]))
            more = f"; and {len(running) - MOST_RUNNING} more" if len(running) > MOST_RUNNING else ""
            parts.append(f"{count(len(running))} running ({shown}{more})")
        if left := self.left():
            parts.append(f"about {seconds(left)} left")
        return " · ".join(parts)


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # Nobody has written there yet.
        return []


def _written(file: Path) -> tuple[int, int]:
    """What tells one writing of a file from the next: its number and its time; zeros where it is gone."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


@contextmanager
def watching(watch: Watch, screen: Screen) -> Iterator[Stage]:
    """A bar over the cells that is brought up to date while the block waits; a line a minute without a terminal."""
    watch.begin()
    over = threading.Event()
    with screen.stage("cells", total=watch.whole, foretold=True) as stage:

        def look() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the thread that waits for cells.
            said = time.monotonic()
            while not over.wait(LOOK_SECONDS):
                words = watch.words()
                stage.to(watch.spent, words)
                if not screen.console.is_terminal and time.monotonic() - said >= SAY_SECONDS:
                    said = time.monotonic()
                    screen.say(words)

        looker = threading.Thread(target=look, name="watch", daemon=True)
        looker.start()
        try:
            yield stage
        finally:
            over.set()
            looker.join()
            watch.forget()
            stage.to(watch.spent, watch.words())

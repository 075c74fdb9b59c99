"""What a person watching a run sees: a live bar on a terminal, a line a stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@dataclass
class Stage:
    """One bar. `to(done, note)` moves it; `seconds` is its length once it has ended."""

    bar: Progress
    task: TaskID
    title: str
    total: float
    heard: Callable[[str, float], None]
    seconds: float = 0.0

    def to(self, done: float, note: str = "") -> None:
        """Move the bar to `done`, with a few words beside it."""
        self.bar.update(self.task, completed=done, note=note)
        self.heard(self.title, done / self.total if self.total else 0.0)


def unheard(title: str, share: float) -> None:
    """What a screen that nobody else listens to calls."""


@dataclass
class Screen:
    """The terminal of a run, and the seconds of its stages for `timing.json`.

    Attributes:
        heard: called with the title of a stage and the share of it that is done, where it begins and as it goes on.
    """

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)
    heard: Callable[[str, float], None] = unheard

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, markup=False, highlight=False)

    @contextmanager
    def stage(self, title: str, total: float = 1, *, foretold: bool = False) -> Iterator[Stage]:
        """A bar for the length of the block; elsewhere than on a terminal one line when it has ended.

        Args:
            foretold: whether the words beside the bar tell the time that is left, and the bar need not guess at it.
        """
        left = () if foretold else (TextColumn("left"), TimeRemainingColumn())
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            *left,
            TextColumn("{task.fields[note]}", markup=False),
        )
        started = time.perf_counter()
        live = self.console.is_terminal
        with Progress(*columns, console=self.console, disable=not live) as bar:
            stage = Stage(bar, bar.add_task(f"{title:<34}", total=total, note=""), title, total, self.heard)
            self.heard(title, 0.0)
            yield stage
            bar.update(stage.task, completed=total)
            stage.seconds = time.perf_counter() - started
        self.seconds[title] = round(self.seconds.get(title, 0.0) + stage.seconds, 3)
        if not live:
            note = stage.bar.tasks[0].fields["note"]
            self.say(f"{title:<34} {stage.seconds:7.1f} s  {note}")

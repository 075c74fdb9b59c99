"""What an executor is, and what it is told."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from experiments.executors.job import Done, Job

RETRIES = 2
"""How often a cell whose worker was killed is tried again: a machine may fail twice, a cell that kills every worker
must not go on for ever (engineering judgement)."""


@dataclass(frozen=True)
class Asked:
    """What every executor is told.

    Attributes:
        processes: how many cells are carried out at a time.
        folder: for an executor's own files.
        say: called with every line that the user should read.
        address: of a cluster; what it means is the executor's.
        retries: how often a cell whose worker was killed is tried again.
        settings: of the batch system, by its own names.
    """

    processes: int
    folder: Path
    say: Callable[[str], None]
    address: str | None = None
    retries: int = RETRIES
    settings: Mapping[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Carries out jobs and yields each as it ends, in any order; what it started ends with it."""

    def __call__(self, jobs: Sequence[Job], asked: Asked) -> Iterator[Done]: ...


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def died(job: Job, ending: str, deaths: Counter[str], asked: Asked) -> Done | None:
    """What is told of a cell whose worker died; None where it is to be tried again, which is said.

    Args:
        ending: how the worker ended, in words.
        deaths: how often each cell's worker has died before; this death is added.
    """
    deaths[job.name] += 1
    if deaths[job.name] > asked.retries:
        return lost(job, deaths[job.name], ending)
    asked.say(f"cell {job.name}: {ending}; it is tried again")
    return None


def lost(job: Job, times: int, ending: str) -> Done:
    """A cell whose worker was killed once too often."""
    often = "once" if times == 1 else f"{times} times"
    return Done(
        job.name,
        None,
        f"Expected a worker to carry the cell to its end, got {ending}, {often}; see {job.log} for its last words, "
        "give it more memory or fewer neighbours, then start the same sweep again.",
    )


def missing(package: str, executor: str) -> ValueError:
    """What is said where the package of an executor is not installed."""
    return ValueError(
        f"Expected the package {package} for --engine {executor}, got none; install the extra: "
        f'pip install "diverget[{executor}]".'
    )

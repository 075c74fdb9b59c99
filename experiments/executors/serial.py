"""One cell after another, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from experiments.executors.executor import Asked
from experiments.executors.job import Done, Job, carry_out


def serial(jobs: Sequence[Job], asked: Asked) -> Iterator[Done]:
    """Each job in its turn."""
    for job in jobs:
        yield carry_out(job)

"""A job array of a Slurm cluster, written and watched by submitit."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.executors.executor import Asked, died, missing
from experiments.executors.job import Done, Job, carry_out

HERE = "local"
"""The address that stands for this machine: the same way of submitting, without Slurm."""

LOOK_SECONDS = {HERE: 0.2, "slurm": 5.0}
"""Between two looks at the results; a job's end is a file (engineering judgement)."""

HOURS = 12.0
"""Of a job, where `--slurm time=...` does not say otherwise. A cell that needs longer is queued again when its time is
up, and goes on where it stood (engineering judgement)."""

MOST_IN_ARRAY = 1000
"""Jobs of one array: Slurm's default `MaxArraySize` is 1001, the first index it refuses."""

TIMEOUTS = 100
"""How often a job whose time is up is queued again: each time it has come further (engineering judgement)."""


class Resumable:
    """A cell as Slurm carries it out; when its time is up or it must make room, it is queued again."""

    def __call__(self, job: Job) -> Done:
        return carry_out(job)

    def checkpoint(self, job: Job) -> Any:
        """What is queued in place of a job that has to stop: the same, for its run directory says where it stood."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


def slurm(jobs: Sequence[Job], asked: Asked) -> Iterator[Done]:
    """Each job as one of a job array, at most `asked.processes` of them at a time.

    Raises:
        ValueError: the package is not installed, or this machine cannot submit to Slurm.
    """
    executor = submitting(asked, threads=max(job.workers for job in jobs))
    here = asked.address == HERE
    waiting, deaths = deque(jobs), Counter[str]()
    under_way: list[tuple[Job, Any]] = []
    try:
        while waiting or under_way:
            # Slurm holds back what may not start yet; on this machine nobody would.
            room = asked.processes - len(under_way) if here else MOST_IN_ARRAY
            if batch := [waiting.popleft() for _ in range(min(room, len(waiting)))]:
                under_way += zip(batch, executor.map_array(Resumable(), batch), strict=True)
            time.sleep(LOOK_SECONDS[asked.address or "slurm"])
            ended = [(job, submitted) for job, submitted in under_way if submitted.done()]
            for job, submitted in ended:
                under_way.remove((job, submitted))
                if submitted.exception() is None:
                    yield submitted.result()
                    continue
                given_up = died(job, f"job {submitted.job_id} without a result", deaths, asked)
                if given_up is not None:
                    yield given_up
                else:
                    waiting.append(job)
    finally:
        for _, submitted in under_way:
            submitted.cancel()


def submitting(asked: Asked, *, threads: int) -> Any:
    """submitit's executor, told of the array, the cores of a job, its time, and the settings of the command line.

    Raises:
        ValueError: submitit is not installed, an address or a setting means nothing to it, or Slurm is not here.
    """
    try:
        import submitit
    except ImportError:
        raise missing("submitit", "slurm") from None
    if asked.address not in (None, HERE):
        raise ValueError(
            f"Expected no --address beside --engine slurm, or `{HERE}`, got {asked.address!r}; name a partition by "
            "--slurm partition=NAME, and start the sweep on a machine that has `sbatch`."
        )
    try:
        executor = submitit.AutoExecutor(
            folder=asked.folder / "slurm" / "%j", cluster=asked.address or "slurm", slurm_max_num_timeout=TIMEOUTS
        )
    except RuntimeError as error:
        raise ValueError(
            f"Expected the commands of Slurm here, got {error}; start the sweep on a login node, or take --engine "
            "processes."
        ) from None
    own = {"name": "diverget", "cpus_per_task": threads, "timeout_min": int(60 * HOURS)}
    executor.update_parameters(**own)
    if asked.address is None:
        array: dict[str, Any] = {"slurm_array_parallelism": asked.processes}
        given = {f"slurm_{key}": value for key, value in asked.settings.items()}
        try:
            executor.update_parameters(**(array | given))
        except (NameError, TypeError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(
                f"Expected settings that Slurm knows under --slurm, got {', '.join(asked.settings)} ({first}); correct "
                "them."
            ) from None
    return executor

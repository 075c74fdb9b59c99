"""Workers of a dask cluster: of one made here for the length of the sweep, or of one that stands at an address."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from experiments.executors.executor import Asked, lost, missing
from experiments.executors.job import Done, Job, carry_out


def dask(jobs: Sequence[Job], asked: Asked) -> Iterator[Done]:
    """Each job on one of the workers at `asked.address`, or on `asked.processes` of this machine.

    Raises:
        ValueError: the package is not installed, or nothing answers at the address.
    """
    try:
        import dask as settings
        from distributed import Client, KilledWorker, LocalCluster, as_completed
    except ImportError:
        raise missing("distributed", "dask") from None
    with ExitStack() as stack:
        stack.enter_context(
            settings.config.set(
                {
                    "distributed.scheduler.allowed-failures": asked.retries,
                    # A cell holds the interpreter for long, and says nothing meanwhile.
                    "distributed.scheduler.worker-ttl": None,
                    "distributed.admin.tick.limit": "1h",
                }
            )
        )
        if asked.address is None:
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=asked.processes,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = stack.enter_context(Client(cluster))
        else:
            try:
                client = stack.enter_context(Client(asked.address, timeout=30))
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"Expected a dask scheduler at {asked.address}, got none in 30 s ({error}); start one with `dask "
                    "scheduler`, or correct --address."
                ) from None
        submitted = {client.submit(carry_out, job, pure=False): job for job in jobs}
        for future in as_completed(list(submitted)):
            job, reason = submitted[future], future.exception()
            if reason is None:
                yield future.result()
            elif isinstance(reason, KilledWorker):
                yield lost(job, asked.retries + 1, "a worker of the cluster that died")
            else:
                yield Done(
                    job.name,
                    None,
                    f"Expected a result from the cluster, got {type(reason).__name__}: {reason}; look at its workers' "
                    "logs: they need this version of diverget and the same file system.",
                )

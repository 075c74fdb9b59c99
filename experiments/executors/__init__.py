"""Where the cells of a sweep are carried out: one function an executor, found by name in `EXECUTORS`.

    job        Job, Done: one cell to carry out, and how it ended; carry_out does it, here, in this process
    far        how far a cell is, in a file that its executor need not know of
    executor   Executor, Asked: what an executor is, and what it is told
    serial     one after another in this process
    processes  worker processes of this machine
    dask       workers of a dask cluster, here or anywhere
    slurm      a job array of a Slurm cluster

The cell is the grain. Its run directory is all that an executor needs to share, and a cell whose worker is killed goes
on in it where it stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from experiments.executors.dask import dask
from experiments.executors.executor import Asked, Executor
from experiments.executors.job import Done, Job, carry_out
from experiments.executors.processes import processes
from experiments.executors.serial import serial
from experiments.executors.slurm import slurm

__all__ = ["EXECUTORS", "Asked", "Done", "Executor", "Job", "carry_out"]

EXECUTORS: Mapping[str, Executor] = MappingProxyType(
    {"serial": serial, "processes": processes, "dask": dask, "slurm": slurm}
)
"""By the name that the command line gives them."""

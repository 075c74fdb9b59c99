"""One cell of a sweep as a job that any process can do, knowing nothing but the job."""

from __future__ import annotations

import json
import struct
import time
import traceback
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2

from diverget.store import Held
from experiments.bad_input import sentence
from experiments.executors.far import Teller, path_of

HELD_SECONDS = 600.0
"""How long a cell waits for another process that writes into its run directory. On a network file system a lock can
outlive the machine that held it by the length of a lease, which is a minute or two: engineering judgement."""

LOOK_SECONDS = 0.5
"""Between two looks whether a held run directory is free: engineering judgement."""

UNFORESEEN = (
    *(RuntimeError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError),
    *(cv2.error, struct.error, zlib.error),
)
"""What a library raises where it, or this program, is wrong: it ends its cell and no other."""


@dataclass(frozen=True)
class Job:
    """One cell to carry out.

    Attributes:
        name: of the cell in its sweep.
        config: its whole config, as JSON.
        out: the folder of all runs.
        log: the file that gets what the cell has to say, line by line.
        workers: threads that the cell may use.
    """

    name: str
    config: str
    out: Path
    log: Path
    workers: int


@dataclass(frozen=True)
class Done:
    """How a cell ended.

    Attributes:
        name: of the cell.
        met: whether all its criteria were met; None where it did not come to its end.
        message: why it did not; empty where it did.
        held: whether it did not because another process writes into its run directory.
    """

    name: str
    met: bool | None
    message: str = ""
    held: bool = False


def job_of(name: str, config: str, *, out: Path, log: Path, workers: int) -> Job:
    """A job whose paths hold wherever it is done."""
    return Job(name, config, out.resolve(), log.resolve(), workers)


def carry_out(job: Job) -> Done:
    """Carry one cell to its end in this process; what the cell cannot use is told in what comes back.

    A run directory that is complete is left as it is, and one that was begun goes on where it stood. How far it is
    stands in the file `far.path_of` its log as long as it is under way.
    """
    from rich.console import Console

    from experiments.config.schema import RunConfig
    from experiments.progress import Screen
    from experiments.run import run

    job.log.parent.mkdir(parents=True, exist_ok=True)
    teller = Teller(path_of(job.log))

    def work() -> bool:
        with open(job.log, "a", encoding="utf-8") as log:
            screen = Screen(Console(file=log, force_terminal=False, soft_wrap=True), heard=teller.hear)
            config = RunConfig.model_validate({**json.loads(job.config), "workers": job.workers})
            return _once_free(lambda: run(config, job.out, screen))[1]

    try:
        return ended(work, job.name, what="cell", log=job.log)
    finally:
        teller.end()


def ended(work: Callable[[], bool], name: str, *, what: str, log: Path) -> Done:
    """How `work`, which gives whether all criteria were met, ended: what it raises ends it and nothing else.

    Args:
        what: it is, in the message: a cell or a run.
        log: the file that gets the traceback of what nobody foresaw.
    """
    try:
        return Done(name, work())
    except MemoryError:
        return Done(name, None, f"Expected the {what} to fit into memory, got no more of it; give it more.")
    except Held as error:
        return Done(name, None, str(error), held=True)
    except (ValueError, OSError) as error:
        return Done(name, None, sentence(error))
    except UNFORESEEN as error:
        told = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
        with suppress(OSError):  # A full disk keeps the traceback back, and nothing else.
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "a", encoding="utf-8") as file:
                traceback.print_exc(file=file)
        return Done(name, None, f"Expected the {what} to come to its end, got {told}; see {log}.")


def _once_free(work: Callable[[], tuple[Path, bool]]) -> tuple[Path, bool]:
    """The result of `work`, which is tried again as long as another process holds its run directory."""
    until = time.monotonic() + HELD_SECONDS
    while True:
        try:
            return work()
        except Held:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK_SECONDS)

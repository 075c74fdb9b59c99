"""Worker processes of this machine: each carries out cell after cell, and one that dies is replaced."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from experiments.executors.executor import Asked, died
from experiments.executors.job import Done, Job, carry_out


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: Job | None = None


def processes(jobs: Sequence[Job], asked: Asked) -> Iterator[Done]:
    """Each job in one of `asked.processes` worker processes.

    A worker that dies costs its cell a retry and nothing else: no two workers share anything but the disk. When this
    generator is left, by Ctrl-C say, all of them are killed.
    """
    waiting, deaths = deque(jobs), Counter[str]()
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.job for worker in workers):
            while waiting and len(workers) < asked.processes:
                workers.append(_started())
            for worker in workers:
                if waiting and worker.job is None:
                    worker.job = waiting.popleft()
                    _hand(worker, worker.job)
            for pipe in connection.wait([worker.pipe for worker in workers]):
                worker = next(each for each in workers if each.pipe is pipe)
                done = _heard(worker)
                if done is not None:
                    worker.job = None
                    yield done
                    continue
                workers.remove(worker)
                ending = _ending(worker)
                job = worker.job
                if job is None:
                    continue
                given_up = died(job, ending, deaths, asked)
                if given_up is not None:
                    yield given_up
                else:
                    waiting.appendleft(job)
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


def _hand(worker: _Worker, job: Job) -> None:
    try:
        worker.pipe.send(job)
    except BrokenPipeError:
        return  # It died while idle: its end of the pipe says so next.


def _heard(worker: _Worker) -> Done | None:
    """What a worker sent; None where it is dead."""
    try:
        done: Done = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        return None
    return done


def _ending(worker: _Worker) -> str:
    """How a dead worker ended, in words."""
    worker.process.join()
    worker.pipe.close()
    code = worker.process.exitcode or 0
    return f"a worker killed by {signal.Signals(-code).name}" if code < 0 else f"a worker that ended with code {code}"


def _started() -> _Worker:
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=work, args=(theirs,), daemon=True)
    with _without_ctrl_c():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """What is started in the block is deaf to Ctrl-C: the parent alone hears it, and ends its children."""
    resource_tracker.ensure_running()  # Starting it later would make the block hear again.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(pipe: Connection) -> None:
    """The life of a worker: jobs come through `pipe`, and each is answered; it ends with its parent."""
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        job: Job = pipe.recv()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with open(job.log, "ab") as log:
            # What a library prints, or a crash leaves behind, stays off the terminal.
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        pipe.send(carry_out(job))

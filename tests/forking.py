"""Children for the tests that share one import of TensorFlow: a server imports it and forks a process for each job.

`child.run` starts its program, watches, times and kills it as ever; only the program is another: a thin one that hands
its streams to the server, lives as long as the process forked for it, and ends as that one does. The import takes six
of the seven seconds of most jobs. A test that sets `child.program` to `program` has the program of the product.

Run as `python -m tests.forking LISTENER PARENT` it is the server; Linux only.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from diverget.models import child

CLIENT = Path(__file__).with_name("forked.py")
JOBS = (
    "diverget.models.quantise",
    "diverget.models.training",
    "diverget.models.selective",
    "diverget.models.compress",
    "diverget.models.saved_model",
    "tests.diverget.models.networks:make_networks",
    "tests.diverget.models.networks:build_all",
    "tests.diverget.models.networks:twin_all",
    "tests.diverget.models.saved_networks",
    "tests.diverget.models.test_saved_model",
    "tests.diverget.models.volumes",
    "tests.experiments.overflowing",
)
"""Where the names of the jobs begin that import TensorFlow."""

program = child.program


@contextmanager
def forked_children() -> Iterator[None]:
    """Jobs of `JOBS` are forked from a server, which starts with the first of them."""
    if sys.platform != "linux" or find_spec("tensorflow") is None:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="forking-") as folder:
        place = f"{folder}/socket"
        servers: list[subprocess.Popen[bytes]] = []

        def forked(job: child.Job) -> list[str]:
            if not f"{job.__module__}:{job.__qualname__}".startswith(JOBS):
                return program(job)
            if not servers:
                servers.append(_server(place))
            return [sys.executable, "-I", "-S", str(CLIENT), place]

        child.program = forked
        try:
            yield
        finally:
            child.program = program
            for server in servers:
                server.terminate()
                server.communicate()


def _server(place: str) -> subprocess.Popen[bytes]:
    """A server that listens at `place`. It alone holds the listener: where it dies, its clients are refused."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        return subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", __name__, str(listener.fileno()), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child.environment(),
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )


def serve(listener: socket.socket) -> None:
    """Fork a process for each client; kill it when its client is gone, tell the client how it ended."""
    import keras
    import tensorflow

    assert keras.backend.backend() == "tensorflow" and tensorflow.lite
    gc.freeze()
    watch = selectors.DefaultSelector()
    watch.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in watch.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                _, streams, _, _ = socket.recv_fds(client, 1, 3)
                pid = os.fork()
                if pid == 0:
                    _work(streams)
                for stream in streams:
                    os.close(stream)
                ended = os.pidfd_open(pid)
                watch.register(client, selectors.EVENT_READ, (client, ended, pid))
                watch.register(ended, selectors.EVENT_READ, (client, ended, pid))
            elif key.data[0].fileno() >= 0:
                client, ended, pid = key.data
                if key.fileobj is client:
                    os.kill(pid, signal.SIGKILL)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                watch.unregister(client)
                watch.unregister(ended)
                os.close(ended)
                with suppress(OSError):
                    client.send(str(status).encode())
                client.close()


def _work(streams: list[int]) -> None:
    """In the fork: do the job of a client on its streams, as the program of the product does."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    ctypes.CDLL(None).prctl(child.PR_SET_PDEATHSIG, signal.SIGKILL)
    child._die_with = lambda parent: None  # The client is no parent; the server ends this process when it is gone.
    child.main()
    os._exit(1)


if __name__ == "__main__":
    child._die_with(int(sys.argv[2]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(socket.socket(fileno=int(sys.argv[1])))

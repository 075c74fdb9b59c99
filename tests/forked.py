"""The program of a forked child (see forking.py): hand the streams to the server, end as the forked process ends."""

import os
import resource
import signal
import socket
import sys

server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
socket.send_fds(server, [b"x"], [0, 1, 2])
for stream in (0, 1, 2):
    os.close(stream)
code = int(server.recv(16) or 1)
if code < 0:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -code)
os._exit(code)

"""Ctrl-C that is heard wherever it falls."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

AGAIN_SECONDS = 0.2
"""Between an interrupt and the look whether it came through: engineering judgement."""


@contextmanager
def insisting() -> Iterator[None]:
    """Ctrl-C in the block raises KeyboardInterrupt, and raises it again for as long as the block goes on regardless.

    An exception can be lost: Python drops one that is raised in a destructor or in a weak reference's callback, and
    NumPy one that is raised while it looks for `__array_ufunc__` (numpy issue 14801), which for a member of an enum
    runs Python code in every comparison with an array. What cleans up after an interrupt is not interrupted again.
    Where Ctrl-C is ignored, and elsewhere than in the main thread, nothing changes.
    """
    heard = threading.current_thread() is threading.main_thread()
    if not heard or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    alarm: list[tuple[Any, tuple[float, float]]] = []  # As it was before the interrupt took it over.

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not alarm:
            alarm.append((signal.signal(signal.SIGALRM, interrupt), signal.getitimer(signal.ITIMER_REAL)))
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        if number == signal.SIGINT or sys.exc_info()[0] is None:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for handler, timer in alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGINT, signal.default_int_handler)

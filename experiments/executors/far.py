"""How far a cell is: a small file beside its log, written by whoever carries it out and read by whoever waits."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITE_SECONDS = 1.0
"""Between two writings while one stage goes on: a person sees no more, and a network file system is spared
(engineering judgement)."""

MOST_BYTES = 10_000
"""Of a file that is read: one of ours has a hundred."""


@dataclass(frozen=True)
class Far:
    """The stage that a cell is in, and the share of it that is done, 0 where that is not known."""

    stage: str
    share: float

    def __str__(self) -> str:
        return f"{self.stage} {100 * self.share:.0f} %" if self.share else self.stage


def path_of(log: Path) -> Path:
    """The file of the cell whose log is `log`. It lies outside the run directory, whose bytes it must not touch."""
    return log.with_suffix(".json")


@dataclass
class Teller:
    """Keeps the file at `path` as it hears of stages. What cannot be written is not told, and the cell goes on."""

    path: Path
    _owner: str = field(default_factory=lambda: f"{platform.node()} {os.getpid()} {secrets.token_hex(4)}", init=False)
    _stage: str = field(default="", init=False)
    _written: float = field(default=0.0, init=False)

    def hear(self, stage: str, share: float) -> None:
        """Tell of a stage: at once where it begins, then once in `WRITE_SECONDS`."""
        now = time.monotonic()
        if stage == self._stage and now - self._written < WRITE_SECONDS:
            return
        self._stage, self._written = stage, now
        # Another sweep may have the same cell: each writes a file of its own before it takes the name.
        temporary = self.path.with_name(f".{self.path.name}.{self._owner.replace(' ', '.')}.tmp")
        told = {"stage": " ".join(stage.split()), "share": share, "owner": self._owner}
        with suppress(OSError):
            temporary.write_text(json.dumps(told), encoding="utf-8")
            os.replace(temporary, self.path)

    def end(self) -> None:
        """Tell nothing more: the cell has ended. What another process told of it stays."""
        if _content(self.path).get("owner") == self._owner:
            _remove(self.path)


def forget(path: Path) -> None:
    """Remove what was told at `path`, unless a process tells it that lives, or may live on another machine."""
    content = _content(path)
    node, _, rest = str(content.get("owner", "")).partition(" ")
    number = rest.partition(" ")[0]
    if content and not (number.isdecimal() and (node != platform.node() or _lives(int(number)))):
        _remove(path)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # It is another user's.
        return True
    return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _content(path: Path) -> dict[str, Any]:
    """What stands at `path`; empty where that is nothing, or nothing that can be read."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_far(path: Path) -> Far | None:
    """What was told last at `path`; None where that is nothing, or nothing that can be read."""
    found = _content(path)
    try:
        return Far(str(found["stage"])[:60], min(max(float(found["share"]), 0.0), 1.0))
    except (ValueError, LookupError, TypeError):
        return None

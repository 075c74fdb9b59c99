"""How far a cell is: a small file beside its log, written by whoever carries it out and read by whoever waits."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

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
    _stage: str = field(default="", init=False)
    _written: float = field(default=0.0, init=False)

    def hear(self, stage: str, share: float) -> None:
        """Tell of a stage: at once where it begins, then once in `WRITE_SECONDS`."""
        now = time.monotonic()
        if stage == self._stage and now - self._written < WRITE_SECONDS:
            return
        self._stage, self._written = stage, now
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with suppress(OSError):
            temporary.write_text(json.dumps({"stage": " ".join(stage.split()), "share": share}), encoding="utf-8")
            os.replace(temporary, self.path)

    def end(self) -> None:
        """Tell nothing more: the cell has ended."""
        forget(self.path)


def forget(path: Path) -> None:
    """Remove what was told at `path`."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def read_far(path: Path) -> Far | None:
    """What was told last at `path`; None where that is nothing, or nothing that can be read."""
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(MOST_BYTES))
        return Far(str(found["stage"])[:60], min(max(float(found["share"]), 0.0), 1.0))
    except (OSError, ValueError, LookupError, TypeError):
        return None

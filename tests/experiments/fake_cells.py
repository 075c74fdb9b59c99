"""Cells of a sweep as complete runs, made of the fake run without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diverget.store import Store
from experiments.gate import conclude
from experiments.sweep import Cell
from tests.experiments import fake_run


def complete(cell: Cell, out: Path, **changes: Any) -> Path:
    """The run directory of `cell` under `out`, judged by its criteria and without a real report; `changes` as in
    `fake_run.build`."""
    run = fake_run.build(out, **{"evaluations": False, "findings": 3, "controls": False, **changes})
    run = run.rename(out / cell.folder)
    manifest = json.loads((run / "manifest.json").read_text())
    config = cell.config.effective()
    # The fake run has no more than these stages.
    config |= {"attribution": False, "gaps": None, "patchwise": None, "rates": {**config["rates"], "doses": []}}
    manifest |= {"digest": cell.digest, "config": config}
    (run / "manifest.json").write_text(json.dumps(manifest))
    conclude(Store(run), cell.config.asked_criteria)
    (run / "report.html").write_text("stands for a report")
    return run

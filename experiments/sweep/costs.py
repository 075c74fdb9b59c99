"""What the cells of a sweep would cost; their data is looked at on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.store import Store
from experiments.check import FAST, SLOW, queries, seconds_to_distort
from experiments.config.parts import named
from experiments.config.schema import RunConfig
from experiments.data import Material, check_material, gather
from experiments.progress import Screen
from experiments.sweep import BEGUN, COMPLETE, WAITING, Cell, Sweep, cells_in_words
from experiments.wording import count

SAY_SECONDS = 10.0
"""Between two lines about how many cells are looked at, where there is no terminal (engineering judgement)."""

Looked = Callable[[int, int], None]
"""Called with how many cells are looked at, and of how many."""


@dataclass(frozen=True)
class Cost:
    """What a cell would cost: queries, and seconds of a guess at the speed of its networks."""

    queries: int
    seconds: float


def state(cell: Cell, out: Path) -> str:
    """What the disk says of a cell."""
    store = Store(out / cell.folder)
    # A run that was killed between its summary and its report is carried out again, which writes the report alone.
    whole = store.has("summary.json") and store.has("report.html")
    return COMPLETE if whole else BEGUN if store.has("manifest.json") else WAITING


@contextmanager
def looking(screen: Screen) -> Iterator[Looked]:
    """A bar while cells are looked at; elsewhere than on a terminal a line now and then."""
    said = time.monotonic()
    with screen.stage("data") as stage:

        def looked(done: int, whole: int) -> None:
            nonlocal said
            words = f"checked {count(done)} of {count(whole)}"
            stage.to(done / whole, words)
            if not screen.console.is_terminal and time.monotonic() - said > SAY_SECONDS and done < whole:
                said = time.monotonic()
                screen.say(words)

        yield looked


def costs(sweep: Sweep, out: Path, *, workers: int, looked: Looked = lambda done, whole: None) -> dict[str, Cost]:
    """The cost of each cell that is not complete, by its name; its data is looked at on the way, each source once.

    Raises:
        ValueError, OSError: data that cannot be used; all problems are told, with their cells.
    """
    sources: dict[str, Material | str] = {}
    slowness: dict[str, float] = {}
    found: dict[str, Cost] = {}
    problems: dict[str, list[str]] = {}
    cells = [cell for cell in sweep.cells if state(cell, out) != COMPLETE]
    for number, cell in enumerate(cells, start=1):
        try:
            material = _material(cell.config, sources)
            found[cell.name] = _cost(cell.config, material, slowness, workers)
        except (ValueError, OSError) as error:
            problems.setdefault(str(error), []).append(cell.name)
        looked(number, len(cells))
    if problems:
        raise ValueError("\n".join(f"{cells_in_words(names)}: {text}" for text, names in problems.items()))
    return found


def _material(config: RunConfig, sources: dict[str, Material | str]) -> Material:
    """The data of a config, from `sources` where an earlier cell has the same."""
    told = config.effective()
    source = json.dumps([told["scene"], told["images"], told["split"]], sort_keys=True)
    if source not in sources:
        try:
            sources[source] = gather(config)
        except (ValueError, OSError) as error:
            sources[source] = str(error)
    found = sources[source]
    if isinstance(found, str):
        raise ValueError(found)
    check_material(config, found)
    for reference in config.references:
        if reference.zoo:
            named("an architecture", ARCHITECTURES, reference.zoo).check_patch(found.patch_shape)
    return found


def _cost(config: RunConfig, material: Material, slowness: dict[str, float], workers: int) -> Cost:
    told = config.effective()
    kind = json.dumps([told[key] for key in ("scene", "images", "relations", "tier")], sort_keys=True)
    if kind not in slowness:
        slowness[kind] = seconds_to_distort(config, material)
    volumes = [architecture.name for architecture in ARCHITECTURES if architecture.layout == "hwb1"]
    speed = SLOW if any(entry.zoo in volumes for entry in config.references) else FAST
    total = sum(queries(config, material).values())
    return Cost(total, total * (1 / speed + slowness[kind] / 2 / workers))

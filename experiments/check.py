"""What a config means and would cost, without training or running anything."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.patches import draw_field, fields_under
from diverget.randomness import Purpose, generator
from experiments.config.parts import named
from experiments.config.schema import RunConfig
from experiments.data import Material, check_material, describe, gather
from experiments.named_networks import check_networks, refuse_networks
from experiments.run import directory
from experiments.sections.arms import ways
from experiments.stages import CONTROL_SHARE
from experiments.stages.doses import queries_of
from experiments.stages.gaps import most_queries
from relations import distort

FAST, SLOW = 9000, 330
"""Queries a second of the bare networks on two cores (`make bench`): a small 2-D network, and HybridSN with its 3-D
convolutions in float."""

TIMED = 4
"""Patches that are distorted to tell how long that takes."""

WIDE = 4
"""Surroundings so many times as wide as the patch are worth a note."""


def estimate(config: RunConfig, out: Path) -> Iterator[str]:
    """Lines that tell the resolved config, the split, and the queries of each stage.

    Raises:
        ValueError, OSError: the config or its data cannot be used.
    """
    place = directory(config, out)
    refuse_networks(config)
    yield json.dumps(config.effective(), indent=1, ensure_ascii=False)
    material = gather(config)
    check_material(config, material)
    check_networks(config, material)
    told = describe(material)
    for reference in config.references:
        if reference.zoo:
            named("an architecture", ARCHITECTURES, reference.zoo).check_patch(material.patch_shape)
    yield f"data: {told['data']}; {told['split']}"
    for note in told["notes"]:
        yield f"note: {note}"
    yield f"run directory: {place}" + (" (begun: the run would go on)" if place.exists() else "")
    pairs, controls = _sides(config)
    space = config.space_in(config.tier)
    yield (
        f"patches assessed: {told['assessed']}; pairs: {pairs}; controls: {controls}; space: {space.dimensions} "
        "dimensions"
    )
    if moved := ways(config.effective()):
        yield moved
    asked = queries(config, material)
    total = sum(asked.values())
    yield f"queries: {', '.join(f'{stage} {n:,}' for stage, n in asked.items())}; in all {total:,}, and shrinking"
    each = seconds_to_distort(config, material)
    side, wide = material.patch_shape[0], material.patch_shape[0] + 2 * sum(space.margins(material.patch_shape[:2]))
    if wide > WIDE * side:
        yield (
            f"note: the chain looks at {wide} × {wide} pixels around each patch of {side} × {side}; fewer spatial "
            "relations, or narrower bounds of `zoom`, make it much faster"
        )
    yield f"distorting a patch takes {1000 * each:.2g} ms here"
    fast, slow = (total * (1 / speed + each / 2 / config.workers) / 60 for speed in (FAST, SLOW))
    yield (
        f"with {config.workers} workers about {fast:.1f} minutes with a small 2-D network, {slow:.0f} minutes with "
        f"HybridSN; training and conversion once, then from {out / 'cache'}"
    )


def _sides(config: RunConfig) -> tuple[int, int]:
    """How many pairs are under test, and how many controls."""
    pairs = len(config.references) * len(config.quantisations)
    return pairs, len(config.references) if config.control else 0


def queries(config: RunConfig, material: Material) -> dict[str, int]:
    """The queries of each stage, by the words that tell of it."""
    pairs, controls = _sides(config)
    spaces = len(config.rates.tiers) * (len(config.relations) + 1)
    rated, mine = len(material.rated), config.patchwise
    courses = 0 if mine is None else len(config.rungs) * (mine.repeats * pairs + controls)
    return {
        "baseline": 2 * len(material.baseline) * (pairs + controls),
        "rates": 2 * spaces * rated * (config.rates.draws * pairs + controls),
        "at severities": (
            pairs * queries_of(config, rated, control=False) + controls * queries_of(config, rated, control=True)
        ),
        "gaps at most": most_queries(config, len(material.assessed)) * (pairs + controls),
        "search": int(config.search.budget * (pairs + CONTROL_SHARE * controls)),
        "patch by patch at most": (
            0 if mine is None else sum(map(mine.budget_of, mine.arms)) * len(material.assessed) * courses
        ),
    }


def seconds_to_distort(config: RunConfig, material: Material) -> float:
    """Seconds that one patch takes under a random chain of the space, one query of two being distorted."""
    space = config.space_in(config.tier)
    patches = material.patches(material.assessed[:TIMED], space)
    rows = np.arange(len(patches))
    margins = space.margins(material.patch_shape[:2])
    drawn = [draw_field(slot.relation, patches, seed=config.seed) for slot in space.slots]
    fields = fields_under(drawn, margins, patches, rows)
    u = generator(config.seed, Purpose.RATE).random((len(rows), space.dimensions))
    chain, windows = space.chain(space.decode(u)), patches.windows()
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        distort(windows, chain, fields, material.sensor, margins=margins)
        taken.append(time.perf_counter() - started)
    return min(taken) / len(rows)

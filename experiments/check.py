"""What a config means and would cost, without training or running anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from diverget.models.zoo import ALL as ARCHITECTURES
from experiments.data import check_material, describe, gather
from experiments.parts import named
from experiments.run import directory
from experiments.schema import RunConfig
from experiments.stages import CONTROL_SHARE

FAST, SLOW = 4000, 270
"""Queries a second on two cores as `make bench` measures them: a small 2-D network on eight relations over 121
bands, and HybridSN with its 3-D convolutions in float."""


def estimate(config: RunConfig, out: Path) -> Iterator[str]:
    """Lines that tell the resolved config, the split, and the queries of each stage.

    Raises:
        ValueError, OSError: the config or its data cannot be used.
    """
    place = directory(config, out)
    yield json.dumps(config.effective(), indent=1, ensure_ascii=False)
    material = gather(config)
    check_material(config, material)
    told = describe(material)
    for reference in config.references:
        if reference.zoo:
            named("an architecture", ARCHITECTURES, reference.zoo).check_patch(material.size)
    yield f"data: {told['data']}; {told['split']}"
    for note in told["notes"]:
        yield f"note: {note}"
    yield f"run directory: {place}" + (" (begun: the run would go on)" if place.exists() else "")
    patches = told["assessed"]
    spaces = len(config.rates.tiers) * (len(config.relations) + 1)
    pairs = len(config.references) * len(config.quantisations)
    controls = len(config.references) if config.control else 0
    baseline = 2 * len(material.baseline) * (pairs + controls)
    rates = 2 * spaces * len(material.rated) * (config.rates.draws * pairs + controls)
    search = int(config.search.budget * (pairs + CONTROL_SHARE * controls))
    dimensions = config.space_in(config.tier).dimensions
    yield f"patches assessed: {patches}; pairs: {pairs}; controls: {controls}; space: {dimensions} dimensions"
    total = baseline + rates + search
    yield f"queries: baseline {baseline:,}, rates {rates:,}, search {search:,}; in all {total:,}, and shrinking"
    yield (
        f"on two cores about {total / FAST / 60:.1f} minutes with a small 2-D network, "
        f"{total / SLOW / 60:.0f} minutes with HybridSN; training and conversion once, then from {out / 'cache'}"
    )

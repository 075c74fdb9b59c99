"""What the repairs of a pair are made from and judged on: its findings, held-out patches, random draws."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from diverget.arms import ARMS
from diverget.findings import inputs
from diverget.lockstep import Trace, eligible, run
from diverget.models.model import Model
from diverget.models.tflite import TFLiteModel
from diverget.patches import draw_field
from diverget.problem import Problem, pose
from diverget.randomness import Purpose, generator, integer, key
from diverget.rays import along, reach
from diverget.repair import held_out
from experiments.record.contents import FINDING_ARRAYS
from experiments.stages import Run

PART = 256
"""Patches that are distorted or predicted at a time."""

DRAWS = 1000
"""Random draws on which new deviations are counted, at most: a rate of 1 % is then told to 0.6 points at 95 %."""

HELD_BYTES = 2**28
"""Bytes of raw draws held at a time (engineering judgement: beside the models they fit a small machine)."""

BUDGET = 200
"""Queries a patch of the fresh search: what the per-patch search of a run has by default."""

ARM = "boundary"
"""The arm of the fresh search: the one that finds most."""


@dataclass(frozen=True)
class Subject:
    """A pair whose quantised side is to be mended."""

    name: str
    reference: TFLiteModel
    quantised: TFLiteModel


@dataclass(frozen=True, eq=False)
class Ground:
    """What the repairs of one pair share.

    Attributes:
        rows: the confirmed findings of the pair, f of them.
        follow_ups, sources: (f, h, w, b) raw.
        held: (f,) bool, the findings that no repair sees.
        kept_out: ids of the assessed patches that no repair sees.
        clean: ids of the clean patches of the baseline that lie in no block of a repair.
        rated: ids of patches of such blocks, on which draws are judged.
        blocks: of the data in the repair part and held out, how many.
    """

    asked: Run
    pair: Subject
    rows: list[dict[str, Any]]
    follow_ups: np.ndarray
    sources: np.ndarray
    held: np.ndarray
    kept_out: np.ndarray
    clean: np.ndarray
    rated: np.ndarray
    blocks: tuple[int, int]

    @property
    def label(self) -> str:
        """The folder of the pair below `repair/`."""
        return self.pair.quantised.name

    @cached_property
    def drawn(self) -> np.ndarray:
        """(m, h, w, b) raw, random draws within the limits on the patches `rated`."""
        size = 4 * int(np.prod(self.asked.material.patch_shape))
        count = max(1, min(DRAWS, HELD_BYTES // size) // len(self.rated))
        return drawn(self.asked, self.pair, self.rated, count=count, name="judged")


@dataclass(frozen=True, eq=False)
class Said:
    """Probabilities (n, k) that a model gives the follow-ups of the findings, the clean patches, the draws."""

    findings: np.ndarray
    clean: np.ndarray
    drawn: np.ndarray


@dataclass(frozen=True, eq=False)
class Searched:
    """A fresh search for deviations from the reference.

    Attributes:
        members: positions among the held-out patches of those that took part.
        trace: of those on whose source the two models clearly agree; on the others they part, or tie, without any
            distortion.
    """

    members: np.ndarray
    trace: Trace


def ground(asked: Run, pair: Subject, rows: list[dict[str, Any]]) -> Ground:
    """The ground of a pair with its confirmed findings.

    Raises:
        ValueError: the findings lie in one block, so that none could be held out; a file of them is damaged.
    """
    sources, follow_ups = inputs([asked.store.read_arrays(row["file"], having=FINDING_ARRAYS) for row in rows])
    material, seed = asked.material, asked.config.seed
    ids = material.assessed
    # `patch` is the place among the assessed ones.
    place = np.array([row["patch"] for row in rows])
    blocks = material.split.blocks[ids]
    weights = np.bincount(place, minlength=len(ids))
    rng = generator(seed, Purpose.REPAIR, key("split"), key(pair.name))
    out = held_out(blocks, weights, rng)
    if not out[place].any() or out[place].all():
        raise ValueError(
            f"Expected findings of {pair.name} in two blocks at least, to judge a repair on others than it was made "
            f"from, got {len(rows)} in one; search more patches."
        )
    repaired_blocks = np.unique(blocks[~out])

    def untouched(some: np.ndarray) -> np.ndarray:
        return some[~np.isin(material.split.blocks[some], repaired_blocks)]

    clean, rated = untouched(material.baseline), untouched(material.rated)
    return Ground(
        asked=asked,
        pair=pair,
        rows=rows,
        follow_ups=follow_ups,
        sources=sources,
        held=out[place],
        kept_out=ids[out],
        clean=clean if len(clean) else ids[out],
        rated=rated if len(rated) else ids[out],
        blocks=(len(repaired_blocks), len(np.unique(blocks[out]))),
    )


def drawn(asked: Run, pair: Subject, ids: np.ndarray, *, count: int, name: str, most: float = 1.0) -> np.ndarray:
    """Random draws of the run's space, raw (count · n, h, w, b): random rays from neutral and on each a random dose
    within the limits, `count` for every patch of `ids`, with noise of their own.

    Args:
        name: tells streams apart.
        most: share of what the limits allow that a dose reaches at most.
    """
    seed = integer(asked.config.seed, Purpose.REPAIR, key(name))
    rng = generator(asked.config.seed, Purpose.REPAIR, key(name), key(pair.name))
    found = []
    for start in range(0, len(ids), PART):
        problem = posed(asked, pair.reference, pair.reference, ids[start : start + PART])
        every = np.arange(len(problem.patches))
        for number in range(count):
            fields = tuple(
                draw_field(slot.relation, problem.patches, seed=seed, draw=number) for slot in problem.space.slots
            )
            one = replace(problem, fields=fields)
            u = rng.random((len(every), one.space.dimensions))
            dose = most * reach(one, u, every) * (1 - rng.random(len(every)))
            found.append(one.follow_ups(one.space.decode(along(one.space, u, dose)), every))
    return np.concatenate(found)


def posed(asked: Run, reference: Model, other: Model, ids: np.ndarray) -> Problem:
    """The problem of any two models over the patches `ids` on the run's own rung, without objectives."""
    space = asked.config.space_in(asked.config.own_rung.tier)
    return pose(
        reference,
        other,
        asked.material.patches(ids, space),
        space,
        asked.material.sensor,
        objectives=(),
        limits=asked.config.own_rung.bounded(),
        pool=asked.pool,
        seed=asked.config.seed,
    )


def said(pool: ThreadPoolExecutor, model: Model, x: np.ndarray) -> np.ndarray:
    """Probabilities (n, k) of raw patches (n, h, w, b)."""
    chunks = [x[start : start + 64] for start in range(0, len(x), 64)]
    return np.concatenate(list(pool.map(model.predict_proba, chunks)))


def said_of_all(ground: Ground, model: Model) -> Said:
    """What a model says of the ground; of the clean patches only a part is ever held raw."""
    pool, material = ground.asked.pool, ground.asked.material
    ids = ground.clean
    parts = [ids[start : start + PART] for start in range(0, len(ids), PART)]
    return Said(
        findings=said(pool, model, ground.follow_ups),
        clean=np.concatenate([said(pool, model, material.patches(part).source()) for part in parts]),
        drawn=said(pool, model, ground.drawn),
    )


def search(ground: Ground, model: Model, members: np.ndarray | None) -> Searched:
    """A search for what `model` reveals in the place of the quantised one, on held-out patches, from another seed.

    Args:
        members: who takes part, positions among `kept_out`; None for all that `model` is eligible on.
    """
    asked = ground.asked
    problem = posed(asked, ground.pair.reference, model, ground.kept_out)
    able = eligible(problem, labelled=asked.config.patchwise.labelled if asked.config.patchwise is not None else True)
    chosen = able if members is None else np.intersect1d(able, members)
    arm = next(arm for arm in ARMS if arm.name == ARM)
    rng = generator(asked.config.seed, Purpose.REPAIR, key("search"), key(ground.pair.name))
    trace = run(problem, arm.arm, members=chosen, budget=BUDGET, rng=rng)
    return Searched(able if members is None else members, trace)

"""The stage in which every patch is a search of its own, by one or several arms: `patchwise.parquet`."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np

from diverget import lockstep, tables
from diverget.arms import NamedArm
from diverget.lockstep import Asked, Until
from diverget.outcome import Evidence
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from experiments.pairs import Pair, Subjects
from experiments.stages import Run

EVIDENCE = ("reference", "quantised", "severity", "psnr", "spectral_angle", "ssim", "within")
"""What is kept of a round; the rest of the evidence is known from the sources."""


def patchwise(asked: Run, subjects: Subjects) -> None:
    """Run every arm of the config on every pair, round by round; what was looked at before is read, not asked again."""
    config, store = asked.config.patchwise, asked.store
    if config is None or store.has("patchwise.parquet"):
        return
    rows: list[dict[str, Any]] = []
    for number, pair in enumerate(subjects.pairs):
        problem = asked.pose(pair, asked.material.assessed)
        members = lockstep.eligible(problem, labelled=config.labelled)
        for arm in config.chosen:
            name = f"patchwise/{number:02d}-{arm.name}.parquet"
            if not store.has(name):
                store.write_table(name, _searched(asked, number, pair, problem, members, arm), tables.PATCHWISE)
            rows += store.read_table(name)
    store.write_table("patchwise.parquet", rows, tables.PATCHWISE)


def _searched(
    asked: Run, number: int, pair: Pair, problem: Problem, members: np.ndarray, arm: NamedArm
) -> list[dict[str, Any]]:
    config = asked.config.patchwise
    assert config is not None
    started = time.perf_counter()
    with asked.screen.stage(f"patches {pair.name}", total=max(1, config.budget // lockstep.QUERIES)) as stage:

        def look(turn: int, wanted: Asked) -> Evidence:
            stage.to(min(turn, config.budget // lockstep.QUERIES), f"{arm.name}, {len(wanted.patches)} follow-ups")
            return _looked(asked, f"patchwise/{number:02d}-{arm.name}/{turn:05d}.npz", problem, members, wanted)

        trace = lockstep.run(
            problem,
            arm.make(),
            members=members,
            budget=config.budget,
            rng=generator(asked.config.seed, Purpose.PATCHWISE, key(pair.name), key(arm.name)),
            until=Until(config.until),
            look=look,
        )
        found = int((trace.revealed != lockstep.NEVER).sum())
        stage.to(config.budget // lockstep.QUERIES, f"{arm.name}: {found} of {len(members)} revealed")
    asked.store.write_json(
        f"patchwise/{number:02d}-{arm.name}.json",
        {"pair": pair.name, "arm": arm.name, "rounds": trace.rounds, "seconds": time.perf_counter() - started},
    )
    return [
        {
            "pair": pair.name,
            "control": pair.control,
            "arm": arm.name,
            "natural": arm.natural,
            "budget": config.budget,
            "patch": int(members[i]),
            "spent": int(trace.spent[i]),
            "apart": _or_none(trace.apart[i]),
            "revealed": _or_none(trace.revealed[i]),
            "severity": float(trace.severity[i]) if np.isfinite(trace.severity[i]) else None,
            "invalid": int(trace.invalid[i]),
        }
        for i in range(len(members))
    ]


def _looked(asked: Run, name: str, problem: Problem, members: np.ndarray, wanted: Asked) -> Evidence:
    """The evidence of one round, from the store where it is there.

    Raises:
        ValueError: what is stored is not of the rows that are asked for now.
    """
    patches = members[wanted.patches]
    points = np.ascontiguousarray(wanted.u if wanted.u is not None else wanted.x)
    mark = np.frombuffer(hashlib.sha256(points.tobytes() + patches.tobytes()).digest(), dtype=np.uint8)
    if asked.store.has(name):
        kept = asked.store.read_arrays(name)
        if not np.array_equal(kept["mark"], mark):
            raise ValueError(
                f"Expected the follow-ups that the arm asks for now in {asked.store.path(name)}, got others: the run "
                "was begun with another version of a library (see manifest.json); remove its folder and start again."
            )
        return Evidence(
            reference_source=problem.reference_source[patches],
            quantised_source=problem.quantised_source[patches],
            reference_step=problem.reference.output_step,
            quantised_step=problem.quantised.output_step,
            **{column: kept[column] for column in EVIDENCE},
        )
    seen = lockstep.seen_by_models(problem, members, wanted)
    asked.store.write_arrays(name, {"mark": mark, **{column: getattr(seen, column) for column in EVIDENCE}})
    return seen


def _or_none(queries: np.int64) -> int | None:
    return None if queries == lockstep.NEVER else int(queries)

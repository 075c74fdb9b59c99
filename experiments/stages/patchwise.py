"""The stage in which every patch is a search of its own, by one or several arms: `patchwise.parquet`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from diverget import lockstep, tables
from diverget.arms import NamedArm
from diverget.lockstep import Asked, Trace, Until
from diverget.outcome import Evidence
from diverget.problem import Problem
from diverget.randomness import Purpose, generator, key
from diverget.space import Space, rows_of
from experiments.config.methods import RungConfig
from experiments.pairs import Pair, Subjects
from experiments.stages import Run

EVIDENCE = ("reference", "quantised", "severity", "psnr", "spectral_angle", "ssim", "within", "shown")
"""What is kept of a round; the rest of the evidence is known from the sources."""


@dataclass
class Clock:
    """The seconds of a course, its arm's own included, over all sessions; those of a session run from `since`."""

    seconds: float
    since: float

    def lap(self) -> float:
        """The seconds since the last lap, which are added."""
        now = time.perf_counter()
        past, self.since = now - self.since, now
        self.seconds += past
        return past

    def kept(self, seconds: float) -> None:
        """Add seconds of an earlier session; what has passed in this one to read them does not count."""
        self.seconds, self.since = self.seconds + seconds, time.perf_counter()


@dataclass(frozen=True)
class Course:
    """One course of one arm over all patches of a pair, on one rung of the ladder.

    Attributes:
        name: of its files below `patchwise/`.
    """

    name: str
    pair: Pair
    rung: RungConfig
    arm: NamedArm
    repeat: int


def patchwise(asked: Run, subjects: Subjects) -> None:
    """Run every arm of the config on every pair and rung, as often as asked, round by round."""
    config, store = asked.config.patchwise, asked.store
    if config is None or store.has("patchwise.parquet"):
        return
    rows: list[dict[str, Any]] = []
    timing: list[dict[str, Any]] = []
    for number, pair in enumerate(subjects.pairs):
        for step, rung in enumerate(asked.config.rungs):
            courses = list(_courses(asked, number, pair, step, rung))
            if not all(store.has(f"{course.name}.parquet") for course in courses):
                problem = asked.pose(pair, asked.material.assessed, rung)
                members = lockstep.eligible(problem, labelled=config.labelled)
                for course in courses:
                    if not store.has(f"{course.name}.parquet"):
                        _carry_out(asked, course, problem, members)
            for course in courses:
                store.remove(course.name)  # where a run was killed after the table was written
                rows += store.read_table(f"{course.name}.parquet")
                timing.append(store.read_json(f"{course.name}.json"))
    store.write_json("patchwise.json", timing)
    store.write_table("patchwise.parquet", rows, tables.PATCHWISE)


def _courses(asked: Run, number: int, pair: Pair, step: int, rung: RungConfig) -> Iterator[Course]:
    """The courses of a pair on a rung; one is enough for the control, in which nothing may be found."""
    config = asked.config.patchwise
    assert config is not None
    for arm in config.chosen:
        for repeat in range(1 if pair.control else config.repeats):
            yield Course(f"patchwise/{number:02d}-{step}-{arm.name}-{repeat}", pair, rung, arm, repeat)


def _carry_out(asked: Run, course: Course, problem: Problem, members: np.ndarray) -> None:
    config, store = asked.config.patchwise, asked.store
    assert config is not None
    pair, arm = course.pair, course.arm
    budget = config.budget_of(arm.name)
    until = Until(config.until)
    if until is Until.SPENT and not arm.natural:
        until = Until.REVEALED  # what the rivals do has no severity that could be made smaller
    clock = Clock(0.0, time.perf_counter())
    with asked.screen.stage(f"patches {pair.name}", total=max(1, budget // lockstep.QUERIES)) as stage:

        def look(turn: int, wanted: Asked) -> Evidence:
            stage.to(min(turn, budget // lockstep.QUERIES), f"{arm.name}, {len(wanted.patches)} follow-ups")
            return _looked(asked, f"{course.name}/{turn:05d}.npz", problem, members, wanted, clock)

        trace = lockstep.run(
            problem,
            arm.arm,
            members=members,
            budget=budget,
            rng=generator(
                asked.config.seed,
                Purpose.PATCHWISE,
                key(pair.name),
                key(arm.name),
                key(course.rung.name),
                course.repeat,
            ),
            until=until,
            look=look,
        )
        clock.lap()
        found = int((trace.revealed != lockstep.NEVER).sum())
        stage.to(budget // lockstep.QUERIES, f"{course.rung.name}, {arm.name}: {found} of {len(members)} revealed")
    told = {"pair": pair.name, "rung": course.rung.name, "arm": arm.name, "repeat": course.repeat}
    store.write_json(
        f"{course.name}.json", {**told, "seconds": clock.seconds, "rounds": trace.rounds, "rows": trace.rows}
    )
    same = {**told, "control": pair.control, "natural": arm.natural, "budget": budget}
    own = problem.reference_source[members].argmax(axis=1)
    store.write_table(f"{course.name}.parquet", _rows(same, trace, own, problem.space), tables.PATCHWISE)
    store.remove(course.name)


def _rows(same: dict[str, Any], trace: Trace, own: np.ndarray, space: Space) -> list[dict[str, Any]]:
    """The rows of `tables.PATCHWISE`: `same` for every patch, then what came of each."""
    n = len(trace.members)
    milder: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    for patch, queries, severity in zip(*vars(trace.milder).values(), strict=True):
        milder[patch].append({"queries": int(queries), "severity": float(severity)})
    front: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    for patch, severity, divergence in zip(*vars(trace.front).values(), strict=True):
        front[patch].append({"severity": float(severity), "divergence": float(divergence)})
    kinds: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    values = space.decode(trace.kinds.u)
    for row, patch in enumerate(trace.kinds.patches):
        chosen = {
            slot.relation.name: {name: float(column[0]) for name, column in params.items()}
            for slot, params in zip(space.slots, rows_of(values, np.array([row])), strict=True)
        }
        kinds[patch].append(
            {
                "quantised_class": int(trace.kinds.classes[row]),
                "relation": space.slots[trace.kinds.slots[row]].relation.name,
                "severity": float(trace.kinds.severity[row]),
                "values": json.dumps(chosen),
            }
        )
    return [
        {
            **same,
            "patch": int(trace.members[i]),
            "own": int(own[i]),
            "spent": int(trace.spent[i]),
            "apart": _or_none(trace.apart[i]),
            "revealed": _or_none(trace.revealed[i]),
            "severity": float(trace.severity[i]) if np.isfinite(trace.severity[i]) else None,
            "psnr": float(trace.psnr[i]) if np.isfinite(trace.psnr[i]) else None,
            "invalid": int(trace.invalid[i]),
            "milder": milder[i],
            "front": front[i],
            "kinds": kinds[i],
        }
        for i in range(n)
    ]


def _looked(asked: Run, name: str, problem: Problem, members: np.ndarray, wanted: Asked, clock: Clock) -> Evidence:
    """The evidence of one round, from the store where it is there; `clock` is told what it took.

    Raises:
        ValueError: what is stored is not of the rows that are asked for now.
    """
    patches = members[wanted.patches]
    points = np.ascontiguousarray(wanted.u if wanted.u is not None else wanted.x)
    told = points.tobytes() + patches.tobytes() + bytes([wanted.refuse])
    if wanted.halves is not None:
        told += wanted.halves.tobytes()
    mark = np.frombuffer(hashlib.sha256(told).digest(), dtype=np.uint8)
    if asked.store.has(name):
        kept = asked.store.read_arrays(name)
        if not np.array_equal(kept["mark"], mark):
            raise ValueError(
                f"Expected the follow-ups that the arm asks for now in {asked.store.path(name)}, got others: the run "
                "was begun with another version of a library (see manifest.json); remove its folder and start again."
            )
        clock.kept(float(kept["seconds"]))
        return Evidence(
            reference_source=problem.reference_source[patches],
            quantised_source=problem.quantised_source[patches],
            reference_step=problem.reference.output_step,
            quantised_step=problem.quantised.output_step,
            **{column: kept[column] for column in EVIDENCE},
        )
    seen = lockstep.seen_by_models(problem, members, wanted)
    columns = {column: getattr(seen, column) for column in EVIDENCE}
    asked.store.write_arrays(name, {"mark": mark, "seconds": np.array(clock.lap()), **columns})
    return seen


def _or_none(queries: np.int64) -> int | None:
    return None if queries == lockstep.NEVER else int(queries)

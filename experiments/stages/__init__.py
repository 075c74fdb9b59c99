"""The stages of an assessment. Each reads what the store has of it already, and does the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diverget import tables
from diverget.baseline import baseline, check_better_than_chance
from diverget.models.model import Model, predict_pair
from diverget.outcome import Outcome, refuse_nan
from diverget.patches import Patches
from diverget.problem import Problem, pose
from diverget.randomness import Purpose, generator, integer, key
from diverget.rates import draw_outcomes
from diverget.repair import apart
from diverget.search import Generation
from diverget.search import search as generations
from diverget.space import Space
from diverget.store import Store
from experiments.config.methods import RungConfig
from experiments.config.schema import RunConfig
from experiments.data import Material
from experiments.pairs import Pair, Subjects
from experiments.progress import Screen
from experiments.record import EVERYTHING
from experiments.stages.drawn import keep_clean, keep_drawn
from experiments.statistics import block_bootstrap


@dataclass(frozen=True)
class Run:
    """An assessment under way: what it was asked, where it writes, what it works on."""

    config: RunConfig
    store: Store
    screen: Screen
    material: Material
    pool: ThreadPoolExecutor

    def pose(self, pair: Pair, ids: np.ndarray, rung: RungConfig | None = None) -> Problem:
        """The problem of a pair over the patches `ids`, on the run's own rung or on another."""
        rung = rung or self.config.own_rung
        space = self.config.space_in(rung.tier)
        return pose(
            pair.reference,
            pair.quantised,
            self.material.patches(ids, space),
            space,
            self.material.sensor,
            objectives=self.config.search.chosen_objectives,
            limits=rung.bounded(),
            pool=self.pool,
            seed=self.config.seed,
        )


def join(store: Store, name: str, parts: Iterable[str], schema: pa.Schema) -> None:
    """Write the table `name`, the rows of all `parts` in their order, unless it is there; without parts it is empty."""
    if not store.has(name):
        store.write_table(name, [row for part in parts for row in store.read_table(part)], schema)


def baselines(asked: Run, subjects: Subjects) -> None:
    """Measure every pair on clean patches, and refuse a reference that has learnt nothing: `baseline.json`, and what
    each said of every patch in `clean.npz`.

    Raises:
        ValueError: a reference is no better than chance; a model answers with NaN.
    """
    material, store = asked.material, asked.store
    if store.has("baseline.json"):
        return
    patches = material.patches(material.baseline)
    result: dict[str, Any] = {}
    said: dict[str, np.ndarray] = {}
    differ: dict[str, np.ndarray] = {}
    with asked.screen.stage("baseline", total=len(subjects.pairs)) as stage:
        for done, pair in enumerate(subjects.pairs):
            stage.to(done, pair.name)
            reference, quantised = _predict(asked.pool, pair, patches)
            check_better_than_chance(pair.reference.name, reference, patches.labels)
            steps = pair.reference.output_step, pair.quantised.output_step
            said[pair.name], differ[pair.name] = quantised.argmax(axis=1), apart(reference, quantised, steps)
            found = baseline(
                reference,
                quantised,
                patches.labels,
                steps=steps,
                class_names=material.class_names,
            )
            right = (reference.argmax(axis=1) == patches.labels).astype(int)
            known = (patches.labels >= 0).astype(int)
            rng = generator(asked.config.seed, Purpose.BOOTSTRAP, key("baseline"))
            interval = block_bootstrap(right * known, known, patches.blocks, rng=rng)
            found["accuracy_interval_reference"] = list(interval[1:])
            for kind, model in (("reference", pair.reference), ("quantised", pair.quantised)):
                found[f"throughput_{kind}"] = _throughput(asked.pool, model, patches)
            result[pair.name] = found
    blocks = material.split.blocks[material.assessed]
    keep_clean(store, patches, said, differ, assessed=material.assessed, assessed_blocks=blocks)
    store.write_json("baseline.json", result)


def _predict(pool: ThreadPoolExecutor, pair: Pair, patches: Patches) -> tuple[np.ndarray, np.ndarray]:
    x = patches.source()
    chunks = [x[start : start + 64] for start in range(0, len(x), 64)]
    seen = list(pool.map(lambda chunk: predict_pair(pair.reference, pair.quantised, chunk), chunks))
    reference, quantised = (np.concatenate(column) for column in zip(*seen, strict=True))
    refuse_nan(reference, quantised, patches.ids, lambda row: f"of the baseline of {pair.name}, undistorted")
    return reference, quantised


def _throughput(pool: ThreadPoolExecutor, model: Model, patches: Patches) -> float:
    """Patches a second of one model with all workers, on at most 256 patches, interpreters warm."""
    x = patches.source()[:256]
    chunks = [x[start : start + 32] for start in range(0, len(x), 32)]
    started = time.perf_counter()
    list(pool.map(model.predict_proba, chunks))
    return round(len(x) / (time.perf_counter() - started), 1)


def rates(asked: Run, number: int, pair: Pair) -> None:
    """Measure how often: random draws of every relation, and of all together, in every tier: `rates/part-*.parquet`.

    What came of each draw is kept beside it, in `rates/outcomes-*.npz`.
    """
    config, name = asked.config, f"rates/part-{number:02d}.parquet"
    if asked.store.has(name):
        return
    wanted = [
        (tier, relation)
        for tier in config.rates.tiers
        for relation in (EVERYTHING, *(entry.name for entry in config.relations))
    ]
    draws = 1 if pair.control else config.rates.draws
    problem = asked.pose(pair, asked.material.rated)
    rows = []
    kept: dict[tuple[str, str], np.ndarray] = {}
    with asked.screen.stage(f"rates   {pair.name}", total=len(wanted)) as stage:
        for done, (tier, relation) in enumerate(wanted):
            stage.to(done, f"{tier} {relation}")
            space = config.space_in(tier, None if relation == EVERYTHING else relation)
            patches = asked.material.patches(asked.material.rated, space)
            outcomes = draw_outcomes(problem, space, patches, draws=draws, seed=config.seed, name=relation)
            kept[tier, relation] = outcomes
            rng = generator(config.seed, Purpose.BOOTSTRAP, key(tier), key(relation))
            rows.append(rate_row(pair, tier, relation, outcomes, patches.blocks, rng))
    keep_drawn(asked.store, number, pair.name, problem.patches, kept)
    asked.store.write_table(name, rows, tables.RATES)


def rate_row(
    pair: Pair, tier: str, relation: str, outcomes: np.ndarray, blocks: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """One row of rates: counts of `outcomes` (n, draws), and rates with their intervals over the blocks (n,)."""

    def count(*which: Outcome) -> np.ndarray:
        total: np.ndarray = np.isin(outcomes, which).sum(axis=1)
        return total

    eligible = outcomes.shape[1] - count(Outcome.INVALID, Outcome.INHERITED)
    kinds = {
        "revealed": count(Outcome.REVEALED),
        "disagreement": count(Outcome.REVEALED, Outcome.MOVED_APART),
    }
    intervals = {
        f"{kind}_{end}": value
        for kind, hits in kinds.items()
        for end, value in zip(("rate", "lower", "upper"), block_bootstrap(hits, eligible, blocks, rng=rng), strict=True)
    }
    return {
        "pair": pair.name,
        "control": pair.control,
        "tier": tier,
        "relation": relation,
        "draws": int(outcomes.size),
        "eligible": int(eligible.sum()),
        "rejected": int(count(Outcome.INVALID).sum()),
        "inherited": int(count(Outcome.INHERITED).sum()),
        "tied": int(count(Outcome.TIED).sum()),
        "moved_together": int(count(Outcome.MOVED_TOGETHER).sum()),
        "moved_apart": int(count(Outcome.MOVED_APART).sum()),
        "revealed": int(count(Outcome.REVEALED).sum()),
        "blocks": len(np.unique(blocks[eligible > 0])),
        **intervals,
    }


CONTROL_SHARE = 0.1
"""Share of the search's budget that goes to the control, in which a model is searched against itself."""


def _candidates(config: RunConfig, pair: Pair, problem: Problem) -> int:
    if pair.control:
        return max(config.search.population, int(config.search.budget * CONTROL_SHARE) // problem.queries(1))
    return config.search.budget // problem.queries(1)


def _part(number: int, generation: int) -> str:
    return f"evaluations/part-{number:02d}-{generation:05d}.parquet"


def search(asked: Run, number: int, pair: Pair) -> None:
    """Search one pair within its budget: one part of `evaluations/` a generation, written before the next is asked."""
    config, store = asked.config, asked.store
    done_name = f"evaluations/done-{number:02d}.json"
    if store.has(done_name):
        return
    problem = asked.pose(pair, asked.material.assessed)
    objectives, limits = problem.objectives, problem.limits
    schema = tables.evaluations(problem.space, objectives, limits)
    total = _candidates(config, pair, problem)
    known = problem.known_at_first()
    spent: dict[str, float] = {"seconds": 0.0, "queries": 0}
    with asked.screen.stage(f"search  {pair.name}", total=total) as stage:

        def evaluate(generation: Generation) -> tuple[np.ndarray, np.ndarray]:
            nonlocal known
            name = _part(number, generation.number)
            if store.has(name):
                rows = store.read_table(name)
                _check_belongs(rows, generation, problem.space, store.path(name))
            else:
                started = time.perf_counter()
                evaluation = problem.evaluate(generation.u, known=known)
                spent["seconds"] += time.perf_counter() - started
                spent["queries"] += problem.queries(len(generation.u))
                rows = tables.rows(
                    evaluation,
                    problem.space,
                    objectives,
                    limits,
                    pair=pair.name,
                    control=pair.control,
                    generation=generation.number,
                    first=generation.first,
                    queries_each=problem.queries(1),
                )
                store.write_table(name, rows, schema)
            if problem.remembers:
                known = tables.remembered_of(rows, known)
            seen.update(
                (r["patch"], r["reference_class"], r["quantised_class"]) for row in rows for r in row["revealed"]
            )
            for objective in objectives:
                scores = [row[f"score:{objective.name}"] for row in rows if row["feasible"]]
                pick = max if objective.maximise else min
                if scores:
                    best[objective.name] = pick(pick(scores), best.get(objective.name, pick(scores)))
            note = "  ".join(f"{name} {value:.3g}" for name, value in best.items())
            stage.to(generation.first + len(rows), f"{len(seen)} findings  {note}")
            return tables.scored(rows, objectives, limits)

        seen: set[tuple[int, ...]] = set()
        best: dict[str, float] = {}
        asked_for = 0
        for generation in generations(
            evaluate,
            dimensions=problem.space.dimensions,
            objectives=len(objectives),
            limits=len(limits),
            optimiser=config.search.chosen_optimiser,
            population=config.search.population,
            budget=total,
            seed=integer(config.seed, Purpose.SEARCH, key(pair.name)),
        ):
            asked_for = generation.first + len(generation.u)
    speed = spent["queries"] / spent["seconds"] if spent["seconds"] else None
    queries = problem.queries(asked_for)
    store.write_json(done_name, {"pair": pair.name, "queries": queries, "queries_per_second": speed})


def _check_belongs(rows: Sequence[dict[str, Any]], generation: Generation, space: Space, path: Path) -> None:
    """A stored generation must be the one the optimiser asks for now.

    Raises:
        ValueError: it is not: another version of a library wrote it.
    """
    asked, stored = space.decode(generation.u), tables.values_of(rows, space)
    same = all(np.array_equal(a[name], s[name]) for a, s in zip(asked, stored, strict=True) for name in a)
    if len(rows) != len(generation.u) or not same:
        raise ValueError(
            f"Expected the candidates of generation {generation.number} in {path}, got others: the run was begun with "
            "other versions of the optimiser or of NumPy (see manifest.json); remove that run's folder and start again."
        )

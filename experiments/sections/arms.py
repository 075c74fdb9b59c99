"""The section "Patch by patch" of a run's report, and the tables and curves that a study's page shares with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import relations
from diverget.boundary import followed
from experiments.charts import arms as arm_figures
from experiments.charts.arms import Look
from experiments.record import Run, spoken
from experiments.sections.page import Alert, Plot, Section
from experiments.statistics.derived import ours
from experiments.statistics.trials import (
    BETTER,
    BOUNDARY,
    MEASURES,
    NO_BETTER,
    RANDOM,
    WORSE,
    Against,
    Cell,
    Row,
    Trial,
    cells,
    summary,
)
from experiments.wording import NARROW, count, listed, number, percent, plural

UNTIL = {
    "revealed": "A patch is done at its first REVEALED follow-up, so its severity is that of the first one found and "
    "no arm goes on for a milder one.",
    "apart": "A patch is done at its first disagreement of any kind, so REVEALED is found only where it came first: "
    "the REVEALED of an arm is less than it could reach.",
    "spent": "An arm goes on with a patch until its budget is used up, so the severity is the mildest it reached; arms "
    "that change pixels stop at their first REVEALED follow-up, for theirs have no severity.",
}
"""By `until` of the config, what it means for the numbers."""


@dataclass(frozen=True)
class Block:
    """One pair under one rung of limits: its table, its curves and what it comes to in words."""

    rung: str
    patches: int
    rows: Sequence[Row]
    plots: Sequence[Plot]
    words: str
    control: str
    rival: bool


def median(value: float | None, beyond: str) -> str:
    """A censored median in words: `beyond` where it is not reached, a dash where there is none."""
    if value is None or math.isnan(value):
        return number(None)
    return beyond if math.isinf(value) else number(value)


def chance(p: float) -> str:
    """A p-value to two digits, or as less than a thousandth."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 0.995 else "1"


def table(cell: Cell) -> list[dict[str, Any]]:
    """The arms of a cell as the rows of its table; one with a larger budget stands in it with equal queries as well."""
    tested = cell.tested
    rows = []
    for trial in cell.trials:
        if trial.budget > cell.budget:
            rows.append(_row(trial.within(cell.budget), tested))
        rows.append(_row(trial, tested))
    return rows


def _row(trial: Trial, tested: Mapping[tuple[str, str], Against]) -> dict[str, Any]:
    told = summary(trial)
    against = {measure: tested.get((trial.arm, measure)) for measure in MEASURES}
    return {
        "arm": trial.label,
        "natural": trial.natural,
        "is_random": trial.arm == RANDOM,
        **told,
        "apart_told": median(told["apart_median"], f">{NARROW}{trial.budget}"),
        "revealed_told": median(told["revealed_median"], f">{NARROW}{trial.budget}"),
        "inside_told": median(told["inside_median"], "beyond"),
        "severity_told": median(told["severity_median"], "beyond"),
        "tests": against,
        "by": {measure: _effect(found) for measure, found in against.items()},
    }


def _effect(found: Against | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {"a12": f"{found.a12:.2f}", "p": chance(found.adjusted), "words": found.words}


def controlled(cell: Cell, controls: Sequence[Cell]) -> str:
    """The line of the control under the table of a cell, from the cells of its model against itself."""
    return told_controls([other for other in controls if other.rung == cell.rung] or list(controls))


def told_controls(mine: Sequence[Cell]) -> str:
    """What came of these searches of models against themselves."""
    if not mine:
        return "no model was set against itself"
    patches = sum(t.patches * t.repeats for other in mine for t in other.trials)
    arms = plural(len({t.arm for other in mine for t in other.trials}), "arm")
    found = sum(other.found for other in mine)
    searched = f"{arms}, {plural(patches, 'search', 'searches')} of a patch"
    return f"{searched}: " + (f"{count(found)} parted; it must be none" if found else "none parted, as it must be")


def parted(controls: Sequence[Cell], arms: Sequence[str]) -> str:
    """In how many searches by these arms a model parted from itself, of how many."""
    mine = [t.apart for cell in controls for t in cell.trials if t.arm in arms]
    if not mine:
        return number(None)
    return f"{count(sum(int((apart < math.inf).sum()) for apart in mine))} of {count(sum(a.size for a in mine))}"


def block(cell: Cell, name: str, controls: Sequence[Cell], look: dict[str, Look], *, anchor: str) -> Block:
    """One cell with its table and curves.

    Args:
        name: what the pair is called; controls: the cells of its model against itself.
        anchor: prefix of the ids of its charts, unique in the page.
    """
    where = f"{name}, {cell.rung}"
    revealed, apart = (
        arm_figures.curves(
            arm_figures.success_lines(cell, reached, look),
            x="queries a patch",
            y=f"patches {what}",
            name=f"{anchor}-{reached}",
            label=f"Share of the patches {what} against queries a patch, by arm: {where}.",
        )
        for reached, what in (("revealed", "REVEALED"), ("apart", "parted"))
    )
    plots = [
        Plot("REVEALED against queries", revealed, "Further up and left is better. Bands: 95 % over patches, exact."),
        Plot("Any disagreement against queries", apart, "Float may have left its own class as well here."),
    ]
    if any(math.isfinite(v) for t in cell.trials if t.natural for v in t.severity.ravel()):
        whole = next((t.budget for t in cell.trials if t.arm == RANDOM and t.budget > cell.budget), None)
        more = f" The thin grey line is random with {count(whole)}." if whole else ""
        svg = arm_figures.curves(
            arm_figures.severity_lines(cell, look),
            x="severity of the mildest REVEALED follow-up",
            y="patches with one as mild",
            name=f"{anchor}-severity",
            label=f"Share of the patches with a REVEALED follow-up of at most a severity, by arm: {where}.",
        )
        reading = f"After {count(cell.budget)} queries a patch; patches without any never count.{more}"
        plots.append(Plot("How mild", svg, reading))
    fronts = arm_figures.front_lines(cell, look)
    if fronts:
        svg = arm_figures.curves(
            fronts,
            x="severity",
            y="divergence at most as severe",
            name=f"{anchor}-front",
            label=f"Median over patches of the greatest divergence at a severity of at most so much, by arm: {where}.",
            shares=False,
        )
        reading = "The median patch: how far the models diverge (Jensen-Shannon) within the limits, at most so severe."
        plots.append(Plot("Divergence against severity", svg, f"{reading} Each arm with its whole budget."))
    return Block(
        rung=cell.rung,
        patches=cell.trials[0].patches,
        rows=table(cell),
        plots=plots,
        words=in_words(cell),
        control=controlled(cell, controls),
        rival=cell.arm(RANDOM) is not None,
    )


def in_words(cell: Cell) -> str:
    """What the tests of a cell say of the queries to a REVEALED, and to any disagreement."""
    if not cell.any_inside:
        return "No follow-up of any arm was inside the limits, so nothing follows from this rung."
    if cell.arm(RANDOM) is None:
        return "The arm random did not take part, so no arm is shown to be better than chance."
    within = f"Within {count(cell.budget)} queries a patch,"
    return (
        f"{within} {_compared(cell, 'queries', 'a REVEALED')} {within} {_compared(cell, 'apart', 'any disagreement')}"
    )


def _compared(cell: Cell, measure: str, reached: str) -> str:
    """Which arms need fewer queries than random until `reached`, than which random needs fewer, and where neither was
    shown."""
    said: dict[str, list[str]] = {}
    for against in cell.tested.values():
        if against.measure == measure:
            said.setdefault(against.words, []).append(against.arm)
    ahead = said.get(BETTER, [])
    need = "need" if len(ahead) > 1 else "needs"
    parts = [f"{listed(ahead, most=12) if ahead else 'no arm'} {need} fewer queries to {reached} than random."]
    if WORSE in said:
        parts.append(f"Random needs fewer than {listed(said[WORSE], most=12)}.")
    if NO_BETTER in said:
        parts.append(f"No difference from random was shown for {listed(said[NO_BETTER], most=12)}.")
    return " ".join(parts)


def overview(named: Sequence[tuple[str, Cell]], controls: Sequence[Cell]) -> dict[str, Any]:
    """REVEALED of the natural arms, of random and of the best arm that changes pixels, a row a cell, equal queries.

    Args:
        named: what the pair of a cell is called, and the cell.
        controls: the cells of models against themselves.
    """
    found = [cell for _, cell in named]
    arms = [*ours(found), *([RANDOM] if any(cell.arm(RANDOM) for cell in found) else [])]
    rows = []
    for name, cell in named:
        pixels = [t.within(cell.budget) for t in cell.trials if not t.natural]
        best = min(pixels, key=lambda t: -summary(t)["revealed_share"], default=None)
        rows.append(
            {
                "name": name,
                "rung": cell.rung,
                "arms": {arm: _reached(cell, trial) for arm in arms if (trial := cell.arm(arm))},
                "pixels": (best.arm, _reached(cell, best)) if best else None,
            }
        )
    rivals = list(dict.fromkeys(t.arm for cell in found for t in cell.trials if not t.natural))
    control = {"arms": {arm: parted(controls, [arm]) for arm in arms}, "pixels": parted(controls, rivals)}
    return {"arms": arms, "rows": rows, "pixels": any(row["pixels"] for row in rows), "control": control}


def first_words(named: Sequence[tuple[str, Cell]]) -> str:
    """The first natural arm beside random, over all cells with follow-ups inside the limits, in one sentence."""
    found = [cell for _, cell in named if cell.any_inside]
    if not found:
        return "No follow-up of any arm was inside the limits, so nothing follows from the search."
    arms = ours(found)
    if not arms:
        return ""
    told = []
    for arm in (arms[0], RANDOM):
        kept = [summary(trial.within(cell.budget)) for cell in found if (trial := cell.arm(arm))]
        if kept:
            shares, middles = [row["revealed_share"] for row in kept], [row["revealed_median"] for row in kept]
            low, high = percent(min(shares)), percent(max(shares))
            reach = low if low == high else f"{low} to {high}"
            few, many = median(min(middles), "beyond the budget"), median(max(middles), "beyond the budget")
            queries = few if few == many else f"{few} to {many}"
            told.append(f"{arm} found a REVEALED on {reach} of the patches (median queries {queries})")
    budgets = sorted({cell.budget for cell in found})
    within = count(budgets[0]) if len(budgets) == 1 else f"{count(budgets[0])} to {count(budgets[-1])}"
    return f"Within {within} queries a patch, {', '.join(told)}."


def _reached(cell: Cell, trial: Trial) -> str:
    if not cell.any_inside:
        return "nothing inside"
    found = summary(trial.within(cell.budget))
    return f"{percent(found['revealed_share'])} ({median(found['revealed_median'], f'>{NARROW}{cell.budget}')})"


def terms(config: Row) -> str:
    """The block `patchwise` of a config in a sentence: until when, how much, how often."""
    budgets = {arm: queries for arm, queries in (config.get("budgets") or {}).items() if arm in config["arms"]}
    more = f" ({listed([f'{arm} {count(queries)}' for arm, queries in budgets.items()])})" if budgets else ""
    repeats = config.get("repeats", 1)
    again = f"{plural(repeats, 'repeat')} with other random numbers" if repeats > 1 else "one repeat"
    return f"Budget {count(config['budget'])} queries a patch{more}, {again}. {UNTIL[config['until']]}"


def unfollowed(config: Row) -> tuple[list[str], list[str]]:
    """The arms of a whole config that walk along rays to the boundary, and the relations that those leave to others."""
    walking = [arm for arm in BOUNDARY if arm in (config.get("patchwise") or {}).get("arms", ())]
    chosen = [relations.get(entry["name"]) for entry in config.get("relations", [])]
    moved = followed(chosen)
    return walking, [relation.name for relation in chosen if walking and relation.name not in moved]


def ways(config: Row) -> str:
    """Along which relations of a whole config `boundary` moves, and which it leaves to others; empty without it."""
    walking, left = unfollowed(config)
    names = [entry["name"] for entry in config.get("relations", []) if entry["name"] not in left]
    if not walking or not names:
        return ""
    said = f"{listed(walking)} {'moves' if len(walking) == 1 else 'move'} along {listed(names, most=99)}"
    if not left:
        return f"{said}."
    return f"{said}. What jumps is left to other arms: {listed(left, most=99)}."


def failed(found: Sequence[Cell]) -> Alert | None:
    """The alert of a control that parted, None where none did."""
    parted = sum(cell.found for cell in found if cell.control)
    if not parted:
        return None
    text = f"The control failed: a model parted from itself in {plural(parted, 'search', 'searches')} of a patch."
    return Alert("bad", f"{text} Trust no number of this section until that is understood.")


def patchwise(run: Run) -> Section:
    """Every patch a search of its own: on how many they part, after how many queries, how mildly, for each arm."""
    config = run.manifest["config"].get("patchwise")
    found = cells(run.patchwise, run.patchwise_times)
    look = arm_figures.looks([t for cell in found for t in cell.trials])
    pairs = told_pairs(run, found, look, anchor="patches")
    named = [(pair["name"], cell) for pair in pairs for cell in pair["cells"]]
    values = {
        "pairs": pairs,
        "looks": list(look.values()),
        "first": first_words(named),
        "overview": overview(named, [cell for cell in found if cell.control]),
        "alert": failed(found),
        "terms": terms(config) if config else "",
        "ways": ways(run.manifest["config"]),
        "labelled": bool(config and config.get("labelled")),
        "empty": "" if pairs else why_empty(run),
    }
    return Section("patches", "Patch by patch", "patchwise.html", values)


def told_pairs(run: Run, found: Sequence[Cell], look: dict[str, Look], *, anchor: str) -> list[dict[str, Any]]:
    """The pairs under test of a run that were searched, each with its name, its cells and their blocks.

    Args:
        found: the cells of the run, its controls among them.
        anchor: prefix of the ids of the charts, unique in the page.
    """
    pairs = []
    for i, pair in enumerate(run.tested()):
        mine = [cell for cell in found if cell.pair == pair["pair"]]
        own = {other["pair"] for other in run.controls() if other["reference"] == pair["reference"]}
        against = [cell for cell in found if cell.pair in own]
        if mine:
            name = spoken(pair)
            blocks = [block(cell, name, against, look, anchor=f"{anchor}-{i}-{j}") for j, cell in enumerate(mine)]
            pairs.append({"pair": pair["pair"], "name": name, "cells": mine, "blocks": blocks})
    return pairs


def why_empty(run: Run) -> str:
    """Why a run tells nothing patch by patch."""
    config = run.manifest["config"].get("patchwise")
    if config is None:
        return "This run has no per-patch search; add `patchwise:` to its config."
    if not (run.path / "patchwise.parquet").exists():
        return "The run was interrupted before this stage, or has not come to it; start the same command again."
    return (
        "No eligible patch: on no source do both models clearly agree and, where labels are asked for, are right. "
        "Assess more patches, or look at the baseline first."
    )

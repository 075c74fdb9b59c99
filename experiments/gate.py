"""The gate: what a finished run comes to under criteria, told from its directory alone. Loads no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from diverget.attribution import KINDS
from diverget.store import Store, appearing
from experiments.config import read_tree
from experiments.config.criteria import Criterion, CriterionConfig, check, parse, state
from experiments.config.methods import RungConfig
from experiments.junit import junit
from experiments.record import EVERYTHING, Row, Run, enough, inseparable, read
from experiments.record.card import attributed, partings
from experiments.statistics.survival import any_inside, mildest
from experiments.statistics.trials import MOST

JUNIT = "junit.xml"

UNASKED = "no criteria asked"
"""The verdict where nothing was asked: nothing was judged, so nothing passed."""


@dataclass(frozen=True)
class Judged:
    """What a run comes to.

    Attributes:
        rows: as `criteria.check` gives them; control: one row a control pair, with "pair", "met" and "told".
        measured: the metrics of every pair under test, as `metrics` gives them.
        passed: whether no criterion failed and no model parted from itself.
    """

    rows: Sequence[Row]
    control: Sequence[Row]
    measured: Mapping[str, Mapping[str, float | None]]

    @property
    def passed(self) -> bool:
        return all(state(row) != "fail" for row in self.rows) and all(row["met"] for row in self.control)

    @property
    def warned(self) -> bool:
        return any(state(row) == "warn" for row in self.rows)

    @property
    def verdict(self) -> str:
        """`fail`, `warn`, `pass`, or that no criteria were asked."""
        if not self.passed:
            return "fail"
        return UNASKED if not self.rows else "warn" if self.warned else "pass"

    def lines(self) -> list[str]:
        """What to tell on a terminal: the control, then every criterion, then the verdict."""
        told = [f"{'PASS' if row['met'] else 'FAIL'}  {row['told']}" for row in self.control]
        told += [
            f"{state(row).upper()}  {row['criterion']} · {row['pair']} has {_number(row['value'])}"
            if row["met"]
            else f"{state(row).upper()}  {row['told']}"
            for row in self.rows
        ]
        return [*told, f"verdict: {self.verdict}"]


def judge(run: Run, criteria: Sequence[Criterion]) -> Judged:
    """What `run` comes to under `criteria`."""
    measured = {pair["pair"]: metrics(run, pair["pair"]) for pair in run.tested()}
    return Judged(check(criteria, measured), [_control(run, pair["pair"]) for pair in run.controls()], measured)


def metrics(run: Run, pair: str) -> dict[str, float | None]:
    """The metrics of one pair by name; None or absent where a metric was not measured."""
    config = run.manifest["config"]
    rung = RungConfig(tier=config["tier"], limits=config["limits"]).name
    measured: dict[str, float | None] = {}
    if pair in run.baseline:
        base = run.baseline[pair]
        accuracies = base["accuracy_reference"], base["accuracy_quantised"]
        measured["agreement"] = base["agreement"]
        measured["accuracy_drop"] = accuracies[0] - accuracies[1] if None not in accuracies else None
    walked = [row for row in run.patchwise if row["pair"] == pair and row["rung"] == rung and row["natural"]]
    walked_inside = any_inside(walked)
    if walked_inside or (pair in run.searches and run.searches[pair].feasible.any()):
        mine = [row for row in run.found(pair) if row["rung"] == rung]
        measured["findings"] = len(mine)
        measured["minimal_severity"] = min((row["severity"] for row in mine), default=MOST)
        if attributed(run, pair) is not None:
            kinds = [run.kind(row["finding"]) for row in mine]
            measured.update({f"findings.{kind}": kinds.count(kind) for kind in KINDS})
            if any(inseparable(one) for one in run.pairs if one["pair"] == pair):
                measured["findings.compression"] = None
    for row in run.rates:
        if row["pair"] == pair and enough(row):
            name = f"revealed_rate.{row['tier']}"
            name += "" if row["relation"] == EVERYTHING else f".{row['relation']}"
            measured |= {
                name: row["revealed_rate"],
                f"{name}.lower": row["revealed_lower"],
                f"{name}.upper": row["revealed_upper"],
            }
    severities = list(mildest(walked, without=MOST).values())
    measured["minimal_severity.median"] = float(np.median(severities)) if walked_inside else None
    gaps = [abs(row["gap_severity"]) for row in run.gaps if row["pair"] == pair and row["gap_severity"] is not None]
    measured["boundary_gap.median"] = float(np.median(gaps)) if gaps else None
    return measured


def _control(run: Run, pair: str) -> dict[str, Any]:
    """Whether a model stayed with itself in all draws, searches and per-patch searches."""
    parted = partings(run, pair)
    met = not any(parted.values())
    told = (
        f"control {pair}: a model never parts from itself"
        if met
        else f"control {pair}: Expected a model never to part from itself, got {parted['findings']} findings, "
        f"{parted['draws']} draws, {parted['searched']} follow-ups of the search and {parted['patches']} per-patch "
        "searches where it does; trust no number of this run."
    )
    return {"pair": pair, "met": met, "told": told, "findings": parted["findings"]}


def conclude(store: Store, criteria: Sequence[Criterion]) -> Judged:
    """Judge the run in `store`, whose stages are all done, and write `junit.xml`, then `summary.json`."""
    run = read(store.root)
    judged = judge(run, criteria)
    content = {
        "control_findings": sum(bool(row["control"]) for row in run.findings),
        "control_passed": all(row["met"] for row in judged.control) if judged.control else None,
        "unconfirmed": sum(not row["confirmed"] for row in run.findings),
        "asked": as_asked(criteria),
        "metrics": judged.measured,
        "criteria": list(judged.rows),
        "criteria_met": judged.passed,
        "criteria_warned": judged.warned,
        "complete": True,
        "interrupted": False,
    }
    with appearing(store.path(JUNIT)) as temporary:
        temporary.write_text(_junit(run, judged), encoding="utf-8")
    if not store.has("summary.json") or store.read_json("summary.json") != content:
        store.write_json("summary.json", content)
    return judged


def as_asked(criteria: Sequence[Criterion]) -> list[dict[str, str]]:
    """`criteria` as `summary.json` keeps those that a run was judged by."""
    return [{criterion.level: criterion.text} for criterion in criteria]


def gate(
    run_dir: Path,
    *,
    file: Path | None = None,
    texts: Sequence[str] = (),
    otherwise: Sequence[Criterion] = (),
    report: Path | None = None,
) -> Judged:
    """Judge a finished run without running anything or changing it.

    Args:
        file: a YAML file with `criteria:`, such as a config; texts: statements, `warn: ` before those that only warn.
        otherwise: the criteria where neither is given; without any, those that the run was last judged by.
        report: where to write a JUnit report.

    Raises:
        ValueError, OSError: the run is not finished, no criteria are asked, one cannot be read, or another file stands
            where the JUnit report shall.
    """
    if report is not None:
        _refuse_other_file(report)
    run = read(run_dir)
    if not run.complete:
        raise ValueError(
            f"Expected a finished run in {run_dir}, got one that was stopped or is still going; start the same "
            "`diverget run` again, then ask the gate."
        )
    asked = [*(_of_file(file) if file is not None else []), *(_of_text(text) for text in texts)]
    if file is None and not texts:
        asked = list(otherwise) or kept(run)
    if not asked:
        raise ValueError(
            f"Expected criteria to judge {run_dir} by, got none from {file or 'the run'}; add --criterion 'agreement "
            ">= 0.99', or `criteria:` to the config, or name a file of them with --criteria (`diverget list metrics` "
            "tells what can be asked)."
        )
    judged = judge(run, asked)
    if report is not None and report.exists() and not report.is_file():
        report.write_text(_junit(run, judged), encoding="utf-8")  # A terminal or a pipe.
    elif report is not None:
        with appearing(report) as temporary:
            temporary.write_text(_junit(run, judged), encoding="utf-8")
    return judged


def _refuse_other_file(report: Path) -> None:
    """Return when nothing is lost at `report`: nothing stands there, an empty file, a JUnit report, a terminal.

    Raises:
        ValueError: something is.
    """
    start = b""
    if report.is_file():
        with open(report, "rb") as file:
            start = file.read(1000)
    if report.is_dir() or (start and b"<testsuites" not in start):
        raise ValueError(
            f"Expected a new file or a JUnit report to replace at {report}, got something else, which stays as it is; "
            "name another file after --junit."
        )


def _junit(run: Run, judged: Judged) -> str:
    return junit(run.manifest["name"], run.manifest["digest"], judged.rows, judged.control)


def kept(run: Run) -> list[Criterion]:
    """The criteria that a run was last judged by, else those of its config.

    Raises:
        ValueError: one is refused today.
    """
    asked = (run.summary or {}).get("asked")
    try:
        return _read(run.manifest["config"].get("criteria", []) if asked is None else asked)
    except ValueError as error:
        raise ValueError(f"{error} The run was judged by it; give others with --criterion or --criteria.") from None


def _of_file(path: Path) -> list[Criterion]:
    found = read_tree(path).get("criteria")
    if not isinstance(found, list):
        raise ValueError(
            f"Expected a list under `criteria:` in {path}, got {type(found).__name__}; write `criteria: [agreement >= "
            "0.99]`."
        )
    return _read(found)


def _read(entries: Sequence[str | Mapping[str, Any]]) -> list[Criterion]:
    """Criteria as a config spells them.

    Raises:
        ValueError: one is not readable.
    """
    found = []
    for entry in entries:
        told = {"fail": entry} if isinstance(entry, str) else entry
        try:
            found.append(CriterionConfig.model_validate(told).criterion)
        except ValueError as error:
            raise ValueError(
                f"Expected a criterion like `agreement >= 0.99` or `warn: agreement >= 0.99`, got {entry!r}: "
                f"{_first(error)}."
            ) from None
    return found


def _first(error: ValueError) -> str:
    """The first problem of an error in words."""
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return str(error)


def _of_text(text: str) -> Criterion:
    level, colon, rest = (part.strip() for part in text.partition(":"))
    if not colon:
        level, rest = "fail", text
    try:
        if level not in ("fail", "warn"):
            raise ValueError(f"{level!r} is neither `fail` nor `warn`")
        return parse(rest, level=level)
    except ValueError as error:
        raise ValueError(
            f"Expected --criterion like 'agreement >= 0.99' or 'warn: agreement >= 0.99', got {text!r}: {error}."
        ) from None


def _number(value: float | None) -> str:
    return "no value" if value is None else f"{value:.6g}"

"""Pass, warn or fail: `metric <= number` statements that every pair of a run must meet."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import Field, field_validator, model_validator

import relations
from experiments.config.strict import Strict

METRICS = {
    "agreement": "share of clean assessment patches on which the two models agree",
    "accuracy_drop": "clean accuracy of the reference minus that of the quantised model",
    "revealed_rate.in_spec": "REVEALED rate of random in-spec chains",
    "revealed_rate.in_spec.upper": "upper end of its 95 % interval",
    "revealed_rate.stress": "REVEALED rate of random stress chains",
    "revealed_rate.stress.upper": "upper end of its 95 % interval",
    "findings": "confirmed findings under the run's tier and limits",
    "findings.quantisation": "those of `findings` that no other kernels, threads or runtime make vanish, and that are "
    "not there before anything is quantised; after training under integers those of both together",
    "findings.kernel": "those of `findings` that vanish where the same file runs under other kernels",
    "findings.runtime": "those of `findings` that vanish under another number of threads or on a common runtime",
    "findings.compression": "those of `findings` that are left and that the network shows in float already, as the "
    "compression before quantisation left it",
    "minimal_severity": "severity of the mildest confirmed finding under the run's tier and limits; 1 without one",
    "minimal_severity.median": "median over patches of the mildest severity that the per-patch search reached under "
    "the run's tier and limits; a patch without REVEALED counts as 1",
    "boundary_gap.median": "median width of the boundary gap as a severity, over the rays that both models leave",
}

FAMILIES = {
    "revealed_rate.<tier>.<relation>": "REVEALED rate of random draws of one relation in one tier",
    "revealed_rate.<tier>.<relation>.upper": "upper end of its 95 % interval",
}
"""Metrics with a place for a name."""

SPANS = {
    "accuracy_drop": (-1.0, 1.0),
    "findings": (0.0, math.inf),
}
"""By the first word of a metric, what it lies between, where that is not 0 to 1 as of a share or a severity."""

UNMEASURED = {
    "accuracy_drop": "nothing is labelled",
    "revealed_rate": "it was not drawn, or too few draws or blocks count",
    "findings": "`attribution` is switched off",
    "findings.compression": "`attribution` is switched off, or the run has no float network of what was compressed",
    "minimal_severity": "the config has no `patchwise` by an arm of chains on the run's own tier and limits",
    "boundary_gap": "the config has no `gaps`, or no ray is left by both models",
}
"""By a metric or its first word, why it has no value."""

NOTHING_INSIDE = "no follow-up of a search was inside the limits"
"""Why what a search finds has no value although one was made."""

LEVELS = ("fail", "warn")
"""What a criterion that is not met comes to."""

_SIGNS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Criterion:
    """A metric, a sign and a bound; `level` is what it comes to where it is not met."""

    text: str
    metric: str
    sign: str
    bound: float
    level: str = "fail"

    def met(self, value: float) -> bool:
        """Whether `value` keeps the bound."""
        return bool(_SIGNS[self.sign](value, self.bound))


class CriterionConfig(Strict):
    """A criterion of a config: a bare statement fails a run, `{warn: statement}` only warns."""

    fail: str | None = Field(None, description="What the run must reach; exit code 1 otherwise.")
    warn: str | None = Field(None, description="What it should reach; told otherwise, with exit code 0.")

    @field_validator("fail", "warn")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            parse(text)
        return text

    @model_validator(mode="after")
    def _one_level(self) -> CriterionConfig:
        if (self.fail is None) == (self.warn is None):
            raise ValueError("expected either `fail: statement` or `warn: statement`, got both or none")
        return self

    @property
    def criterion(self) -> Criterion:
        """What it states."""
        return parse(self.fail) if self.fail is not None else parse(self.warn or "", level="warn")


def parse(text: str, *, level: str = "fail") -> Criterion:
    """The criterion that `text` states.

    Raises:
        ValueError: it is no `metric <= number`; the metric is unknown, and the nearest known one is told; or the
            sign and the bound are such that every value of the metric would meet it, or miss it.
    """
    match = re.fullmatch(r"\s*([\w.]+)\s*(<=|>=|<|>)\s*([-+.\deE]+)\s*", text)
    if match is None:
        raise ValueError(f"expected a criterion like `agreement >= 0.99`, got {text!r}")
    metric, sign, number = match.groups()
    if metric not in METRICS and not _of_one_relation(metric):
        near = get_close_matches(metric, _every_metric(), n=1) or sorted(METRICS)
        raise ValueError(f"expected a known metric, got {metric!r} in {text!r}; did you mean {', '.join(near)}?")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"expected a number at the end of {text!r}, got {number!r}") from None
    low, high = SPANS.get(metric.partition(".")[0], (0.0, 1.0))
    if not (math.isfinite(bound) and low <= bound <= high):
        where = f"between {low:g} and {high:g}" if math.isfinite(high) else f"of {low:g} or more"
        raise ValueError(
            f"expected a bound {where}, as every value of {metric} is, got {number} in {text!r}; correct it"
            + (" (5 % is 0.05)" if high == 1 else "")
        )
    always, never = (">=", "<") if bound == low else ("<=", ">") if bound == high else ("", "")
    if sign in (always, never):
        raise ValueError(
            f"expected a criterion that can be met and missed, got {text!r}, which every value of {metric} "
            f"{'meets' if sign == always else 'misses'}; correct the sign or the bound"
        )
    return Criterion(" ".join(text.split()), metric, sign, bound, level)


def _of_one_relation(metric: str) -> bool:
    parts = metric.removesuffix(".upper").split(".")
    return len(parts) == 3 and parts[0] == "revealed_rate" and parts[1] in relations.TIERS and parts[2] in relations.ALL


def _every_metric() -> list[str]:
    return [*METRICS, *(f"revealed_rate.{tier}.{name}" for tier in relations.TIERS for name in relations.ALL)]


def check(criteria: Sequence[Criterion], measured: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """Every criterion for every pair; what was not measured is not met.

    A row has "criterion", "level", "metric", "bound", "pair", "value" (None where it was not measured), "met", "state"
    (pass, warn or fail) and "told", the outcome as a sentence.

    Args:
        measured: for each pair the metrics by name.
    """
    rows = []
    for criterion in criteria:
        for pair, metrics in measured.items():
            value = metrics.get(criterion.metric)
            met = value is not None and criterion.met(value)
            rows.append(
                {
                    "criterion": criterion.text,
                    "level": criterion.level,
                    "metric": criterion.metric,
                    "bound": criterion.bound,
                    "pair": pair,
                    "value": value,
                    "met": met,
                    "state": "pass" if met else criterion.level,
                    "told": _told(criterion, pair, value),
                }
            )
    return rows


def _told(criterion: Criterion, pair: str, value: float | None) -> str:
    expected = f"Expected {criterion.text} of {pair}, got "
    if value is None:
        return f"{expected}no value: {criterion.metric} was not measured ({_why_not(criterion.metric)})."
    return f"{expected}{value:.6g}."


def _why_not(metric: str) -> str:
    first, _, rest = metric.partition(".")
    why = UNMEASURED.get(metric, UNMEASURED.get(first, "the run did not come so far"))
    if first not in ("findings", "minimal_severity"):
        return why
    return f"{why}, or {NOTHING_INSIDE}" if rest else NOTHING_INSIDE


def state(row: Mapping[str, Any]) -> str:
    """What came of a stored row of `check`: pass, warn or fail; rows without levels fail where they are not met."""
    return str(row.get("state") or ("pass" if row["met"] else "fail"))

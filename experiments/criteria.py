"""Pass or fail: `metric <= number` statements that every pair of a run must meet."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

METRICS = {
    "agreement": "share of clean assessment patches on which the two models agree",
    "accuracy_drop": "clean accuracy of the reference minus that of the quantised model",
    "revealed_rate.in_spec": "REVEALED rate of random in-spec chains",
    "revealed_rate.in_spec.upper": "upper end of its 95 % interval",
    "revealed_rate.stress": "REVEALED rate of random stress chains",
    "revealed_rate.stress.upper": "upper end of its 95 % interval",
    "findings": "confirmed findings under the run's tier and limits",
    "findings.quantisation": "those of `findings` that no other kernels, threads or runtime make vanish",
    "findings.kernel": "those of `findings` that vanish where the same file runs under other kernels",
    "findings.runtime": "those of `findings` that vanish under another number of threads or on a common runtime",
    "minimal_severity": "severity of the mildest confirmed finding under the run's tier and limits; 1 without one",
}

_SIGNS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Criterion:
    """A metric, a sign and a bound."""

    text: str
    metric: str
    sign: str
    bound: float

    def met(self, value: float) -> bool:
        """Whether `value` keeps the bound."""
        return bool(_SIGNS[self.sign](value, self.bound))


def parse(text: str) -> Criterion:
    """The criterion that `text` states.

    Raises:
        ValueError: it is no `metric <= number`, or the metric is unknown; the nearest known one is told.
    """
    match = re.fullmatch(r"\s*([\w.]+)\s*(<=|>=|<|>)\s*([-+.\deE]+)\s*", text)
    if match is None:
        raise ValueError(f"expected a criterion like `agreement >= 0.99`, got {text!r}")
    metric, sign, number = match.groups()
    if metric not in METRICS:
        near = get_close_matches(metric, METRICS, n=1) or sorted(METRICS)
        raise ValueError(f"expected a known metric, got {metric!r} in {text!r}; did you mean {', '.join(near)}?")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"expected a number at the end of {text!r}, got {number!r}") from None
    return Criterion(text, metric, sign, bound)


def check(criteria: tuple[str, ...], measured: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """Every criterion for every pair: {"criterion", "pair", "value", "met"}; what was not measured is not met.

    Args:
        measured: for each pair the metrics by name.
    """
    rows = []
    for text in criteria:
        criterion = parse(text)
        for pair, metrics in measured.items():
            value = metrics.get(criterion.metric)
            rows.append(
                {"criterion": text, "pair": pair, "value": value, "met": value is not None and criterion.met(value)}
            )
    return rows

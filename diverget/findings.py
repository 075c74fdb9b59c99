"""Findings: from the leads of a search to records that replay alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import relations
from diverget.archive import Lead, gather
from diverget.models.model import Model
from diverget.outcome import Evidence, Outcome, judge, preference
from diverget.problem import Problem
from diverget.shrink import shrink
from diverget.space import Values, rows_of
from relations import Relation, Sensor, Step, distort
from relations.core import Drawn, layers_of


@dataclass(frozen=True)
class Finding:
    """A patch, a chain, and what the two models said.

    Attributes:
        row: the columns of `findings.parquet`.
        arrays: what a replay needs, by name: the source with its margin, the field under it for every
            relation that draws one, the follow-up, and the four probability vectors.
    """

    row: dict[str, Any]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class Replay:
    """What came of distorting and asking again.

    Attributes:
        revealed: the outcome is REVEALED again, with the same two classes.
        identical: follow-up and probabilities agree with the stored ones bit for bit.
    """

    revealed: bool
    identical: bool
    reference: np.ndarray
    quantised: np.ndarray


@dataclass(frozen=True)
class Distilled:
    """Findings in their mildest form: the rows of all, the arrays of each when asked for.

    Attributes:
        rows: the columns of `findings.parquet`, in the order of the leads.
    """

    rows: list[dict[str, Any]]
    _problem: Problem
    _values: Values
    _patches: np.ndarray
    _evidence: Evidence

    def finding(self, i: int) -> Finding:
        return Finding(
            self.rows[i], _arrays(self._problem, self._evidence, rows_of(self._values, np.array([i])), self._patches, i)
        )


def distil(
    problem: Problem, leads: list[Lead], values: Values, *, step: Callable[[int, int], None] = lambda done, steps: None
) -> Distilled:
    """The findings of `leads`, at least one, in their mildest form; `values` holds every candidate in order."""
    found, patches = gather(leads, values)
    classes = np.array([[lead.seen.reference_class, lead.seen.quantised_class] for lead in leads])
    mild = shrink(problem, found, patches, classes, step=step)
    evidence = problem.rows(mild, patches, angle=True)
    return Distilled(
        [_row(problem, lead, mild, evidence, i) for i, lead in enumerate(leads)], problem, mild, patches, evidence
    )


def source_patch(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The source of a stored finding without its surroundings, (h, w, b)."""
    margin = int(arrays["margins"].sum())
    height, width = arrays["source"].shape[:2]
    return arrays["source"][margin : height - margin, margin : width - margin]


def inputs(stored: Sequence[Mapping[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Of stored findings: sources without their surroundings and follow-ups, (f, h, w, b) each."""
    return np.stack([source_patch(arrays) for arrays in stored]), np.stack([arrays["follow_up"] for arrays in stored])


def replay(
    row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], models: tuple[Model, Model], sensor: Sensor
) -> Replay:
    """What the two models say now of a stored finding and its source, distorted anew, alone, at batch size 1.

    Raises:
        ValueError: the finding names a relation that this version does not know.
    """
    chain = [Step(relations.get(name), values) for name, values in json.loads(row["values"]).items()]
    fields = [stored_field(arrays, step.relation) for step in chain]
    follow_up = distort(arrays["source"][None], chain, fields, sensor, margins=arrays["margins"].tolist())
    reference, quantised = (model.predict_proba(follow_up) for model in models)
    reference_source, quantised_source = (model.predict_proba(source_patch(arrays)[None]) for model in models)
    one = np.ones(1)
    outcome = judge(
        Evidence(
            reference_source=reference_source,
            quantised_source=quantised_source,
            reference=reference,
            quantised=quantised,
            reference_step=models[0].output_step,
            quantised_step=models[1].output_step,
            severity=one,
            psnr=one,
            spectral_angle=one,
            within=one.astype(bool),
        )
    )
    same_classes = (int(reference.argmax()), int(quantised.argmax())) == (
        row["reference_class"],
        row["quantised_class"],
    )
    return Replay(
        revealed=bool(outcome[0] == Outcome.REVEALED) and same_classes,
        identical=(
            np.array_equal(follow_up[0], arrays["follow_up"])
            and np.array_equal(reference[0], arrays["reference"])
            and np.array_equal(quantised[0], arrays["quantised"])
            and np.array_equal(reference_source[0], arrays["reference_source"])
            and np.array_equal(quantised_source[0], arrays["quantised_source"])
        ),
        reference=reference[0],
        quantised=quantised[0],
    )


def stored_field(arrays: Mapping[str, np.ndarray], relation: Relation) -> Drawn | None:
    """The field of `relation` among the arrays of a finding, as a batch of one."""
    layers: list[np.ndarray] = []
    while (name := f"field{len(layers)}_{relation.name}") in arrays:
        layers.append(arrays[name][None])
    if not layers:
        return None
    return layers[0] if len(layers) == 1 else tuple(layers)


def _row(problem: Problem, lead: Lead, values: Values, evidence: Evidence, i: int) -> dict[str, Any]:
    patches, patch = problem.patches, lead.seen.patch
    row, col = patches.places[patch].tolist()
    steps = {
        slot.relation.name: {name: float(column[i]) for name, column in chosen.items()}
        for slot, chosen in zip(problem.space.slots, values, strict=True)
    }
    heaviest = problem.space.slots[int(problem.space.weights(rows_of(values, np.array([i]))).argmax())].relation
    return {
        "tier": problem.space.tier,
        "patch": patch,
        "row": row,
        "col": col,
        "label": int(patches.labels[patch]),
        "reference_class": lead.seen.reference_class,
        "quantised_class": lead.seen.quantised_class,
        "severity": float(evidence.severity[i]),
        "severity_found": lead.severity,
        "psnr": float(evidence.psnr[i]),
        "spectral_angle": float(evidence.spectral_angle[i]),
        "reference_margin": float(preference(evidence.reference[[i]], np.array([lead.seen.quantised_class]))[0]),
        "quantised_margin": float(preference(evidence.quantised[[i]], np.array([lead.seen.reference_class]))[0]),
        "relation": heaviest.name,
        "family": heaviest.family,
        "chain": problem.space.words(values, i),
        "values": json.dumps(steps),
    }


def _arrays(problem: Problem, evidence: Evidence, values: Values, patches: np.ndarray, i: int) -> dict[str, np.ndarray]:
    """What a replay of finding `i` needs; `values` are its own, one row."""
    patch = patches[i : i + 1]
    fields = {
        f"field{layer}_{slot.relation.name}": drawn[0]
        for slot, layers in zip(problem.space.slots, problem.fields_under(patch), strict=True)
        for layer, drawn in enumerate(layers_of(layers))
    }
    return {
        "source": problem.patches.windows(patch)[0],
        "margins": np.array(problem.margins, dtype=np.int64),
        "follow_up": problem.follow_ups(values, patch)[0],
        "reference_source": evidence.reference_source[i],
        "quantised_source": evidence.quantised_source[i],
        "reference": evidence.reference[i],
        "quantised": evidence.quantised[i],
        **fields,
    }

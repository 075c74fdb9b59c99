"""The space of chains: names, order, bounds, and both directions of the conversion to the unit cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from relations import ALL
from relations.chain import Step
from relations.core import Bounds, Param, Relation

Values = tuple[dict[str, np.ndarray], ...]
"""For each slot of a space, its param values by name, each an array (m,) float64 in natural units."""


@dataclass(frozen=True)
class Slot:
    """One relation of a space with the bounds in force."""

    relation: Relation
    bounds: Mapping[str, Bounds]


@dataclass(frozen=True)
class Space:
    """Chains of relations as points of [0, 1]^d.

    Attributes:
        slots: relations in acquisition order.
        tier: the tier whose declared bounds the slots lie within.
    """

    slots: tuple[Slot, ...]
    tier: str

    @classmethod
    def of(
        cls,
        relations: Sequence[Relation],
        *,
        tier: str,
        narrowed: Mapping[str, Mapping[str, Bounds]] | None = None,
    ) -> Space:
        """The space of `relations` under the bounds of `tier`, some of them narrowed.

        Raises:
            ValueError: no relation, one named twice, an unknown param, or bounds wider than declared.
        """
        if not relations:
            raise ValueError("Expected at least one relation for a space, got none; name some under `relations:`.")
        names = [relation.name for relation in relations]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Expected every relation once, got {name!r} {names.count(name)} times.")
        narrowed = narrowed or {}
        place = list(ALL)
        order = sorted(relations, key=lambda relation: place.index(relation.name))
        return cls(
            tuple(Slot(relation, _bounds(relation, tier, narrowed.get(relation.name, {}))) for relation in order), tier
        )

    @property
    def axes(self) -> list[tuple[int, Param, Bounds]]:
        """(slot, param, bounds) of every dimension of the cube."""
        return [
            (index, param, slot.bounds[param.name])
            for index, slot in enumerate(self.slots)
            for param in slot.relation.params
        ]

    @property
    def dimensions(self) -> int:
        return len(self.axes)

    def margins(self, shape: tuple[int, int]) -> list[int]:
        """For each slot the pixels of surroundings that a patch of `shape` (h, w) can need; their sum is the chain's.

        A slot hands on the patch with what the later slots need, so the later margins widen the earlier ones.
        """
        height, width = shape
        margins: list[int] = []
        for slot in reversed(self.slots):
            margins.append(slot.relation.margin_for(slot.bounds, (height, width)))
            height, width = height + 2 * margins[-1], width + 2 * margins[-1]
        return margins[::-1]

    def decode(self, u: np.ndarray) -> Values:
        """Values in natural units of the points `u`, (m, d) in [0, 1]."""
        values: Values = tuple({} for _ in self.slots)
        for column, (slot, param, bounds) in enumerate(self.axes):
            values[slot][param.name] = param.decode(u[:, column], bounds)
        return values

    def encode(self, values: Values) -> np.ndarray:
        """The points (m, d) of `values`: the inverse of `decode`."""
        return np.stack([param.encode(values[slot][param.name], bounds) for slot, param, bounds in self.axes], axis=1)

    def severity(self, values: Values) -> np.ndarray:
        """Mean over the strengths of the distance from neutral, (m,) in [0, 1]; 0 where nothing happens."""
        strengths = [
            param.strength(values[slot][param.name], bounds)
            for slot, param, bounds in self.axes
            if param.neutral is not None
        ]
        return np.mean(strengths, axis=0)

    def weights(self, values: Values) -> np.ndarray:
        """How much each slot adds to the severity, (m, slots); the sum of a row is its severity."""
        share = np.zeros((len(values[0][self.slots[0].relation.params[0].name]), len(self.slots)))
        strengths = [axis for axis in self.axes if axis[1].neutral is not None]
        for slot, param, bounds in strengths:
            share[:, slot] += param.strength(values[slot][param.name], bounds) / len(strengths)
        return share

    def strength_columns(self) -> list[int]:
        """The columns of the cube that are strengths: they have a neutral value."""
        return [column for column, (_, param, _) in enumerate(self.axes) if param.neutral is not None]

    def neutral(self) -> np.ndarray:
        """The point (d,) at which nothing happens; shape params stand in their middle."""
        return np.array(
            [
                0.5 if param.neutral is None else float(param.encode(param.neutral, bounds))
                for _, param, bounds in self.axes
            ]
        )

    def chain(self, values: Values) -> list[Step]:
        """The chain whose rows carry `values`."""
        return [Step(slot.relation, chosen) for slot, chosen in zip(self.slots, values, strict=True)]

    def words(self, values: Values, row: int) -> str:
        """Row `row` of `values` as a sentence: what was done, in order, with units."""
        steps = []
        for step in self.chain(rows_of(values, np.array([row]))):
            if step.active(1)[0]:
                knobs = ", ".join(
                    param.words(float(np.asarray(step.values[param.name])[0])) for param in step.relation.params
                )
                steps.append(f"{step.relation.name} {knobs}")
        return " → ".join(steps) or "nothing"


def rows_of(values: Values, rows: np.ndarray) -> Values:
    """`values` with only the given rows, in the given order, repeats allowed."""
    return tuple({name: column[rows] for name, column in chosen.items()} for chosen in values)


def _bounds(relation: Relation, tier: str, narrowed: Mapping[str, Bounds]) -> dict[str, Bounds]:
    declared = relation.bounds(tier)
    for name, (low, high) in narrowed.items():
        if name not in declared:
            raise ValueError(
                f"Expected a param of {relation.name!r} ({', '.join(declared)}), got {name!r}; correct it under "
                "`relations:`."
            )
        widest = declared[name]
        if not widest[0] <= low <= high <= widest[1]:
            raise ValueError(
                f"Expected bounds of {relation.name}.{name} within the declared {tier} bounds {list(widest)}, "
                f"got {[low, high]}; narrow them, or choose another tier."
            )
        param = next(p for p in relation.params if p.name == name)
        if param.integer and (low != round(low) or high != round(high)):
            raise ValueError(
                f"Expected whole bounds of {relation.name}.{name} ({param.unit}), got {[low, high]}; round them."
            )
        if param.neutral is not None and not low <= param.neutral <= high:
            raise ValueError(
                f"Expected bounds of {relation.name}.{name} to hold its neutral value {param.neutral}, "
                f"got {[low, high]}; widen them to it."
            )
    return {**declared, **narrowed}

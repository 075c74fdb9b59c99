"""A chain: relations with their values, in order, and what they make of a batch of patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from relations.core import Drawn, Param, Relation, Sensor, each_layer, layers_of

BLOCK_VALUES = 1 << 20
"""Values of a block of rows with their surroundings, 4 MiB of float32: with fewer the calls cost more than the work,
and threads wait for each other (measured). All scratch memory of `distort` is that of one block, or of one row where a
row is larger."""

PIXEL_WEIGHTS = 16
"""Weights a pixel that a relation may need, as cubic interpolation does: with fewer bands than that they count."""


@dataclass(frozen=True)
class Step:
    """One relation of a chain with its values: a float for all rows, or an array (n,) with one a row."""

    relation: Relation
    values: Mapping[str, np.ndarray | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.relation, Relation):
            raise ValueError(
                f"Expected a relation for a step, got {self.relation!r}; look it up: `get('name')`, names by `ALL`."
            )
        names = [param.name for param in self.relation.params]
        if set(self.values) != set(names):
            raise ValueError(
                f"Expected values for {', '.join(names)} of the relation {self.relation.name!r}, "
                f"got {', '.join(self.values) or 'none'}; give each param one value or one a row."
            )
        for param in self.relation.params:
            _require_within(self.relation.name, param, np.asarray(self.values[param.name]))

    def active(self, rows: int) -> np.ndarray:
        """Which rows the step changes at all, (rows,) bool: some strength is away from neutral."""
        away = np.zeros(rows, dtype=bool)
        for param in self.relation.params:
            if param.neutral is not None:
                away |= np.asarray(self.values[param.name]) != param.neutral
        return away


Chain = Sequence[Step]


def distort(
    x: np.ndarray,
    chain: Chain,
    fields: Sequence[Drawn | None],
    sensor: Sensor,
    *,
    margins: Sequence[int] | None = None,
) -> np.ndarray:
    """The follow-ups of `x` under `chain`: every step in order, clipped to the sensor's range at the end.

    Each step uses up its own margin, so only the steps before the last spatial one work on surroundings. Rows pass
    in blocks.

    Args:
        x: source patches with their surroundings, (n, h + 2m, w + 2m, b) float32, m the sum of `margins`, in the
            scene's unit.
        chain: the steps, in acquisition order.
        fields: for each step its field under each patch, one array or a tuple of them as its `draw` gives, each
            broadcastable to the window that reaches that step, or None: (n, h + 2r | 1, w + 2r | 1, b | 1), r the
            sum of its margin and of all later ones.
        sensor: range, signal and wavelengths of the scene.
        margins: for each step the pixels of surroundings it uses up on each side; without it none has any.

    Returns:
        (n, h, w, b) float32. Inside the sensor's range a row whose strengths are all neutral comes back bit for bit
        (the sign of a zero aside).

    Raises:
        ValueError: `x` is not a finite float32 batch of rank 4 with the sensor's bands and enough surroundings; values,
            fields, margins and steps do not go together; or a field is not finite.
    """
    margins = [0] * len(chain) if margins is None else margins
    if not len(fields) == len(margins) == len(chain):
        raise ValueError(
            f"Expected one field (or None) and one margin for each of {len(chain)} steps, got {len(fields)} and "
            f"{len(margins)}; draw one for each step that has a `draw`."
        )
    _require_margins(chain, margins)
    _require_patches(x, sensor, sum(margins))
    rows, height, width, bands = x.shape
    trimmed = 2 * sum(margins)
    low, high = np.float32(sensor.low), np.float32(sensor.high)
    out = np.empty((rows, height - trimmed, width - trimmed, bands), dtype=np.float32)
    left = 0
    for step, drawn, margin in zip(chain, fields, margins, strict=True):
        _require_values(step, rows)
        _require_field(step.relation, drawn, (rows, height - 2 * left, width - 2 * left, bands))
        left += margin
    values = [{name: _column(value, rows) for name, value in step.values.items()} for step in chain]
    active = [step.active(rows) for step in chain]
    # A quarter of a matrix of the bands: patches of a pixel or two would else bring too many matrices into a block.
    size = max(1, BLOCK_VALUES // max(1, height * width * max(bands, PIXEL_WEIGHTS), bands**2 // 4))
    for start in range(0, rows, size):
        block = slice(start, start + size)
        moved = x[block]
        for step, drawn, margin, chosen, away in zip(chain, fields, margins, values, active, strict=True):
            if not away[block].any():
                moved = moved[:, margin : moved.shape[1] - margin, margin : moved.shape[2] - margin]
                continue
            knobs = {name: column[block] for name, column in chosen.items()}
            under = None if drawn is None else each_layer(drawn, lambda layer, block=block: layer[block])  # type: ignore[misc]
            if step.relation.margin is None:
                moved = step.relation.apply(moved, under, sensor, **knobs)
            else:
                moved = step.relation.apply(moved, under, sensor, **knobs, trim=margin)
        _require_finite(moved, x[block], start)
        np.clip(moved, low, high, out=out[block])
    return out


def _column(value: np.ndarray | float, rows: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(value, dtype=np.float32), (rows,))[:, None, None, None]


def _require_within(relation: str, param: Param, value: np.ndarray) -> None:
    low, high = param.stress
    # float32 holds the value that is applied: a bound rounded to it is still the bound.
    slack = 1e-6 * max(abs(low), abs(high))
    if value.dtype.kind not in "fiu" or value.ndim > 1:
        raise ValueError(
            f"Expected a number or one number a row for {relation}.{param.name}, got {value.dtype} of shape "
            f"{value.shape}; pass a float or an array (n,)."
        )
    outside = ~((value >= low - slack) & (value <= high + slack))
    if outside.any():
        raise ValueError(
            f"Expected {relation}.{param.name} ({param.unit}) within the stress bounds {[low, high]}, got "
            f"{float(value[outside].flat[0]) if value.ndim else float(value)}; choose a value inside them."
        )


def _require_values(step: Step, rows: int) -> None:
    for name, value in step.values.items():
        if np.shape(value) not in ((), (rows,)):
            raise ValueError(
                f"Expected one value of {step.relation.name}.{name} or one for each of {rows} patches, got "
                f"{np.shape(value)}; repeat the patches or the values."
            )


def _require_margins(chain: Chain, margins: Sequence[int]) -> None:
    for step, margin in zip(chain, margins, strict=True):
        if margin < 0 or (margin > 0 and step.relation.margin is None):
            raise ValueError(
                f"Expected {'no margin' if step.relation.margin is None else 'a margin of 0 or more pixels'} for the "
                f"relation {step.relation.name!r}, got {margin}; take `margin_for` of its bounds."
            )


def _require_patches(x: np.ndarray, sensor: Sensor, margin: int) -> None:
    if not isinstance(x, np.ndarray) or x.ndim != 4 or x.dtype != np.float32:
        got = f"shape {x.shape}, {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"Expected patches (n, h, w, b) float32, got {got}; stack and cast them.")
    if x.shape[3] != len(sensor.signal):
        raise ValueError(
            f"Expected patches of the sensor's {len(sensor.signal)} bands, got shape {x.shape}; "
            "take the sensor of the scene that the patches were cut from."
        )
    if min(x.shape[1:3]) <= 2 * margin:
        raise ValueError(
            f"Expected patches with {margin} pixels of surroundings on each side, got shape {x.shape}; "
            "cut them with the sum of `margins`."
        )


def _require_finite(moved: np.ndarray, x: np.ndarray, first: int) -> None:
    """What is not finite in patches, field or signal comes out not finite: one look at the result sees it."""
    if moved.size == 0 or (np.isfinite(moved.min()) and np.isfinite(moved.max())):
        return
    broken = ~np.isfinite(x).all(axis=(1, 2, 3))
    if broken.any():
        raise ValueError(
            f"Expected finite values, got NaN or infinity in row {first + int(broken.argmax())} of the patches; mask "
            "such pixels or fill them before they are distorted."
        )
    row = first + int((~np.isfinite(moved).all(axis=(1, 2, 3))).argmax())
    raise ValueError(
        f"Expected finite follow-ups, got NaN or infinity in row {row}; look at the fields of the chain, which must be "
        "finite, and at its values."
    )


def _require_field(relation: Relation, drawn: Drawn | None, window: tuple[int, ...]) -> None:
    layers = layers_of(drawn)
    fits = len(layers) == relation.layers and all(
        layer.ndim == 4 and layer.shape[0] == window[0] and all(map(_spans, layer.shape[1:], window[1:]))
        for layer in layers
    )
    if not fits or isinstance(drawn, tuple) != (relation.layers > 1):
        rows, height, width, bands = window
        kind = "a field" if relation.layers == 1 else f"{relation.layers} fields"
        shaped = f"{kind} of shape ({rows}, {height} | 1, {width} | 1, {bands} | 1)" if relation.layers else "no field"
        raise ValueError(
            f"Expected {shaped} for the relation "
            f"{relation.name!r}, got {', '.join(str(np.shape(layer)) for layer in layers) or 'none'}; cut what its "
            "`draw` gives under the patches."
        )


def _spans(length: int, whole: int) -> bool:
    return length in (1, whole)

"""A small scene with edges and spectra, patches cut from it, and the values of a relation: the same every time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from relations import Relation, Sensor, Step, distort
from relations.core import Drawn, each_layer

LOW, HIGH = 50.0, 4000.0
"""The fixture's range of values; it does not start at 0, so that no formula may forget its lower end."""


@dataclass(frozen=True)
class Cut:
    """Patches with the field of one relation under them, (n, h, w, b) and (n, h | 1, w | 1, b | 1) or None."""

    x: np.ndarray
    field: Drawn | None
    sensor: Sensor

    def rows(self, index: np.ndarray) -> Cut:
        """The same patches in another batch."""
        return replace(self, x=self.x[index], field=each(self.field, lambda layer: layer[index]))


def each(field: Drawn | None, change: Callable[[np.ndarray], np.ndarray]) -> Drawn | None:
    """The field with every array of it changed, where there is one."""
    return None if field is None else each_layer(field, change)


def wavelengths(bands: int) -> np.ndarray:
    """Ascending centres from 430 nm, 6 nm apart, with a gap of 150 nm after two thirds of the bands."""
    return 430.0 + 6.0 * np.arange(bands) + 150.0 * (np.arange(bands) >= max(1, 2 * bands // 3))


def scene(height: int, width: int, bands: int, *, seed: int = 0) -> np.ndarray:
    """A cube (height, width, bands) float32 in 80..4000: fields with borders, smooth spectra, some texture."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, height, width, bands]))
    position = np.linspace(0, 1, bands)
    spectra = 0.2 + 0.5 * rng.random((4, 1)) * position + 0.2 * np.cos(7 * position + 6 * rng.random((4, 1)))
    material = (np.arange(height)[:, None] // 3 + np.arange(width) // 4) % 4
    cube = np.abs(spectra[material]) + 0.05 * rng.random((height, width, bands)) + 0.02
    return np.asarray(cube * HIGH, dtype=np.float32)


def cut(relation: Relation | None, *, rows: int, size: tuple[int, int, int], seed: int = 0) -> Cut:
    """`rows` patches of `size` (h, w, b) at random places of a scene, with the field of `relation` under them."""
    height, width, bands = size
    cube = scene(height + 8, width + 8, bands, seed=seed)
    rng = np.random.default_rng(np.random.SeedSequence([seed, rows]))
    down = rng.integers(0, 9, rows)[:, None] + np.arange(height)
    across = rng.integers(0, 9, rows)[:, None] + np.arange(width)

    def under(values: np.ndarray) -> np.ndarray:
        i = down if values.shape[0] > 1 else np.zeros((rows, 1), dtype=int)
        j = across if values.shape[1] > 1 else np.zeros((rows, 1), dtype=int)
        return np.ascontiguousarray(values[i[:, :, None], j[:, None, :]])

    field: Drawn | None = None
    if relation is not None and relation.draw is not None:
        field = each(relation.draw(np.random.default_rng(np.random.SeedSequence([seed, 1])), cube.shape), under)
    signal = cube.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return Cut(under(cube), field, Sensor(LOW, HIGH, signal, wavelengths(bands)))


def dose(
    relation: Relation, *, rows: int, seed: int = 0, tier: str = "stress", neutral: bool = False
) -> dict[str, np.ndarray]:
    """Random values (rows,) inside the bounds of `tier`; with `neutral`, every strength at its neutral value."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    values = {}
    for param in relation.params:
        values[param.name] = param.decode(rng.random(rows), getattr(param, tier))
        if neutral and param.neutral is not None:
            values[param.name] = np.full(rows, param.neutral)
    return values


def strongest(relation: Relation) -> dict[str, float]:
    """Every strength at its stress bound farthest from neutral, every shape param at its upper one."""
    return {
        param.name: max(param.stress, key=lambda end: (float(param.strength(end, param.stress)), end))
        for param in relation.params
    }


def applied(relation: Relation, patches: Cut, values: Mapping[str, np.ndarray], *, trim: int = 0) -> np.ndarray:
    """What the relation itself makes of the patches, not clipped."""
    shaped = {name: np.asarray(v, dtype=np.float32)[:, None, None, None] for name, v in values.items()}
    trimmed = {"trim": trim} if relation.margin else {}
    return relation.apply(patches.x, patches.field, patches.sensor, **shaped, **trimmed)


def distorted(relation: Relation, patches: Cut, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a chain of the relation alone makes of the patches, clipped to the sensor's range."""
    return distort(patches.x, [Step(relation, values)], [patches.field], patches.sensor)


def column(*values: float) -> np.ndarray:
    """Values of one param, one a row, (n, 1, 1, 1) float32."""
    return np.asarray(values, dtype=np.float32)[:, None, None, None]


def drawn(relation: Relation, shape: tuple[int, int, int], *, seed: int) -> np.ndarray:
    """The field of a random relation under one patch of `shape`."""
    assert relation.draw is not None
    field = relation.draw(np.random.default_rng(seed), shape)
    assert isinstance(field, np.ndarray)
    return field[None]


def sensor_of(bands: int, centres: np.ndarray | None = None, *, signal: float = 1000.0) -> Sensor:
    return Sensor(LOW, HIGH, np.full(bands, signal, np.float32), centres)

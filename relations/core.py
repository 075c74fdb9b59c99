"""What a relation is: its params with units and bounds, its field, its function.

A *relation* is a natural distortion under which the class must not change. It acts on raw patches in the
scene's own unit, `(n, h, w, b)` float32, and is a pure function of its arguments: whatever is random in it
was drawn beforehand, over the whole scene, as a *field*. Every value is an array of shape `(n, 1, 1, 1)`,
so a batch may hold another distortion in each row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from types import MappingProxyType

import numpy as np

FAMILIES = ("atmosphere", "optics", "spectral", "radiometry", "sensor")
"""The families in acquisition order: light crosses the air, the optics, the dispersing element; what arrives is
turned into numbers by the radiometric response, and the detector adds its own. A gain that is the same for the
whole patch commutes with all that is linear before it, so sunlight may stand under radiometry as well."""

TIERS = ("in_spec", "stress")
"""`in_spec`: what flying sensors are measured to do; `stress`: far harsher."""

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Param:
    """One knob of a relation, in physical units.

    Args:
        name: keyword of the relation's function.
        unit: physical unit, in words.
        in_spec, stress: closed bounds `(low, high)` of the two tiers; `in_spec` lies inside `stress`.
        neutral: the value at which nothing happens, inside both bounds. A *strength* has one; a *shape*
            param (an angle, a band) has none.
        log: the unit cube is spread over the logarithm of the value.
        integer: only whole values; `[0, 1]` falls into equal cells.
        jumps: a small change of the value moves a few values of the patch by a lot, as a share of lost pixels does;
            whole values jump anyway. Between jumps nothing moves: along such a param a class is left all at once.
        choices: for a switch, a word for each of its values 0, 1, ...
    """

    name: str
    unit: str
    in_spec: Bounds
    stress: Bounds
    neutral: float | None = None
    log: bool = False
    integer: bool = False
    jumps: bool = False
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for tier in TIERS:
            low, high = getattr(self, tier)
            if not low <= high:
                raise ValueError(f"Expected low <= high in {tier} of param {self.name!r}, got {(low, high)}.")
            if self.log and low <= 0:
                raise ValueError(f"Expected positive bounds of the log param {self.name!r}, got {(low, high)}.")
            if self.neutral is not None and not low <= self.neutral <= high:
                raise ValueError(
                    f"Expected the neutral value of {self.name!r} inside {tier} {(low, high)}, got {self.neutral}."
                )
        if not (self.stress[0] <= self.in_spec[0] and self.in_spec[1] <= self.stress[1]):
            raise ValueError(f"Expected in_spec inside stress of {self.name!r}: {self.in_spec}, {self.stress}.")
        if self.choices and (not self.integer or self.stress != (0, len(self.choices) - 1)):
            raise ValueError(f"Expected whole bounds (0, {len(self.choices) - 1}) of the switch {self.name!r}.")
        if not self.unit:
            raise ValueError(f"Expected a unit for param {self.name!r}; dimensionless strengths name their share.")

    def decode(self, u: np.ndarray, bounds: Bounds) -> np.ndarray:
        """Values in natural units, float64, of unit-cube coordinates `u` (any shape) under `bounds`.

        A value within rounding of the neutral one is the neutral one, so that `decode(encode(neutral))` is
        neutral to the last bit.
        """
        low, high = bounds
        if self.integer:
            cells = int(high) - int(low) + 1
            return low + np.minimum(np.floor(np.asarray(u) * cells), cells - 1)
        if self.log:
            value = np.exp((1 - np.asarray(u)) * np.log(low) + np.asarray(u) * np.log(high))
            value = np.where(np.asarray(u) <= 0, low, np.where(np.asarray(u) >= 1, high, value))
        else:
            value = (1 - np.asarray(u, dtype=np.float64)) * low + np.asarray(u) * high
        value = np.clip(value, low, high)
        if self.neutral is None:
            return value
        return np.where(np.abs(value - self.neutral) <= 1e-12 * (high - low), self.neutral, value)

    def encode(self, value: np.ndarray | float, bounds: Bounds) -> np.ndarray:
        """Unit-cube coordinates, float64, of `value` under `bounds`: the inverse of `decode`."""
        low, high = bounds
        value = np.asarray(value, dtype=np.float64)
        if high == low:
            return np.zeros_like(value)
        if self.integer:
            return (value - low + 0.5) / (int(high) - int(low) + 1)
        if self.log:
            return (np.log(value) - np.log(low)) / (np.log(high) - np.log(low))
        return (value - low) / (high - low)

    def words(self, value: float) -> str:
        """The value with its unit, or the word for it."""
        return self.choices[round(value)] if self.choices else f"{value:.3g} {self.unit}"

    def strength(self, value: np.ndarray | float, bounds: Bounds) -> np.ndarray:
        """Distance from neutral in [0, 1], 1 at the end of `bounds` that lies farthest; 0 for a shape param."""
        value = np.asarray(value, dtype=np.float64)
        if self.neutral is None:
            return np.zeros_like(value)
        scale = np.log if self.log else np.asarray
        away = np.abs(scale(value) - scale(self.neutral))
        reach = max(abs(float(scale(end) - scale(self.neutral))) for end in bounds)
        return away / reach if reach > 0 else np.zeros_like(value)


def switch(name: str, off: str, on: str) -> Param:
    """A shape param of two values, 0 and 1, with a word for each; the same in both tiers."""
    return Param(name, f"0 {off}, 1 {on}", in_spec=(0, 1), stress=(0, 1), integer=True, choices=(off, on))


SHORTEST = 100.0
"""Wavelengths that end below this are in µm: the rule of thumb of github.com/EnMAP-Box/enmap-box, issue 25."""


@dataclass(frozen=True)
class Sensor:
    """What a relation may know of the instrument and the scene it looks at.

    Args:
        low, high: the valid range of values in the scene's unit; follow-ups are clipped to it, and
            `high - low` is the peak of PSNR.
        signal: typical (mean) level of each band over the scene, (b,) float32, in the scene's unit.
        wavelengths: band centres in nm, (b,) float64 ascending, or None where the data has none.
    """

    low: float
    high: float
    signal: np.ndarray
    wavelengths: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "signal", np.asarray(self.signal, dtype=np.float32))
        if not (np.isfinite(self.signal).all() and np.isfinite([self.low, self.high]).all()):
            raise ValueError(
                f"Expected a finite range and signal, got ({self.low}, {self.high}) and {self.signal}; leave masked "
                "pixels out of the mean."
            )
        if not self.low < self.high:
            raise ValueError(
                f"Expected low < high as the sensor's range, got ({self.low}, {self.high}); "
                "set `value_range:` to what the scene's unit allows."
            )
        if self.wavelengths is None:
            return
        centres = np.asarray(self.wavelengths, dtype=np.float64)
        object.__setattr__(self, "wavelengths", centres)
        if centres.shape != np.shape(self.signal) or (np.diff(centres) < 0).any() or not (centres > 0).all():
            raise ValueError(
                f"Expected ascending positive wavelengths, one for each of the {np.size(self.signal)} bands of the "
                f"signal, got {centres.size} from {centres[0]} to {centres[-1]} nm; sort the bands by wavelength."
            )
        if centres[-1] < SHORTEST:
            raise ValueError(
                f"Expected wavelengths in nm, got {centres[0]} to {centres[-1]}, which look like µm; multiply by 1000."
            )

    def require_wavelengths(self, relation: str) -> np.ndarray:
        """The wavelengths in nm.

        Raises:
            ValueError: the data has none.
        """
        if self.wavelengths is None:
            raise ValueError(
                f"Relation {relation!r} works in nm and expected the band centres, got a scene without wavelengths; "
                "add `wavelengths:` under `scene:` in the config, or leave the relation out."
            )
        return self.wavelengths


Drawn = np.ndarray | tuple[np.ndarray, ...]
"""What was drawn for a relation: one array, or several that are read together (which rows, which columns)."""


def layers_of(drawn: Drawn | None) -> tuple[np.ndarray, ...]:
    """The arrays a field is made of; none where there is none."""
    if drawn is None:
        return ()
    return drawn if isinstance(drawn, tuple) else (drawn,)


def each_layer(drawn: Drawn, change: Callable[[np.ndarray], np.ndarray]) -> Drawn:
    """The field with every array of it changed."""
    return tuple(change(layer) for layer in drawn) if isinstance(drawn, tuple) else change(drawn)


Draw = Callable[[np.random.Generator, tuple[int, int, int]], Drawn]
Apply = Callable[..., np.ndarray]
Margin = Callable[[Mapping[str, Bounds], tuple[int, int]], float]


@dataclass(frozen=True)
class Relation:
    """One natural distortion.

    Attributes:
        name: the name of its function; unique.
        family: the module that holds it, one of `FAMILIES`.
        params: its knobs.
        apply: `apply(x, field, sensor, **values) -> x'`, pure, row by row independent, never writing to `x`.
        draw: `draw(rng, (H, W, B)) -> field`, parameter-free float32, one array that broadcasts to `(H, W, B)` or
            a tuple of such; None where nothing is random and nothing depends on the place.
        margin: `margin(bounds, (h, w)) -> pixels` of surroundings that a patch of h x w pixels needs on each side
            under any value inside `bounds`; None where a pixel needs no neighbours. A relation with a margin
            takes the keyword `trim`, the pixels on each side to leave out of its result.
        needs_wavelengths: refuses scenes without band centres.
        source: the publication behind the bounds, or "engineering judgement".
    """

    name: str
    family: str
    params: tuple[Param, ...]
    apply: Apply
    draw: Draw | None
    margin: Margin | None
    needs_wavelengths: bool
    source: str
    summary: str
    where: str

    @cached_property
    def layers(self) -> int:
        """How many arrays its field consists of; 0 without a field."""
        if self.draw is None:
            return 0
        return len(layers_of(self.draw(np.random.default_rng(0), (1, 1, 1))))

    def bounds(self, tier: str) -> dict[str, Bounds]:
        """The declared bounds of every param in `tier`."""
        return {param.name: getattr(param, tier) for param in self.params}

    def margin_for(self, bounds: Mapping[str, Bounds], shape: tuple[int, int]) -> int:
        """Pixels of surroundings that a patch of `shape` (h, w) can need under any value inside `bounds`."""
        return 0 if self.margin is None else ceil(self.margin(bounds, shape) - 1e-9)


def farthest(bounds: Bounds) -> float:
    """The larger distance of the two bounds from zero."""
    return max(abs(bounds[0]), abs(bounds[1]))


_FOUND: dict[str, Relation] = {}
ALL: Mapping[str, Relation] = MappingProxyType(_FOUND)
"""Every relation by name, in the order in which the families' files declare them."""


def relation(
    *,
    params: tuple[Param, ...],
    source: str,
    draw: Draw | None = None,
    margin: Margin | None = None,
    needs_wavelengths: bool = False,
) -> Callable[[Apply], Apply]:
    """Declare a function as a relation under its own name; its family is the module it stands in.

    Raises:
        ValueError: the name is taken (both places are named), or the params and the keywords differ.
    """

    def declare(function: Apply) -> Apply:
        name = function.__name__
        where = f"{function.__module__}:{function.__code__.co_firstlineno}"
        if name in _FOUND:
            raise ValueError(f"Expected a new name for the relation at {where}; {name!r} is at {_FOUND[name].where}.")
        keywords = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        expected = [param.name for param in params] + (["trim"] if margin else [])
        if keywords != expected:
            raise ValueError(f"Expected the keywords {expected} of {name!r} at {where}, got {keywords}.")
        _FOUND[name] = Relation(
            name=name,
            family=_family(function.__module__),
            params=params,
            apply=function,
            draw=draw,
            margin=margin,
            needs_wavelengths=needs_wavelengths,
            source=source,
            summary=(inspect.getdoc(function) or "").partition("\n")[0],
            where=where,
        )
        return function

    return declare


def _family(module: str) -> str:
    """`relations.sensor.noise` and `relations.sensor` hold the family sensor; elsewhere a module is its own family."""
    package, *parts = module.split(".")
    return parts[0] if package == "relations" and parts else module.rpartition(".")[2]


def get(name: str) -> Relation:
    """The relation called `name`.

    Raises:
        ValueError: there is none; the nearest known names are told.
    """
    from difflib import get_close_matches

    if name not in ALL:
        near = get_close_matches(str(name), ALL, n=3) or sorted(ALL)
        raise ValueError(f"Expected the name of a relation, got {name!r}; did you mean {', '.join(near)}?")
    return ALL[name]

"""Numbers as a reader wants them: units, intervals, sizes, counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

NARROW = "\u202f"
"""Narrow no-break space, between a number and its unit."""

NOTHING = "–"

TIERS = {"in_spec": "in spec", "stress": "under stress"}
"""By tier, where something was found or drawn."""

RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` significant digits, as a power of ten below 1e-4 and from 1e6; a dash for None."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    text = f"{value:.{digits}g}"
    if "e" in text and abs(value) >= 1 and abs(value) < 1e6:
        return count(round(value)).replace("-", "−")
    mantissa, _, exponent = text.partition("e")
    power = f" · 10{str(int(exponent)).translate(RAISED)}" if exponent else ""
    return mantissa.replace("-", "−") + power


def count(value: float | None) -> str:
    """A whole number with thousands set apart; a dash for None."""
    return NOTHING if value is None else f"{int(value):,}".replace(",", NARROW)


def in_tier(name: str) -> str:
    """`in spec`, `under stress`."""
    return TIERS[name]


def plural(value: int, one: str, many: str | None = None) -> str:
    """`1 finding`, `7 findings`."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def ending(name: str, most: int) -> str:
    """The end of a name longer than `most` signs, behind an ellipsis: the ends tell the layers of a network apart."""
    return name if len(name) <= most else f"…{name[len(name) - most + 1 :]}"


def share(value: float) -> str:
    """A share as per cent without the sign: two digits below 1, one decimal above, two from 99; 100 only for all."""
    percent = 100 * value
    if percent in (0, 100):
        return f"{percent:.0f}"
    if percent < 1:
        return f"{percent:.2g}" if percent >= 0.001 else "<0.001"
    if percent < 99:
        return f"{percent:.1f}"
    return f"{percent:.2f}" if percent < 99.995 else ">99.99"


def percent(value: float | None) -> str:
    """A share as per cent."""
    return NOTHING if value is None else f"{share(value)}{NARROW}%"


def interval(lower: float | None, upper: float | None) -> str:
    """Two shares as a range in per cent."""
    if lower is None or upper is None:
        return NOTHING
    return f"{share(lower)}–{share(upper)}{NARROW}%"


def points(value: float | None) -> str:
    """A difference of two shares in percentage points, signed."""
    if value is None:
        return NOTHING
    return f"{100 * value:+.2f}".replace("-", "−") + f"{NARROW}pp"


def large(value: float | None) -> str:
    """A large count to three digits, with the SI letter that a unit may follow: `23.0 M`."""
    if value is None:
        return NOTHING
    for letter, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            digits = max(0, 3 - len(f"{int(value / scale)}"))
            return f"{value / scale:.{digits}f}{NARROW}{letter}"
    return count(value)


def size(value: float | None) -> str:
    """Bytes in kB or MB."""
    if value is None:
        return NOTHING
    for unit, scale in (("MB", 1e6), ("kB", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{NARROW}{unit}" if value < 1e9 else f"{value / scale:,.0f}{NARROW}{unit}"
    return f"{value:.0f}{NARROW}B"


def seconds(value: float | None) -> str:
    """A duration in s, min or h."""
    if value is None:
        return NOTHING
    for unit, scale in (("h", 3600), ("min", 60)):
        if value >= scale:
            return f"{value / scale:.1f}{NARROW}{unit}"
    return f"{value:.2g}{NARROW}s" if value < 10 else f"{value:.0f}{NARROW}s"


def listed(items: Sequence[str], *, most: int = 6, last: str = "and") -> str:
    """`a, b and c`, or another word before the last; beyond `most` items `a, b, … and 4 more`."""
    if len(items) > most:
        return f"{', '.join(items[:most])} {last} {len(items) - most} more"
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}" if items else ""


def without_folders(text: str) -> str:
    """`text` with every absolute path in it cut to the name of the file."""
    return re.sub(r"(?<![\w/.:])/(?:[^\s/]+/)+(?=[^\s/])", "", text)


def cut(text: str, length: int) -> str:
    """`text`, shortened to `length` characters with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"

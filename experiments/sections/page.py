"""What the report's page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """One section: where it stands, its template, and what the template is given."""

    anchor: str
    title: str
    template: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Plot:
    """A chart with the sentence that says what to see in it."""

    title: str
    svg: Markup
    reading: str


@dataclass(frozen=True)
class Tile:
    """A number to see first, what it is, and what stands beneath; not `told` where it could not be measured."""

    what: str
    value: str
    beneath: str
    told: bool = True


@dataclass(frozen=True)
class Alert:
    """Something the reader must not miss; `level` is `bad`, `warn` or `note`."""

    level: str
    text: str

"""A YAML text read safely, with the line of every key. The only place that imports YAML.

A config comes from anywhere. A few lines of aliases can stand for more nodes than fit into memory, deep nesting ends
the stack, and YAML itself lets a later key silently replace an earlier one. So the events of a text are counted
before anything is built of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

Place = tuple[str, ...]
"""A dotted path, in parts; positions in a list are digits."""

MOST_CHARACTERS = 250_000
"""Of one text. The longest shipped config has some 4,000: engineering judgement."""

MOST_BYTES = 4 * MOST_CHARACTERS
"""Of a file, whose size is asked before it is read: a character of UTF-8 has four at the most."""

MOST_LEVELS = 32
"""Nested inside each other. A config needs about six: engineering judgement."""

MOST_NODES = 50_000
"""Keys and values, with every alias counted as what it stands for: engineering judgement."""

MERGE = "tag:yaml.org,2002:merge"
TEXT = "tag:yaml.org,2002:str"

UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]")
"""Characters that no name needs: controls that can rewrite a terminal, halves of pairs, changes of direction."""

DAMAGES = (yaml.YAMLError, AttributeError, KeyError, IndexError, OverflowError, TypeError, ValueError)
"""What PyYAML raises on values that do not fit their tags (`!!int x`, `2024-13-45`, `!!bool maybe`)."""


class DocumentError(ValueError):
    """Why a text cannot be taken; `problems` holds (line or None, what is wrong) for each fault."""

    def __init__(self, problems: list[tuple[int | None, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {what}" if line else what for line, what in problems))
        self.problems = problems


@dataclass(frozen=True)
class Document:
    """The value that a text stands for, and the line (from 1) of every key and list entry in it."""

    value: Any
    lines: Mapping[Place, int]


def parse(text: str) -> Document:
    """The document in `text`.

    Raises:
        DocumentError: it is no YAML, has a key twice, or is too long, too deep or grows beyond bounds.
    """
    if len(text) > MOST_CHARACTERS:
        raise DocumentError([(None, f"expected at most {MOST_CHARACTERS:,} characters, got {len(text):,}; shorten it")])
    try:
        _weigh(text)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Document(None, {})
            lines, faults = _walked(node, loader.construct_object)
            if faults:
                raise DocumentError(faults)
            return Document(loader.construct_document(node), lines)
        finally:
            loader.dispose()
    except DocumentError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError([(mark.line + 1 if mark else None, f"{error.problem or error.context}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(
            [(line, f"expected printable text, got the character {chr(error.character)!a}; remove it")]
        ) from None
    except DAMAGES as error:
        raise DocumentError([(None, " ".join(str(error).split())[:200] or type(error).__name__)]) from None


@dataclass
class _Open:
    """A collection that is being counted: its anchor, and the nodes in it so far."""

    anchor: str | None
    nodes: int = field(default=1)


def _weigh(text: str) -> None:
    """Return when the text stays within the bounds, every alias counted as what it stands for."""
    weights: dict[str, int] = {}
    stack = [_Open(None)]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = line_of(event)
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(event.anchor))
            if len(stack) > MOST_LEVELS:
                raise DocumentError([(line, f"expected at most {MOST_LEVELS} levels, got more; flatten it")])
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            done = stack.pop()
            added, anchor = done.nodes, done.anchor
        elif isinstance(event, yaml.AliasEvent):
            # PyYAML itself refuses an alias without an anchor before it; one inside its own anchor has no end.
            if any(each.anchor == event.anchor for each in stack):
                raise DocumentError([(line, f"expected values with an end, got *{event.anchor} inside itself")])
            added, anchor = weights.get(str(event.anchor), 1), None
        elif isinstance(event, yaml.ScalarEvent):
            added, anchor = 1, event.anchor
        else:
            continue
        if anchor is not None:
            weights[anchor] = added
        stack[-1].nodes += added
        if stack[-1].nodes > MOST_NODES:
            raise DocumentError(
                [(line, f"expected at most {MOST_NODES:,} keys and values, aliases written out, got more; shorten it")]
            )


def _walked(
    node: yaml.Node, construct: Callable[[yaml.Node], Any]
) -> tuple[dict[Place, int], list[tuple[int | None, str]]]:
    """The line of every place, and what is wrong with keys, texts and values that `construct` refuses."""
    lines: dict[Place, int] = {}
    faults: dict[tuple[int | None, str], None] = {}

    def visit(node: yaml.Node, place: Place) -> None:
        if isinstance(node, yaml.ScalarNode):
            if found := UNPRINTABLE.search(node.value):
                faults[line_of(node), f"expected printable text, got the character {found[0]!a}; remove it"] = None
            try:
                construct(node)
            except DAMAGES:
                what = f"expected a value that fits its form, got {node.value[:40]!a}; correct it, or put it in quotes"
                faults[line_of(node), what] = None
        elif isinstance(node, yaml.SequenceNode):
            for number, entry in enumerate(node.value):
                lines[(*place, str(number))] = line_of(entry)
                visit(entry, (*place, str(number)))
        else:
            seen: dict[str, int] = {}
            for key, value in node.value:
                if key.tag == MERGE:
                    visit(value, place)
                    continue
                visit(key, place)
                name, line = str(key.value) if isinstance(key, yaml.ScalarNode) else "?", line_of(key)
                if key.tag != TEXT:
                    faults[line, f"expected a word as a key, got {name[:40]!r}; put it in quotes"] = None
                elif name in seen:
                    where = f"lines {seen[name]} and {line}" if seen[name] != line else f"line {line}"
                    what = f"{'.'.join((*place, name))}: expected every key once, got it twice, in {where}; remove one"
                    faults[line, what] = None
                seen.setdefault(name, line)
                lines[(*place, name)] = line
                visit(value, (*place, name))

    visit(node, ())
    return lines, list(faults)


def line_of(node: yaml.Node | yaml.Event) -> int:
    """The line, from 1, where a node or an event starts."""
    return int(node.start_mark.line) + 1 if node.start_mark is not None else 1


def written(value: str | float | bool) -> str:
    """A scalar as YAML writes it, in quotes where it needs them."""
    return yaml.safe_dump(value, allow_unicode=True, width=10_000).removesuffix("\n").removesuffix("\n...")

"""Mutated configs and damaged files, drawn from a generator: the same every time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import yaml

SECONDS = 5.0
"""That one config or file may take at the most; most take milliseconds."""


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed))


DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3.5, -2.5e300, 10**30, 10**400, float("nan"), float("inf"), -float("inf"), "", " ",
    "\x1b[31mred", "a\0b", "<script>alert(1)</script>", "../../../etc/passwd", "/dev/zero", "~", "é" * 300, "x" * 5000,
    "[1, 2", "{{7*7}}", "%s%n", "\u202eevil", "\ud7ff", "on", "1e3", "0x1f", "2024-13-45", "nsga2", "int8", "stripes",
    [], {}, [[]], [None], [1, "a", {}], {"a": 1}, {"name": "offset", "bounds": {"gain": [1]}}, {"path": {"path": "x"}},
    [0.5, 0.1, 0.4], [float("nan")] * 3, ["int8"] * 3, {"psnr": float("inf")}, {"": ""}, {"stripes": {"gain": [1, 0]}},
)  # fmt: skip
"""Values that a key may be given."""

TAGS = (
    "&a", "*a", "!!python/object:os.system", "!!binary", "!!set", "!!timestamp", "<<: *a", "? ", "---", "%YAML 9.9",
    "!!int", "!!float .nan", "|", "'", '"\\ud800"', "[" * 99, "{a: " * 60, "\t", "#",
)  # fmt: skip
"""What may be put into a line of YAML."""


def places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found: list[tuple[Any, ...]] = []
    for key, value in entries:
        found += [(*above, key), *places(value, (*above, key))]
    return found


def mutated_tree(tree: Any, rng: np.random.Generator) -> Any:
    """A tree with one to three keys dropped, renamed, doubled, moved, nested or given hostile values."""
    tree = deepcopy(tree)
    for _ in range(int(rng.integers(1, 4))):
        known = places(tree)
        if not known:
            return tree
        place = known[int(rng.integers(len(known)))]
        holder = tree
        for key in place[:-1]:
            holder = holder[key]
        key, value = place[-1], holder[place[-1]]
        what = int(rng.integers(8))
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[_renamed(str(key), rng)] = holder.pop(key)
        elif what == 2 and isinstance(holder, list):
            holder.insert(key, deepcopy(value))
        elif what == 3:
            holder[key] = [deepcopy(value)]
        elif what == 4:
            holder[key] = {str(key): deepcopy(value)}
        elif what == 5:
            other = known[int(rng.integers(len(known)))]
            taken = tree
            for step in other:
                taken = taken[step]
            holder[key] = deepcopy(taken)
        else:
            holder[key] = deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])
    return tree


@cache
def _tree(text: str) -> Any:
    return yaml.safe_load(text)


def _renamed(key: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(len(key) + 1)) if key else 0
    odd = ("x", "", "_", ".", "-", "é", "\x07", "<b>", "0")[int(rng.integers(9))]
    return key[:at] + odd + key[at + int(rng.integers(2)) :]


def mutated_text(text: str, rng: np.random.Generator) -> bytes:
    """The bytes of a config whose text or tree was changed."""
    what = int(rng.integers(14))
    lines = text.split("\n")
    at = int(rng.integers(len(lines)))
    if what < 8:
        tree = mutated_tree(_tree(text), rng)
        return yaml.dump(tree, Dumper=DUMPER, allow_unicode=bool(rng.integers(2)), sort_keys=False).encode(
            "utf-8", "replace"
        )
    if what == 8:
        return "\n".join(lines[:at] + [lines[at]] * 2 + lines[at + 1 :]).encode()
    if what == 9:
        return "\n".join([*lines[:at], " " * int(rng.integers(1, 9)) + lines[at], *lines[at + 1 :]]).encode()
    if what == 10:
        return flipped(text.encode(), rng)
    if what == 11:
        return text.encode()[: int(rng.integers(len(text)))]
    if what == 12:
        return rng.bytes(int(rng.integers(0, 400)))
    tag = TAGS[int(rng.integers(len(TAGS)))]
    cut = int(rng.integers(len(lines[at]) + 1))
    return "\n".join([*lines[:at], f"{lines[at][:cut]} {tag} {lines[at][cut:]}", *lines[at + 1 :]]).encode()


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """`content` with one to twenty bytes changed, most of them near its start."""
    if not content:
        return content
    values = bytearray(content)
    for _ in range(int(rng.integers(1, 21))):
        reach = len(values) if rng.random() < 0.5 else min(len(values), 400)
        values[int(rng.integers(reach))] = int(rng.integers(256))
    return bytes(values)


def damaged(content: bytes, others: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """`content` cut, flipped, filled with zeros, doubled, or under the head of another file."""
    size = len(content)
    at = int(rng.integers(max(size, 1)))
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: content[:at],
        lambda: flipped(content, rng),
        lambda: flipped(content, rng),
        lambda: content[:at] + bytes(min(64, size - at)) + content[at + 64 :],
        lambda: content[:at] + content,
        lambda: others[int(rng.integers(len(others)))][:128] + content[128:],
        lambda: content[:at] + b"\xff" * 8 + content[at + 8 :],
        lambda: content[at:],
    )
    return ways[int(rng.integers(len(ways)))]()


def archive(members: dict[str, bytes], *, packed: bool = True) -> bytes:
    """A zip archive of `members`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()

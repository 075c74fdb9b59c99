"""Every relation still gives what it gave when it was blessed (`python -m tests.relations.bless`)."""

from __future__ import annotations

import json

import pytest

from relations import ALL, Relation
from tests.relations.bless import GOLDEN, Statistics, statistics

GOLDENS: dict[str, Statistics] = json.loads(GOLDEN.read_text(encoding="utf-8"))


def differences(found: Statistics, golden: Statistics) -> list[str]:
    """The statistics that differ by more than rounding and other mathematical libraries explain."""
    assert found.keys() == golden.keys()
    return [
        f"{name}: {found[name]!r}, blessed {golden[name]!r}"
        for name in golden
        if found[name] != pytest.approx(golden[name], rel=1e-4, abs=1e-4)
    ]


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_the_statistics_are_the_blessed_ones(relation: Relation) -> None:
    assert relation.name in GOLDENS, "no golden entry; run `python -m tests.relations.bless`"
    assert differences(statistics(relation), GOLDENS[relation.name]) == []


def test_no_golden_entry_is_orphaned() -> None:
    assert GOLDENS.keys() == ALL.keys()


@pytest.mark.parametrize("relation", ALL.values(), ids=ALL)
def test_a_changed_value_fails(relation: Relation) -> None:
    golden = GOLDENS[relation.name]
    for name, value in golden.items():
        assert differences({**golden, name: value * 1.001 + 0.001}, golden)[0].startswith(name)

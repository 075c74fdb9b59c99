"""The table of quantised versions beside each other, and that only random draws are ever called a rate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from diverget.outcome import Outcome
from diverget.store import Store
from experiments.record import EVERYTHING, read
from experiments.report import environment, render
from experiments.sections import SECTIONS
from experiments.sections.beside import beside
from experiments.stages.drawn import read_clean, read_drawn
from experiments.statistics import mcnemar
from experiments.statistics.comparison import holm
from tests.experiments.fake_run import build
from tests.experiments.small import CONFIG, GOLDEN, diverget, run_directory, write

BLOCKS = np.repeat(np.arange(20), 10)


def planted(run: Path, number: int, pair: str, revealed: np.ndarray, stress: np.ndarray) -> None:
    """The outcomes of one pair: REVEALED where told, else SAME; the first patch is INHERITED."""
    cells = {}
    for tier, hits in (("in_spec", revealed), ("stress", stress)):
        outcomes = np.where(hits, Outcome.REVEALED, Outcome.SAME).astype(np.uint8)
        outcomes[0] = Outcome.INHERITED
        cells[f"{tier}:{EVERYTHING}"] = outcomes
    Store(run).write_arrays(
        f"rates/outcomes-{number:02d}.npz",
        {"pair": np.array(pair), "patches": np.arange(200), "blocks": BLOCKS, **cells},
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two versions: in spec the second leaves on many more draws, under stress on the same ones."""
    made = build(tmp_path, quantised=("float16", "int8"))
    draw = np.random.default_rng(1)
    few, more = draw.random((200, 2)) < 0.05, draw.random((200, 2)) < 0.3
    planted(made, 0, "hybridsn/float16", few, few)
    planted(made, 1, "hybridsn/int8", few | more, few)
    return made


def test_a_planted_difference_is_told_with_its_tests(run: Path) -> None:
    rows = beside(read(run)).values["rows"]
    assert [(row["tier"], row["words"]) for row in rows] == [
        ("in_spec", "int8 hybridsn leaves more often"),
        ("stress", "no difference shown"),
    ]
    drawn = read_drawn(Store(run))
    ours, theirs = (drawn[f"hybridsn/{name}"].outcomes["in_spec", EVERYTHING][1:] for name in ("float16", "int8"))
    found = rows[0]["found"]
    assert (found.trials, found.first_only) == (398, 0)
    assert found.second_only == int(((theirs == Outcome.REVEALED) & (ours != Outcome.REVEALED)).sum())
    assert found.lower < found.value < found.upper and found.lower > 0
    adjusted = holm(np.array([mcnemar(0, found.second_only), 1.0]))
    assert adjusted[0] < 0.001 and rows[0]["mcnemar"] == "< 0.001" and rows[1]["mcnemar"] == "1"


def test_the_table_names_its_methods(run: Path) -> None:
    section = beside(read(run))
    text = environment().get_template(section.template).render(section.values)
    for words in ("Tango’s score interval", "bootstrap over spatial blocks", "sign-flip test", "exact McNemar", "Holm"):
        assert words in text
    render(run)
    assert 'id="beside"' in (run / "report.html").read_text(encoding="utf-8")


def test_what_is_missing_is_said(run: Path, tmp_path: Path) -> None:
    for path in (run / "rates").glob("outcomes-*"):
        path.unlink()
    render(run)
    assert "The run kept no outcome of single draws" in (run / "report.html").read_text(encoding="utf-8")
    alone = build(tmp_path / "alone")
    render(alone)
    assert "One version of a network stands alone" in (alone / "report.html").read_text(encoding="utf-8")


def test_a_version_without_its_draws_is_named(tmp_path: Path) -> None:
    made = build(tmp_path, quantised=("float16", "int8", "dynamic_int8"))
    hits = np.random.default_rng(1).random((200, 2)) < 0.1
    for number, name in enumerate(("float16", "int8")):
        planted(made, number, f"hybridsn/{name}", hits, hits)
    section = beside(read(made))
    text = environment().get_template(section.template).render(section.values)
    assert "Not compared: dynamic_int8 hybridsn, of which the run has no single draws." in text
    planted(made, 2, "hybridsn/dynamic_int8", hits, hits)
    assert not beside(read(made)).values["lacking"]


def test_too_few_draws_are_not_told(run: Path) -> None:
    with np.load(run / "rates" / "outcomes-00.npz") as stored:
        arrays = dict(stored)
    arrays[f"stress:{EVERYTHING}"][10:] = Outcome.INVALID
    np.savez_compressed(run / "rates" / "outcomes-00.npz", **arrays)
    section = beside(read(run))
    assert [row["enough"] for row in section.values["rows"]] == [True, False]
    assert "not told: 18 draws in 1 block" in environment().get_template(section.template).render(section.values)


SEARCHED = ("search", "patches", "flips", "kinds", "findings", "attribution", "blame", "repair", "gaps")


def test_nothing_found_by_search_is_called_a_rate(run: Path) -> None:
    checked = 0
    for section in (section(read(run)) for section in SECTIONS):
        if section.anchor in SEARCHED:
            html = environment().get_template(section.template).render(section.values)
            text = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.S))
            for denied in ("so no rate stands here",):
                text = text.replace(denied, "")
            assert not re.search(r"\brates?\b|\bfrequency\b|\bprobability of\b", text, flags=re.I), section.anchor
            checked += 1
    assert checked == len(SEARCHED)


def test_a_run_keeps_every_draw_and_every_clean_patch(tmp_path: Path) -> None:
    text = CONFIG.replace(
        "name: int8}]", f"name: int8}}, {{path: {GOLDEN}/float16.tflite, name: float16}}]\nattribution: false"
    ).replace("rates: {draws: 2}", "rates: {draws: 2, doses: []}")
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_directory(tmp_path / "out")
    drawn, clean, told = read_drawn(Store(run)), read_clean(Store(run)), read(run)
    assert clean is not None and set(drawn) == {"float/int8", "float/float16", "float/float"}
    for row in told.rates:
        outcomes = drawn[row["pair"]].outcomes[row["tier"], row["relation"]]
        for name, key in (("REVEALED", "revealed"), ("INHERITED", "inherited"), ("INVALID", "rejected")):
            assert (outcomes == Outcome[name]).sum() == row[key]
        assert outcomes.size == row["draws"]
    base = json.loads((run / "baseline.json").read_text())
    for pair in drawn:
        assert 1 - clean.apart[pair].mean() == pytest.approx(base[pair]["agreement"])
        assert (clean.said[pair] == clean.labels).mean() == pytest.approx(base[pair]["accuracy_quantised"])
    # Both versions meet the same chains: what lies outside the limits does not depend on the version.
    ours, theirs = (drawn[f"float/{name}"].outcomes for name in ("int8", "float16"))
    for cell in ours:
        assert np.array_equal(ours[cell] == Outcome.INVALID, theirs[cell] == Outcome.INVALID)
    assert len(beside(told).values["rows"]) == 2

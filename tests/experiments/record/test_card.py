"""The card of a run: its numbers, its verdict in a sentence, what is null."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from experiments.record import read
from experiments.record.card import card
from experiments.report import render
from tests.experiments.fake_run import build
from tests.experiments.page import Page, rendered


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = build(tmp_path_factory.mktemp("run"), findings=10)
    render(made)
    return made


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_card_holds_the_numbers_of_the_run(run: Path) -> None:
    content = card(run)
    assert content == json.loads((run / "card.json").read_text(encoding="utf-8"))
    assert (content["schema"], content["complete"], content["criteria_met"]) == ("diverget-card/1", True, False)
    pair, control = content["pairs"]
    assert (pair["pair"], pair["control"], control["control"]) == ("hybridsn/int8", False, True)
    assert pair["size"]["ratio"] == pytest.approx(5_124_000 / 1_300_000)
    assert pair["coverage"]["share"] == 0.962
    chain = pair["rates"]["in_spec"]["random chain"]
    assert (chain["eligible"], chain["revealed"]) == (930, 29)
    assert chain["revealed_rate"] == pytest.approx(29 / 930)
    assert pair["search"]["queries"] == 24 * 40 * 32
    assert pair["search"]["candidates"] == 24 * 40
    rows = pq.read_table(run / "findings.parquet").to_pylist()
    confirmed = [row for row in rows if row["confirmed"]]
    assert pair["findings"]["count"] == len(confirmed) == len(rows) - 1
    assert pair["findings"]["mildest"]["severity"] == min(row["severity"] for row in confirmed)
    assert sum(flip["count"] for flip in pair["findings"]["flips"]) == len(confirmed)
    assert content["control"] == {
        "pairs": ["hybridsn/hybridsn"],
        "findings": 0,
        "revealed_draws": 0,
        "parted_patches": 0,
        "draws": 27 * 960,
        "queries": 24 * 40 * 32,
        "passed": True,
    }


def test_the_search_is_folded_as_by_hand(run: Path) -> None:
    rows = [
        row
        for part in sorted((run / "evaluations").iterdir())
        for row in pq.read_table(part).to_pylist()
        if not row["control"]
    ]
    search = read(run).searches["hybridsn/int8"]
    assert search.best("js_divergence") == max(row["score:js_divergence"] for row in rows if row["feasible"])
    assert search.best("severity") == min(row["score:severity"] for row in rows if row["feasible"])
    first_half = {hit["patch"] for row in rows[:480] for hit in row["revealed"]}
    assert search.patches_revealed[479] == len(first_half)
    assert search.outcomes["REVEALED"] == sum(row["outcome:REVEALED"] for row in rows)


def test_a_rate_nobody_could_measure_is_null_and_never_nan(run: Path) -> None:
    text = (run / "card.json").read_text(encoding="utf-8")
    assert "NaN" not in text
    assert json.loads(text)["pairs"][0]["rates"]["stress"]["cloud"]["revealed_rate"] is None


def test_the_verdict_is_a_sentence_with_its_interval(run: Path, page: Page) -> None:
    said = card(run)["verdict"].replace("\u202f", " ")
    assert said.startswith(
        "Under distortions a flying sensor is measured to produce, int8 hybridsn left its class while float stayed in "
        "3.1 % (1.9–4.6 %) of the random draws; float itself left its class in 1.7 % of them. "
        "Mildest found under stress: gaussian_blur 0.06 px (severity 0.02) turns "
    )
    assert "float stayed in 3.1" in page.text


def test_without_a_summary_the_run_is_incomplete(tmp_path: Path) -> None:
    run = build(tmp_path, complete=False, evaluations=False, findings=0)
    content = card(run)
    assert (content["complete"], content["criteria_met"]) == (False, None)
    assert content["verdict"].startswith("Incomplete run. Under distortions")
    assert content["pairs"][0]["search"] is None
    assert "This run is incomplete" in rendered(run).text


def test_a_manifest_alone_is_enough(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole", findings=0)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(whole / "manifest.json", bare)
    assert "No pair of models was reached." in rendered(bare).text
    assert card(bare)["pairs"] == []


def test_rates_of_an_unfinished_stage_are_read_from_their_parts(tmp_path: Path) -> None:
    run = build(tmp_path, complete=False, findings=0)
    (run / "rates").mkdir()
    (run / "rates.parquet").rename(run / "rates" / "part-00.parquet")
    assert card(run)["pairs"][0]["rates"]["in_spec"]["random chain"]["revealed"] == 29


def test_no_revealed_draw_is_told_with_its_upper_end(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    table = pq.read_table(run / "rates.parquet").to_pylist()
    for row in table:
        row |= {"revealed": 0, "revealed_rate": 0.0, "revealed_lower": 0.0, "revealed_upper": 0.0034}
    pq.write_table(type(pq.read_table(run / "rates.parquet")).from_pylist(table), run / "rates.parquet")
    said = card(run)["verdict"].replace("\u202f", " ")
    assert (
        "int8 hybridsn left float's class in none of 930 draws (at most 0.34 %); float itself left its class in "
        in said
    )
    assert said.endswith("The search found none in 30 720 queries.")


def test_a_search_without_a_candidate_inside_the_limits_concludes_nothing(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    for part in (run / "evaluations").iterdir():
        table = pq.read_table(part)
        rows = [row | {"feasible": False} for row in table.to_pylist()]
        pq.write_table(type(table).from_pylist(rows, schema=table.schema), part)
    assert (
        card(run)["verdict"]
        .replace("\u202f", " ")
        .endswith("No candidate in 30 720 queries of the search was inside the limits, so nothing follows from it.")
    )


def test_how_often_float_itself_moved_is_in_the_card(run: Path) -> None:
    row = card(run)["pairs"][0]["rates"]["in_spec"]["random chain"]
    assert row["reference_moved_share"] == pytest.approx((9 + 7) / 930)
    assert row["revealed_given_float_stayed"] == pytest.approx(29 / (930 - 9 - 7))
    assert row["enough"] is True
    nothing = card(run)["pairs"][0]["rates"]["stress"]["cloud"]
    assert (nothing["reference_moved_share"], nothing["revealed_given_float_stayed"]) == (None, None)
    assert nothing["enough"] is False

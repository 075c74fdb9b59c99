"""Draws at fixed severities as a stage of a run: stored, counted, resumed, the same for any number of workers."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diverget.store import Store
from diverget.tables import BANDS, DOSES, FLIPS, PLACES
from experiments.sections.places import KINDS, kind_of, painted
from experiments.stages import join
from experiments.stages.doses import TABLES
from tests.experiments.small import CONFIG, diverget, run_directory, write

ASKED = CONFIG.replace("rates: {draws: 2}", "rates: {draws: 2, doses: [0.3, 1.0], dose_draws: 3}")
KINDS_STORED = ("rejected", "inherited", "tied", "moved_together", "moved_apart", "revealed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doses")
    done = diverget("run", write(folder, ASKED), "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    return folder


def stored(folder: Path, name: str) -> list[dict]:
    rows: list[dict] = pq.read_table(run_directory(folder / "runs") / f"{name}.parquet").to_pylist()
    return rows


def test_every_relation_tier_and_severity_has_a_row(finished: Path) -> None:
    for name, schema in (*TABLES.items(), ("bands", BANDS)):
        assert pq.read_schema(run_directory(finished / "runs") / f"{name}.parquet").equals(schema)
    assert (TABLES["doses"], TABLES["flips"], TABLES["places"]) == (DOSES, FLIPS, PLACES)
    rows = stored(finished, "doses")
    assert Counter((row["pair"], row["tier"], row["severity"]) for row in rows) == {
        (pair, tier, severity): 6
        for pair in ("float/int8", "float/float")
        for tier in ("in_spec", "stress")
        for severity in (0.3, 1.0)
    }
    assert {row["draws"] for row in rows if not row["control"]} == {3 * 40}
    assert {row["draws"] for row in rows if row["control"]} == {40}
    assert all(row["eligible"] == row["draws"] - row["rejected"] - row["inherited"] for row in rows)


def test_the_three_tables_count_the_same_draws(finished: Path) -> None:
    doses, flips, places = (stored(finished, name) for name in ("doses", "flips", "places"))
    for pair, tier in {(row["pair"], row["tier"]) for row in doses}:
        mine = [row for row in doses if (row["pair"], row["tier"]) == (pair, tier)]
        there = [row for row in places if (row["pair"], row["tier"]) == (pair, tier)]
        assert len(there) == 40 and sum(row["draws"] for row in there) == sum(row["draws"] for row in mine)
        for kind in KINDS_STORED:
            assert sum(row[kind] for row in mine) == sum(row[kind] for row in there)
        for kind in KINDS_STORED[1:]:
            moved = [r for r in flips if (r["pair"], r["tier"], r["outcome"]) == (pair, tier, kind.upper())]
            assert sum(row["draws"] for row in moved) == sum(row[kind] for row in mine)


def test_class_moves_are_what_their_outcome_says(finished: Path) -> None:
    flips = stored(finished, "flips")
    assert {"REVEALED", "MOVED_APART", "MOVED_TOGETHER"} <= {row["outcome"] for row in flips}
    for row in flips:
        own, reference, quantised = row["own"], row["reference_class"], row["quantised_class"]
        if row["outcome"] == "REVEALED":
            assert own == reference != quantised
        elif row["outcome"] == "MOVED_TOGETHER":
            assert own != reference == quantised
        elif row["outcome"] == "MOVED_APART":
            assert own != reference != quantised
        else:
            assert row["outcome"] in ("TIED", "INHERITED")


def test_a_model_never_parts_from_itself(finished: Path) -> None:
    control = [row for row in stored(finished, "doses") if row["control"]]
    assert control and not any(row["revealed"] or row["moved_apart"] or row["tied"] for row in control)


def test_lost_parts_come_back_with_the_same_bytes_under_other_workers(finished: Path, tmp_path: Path) -> None:
    run = run_directory(finished / "runs")
    before = {path: path.read_bytes() for path in (*run.glob("doses/*"), *(run / f"{n}.parquet" for n in TABLES))}
    bands = run / "bands.parquet"
    before |= {path: path.read_bytes() for path in (bands, *run.glob("attribution/bands-*"))}
    assert len(before) == 2 * len(TABLES) + len(TABLES) + 3
    for path in before:
        if not path.name.endswith("doses-01.parquet"):
            path.unlink()
    (run / "summary.json").unlink()
    done = diverget("run", finished / "small.yaml", "--out", finished / "runs", "--set", "workers=1")
    assert done.returncode == 0, done.stderr
    (run / "doses" / "part-doses-01.parquet").unlink()
    for name in TABLES:
        (run / f"{name}.parquet").unlink()
    (run / "summary.json").unlink()
    done = diverget("run", finished / "small.yaml", "--out", finished / "runs", "--set", "workers=3")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_parts_are_joined_in_their_order_and_none_give_an_empty_table(tmp_path: Path) -> None:
    store, schema = Store(tmp_path), pa.schema([("n", pa.int64())])
    for name, numbers in (("b", (3, 1)), ("a", (2,))):
        store.write_table(f"{name}.parquet", [{"n": n} for n in numbers], schema)
    join(store, "all.parquet", ["b.parquet", "a.parquet"], schema)
    join(store, "none.parquet", [], schema)
    join(store, "all.parquet", [], schema)  # it is there
    assert [row["n"] for row in store.read_table("all.parquet")] == [3, 1, 2]
    assert store.read_table("none.parquet") == []


def test_bands_tell_of_confirmed_findings(finished: Path) -> None:
    findings = {row["finding"] for row in stored(finished, "findings") if row["confirmed"]}
    rows = stored(finished, "bands")
    assert findings and {row["finding"] for row in rows} == findings
    for finding in findings:
        mine = [row for row in rows if row["finding"] == finding]
        assert [row["group"] for row in mine] == list(range(len(mine)))
        assert sum(row["share"] for row in mine) == pytest.approx(1)
        assert any(row["undone"] != "REVEALED" for row in mine) or any(row["restored"] for row in mine)


def test_the_report_shows_what_was_stored(finished: Path) -> None:
    page = (run_directory(finished / "runs") / "report.html").read_text()
    for anchor in ("severities", "survival", "fronts", "flips", "places", "bands", "tables"):
        assert f'<section id="{anchor}"' in page
    assert "parted on 0 of 960 draws at these severities" in page.replace("\u202f", "")


def test_check_counts_them_and_none_can_be_asked_for(finished: Path, tmp_path: Path) -> None:
    done = diverget("check", finished / "small.yaml", "--out", tmp_path)
    # Two models, 40 patches, two tiers of six relations, two severities, three draws and one of the control.
    assert f"at severities {2 * 40 * 12 * 2 * (3 + 1):,}," in done.stdout
    without = diverget("check", finished / "small.yaml", "--out", tmp_path, "--set", "rates.doses=[]")
    assert "at severities 0," in without.stdout
    wrong = diverget("check", finished / "small.yaml", "--out", tmp_path, "--set", "rates.doses=[0.5, 0.2]")
    assert wrong.returncode == 2 and "from the mildest to the harshest" in wrong.stderr


def test_a_patch_is_painted_by_the_gravest_that_happened() -> None:
    none = dict.fromkeys(KINDS_STORED, 0)
    cases = {
        "still": {},
        "moved_together": {"moved_together": 3},
        "moved_apart": {"moved_together": 3, "moved_apart": 1},
        "revealed": {"moved_apart": 9, "revealed": 1},
        "inherited": {"inherited": 8},
    }
    assert {kind: kind_of({**none, **counts}) for kind, counts in cases.items()} == {kind: kind for kind in KINDS}
    rows = [{**none, **cases["revealed"], "row": 2, "col": 7}]
    uri = painted(np.full((10, 20, 3), 100, np.uint8), rows)
    assert uri.startswith("data:image/png;base64,")
    picture = cv2.imdecode(np.frombuffer(b64decode(uri.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    scale = picture.shape[0] / 10
    colour = [int(KINDS["revealed"][0][i : i + 2], 16) for i in (1, 3, 5)]
    assert picture[int(2.5 * scale), int(7.5 * scale)].tolist() == colour
    assert picture[int(7.5 * scale), int(2.5 * scale)].tolist() != colour

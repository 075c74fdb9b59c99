"""All numbers of the page stand in tables as well: what is worked out for the page alone, as CSV."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from diverget.outcome import Outcome
from diverget.store import Store
from experiments.record import EVERYTHING, read
from experiments.report import render
from experiments.sections.arms import patchwise
from experiments.sections.beside import beside
from experiments.sections.files import TABLES
from experiments.sections.gaps import gaps
from tests.experiments import fake_arms, fake_doses, fake_run

PAIRS = ("hybridsn/float16", "hybridsn/int8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one network with draws, gaps and per-patch searches."""
    made = fake_run.build(tmp_path_factory.mktemp("tables"), quantised=("float16", "int8"))
    fake_doses.add(made)
    arms = {"arms": ("boundary", "random", "diffchaser"), "rungs": fake_arms.RUNGS[:2]}
    fake_arms.put(made, fake_arms.rows([(name, False) for name in PAIRS], **arms))
    rng = np.random.default_rng(0)
    for number, name in enumerate(PAIRS):
        outcomes = rng.choice([Outcome.REVEALED, Outcome.SAME], p=[0.1, 0.9], size=(100, 2)).astype(np.uint8)
        arrays = {"pair": np.array(name), "patches": np.arange(100), "blocks": np.arange(100) // 10}
        Store(made).write_arrays(f"rates/outcomes-{number:02d}.npz", {**arrays, f"stress:{EVERYTHING}": outcomes})
    render(made)
    return made


def told(run: Path, name: str) -> list[dict[str, str]]:
    with open(run / "tables" / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_clean_patches_models_and_the_split(run: Path) -> None:
    base = json.loads((run / "baseline.json").read_text())
    rows = told(run, "baseline")
    assert [row["pair"] for row in rows] == list(PAIRS)
    for row in rows:
        mine = base[row["pair"]]
        assert float(row["agreement"]) == mine["agreement"] and int(row["ties"]) == mine["ties"]
        assert [float(row[f"accuracy_reference_{end}"]) for end in ("lower", "upper")] == [0.902, 0.955]
        # Speeds differ from run to run, and the same run gives the same bytes.
        assert not [name for name in row if "throughput" in name]
        classes = [each for each in told(run, "baseline_classes") if each["pair"] == row["pair"]]
        assert [float(each["agreement"]) for each in classes] == [each["agreement"] for each in mine["per_class"]]
    int8 = told(run, "models")[1]
    assert (int8["scheme"], float(int8["coverage"])) == ("int8", 0.962) and "CONV_3D ×3" in int8["left_in_float"]
    split = json.loads((run / "data.json").read_text())["split"]["per_class"]
    assert [(row["class"], int(row["train"])) for row in told(run, "split")] == [
        (e["class"], e["train"]) for e in split
    ]


def test_versions_beside_each_other_with_their_tests(run: Path) -> None:
    (row,) = told(run, "beside")
    (shown,) = beside(read(run)).values["rows"]
    assert [row["first"], row["second"], row["tier"]] == [*PAIRS, "stress"]
    assert float(row["difference"]) == shown["found"].value and int(row["draws"]) == shown["found"].trials == 200
    assert float(row["p_sign_flip"]) == shown["found"].blockwise <= float(row["p_sign_flip_holm"])


def test_arms_gaps_and_the_search(run: Path) -> None:
    blocks = [block for pair in patchwise(read(run)).values["pairs"] for block in pair["blocks"]]
    rows = told(run, "arms")
    shown = [row for block in blocks for row in block.rows]
    assert len(rows) == len(shown) == 2 * 2 * 4 and len(blocks) == 4
    for row, mine in zip(rows, shown, strict=True):
        assert row["arm"] == mine["arm"] and float(row["revealed_share"]) == mine["revealed_share"]
        assert (row["a12_queries"] == "") == (mine["by"]["queries"] is None) == (row["arm"].startswith("random"))
        if row["a12_queries"]:
            assert f"{float(row['a12_queries']):.2f}" == mine["by"]["queries"]["a12"]
            assert float(row["p_queries"]) <= float(row["p_queries_holm"]) <= 1
            assert f"{float(row['a12_apart']):.2f}" == mine["by"]["apart"]["a12"]
    widths = [row for block in gaps(read(run)).values["blocks"] for row in (*block["relations"], *block["classes"])]
    assert [int(row["rays"]) for row in told(run, "gaps")] == [row["rays"] for row in widths]
    assert {row["by"] for row in told(run, "gaps")} == {"relation", "class"}
    assert all((row["unit"] == "") == (row["by"] == "class") for row in told(run, "gaps"))
    searched = read(run).searches
    for row in told(run, "search"):
        search = searched[row["pair"]]
        assert int(row["queries"]) == search.queries[-1]
        assert int(row["patches_REVEALED"]) == search.outcomes["REVEALED"]
        assert float(row["best_js_divergence"]) == search.best("js_divergence")


def test_every_table_is_told_of(run: Path) -> None:
    written = {f"tables/{path.name}" for path in (run / "tables").iterdir()}
    assert len(written) >= 11 and written <= {name for name, _, _ in TABLES}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(f'<th class="mono">{name}</th>' in page for name in written)

"""The report is a pure function of the run directory: right numbers, one offline page, the same bytes again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from experiments import wording
from experiments.record import read
from experiments.record.card import card
from experiments.report import render
from experiments.sections import SECTIONS, gallery
from tests.experiments.fake_run import build
from tests.experiments.page import Page, rendered

HOSTILE = ("<script>alert(1)</script>", "$x^{2$", "草地 & co")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = build(tmp_path_factory.mktemp("run"), findings=10)
    render(made)
    return made


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "variant",
    [
        {"findings": 3},
        {"images": (28, 28, 1), "classes": tuple("0123456789"), "references": ("lenet5",), "findings": 3},
        {"images": (16, 16, 3), "classes": HOSTILE, "findings": 3},
        {"findings": 0},
        {"quantised": (), "findings": 0},
        {"labelled": False, "wavelengths": False, "findings": 2},
        {"complete": False, "evaluations": False, "findings": 0},
        {"references": ("hybridsn", "spectralnet"), "quantised": ("int8", "float16"), "findings": 4},
    ],
    ids=["scene", "grey", "hostile", "no findings", "control alone", "bare", "interrupted", "many"],
)
def test_every_kind_of_run_gives_one_sound_page(variant: dict, tmp_path: Path) -> None:
    run = build(tmp_path, **variant)
    page = rendered(run)
    assert (page.faults, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert [load for load in page.loads if not load.startswith("data:image/png;base64,")] == []
    assert (page.scripts, page.images_without_words) == (0, 0)
    assert (run / "report.html").stat().st_size < 2_000_000
    html = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(\s*[\"']?(?!#)", html)
    assert not re.search(r"\b(None|nan|Undefined)\b", page.text)
    json.loads((run / "card.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_the_strict_reader_can_fail() -> None:
    page = Page('<p id="a"><b>x</p></b><img src="https://example.org/x.png"><script src="y.js"></script>')
    assert page.faults == ["p", "b"]
    assert page.loads == ["https://example.org/x.png", "y.js"]
    assert (page.scripts, page.images_without_words) == (1, 1)


def test_text_from_files_is_escaped_everywhere(tmp_path: Path) -> None:
    run = build(tmp_path, classes=HOSTILE, findings=3)
    page = rendered(run)
    html = (run / "report.html").read_text(encoding="utf-8")
    assert HOSTILE[0] not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert HOSTILE[1] in page.text and HOSTILE[2] in page.text


def test_the_same_run_gives_the_same_bytes_in_another_process_and_place(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    before = {name: (copy / name).read_bytes() for name in ("card.json", "report.html")}
    for name in before:
        (copy / name).unlink()
    code = "import sys; from pathlib import Path; from experiments.report import render; render(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(copy)], check=True)
    assert {name: (copy / name).read_bytes() for name in before} == before


def test_another_number_gives_another_page(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    assert "agreement on clean patches" in rendered(run).text
    before = (run / "report.html").read_bytes()
    base = json.loads((run / "baseline.json").read_text())
    base["hybridsn/int8"]["agreement"] = 0.5
    (run / "baseline.json").write_text(json.dumps(base))
    render(run)
    assert (run / "report.html").read_bytes() != before


def test_the_page_says_all_that_matters(page: Page) -> None:
    for words in (
        "✗ fail: not met agreement >= 0.99",
        "a model against itself: 0 findings",
        "CONV_3D ×3",
        "none: no assessed patch shares a pixel",
        "1 finding did not reproduce",
        "Wavelengths were guessed",
        "severity 0.02",
        "diverget replay pines-0a1b2c3d --finding 0",
        "diverget replay pines-0a1b2c3d --all",
        "Recheck Soybean-mintill first",
        "LiteRT 2.3.0",
        "wavelength (nm)",
        "train hybridsn 1.6",
    ):
        assert words in page.text.replace("\u202f", " "), words
    assert [anchor for anchor in page.links if anchor.startswith("#verdict")] == ["#verdict"]


def test_a_model_that_is_quantised_in_name_only_is_told_first(tmp_path: Path) -> None:
    run = build(tmp_path, share=0.31, findings=0)
    text = rendered(run).text.replace("\u202f", " ")
    assert "int8 hybridsn is mostly float: only 31.0 % of its multiply-accumulates run quantised" in text
    assert text.index("mostly float") < text.index("Models and coverage The")


def test_a_failing_control_shouts(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"control_findings": 3}))
    assert card(run)["control"]["passed"] is False
    assert card(run)["verdict"].startswith("The control failed")
    assert "hybridsn/hybridsn must never part from itself, yet 3 findings" in rendered(run).text


def test_a_collapsed_model_is_told(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    base = json.loads((run / "baseline.json").read_text())
    base["hybridsn/int8"] |= {"collapsed": True, "classes_predicted_quantised": 1}
    (run / "baseline.json").write_text(json.dumps(base))
    assert "it predicts 1 class where float predicts 6" in rendered(run).text


def test_a_folder_that_is_no_run_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json.*diverget run"):
        render(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 2}')
    with pytest.raises(ValueError, match=r"schema 1.*got 2"):
        render(tmp_path)


def test_sections_stand_in_reading_order(page: Page) -> None:
    anchors = (
        "verdict",
        "models",
        "data",
        "baseline",
        "rates",
        "beside",
        "severities",
        "gaps",
        "survival",
        "search",
        "patches",
        "fronts",
        "flips",
        "places",
        "kinds",
        "findings",
        "bands",
        "attribution",
        "blame",
        "repair",
        "limits",
        "card",
        "tables",
    )
    assert [i for i in page.ids if i in anchors] == list(anchors)
    assert len(SECTIONS) + 1 == len(anchors)


def test_the_gallery_spreads_over_kinds_before_it_repeats_one(run: Path) -> None:
    loaded = read(run)
    kinds = {(f["reference_class"], f["quantised_class"]) for f in loaded.found("hybridsn/int8")}
    shown = gallery.chosen(loaded, most=len(kinds))
    assert {(f["reference_class"], f["quantised_class"]) for f in shown} == kinds
    assert [f["severity"] for f in shown] == sorted(f["severity"] for f in shown)
    assert shown[0] == loaded.found("hybridsn/int8")[0]


def test_relations_at_work_are_counted_once_a_finding() -> None:
    chains = ["haze 0.1 m → haze 0.2 m", "haze 0.1 m → blur 1 px"]
    assert gallery.relations_at_work([{"chain": chain} for chain in chains]) == [("haze", 2), ("blur", 1)]


def change(run: Path, file: str, edit: Callable[[dict], None]) -> None:
    """Edits one JSON file of a run."""
    content = json.loads((run / file).read_text())
    edit(content)
    (run / file).write_text(json.dumps(content))


def change_rates(run: Path, wanted: Callable[[dict], bool], **values: object) -> None:
    """Sets `values` in the rows of the rates that are `wanted`."""
    table = pq.read_table(run / "rates.parquet")
    rows = [row | values if wanted(row) else row for row in table.to_pylist()]
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), run / "rates.parquet")


@pytest.mark.parametrize(("moved", "warned"), [(300, True), (150, False)])
def test_a_fragile_reference_is_told(moved: int, warned: bool, tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    change_rates(run, lambda row: row["relation"] == "random chain", moved_together=moved)
    text = rendered(run).text
    assert ("the reference is fragile before quantisation" in text) == warned


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"eligible": 29}, "only 29 of 960 draws were within the limits"),
        ({"draws": 20, "eligible": 20, "rejected": 0, "inherited": 0}, "20 draws, and 30 are needed"),
        ({"blocks": 4}, "lie in 4 blocks only"),
    ],
)
def test_a_rate_from_too_little_is_not_printed(values: dict, why: str, tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    change_rates(run, lambda row: row["tier"] == "stress" and row["relation"] == "random chain", **values)
    text = rendered(run).text
    assert card(run)["pairs"][0]["rates"]["stress"]["random chain"]["enough"] is False
    assert text.count(why) == 2
    assert "20.1" not in text.replace("\u202f", " ")
    change_rates(run, lambda row: True, **values)
    assert "in-spec distortions was not measured (" in card(run)["verdict"]


def test_enough_draws_are_printed(page: Page) -> None:
    assert "20.1" in page.text


def test_a_float32_file_under_test_is_no_mishap(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)

    def pruned(models: dict) -> None:
        model = models["pairs"][0]["quantised_model"]
        model["coverage"] |= {"share": 0.0, "kind": "float32"}
        model["quantisation"] = "pruned"

    change(run, "models.json", pruned)
    text = rendered(run).text
    assert "mostly float" not in text and "is not quantised: float32 throughout" in text
    change(run, "models.json", lambda models: models["pairs"][0]["quantised_model"].update(quantisation="int8"))
    assert "mostly float" in rendered(run).text


def test_which_patches_gave_the_rates_is_told_where_it_is_known(tmp_path: Path, page: Page) -> None:
    assert "960 patches of the assessment part, in its natural proportions" in page.text
    run = build(tmp_path, findings=0)
    change(run, "data.json", lambda data: data["split"].pop("rated"))
    assert "Every assessed patch under random draws" in rendered(run).text
    assert card(run)["data"]["split"]["rated"] is None


def test_the_summary_can_fail_the_control(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    change(run, "summary.json", lambda summary: summary.update(control_passed=False))
    assert card(run)["control"]["passed"] is False
    assert "✗ control" in rendered(run).text


def test_a_control_that_never_ran_is_neither_passed_nor_failed(tmp_path: Path) -> None:
    run = build(tmp_path, controls=False, findings=0)
    change(run, "summary.json", lambda summary: summary.update(control_passed=True))
    assert card(run)["control"]["passed"] is None
    text = rendered(run).text
    assert "No control was run: no model was tested against itself." in text and "✓ control" not in text
    (run / "summary.json").unlink()
    assert "No control was run" not in rendered(run).text


def test_a_reference_that_is_no_float_network_is_told(tmp_path: Path, page: Page) -> None:
    told = ("The reference hybridsn is itself quantised (int8)", "are the same network, run in the same way")
    assert not any(words in page.text for words in told)
    run = build(tmp_path, findings=0)

    def same(models: dict) -> None:
        models["pairs"][0]["reference_model"] = models["pairs"][0]["quantised_model"]

    change(run, "models.json", same)
    assert all(words in rendered(run).text for words in told)


def test_paths_in_warnings_are_cut_to_the_file(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    change(run, "data.json", lambda data: data.update(warnings=["Bands in /home/me/x y/pines.npz: and/or m/s."]))
    assert wording.without_folders("in /home/me/pines.npz: and/or m/s") == "in pines.npz: and/or m/s"
    assert "/home/me" not in rendered(run).text

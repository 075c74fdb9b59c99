"""The report is a pure function of the run directory: right numbers, one offline page, the same bytes again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from experiments import wording
from experiments.charts import close_ups, figures, pictures
from experiments.record import read
from experiments.record.card import card
from experiments.report import picture, render
from experiments.sections import SECTIONS, gallery
from tests.experiments.fake_run import build

VOID = {"meta", "img", "br", "link", "hr", "input"}
HOSTILE = ("<script>alert(1)</script>", "$x^{2$", "草地 & co")


class Page(HTMLParser):
    """A page read strictly: every element closed in order, ids collected, what would be loaded collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.faults: list[str] = []
        self.words: list[str] = []
        self.images_without_words = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.ids += [named["id"] or ""] if "id" in named else []
        href = named.get("href")
        if tag in ("a", "use") and href:
            self.links.append(href)
        elif href or named.get("src"):
            self.loads.append(href or named["src"] or "")
        self.images_without_words += tag == "img" and not named.get("alt")
        self.images_without_words += tag == "svg" and not named.get("aria-label")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def rendered(run: Path) -> Page:
    render(run)
    return Page((run / "report.html").read_text(encoding="utf-8"))


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
        "Mildest found: gaussian_blur 0.06 px (severity 0.02) turns "
    )
    assert "float stayed in 3.1" in page.text


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


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.3, 1.0), (0.1, 0.2), (0.2, 0.1), (0.2, 0.5), (0.4, 0.9)], [1, 3, 0]),
        ([(0.1, 1.0), (0.1, 1.0), (0.1, 0.5)], [0]),
        ([(float("nan"), 9.0), (0.5, float("inf")), (0.5, 0.1)], [2]),
        ([], []),
    ],
)
def test_the_pareto_front_holds_what_no_other_beats(points: list[tuple[float, float]], expected: list[int]) -> None:
    assert figures.pareto_front(np.array(points, dtype=float).reshape(-1, 2)).tolist() == expected


def test_the_stretch_is_the_sources_so_a_brighter_follow_up_looks_brighter() -> None:
    source = np.linspace(100, 200, 300, dtype=np.float32).reshape(10, 10, 3)
    low, high = pictures.stretch(source, (0, 1000))
    before, after = (pictures.shown(x, low, high) for x in (source, source * 1.3))
    assert before.min() == 0 and before.max() == 255
    assert after.mean() > before.mean() + 30
    own = pictures.shown(source * 1.3, *pictures.stretch(source * 1.3, (0, 1000)))
    assert abs(own.mean() - before.mean()) < 2


def test_a_flat_patch_is_not_stretched_into_noise() -> None:
    low, high = pictures.stretch(np.full((9, 9, 3), 500.0), (0, 1000))
    assert np.allclose(high - low, 20)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.031, "3.1"),
        (0.9871, "98.7"),
        (0.99961, "99.96"),
        (0.999999, ">99.99"),
        (1.0, "100"),
        (0.0, "0"),
        (0.0034, "0.34"),
    ],
)
def test_shares_never_round_to_all_or_nothing(value: float, words: str) -> None:
    assert wording.share(value) == words


def test_numbers_speak_plainly() -> None:
    assert [wording.number(v) for v in (None, 0, 0.12345, 3.1e-7, 12345.0)] == [
        "–",
        "0",
        "0.123",
        "3.1 · 10⁻⁷",
        "12\u202f345",
    ]
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
    assert [wording.size(v).replace("\u202f", " ") for v in (900, 1300, 5_124_000)] == ["900 B", "1.3 kB", "5.12 MB"]


def test_charts_follow_the_theme_and_carry_no_date() -> None:
    svg = figures.curves(
        [("a", np.arange(5), np.arange(5.0)), ("b", np.arange(5), np.ones(5))],
        x="x",
        y="y",
        name="c",
        label='<"quoted">',
    )
    assert not re.search(r"#[0-9a-f]{6}\b", svg.replace("var(", ""))
    assert "var(--series-2)" in svg and "<style" not in svg and "date" not in svg.lower()
    assert 'aria-label="&lt;&#34;quoted&#34;&gt;"' in svg
    assert set(re.findall(r'id="([^"]*)"', svg)) and all(i.startswith("c-") for i in re.findall(r'id="([^"]*)"', svg))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_readme_picture_is_the_same_twice(suffix: str, run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(run, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert (tmp_path / f"a{suffix}").stat().st_size > 20_000


def test_no_finding_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with findings for a picture"):
        picture(build(tmp_path, findings=0), tmp_path / "p.png")


def test_a_relation_without_hits_does_not_squeeze_the_others() -> None:
    common = {"tier": "in_spec", "revealed_lower": 0.0, "enough": True}
    rows = [
        {"relation": "haze", "revealed_rate": 0.02, "revealed_upper": 0.03, **common},
        {"relation": "blur", "revealed_rate": 0.0, "revealed_upper": 0.2, **common},
    ]
    svg = figures.rates(rows, name="r", label="rates")
    ticks = [float(tick) for tick in re.findall(r">([\d.]+) %</text>", svg)]
    assert 2 <= max(ticks) <= 4
    lone = figures.rates(rows[1:], name="r", label="rates")
    assert max(float(tick) for tick in re.findall(r">([\d.]+) %</text>", lone)) >= 10


def test_what_a_model_chose_is_among_the_bars_however_unsure_it_was() -> None:
    sure = np.array([0.5, 0.49, 0.01, 0, 0, 0, 0], dtype=np.float32)
    torn = np.array([0, 0, 0, 0.35, 0.34, 0.31, 0], dtype=np.float32)
    unsure = np.array([0.14, 0.14, 0.14, 0.14, 0.14, 0.14, 0.16], dtype=np.float32)
    svg = close_ups.beliefs([sure, sure, torn, unsure], list("ABCDEFG"), ("float", "int8"), name="b", label="beliefs")
    shown = re.findall(r">([A-G])</text>", svg)
    assert shown == ["A", "B", "D", "G"]


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


def test_how_often_float_itself_moved_is_in_the_card(run: Path) -> None:
    row = card(run)["pairs"][0]["rates"]["in_spec"]["random chain"]
    assert row["reference_moved_share"] == pytest.approx((9 + 7) / 930)
    assert row["revealed_given_float_stayed"] == pytest.approx(29 / (930 - 9 - 7))
    assert row["enough"] is True
    nothing = card(run)["pairs"][0]["rates"]["stress"]["cloud"]
    assert (nothing["reference_moved_share"], nothing["revealed_given_float_stayed"]) == (None, None)
    assert nothing["enough"] is False


@pytest.mark.parametrize(("moved", "warned"), [(300, True), (150, False)])
def test_a_fragile_reference_is_told(moved: int, warned: bool, tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    change_rates(run, lambda row: row["relation"] == "random chain", moved_together=moved)
    text = rendered(run).text
    assert ("the reference is fragile before quantisation" in text) == warned


@pytest.mark.parametrize(
    ("values", "why"),
    [({"eligible": 29}, "only 29 of 960 draws were within the limits"), ({"blocks": 4}, "lie in 4 blocks only")],
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


def test_paths_in_warnings_are_cut_to_the_file(tmp_path: Path) -> None:
    run = build(tmp_path, findings=0)
    change(run, "data.json", lambda data: data.update(warnings=["Bands in /home/me/x y/pines.npz: and/or m/s."]))
    assert wording.without_folders("in /home/me/pines.npz: and/or m/s") == "in pines.npz: and/or m/s"
    assert "/home/me" not in rendered(run).text


@pytest.mark.parametrize(
    ("value", "words"), [(22_987_584, "23.0 M"), (281_640, "282 k"), (950, "950"), (1_723_680, "1.72 M"), (None, "–")]
)
def test_large_counts_have_three_digits(value: int | None, words: str) -> None:
    assert wording.large(value).replace("\u202f", " ") == words

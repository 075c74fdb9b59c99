"""A study: strictly read, all runs checked before one starts, carried out once, told from the stored tables alone."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from pathlib import Path
from typing import NoReturn

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import experiments.run
from experiments.config import ConfigError
from experiments.statistics.derived import WORDS, derived
from experiments.statistics.trials import summary
from experiments.study import BarsConfig, load_study
from experiments.study.page import derived_table, gathered, grouped, render_study
from tests.experiments import fake_arms
from tests.experiments.fake_run import build
from tests.experiments.page import Page
from tests.experiments.small import ROOT, diverget, write

STUDY = """
name: arms
shared: {rates: {draws: 1}, search: {budget: 960}, patchwise: {arms: [boundary, random, diffchaser], budget: 20}}
runs:
  - {name: wide, config: small.yaml, set: {split.assessed: 14, patchwise.budgets: {random: 40}, search.population: 8}}
  - {name: narrow, config: small.yaml, set: {split.assessed: 14, limits: {psnr: 20}, references.0.name: net}}
bars: {success_to_diffchaser: 1.5}
"""


def study(folder: Path, text: str = STUDY) -> Path:
    write(folder)
    path = folder / "arms.yaml"
    path.write_text(text)
    return path


def test_shared_is_laid_over_and_set_is_put_in_place(tmp_path: Path) -> None:
    read = load_study(study(tmp_path))
    wide, narrow = read.runs["wide"], read.runs["narrow"]
    assert (wide.name, narrow.name) == ("arms-wide", "arms-narrow")
    assert wide.patchwise is not None and narrow.patchwise is not None
    assert wide.patchwise.budgets == {"random": 40}
    # What is set in one run stays out of the others, although `shared` is one tree.
    assert narrow.patchwise.budgets == {}
    assert (wide.search.budget, wide.search.population, narrow.search.population) == (960, 8, 12)
    assert (wide.limits, narrow.limits) == ({"psnr": 12}, {"psnr": 20})
    assert (wide.references[0].label, narrow.references[0].label) == ("float", "net")
    # Laid over key by key: what `shared` does not name stays as the run's own config has it.
    assert wide.split.baseline == 200


def test_the_command_line_reaches_one_run_or_all(tmp_path: Path) -> None:
    sets = ["wide.seed=9", "shared.patchwise.repeats=2", "narrow.patchwise.repeats=3"]
    read = load_study(study(tmp_path), overrides=sets)
    assert (read.runs["wide"].seed, read.runs["narrow"].seed) == (9, 5)
    assert [run.patchwise.repeats for run in read.runs.values() if run.patchwise] == [2, 3]


def test_files_that_a_study_names_lie_beside_it(tmp_path: Path) -> None:
    text = STUDY.replace("split.assessed: 14, limits", "scene.path: other.npz, limits")
    read = load_study(study(tmp_path / "here", text))
    scene = read.runs["narrow"].scene
    assert scene is not None and scene.path == (tmp_path / "here").resolve() / "other.npz"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("shared:", "sharred:"), "sharred: unknown key; did you mean `shared`?"),
        (("config: small.yaml, set: {split", "confg: small.yaml, set: {split"), "unknown key; did you mean `config`?"),
        (("name: narrow", "name: wide"), "expected a name of its own for every run, got 'wide' 2 times"),
        (("name: narrow", "name: shared"), "which means all runs; rename it"),
        (("success_to_diffchaser", "sucess_to_diffchaser"), "did you mean `success_to_diffchaser`?"),
        (("search.population: 8", "search.populaton: 8"), "run wide: "),
        (("search.population: 8", "search.populaton: 8"), "search.populaton: unknown key; did you mean `population`?"),
        (("arms: [boundary, ", "arms: [boundry, "), "did you mean boundary"),
        (("config: small.yaml, set: {split.assessed: 14, limits", "config: no.yaml, set: {limits"), "run narrow: Exp"),
        (("runs:", "runs: []\nmore:"), "runs: "),
        (("runs:", "repair: {methods: [classifier]}\nruns:"), "did you mean classifier_svm or classifier_mlp?"),
        (("runs:", "repair: {methods: []}\nruns:"), "repair.methods: "),
    ],
)
def test_a_wrong_study_is_refused_with_the_way_out(tmp_path: Path, change: tuple[str, str], told: str) -> None:
    assert change[0] in STUDY
    with pytest.raises(ConfigError) as error:
        load_study(study(tmp_path, STUDY.replace(*change)))
    assert told in str(error.value)


def test_bars_without_a_search_to_hold_them_to_are_refused(tmp_path: Path) -> None:
    arms = "patchwise: {arms: [boundary, random, diffchaser], budget: 20}"
    text = STUDY.replace(arms, "workers: 1").replace("patchwise.budgets: {random: 40}, ", "")
    with pytest.raises(ConfigError, match="Expected a per-patch search beside `bars`"):
        load_study(study(tmp_path, text))
    without = load_study(study(tmp_path, text[: text.index("bars:")]))
    assert [run.patchwise for run in without.runs.values()] == [None, None]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("seed=9", "Expected --set run.key.path=value, got 'seed=9'"),
        ("wid.seed=9", "did you mean wide?"),
        ("wide.sed=9", "sed: unknown key; did you mean `seed`?"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_study(study(tmp_path), overrides=[override])


def test_check_tells_of_every_run_what_it_costs(tmp_path: Path) -> None:
    done = diverget("check", study(tmp_path), "--set", "shared.seed=3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("run wide\n") < done.stdout.index("run narrow\n")
    assert done.stdout.count('"seed": 3') == 2 and done.stdout.count("run directory: ") == 2
    assert diverget("check", study(tmp_path), "--set", "wid.seed=3").returncode == 2


def test_every_run_is_checked_before_one_starts(tmp_path: Path) -> None:
    text = STUDY.replace("limits: {psnr: 20}", "relations: [band_shift]")
    done = diverget("study", study(tmp_path, text), "--out", tmp_path / "runs")
    assert done.returncode == 2
    assert "run narrow: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_the_study_of_the_repository_is_read() -> None:
    tree = (ROOT / "configs" / "studies" / "search.yaml").read_text(encoding="utf-8")
    assert set(WORDS) == set(BarsConfig.model_fields)
    read = load_study(ROOT / "configs" / "studies" / "search.yaml")
    assert list(read.runs) == ["ip_depthwise", "ip_hybridsn", "mnist"]
    for run in read.runs.values():
        assert run.patchwise is not None and len(run.patchwise.ladder) >= 3
        assert run.patchwise.budget_of("random") == 1000
        assert all(f"- {arm}\n" in tree for arm in run.patchwise.arms)


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a scene, of images, and of a run that has not begun."""
    out = tmp_path_factory.mktemp("study")
    for name, images in (("s-scene-11111111", None), ("s-images-22222222", (28, 28, 1))):
        made = build(out / "made", images=images, findings=0, evaluations=False)
        pairs = (("hybridsn/int8", False), ("hybridsn/hybridsn", True))
        fake_arms.put(made, fake_arms.rows(pairs, patches=15, rungs=fake_arms.RUNGS[:2], seed=len(name)))
        shutil.move(made, out / name)
    place = out / "s-study"
    place.mkdir()
    runs = [
        {"name": name, "directory": f"s-{name}-{digest}", "digest": digest}
        for name, digest in (("scene", "11111111"), ("images", "22222222"), ("late", "33333333"))
    ]
    told = {"schema": 1, "name": "s", "bars": {"success_to_diffchaser": 2, "severity_to_random": 0.001}, "runs": runs}
    (place / "study.json").write_text(json.dumps(told))
    render_study(place)
    return place


def test_the_page_is_sound_and_tells_every_run(invented: Path) -> None:
    page = Page((invented / "report.html").read_text(encoding="utf-8"))
    assert (page.faults, page.open) == ([], [])
    assert len(page.ids) == len(set(page.ids)) and {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert (page.loads, page.scripts, page.images_without_words) == ([], 0, 0)
    assert not re.search(r"\b(None|nan|Undefined|rates?)\b", page.text)
    text = page.text.replace("\u202f", " ")
    for words in (
        "late has not begun; it is in no number of this page",
        "Averaged over the hyperspectral pairs and the ladder (2 cells of pair and limits)",
        "Averaged over the image pairs and the ladder",
        "share of patches REVEALED over that of the best DiffChaser arm ≥ 2 ✓",
        "median mildest severity over that of random with its whole budget ≤ 0.001 ✗",
        "times fewer queries to the first REVEALED than DFLARE as shipped –",
        "scene: int8 hybridsn stress, psnr 20",
        "s-images-22222222",
        "none parted, as it must be",
        "control: a model against itself, boundary 2 0 % 0 %",
        "control: searches in which a model parted from itself none 0 of 30 0 of 30",
        "control: searches in which a model parted from itself all 0 of 60 0 of 60",
    ):
        assert words in text, words


def test_the_tables_hold_what_the_page_shows(invented: Path) -> None:
    rows = pq.read_table(invented / "comparison.parquet").to_pylist()
    assert pyarrow.csv.read_csv(invented / "comparison.csv").num_rows == len(rows)
    _, runs = gathered(invented)
    cell = runs[0].tested[1][1]
    expected = summary(cell.arm("random").within(200))["revealed_share"]
    found = [
        row["value"]
        for row in rows
        if (row["run"], row["pair"], row["rung"], row["arm"]) == ("scene", cell.pair, cell.rung, "random")
        and row["quantity"] == "revealed_share"
        and row["budget"] == 200
    ]
    assert found == [expected]
    group, mine = next(iter(grouped(runs).items()))
    ratios = {one.name: one.value for one in derived(mine, "boundary")}
    told = {row["quantity"]: row["value"] for row in rows if (row["run"], row["arm"]) == (group, "boundary")}
    assert told["success_to_diffchaser"] == ratios["success_to_diffchaser"]
    cell_rows = [row for row in rows if (row["pair"], row["rung"], row["arm"]) == (cell.pair, cell.rung, "boundary")]
    effects = {row["quantity"]: row["value"] for row in cell_rows if row["run"] == "scene"}
    assert effects["a12_apart"] == cell.tested["boundary", "apart"].a12 != effects["a12_queries"]
    assert told["a12_apart"] == ratios["a12_apart"]
    assert derived_table(mine, {})["arms"][-1] == "random"
    random = {row["quantity"]: row["value"] for row in rows if (row["run"], row["arm"]) == (group, "random")}
    assert 0 < random["success_to_diffchaser"] < told["success_to_diffchaser"]
    curve = [row for row in rows if row["quantity"] == "curve_revealed" and row["run"] == "scene"]
    assert max(row["at"] for row in curve) == 200 and all(row["lower"] <= row["value"] <= row["upper"] for row in curve)


def test_the_same_runs_give_the_same_bytes_elsewhere(invented: Path, tmp_path: Path) -> None:
    shutil.copytree(invented.parent, tmp_path / "copy")
    place = tmp_path / "copy" / invented.name
    files = ("report.html", "comparison.csv", "comparison.parquet")
    for name in files:
        (place / name).unlink()
    render_study(place)
    assert [(place / name).read_bytes() for name in files] == [(invented / name).read_bytes() for name in files]


def test_a_cell_without_a_follow_up_inside_the_limits_stands_in_no_average(tmp_path: Path, invented: Path) -> None:
    shutil.copytree(invented.parent, tmp_path / "copy")
    place = tmp_path / "copy" / invented.name
    run, narrow = tmp_path / "copy" / "s-scene-11111111", fake_arms.RUNGS[1]

    def averaged() -> dict[str, float]:
        render_study(place)
        rows = pq.read_table(place / "comparison.parquet").to_pylist()
        return {
            row["arm"]: row["value"]
            for row in rows
            if (row["run"], row["quantity"]) == ("the hyperspectral pairs", "revealed_share")
        }

    found = pq.read_table(run / "patchwise.parquet").to_pylist()
    fake_arms.put(run, [row for row in found if row["rung"] != narrow])
    wide = averaged()
    none = {"apart": None, "revealed": None, "severity": None, "milder": [], "front": [], "spent": 200, "invalid": 100}
    fake_arms.put(run, [row | (none if row["rung"] == narrow and not row["control"] else {}) for row in found])
    assert averaged() == wide and max(wide.values()) > 0
    text = Page((place / "report.html").read_text(encoding="utf-8")).text.replace("\u202f", " ")
    assert "Averaged over the hyperspectral pairs and the ladder (1 cell of pair and limits)" in text
    assert (
        f"scene: int8 hybridsn, {narrow}: no follow-up of any arm was inside the limits; it is in no average." in text
    )
    assert f"{narrow} nothing inside nothing inside" in text


@pytest.mark.parametrize("name", ["findings.parquet", "patchwise.parquet", "manifest.json"])
def test_a_damaged_run_is_told_and_the_others_have_their_page(tmp_path: Path, invented: Path, name: str) -> None:
    shutil.copytree(invented.parent, tmp_path / "copy")
    place, run = tmp_path / "copy" / invented.name, tmp_path / "copy" / "s-scene-11111111"
    (run / name).write_bytes((run / name).read_bytes()[:20])
    for gone in (False, True):
        if gone:
            (run / name).unlink()
        render_study(place)
        text = Page((place / "report.html").read_text(encoding="utf-8")).text
        assert "Distrust. scene is damaged, and in no number of this page. Expected" in text
        assert name in text and "Averaged over the image pairs" in text and "the hyperspectral pairs" not in text
        assert "damaged s-scene-11111111" in text


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"study\.json.*diverget study"):
        render_study(tmp_path)


def test_whatever_ends_a_run_ends_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = iter([MemoryError(), zlib.error("incorrect header check")])

    def fails(*_: object) -> NoReturn:
        raise next(errors)

    monkeypatch.setattr(experiments.run, "run", fails)
    done = diverget("study", study(tmp_path), "--out", tmp_path / "runs")
    assert done.returncode == 2 and "2 of 2 that did not" in done.stderr and "Traceback" not in done.stderr
    assert "run wide: Expected the run to fit into memory, got no more of it" in done.stderr
    log = tmp_path / "runs" / "arms-study" / "logs" / "narrow.txt"
    assert f"run narrow: Expected the run to come to its end, got error: incorrect header check; see {log}" in (
        done.stderr
    )
    assert "Traceback" in log.read_text() and (log.parents[1] / "report.html").exists()


@pytest.mark.slow
def test_a_study_is_carried_out_and_not_repeated(tmp_path: Path) -> None:
    file, out = study(tmp_path), tmp_path / "runs"
    done = diverget("study", file, "--out", out)
    assert done.returncode == 0, done.stderr
    place = out / "arms-study"
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "wide: int8 float" in page and "narrow: int8 net" in page and "≥ 1.5" in page
    told = json.loads((place / "study.json").read_text())
    summaries = [out / run["directory"] / "summary.json" for run in told["runs"]]
    before = [path.stat().st_mtime_ns for path in summaries], (place / "comparison.csv").read_bytes()
    again = diverget("study", file, "--out", out)
    assert again.returncode == 0, again.stderr
    assert ([path.stat().st_mtime_ns for path in summaries], (place / "comparison.csv").read_bytes()) == before
    # One that fails keeps no other from its end, nor the page.
    (summaries[0].parent / "findings.parquet").unlink()
    shutil.rmtree(summaries[1].parent)
    failed = diverget("study", file, "--out", out)
    assert failed.returncode == 2 and "1 of 2 that did not" in failed.stderr
    assert f"run wide: Expected {summaries[0].parent / 'findings.parquet'}, got no such file: remove" in failed.stderr
    assert summaries[1].exists()
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "wide is damaged" in page and "narrow: int8 net" in page
    shutil.rmtree(summaries[0].parent)
    assert diverget("study", file, "--out", out).returncode == 0
    table = [line for line in (place / "comparison.csv").read_bytes().splitlines() if b'"seconds"' not in line]
    assert table == [line for line in before[1].splitlines() if b'"seconds"' not in line]

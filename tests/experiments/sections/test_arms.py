"""The section “Patch by patch”: every arm, random and the control, in words that claim no rate."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.charts import arms as arm_figures
from experiments.record import read
from experiments.report import environment, render
from experiments.sections.arms import in_words, patchwise, table, ways
from experiments.sections.diversity import diversity
from experiments.sections.fronts import fronts
from experiments.sections.survival import survival
from experiments.statistics.trials import cells
from tests.experiments import fake_arms
from tests.experiments.fake_run import build
from tests.experiments.page import Page

SMALL = {"arms": ("boundary", "random", "diffchaser"), "patches": 12, "rungs": fake_arms.RUNGS[:2]}
PAIRS = (("hybridsn/int8", False), ("hybridsn/hybridsn", True))


def section(run: Path) -> Page:
    made = patchwise(read(run))
    return Page(environment().get_template(made.template).render(made.values))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build(tmp_path, findings=0, evaluations=False)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    made = build(tmp_path_factory.mktemp("arms"), findings=0, evaluations=False)
    return section(fake_arms.put(made, fake_arms.rows(PAIRS)))


def test_every_rung_has_every_arm_random_twice_and_the_control(page: Page) -> None:
    text = page.text.replace("\u202f", " ")
    for rung in fake_arms.RUNGS:
        start = text.index(f"int8 hybridsn · {rung}")
        part = text[start : text.index("REVEALED against queries", start)]
        for arm in (*fake_arms.STRENGTH, "random, first 200"):
            assert f" {arm} " in part, (rung, arm)
        assert "10 arms, 400 searches of a patch: none parted, as it must be" in part
    assert "Budget 200 queries a patch (random 1 000), 3 repeats" in text
    assert "until its budget is used up" in text
    assert (page.faults, page.open, page.images_without_words) == ([], [], 0)
    assert len(page.ids) == len(set(page.ids))


def test_a_search_is_never_called_a_rate(page: Page) -> None:
    assert not re.search(r"\brates?\b", page.text, re.I)
    assert not re.search(r"\b(None|nan|inf|Undefined)\b", page.text)


def test_the_words_say_where_no_difference_was_shown() -> None:
    tested = [cell for cell in cells(fake_arms.rows(PAIRS, patches=60)) if not cell.control]
    words = in_words(tested[0])
    assert "boundary, metropolis and nsga2 need fewer queries to a REVEALED than random" in words
    assert re.search(r"No difference from random was shown for [^.]*pso", words)
    assert "boundary, metropolis and nsga2 need fewer queries to any disagreement than random" in words
    rows = {row["arm"]: row for row in table(tested[0])}
    assert rows["boundary"]["by"]["queries"]["words"] == "better"
    assert rows["pso"]["by"]["queries"]["words"] == "no better"
    assert rows["diffchaser"]["by"]["severity"] is None and rows["diffchaser"]["severity_told"] == "–"
    assert rows["diffchaser_basic"]["revealed_told"] == ">\u202f200"
    assert rows["random, first 200"]["by"]["queries"] is None


def test_where_random_parts_the_models_first_the_words_and_the_table_say_so(run: Path) -> None:
    """boundary reveals first, random comes upon any disagreement first."""
    found = [
        fake_arms.row(arm=arm, patch=patch, revealed=revealed, apart=apart)
        for arm, revealed, apart in (("boundary", 40, 30), ("random", 100, 4), ("pso", 100, 4))
        for patch in range(40)
    ]
    (cell,) = cells(found)
    assert in_words(cell) == (
        "Within 200 queries a patch, boundary needs fewer queries to a REVEALED than random. No difference from random "
        "was shown for pso. Within 200 queries a patch, no arm needs fewer queries to any disagreement than random. "
        "Random needs fewer than boundary. No difference from random was shown for pso."
    )
    assert {name: it["words"] for name, it in table(cell)[0]["by"].items() if it and name != "severity"} == {
        "queries": "better",
        "apart": "worse",
    }
    assert "A₁₂ queries to any A₁₂ queries to REVEALED" in section(fake_arms.put(run, found)).text


def test_a_rung_without_a_follow_up_inside_the_limits_concludes_nothing(run: Path) -> None:
    found = [
        fake_arms.row(arm=arm, patch=patch, spent=spent, invalid=spent // 2, rung=rung)
        for rung in fake_arms.RUNGS[:2]
        for arm, spent in (("boundary", 0), ("random", 0), ("pso", 200))
        for patch in range(4)
    ]
    (cell, _) = cells(found)
    nothing = "No follow-up of any arm was inside the limits, so nothing follows from"
    assert in_words(cell) == f"{nothing} this rung." and not cell.tested
    assert all(test is None for row in table(cell) for test in row["by"].values())
    text = section(fake_arms.put(run, found)).text
    assert f"{nothing} the search." in text and "no better" not in text and "a REVEALED on 0" not in text
    assert "stress, psnr 20 nothing inside nothing inside nothing inside" in text
    one_inside = [it | ({"invalid": 99} if it["arm"] == "pso" else {}) for it in found[:12]]
    assert "No difference from random" in in_words(cells(one_inside)[0])


def test_a_control_that_parts_is_told_first_and_in_the_table(run: Path) -> None:
    rows = fake_arms.rows(PAIRS, **SMALL)
    hit = next(row for row in rows if row["control"])
    hit["apart"] = 8
    text = section(fake_arms.put(run, rows)).text
    assert "Distrust. The control failed: a model parted from itself in 1 search of a patch." in text
    assert "1 parted; it must be none" in text
    assert "control: searches in which a model parted from itself all 1 of 24 0 of 24 0 of 24 all of them" in text
    assert text.index("The control failed") < text.index("boundary found")


def test_without_random_no_arm_is_said_to_be_better(run: Path) -> None:
    rows = fake_arms.rows(PAIRS, **SMALL | {"arms": ("boundary", "diffchaser")})
    config = fake_arms.CONFIG | {"arms": ["boundary", "diffchaser"]}
    text = section(fake_arms.put(run, rows, config)).text
    assert "The arm random did not take part" in text
    assert "A₁₂ queries" not in text and "(random" not in text


def test_one_repeat_has_no_range_over_repeats(run: Path) -> None:
    text = section(
        fake_arms.put(run, fake_arms.rows(PAIRS, repeats=1, **SMALL), fake_arms.CONFIG | {"repeats": 1})
    ).text
    assert "one repeat." in text and "Bands: 95 % over patches, exact." in text


def test_why_there_is_nothing_is_said(run: Path) -> None:
    assert "add `patchwise:` to its config" in section(run).text
    fake_arms.put(run, [])
    assert "No eligible patch" in section(run).text
    for name in ("patchwise.parquet", "summary.json"):
        (run / name).unlink()
    assert "interrupted before this stage" in section(run).text


def test_the_best_divergence_is_the_median_over_patches() -> None:
    def front(*points: tuple[float, float]) -> list[dict]:
        return [{"severity": s, "divergence": d} for s, d in points]

    rows = [
        fake_arms.row(patch=0, front=front((0.1, 0.2), (0.5, 0.6))),
        fake_arms.row(patch=1, front=front((0.3, 0.4))),
        fake_arms.row(patch=2),
    ]
    (cell,) = cells(rows)
    at = np.array([0, 0.1, 0.3, 0.5, 0.9])
    assert arm_figures.best_by_severity(cell.trials[0], at).tolist() == [0, 0, 0.2, 0.4, 0.4]


def test_an_arm_keeps_its_look_and_no_two_share_one() -> None:
    found = cells(fake_arms.rows(patches=2, repeats=1))
    looks = arm_figures.looks([t for cell in found for t in cell.trials])
    assert list(looks) == list(fake_arms.STRENGTH)
    assert len({(look.colour, look.dash) for look in looks.values()}) == len(looks)


@pytest.mark.parametrize(
    ("arms", "names", "told"),
    [
        (
            ["boundary", "random"],
            ["brightness", "offset", "stripes", "median_blur"],
            "boundary moves along brightness and offset. What jumps is left to other arms: stripes and median_blur.",
        ),
        (["boundary", "boundary_alone"], ["offset"], "boundary and boundary_alone move along offset."),
        (["boundary"], ["stripes"], "boundary moves along stripes."),
        (["random"], ["brightness", "stripes"], ""),
    ],
)
def test_which_relations_boundary_leaves_to_other_arms_is_told(arms: list[str], names: list[str], told: str) -> None:
    config = {"relations": [{"name": name} for name in names], "patchwise": {"arms": arms}}
    assert ways(config) == told
    assert ways(config | {"patchwise": None}) == ""


def test_empty_kinds_of_relations_that_boundary_leaves_say_little(tmp_path: Path) -> None:
    made = fake_arms.put(build(tmp_path), fake_arms.rows(PAIRS, **SMALL))
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["config"] |= {"relations": [{"name": "offset"}, {"name": "stripes"}]}
    (made / "manifest.json").write_text(json.dumps(manifest))
    for part, words in ((diversity, "boundary moved along none of stripes, so"), (patchwise, "arms: stripes.")):
        shown = part(read(made))
        assert words in Page(environment().get_template(shown.template).render(shown.values)).text


def test_how_to_read_the_small_fronts_of_boundary_is_said_where_it_took_part(run: Path) -> None:
    words = "boundary shows both models mostly follow-ups near where they part"
    for arms, told in ((("boundary", "random"), True), (("nsga2", "random"), False)):
        made = fronts(read(fake_arms.put(run, fake_arms.rows(PAIRS, **SMALL | {"arms": arms}))))
        assert (words in Page(environment().get_template(made.template).render(made.values)).text) == told


def test_patches_never_revealed_are_censored_where_the_table_of_arms_censors_them(run: Path) -> None:
    hit = {"revealed": 20, "severity": 0.36, "milder": [{"queries": 20, "severity": 0.36}]}
    found = [fake_arms.row(patch=patch, **(hit if patch < 9 else {})) for patch in range(20)]
    made = survival(read(fake_arms.put(run, found)))
    rows = [row for block in made.values["blocks"] for _, rows in block["tables"] for row in rows]
    assert [row["end"] for row in rows] == [1.0]
    text = Page(environment().get_template(made.template).render(made.values)).text
    assert "curve ends at" in text and "looked at up to" not in text


def test_the_section_stands_in_the_report_and_keeps_it_small(run: Path) -> None:
    fake_arms.put(run, fake_arms.rows(PAIRS))
    render(run)
    html = (run / "report.html").read_text(encoding="utf-8")
    first = html[html.index('id="patches"') :]
    assert "boundary found a REVEALED on" in first
    assert (run / "report.html").stat().st_size < 2_000_000
    page = Page(html)
    assert (page.faults, page.open) == ([], []) and len(page.ids) == len(set(page.ids))
    assert json.loads((run / "patchwise.json").read_text())

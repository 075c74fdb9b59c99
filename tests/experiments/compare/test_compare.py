"""Two runs beside each other: a planted regression is flagged, an identical model passes, other ground is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from diverget.models import preprocessing, quantise
from diverget.outcome import Outcome
from experiments import data
from experiments.cli import app
from experiments.compare import compare
from experiments.compare.comparable import together
from experiments.compare.page import lines, page
from experiments.config import load
from experiments.record import EVERYTHING
from experiments.stages.drawn import read_drawn
from experiments.statistics import mcnemar
from experiments.training import prepare_in_parts
from tests.diverget.models.networks import require_tensorflow
from tests.experiments.page import Page
from tests.experiments.small import CONFIG, diverget, run_directory, write

SMALL = (
    CONFIG.replace("{assessed: 40, baseline: 200}", "{assessed: 80, baseline: 200, block: 6}")
    .replace("search: {population: 12, budget: 9600}", "search: {population: 8, budget: 1280}")
    .replace("rates: {draws: 2}", "rates: {draws: 2, doses: []}\npatchwise: {arms: [random], budget: 24}")
    + "attribution: false\n"
)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of golden networks."""
    folder = tmp_path_factory.mktemp("release")
    done = diverget("run", write(folder, SMALL), "--out", folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return run_directory(folder / "out")


def changed(run: Path, to: Path, file: str, change: Callable[[Any], Any]) -> Path:
    """A copy of a run in which one file says something else; what `change` returns is written."""
    if not to.exists():
        shutil.copytree(run, to)
    path = to / file
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content)))
    elif path.suffix == ".npz":
        with np.load(path) as stored:
            arrays = dict(stored)
        np.savez_compressed(path, **change(arrays))
    else:
        table = pq.read_table(path)
        rows = [change(row) for row in table.to_pylist()]
        pq.write_table(table.schema.empty_table().from_pylist(rows, schema=table.schema), path)
    return to


def moving(share: float, *cells: str) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """A share of the draws on which nobody moved is REVEALED in some cells of the outcomes, the same wherever asked."""

    def change(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(0)
        for cell in cells:
            outcomes = arrays[cell]
            hit = (outcomes == Outcome.SAME) & (draw.random(outcomes.shape) < share)
            arrays[cell] = np.where(hit, np.uint8(Outcome.REVEALED), outcomes)
        return arrays

    return change


def rows_of(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["quantity"]: row for row in found["pairs"][0]["rows"]}


def test_a_run_beside_itself_shows_no_difference(release: Path) -> None:
    found = compare(release, release)
    assert (found["verdict"], found["caveats"]) == ("no difference shown", [])
    rows = rows_of(found)
    judged = {name for name, row in rows.items() if row["guarded"]}
    assert {"accuracy", "agreement", "minimal_severity", "revealed_rate.in_spec", "revealed_rate.stress"} <= judged
    assert "revealed_rate.stress.stripes" in judged and not rows["findings"]["guarded"]
    assert all(row["difference"] == 0 for row in rows.values() if row["difference"] is not None)
    assert all(row["mcnemar"] == 1 for row in rows.values() if row["mcnemar"] is not None)
    assert rows["revealed_rate.stress"]["lower"] < 0 < rows["revealed_rate.stress"]["upper"]


def test_draws_that_reveal_more_are_worse_and_the_other_way_round_better(release: Path, tmp_path: Path) -> None:
    worse = changed(
        release, tmp_path / "next", "rates/outcomes-00.npz", moving(0.4, f"in_spec:{EVERYTHING}", "stress:stripes")
    )
    found = compare(release, worse)
    assert found["verdict"] == "worse"
    assert found["pairs"][0]["reasons"] == [
        "REVEALED rate, in_spec, all relations together",
        "REVEALED rate, stress, stripes",
    ]
    ours, theirs = (read_drawn_of(run)["in_spec", EVERYTHING] for run in (release, worse))
    row = rows_of(found)["revealed_rate.in_spec"]
    assert row["first_only"] == 0
    assert row["second_only"] == int(((theirs == Outcome.REVEALED) & (ours != Outcome.REVEALED)).sum())
    eligible = (ours != Outcome.INVALID) & (ours != Outcome.INHERITED)
    assert row["difference"] == pytest.approx(row["second_only"] / eligible.sum())
    assert compare(worse, release)["verdict"] == "better"
    assert compare(release, worse, tolerance=1)["verdict"] == "no difference shown"


def read_drawn_of(run: Path) -> Any:
    from diverget.store import Store

    return read_drawn(Store(run))["float/int8"].outcomes


def test_one_block_alone_flags_nothing(release: Path, tmp_path: Path) -> None:
    def in_one_block(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        cell, blocks = f"stress:{EVERYTHING}", arrays["blocks"]
        hit = (arrays[cell] == Outcome.SAME) & (blocks == np.bincount(blocks).argmax())[:, None]
        assert hit.sum() >= 6
        arrays[cell] = np.where(hit, np.uint8(Outcome.REVEALED), arrays[cell])
        return arrays

    row = rows_of(compare(release, changed(release, tmp_path / "n", "rates/outcomes-00.npz", in_one_block)))
    rate = row["revealed_rate.stress"]
    assert mcnemar(rate["first_only"], rate["second_only"]) < 0.05 and rate["blockwise"] == 1
    assert rate["judged"] == "no difference shown"


def test_clean_patches_and_mildest_severities_are_guarded(release: Path, tmp_path: Path) -> None:
    def disagreeing(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wrong = np.arange(len(arrays["patches"])) % 4 == 0
        arrays["apart:float/int8"] = arrays["apart:float/int8"] | wrong
        said = arrays["said:float/int8"]
        arrays["said:float/int8"] = np.where(wrong, (arrays["labels"] + 1) % 3, said)
        return arrays

    found = compare(release, changed(release, tmp_path / "clean", "clean.npz", disagreeing))
    assert found["pairs"][0]["reasons"] == [
        "accuracy on clean patches",
        "agreement on clean patches",
    ]

    def milder(row: dict[str, Any]) -> dict[str, Any]:
        return row if row["control"] else {**row, "severity": 0.5 * (row["severity"] or 1)}

    found = compare(release, changed(release, tmp_path / "mild", "patchwise.parquet", milder))
    assert found["pairs"][0]["reasons"] == ["mildest severity that reveals a patch, stress, psnr 12"]
    assert rows_of(found)["minimal_severity"]["b"] == pytest.approx(rows_of(found)["minimal_severity"]["a"] / 2)


@pytest.mark.parametrize(("key", "value"), [("repeats", 12), ("until", "spent")])
def test_searches_that_were_given_other_chances_are_not_set_beside_each_other(
    release: Path, tmp_path: Path, key: str, value: Any
) -> None:
    assert "minimal_severity" in rows_of(compare(release, release))
    to = changed(release, tmp_path / "next", "manifest.json", set_in("config", "patchwise", key, value=value))
    assert "minimal_severity" not in rows_of(compare(release, to))


def set_in(*path: str, value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(content: dict[str, Any]) -> dict[str, Any]:
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return content

    return change


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("manifest.json", set_in("config", "seed", value=6), "the seeds 5 and 6"),
        ("manifest.json", set_in("config", "relations", value=[{"name": "haze", "bounds": {}}]), "other relations"),
        ("manifest.json", set_in("config", "limits", value={"psnr": 30.0}), "the limits"),
        ("manifest.json", set_in("config", "tier", value="in_spec"), "the tiers"),
        ("manifest.json", set_in("config", "split", "block", value=4), "another split (block)"),
        ("data.json", set_in("digest", value="0"), "other data. Run both"),
        ("data.json", lambda c: c | {"digest": "0", "class_names": ["a", "b"]}, "other data and classes. Run both"),
    ],
)
def test_other_ground_is_refused_with_the_reason(
    release: Path, tmp_path: Path, file: str, change: Callable[[Any], Any], words: str
) -> None:
    other = changed(release, tmp_path / "other", file, change)
    done = CliRunner().invoke(app, ["compare", str(release), str(other)])
    assert done.exit_code == 2
    assert "error: Expected two runs that measured the same, got" in done.output and words in done.output
    assert not (other / "compare").exists()


@pytest.mark.parametrize(
    ("key", "words"),
    [("complete", "B is not finished; the command"), ("control_passed", "in B a model parts from itself; trust")],
)
def test_a_run_without_numbers_to_trust_is_refused_and_not_called_another_measurement(
    release: Path, tmp_path: Path, key: str, words: str
) -> None:
    other = changed(release, tmp_path / "other", "summary.json", set_in(key, value=False))
    done = CliRunner().invoke(app, ["compare", str(release), str(other)])
    assert done.exit_code == 2 and words in done.output
    assert "Expected two finished runs whose control passed" in done.output and "one config" not in done.output


def test_a_reason_is_told_once() -> None:
    reasons = [
        "A (x) kept no single clean patches",
        "fewer than 30 trials or 5 blocks (40 in 4)",
        "A (x) kept no outcomes of single draws",
        "the draws lie on other patches",
        "fewer than 30 trials or 5 blocks (80 in 4)",
        "A (x) kept no outcomes of single draws",
    ]
    assert together(reasons) == (
        "A (x) kept no single clean patches or outcomes of single draws; fewer than 30 trials or 5 blocks (40 in 4 "
        "and 80 in 4); the draws lie on other patches"
    )


def test_runs_with_nothing_to_judge_by_are_refused(release: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(release, old)
    (old / "clean.npz").unlink()
    (old / "rates" / "outcomes-00.npz").unlink()
    with pytest.raises(ValueError, match=r"nothing to judge by: B \(old\) kept no single clean patches") as caught:
        compare(release, old)
    assert str(caught.value).count("B (old)") == 1 and "outcomes of single draws" in str(caught.value)


def with_another_pair(content: dict[str, Any]) -> dict[str, Any]:
    """A version of which the run kept no single draw or patch beside the one that it has."""
    (tested,) = (pair for pair in content["pairs"] if not pair["control"])
    content["pairs"].append(tested | {"pair": "float/other", "quantised": "other"})
    return content


def test_a_pair_of_which_nothing_can_be_judged_is_not_judged(release: Path, tmp_path: Path) -> None:
    runs = []
    for name in ("old", "next"):
        runs.append(changed(release, tmp_path / name, "models.json", with_another_pair))
        changed(release, runs[-1], "baseline.json", lambda c: c | {"float/other": c["float/int8"]})
    found = compare(*runs)
    assert [(pair["b"], pair["verdict"]) for pair in found["pairs"]] == [
        ("float/int8", "no difference shown"),
        ("float/other", "not judged"),
    ]
    why = "A (old) and B (next) kept no single clean patches or outcomes of single draws"
    assert found["pairs"][1]["why"] == why and found["pairs"][0]["why"] is None
    assert {row["judged"] for row in found["pairs"][1]["rows"]} == {"not judged", "told only"}
    assert found["caveats"] == ["The verdict says nothing of float/other: not judged."]
    assert f"float/other: not judged ({why})" in lines(found)
    assert "<b>– not judged</b> float/other: A (old) and B" in page(found)
    assert page(found).count("kept no single clean patches or") == "\n".join(lines(found)).count(why) == 1


def test_draws_that_one_run_lacks_are_named_and_the_rest_is_judged(release: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(release, old)
    (old / "rates" / "outcomes-00.npz").unlink()
    found = compare(old, release)
    row = rows_of(found)["revealed_rate"]
    assert (row["judged"], row["unjudged"]) == ("not judged", "A (old) kept no outcomes of single draws")
    assert found["pairs"][0]["verdict"] == "no difference shown" and rows_of(found)["agreement"]["guarded"]


def test_the_error_is_spread_over_all_guarded_rows(release: Path, tmp_path: Path) -> None:
    worse = changed(release, tmp_path / "next", "rates/outcomes-00.npz", moving(0.4, f"in_spec:{EVERYTHING}"))
    found = compare(release, worse)
    guarded = [row for row in found["pairs"][0]["rows"] if row["guarded"]]
    assert found["family"] == len(guarded) >= 17
    assert {row["level"] for row in guarded} == {1 - (1 - found["level"]) / len(guarded)}
    ours, theirs = (read_drawn_of(run)["in_spec", EVERYTHING] for run in (release, worse))
    raw = mcnemar(0, int(((theirs == Outcome.REVEALED) & (ours != Outcome.REVEALED)).sum()))
    # The smallest p of the rows that have such a test.
    tested = sum(row["mcnemar"] is not None for row in guarded)
    assert rows_of(found)["revealed_rate.in_spec"]["mcnemar"] == pytest.approx(min(1, tested * raw))
    assert f"All {len(guarded)} guarded quantities of all pairs are one family" in page(found)


def test_what_differs_without_harm_is_told(release: Path, tmp_path: Path) -> None:
    to = changed(release, tmp_path / "next", "manifest.json", set_in("config", "rates", "draws", value=1))
    changed(release, to, "manifest.json", set_in("versions", "numpy", value="1.0"))
    changed(release, to, "rates/outcomes-00.npz", lambda a: {k: v[:, :1] if ":" in k else v for k, v in a.items()})
    changed(release, to, "models.json", lambda c: {**c, "pairs": [p for p in c["pairs"] if not p["control"]]})
    found = compare(release, to)
    assert [caveat for caveat in found["caveats"] if "No control was run in B: whether a model" in caveat]
    assert [caveat for caveat in found["caveats"] if "numpy" in caveat and "→ 1.0" in caveat]
    assert [caveat for caveat in found["caveats"] if "the first 1 a patch" in caveat]
    assert rows_of(found)["revealed_rate.stress"]["trials"] <= 80


def renamed(content: dict[str, Any]) -> dict[str, Any]:
    for pair in content["pairs"]:
        if not pair["control"]:
            pair["pair"] = "float/other"
    return content


def test_pairs_are_matched_by_name_or_as_told(release: Path, tmp_path: Path) -> None:
    to = changed(release, tmp_path / "next", "models.json", renamed)
    changed(release, to, "baseline.json", lambda c: {k.replace("/int8", "/other"): v for k, v in c.items()})
    changed(release, to, "clean.npz", lambda a: {k.replace("/int8", "/other"): v for k, v in a.items()})
    changed(release, to, "rates/outcomes-00.npz", lambda a: {**a, "pair": np.array("float/other")})
    assert [(p["a"], p["b"]) for p in compare(release, to)["pairs"]] == [("float/int8", "float/other")]
    assert compare(release, to, pair_b="float/other")["verdict"] == "no difference shown"
    with pytest.raises(ValueError, match=r"Expected the name of a pair of A, got nothing; there is float/int8"):
        compare(release, to, pair_a="nothing")


def test_page_table_and_json_say_the_same_offline(release: Path, tmp_path: Path) -> None:
    worse = changed(release, tmp_path / "next", "rates/outcomes-00.npz", moving(0.4, f"in_spec:{EVERYTHING}"))
    done = CliRunner().invoke(app, ["compare", str(release), str(worse), "--out", str(tmp_path / "page")])
    assert done.exit_code == 1, done.output
    assert "The next model is worse." in done.output and "✗ worse" in done.output
    found = json.loads((tmp_path / "page" / "compare.json").read_text(encoding="utf-8"))
    assert found == compare(release, worse)
    with open(tmp_path / "page" / "compare.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["quantity"], row["judged"]) for row in table] == [
        (row["quantity"], row["judged"]) for row in found["pairs"][0]["rows"]
    ]
    text = (tmp_path / "page" / "compare.html").read_text(encoding="utf-8")
    seen = Page(text)
    assert (seen.faults, seen.open, seen.loads, seen.scripts) == ([], [], [], 0)
    assert len(seen.ids) == len(set(seen.ids)) and all(link[1:] in seen.ids for link in seen.links)
    for words in ("The next model is worse.", "✗ worse", "Tango’s" if "Tango’s" in text else "Tango's", "McNemar"):
        assert words in seen.text
    assert text == page(found)
    assert str(tmp_path) not in text and str(release.parent) not in text
    assert lines(found)[-1] == "The next model is worse."
    again = CliRunner().invoke(app, ["compare", str(release), str(worse), "--out", str(tmp_path / "page2"), "--json"])
    assert json.loads(again.stdout) == found
    for name in ("compare.json", "compare.csv", "compare.html"):
        assert (tmp_path / "page" / name).read_bytes() == (tmp_path / "page2" / name).read_bytes()


EMBEDDED = """
name: release
seed: 3
scene: {synthetic: {height: 96, width: 96}, patch: 7}
split: {assessed: 60, baseline: 300, calibration: 60}
references: [{zoo: depthwise, epochs: 8, train_limit: 400}]
quantisations: [int8]
relations: [brightness, gaussian_noise]
rates: {draws: 2, doses: []}
search: {population: 8, budget: 1000}
patchwise: {arms: [random], budget: 16}
attribution: false
"""


def run_of(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(text)
    done = CliRunner().invoke(app, ["run", str(folder / "config.yaml"), "--out", str(folder / "out")])
    assert done.exit_code == 0, done.output
    (found,) = (path for path in (folder / "out").iterdir() if (path / "summary.json").exists())
    return found


@pytest.mark.slow
def test_a_badly_calibrated_network_is_flagged_and_the_same_one_passes(tmp_path: Path) -> None:
    require_tensorflow()
    first = run_of(tmp_path / "a", EMBEDDED)
    material = data.gather(load(tmp_path / "a" / "config.yaml"))
    prepared = preprocessing.load(first / "models" / "depthwise.json")
    inputs = prepare_in_parts(prepared, material, material.calibration)
    bad = quantise.convert(
        first / "models" / "depthwise.keras",
        quantise.quantisation("int8"),
        calibration=inputs / 100,
        cache=tmp_path / "converted",
    )
    kept = f"{{path: {first}/models/depthwise.tflite, name: depthwise, preprocessing: {first}/models/depthwise.json}}"
    for name, file, code, verdict in (
        ("same", first / "models" / "depthwise.int8.tflite", 0, "no difference shown"),
        ("bad", bad, 1, "worse"),
    ):
        text = EMBEDDED.replace("name: release", f"name: {name}").replace(
            "{zoo: depthwise, epochs: 8, train_limit: 400}", kept
        )
        run = run_of(tmp_path / name, text.replace("[int8]", f"[{{path: {file}, name: int8}}]"))
        done = CliRunner().invoke(app, ["compare", str(first), str(run), "--json"])
        assert done.exit_code == code, done.output
        found = json.loads(done.stdout)
        assert (found["verdict"], found["caveats"]) == (verdict, [])
        assert (run / "compare" / "compare.html").exists()
    assert "agreement on clean patches" in found["pairs"][0]["reasons"]

"""The command `repair`: on files without TensorFlow, and with everything on a network trained here."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from diverget.blame import Layer, Seen
from diverget.tables import REPAIR
from experiments.repair.methods import ladder
from experiments.study.page import render_study
from tests.diverget.models.networks import require_tensorflow
from tests.experiments.small import CONFIG, diverget, run_directory, write

SEARCHED = CONFIG + "patchwise: {arms: [boundary], budget: 100}\nattribution: false\n"

TRAINED = """
name: small
seed: 2
scene: {synthetic: {height: 64, width: 64}, patch: 7}
split: {assessed: 30, baseline: 60, calibration: 12, fractions: [0.4, 0.1, 0.5], block: 8}
references: [{zoo: depthwise, epochs: 8, batch: 16, train_limit: 300}]
quantisations: [int8, float16]
relations: [brightness, offset, gaussian_noise]
limits: {psnr: 15}
rates: {draws: 1, doses: []}
search: {population: 4, budget: 480}
patchwise: {arms: [boundary], budget: 100}
control: false
attribution: false
"""

nothing = Seen(None, None, None, 0.0, None, None, None, None, 0.0, 0, 0.0, 0.0)


def layer(index: int, *, identity: bool = False) -> Layer:
    return Layer(
        index=index,
        operator="CONV_2D",
        tensor=f"t{index}",
        reference_tensor=f"r{index}",
        shape=(1,),
        low=None,
        high=None,
        identity=identity,
        readers=(),
        sources=nothing,
        findings=nothing,
    )


def test_the_ladder_names_each_choice_once() -> None:
    ranked = [layer(3), layer(0, identity=True), layer(1), layer(4), layer(2)]
    chosen = {name.partition(":")[0]: [one.index for one in layers] for name, layers in ladder(ranked).items()}
    assert chosen == {
        "1 to blame most": [3], "2 to blame most": [3, 1], "4 to blame most": [3, 1, 4, 2],
        "the first": [1], "the last": [4], "first and last": [1, 4],
    }  # fmt: skip
    assert [one.index for one in ladder([layer(0)])["1 to blame most: 0 CONV_2D"]] == [0] and len(
        ladder([layer(0)])
    ) == 1
    assert ladder([layer(0, identity=True)]) == {}


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn", reason='needs scikit-learn: pip install "diverget[repair]"')
    folder = tmp_path_factory.mktemp("repair")
    done = diverget("run", write(folder, SEARCHED), "--out", folder / "runs")
    assert done.returncode == 0, done.stderr
    place = run_directory(folder / "runs")
    done = diverget("repair", place)
    assert done.returncode == 0, done.stderr
    (folder / "told.txt").write_text(done.stdout)
    return folder


def test_files_without_a_keras_network_get_classifiers_alone(mended: Path) -> None:
    place = run_directory(mended / "runs")
    table = pq.read_table(place / "repair.parquet")
    assert table.schema.equals(REPAIR)
    rows = table.to_pylist()
    assert [row["method"] for row in rows] == ["classifier_mlp", "classifier_svm", "classifier_tree"]
    (told,) = json.loads((place / "repair.json").read_text())["pairs"]
    assert sorted(told["refused"]) == ["calibration", "keep_float", "qat"]
    assert all("give the Keras file" in why for why in told["refused"].values())
    findings = pq.read_table(place / "findings.parquet").to_pylist()
    confirmed = [row for row in findings if row["confirmed"] and row["pair"] == told["pair"]]
    for row in rows:
        assert row["confirmed"] and row["findings"] + row["repair_findings"] == len(confirmed) and row["findings"] > 0
        assert 0 <= row["mended_tied"] <= row["mended"] <= row["findings"]
        assert row["drawn_apart"] - row["drawn_before"] == row["new_drawn"] - row["gone_drawn"]
        assert row["agreement"] == pytest.approx(
            row["agreement_before"] - (row["new_clean"] - row["gone_clean"]) / row["clean"]
        )
        assert row["size"] > row["size_before"]
    assert {row["method"] for row in rows if row["recommended"]} <= {told["recommended"]}
    assert (place / "repair" / "float.int8" / "classifier_tree.npz").is_file()
    page = (place / "report.html").read_text(encoding="utf-8")
    assert 'id="repair"' in page and "classifier_svm" in page and "The rule: Among the repairs" in page
    assert "recommended:" in (mended / "told.txt").read_text()


def test_what_is_on_disk_is_not_done_again_and_done_anew_gives_the_same(mended: Path, tmp_path: Path) -> None:
    place = run_directory(mended / "runs")
    folder = place / "repair" / "float.int8"
    first = {path.name: path.read_bytes() for path in folder.iterdir() if "measured" not in path.name}
    table = (place / "repair.parquet").read_bytes()
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "classifier_tree.measured.json").unlink()
    assert diverget("repair", place).returncode == 0
    redone = {path.name for path in folder.iterdir() if path.stat().st_mtime_ns != stamps[path.name]}
    assert {name.partition(".")[0] for name in redone} == {"classifier_tree"}
    assert {path.name: path.read_bytes() for path in folder.iterdir() if "measured" not in path.name} == first
    assert (place / "repair.parquet").read_bytes() == table


def test_methods_that_are_not_asked_for_are_shown_where_they_were_judged(mended: Path, tmp_path: Path) -> None:
    kept = tmp_path / "runs" / run_directory(mended / "runs").name
    shutil.copytree(run_directory(mended / "runs"), kept)
    for name in ("classifier_svm", "classifier_tree"):
        (kept / "repair" / "float.int8" / f"{name}.measured.json").unlink()
    done = diverget("repair", kept, "--method", "classifier_tree")
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(kept / "repair.parquet").to_pylist()
    assert [row["method"] for row in rows] == ["classifier_mlp", "classifier_tree"]
    refused = json.loads((kept / "repair.json").read_text())["pairs"][0]["refused"]
    assert sorted(refused) == ["calibration", "keep_float", "qat"]
    done = diverget("repair", kept, "--method", "classifier_knn")
    assert done.returncode == 2 and "got 'classifier_knn'; choose of calibration, keep_float" in done.stderr


def test_a_row_made_with_other_settings_stays_until_its_method_is_asked_for(mended: Path, tmp_path: Path) -> None:
    kept = tmp_path / "runs" / run_directory(mended / "runs").name
    shutil.copytree(run_directory(mended / "runs"), kept)
    folder = kept / "repair" / "float.int8"
    judged = json.loads((folder / "classifier_svm.measured.json").read_text())
    judged["mark"]["steps"], judged["row"]["method"] = 60, "qat"
    (folder / "qat.measured.json").write_text(json.dumps(judged))
    told = json.loads((kept / "repair.json").read_text()) | {"most_float": 0.25}
    (kept / "repair.json").write_text(json.dumps(told))
    assert diverget("repair", kept, "--method", "classifier_tree").returncode == 0
    rows = pq.read_table(kept / "repair.parquet").to_pylist()
    assert [row["method"] for row in rows] == ["qat", "classifier_mlp", "classifier_svm", "classifier_tree"]
    told = json.loads((kept / "repair.json").read_text())
    assert sorted(told["pairs"][0]["refused"]) == ["calibration", "keep_float"] and told["most_float"] == 0.25
    (kept / "repair.json").write_text("{}")
    assert diverget("repair", kept, "--method", "qat").returncode == 0
    rows = pq.read_table(kept / "repair.parquet").to_pylist()
    assert [row["method"] for row in rows] == ["classifier_mlp", "classifier_svm", "classifier_tree"]
    assert list(json.loads((kept / "repair.json").read_text())["pairs"][0]["refused"]) == ["qat"]
    assert diverget("repair", kept, "--method", "classifier_tree").returncode == 0
    assert "qat" not in {row["method"] for row in pq.read_table(kept / "repair.parquet").to_pylist()}


def test_a_study_sums_up_the_repairs_of_its_runs(mended: Path) -> None:
    run = run_directory(mended / "runs")
    place = run.parent / "mended-study"
    place.mkdir()
    told = {"name": "one", "directory": run.name, "digest": run.name.rpartition("-")[2]}
    (place / "study.json").write_text(json.dumps({"schema": 1, "name": "mended", "bars": {}, "runs": [told]}))
    render_study(place)
    rows = pq.read_table(run / "repair.parquet").to_pylist()
    with (place / "repairs.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [(row["run"], row["method"], int(row["mended"])) for row in written] == [
        ("one", row["method"], row["mended"]) for row in rows
    ]
    page = (place / "report.html").read_text(encoding="utf-8")
    tree = next(row for row in rows if row["method"] == "classifier_tree")
    assert 'id="repair"' in page and f"<td>{tree['mended']} of {tree['findings']} (" in page
    shutil.rmtree(place)


def test_no_run_and_an_unfinished_one_are_refused(mended: Path, tmp_path: Path) -> None:
    done = diverget("repair", tmp_path)
    assert done.returncode == 2 and "a run directory with a manifest.json" in done.stderr
    kept = tmp_path / "run"
    shutil.copytree(run_directory(mended / "runs"), kept)
    (kept / "findings.parquet").unlink()
    done = diverget("repair", kept)
    assert done.returncode == 2 and "has not come that far" in done.stderr


def test_what_an_earlier_version_left_is_shown_or_told(mended: Path, tmp_path: Path) -> None:
    kept = tmp_path / "run"
    shutil.copytree(run_directory(mended / "runs"), kept)
    told = json.loads((kept / "repair.json").read_text())
    for entry in (told, *told["pairs"]):
        for key in ("most_float", "throughput", "patches"):
            entry.pop(key, None)
    told["rule"] = "Whatever was the rule then."
    (kept / "repair.json").write_text(json.dumps(told))
    assert diverget("report", kept).returncode == 0
    page = (kept / "report.html").read_text()
    assert "The rule: Whatever was the rule then. Speed is" in page and "Among the repairs that" not in page
    del told["rule"]
    (kept / "repair.json").write_text(json.dumps(told))
    done = diverget("report", kept)
    assert done.returncode == 2 and "Expected the key rule in" in done.stderr
    assert f"make it anew with `diverget repair {kept}`" in done.stderr
    manifest = json.loads((kept / "manifest.json").read_text())
    manifest["config"]["gone"] = 1
    (kept / "manifest.json").write_text(json.dumps(manifest))
    done = diverget("repair", kept)
    assert done.returncode == 2 and "Expected a config of this version in" in done.stderr
    assert "(gone: " in done.stderr and "mend the run with the version" in done.stderr


@pytest.mark.slow
def test_every_repair_of_a_network_trained_here(tmp_path: Path) -> None:
    require_tensorflow()
    (tmp_path / "small.yaml").write_text(TRAINED)
    done = diverget("run", tmp_path / "small.yaml", "--out", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    (place,) = (path for path in (tmp_path / "runs").iterdir() if path.name.startswith("small-"))
    done = diverget("repair", place, "--steps", "5")
    assert done.returncode == 0, done.stderr
    told = {entry["pair"]: entry for entry in json.loads((place / "repair.json").read_text())["pairs"]}
    assert "float16" in told["depthwise/float16"]["skipped"]
    assert told["depthwise/int8"]["skipped"] is None and told["depthwise/int8"]["refused"] == {}
    rows = {row["method"]: row for row in pq.read_table(place / "repair.parquet").to_pylist()}
    assert list(rows)[:3] == ["calibration", "keep_float", "qat"]
    assert 0.5 <= rows["keep_float"]["coverage"] < 1 == rows["calibration"]["coverage"]
    assert rows["calibration"]["chosen"].startswith("36 inputs") and rows["qat"]["chosen"].endswith("5 steps")

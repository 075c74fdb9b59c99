"""Findings asked again under other kernels: in every run, in its report, and where a kernel overflows."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from diverget.attribution import KINDS
from diverget.models import child, tflite
from diverget.models.preprocessing import identity
from experiments import pairs
from experiments.record import read
from experiments.report import render
from experiments.stages.attribution import common_runtime
from tests.diverget.models import networks
from tests.diverget.models.networks import SAID
from tests.experiments import overflowing
from tests.experiments.small import CONFIG as WHOLE
from tests.experiments.small import GOLDEN, diverget, run_directory, write

ROUNDING = (
    "On clean patches all kernel sets agree as often: these kernel flips lie close to a boundary, within the rounding "
    "of the kernels, and are no fault of one."
)

CONFIG = WHOLE.replace("rates: {draws: 2}", "rates: {draws: 1, doses: []}")

SIX = [
    (side, varied, setting)
    for side in ("quantised", "reference")
    for varied, setting in (("kernels", "builtin"), ("kernels", "reference"), ("threads", "2 threads"))
]


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run / f"{name}.parquet").to_pylist()
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that asks for no quantisation flip."""
    folder = tmp_path_factory.mktemp("attributed")
    text = CONFIG + "criteria: ['findings.quantisation <= 0', 'findings.runtime <= 0']\n"
    done = diverget("run", write(folder, text), "--out", folder / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    return run_directory(folder / "out")


def test_every_finding_is_asked_in_six_ways(finished: Path) -> None:
    findings, told = rows(finished, "findings"), rows(finished, "attribution")
    assert len(findings) > 3
    assert [(row["side"], row["varied"], row["setting"]) for row in told] == SIX * len(findings)
    assert [row["finding"] for row in told[:: len(SIX)]] == [row["finding"] for row in findings]
    for finding in findings:
        mine = [row for row in told if row["finding"] == finding["finding"]]
        gone = {row["varied"] for row in mine if row["vanishes"] and row["speaks"]}
        kind = "kernel" if "kernels" in gone else "runtime" if gone else "quantisation"
        assert {row["kind"] for row in mine} == {kind}
        for row in mine:
            assert row["survives"] == (row["outcome"] == "REVEALED") and not (row["survives"] and row["vanishes"])
            kept = finding[f"{row['side']}_class"]
            assert row["said"] == kept or row["outcome"] != "REVEALED" or row["side"] == "quantised"


def test_an_answer_is_that_of_the_file_under_those_kernels(finished: Path) -> None:
    """LiteRT asked directly, row by row, without any of the stage's code."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    for name, kernels in (("builtin", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"), ("reference", "BUILTIN_REF")):
        interpreter = Interpreter(
            str(finished / "models" / "float.int8.tflite"), experimental_op_resolver_type=OpResolverType[kernels]
        )
        interpreter.allocate_tensors()
        place = {way: details()[0]["index"] for way, details in
                 (("in", interpreter.get_input_details), ("out", interpreter.get_output_details))}  # fmt: skip
        for row in rows(finished, "attribution"):
            if (row["side"], row["setting"]) == ("quantised", name):
                with np.load(finished / "findings" / f"{row['finding']:04d}.npz") as arrays:
                    interpreter.set_tensor(place["in"], arrays["follow_up"][None])
                interpreter.invoke()
                assert interpreter.get_tensor(place["out"])[0].argmax() == row["said"]


def test_clean_patches_under_every_kernel_set(finished: Path) -> None:
    clean = rows(finished, "kernels")
    assert [(row["side"], row["kernels"]) for row in clean] == [
        (side, kernels) for side in ("quantised", "reference") for kernels in ("xnnpack", "builtin", "reference")
    ]
    own = [row for row in clean if row["own"]]
    assert [row["kernels"] for row in own] == ["xnnpack", "xnnpack"]
    assert {row["drift"] for row in own} == {0.0} and len({row["agreement"] for row in own}) == 1
    assert all(row["drift"] < 1e-5 for row in clean if row["side"] == "reference")
    assert all(row["agreement"] > 0.97 for row in clean)


def test_card_report_and_criteria_count_the_kinds(finished: Path) -> None:
    kinds = Counter(row["kind"] for row in rows(finished, "attribution")[:: len(SIX)])
    card = json.loads((finished / "card.json").read_text())
    told, control = (pair["attribution"] for pair in card["pairs"])
    assert told["findings"] == {kind: kinds[kind] for kind in KINDS} and told["inseparable"] is None
    assert len(told["clean"]) == 6 and control is None
    assert card["pairs"][0]["kernels"] == {"reference": "xnnpack", "quantised": "xnnpack"}
    values = {row["criterion"].split()[0]: (row["value"], row["met"]) for row in card["criteria"]}
    assert values == {"findings.quantisation": (kinds["quantisation"], False), "findings.runtime": (0, True)}
    page = (finished / "report.html").read_text()
    assert f"{kinds['quantisation']} quantisation flip" in page.replace("\u202f", "")
    assert " · quantisation flip</small>" in page
    assert "quantisation is not to blame" not in page


def test_stopped_inside_it_goes_on_to_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out / finished.name)
    run = out / finished.name
    names = ("attribution.parquet", "kernels.parquet", "attribution/part-00.parquet", "attribution/clean-00.parquet")
    before = {name: (run / name).read_bytes() for name in names}
    kept = (run / "attribution/clean-00.parquet").stat().st_mtime_ns
    for name in ("summary.json", *names[:3]):
        (run / name).unlink()
    text = CONFIG + "criteria: ['findings.quantisation <= 0', 'findings.runtime <= 0']\n"
    done = diverget("run", write(tmp_path, text), "--out", out, "--set", "workers=1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert {name: (run / name).read_bytes() for name in names} == before
    assert (run / "attribution/clean-00.parquet").stat().st_mtime_ns == kept


def test_only_kernel_flips_do_not_blame_quantisation(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / finished.name
    shutil.copytree(finished, run)
    told = pq.read_table(run / "attribution.parquet")
    named = [{**row, "kind": "kernel"} for row in told.to_pylist()]
    pq.write_table(told.schema.empty_table().from_pylist(named, schema=told.schema), run / "attribution.parquet")
    render(run)
    card = json.loads((run / "card.json").read_text())
    assert card["verdict"].endswith(
        f"Each of the {len(named) // 6} findings is a kernel flip, gone where the same networks run in another way: "
        f"quantisation is not to blame. {ROUNDING}"
    )
    clean = pq.read_table(run / "kernels.parquet")
    moved = [row | {"agreement": row["agreement"] - (0 if row["own"] else 0.1)} for row in clean.to_pylist()]
    pq.write_table(clean.schema.empty_table().from_pylist(moved, schema=clean.schema), run / "kernels.parquet")
    render(run)
    assert json.loads((run / "card.json").read_text())["verdict"].endswith("quantisation is not to blame.")


def test_some_kernel_flips_are_told_beside_the_mildest_finding(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / finished.name
    shutil.copytree(finished, run)
    told = pq.read_table(run / "attribution.parquet")
    findings = [row["finding"] for row in pq.read_table(run / "findings.parquet").to_pylist()]
    mildest = read(run).found(read(run).tested()[0]["pair"])[0]["finding"]
    assert len(findings) > 1
    named = [{**row, "kind": "quantisation" if row["finding"] == mildest else "kernel"} for row in told.to_pylist()]
    pq.write_table(told.schema.empty_table().from_pylist(named, schema=told.schema), run / "attribution.parquet")
    render(run)
    assert json.loads((run / "card.json").read_text())["verdict"].endswith(
        f"Quantisation is to blame for 1 of {len(findings)} findings; the others are gone where the same networks run "
        f"in another way. {ROUNDING}"
    )


def compressed(finished: Path, folder: Path, **told: Any) -> Path:
    """The finished run as if a compression came before its version, not yet attributed."""
    run = folder / "out" / finished.name
    shutil.copytree(finished, run)
    models = json.loads((run / "models.json").read_text())
    models["pairs"][0]["quantised_model"]["compression"] = told
    (run / "models.json").write_text(json.dumps(models))
    for name in ("summary.json", "attribution.parquet", "attribution/part-00.parquet"):
        (run / name).unlink()
    text = CONFIG + "criteria: ['findings.quantisation <= 0', 'findings.runtime <= 0']\n"
    done = diverget("run", write(folder, text), "--out", folder / "out")
    assert done.returncode < 2, done.stdout + done.stderr
    return run


@pytest.mark.parametrize(("left", "kind"), [("float", "quantisation"), ("float.int8", "compression")])
def test_what_the_compression_left_is_asked_in_place_of_the_quantised_network(
    finished: Path, tmp_path: Path, left: str, kind: str
) -> None:
    """Where it is the reference itself nothing is its fault, where it is the version itself everything."""
    models = json.loads((finished / "models.json").read_text())["pairs"][0]
    sides = {side["name"]: side for side in (models["reference_model"], models["quantised_model"])}
    run = compressed(finished, tmp_path, name="pruning", unquantised=sides[left])
    told = rows(run, "attribution")
    last = told[len(SIX) :: len(SIX) + 1]
    assert {(row["side"], row["varied"], row["setting"]) for row in last} == {("quantised", "compression", "in float")}
    before = Counter(row["kind"] for row in rows(finished, "attribution")[:: len(SIX)])
    kinds = Counter(row["kind"] for row in last)
    assert before["quantisation"] and kinds == Counter({**before, "quantisation": 0, kind: before["quantisation"]})
    card, page = json.loads((run / "card.json").read_text()), (run / "report.html").read_text()
    assert card["pairs"][0]["attribution"]["findings"] == {kind: kinds[kind] for kind in KINDS}
    blamed = "there before anything is quantised" in card["verdict"] and "quantisation is not" in card["verdict"]
    assert blamed == (kind == "compression") == (" · compression flip</small>" in page)
    assert f"{kinds['compression']} compression flip" in page.replace("\u202f", "")
    metrics = json.loads((run / "summary.json").read_text())["metrics"]["float/int8"]
    assert (metrics["findings.compression"], metrics["findings.quantisation"]) == (
        kinds["compression"],
        kinds["quantisation"],
    )


@pytest.mark.parametrize("told", [{"name": "qat", "unquantised": None}, {"name": "qat"}])
def test_training_under_integers_is_not_told_from_quantisation(
    finished: Path, tmp_path: Path, told: dict[str, Any]
) -> None:
    """Nor is any compression in a run of an earlier version, which kept no float network of it."""
    run = compressed(finished, tmp_path, **told)
    assert rows(run, "attribution") == rows(finished, "attribution")
    card, page = json.loads((run / "card.json").read_text()), (run / "report.html").read_text()
    assert "he compressed version, training and quantisation together, " in card["verdict"]
    assert "uantisation is " not in card["verdict"] and " · quantisation flip" not in page
    assert " · training and quantisation flip</small>" in page and "float network of what qat left" in page
    asked = card["pairs"][0]["attribution"]
    assert (asked["inseparable"], asked["findings"]["compression"]) == ("qat", None)
    metrics = json.loads((run / "summary.json").read_text())["metrics"]["float/int8"]
    assert metrics["findings.compression"] is None and metrics["findings.quantisation"] > 0


def test_switched_off_nothing_is_asked(tmp_path: Path) -> None:
    done = diverget("run", write(tmp_path, CONFIG + "attribution: false\n"), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_directory(tmp_path / "out")
    assert not (run / "attribution.parquet").exists() and not (run / "attribution").exists()
    card = json.loads((run / "card.json").read_text())
    assert card["pairs"][0]["attribution"] is None
    assert "asked no finding again" in (run / "report.html").read_text()


def test_switched_off_no_criterion_can_rest_on_it(tmp_path: Path) -> None:
    text = CONFIG + "attribution: false\ncriteria: ['findings.kernel <= 1000']\n"
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 2 and "criteria.0: expected metrics that this run measures" in done.stderr
    assert not (tmp_path / "out").exists()


def test_kernels_and_threads_are_part_of_a_model(tmp_path: Path) -> None:
    text = CONFIG.replace("name: int8}", "name: int8, kernels: builtin, threads: 2}")
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_directory(tmp_path / "out")
    model = json.loads((run / "models.json").read_text())["pairs"][0]["quantised_model"]
    assert (model["kernels"], model["threads"]) == ("builtin", 2)
    usual = tflite.load(GOLDEN / "int8.tflite", preprocessing=identity("hwb"), name="usual")
    assert model["digest"] != usual.digest
    runtime = json.loads((run / "manifest.json").read_text())["runtime"]
    assert (runtime["kernels"], runtime["threads"]) == ("xnnpack, builtin", "1, 2")
    replayed = diverget("replay", run, "--all", "--json")
    assert replayed.returncode == 0 and all(row["identical"] for row in json.loads(replayed.stdout))
    varied = [(row["varied"], row["setting"]) for row in rows(run, "attribution")[:3]]
    assert varied == [("kernels", "xnnpack"), ("kernels", "reference"), ("threads", "1 thread")]


@pytest.mark.parametrize("key", ["kernels: fast", "threads: 0"])
def test_unknown_kernels_are_told(tmp_path: Path, key: str) -> None:
    text = CONFIG.replace("name: int8}", f"name: int8, {key}}}")
    done = diverget("check", write(tmp_path, text))
    assert done.returncode == 2 and "quantisations.0" in done.stderr and "Traceback" not in done.stderr


def test_a_reference_that_ran_elsewhere_is_asked_on_the_common_runtime() -> None:
    """A stand-in for a reference of another backend, and a run that holds it as a float32 .tflite too."""
    loaded = {
        name: tflite.load(GOLDEN / f"{name}.tflite", preprocessing=identity("hwb"), name=name)
        for name in ("float32", "float16", "int8")
    }

    class Elsewhere:
        digest = "elsewhere"

    elsewhere: Any = Elsewhere()
    made = {name: pairs.Pair(f"e/{name}", elsewhere, model, False) for name, model in loaded.items()}
    assert common_runtime(made["int8"], pairs.Subjects(tuple(made.values()))) is loaded["float32"]
    assert common_runtime(made["int8"], pairs.Subjects((made["int8"], made["float16"]))) is None
    same = pairs.Pair("f/int8", loaded["float32"], loaded["int8"], False)
    assert common_runtime(same, pairs.Subjects((same, *made.values()))) is None


@pytest.mark.slow
def test_an_overflow_in_a_kernel_is_no_flip_of_quantisation(tmp_path: Path) -> None:
    """LiteRT's dynamic-range FULLY_CONNECTED without XNNPACK sums a row of int8 weights in 16-bit lanes.

    A row of 20,000 overflows them. The wrong sum is multiplied by the input's zero point, so patches whose values lie
    evenly about 0 come out nearly right, and a distortion that moves the zero point parts the two networks.
    """
    networks.require_tensorflow()
    child.run(overflowing.make, {"folder": str(tmp_path)}, **SAID, timeout=300)
    under = "{path: wide_dynamic.tflite, name: builtin, kernels: builtin}, {path: wide_dynamic.tflite, name: xnnpack}"
    text = CONFIG.replace("{path: %(golden)s/int8.tflite, name: int8}", under)
    text = text.replace("%(golden)s/float32.tflite", "wide.tflite")
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    run = run_directory(tmp_path / "out")
    assert (run / "models/float.builtin.tflite").read_bytes() == (run / "models/float.xnnpack.tflite").read_bytes()

    found = Counter(row["pair"] for row in rows(run, "findings") if row["confirmed"])
    kinds = {name: Counter() for name in ("float/builtin", "float/xnnpack")}
    for row in {row["finding"]: row for row in rows(run, "attribution")}.values():
        kinds[row["pair"]][row["kind"]] += 1
    assert found["float/builtin"] >= 10
    assert kinds["float/builtin"]["kernel"] >= 0.9 * found["float/builtin"]
    assert set(kinds["float/xnnpack"]) <= {"quantisation"}

    asked = [row for row in rows(run, "attribution") if row["pair"] == "float/builtin" and row["side"] == "quantised"]
    sound = [row for row in asked if row["setting"] == "xnnpack"]
    assert all(row["speaks"] and row["vanishes"] == (row["kind"] == "kernel") for row in sound)
    assert all(row["survives"] for row in asked if row["setting"] == "reference")  # it overflows just as well
    clean = {(row["pair"], row["kernels"]): row for row in rows(run, "kernels") if row["side"] == "quantised"}
    for pair in kinds:
        assert clean[pair, "xnnpack"]["agreement"] > 0.98
        assert clean[pair, "builtin"]["agreement"] == clean[pair, "reference"]["agreement"] < 0.8
        assert clean[pair, "builtin"]["accuracy"] < clean[pair, "xnnpack"]["accuracy"] - 0.1
    card = json.loads((run / "card.json").read_text())
    verdict = {pair["pair"]: pair["verdict"] for pair in card["pairs"]}
    assert "That one is a kernel flip" in verdict["float/builtin"] and ROUNDING not in verdict["float/builtin"]
    assert "flip" not in verdict["float/xnnpack"]
    assert "Another model under other kernels" in (run / "report.html").read_text()

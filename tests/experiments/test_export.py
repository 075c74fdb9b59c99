"""The replay kit: exported, taken elsewhere, and run with nothing but NumPy and LiteRT."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from diverget.models.runtime import dequantised
from tests.experiments.small import CONFIG, ROOT, diverget, run_directory, write

ALLOWED = {"numpy", "ai_edge_litert", "tflite_runtime", "onnxruntime", *sys.stdlib_module_names}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with int8 inputs and outputs on the quantised side."""
    folder = tmp_path_factory.mktemp("exported")
    text = CONFIG.replace("int8.tflite, name: int8", "int8_io.tflite, name: int8")
    done = diverget("run", write(folder, text), "--out", folder / "out", "--set", "attribution=false")
    assert done.returncode == 0, done.stdout + done.stderr
    return run_directory(folder / "out")


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kit = tmp_path_factory.mktemp("kits") / "kit"
    done = diverget("export", finished, "--out", kit)
    assert done.returncode == 0, done.stderr
    return kit


def replayed(kit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The kit's own script in an isolated interpreter, which does not see this repository, from another folder."""
    refuse = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('diverget', 'relations', 'experiments', 'tests', 'scipy', 'cv2'):\n"
        "            raise ImportError(f'{name} is not on the device')\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "script = sys.argv.pop(1)\n"
        "sys.argv[0] = script\n"
        "runpy.run_path(script, run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", refuse, str(kit / "replay.py"), *arguments],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def manifest(kit: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((kit / "manifest.json").read_text())
    return content


def test_a_kit_replays_by_itself(finished: Path, exported: Path, tmp_path: Path) -> None:
    kit = tmp_path / "device"
    shutil.copytree(exported, kit)
    done = replayed(kit)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = pq.read_table(finished / "findings.parquet").num_rows
    lines = done.stdout.splitlines()
    assert len(lines) == 4 * findings + 1 and lines[-1] == f"{4 * findings} of {4 * findings} pass."
    assert all("largest difference 0 " in line and line.endswith("PASS") for line in lines[:-1])


def test_the_script_needs_nothing_else() -> None:
    tree = ast.parse((ROOT / "experiments" / "templates" / "replay_kit.py").read_text())
    found = {alias.name.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    found |= {n.module.partition(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    assert found <= ALLOWED


def test_inputs_are_what_the_networks_take(finished: Path, exported: Path) -> None:
    """Quantised anew in plain Python from the patch in the run; the raw bytes read back as C++ would."""
    told = manifest(exported)
    assert told["models"]["float"]["input"] == {"dtype": "float32", "shape": [1, 5, 5, 4], "scale": 0, "zero_point": 0}
    tensor = told["models"]["float.int8"]["input"]
    assert tensor["dtype"] == told["models"]["float.int8"]["output"]["dtype"] == "int8" and tensor["scale"] > 0
    for case in told["cases"]:
        entry = case["input"]
        raw = (exported / entry["raw"]).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == entry["sha256"]
        values = np.load(exported / entry["npy"])
        assert list(values.shape) == entry["shape"] and values.tobytes() == raw
        with np.load(finished / "findings" / f"{case['finding']:04d}.npz") as arrays:
            margin = int(arrays["margins"].sum())
            source = arrays["source"][margin : margin + 5, margin : margin + 5]
            patch = arrays["follow_up"] if case["when"] == "follow_up" else source
        if case["side"] == "reference":
            np.testing.assert_array_equal(values[0], patch)
            continue
        scale, zero_point = np.float32(tensor["scale"]), tensor["zero_point"]
        expected = [
            min(max(round(float(np.float32(value) / scale)) + zero_point, -128), 127) for value in patch.ravel()
        ]
        assert values.dtype == np.int8 and values.ravel().tolist() == expected


def test_expected_answers_are_those_of_the_run(finished: Path, exported: Path) -> None:
    told = manifest(exported)
    rows = {row["finding"]: row for row in pq.read_table(finished / "findings.parquet").to_pylist()}
    for case in told["cases"]:
        output = told["models"][case["model"]]["output"]
        answer = np.load(exported / case["expected"]["npy"])
        assert answer.dtype == output["dtype"]
        details = {"quantization": (output["scale"], output["zero_point"])}
        with np.load(finished / "findings" / f"{case['finding']:04d}.npz") as arrays:
            stored = arrays[case["side"] + ("" if case["when"] == "follow_up" else "_source")]
        np.testing.assert_array_equal(dequantised(answer, details)[0], stored)
        first, second = sorted(stored.tolist(), reverse=True)[:2]
        assert case["margin"] == pytest.approx(first - second)
        assert case["expected_class"] == stored.argmax()
        if case["when"] == "follow_up":
            assert case["expected_class"] == rows[case["finding"]][f"{case['side']}_class"]


@pytest.mark.parametrize("suffix", ["bin", "npy"])
def test_a_changed_input_fails(exported: Path, tmp_path: Path, suffix: str) -> None:
    kit = tmp_path / "changed"
    shutil.copytree(exported, kit)
    place = kit / "findings" / "0000" / f"quantised_follow_up_input.{suffix}"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    done = replayed(kit, "--finding", "0")
    assert done.returncode == 1
    assert done.stdout.count("FAIL") == 1 and "was changed" in done.stdout and "3 of 4 pass." in done.stdout
    assert "Traceback" not in done.stderr


def test_another_class_than_expected_fails(exported: Path, tmp_path: Path) -> None:
    kit = tmp_path / "other"
    shutil.copytree(exported, kit)
    told = manifest(kit)
    told["cases"][0]["expected_class"] += 1
    (kit / "manifest.json").write_text(json.dumps(told))
    done = replayed(kit)
    assert done.returncode == 1 and done.stdout.count("FAIL") == 1


def test_a_changed_network_fails(exported: Path, tmp_path: Path) -> None:
    kit = tmp_path / "network"
    shutil.copytree(exported, kit)
    with open(kit / "models" / "float.tflite", "ab") as file:
        file.write(b"0")
    done = replayed(kit, "--finding", "0")
    assert done.returncode == 1 and done.stdout.count("models/float.tflite was changed") == 2


def test_other_kernels_are_asked_on_demand(exported: Path) -> None:
    done = replayed(exported, "--kernels", "reference", "--threads", "2")
    assert "FAIL: " not in done.stdout and done.returncode in (0, 1), done.stderr


def test_what_the_kit_does_not_hold_is_refused(exported: Path, tmp_path: Path) -> None:
    last = manifest(exported)["cases"][-1]["finding"]
    done = replayed(exported, "--finding", "9999")
    assert done.returncode == 2 and done.stdout == ""
    assert f"Expected a finding of this kit, 0 to {last}, for --finding, got 9999." in " ".join(done.stderr.split())
    done = replayed(exported, "--threads", "0")
    assert done.returncode == 2 and "Expected at least 1 thread for --threads, got 0" in done.stderr
    kit = tmp_path / "kit"
    shutil.copytree(exported, kit)
    told = manifest(kit)
    told["cases"] = [{**told["cases"][0], "finding": number} for number in (0, 2, 3, 4, 9)]
    (kit / "manifest.json").write_text(json.dumps(told))
    assert "0, 2 to 4, 9, for --finding, got 1." in " ".join(replayed(kit, "--finding", "1").stderr.split())


def test_one_finding_and_the_same_bytes_again(finished: Path, exported: Path, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    first = diverget("export", finished, "--out", kit, "--finding", "1")
    assert first.returncode == 0 and first.stdout.splitlines() == [f"1 finding, 4 cases: {kit / 'README.txt'}"]
    assert [path.name for path in (kit / "findings").iterdir()] == ["0001"]
    assert {case["finding"] for case in manifest(kit)["cases"]} == {1}
    whole = diverget("export", finished, "--out", kit)
    assert whole.returncode == 0
    assert whole.stdout.splitlines()[0] == f"The earlier kit of 1 finding in {kit} is replaced."

    def content(place: Path) -> dict[str, bytes]:
        return {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}

    assert content(kit) == content(exported)
    assert {"README.txt", "replay.py", "manifest.json", "models/float.tflite"} <= content(kit).keys()


def test_bad_input_is_told(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("keep me")
    for arguments, said in (
        ((tmp_path / "nowhere",), "Expected a run directory with a manifest.json"),
        ((finished, "--finding", "9999", "--out", tmp_path / "a"), "number of a confirmed finding, got 9999"),
        ((finished, "--out", tmp_path / "full"), "with other files in it"),
    ):
        done = diverget("export", *arguments)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "full" / "thesis.txt").read_text() == "keep me"
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copyfile(finished / "manifest.json", begun / "manifest.json")
    assert "has not come that far" in diverget("export", begun).stderr

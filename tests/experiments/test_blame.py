"""`diverget blame` on a run directory put together by hand: its file, its lines, its section, its refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diverget.models import tflite
from diverget.models.preprocessing import identity
from diverget.store import Store
from experiments.blame import blame_run
from experiments.record import read
from experiments.record.contents import CONTENTS, check
from experiments.report import environment
from experiments.sections.blame import blame as section
from tests.diverget.models import networks
from tests.experiments import fake_run
from tests.experiments.small import GOLDEN, diverget

FINDINGS = 5


def facts(root: Path, name: str) -> dict[str, str]:
    """A golden network put into the run."""
    (root / "models").mkdir(parents=True, exist_ok=True)
    file = root / f"models/{name}.tflite"
    shutil.copyfile(GOLDEN / f"{name}.tflite", file)
    identity("hwb").save(file.with_suffix(".json"))
    return {
        "file": f"models/{name}.tflite",
        "digest": tflite.load(file, preprocessing=identity("hwb"), name=name).digest,
    }


def put_together(root: Path, *, findings: int = FINDINGS) -> Path:
    """Two pairs, of which the first has all findings: ten times the light, beyond the calibrated ranges."""
    store = Store(root)
    reference = facts(root, "float32")
    pairs = [
        {"pair": f"float/{way}", "control": False, "reference_model": reference, "quantised_model": facts(root, way)}
        for way in ("int8", "float16")
    ]
    store.write_json("models.json", {"references": [], "pairs": pairs})
    store.write_json("manifest.json", {"schema": 1})
    x = networks.patches(FINDINGS, seed=3)[0]
    rows = []
    for i, source in enumerate(x[:findings]):
        padded = np.pad(source, ((1, 1), (1, 1), (0, 0)))
        store.write_arrays(
            f"findings/{i}.npz", {"source": padded, "margins": np.array([1]), "follow_up": source * np.float32(10)}
        )
        row = {"finding": i, "pair": "float/int8", "confirmed": True, "control": False, "severity": 1.0 - i / 10}
        rows.append(row | {"file": f"findings/{i}.npz"})
    schema = pa.schema(
        {"finding": pa.int64(), "pair": pa.string(), "confirmed": pa.bool_(), "control": pa.bool_(),
         "severity": pa.float64(), "file": pa.string()}
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / "findings.parquet")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_together(tmp_path_factory.mktemp("blame"))


def test_the_file_tells_every_pair_and_the_lines_the_first_layers(run: Path) -> None:
    lines = blame_run(run)
    content = (run / "blame.json").read_bytes()
    told = json.loads(content)
    check(told, CONTENTS["blame.json"], file=run / "blame.json")
    own, borrowed = told["pairs"]
    assert own["looked_at"] == "findings" and own["findings"] == [4, 3, 2, 1, 0], "the mildest first"
    assert own["layers"][0]["operator"] == "QUANTIZE" and own["layers"][0]["findings"]["exceeded"] > 0.3
    assert own["layers"][0]["sources"]["exceeded"] < 0.05, "the sources' margins are cut off"
    assert own["layers"][0]["tensor"] in own["recalibrate"]
    assert own["keep_float"] and not own["note"]
    assert borrowed["note"].startswith("No findings of this pair") and "no range to saturate" in borrowed["note"]
    assert borrowed["layers"] and not borrowed["recalibrate"]
    assert lines[0] == "float/int8, 5 findings" and "1. layer 0 QUANTIZE: own error" in lines[1]
    assert blame_run(run) == lines and (run / "blame.json").read_bytes() == content
    blame_run(run, pair="float/int8", most=2)
    again = json.loads((run / "blame.json").read_text())["pairs"]
    assert again[0]["findings"] == [4, 3] and again[1] == borrowed, "the other pair's entry stays"


def test_a_run_without_findings_blames_nothing(tmp_path: Path) -> None:
    lines = blame_run(put_together(tmp_path, findings=0))
    assert "No findings in this run" in lines[1]
    assert all(entry["layers"] == [] for entry in json.loads((tmp_path / "blame.json").read_text())["pairs"])


def test_what_cannot_be_looked_at_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a pair of .* got 'x'; choose one of float/int8, float/float16"):
        blame_run(run, pair="x")
    with pytest.raises(ValueError, match="Expected 1 to 200 findings for --findings, got 0"):
        blame_run(run, most=0)
    with pytest.raises(ValueError, match="has not come that far"):
        blame_run(tmp_path)
    done = diverget("blame", tmp_path)
    assert done.returncode == 2 and "Expected a run directory" in done.stderr and "Traceback" not in done.stderr


def test_the_section_names_the_layer_and_shows_the_picture(run: Path, tmp_path: Path) -> None:
    place = fake_run.build(tmp_path)
    env = environment()

    def rendered() -> str:
        of = section(read(place))
        return env.get_template(of.template).render(of.values)

    assert "No layer was looked into" in rendered()
    (pair,) = read(place).tested()
    blame_run(run)
    entry = json.loads((run / "blame.json").read_text())["pairs"][0] | {"pair": pair["pair"]}
    (place / "blame.json").write_text(json.dumps({"pairs": [entry]}))
    page = rendered()
    assert "<b>layer 0, QUANTIZE</b>" in page and 'id="blame-0-' in page and 'aria-label="Signal to' in page
    assert page.count("<tr><th>") == 4 and page == rendered()

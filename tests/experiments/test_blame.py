"""`diverget blame` on a run directory put together by hand: its file, its lines, its section, its refusals."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diverget.blame import Layer, Seen, blame
from diverget.models import quantise, tflite
from diverget.models.child import run as run_child
from diverget.models.preprocessing import identity
from diverget.store import Store
from experiments.blame import blame_run
from experiments.record import read
from experiments.record.contents import CONTENTS, check
from experiments.report import environment
from experiments.sections.blame import blame as section
from experiments.wording import ending
from tests.diverget import planting
from tests.diverget.models import networks, volumes
from tests.experiments import fake_run
from tests.experiments.small import CONFIG, GOLDEN, diverget, run_directory, write

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


def put_together(root: Path, *, findings: int = FINDINGS, ways: tuple[str, ...] = ("int8", "float16")) -> Path:
    """Pairs, of which that of int8 has all findings: ten times the light, beyond the calibrated ranges."""
    store = Store(root)
    reference = facts(root, "float32")
    pairs = [
        {"pair": f"float/{way}", "control": False, "reference_model": reference, "quantised_model": facts(root, way)}
        for way in ways
    ]
    store.write_json("models.json", {"references": [], "pairs": pairs})
    store.write_json("manifest.json", {"schema": 1})
    write_findings(root, networks.patches(FINDINGS, seed=3)[0][:findings], margin=1)
    return root


def write_findings(root: Path, x: np.ndarray, *, margin: int) -> None:
    """Findings of the pair float/int8: patches x (n, h, w, b) and, as follow-ups, ten times as much of them."""
    rows = []
    for i, source in enumerate(x):
        padded = np.pad(source, ((margin, margin), (margin, margin), (0, 0)))
        Store(root).write_arrays(
            f"findings/{i}.npz", {"source": padded, "margins": np.array([margin]), "follow_up": source * np.float32(10)}
        )
        row = {
            "finding": i,
            "pair": "float/int8",
            "confirmed": True,
            "control": False,
            "severity": 1.0 - i / 10,
            "tier": "stress",
        }
        rows.append(row | {"file": f"findings/{i}.npz"})
    schema = pa.schema(
        {"finding": pa.int64(), "pair": pa.string(), "confirmed": pa.bool_(), "control": pa.bool_(),
         "severity": pa.float64(), "tier": pa.string(), "file": pa.string()}
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), root / "findings.parquet")


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
    low, high, seen = own["layers"][0]["low"], own["layers"][0]["high"], own["layers"][0]["findings"]
    assert seen["least"] < low and seen["greatest"] > high, "ten times the light"
    (anew,) = (line for line in lines[: lines.index("float/float16, 5 findings of other pairs")] if "anew" in line)
    assert f"({low:.3g} to {high:.3g}, float reaches {seen['least']:.3g} to {seen['greatest']:.3g})" in anew
    assert own["keep_float"] and not own["note"]
    digest = hashlib.sha256((run / "models/float32.tflite").read_bytes()).hexdigest()
    assert own["compared_with"] == borrowed["compared_with"] == {
        "name": "float32.tflite", "digest": digest, "file": "models/float32.tflite",
    }  # fmt: skip
    assert borrowed["note"].startswith("No findings of this pair") and "no range to saturate" in borrowed["note"]
    assert borrowed["layers"] and not borrowed["recalibrate"]
    (shown,) = (line for line in lines[lines.index("float/float16, 5 findings of other pairs") :] if "1. layer" in line)
    assert "CONV_2D: own error 8" in shown and "dB, none avoidable, effect" in shown
    assert lines[0] == "float/int8, 5 findings" and "1. layer 0 QUANTIZE: own error" in lines[1]
    assert blame_run(run) == lines and (run / "blame.json").read_bytes() == content
    blame_run(run, pair="float/int8", most=2)
    again = json.loads((run / "blame.json").read_text())["pairs"]
    assert again[0]["findings"] == [4, 3] and again[1] == borrowed, "the other pair's entry stays"


def test_a_compressed_version_is_compared_with_the_network_that_the_compression_left(tmp_path: Path) -> None:
    """Without one, as after training under integers or in an older run, no layer is advised for what training did."""

    def told(reference: str, compression: dict[str, Any] | None) -> dict[str, Any]:
        store = Store(put_together(tmp_path, ways=("int8",)))
        content = store.read_json("models.json")
        content["pairs"][0]["reference_model"] = facts(tmp_path, reference)
        if compression is not None:
            content["pairs"][0]["quantised_model"]["compression"] = compression
        store.write_json("models.json", content)
        blame_run(tmp_path)
        (entry,) = store.read_json("blame.json")["pairs"]
        return dict(entry)

    plain, between = (
        told("float32", None),
        told("logits_float32", {"name": "pruning", "unquantised": facts(tmp_path, "float32")}),
    )
    assert between.pop("note") == "Layers are compared with those of the network that pruning left, in float."
    assert between == {key: value for key, value in plain.items() if key != "note"}
    for compression in ({"name": "qat", "unquantised": None}, {"name": "qat"}):
        trained = told("float32", compression)
        assert "The run has no float network of what qat left" in trained["note"] and trained["layers"]
        assert plain["keep_float"] and plain["recalibrate"] and not trained["keep_float"] + trained["recalibrate"]
    left = told("float32", {"name": "pruning", "unquantised": facts(tmp_path, "int8")})
    assert left["note"].startswith("Nothing of this version is quantised") and not left["layers"]


@pytest.mark.parametrize(("more", "kept"), [(0, False), (40, True)])
def test_integer_weights_are_kept_in_float_where_the_first_layer_errs_avoidably(
    more: float, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in float16 are not, however they err: they need no float, but float32."""

    def worse(seen: Seen) -> Seen:
        return seen if seen.avoidable is None else replace(seen, avoidable=seen.avoidable + more)

    def shifted(*asked: Any) -> tuple[Layer, ...]:
        return tuple(replace(one, sources=worse(one.sources), findings=worse(one.findings)) for one in blame(*asked))

    monkeypatch.setattr("experiments.blame.blame", shifted)
    blame_run(put_together(tmp_path, ways=("dynamic_int8", "float16")))
    dynamic, half = Store(tmp_path).read_json("blame.json")["pairs"]
    assert bool(dynamic["keep_float"]) == kept and half["keep_float"] == []


def test_the_ends_of_long_names_are_printed(run: Path) -> None:
    """The golden dense layer's name is longer than what is printed to keep it in float."""
    lines = blame_run(run)
    store = Store(run).read_json("blame.json")["pairs"][0]
    (kept,) = (line for line in lines if line.startswith("  keep in float: ") and lines.index(line) < 6)
    for shown, name in zip(kept.partition(": ")[2].split(", "), store["keep_float"], strict=True):
        assert len(shown) <= 40 and name.endswith(shown.removeprefix("…")) and (shown == name or shown[0] == "…")
    assert ending("functional_3/conv2d_3/BiasAdd", 17) == "…conv2d_3/BiasAdd" and ending("abc", 3) == "abc"


@pytest.mark.slow
def test_a_lowered_version_is_compared_with_the_reference_lowered(tmp_path: Path) -> None:
    """Converted from the Keras file that the run keeps, taken from the run where it tests it, missed without both."""
    networks.require_tensorflow()
    root = tmp_path / "run"
    store, models = Store(root), root / "models"
    models.mkdir(parents=True)
    keras = models / "float.keras"
    written = {str(keras): ["keras", "hybridsn", [[9, 9, 15, 1], 4]]}
    run_child(volumes.write, {"networks": written}, **networks.SAID, timeout=600)
    x = np.random.default_rng(3).normal(size=(8, 9, 9, 15)).astype(np.float32)
    sides = {}
    for label, way in (("float", "float32"), ("float.low", "float32_lowered"), ("float.int8", "int8_lowered")):
        made = quantise.convert(keras, quantise.quantisation(way), calibration=x[..., None], cache=tmp_path / "cache")
        (models / f"{label}.tflite").write_bytes(made.read_bytes())
        identity("hwb1").save(models / f"{label}.json")
        model = tflite.load(made, preprocessing=identity("hwb1"), name=label)
        sides[label] = {"file": f"models/{label}.tflite", "digest": model.digest, "quantisation": way}
    pairs = [
        {"pair": f"float/{way}", "control": False, "reference_model": sides["float"], "quantised_model": sides[label]}
        for way, label in (("int8", "float.int8"), ("low", "float.low"))
    ]
    store.write_json("manifest.json", {"schema": 1})
    write_findings(root, x[:3], margin=0)

    def told(tested: int) -> dict[str, Any]:
        store.write_json("models.json", {"references": [], "pairs": pairs[:tested]})
        blame_run(root, pair="float/int8")
        (entry,) = (e for e in store.read_json("blame.json")["pairs"] if e["pair"] == "float/int8")
        return dict(entry)

    converted = told(1)
    assert converted["note"] == "Layers are compared with those of the reference converted to float32_lowered."
    assert [len(layer["shape"]) for layer in converted["layers"] if layer["operator"] == "CONV_2D"].count(4) == 3
    known = converted.pop("compared_with")
    (file,) = (tmp_path / "cache").glob("float-float32_lowered-*.tflite")
    assert known == {"name": file.name, "digest": hashlib.sha256(file.read_bytes()).hexdigest(), "file": None}, (
        "beside the run"
    )
    keras.unlink()
    tested = told(2)
    assert tested.pop("compared_with") == {
        "name": "float.low.tflite", "digest": known["digest"], "file": "models/float.low.tflite",
    }  # fmt: skip
    assert tested == converted, "the run has that version itself"
    alone = told(1)
    assert "no lowered form to compare with: Expected the Keras network of 'float' in" in alone["note"]
    assert re.search(r"Only \d+ % of the multiply-accumulates lie in layers that both", alone["note"])
    assert len(alone["layers"]) < len(converted["layers"])


@pytest.mark.parametrize("layer", range(4))
def test_a_planted_fault_is_blamed_on_what_a_run_found(layer: int, tmp_path: Path) -> None:
    """The range of one layer is six times too wide; patches and distortions are those that the search came upon."""
    content = (GOLDEN / "int8.tflite").read_bytes()
    layers = planting.integer_layers(content)
    assert len(layers) == 4
    tensor = layers[layer][1]
    (tmp_path / "faulty.tflite").write_bytes(planting.wrong_range(content, tensor, 6.0))
    text = CONFIG.replace("%(golden)s/int8.tflite, name: int8", "faulty.tflite, name: faulty")
    for whole, part in (("{draws: 2}", "{draws: 1, doses: []}"), ("assessed: 40", "assessed: 16"), ("9600", "400")):
        text = text.replace(whole, part)
    text += "patchwise: {arms: [boundary], budget: 60}\nattribution: false\ncontrol: false\n"
    done = diverget("run", write(tmp_path, text), "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    found = run_directory(tmp_path / "out")
    done = diverget("blame", found)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((found / "blame.json").read_text())["pairs"]
    assert entry["looked_at"] == "findings" and entry["findings"]
    faulty = tflite.load(tmp_path / "faulty.tflite", preprocessing=identity("hwb"), name="faulty")
    first = entry["layers"][0]
    assert first["tensor"] == faulty.graph.tensors[tensor].name and first["tensor"] in entry["recalibrate"]
    assert "Blamed first" in (found / "report.html").read_text()


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
    assert re.search(r"Calibrate anew: <code>[^<]+</code>, now −[\d.]+ to [\d.]+, where float reaches −[\d.]+ to", page)
    assert "named as in <code" in page and ">models/float32.tflite</code>.</p>" in page
    assert "The marked layer errs furthest beyond what rounding to 8 bits" in page and "Over both, no layer" not in page
    narrow = json.loads((run / "blame.json").read_text())["pairs"][1] | {"pair": pair["pair"]}
    (place / "blame.json").write_text(json.dumps({"pairs": [narrow]}))
    page = rendered()
    assert "Over both, no layer errs beyond what rounding to 8 bits must cost" in page
    assert (
        re.search(r"The marked layer has 8\d.* dB of its own\.", page)
        and "errs furthest beyond what rounding to 8 bits must cost. " not in page
    )
    for layer in entry["layers"]:
        for key in ("avoidable", "least", "greatest"):
            del layer["sources"][key], layer["findings"][key]
        del layer["passes_on"]
    (place / "blame.json").write_text(json.dumps({"pairs": [entry]}))
    entry["compared_with"] |= {"file": None}
    (place / "blame.json").write_text(json.dumps({"pairs": [entry]}))
    assert ">float32.tflite</code>, written beside the run, into the cache.</p>" in rendered()
    del entry["compared_with"]
    (place / "blame.json").write_text(json.dumps({"pairs": [entry]}))
    assert rendered().count("<tr><th>") == 4, "a file without the avoidable error is shown as well"
    entry["layers"][0]["findings"]["avoidable"] = "much"
    (place / "blame.json").write_text(json.dumps({"pairs": [entry]}))
    with pytest.raises(ValueError, match=r"Expected int or float at .*avoidable.* make it anew with `diverget blame "):
        rendered()

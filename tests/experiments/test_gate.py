"""The gate: criteria with levels, JUnit, and the command that judges a finished run."""

from __future__ import annotations

import json
import shlex
import shutil
import statistics
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import ConfigError, load
from experiments.config.criteria import METRICS, check, parse
from experiments.gate import gate, judge, metrics
from experiments.junit import junit
from experiments.record import read
from experiments.record.card import card, control
from experiments.report import render
from experiments.run import directory
from tests.experiments.fake_run import build
from tests.experiments.small import CONFIG, ROOT, diverget, run_directory, write

PLAIN = CONFIG.replace("search: {", "patchwise: {arms: [random], budget: 24}\ngaps: {}\nsearch: {")
JUDGED = PLAIN + "criteria: [agreement >= 0.5, {warn: findings <= 0}]\n"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with one criterion that is met and one that warns."""
    folder = tmp_path_factory.mktemp("gate")
    done = diverget("run", write(folder, JUDGED), "--out", folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning: Expected findings <= 0 of float/int8, got" in done.stdout
    return run_directory(folder / "out")


def content(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


def test_a_warning_passes_and_is_told_in_words(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert [row["state"] for row in summary["criteria"]] == ["pass", "warn"]
    assert (summary["criteria_met"], summary["criteria_warned"]) == (True, True)
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "<b>✓ pass</b> agreement &gt;= 0.5" in page
    assert "<b>! warn: not met</b> findings &lt;= 0" in page
    assert json.loads((finished / "card.json").read_text())["criteria"] == summary["criteria"]


def test_metrics_are_those_counted_by_hand(finished: Path) -> None:
    found = metrics(read(finished), "float/int8")
    walked = [row for row in pq.read_table(finished / "patchwise.parquet").to_pylist() if not row["control"]]
    assert any(row["severity"] is None for row in walked) and any(row["severity"] is not None for row in walked)
    severities = [1.0 if row["severity"] is None else row["severity"] for row in walked]
    assert found["minimal_severity.median"] == statistics.median(severities)
    rays = [row for row in pq.read_table(finished / "gaps.parquet").to_pylist() if not row["control"]]
    gaps = [abs(row["gap_severity"]) for row in rays if row["gap_severity"] is not None]
    assert found["boundary_gap.median"] == pytest.approx(statistics.median(gaps))
    rates = [row for row in read(finished).rates if row["pair"] == "float/int8" and row["enough"]]
    for row in rates:
        if row["relation"] != "random chain":
            name = f"revealed_rate.{row['tier']}.{row['relation']}"
            assert (found[name], found[f"{name}.upper"]) == (row["revealed_rate"], row["revealed_upper"])
    mine = read(finished).found("float/int8")
    assert (found["findings"], found["minimal_severity"]) == (len(mine), mine[0]["severity"])


def test_the_gate_judges_without_touching_the_run(finished: Path, tmp_path: Path) -> None:
    before = content(finished)
    done = diverget("gate", finished, "--criterion", "agreement >= 1", "--criterion", "warn: agreement > 0.9999",
                    "--junit", tmp_path / "deep" / "junit.xml")  # fmt: skip
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["PASS", "FAIL", "WARN", "verdict:"]
    assert lines[-1] == "verdict: fail"
    assert "Expected agreement >= 1 of float/int8, got 0." in done.stdout
    assert (tmp_path / "deep" / "junit.xml").exists()
    assert content(finished) == before


def test_without_criteria_it_asks_those_of_the_run(finished: Path) -> None:
    judged = gate(finished)
    assert (judged.verdict, judged.passed) == ("warn", True)
    assert [row["criterion"] for row in judged.rows] == ["agreement >= 0.5", "findings <= 0"]
    assert list(judged.rows) == json.loads((finished / "summary.json").read_text())["criteria"]


def test_criteria_come_from_a_file_as_well(finished: Path, tmp_path: Path) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text("criteria: [findings <= 0, {warn: agreement >= 0.5}]\n")
    judged = gate(finished, file=file)
    assert [(row["level"], row["state"]) for row in judged.rows] == [("fail", "fail"), ("warn", "pass")]
    done = CliRunner().invoke(app, ["gate", str(finished), "--criteria", str(file), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["verdict"] == "fail"
    file.write_text("criteria: agreement >= 0.5\n")
    with pytest.raises(ValueError, match="Expected a list under `criteria:`"):
        gate(finished, file=file)


@pytest.mark.parametrize(
    "text", ["agreement", "later: agreement >= 1", "warn: agrement >= 1", "revealed_rate.in_spec.fog <= 0.1"]
)
def test_what_is_no_criterion_is_refused(finished: Path, text: str) -> None:
    done = CliRunner().invoke(app, ["gate", str(finished), "--criterion", text])
    assert done.exit_code == 2
    assert "error: Expected --criterion like" in done.output


def test_what_was_not_measured_is_not_met_and_says_so(finished: Path) -> None:
    judged = gate(finished, texts=["revealed_rate.in_spec.haze <= 0.5", "warn: revealed_rate.stress.haze.upper <= 0.5"])
    assert [row["state"] for row in judged.rows] == ["fail", "warn"]
    assert judged.rows[0]["told"] == (
        "Expected revealed_rate.in_spec.haze <= 0.5 of float/int8, got no value: revealed_rate.in_spec.haze was not "
        "measured (it was not drawn, or too few draws or blocks count)."
    )


def test_a_run_that_is_not_finished_is_refused(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "summary.json").unlink()
    done = CliRunner().invoke(app, ["gate", str(copy)])
    assert (done.exit_code, "Expected a finished run" in done.output) == (2, True)
    assert CliRunner().invoke(app, ["gate", str(tmp_path)]).exit_code == 2


def test_a_control_that_fails_fails_the_gate(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    table = pq.read_table(copy / "rates.parquet")
    rows = [{**row, "revealed": row["revealed"] + row["control"]} for row in table.to_pylist()]
    pq.write_table(table.schema.empty_table().from_pylist(rows, schema=table.schema), copy / "rates.parquet")
    judged = gate(copy, texts=["agreement >= 0.5"], report=copy / "out.xml")
    assert (judged.passed, judged.verdict) == (False, "fail")
    failure = ET.parse(copy / "out.xml").find(".//testcase[@name='control']/failure")
    assert failure is not None and "never to part from itself" in failure.get("message", "")


def test_criteria_are_no_part_of_what_is_measured(finished: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "again", tmp_path / "out"
    folder.mkdir()
    strict, plain = write(folder, PLAIN + "criteria: ['findings <= 0']\n"), write(tmp_path / "plain", PLAIN)
    assert load(strict).digest() == load(plain).digest()
    shutil.copytree(finished, out / finished.name)
    assert directory(load(strict), out) == out / finished.name
    before = content(out / finished.name)
    done = diverget("run", strict, "--out", out)
    assert done.returncode == 1, done.stderr
    assert "failed: Expected findings <= 0" in done.stdout
    changed = {path.name for path, old in before.items() if path.read_bytes() != old}
    assert changed == {"summary.json", "junit.xml", "card.json", "report.html"}
    assert gate(out / finished.name).verdict == "fail"
    again = diverget("run", write(folder, JUDGED), "--out", out)
    assert again.returncode == 0
    assert content(out / finished.name) == before


def shape(text: str) -> ET.Element:
    """The suite of a JUnit report whose elements, attributes and counts are those that its schemas know."""
    root = ET.fromstring(text)
    known = {
        "testsuites": ({"name", "tests", "failures", "errors"}, {"testsuite"}),
        "testsuite": ({"name", "tests", "failures", "errors", "skipped"}, {"properties", "testcase"}),
        "properties": (set(), {"property"}),
        "property": ({"name", "value"}, set()),
        "testcase": ({"classname", "name"}, {"failure", "system-out"}),
        "failure": ({"type", "message"}, set()),
        "system-out": (set(), set()),
    }
    for element in root.iter():
        attributes, children = known[element.tag]
        assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children
    suite = root.find("testsuite")
    assert root.tag == "testsuites" and suite is not None
    for counted in (root, suite):
        assert int(counted.get("tests", "")) == len(suite.findall("testcase"))
        assert int(counted.get("failures", "")) == len(suite.findall("testcase/failure"))
    return suite


def test_junit_has_a_case_a_criterion_and_pair_and_the_control(finished: Path) -> None:
    text = (finished / "junit.xml").read_text(encoding="utf-8")
    suite = shape(text)
    names = [(case.get("classname"), case.get("name")) for case in suite.findall("testcase")]
    assert names == [
        ("diverget.float/float", "control"),
        ("diverget.float/int8", "agreement >= 0.5 (fail)"),
        ("diverget.float/int8", "findings <= 0 (warn)"),
    ]
    assert (suite.findtext("testcase/system-out") or "").startswith("WARNING: Expected findings <= 0")
    gate(finished, report=finished.parent / "again.xml")
    assert (finished.parent / "again.xml").read_text(encoding="utf-8") == text


def test_a_junit_report_replaces_nothing_but_its_like(finished: Path, tmp_path: Path) -> None:
    mine = tmp_path / "manifest.json"
    mine.write_text("{}")
    for place in (mine, tmp_path):
        done = CliRunner().invoke(app, ["gate", str(finished), "--junit", str(place)])
        assert done.exit_code == 2 and "Expected a new file or a JUnit report to replace" in done.output
    assert mine.read_text() == "{}"
    gate(finished, report=tmp_path / "new" / "junit.xml")
    gate(finished, report=tmp_path / "new" / "junit.xml", texts=["findings <= 7"])
    assert "findings &lt;= 7" in (tmp_path / "new" / "junit.xml").read_text(encoding="utf-8")
    (tmp_path / "empty.xml").touch()
    gate(finished, report=tmp_path / "empty.xml")
    assert "<testsuites" in (tmp_path / "empty.xml").read_text(encoding="utf-8")
    gate(finished, report=Path("/dev/null"))
    assert Path("/dev/null").is_char_device()


def test_junit_escapes_and_tells_value_and_bound() -> None:
    rows = check([parse("agreement >= 0.9"), parse("findings < 3")], {'a"<&>/b': {"agreement": 0.5, "findings": 1}})
    text = junit("草地 & <co>", "0a", rows, [{"pair": "a/a", "met": True, "told": ""}])
    suite = shape(text)
    assert suite.get("name") == "草地 & <co>"
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.get("message") == 'Expected agreement >= 0.9 of a"<&>/b, got 0.5.'
    assert suite.findall("testcase")[2].find("failure") is None
    assert junit("草地 & <co>", "0a", rows, [{"pair": "a/a", "met": True, "told": ""}]) == text


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{warn: agrement >= 0.9}", "did you mean agreement"),
        ("{warn: agreement >= 0.9, fail: findings <= 0}", "either `fail: statement` or `warn: statement`"),
        ("{}", "either `fail: statement` or `warn: statement`"),
        ("{warm: agreement >= 0.9}", "did you mean `warn`"),
        ("'revealed_rate.in_spec.stripe <= 1'", "did you mean revealed_rate.in_spec.stripes"),
    ],
)
def test_a_config_tells_what_is_wrong_with_a_criterion(tmp_path: Path, entry: str, words: str) -> None:
    with pytest.raises(ConfigError, match=r"criteria\.0") as caught:
        load(write(tmp_path, PLAIN + f"criteria: [{entry}]\n"))
    assert words in str(caught.value)


def test_levels_and_families_are_read(tmp_path: Path) -> None:
    asked = load(
        write(
            tmp_path, PLAIN + "criteria: [{fail: agreement>=0.9}, {warn: revealed_rate.stress.stripes.upper <= 0.5}]\n"
        )
    ).asked_criteria
    assert [(c.level, c.metric, c.bound) for c in asked] == [
        ("fail", "agreement", 0.9),
        ("warn", "revealed_rate.stress.stripes.upper", 0.5),
    ]
    assert all(parse(f"{metric} <= 0.5").metric == metric for metric in METRICS)
    assert parse("agreement \x0b>=\t1").text == "agreement >= 1"


def unasked(folder: Path) -> Path:
    """A finished run that was asked no criteria."""
    run = build(folder, evaluations=False, findings=2)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["config"] |= {"tier": "stress", "limits": {"psnr": 20.0}}
    (run / "manifest.json").write_text(json.dumps(manifest))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"criteria": [], "asked": [], "criteria_met": True}))
    return run


def test_a_gate_that_is_asked_nothing_does_not_pass(tmp_path: Path) -> None:
    run = unasked(tmp_path)
    (tmp_path / "empty.yaml").write_text("criteria: []\n")
    for more in ([], ["--criteria", str(tmp_path / "empty.yaml")], ["--json"]):
        done = CliRunner().invoke(app, ["gate", str(run), "--junit", str(tmp_path / "junit.xml"), *more])
        assert done.exit_code == 2
        assert done.output.startswith("error: Expected criteria to judge")
        assert "add --criterion 'agreement" in done.output
        assert "pass" not in done.output.lower() and not (tmp_path / "junit.xml").exists()
    assert gate(run, texts=["agreement >= 0.5"]).verdict == "pass"


def test_a_run_that_was_judged_by_what_is_refused_today_says_the_way_out(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"asked": ["agreement >= 0"]}))
    done = CliRunner().invoke(app, ["gate", str(copy)])
    assert done.exit_code == 2 and "give others with --criterion or --criteria." in done.output
    assert gate(copy, texts=["agreement >= 0.5"]).verdict == "pass"


def test_a_run_that_was_asked_nothing_shows_no_pass(tmp_path: Path) -> None:
    run = unasked(tmp_path)
    assert judge(read(run), []).lines()[-1] == "verdict: no criteria asked"
    render(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "No criteria asked: nothing here passed or failed." in page and "✓ pass" not in page
    assert card(run)["criteria_met"] is None


def test_a_config_names_its_run_beside_others(tmp_path: Path) -> None:
    config, out = write(tmp_path, PLAIN + "criteria: [agreement >= 0.5]\n"), tmp_path / "out"
    for asked in (load(config), load(config, overrides=["seed=6"])):
        made = unasked(tmp_path / str(asked.seed))
        made.rename(tmp_path / str(asked.seed) / directory(asked, out).name)
        shutil.copytree(tmp_path / str(asked.seed), out, dirs_exist_ok=True)
    named = []
    for more in ([], ["--set", "seed=6"]):
        done = CliRunner().invoke(app, ["gate", str(config), "--out", str(out), "--json", *more])
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert [row["criterion"] for row in told["criteria"]] == ["agreement >= 0.5"]
        named.append(told["run"])
    assert named == [str(directory(load(config, overrides=[f"seed={seed}"]), out)) for seed in (5, 6)]
    done = CliRunner().invoke(app, ["gate", str(config), "--out", str(out), "--set", "seed=7"])
    assert done.exit_code == 2 and "Expected a run directory with manifest.json, got" in done.output


def test_report_and_gate_count_one_control(tmp_path: Path) -> None:
    run = read(unasked(tmp_path))
    assert judge(run, []).passed and control(run)["passed"]
    (name,) = (pair["pair"] for pair in run.controls())
    rates = [row | {"moved_apart": row["pair"] == name} for row in run.rates]
    parted = replace(run, rates=rates)
    assert not judge(parted, []).passed and not control(parted)["passed"]
    assert judge(parted, []).verdict == "fail"


def test_summaries_without_levels_are_still_shown(finished: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    summary = json.loads((copy / "summary.json").read_text())
    summary["criteria"] = [{"criterion": "agreement >= 2", "pair": "float/int8", "value": 0.9, "met": False}]
    summary.pop("asked")
    (copy / "summary.json").write_text(json.dumps(summary))
    render(copy)
    assert "✗ fail: not met" in (copy / "report.html").read_text(encoding="utf-8")
    assert [row["criterion"] for row in gate(copy).rows] == ["agreement >= 0.5", "findings <= 0"]


def test_the_workflow_calls_commands_that_exist() -> None:
    flow = yaml.safe_load((ROOT / "docs" / "ci-workflow.yml").read_text(encoding="utf-8"))
    steps = flow["jobs"]["assess"]["steps"]
    commands = [step["run"] for step in steps if "run" in step and step["run"].startswith("diverget ")]
    assert [command.split()[1] for command in commands] == ["check", "run", "gate"]
    for command in commands:
        words = command.split()
        helped = CliRunner().invoke(app, [words[1], "--help"])
        assert helped.exit_code == 0
        assert all(word in helped.output for word in words if word.startswith("--"))
        assert all((ROOT / word).is_file() for word in words if word.startswith("configs/"))
    assert not any("*" in command for command in commands)
    for quoted in commands[-1].split("'")[1::2]:
        parse(quoted.removeprefix("warn:"))
    assert (ROOT / "constraints.txt").is_file()


def test_the_workflow_keeps_what_a_run_and_the_gate_write(finished: Path, tmp_path: Path) -> None:
    flow = yaml.safe_load((ROOT / "docs" / "ci-workflow.yml").read_text(encoding="utf-8"))
    steps = {step.get("name"): step for step in flow["jobs"]["assess"]["steps"]}
    kept = steps["Keep the report"]["with"]["path"].split()
    words = shlex.split(steps["Gate"]["run"])
    out, junit = words[words.index("--out") + 1], words[words.index("--junit") + 1]
    # Whatever the config is called: the name of its run begins with that.
    for number, name in enumerate(("quickstart", "mine")):
        config = load(ROOT / "configs" / "quickstart.yaml", overrides=[f"name={name}"])
        place = tmp_path / str(number)
        run = directory(config, place / out)
        shutil.copytree(finished, run)
        gate(run, texts=["agreement >= 0.5"], report=place / junit)
        found = [{str(path.relative_to(place)) for path in place.glob(pattern)} for pattern in kept]
        assert all(len(each) == 1 for each in found), found
        written = {f"{out}/{run.name}/{file}" for file in ("report.html", "card.json", "junit.xml")}
        assert set.union(*found) == {*written, junit}

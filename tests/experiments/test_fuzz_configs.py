"""Thousands of mutated configs: each is read or refused within bounds, none ends or stalls the process."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments import data
from experiments.check import estimate
from experiments.cli import app
from experiments.config import ConfigError, load, read_tree
from experiments.config.document import DocumentError, parse
from experiments.config.schema import RunConfig
from experiments.study import load_study
from experiments.sweep import load_sweep
from tests.experiments.mutations import SECONDS, generator, mutated_text
from tests.experiments.small import ROOT, command

CONFIGS = ROOT / "configs"
CASES, STUDIES_OF, SWEEPS_OF = 2000, 40, 80
"""Mutated configs, and every how many-th of them is a study or a sweep, which read the configs of all their runs."""


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configs in a folder of their own."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "studies").mkdir()
    for path in CONFIGS.rglob("*.yaml"):
        (folder / path.relative_to(CONFIGS)).write_bytes(path.read_bytes())
    return folder


def configs_of(path: Path, *, study: bool, sweep: bool) -> list[RunConfig]:
    if study:
        return list(load_study(path).runs.values())
    return [cell.config for cell in load_sweep(path).cells] if sweep else [load(path)]


@pytest.mark.slow
def test_mutated_configs_load_or_are_refused(configs: Path) -> None:
    rng = generator(1)
    runs = [path.read_text(encoding="utf-8") for path in sorted(CONFIGS.glob("*.yaml")) if path.stem != "sweep"]
    sweeps = [(CONFIGS / "sweep.yaml").read_text(encoding="utf-8")]
    studies = [path.read_text(encoding="utf-8") for path in sorted((CONFIGS / "studies").glob("*.yaml"))]
    counts: Counter[str] = Counter()
    for case in range(CASES):
        study, sweep = case % STUDIES_OF == 0, case % SWEEPS_OF == 1
        texts = studies if study else sweeps if sweep else runs
        content = mutated_text(texts[int(rng.integers(len(texts)))], rng)
        path = configs / ("studies/mutated.yaml" if study else "mutated.yaml")
        path.write_bytes(content)
        started = time.monotonic()
        try:
            for config in configs_of(path, study=study, sweep=sweep):
                json.dumps(config.effective(), allow_nan=False)
            counts["loads"] += 1
        except (ConfigError, ValueError, OSError) as error:
            counts["refused"] += 1
            assert str(error).isprintable() or "\n" in str(error), f"case {case} tells control characters"
            assert not set(str(error)) & set("\x00\x07\x1b\u202e"), f"case {case} tells control characters"
            str(error).encode("utf-8")
        assert time.monotonic() - started < SECONDS, f"case {case} took too long: {content[:200]!r}"
    assert counts["loads"] > 50 and counts["refused"] > 500, counts


SMALL = """name: small
seed: 1
scene:
  synthetic: {height: 48, width: 48}
  patch: 7
split: {assessed: 20, baseline: 50, calibration: 10, block: 6, fractions: [0.5, 0.1, 0.4]}
references: [{zoo: depthwise, epochs: 2}]
quantisations: [int8, {compression: pruning, sparsity: 0.5}]
relations: [stripes, {gaussian_blur: {sigma: [0, 0.5]}}]
tier: stress
limits: {psnr: 20}
rates: {draws: 2, tiers: [in_spec, stress], doses: [0.5]}
gaps: {}
search: {optimiser: nsga2, population: 4, budget: 2000}
patchwise: {arms: [random], budget: 20, repeats: 2}
workers: 2
"""
ESTIMATED = 8
"""Valid ones of its mutations whose cost is told."""


@pytest.mark.slow
def test_the_cost_of_every_valid_config_is_told_or_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "synthetic_scene", cache(data.synthetic_scene))
    rng, path = generator(5), tmp_path / "small.yaml"
    counts: Counter[str] = Counter()
    while counts.total() < ESTIMATED:
        path.write_bytes(mutated_text(SMALL, rng))
        try:
            config = load(path, files=True)
        except (ValueError, OSError):
            continue
        started = time.monotonic()
        try:
            told = list(estimate(config, tmp_path / "out"))
            assert json.loads(told[0]) == config.effective()
            assert told[-1].startswith(f"with {config.workers} workers about ") and "nan" not in told[-1]
            counts["told"] += 1
        except (ValueError, OSError) as error:
            assert str(error).startswith("Expected ") and " got " in str(error), error
            counts["refused"] += 1
        assert time.monotonic() - started < 4 * SECONDS, path.read_text()
    assert counts["told"] > ESTIMATED // 2, counts


@pytest.mark.slow
def test_the_command_refuses_mutated_configs_with_exit_code_2(configs: Path) -> None:
    rng = generator(2)
    text = (CONFIGS / "quickstart.yaml").read_text(encoding="utf-8")
    tried = 0
    while tried < 10:
        path = configs / f"command{tried}.yaml"
        path.write_bytes(mutated_text(text, rng))
        try:
            load(path)
            continue
        except (ValueError, OSError):
            tried += 1
        told = CliRunner().invoke(app, ["run", str(path), "--out", str(configs / "runs")])
        assert told.exit_code == 2, (told.output, told.exception)
        assert "Traceback" not in told.output and told.output.startswith("error: ")
        assert not (configs / "runs").exists()
    done = subprocess.run(command("run", path), cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode == 2 and b"Traceback" not in done.stderr and done.stderr.startswith(b"error: ")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, r"config\.yaml:5: expected at most 50,000 keys and values"),
        ("a: &a [1, *a]", r"config\.yaml:1: expected values with an end"),
        ("a:\n  " + "[" * 500, r"config\.yaml:2: expected at most 32 levels"),
        ("x: " + "y" * 300_000, "expected at most 250,000 characters, got 300,003"),
        ("seed: 1\nscene: {}\nseed: 2", r"config\.yaml:3: seed: expected every key once, .* in lines 1 and 3"),
        ("scene:\n  patch: 3\n  patch: 5", r"config\.yaml:3: scene\.patch: .* in lines 2 and 3"),
        ('name: "\\e[31m"', r"config\.yaml:1: expected printable text, got the character '\\x1b'"),
        ("name: a\nseed: 2024-13-45", r"config\.yaml:2: expected a value that fits its form, got '2024-13-45'"),
        ("x: !!python/object/apply:os.system [touch marker]", r"python/object/apply:os\.system"),
        ("1: a", "expected a word as a key, got '1'"),
        ("name: 'a\n", r"config\.yaml:2: "),
    ],
    ids=["laughs", "endless", "deep", "long", "twice", "twice inside", "control", "date", "object", "key", "open"],
)
def test_yaml_is_read_within_bounds(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(ConfigError, match=told):
        read_tree(path)
    assert time.monotonic() - started < SECONDS
    assert not (Path.cwd() / "marker").exists()
    with pytest.raises(DocumentError):
        parse(text)


def test_aliases_within_bounds_stay_allowed(tmp_path: Path) -> None:
    text = "common: &c {assessed: 9}\nsplit: {<<: *c, baseline: 5}\nlist: [*c, *c]"
    assert parse(text).value["split"] == {"assessed": 9, "baseline": 5}

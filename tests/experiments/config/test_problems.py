"""What is wrong with a config: all of it at once, each with its line, its key and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import ConfigError, load
from experiments.study import load_study
from tests.experiments.config.minimal import MINIMAL, written


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = MINIMAL.replace("relations: [brightness]", "relations: [brightnes, {gaussian_blur: {sigma: [0, 99]}}]")
    with pytest.raises(ConfigError) as told:
        load(written(tmp_path, text + "sede: 3\nworkers: many\nsearch: {optimizer: ga, population: 2}\n"))
    message = str(told.value)
    assert "6 problems" in message
    for part in (
        "sede: unknown key; did you mean `seed`?",
        "workers: ",
        "'many'",
        "search.optimizer: unknown key; did you mean `optimiser`?",
        "search.population: ",
        "relations.0: Expected the name of a relation, got 'brightnes'".lower(),
        "did you mean brightness",
        "relations.1: expected bounds of gaussian_blur.sigma within the declared stress bounds",
        "got [0.0, 99.0]",
    ):
        assert part.lower() in message.lower()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("scene: {synthetic: {}, path: x.npz}", "either `path`"),
        ("scene: {synthetic: {}, patch: 10}", "odd `patch`"),
        ("references: [resnet]", "name of an architecture, got 'resnet'"),
        ("references: []", "references: "),
        ("quantisations: [int9]", "did you mean int8"),
        ("search: {optimiser: ga, objectives: [js_divergence, severity]}", "one objective for the optimiser 'ga'"),
        (
            "search: {optimiser: cmaes, objectives: [rmse, severity]}",
            "got ['rmse', 'severity']; keep 1, or choose one of random, nsga2, nsga3, moead, agemoea, smsemoa, rvea",
        ),
        (
            "search: {optimiser: nsga3, objectives: [kl_divergence]}",
            "2 or more objectives for the optimiser 'nsga3', got ['kl_divergence']; add one, or choose one of random, "
            "ga, pso, de, cmaes, metropolis, nsga2",
        ),
        (
            "search: {optimiser: smsemoa, objectives: [js_divergence, severity, rmse, top1_gap, margin_gap]}",
            "expected 2 to 4 objectives for the optimiser 'smsemoa'",
        ),
        (
            "search: {optimiser: rvea, population: 4, objectives: [severity, rmse, top1_gap, margin_gap, "
            "js_divergence]}",
            "a `population` of at least 5 for the optimiser 'rvea'",
        ),
        (
            "search: {optimiser: moead}",
            "no `limits` beside the optimiser 'moead', which does not heed them, got psnr; write `limits: {}`, or "
            "choose one of random, nsga2, nsga3, agemoea, smsemoa, rvea",
        ),
        ("limits: {keep_label: 0}", "expected the limit keep_label to be 1, got 0"),
        ("limits: {severity: 20}", "expected the limit severity to be 0 to 1, got 20"),
        ("limits: {spectral_angle: -1}", "expected the limit spectral_angle to be 0 to 3.14159, got -1"),
        ("limits: {psnr: -20}", "expected the limit psnr to be 0 or more, got -20"),
        ("search: {objectives: [js_divergense]}", "did you mean js_divergence"),
        ("limits: {psrn: 20}", "did you mean psnr"),
        ("criteria: ['agrement >= 0.9']", "did you mean agreement"),
        ("criteria: ['agreement is good']", "like `agreement >= 0.99`"),
        ("criteria: agreement >= 0.9", "expected a list in brackets, got 'agreement >= 0.9'"),
        ("criteria: ['agreement >= 99']", "a bound between 0 and 1, as every value of agreement is, got 99"),
        ("criteria: ['revealed_rate.stress <= 5']", "correct it (5 % is 0.05)"),
        ("criteria: ['accuracy_drop <= -1.5']", "a bound between -1 and 1"),
        ("criteria: ['findings < -1']", "expected a bound of 0 or more, as every value of findings is"),
        ("criteria: ['findings <= 1e999']", "expected a bound of 0 or more, as every value of findings is"),
        ("criteria: ['agreement > 1']", "got 'agreement > 1', which every value of agreement misses; correct the sign"),
        ("criteria: ['findings < 0']", "got 'findings < 0', which every value of findings misses"),
        ("criteria: ['agreement >= 0']", "got 'agreement >= 0', which every value of agreement meets"),
        ("criteria: ['agreement <= 1']", "got 'agreement <= 1', which every value of agreement meets"),
        ("criteria: ['accuracy_drop >= -1']", "which every value of accuracy_drop meets"),
        ("quantisations: [int8, int8]", "'int8' twice"),
        ("split: {fractions: [0.5, 0.5, 0.5]}", "add up to 1"),
        ("references: [{path: x.tflite}]", "cannot be quantised"),
        ("references: [{zoo: depthwise, name: int8}]", "got 'int8' in both; add `name:` to one"),
        (
            "references: [{zoo: depthwise, name: a}, {zoo: spectral, name: a.int8}]",
            "got a.int8.tflite twice; change a `name:`",
        ),
        ("references: [{zoo: depthwise, trust: true}]", "`zoo` leaves without effect, got `trust`"),
        ("references: [{zoo: depthwise, preprocessing: x.json}]", "got `preprocessing`; remove it"),
        ("references: [{path: x.keras, epochs: 3, batch: 2}]", "`path` leaves without effect, got `epochs`, `batch`"),
        ("references: [{path: x.keras, train_limit: 3}]", "got `train_limit`"),
        ("quantisations: [{quantisation: int8, trust: true}]", "`quantisation` leaves without effect, got `trust`"),
        ("scene: {synthetic: {}, cube_key: c}", "`synthetic` leaves without effect, got `cube_key`"),
        ("rates: {tiers: [stress, stress]}", "each once, got ['stress', 'stress']"),
        ("rates: {tiers: []}", "each once, got []"),
        ("references: [{zoo: depthwise, kernels: cuda}]", "expected xnnpack, builtin or reference, got 'cuda'"),
        ("seed: true", "seed: expected a whole number, got true"),
        ("references: [{zoo: depthwise, epochs: false}]", "references.0.epochs: expected a whole number, got false"),
        ("conversion_seconds: yes", "conversion_seconds: expected a number, got true"),
        ("limits: true", "limits: expected keys with values, got 'True'"),
        ("tier: harsh", "tier: expected in_spec or stress, got 'harsh'"),
        (
            "quantisations: [{compression: distillation, quantisation: int8, student: spectral}]",
            "quantisations.0.student: expected a student that takes the inputs of depthwise (hwb), got spectral "
            "(centre); choose one of depthwise, or leave `student` out",
        ),
        (
            "quantisations: [int8, {compression: distillation, quantisation: int8, student: hybridsn}]",
            "quantisations.1.student: expected a student that takes the inputs of depthwise (hwb), got hybridsn",
        ),
    ],
)
def test_each_problem_says_where_and_what_to_do(tmp_path: Path, change: str, told: str) -> None:
    key = change.partition(":")[0]
    kept = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:"))
    with pytest.raises(ConfigError) as problem:
        load(written(tmp_path, f"{kept}\n{change}\n"))
    assert told in str(problem.value)


@pytest.mark.parametrize(
    ("teacher", "fitting"),
    [
        ("hybridsn", ["hybridsn", "ssrn", "cnn3d", "depthwise"]),
        ("spectral", ["spectral"]),
        ("depthwise", ["depthwise"]),
    ],
)
def test_a_student_of_the_zoo_takes_what_its_teacher_takes(teacher: str, fitting: list[str], tmp_path: Path) -> None:
    accepted = []
    for student in ("hybridsn", "ssrn", "cnn3d", "spectral", "depthwise"):
        version = f"{{compression: distillation, quantisation: float16, student: {student}}}"
        text = MINIMAL.replace("[depthwise]", f"[{teacher}]").replace("[int8]", f"[{version}]")
        assert teacher in text and version in text
        try:
            load(written(tmp_path, text))
            accepted.append(student)
        except ConfigError as error:
            assert f"takes the inputs of {teacher}" in str(error)
    assert accepted == fitting


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", "3", "", "[" * 5000, "a: &a [*a]", "a: 2024-13-45"])
def test_what_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(written(tmp_path, text))


def test_every_problem_is_told_with_its_line_or_its_override(tmp_path: Path) -> None:
    text = "name: x\nscene:\n  synthetic: {height: 5}\nreferences:\n  - zoo: depthwise\n    epochs: lots\nsede: 3\n"
    path = written(tmp_path, text + "quantisations: [int8]\nrelations: [offset]\n")
    with pytest.raises(ConfigError) as told:
        load(path, overrides=["rates.draws=-1", "references.0.batch=no"])
    for line in (
        f"{path}:3: scene.synthetic.height: expected a value greater than or equal to 48, got '5'",
        f"{path}:6: references.0.epochs: expected a whole number, got 'lots'",
        f"{path}:7: sede: unknown key; did you mean `seed`?",
        "--set rates.draws=-1: rates.draws: expected a value greater than or equal to 1, got '-1'",
        "--set references.0.batch=no: references.0.batch: expected a whole number, got false",
    ):
        assert line in str(told.value), told.value


def test_a_study_tells_which_of_its_lines_set_a_wrong_key(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL)
    study = tmp_path / "study.yaml"
    study.write_text(
        "name: s\nshared:\n  rates: {draws: -1}\nruns:\n  - name: a\n    config: config.yaml\n    set:\n"
        "      split.assessed: 0\n"
    )
    with pytest.raises(ConfigError) as told:
        load_study(study)
    assert f"{study}:3: rates.draws: " in str(told.value) and f"{study}:8: split.assessed: " in str(told.value)


ACROSS = """name: x
scene: {synthetic: {}}
references: [{zoo: depthwise, name: a}, {path: gone.keras, name: a}]
quantisations: [int8, {path: lost.tflite, name: b}]
space: in_spec
tier: stress
search: {optimiser: moead}
"""


def test_faults_across_keys_are_told_together_with_their_lines(tmp_path: Path) -> None:
    path = written(tmp_path, ACROSS)
    with pytest.raises(ConfigError) as told:
        load(path)
    assert "4 problems" in str(told.value)
    for line in (
        f"{path}:3: references.1: expected different names in `references`, got 'a' twice",
        f"{path}:3: references: expected one reference beside quantised files, got 2",
        f"{path}:6: tier: expected the tier in_spec of the space in_spec, got stress",
        f"{path}:7: search: expected no `limits` beside the optimiser 'moead'",
    ):
        assert line in str(told.value), told.value


def test_faults_across_keys_stand_beside_wrong_values_and_missing_files(tmp_path: Path) -> None:
    path = written(tmp_path, ACROSS + "workers: many\nsplit: {assessed: 0}\n")
    with pytest.raises(ConfigError) as told:
        load(path, files=True, overrides=["references.0.preprocessing=p.json"])
    lines = str(told.value).splitlines()
    for start in (
        f"  {path}:8: workers: ",
        f"  {path}:9: split.assessed: ",
        f"  {path}:6: tier: expected the tier in_spec",
        f"  {path}:3: references.1.path: expected a file at {tmp_path / 'gone.keras'}, got none; correct the path",
        f"  {path}:4: quantisations.1.path: expected a file at {tmp_path / 'lost.tflite'}, got none",
        "  --set references.0.preprocessing=p.json: references.0.preprocessing: expected a file at",
        "  " + f"{path}:3: references.0: expected nothing that `zoo` leaves without effect, got `preprocessing`",
    ):
        assert any(line.startswith(start) for line in lines), (start, told.value)
    # What involves a wrong key is not guessed at.
    assert "different names" not in str(told.value)


def test_missing_files_are_told_all_at_once(tmp_path: Path) -> None:
    text = MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: a.npz, ground_truth: b.npz}")
    path = written(tmp_path, text)
    load(path)
    done = CliRunner().invoke(app, ["check", str(path)])
    assert done.exit_code == 2 and "has 2 problems" in done.output
    assert f"{path}:3: scene.path: expected a file at" in done.output and ":3: scene.ground_truth: " in done.output
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    assert load(path, files=True) == load(path)


def test_a_file_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.yaml"
    with open(path, "wb") as file:
        file.truncate(2 * 10**9)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(ConfigError, match=r"at most 1,000,000 bytes, got 2,000,000,000 in .*large\.yaml; shorten it"):
        load(path)

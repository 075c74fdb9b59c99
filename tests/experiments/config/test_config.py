from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from diverget.scene import ImageSet
from diverget.split import split
from experiments.cli import app
from experiments.config import ConfigError, load
from experiments.config.criteria import check, parse
from experiments.config.schema import RunConfig
from experiments.data import check_material, gather
from experiments.study import load_study
from relations import ALL
from relations.core import _FOUND

CONFIGS = Path(__file__).resolve().parents[3] / "configs"

MINIMAL = """
name: small
scene: {synthetic: {height: 64, width: 64}}
references: [depthwise]
quantisations: [int8]
relations: [brightness]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


OF_ONE_RUN = [path for path in sorted(CONFIGS.glob("*.yaml")) if "\nsweep:" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", OF_ONE_RUN, ids=lambda p: p.stem)
def test_every_shipped_config_is_valid(path: Path) -> None:
    config = load(path)
    assert config.space_in("in_spec").dimensions == config.space_in("stress").dimensions


def test_a_minimal_config_shows_every_default(tmp_path: Path) -> None:
    effective = load(written(tmp_path, MINIMAL)).effective()
    assert effective["limits"] == {"psnr": 20.0}
    assert effective["search"]["optimiser"] == "nsga2"
    assert effective["references"][0]["zoo"] == "depthwise"
    assert RunConfig.model_validate(effective).effective() == effective


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
        ("search: {objectives: [js_divergense]}", "did you mean js_divergence"),
        ("limits: {psrn: 20}", "did you mean psnr"),
        ("criteria: ['agrement >= 0.9']", "did you mean agreement"),
        ("criteria: ['agreement is good']", "like `agreement >= 0.99`"),
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
    ],
)
def test_each_problem_says_where_and_what_to_do(tmp_path: Path, change: str, told: str) -> None:
    key = change.partition(":")[0]
    kept = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(f"{key}:"))
    with pytest.raises(ConfigError) as problem:
        load(written(tmp_path, f"{kept}\n{change}\n"))
    assert told in str(problem.value)


def test_an_optimiser_that_heeds_no_limits_may_search_without(tmp_path: Path) -> None:
    config = load(written(tmp_path, MINIMAL + "limits: {}\nsearch: {optimiser: moead}\n"))
    assert config.search.chosen_optimiser.name == "moead" and config.own_rung.bounded() == []
    limited = load(written(tmp_path, MINIMAL + "limits: {ssim: 0.9, keep_label: true, severity: 0.5}\n"))
    limits = [(b.limit.name, b.bound) for b in limited.own_rung.bounded()]
    assert limits == [("keep_label", 1), ("severity", 0.5), ("ssim", 0.9)]


def test_two_files_of_one_name_are_told_to_be_named_apart(tmp_path: Path) -> None:
    text = MINIMAL.replace("[depthwise]", "[{path: a/model.tflite}]").replace("[int8]", "[{path: b/model.tflite%s}]")
    with pytest.raises(ConfigError, match="'model' in both; add `name:` to one"):
        load(written(tmp_path, text % ""))
    assert load(written(tmp_path, text % ", name: small")).quantisations[0].label == "small"


def test_images_have_no_blocks(tmp_path: Path) -> None:
    text = MINIMAL.replace("scene: {synthetic: {height: 64, width: 64}}", "images: {path: x.npz}")
    text = text.replace("[depthwise]", "[lenet5]")
    load(written(tmp_path, text))
    with pytest.raises(ConfigError, match=r"no `split\.block` beside `images`, got 5"):
        load(written(tmp_path, text + "split: {block: 5}\n"))


@pytest.mark.parametrize("shares", [[0.5, 0.1, 0.4000005], [0.333, 0.333, 0.333], [0.5, 0.1, 0.4], [0.2, 0.3, 0.5004]])
def test_shares_are_made_to_add_up_once(tmp_path: Path, shares: list[float]) -> None:
    config = load(written(tmp_path, MINIMAL + f"split: {{fractions: {shares}}}\n"))
    assert sum(config.split.fractions) == pytest.approx(1, abs=1e-12)
    assert config.split.fractions == pytest.approx(shares, abs=1e-3)
    assert RunConfig.model_validate(config.effective()) == config
    images = ImageSet(
        name="x", images=np.zeros((90, 3, 3, 1), np.float32), labels=None, class_names=(), value_range=(0, 1), digest=""
    )
    assert len(split(images, patch=3, fractions=config.split.fractions, seed=0).train) > 0


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", "3", "", "[" * 5000, "a: &a [*a]", "a: 2024-13-45"])
def test_what_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(written(tmp_path, text))


def test_overrides_reach_every_depth(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    config = load(path, overrides=["scene.patch=9", "search.budget=500", "references.0=spectral", "split.assessed=7"])
    assert (config.scene and config.scene.patch, config.search.budget) == (9, 500)
    assert (config.references[0].zoo, config.split.assessed) == ("spectral", 7)


@pytest.mark.parametrize(
    "override",
    [
        f"seed={'[' * 5000}",
        "patch",
        "=3",
        "name.first=x",
        "references.4.zoo=x",
        "references.x=y",
        "references.0.zoo.a=1",
        "relations.0.x=1",
    ],
)
def test_an_override_that_leads_nowhere_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        load(written(tmp_path, MINIMAL.replace("[depthwise]", "[{zoo: depthwise}]")), overrides=[override])


def test_paths_belong_to_the_folder_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    text = MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: a.npz}")
    (folder / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    scene = load(folder / "config.yaml").scene
    assert scene is not None and scene.path == folder / "a.npz"
    scene = load(folder / "config.yaml", overrides=["scene.path=a.npz"]).scene
    assert scene is not None and scene.path == tmp_path / "a.npz"


def test_the_digest_follows_the_content_of_files_and_not_their_place(tmp_path: Path) -> None:
    text = MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: %s}")
    digests = []
    for name, content in (("a.npz", b"1"), ("b.npz", b"1"), ("c.npz", b"2")):
        (tmp_path / name).write_bytes(content)
        digests.append(load(written(tmp_path, text % name)).digest())
    assert digests[0] == digests[1] != digests[2]
    config = load(written(tmp_path, MINIMAL))
    assert config.digest() == load(written(tmp_path, MINIMAL + "workers: 5\n")).digest()
    assert config.digest() != load(written(tmp_path, MINIMAL + "seed: 5\n")).digest()


def test_the_digest_covers_the_data_file_of_an_envi_header(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi", reason="needs the extra diverget[envi]")
    config = load(written(tmp_path, MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: s.hdr}")))
    digests = []
    for value in (1, 2, 1):
        envi.save_image(str(tmp_path / "s.hdr"), np.full((4, 4, 3), value, np.uint8), ext="img", force=True)
        digests.append(config.digest())
    assert digests[0] == digests[2] != digests[1]


def test_a_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    text = MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: gone.npz}")
    with pytest.raises(FileNotFoundError, match=r"gone\.npz, got none; correct the path"):
        load(written(tmp_path, text)).digest()


def test_narrowed_bounds_hold_in_both_tiers(tmp_path: Path) -> None:
    text = MINIMAL.replace("[brightness]", "[{gaussian_blur: {sigma: [0, 0.1]}}]")
    config = load(written(tmp_path, text))
    for tier in ("in_spec", "stress"):
        assert config.space_in(tier).axes[0][2] == (0, 0.1)


def test_criteria() -> None:
    criterion = parse("revealed_rate.in_spec.upper <= 1e-2")
    assert criterion.met(0.01) and not criterion.met(0.011)
    rows = check((parse("agreement >= 0.9"),), {"a/b": {"agreement": 0.95}, "a/c": {"agreement": 0.8}, "a/d": {}})
    assert [row["met"] for row in rows] == [True, False, False]


SPACED = MINIMAL.replace("relations: [brightness]", "space: radiometry")


def test_a_named_space_is_spelt_out_and_kept(tmp_path: Path) -> None:
    config = load(written(tmp_path, SPACED))
    assert [entry.name for entry in config.relations] == [r.name for r in ALL.values() if r.family == "radiometry"]
    assert (config.tier, config.limits) == ("stress", {"psnr": 20.0})
    assert RunConfig.model_validate(config.effective()) == config
    assert load(written(tmp_path, SPACED + "tier: in_spec\n")).tier == "in_spec"


def test_a_published_space_brings_its_bounds_and_limits(tmp_path: Path) -> None:
    config = load(written(tmp_path, SPACED.replace("radiometry", "dflare")))
    assert config.limits == {}
    axes = {
        (config.space_in("stress").slots[slot].relation.name, param.name): ends
        for slot, param, ends in config.space_in("stress").axes
    }
    assert axes["multiplicative_noise", "mean"] == (-0.5, 0.5)
    assert load(written(tmp_path, SPACED.replace("radiometry", "dflare") + "limits: {psnr: 30}\n")).limits == {
        "psnr": 30.0
    }


def test_relations_can_be_taken_out_of_a_named_space(tmp_path: Path) -> None:
    text = SPACED.replace("radiometry", "{name: radiometry, without: [offset, gamma]}")
    names = [entry.name for entry in load(written(tmp_path, text)).relations]
    assert "brightness" in names and not {"offset", "gamma"} & set(names)
    assert load(written(tmp_path, SPACED.replace("radiometry", "{name: radiometry, without: gamma}")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SPACED.replace("radiometry", "radiometri"), "did you mean radiometry"),
        (SPACED + "relations: [offset]\n", "expected either `space` or `relations`, got both"),
        (SPACED.replace("radiometry", "in_spec") + "tier: stress\n", "expected the tier in_spec of the space in_spec"),
        (SPACED.replace("radiometry", "{name: sensor, without: [stripe]}"), "got 'stripe'; did you mean stripes"),
        (MINIMAL.replace("relations: [brightness]", ""), "or a named `space`, got none"),
        (SPACED.replace("radiometry", "5"), "expected the name of a space, or {name: ..., without: [...]}, got 5"),
        (SPACED.replace("radiometry", "zzz"), "got 'zzz'; there are in_spec, stress, atmosphere"),
        (
            MINIMAL.replace("[brightness]", "[{radiometric_quantisation: {bits: [8.5, 16]}}]"),
            "expected whole bounds of radiometric_quantisation.bits (bits), got [8.5, 16.0]",
        ),
        (MINIMAL.replace("[brightness]", "[{gaussian_blur: {sigma: much}}]"), "relations.0.bounds.sigma"),
    ],
)
def test_a_wrong_space_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as problem:
        load(written(tmp_path, text))
    assert told in str(problem.value)
    assert "1 problem" in str(problem.value)


def test_the_digest_holds_the_declared_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(written(tmp_path, MINIMAL))
    before = config.digest()
    gain = replace(ALL["brightness"].params[0], stress=(-0.6, 0.6))
    monkeypatch.setitem(_FOUND, "brightness", replace(ALL["brightness"], params=(gain,)))
    assert config.digest() != before


def test_relations_in_nm_are_refused_for_data_without_wavelengths(tmp_path: Path) -> None:
    config = load(written(tmp_path, SPACED.replace("radiometry", "spectral")))
    material = gather(config)
    blind = replace(material, sensor=replace(material.sensor, wavelengths=None))
    with pytest.raises(ValueError, match=r"band_shift.*got data without wavelengths.*without: \[.*band_shift"):
        check_material(config, blind)


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
        "--set references.0.batch=no: references.0.batch: expected a value greater than or equal to 1",
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

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
from experiments.config.methods import PatchwiseConfig, RungConfig
from experiments.config.schema import RunConfig
from experiments.data import check_material, gather
from relations import ALL
from relations.core import _FOUND
from tests.experiments.config.minimal import MINIMAL, written
from tests.experiments.small import scene_arrays

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


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


def test_rungs_that_differ_have_different_names() -> None:
    """Seeds and rows hang on them, so what six digits tell exactly is told so."""
    named = {20: "20", 0.05: "0.05", 1e-7: "1e-07", 20.0000001: "20.0000001", 1234567: "1234567.0"}
    assert {bound: RungConfig(limits={"psnr": bound}).name for bound in named} == {
        bound: f"stress, psnr {told}" for bound, told in named.items()
    }
    rungs = tuple(RungConfig(limits={"psnr": bound}) for bound in (20, 20.0000001))
    assert PatchwiseConfig(ladder=rungs).ladder == rungs


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


def test_a_single_class_is_refused_where_a_network_is_trained(tmp_path: Path) -> None:
    text = MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: scene.npz, patch: 5}")
    arrays = scene_arrays()
    np.savez(tmp_path / "scene.npz", cube=arrays["cube"], gt=(arrays["gt"] == 1).astype(np.uint8))
    done = CliRunner().invoke(app, ["check", str(written(tmp_path, text)), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "Expected at least two labelled classes to train on, got 1 (class 1) in the training part" in done.output
    trained = load(written(tmp_path, text.replace("[depthwise]", "[{path: a.keras}]")))
    check_material(trained, gather(trained))


def test_an_arm_that_needs_more_classes_is_refused_before_a_network_is_trained(tmp_path: Path) -> None:
    text = MINIMAL.replace("{synthetic: {height: 64, width: 64}}", "{path: scene.npz, patch: 5}")
    arrays = scene_arrays()
    np.savez(tmp_path / "scene.npz", cube=arrays["cube"], gt=np.where(arrays["gt"] < 3, arrays["gt"], 0))
    config = written(tmp_path, text + "patchwise: {arms: [diffchaser]}\n")
    done = CliRunner().invoke(app, ["check", str(config), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "Expected at least 3 classes for the arm diffchaser, got models of 2; leave it out" in done.output

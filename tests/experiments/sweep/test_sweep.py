"""A sweep: expanded as its file says, every cell checked before one starts, told without running anything."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from experiments.cli import app
from experiments.config import ConfigError, load
from experiments.config.schema import RunConfig
from experiments.executors import Done
from experiments.run import directory
from experiments.sweep import Sweep, cells_in_words, differs, load_sweep, worded
from experiments.sweep import costs as sweep_costs
from experiments.sweep.costs import costs
from experiments.sweep.page import plots, render_sweep
from experiments.sweep.rows import METRICS, ranked
from experiments.sweep.run import note, same_cells
from tests.experiments.small import CONFIG, GOLDEN, ROOT, write


def read(folder: Path, swept: str, *, overrides: tuple[str, ...] = ()) -> Sweep:
    return load_sweep(write(folder, CONFIG + "sweep:\n" + swept), overrides=overrides)


def refused(folder: Path, swept: str, *, overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, swept, overrides=overrides)
    return str(caught.value)


def test_grid_times_zip_times_cells(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        "  grid: {seed: [0, 1], tier: [in_spec, stress]}\n"
        "  zip: {split.assessed: [20, 30], split.baseline: [100, 150]}\n"
        "  cells: [{search.optimiser: random}, {search.optimiser: nsga2, search.population: 16}]\n",
    )
    assert sweep.keys == (
        "search.optimiser", "search.population", "split.assessed", "split.baseline", "seed", "tier",
    )  # fmt: skip
    found = [
        (c.config.search.optimiser, c.config.search.population, c.config.split.assessed, c.config.split.baseline,
         c.config.seed, c.config.tier)
        for c in sweep.cells
    ]  # fmt: skip
    expected = [
        (optimiser, population, *row, seed, tier)
        for optimiser, population in (("random", 12), ("nsga2", 16))
        for row in ((20, 100), (30, 150))
        for seed in (0, 1)
        for tier in ("in_spec", "stress")
    ]
    assert found == expected
    assert [cell.name for cell in sweep.cells] == [f"{number:02d}" for number in range(1, 17)]
    assert "search.population" not in sweep.cells[0].values
    assert len({cell.folder for cell in sweep.cells}) == 16


def test_what_the_example_holds_in_comments_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "configs" / "sweep.yaml").read_text(encoding="utf-8").replace("seed: [0, 1, 2]", "seed: [0]")
    told = re.sub(r"^( +)# (?=doses|relations\.|zip:|cells:|  \S)", r"\1", text, flags=re.M)
    assert told.count("#") < text.count("#") - 6
    path = tmp_path / "sweep.yaml"
    path.write_text(told)
    sweep = load_sweep(path)
    assert len(sweep.cells) == 4 * 2 * 3 * 2 * 2
    assert sweep.cells[0].config.rates.doses == (0.1, 0.3, 1.0)
    assert sweep.cells[1].config.relations[3].bounds == {"depth": (0.0, 0.01)}


def test_a_cell_is_the_run_of_the_same_settings(tmp_path: Path) -> None:
    cell = read(tmp_path, "  grid: {seed: [3]}\n").cells[0]
    alone = load(write(tmp_path), overrides=["seed=3"])
    assert cell.digest == alone.digest()
    assert cell.folder == directory(alone, tmp_path).name


def test_cells_of_one_digest_are_one(tmp_path: Path) -> None:
    # `workers` does not change a result.
    sweep = read(tmp_path, "  grid: {workers: [1, 2], seed: [0, 1, 1]}\n")
    assert [(cell.name, cell.also) for cell in sweep.cells] == [("1", ("4",)), ("2", ("3", "5", "6"))]
    _, note = same_cells(sweep)
    assert note.startswith(
        "note: cells 2, 3, 5 and 6 are one: they differ only in workers, which does not determine a result; cell 2 "
        "stands for all"
    )
    (same,) = same_cells(read(tmp_path, "  grid: {seed: [0, 0]}\n"))
    assert same == "note: cells 1 and 2 are one: the same config"


def test_one_run_has_one_list_of_criteria(tmp_path: Path) -> None:
    told = refused(tmp_path, "  grid: {seed: [0, 1], criteria: [[agreement >= 0.9], [agreement >= 0.99]]}\n")
    assert "cell 2: Expected one list of `criteria` for one run, got others than those of cell 1" in told
    assert "cell 4: " in told and "others than those of cell 3" in told
    # A cell may have criteria of its own beside what determines its result.
    own = "  zip: {seed: [0, 1], criteria: [[agreement >= 0.9], [agreement >= 0.99]]}\n"
    assert [cell.config.asked_criteria[0].bound for cell in read(tmp_path, own).cells] == [0.9, 0.99]


def test_a_path_is_of_the_folder_of_the_file_however_deep_it_stands(tmp_path: Path) -> None:
    for name in ("float32", "int8", "float16"):
        shutil.copy(GOLDEN / f"{name}.tflite", tmp_path)
    sweep = read(
        tmp_path,
        "  grid:\n"
        "    references: [[{path: float32.tflite, name: float}]]\n"
        "    quantisations: [{path: int8.tflite}, [{path: float16.tflite}]]\n"
        "  cells: [{scene: {path: scene.npz, patch: 5}}, {scene: {path: scene.npz, patch: 7}}]\n",
    )
    for cell in sweep.cells:
        config = cell.config
        files = config.references[0].path, config.quantisations[0].path, config.scene and config.scene.path
        assert {file.parent for file in files if file} == {tmp_path.resolve()}


def test_lists_paths_and_bounds(tmp_path: Path) -> None:
    golden = f"{ROOT}/tests/golden/models"
    sweep = read(
        tmp_path,
        "  grid:\n"
        f"    quantisations: [{{path: {golden}/int8.tflite}}, [{{path: {golden}/float16.tflite}}]]\n"
        "    relations.gaussian_noise.level: [[0, 0.05], [0, 0.1]]\n"
        "    relations.brightness.gain: [[-0.1, 0.1]]\n"
        "    scene.path: [scene.npz]\n",
    )
    assert [cell.config.quantisations[0].label for cell in sweep.cells] == ["int8", "int8", "float16", "float16"]
    for cell, high in zip(sweep.cells, (0.05, 0.1, 0.05, 0.1), strict=True):
        bounds = {entry.name: entry.bounds for entry in cell.config.relations}
        assert list(bounds) == ["brightness", "offset", "gaussian_blur", "gaussian_noise", "impulse_noise", "stripes"]
        assert bounds["gaussian_noise"] == {"level": (0, high)} and bounds["brightness"] == {"gain": (-0.1, 0.1)}
        assert cell.config.scene is not None and cell.config.scene.path == tmp_path.resolve() / "scene.npz"
    assert "quantisations int8.tflite" in differs(sweep.cells[0])


@pytest.mark.parametrize("named", ["quickstart", "sweep", "zoo", "indian_pines"])
def test_a_config_comes_back_whole_from_its_json(named: str) -> None:
    path = ROOT / "configs" / f"{named}.yaml"
    config = load_sweep(path).cells[0].config if named == "sweep" else None
    if config is None:
        try:
            config = load(path)
        except ConfigError as error:
            pytest.skip(str(error))
    again = RunConfig.model_validate(json.loads(json.dumps(config.effective())))
    assert again.effective() == config.effective()


def test_the_example_has_24_cells() -> None:
    assert len(load_sweep(ROOT / "configs" / "sweep.yaml").cells) == 24


@pytest.mark.parametrize(
    ("swept", "expected"),
    [
        ("  {}\n", "expected `grid`, `zip` or `cells`"),
        ("  grid: {seed: []}\n", "expected values of `seed` in `grid`, got an empty list"),
        ("  grid: {seed: 3}\n", "grid.seed: expected a list in brackets, got '3'"),
        ("  zip: {seed: [1, 2], tier: [stress]}\n", "lists of one length in `zip`, got seed 2, tier 1"),
        ("  cells: []\n", "expected in `cells` mappings of keys to values, got an empty list"),
        ("  cells: [{}]\n", "got an entry without keys"),
        ("  gird: {seed: [1]}\n", "gird: unknown key; did you mean `grid`?"),
        ("  grid: {seed: [1]}\n  zip: {seed: [2]}\n", "got `seed` in `grid` and in `zip`"),
        ("  grid: {search: [{budget: 960}], search.budget: [960]}\n", "got `search.budget` inside `search`"),
        ("  grid: {sweep.grid: [1]}\n", "a sweep is not swept"),
        ("  grid: {scene.patch.x: [1]}\n", ": expected scene.patch to hold keys of its own, got 5"),
        ("  grid: {relations.stripes: [{}]}\n", "got 'stripes'; count from 0, or, in a sweep, name the bounds of one"),
        ("  grid: {relations.gausian_noise.level: [[0, 0.1]]}\n", "did you mean `relations.gaussian_noise`?"),
        (f"  grid: {{seed: {list(range(400))}, workers: {[1] * 400}}}\n", "at most 100,000 cells"),
    ],
)
def test_a_sweep_that_means_nothing_is_refused(tmp_path: Path, swept: str, expected: str) -> None:
    assert expected in refused(tmp_path, swept)


def test_bounds_of_a_named_space_are_not_swept(tmp_path: Path) -> None:
    text = re.sub(r"relations: .*", "space: sensor", CONFIG)
    file = write(tmp_path, text + "sweep: {grid: {relations.stripes.depth: [[0, 0.01]]}}\n")
    with pytest.raises(ConfigError, match=r"`relations:` that holds stripes, .*, got none; the bounds of a named `sp"):
        load_sweep(file)


def test_the_problems_of_all_cells_are_told_at_once_each_with_its_cells(tmp_path: Path) -> None:
    told = refused(tmp_path, "  grid: {seed: [0, -1], search.optimiser: [nsga2, nsga3000], serch.budget: [1]}\n")
    assert "cell 1: " in told and "cell 4: " in told
    assert "serch: unknown key; did you mean `search`?" in told
    assert "nsga3000" in told and "seed: expected a value greater than or equal to 0" in told


@pytest.mark.parametrize("override", ["seed=4", "search={budget: 960}", "sweep.grid.seed=[1]"])
def test_what_is_swept_is_not_set(tmp_path: Path, override: str) -> None:
    told = refused(tmp_path, "  grid: {seed: [0, 1], search.budget: [960]}\n", overrides=(override,))
    assert "Expected in --set a key that every cell shares" in told


def test_what_is_not_swept_is_set_in_every_cell(tmp_path: Path) -> None:
    sweep = read(tmp_path, "  grid: {seed: [0, 1]}\n", overrides=("rates.draws=3",))
    assert [cell.config.rates.draws for cell in sweep.cells] == [3, 3]


def test_each_source_of_data_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = read(tmp_path, "  grid: {seed: [0, 1, 2], tier: [in_spec, stress], split.assessed: [20, 30]}\n")
    read_before, gathered = [], sweep_costs.gather

    def counted(config: RunConfig) -> object:
        read_before.append(config.split.assessed)
        return gathered(config)

    monkeypatch.setattr(sweep_costs, "gather", counted)
    found = costs(sweep, tmp_path / "out", workers=1)
    assert sorted(read_before) == [20, 30]
    assert len(found) == 12 and found["02"].queries > found["01"].queries > 0


def test_data_that_cannot_be_used_is_told_with_its_cells(tmp_path: Path) -> None:
    sweep = read(tmp_path, "  grid: {scene.patch: [5, 31], seed: [0, 1]}\n")
    with pytest.raises(ValueError, match=r"^cells 3 and 4: Expected"):
        costs(sweep, tmp_path / "out", workers=1)


def test_a_dry_run_costs_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, CONFIG + "sweep: {grid: {seed: [0, 1], search.optimiser: [nsga2, random]}}\n")
    before = sorted(tmp_path.iterdir())
    done = CliRunner().invoke(app, ["sweep", str(file), "--out", str(tmp_path / "out"), "--dry-run"])
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    for cell, line in zip(load_sweep(file).cells, lines[1:], strict=False):
        assert cell.folder in line and differs(cell) in line and "not begun" in line
    assert "4 cells, 0 complete" in lines[-1]
    assert sorted(tmp_path.iterdir()) == before
    again = CliRunner().invoke(app, ["check", str(file), "--out", str(tmp_path / "out")])
    assert again.exit_code == 0 and "4 cells, 0 complete" in again.stdout


@pytest.mark.parametrize(
    ("command", "swept", "expected"),
    [
        ("run", "sweep: {grid: {seed: [0]}}\n", "diverget sweep"),
        ("sweep", "", "Expected `sweep:` in"),
        ("study", "sweep: {grid: {seed: [0]}}\n", "got a sweep, which stands for many runs; start it with `diverget"),
        ("study", "", "got a config of one run; start it with `diverget run"),
        ("run", "runs: []\n", "got a study of several runs; start it with `diverget study"),
        ("sweep", "runs: []\n", "got a study of several runs; start it with `diverget study"),
        ("sweep", "runs: []\nsweep: {grid: {seed: [0]}}\n", "Expected either `sweep` or `runs` in"),
        ("run", "runs: []\nsweep: {grid: {seed: [0]}}\n", "Expected either `sweep` or `runs` in"),
        ("sweep", "sweep: {grid: {seed: []}}\n", "empty list"),
    ],
)
def test_the_wrong_command_says_which_is_right(tmp_path: Path, command: str, swept: str, expected: str) -> None:
    file = write(tmp_path, CONFIG + swept)
    done = CliRunner().invoke(app, [command, str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert expected in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["run", "sweep", "study"])
def test_a_name_too_long_for_a_folder_is_refused(tmp_path: Path, command: str) -> None:
    rest = {"run": "", "sweep": "sweep: {grid: {seed: [0]}}\n", "study": "runs: [{name: a, config: small.yaml}]\n"}
    text = CONFIG if command != "study" else "name: small\n"
    file = write(tmp_path, text.replace("name: small\n", f"name: {'ä' * 100}\n") + rest[command])
    done = CliRunner().invoke(app, [command, str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "name: expected a name of at most 128 bytes" in done.stderr and "got 200; shorten it" in done.stderr


def row(cell: str, rate: float | None, **more: object) -> dict[str, object]:
    empty = {name: None for name, _ in METRICS}
    return {**empty, "cell": cell, "pair": "a/int8", "values": {}, "raw": {}, "revealed_rate.in_spec": rate, **more}


def test_the_page_ranks_met_criteria_before_low_rates() -> None:
    rows = [
        row("1", 0.2, criteria_met=True),
        row("2", 0.1, criteria_met=False),
        row("3", 0.05, criteria_met=True),
        row("4", None),
        row("5", None, pair=None),
    ]
    assert [each["cell"] for each in ranked(rows)] == ["3", "1", "4", "2", "5"]


def test_a_figure_for_every_swept_number_but_the_seed() -> None:
    rows = [
        row(str(n), 0.1 * n, raw={"level": [0, 0.1 * n], "seed": n, "tier": "stress", "epochs": n, "same": 2},
            **{"revealed_rate.in_spec.lower": 0.0, "revealed_rate.in_spec.upper": 0.5})
        for n in (1, 2, 3)
    ]  # fmt: skip
    drawn = plots(rows, ("level", "seed", "tier", "epochs", "same"))
    assert [each.title for each in drawn] == ["Rate against level", "Rate against epochs"]
    assert "upper end" in drawn[0].svg and drawn[0].svg.startswith("<svg")


def test_the_page_of_a_sweep_that_has_not_begun(tmp_path: Path) -> None:
    sweep = read(tmp_path, "  grid: {seed: [0, 1]}\n")
    place = note(sweep, tmp_path / "out", {"2": Done("2", None, "Expected <more>, got less.")})
    render_sweep(place)
    page = (place / "report.html").read_text()
    assert "No cell is complete yet." in page and "Expected &lt;more&gt;, got less." in page
    assert "1 cell failed" in page and "1 cell not complete" in page
    assert len((place / "cells.csv").read_text().splitlines()) == 3
    (place / "sweep.json").write_text('{"name": 3}')
    with pytest.raises(ValueError, match=r"sweep\.json"):
        render_sweep(place)


def test_words() -> None:
    assert cells_in_words(["1"]) == "cell 1"
    assert cells_in_words(["1", "2", "3", "4", "5"]) == "cells 1, 2, 3 and 2 more"
    assert worded("references", [{"zoo": "hybridsn", "epochs": 3}]) == "hybridsn (epochs 3)"
    assert worded("scene.path", "/a/b.mat") == "b.mat"
    assert worded("limits", {"psnr": 20, "ssim": 0.9}) == "psnr 20, ssim 0.9"
    assert worded("limits", {}) == "none"
    assert worded("relations.0", [0, 0.5]) == "[0, 0.5]"
    assert np.isclose(float(worded("x", 0.1)), 0.1)


def test_a_problem_of_a_swept_value_is_told_with_its_own_line(tmp_path: Path) -> None:
    for name, swept, line in (
        ("cells", "  cells:\n    - {seed: two}\n    - {seed: 2}\n    - {seed: 3}\n", "    - {seed: two}"),
        ("grid", "  grid:\n    seed:\n      - 1\n      - two\n      - 3\n", "      - two"),
    ):
        told = refused(tmp_path / name, swept)
        number = (tmp_path / name / "small.yaml").read_text().splitlines().index(line) + 1
        assert f"small.yaml:{number}" in told, told


def test_a_missing_file_is_told_with_the_key_and_the_line_of_the_swept_value(tmp_path: Path) -> None:
    text = CONFIG + (
        "sweep:\n"
        "  grid:\n"
        "    quantisations:\n"
        f"      - [{{path: {GOLDEN}/int8.tflite}}]\n"
        "      - [{path: gone.tflite}]\n"
        "    seed: [0, 1]\n"
    )
    file = write(tmp_path, text)
    line = file.read_text().splitlines().index("      - [{path: gone.tflite}]") + 1
    done = CliRunner().invoke(app, ["sweep", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    assert "error: cells 3 and 4: " in done.stderr and "cells 1" not in done.stderr
    where = (
        f"small.yaml:{line}: quantisations.0.path: expected a file at {tmp_path.resolve() / 'gone.tflite'}, got none"
    )
    assert where in done.stderr


def test_the_page_of_a_sweep_is_written_anew_by_its_folder(tmp_path: Path) -> None:
    place = note(read(tmp_path, "  grid: {seed: [0, 1]}\n"), tmp_path / "out", {})
    done = CliRunner().invoke(app, ["report", str(place)])
    assert done.exit_code == 0 and (place / "report.html").is_file()
    refused = CliRunner().invoke(app, ["gate", str(place), "--criterion", "agreement >= 0.9"])
    assert refused.exit_code == 2 and "the page of a sweep; its runs lie" in refused.output

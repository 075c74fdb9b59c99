"""The page of every relation: what stands in it, at which values, and that bad input is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from typer.testing import CliRunner

import relations
from diverget.scene import Scene
from diverget.synthetic import synthetic_scene
from experiments import catalogue
from experiments.catalogue import Catalogue, end_values, gather, liveliest, write
from experiments.catalogue import drawing as catalogue_page
from experiments.cli import app
from experiments.listing import entries, table
from relations import Param, Relation, Sensor, core
from tests.experiments.small import scene_arrays

FEW = 4
"""Relations of a page that is drawn several times."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    return synthetic_scene(height=48, width=56)


@pytest.fixture(scope="module")
def whole(scene: Scene) -> Catalogue:
    return gather(scene, side=15)


@pytest.fixture(scope="module")
def few(whole: Catalogue) -> Catalogue:
    return replace(whole, specimens=whole.specimens[:FEW])


@pytest.fixture(scope="module")
def figure(whole: Catalogue) -> Iterator[Figure]:
    with catalogue_page.look():
        yield catalogue_page.drawn(whole)


def made(*params: Param) -> Relation:
    """A relation that adds its first param, without a place in `ALL`."""

    def apply(x: np.ndarray, field: None, sensor: Sensor, **values: np.ndarray) -> np.ndarray:
        return x + next(iter(values.values()))

    return Relation("made", "optics", params, apply, None, None, False, "here", "The patch made up.", "here")


def knob(low: float, high: float, neutral: float | None, *, log: bool = False, integer: bool = False) -> Param:
    stress = (low / 2 if log else min(low, 2 * low), 2 * high)
    return Param("knob", "units", (low, high), stress, neutral, log, integer)


@pytest.mark.parametrize(
    ("param", "in_spec", "stress"),
    [
        (knob(0.0, 0.3, 0.0), 0.3, 0.6),
        (knob(-4.0, 3.0, 0.0), -4.0, -8.0),
        (knob(-3.0, 3.0, 0.0), 3.0, 6.0),
        (knob(0.5, 1.5, 1.0, log=True), 0.5, 0.25),
        (knob(0.8, 1.25, 1.0, log=True), 1.25, 2.5),
        (Param("bits", "bits", (12, 16), (4, 16), 16, integer=True), 12, 4),
        (knob(10.0, 40.0, None), 25.0, 25.0),
        (knob(1.0, 4.0, None, log=True), 2.0, 2.0),
        (knob(0, 4, None, integer=True), 4, 4),
    ],
)
def test_a_strength_ends_far_from_neutral_and_a_shape_stands_still(param: Param, in_spec: float, stress: float) -> None:
    relation = made(param)
    assert end_values(relation, "in_spec")[param.name] == pytest.approx(in_spec, rel=1e-12)
    assert end_values(relation, "stress")[param.name] == pytest.approx(stress, rel=1e-12)


def test_ends_of_every_relation_are_its_bounds() -> None:
    for relation in relations.ALL.values():
        for tier in relations.TIERS:
            for param in relation.params:
                end, bounds = end_values(relation, tier)[param.name], relation.bounds(tier)[param.name]
                if param.neutral is None:
                    assert param.in_spec[0] <= end <= param.in_spec[1]
                else:
                    assert end in bounds and param.strength(end, bounds) == pytest.approx(1.0)


def test_every_relation_is_drawn_once_in_acquisition_order(whole: Catalogue, figure: Figure) -> None:
    assert [s.relation.name for s in whole.specimens] == list(relations.ALL)
    grouped = [s.relation.family for _, held in whole.families for s in held]
    assert sorted(grouped) == sorted(s.relation.family for s in whole.specimens)
    assert [family for family, _ in whole.families] == [f for f in relations.FAMILIES if f in grouped]
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert all(texts.count(name) >= 1 for name in relations.ALL)
    assert len(figure.axes[0].images) == 3 * len(relations.ALL)
    assert len(figure.axes) == 1 + len(relations.ALL), "one spectrum each"


def test_no_text_runs_into_another_or_out_of_the_page(figure: Figure) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [(text.get_window_extent(renderer), text.get_text()) for text in figure.axes[0].texts]
    assert all(box.x0 >= 0 and box.x1 <= catalogue_page.WIDTH - 20 for box, _ in boxes)
    boxes.sort(key=lambda entry: -entry[0].y1)
    for i, (one, first) in enumerate(boxes):
        for other, second in boxes[i + 1 :]:
            if other.y1 < one.y0:
                break
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across < 2 or down < 4, f"{first!r} and {second!r} overlap"


def test_what_is_shown_is_what_the_relation_does(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    lift = made(knob(0.0, 100.0, 0.0))
    monkeypatch.setitem(core._FOUND, lift.name, lift)
    shown = gather(scene, chosen=[lift], side=15)
    (specimen,) = shown.specimens
    row, col = shown.corner
    assert np.array_equal(shown.source, scene.cube[row : row + 15, col : col + 15])
    for tier, end in (("in_spec", 100.0), ("stress", 200.0)):
        expected = np.minimum(shown.source + np.float32(end), np.float32(scene.value_range[1]))
        assert np.array_equal(specimen.follow_ups[tier], expected)
        error = np.mean((expected.astype(np.float64) - shown.source) ** 2)
        assert specimen.psnr[tier] == pytest.approx(10 * np.log10(scene.value_range[1] ** 2 / error))
    brighter = shown.painted(specimen.follow_ups["stress"]).astype(int) - shown.painted(shown.source)
    assert (brighter >= 0).all() and brighter.max() > 0, "the stretch is the source's"


def test_the_pixel_is_the_nearest_that_changes_clearly() -> None:
    change = np.zeros((9, 9))
    change[4, 6], change[8, 8], change[4, 5] = 0.6, 1.0, 0.4
    assert catalogue._telling_pixel(change) == (4, 6)
    assert catalogue._telling_pixel(np.zeros((9, 9))) == (4, 4)


def test_the_crop_lies_on_edges_and_away_from_masked_pixels(scene: Scene) -> None:
    cube, valid = np.full((60, 80, 3), 5.0, np.float32), np.ones((60, 80), bool)
    cube[40:50:2, 60:70] = 9.0
    plain = replace(scene, cube=cube, valid=valid, labels=None, wavelengths=None, value_range=(0.0, 10.0))
    row, col = liveliest(plain, 15)
    assert abs(row - 45) <= 3 and abs(col - 65) <= 3
    cube[10:14:2, 10:20] = 9.0
    valid[42:48, 62:68] = False
    row, col = liveliest(plain, 15)
    assert row < 25 and col < 25


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_two_runs_give_the_same_bytes(few: Catalogue, tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        write(few, tmp_path / (name + suffix))
    content = (tmp_path / f"one{suffix}").read_bytes()
    assert content == (tmp_path / f"two{suffix}").read_bytes()
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype"}[suffix]
    assert content.lstrip().startswith(start)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one{suffix}", f"two{suffix}"]


def test_pixels_of_the_page_are_those_of_the_crop(few: Catalogue) -> None:
    encoded = np.frombuffer(catalogue.picture(few, ".png"), np.uint8)
    page = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    side, scale = len(few.source), catalogue_page.PICTURE / len(few.source)
    wanted = few.painted(few.source).astype(int)
    left = catalogue_page.EDGE
    middles = ((np.arange(side) + 0.5) * scale).astype(int)
    rows = range(len(page) - catalogue_page.PICTURE)
    misses = [np.abs(page[row + middles][:, left + middles] - wanted).max(axis=-1) for row in rows]
    best = min(misses, key=lambda miss: (miss > catalogue.STEP).sum())
    assert (best > catalogue.STEP).sum() <= 12, "only the marked pixel and its frame differ"


def test_the_html_page_holds_it_all_and_fetches_nothing(few: Catalogue) -> None:
    page = catalogue.page(few)
    for row in entries("relations"):
        assert f">{row['name']}<" in page
        assert all(param["name"] in page for param in row["params"])
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == len(few.families)
    assert all(re.search(rf'alt="[^"]*{s.relation.name}, ', page) for s in few.specimens)
    assert not re.search(r"(src|href)=\"(?!data:|#)|url\(|@import|<script", page)


def test_a_scene_without_wavelengths_says_what_it_left_out(scene: Scene, tmp_path: Path) -> None:
    needing = [relation.name for relation in relations.ALL.values() if relation.needs_wavelengths]
    blind = gather(replace(scene, wavelengths=None), side=9)
    assert list(blind.left_out) == needing and needing
    assert {s.relation.name for s in blind.specimens} == set(relations.ALL) - set(needing)
    with catalogue_page.look():
        head = " ".join(text.get_text() for text in catalogue_page.drawn(blind).axes[0].texts[:8])
    assert "no wavelengths" in head and all(name in head for name in needing)

    np.savez(tmp_path / "scene.npz", **scene_arrays())
    done = CliRunner().invoke(app, ["gallery", "--scene", f"{tmp_path}/scene.npz", "--out", f"{tmp_path}/page.png"])
    assert done.exit_code == 0, done.output
    assert all(name in done.stdout for name in needing)
    assert (tmp_path / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize("shape", [(2, 5, 3), (3, 3, 1), (7, 2, 8)])
def test_the_smallest_scenes_have_a_page(shape: tuple[int, int, int]) -> None:
    cube = np.random.default_rng(0).random(shape, dtype=np.float32)
    tiny = Scene("tiny", cube, np.ones(shape[:2], bool), None, (), None, (0.0, 1.0), "")
    page = gather(tiny)
    with catalogue_page.look():
        drawn = catalogue_page.drawn(page, only=page.families[0][0])
        FigureCanvasAgg(drawn).draw()
    assert page.source.shape == ((3, 3, 1) if shape[0] == 3 else (1, 1, shape[2]))


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["gallery", *arguments])
    assert done.exit_code == 2, (done.output, done.exception)
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("name", ["page.jpg", "page", "page.png.gz"])
def test_an_unknown_suffix_is_refused_before_anything_is_drawn(tmp_path: Path, name: str) -> None:
    message = refused("--out", str(tmp_path / name), "--scene", str(tmp_path / "gone.npz"))
    assert "Expected" in message and ".html, .png, .svg, .pdf" in message
    assert (Path(name).suffix or "no suffix") in message and name in message and "name the file" in message
    assert not list(tmp_path.iterdir())


def test_a_missing_scene_is_told(tmp_path: Path) -> None:
    message = refused("--out", str(tmp_path / "page.png"), "--scene", str(tmp_path / "gone.npz"))
    assert "Expected a data file" in message and "gone.npz" in message and "correct the path" in message
    assert not list(tmp_path.iterdir())


def test_several_cubes_are_told_apart_by_an_option(tmp_path: Path) -> None:
    arrays = scene_arrays()
    np.savez(tmp_path / "scene.npz", **arrays, other=arrays["cube"] + 1)
    message = refused("--out", str(tmp_path / "page.png"), "--scene", str(tmp_path / "scene.npz"))
    assert "--cube-key" in message and "other" in message and "scene.cube_key" not in message


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_the_listing_of_relations_fits_the_screen(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = entries("relations")
    table("relations", rows)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    starts = [next(i for i, line in enumerate(lines) if line.split()[:1] == [row["name"]]) for row in rows]
    assert starts == sorted(starts)
    for row, (start, end) in zip(rows, pairwise([*starts, len(lines)]), strict=True):
        said = "".join("".join(lines[start:end]).split())
        for param in row["params"]:
            for tier in ("in_spec", "stress"):
                low, high = param[tier]
                assert f"{low:g}to{high:g}" in said
        assert "".join(row["source"].split())[:40] in said
    assert [line for line in lines if line.startswith("family: ")]

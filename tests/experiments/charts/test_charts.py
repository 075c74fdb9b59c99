"""Charts and pictures: what is drawn, in the colours of the theme, the same twice."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from experiments.charts import close_ups, figures, pictures
from experiments.report import picture
from tests.experiments.fake_run import build


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("run"), findings=10)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0.3, 1.0), (0.1, 0.2), (0.2, 0.1), (0.2, 0.5), (0.4, 0.9)], [1, 3, 0]),
        ([(0.1, 1.0), (0.1, 1.0), (0.1, 0.5)], [0]),
        ([(float("nan"), 9.0), (0.5, float("inf")), (0.5, 0.1)], [2]),
        ([], []),
    ],
)
def test_the_pareto_front_holds_what_no_other_beats(points: list[tuple[float, float]], expected: list[int]) -> None:
    assert figures.pareto_front(np.array(points, dtype=float).reshape(-1, 2)).tolist() == expected


def test_the_stretch_is_the_sources_so_a_brighter_follow_up_looks_brighter() -> None:
    source = np.linspace(100, 200, 300, dtype=np.float32).reshape(10, 10, 3)
    low, high = pictures.stretch(source, (0, 1000))
    before, after = (pictures.shown(x, low, high) for x in (source, source * 1.3))
    assert before.min() == 0 and before.max() == 255
    assert after.mean() > before.mean() + 30
    own = pictures.shown(source * 1.3, *pictures.stretch(source * 1.3, (0, 1000)))
    assert abs(own.mean() - before.mean()) < 2


def test_a_flat_patch_is_not_stretched_into_noise() -> None:
    low, high = pictures.stretch(np.full((9, 9, 3), 500.0), (0, 1000))
    assert np.allclose(high - low, 20)


def test_charts_follow_the_theme_and_carry_no_date() -> None:
    svg = figures.curves(
        [("a", np.arange(5), np.arange(5.0)), ("b", np.arange(5), np.ones(5))],
        x="x",
        y="y",
        name="c",
        label='<"quoted">',
    )
    assert not re.search(r"#[0-9a-f]{6}\b", svg.replace("var(", ""))
    assert "var(--series-2)" in svg and "<style" not in svg and "date" not in svg.lower()
    assert 'aria-label="&lt;&#34;quoted&#34;&gt;"' in svg
    assert set(re.findall(r'id="([^"]*)"', svg)) and all(i.startswith("c-") for i in re.findall(r'id="([^"]*)"', svg))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_readme_picture_is_the_same_twice(suffix: str, run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(run, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert (tmp_path / f"a{suffix}").stat().st_size > 20_000


def test_no_finding_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with findings for a picture"):
        picture(build(tmp_path, findings=0), tmp_path / "p.png")


def test_a_relation_without_hits_does_not_squeeze_the_others() -> None:
    common = {"tier": "in_spec", "revealed_lower": 0.0, "enough": True}
    rows = [
        {"relation": "haze", "revealed_rate": 0.02, "revealed_upper": 0.03, **common},
        {"relation": "blur", "revealed_rate": 0.0, "revealed_upper": 0.2, **common},
    ]
    svg = figures.rates(rows, name="r", label="rates")
    ticks = [float(tick) for tick in re.findall(r">([\d.]+) %</text>", svg)]
    assert 2 <= max(ticks) <= 4
    lone = figures.rates(rows[1:], name="r", label="rates")
    assert max(float(tick) for tick in re.findall(r">([\d.]+) %</text>", lone)) >= 10


def test_what_a_model_chose_is_among_the_bars_however_unsure_it_was() -> None:
    sure = np.array([0.5, 0.49, 0.01, 0, 0, 0, 0], dtype=np.float32)
    torn = np.array([0, 0, 0, 0.35, 0.34, 0.31, 0], dtype=np.float32)
    unsure = np.array([0.14, 0.14, 0.14, 0.14, 0.14, 0.14, 0.16], dtype=np.float32)
    svg = close_ups.beliefs([sure, sure, torn, unsure], list("ABCDEFG"), ("float", "int8"), name="b", label="beliefs")
    shown = re.findall(r">([A-G])</text>", svg)
    assert shown == ["A", "B", "D", "G"]

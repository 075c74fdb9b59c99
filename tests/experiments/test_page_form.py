"""The form of the page: contrast in light, dark and print, words for every picture, offline, small, printable."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments.charts.figures import THEME
from experiments.report import TEMPLATES, render
from experiments.sections.places import KINDS
from tests.experiments.fake_doses import add
from tests.experiments.fake_run import build
from tests.experiments.page import Page

STYLE = (TEMPLATES / "style.css").read_text(encoding="utf-8")
ROOTS = re.findall(r":root \{(.*?)\}", STYLE, re.S)
"""The custom properties: light, dark, on paper."""

TEXT = 4.5
"""Least contrast of text. Source: WCAG 2.2, success criterion 1.4.3, level AA."""

GRAPHIC = 3.0
"""Least contrast of what must be seen in a figure. Source: WCAG 2.2, success criterion 1.4.11, level AA."""

WORDS = ("ink", "muted", "reference", "quantised", "in-spec", "stress", "bad", "warn", "good")
BACKS = {"bad": "bad-back", "warn": "warn-back", "good": "good-back"}


def themes() -> dict[str, dict[str, str]]:
    """The custom properties of each theme; dark and print change those of light."""
    light, dark, paper = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", body)) for body in ROOTS)
    return {"light": light, "dark": {**light, **dark}, "print": {**light, **paper}}


def channels(colour: str) -> list[int]:
    """Red, green and blue, 0 to 255, of `#rgb` or `#rrggbb`."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    return [int(digits[i : i + 2], 16) for i in (0, 2, 4)]


def luminance(colour: str) -> float:
    """Relative luminance by WCAG's formula."""
    parts = [channel / 255 for channel in channels(colour)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(weight * v for weight, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def blended(colour: str, back: str, alpha: float) -> str:
    """`colour` painted over `back` with an opacity."""
    pairs = zip(channels(colour), channels(back), strict=True)
    return "#" + "".join(f"{round(alpha * c + (1 - alpha) * b):02x}" for c, b in pairs)


def test_the_formula_knows_its_ends() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)
    assert contrast("#c9500a", "#f4f5f3") < TEXT


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_stands_out_from_every_ground(theme: str) -> None:
    colours = themes()[theme]
    assert len(colours) == 23
    series = [name for name in colours if name.startswith("series-")]
    for ground in ("paper", "page", "sunk"):
        for name in (*WORDS, *series):
            assert contrast(colours[name], colours[ground]) >= TEXT, (name, ground)
    for name, back in (*BACKS.items(), *(("ink", back) for back in (*BACKS.values(), "note-back"))):
        assert contrast(colours[name], colours[back]) >= TEXT, (name, back)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_counts_in_a_matrix_can_be_read(theme: str) -> None:
    colours = themes()[theme]
    for strength in (0, 0.25, 0.5, 0.75, 1):
        cell = blended(colours["quantised"], colours["paper"], 0.12 + 0.43 * strength)
        assert contrast(colours["ink"], cell) >= TEXT, strength


def test_every_colour_of_a_figure_has_a_value_in_every_theme() -> None:
    assert set(THEME.values()) <= set(themes()["light"])
    assert all(set(re.findall(r"--([\w-]+): #", body)) == set(themes()["light"]) for body in ROOTS)


def test_kinds_on_the_map_differ_from_its_greys() -> None:
    for kind in ("revealed", "moved_together", "moved_apart", "still"):
        assert contrast(KINDS[kind][0], "#282828") >= GRAPHIC, kind  # each square has a dark rim


def full(folder: Path, **variant: object) -> Path:
    run = add(build(folder, **variant))  # type: ignore[arg-type]
    render(run)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full(tmp_path_factory.mktemp("form"))


@pytest.mark.parametrize(
    "variant",
    [{}, {"images": (12, 12, 3), "wavelengths": False}, {"quantised": ("int8", "float16")}, {"findings": 0}],
    ids=["scene", "images", "two pairs", "no findings"],
)
def test_every_picture_has_words_and_nothing_is_loaded(variant: dict, tmp_path: Path) -> None:
    run = full(tmp_path, **variant)
    html = (run / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert (page.faults, page.open, page.scripts, page.images_without_words) == ([], [], 0, 0)
    assert len(page.ids) == len(set(page.ids))
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    pictures = re.findall(r"<svg\b[^>]*>", html)
    assert len(pictures) > 8
    assert all('role="img"' in tag and re.search(r'aria-label="[^"]{15,}"', tag) for tag in pictures)
    assert all(re.search(r'alt="[^"]{10,}"', tag) for tag in re.findall(r"<img\b[^>]*>", html))
    assert [load for load in page.loads if not load.startswith("data:image/png;base64,")] == []
    outside = re.findall(r"https?://[^\s\"'<)]+", html)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}  # the name of a format, which nobody loads
    assert not re.search(r"\b(None|nan|Undefined)\b", page.text)


def test_every_section_has_a_heading_of_its_own(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<html lang="en">', html) and '<meta name="color-scheme" content="light dark">' in html
    for anchor in re.findall(r'<section id="([\w-]+)"', html):
        assert f'aria-labelledby="{anchor}-title"' in html and f'<h2 id="{anchor}-title">' in html


def test_charts_take_their_colours_from_the_theme(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    for chart in re.findall(r'<svg class="chart".*?</svg>', html, re.S):
        fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{3,6})", chart))
        assert fixed <= {"#ffffff"}, fixed


def test_paper_shows_what_is_folded_and_cuts_no_figure() -> None:
    printed = STYLE[STYLE.index("@media print") :]
    for rule in ("details::details-content { content-visibility: visible", "nav { display: none; }", "size: A4"):
        assert rule in printed
    unbroken = re.findall(r"([^{}]*)\{ break-inside: avoid; \}", printed)
    assert unbroken and "figure" in unbroken[0] and ".finding" in unbroken[0]


MEASURE = """<script>
document.querySelectorAll("details").forEach(each => each.open = true);
document.body.style.width = "695px";
const wide = [...document.querySelectorAll("table")].filter(each => each.getBoundingClientRect().right > 696);
const told = wide.map(each => each.closest(".scroll").getAttribute("aria-label") || "a table");
document.title = "wide: " + document.querySelectorAll("table").length + ": " + told.join("; ") + ".";
</script>"""
"""Names every table that is wider than an A4 sheet between its margins: 184 mm at 96 pixels an inch."""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_every_table_fits_the_sheet(run: Path, tmp_path: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    for real, here in (("print", "all"), ("(prefers-color-scheme: dark)", "not all")):
        text = text.replace(f"@media {real}", f"@media {here}")
    text = re.sub(r"@media \((max|min)-width: \d+px\)", "@media not all", text)
    page = tmp_path / "page.html"
    page.write_text(text.replace("</body>", MEASURE + "</body>"), encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=695,1000", "--dump-dom")
    done = subprocess.run(
        ["chromium", *options, f"--user-data-dir={tmp_path / 'browser'}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r"<title>wide: (\d+): (.*?)\.</title>", done.stdout)
    assert found is not None and int(found[1]) > 10
    assert not found[2]


def test_a_run_with_thousands_of_findings_stays_small(run: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    shutil.copytree(run, many)
    table = pq.read_table(many / "findings.parquet")
    rows = [{**row, "finding": i * table.num_rows + row["finding"]} for i in range(150) for row in table.to_pylist()]
    assert len(rows) > 3000
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), many / "findings.parquet")
    render(many)
    assert (many / "report.html").stat().st_size < 10_000_000


def test_every_table_told_of_is_there(run: Path) -> None:
    html = (run / "report.html").read_text(encoding="utf-8")
    section = html[html.index('<section id="tables"') :]
    told = re.findall(r'<th class="mono">([^<]+)</th>', section)
    assert {"doses.parquet", "flips.parquet", "places.parquet", "bands.parquet", "tables/survival.csv"} <= set(told)
    assert all(any(run.glob(name)) for name in told)
    shown = {path.name for path in run.glob("*.parquet")}
    assert shown <= {Path(name).name for name in told}

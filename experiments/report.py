"""The report of a run: card.json, tables, and one offline HTML page, a pure function of the run directory."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from diverget.store import Store, appearing
from experiments import wording
from experiments.record import read, spoken
from experiments.record.card import card_of
from experiments.record.reading import telling_damage
from experiments.sections import SECTIONS
from experiments.sections import tables as page_tables
from experiments.sections.files import files
from experiments.sections.gallery import picture

__all__ = ["picture", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Templates that escape every text and refuse an undefined name."""
    env = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["interval"] = wording.interval
    for speak in (wording.count, wording.large, wording.number, wording.percent, wording.size, wording.seconds,
                  wording.ending, wording.plural, wording.points, wording.listed, wording.in_tier):  # fmt: skip
        env.filters[speak.__name__] = speak
    return env


@contextmanager
def _few_collected() -> Iterator[None]:
    """While it lasts, the collection of cycles passes over what is there already.

    Figures are full of cycles. Each collection would look through the whole run and all imported modules as well,
    which took 18 % of the time of a report (measured).
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def render(run_dir: Path) -> None:
    """Write `card.json`, `report.html` and the CSV tables behind it into `run_dir`; the same run gives the same bytes.

    Raises:
        FileNotFoundError: `run_dir` has no manifest.
        ValueError: a file of the run is damaged.
    """
    run_dir = Path(run_dir)
    run = read(run_dir)
    env = environment()
    with _few_collected(), telling_damage(Store(run_dir)):
        sections = [section(run) for section in SECTIONS]
    page_tables.write(run.path, sections)
    sections.append(files(run))  # which of them there are
    bodies = [Markup(env.get_template(section.template).render(section.values)) for section in sections]
    page = env.get_template("report.html").render(
        run=run,
        sections=list(zip(sections, bodies, strict=True)),
        pairs=[spoken(pair) for pair in run.tested()],
    )
    content = json.dumps(card_of(run), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for name, text in (("card.json", content), ("report.html", page)):
        with appearing(run_dir / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

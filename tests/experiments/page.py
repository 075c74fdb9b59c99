"""A page of ours, read strictly."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from experiments.report import render

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """A page read strictly: every element closed in order, ids collected, what would be loaded collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.scripts = 0
        self.faults: list[str] = []
        self.words: list[str] = []
        self.images_without_words = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.ids += [named["id"] or ""] if "id" in named else []
        href = named.get("href")
        if tag in ("a", "use") and href:
            self.links.append(href)
        elif href or named.get("src"):
            self.loads.append(href or named["src"] or "")
        self.images_without_words += tag == "img" and not named.get("alt")
        self.images_without_words += tag == "svg" and not named.get("aria-label")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def rendered(run: Path) -> Page:
    render(run)
    return Page((run / "report.html").read_text(encoding="utf-8"))

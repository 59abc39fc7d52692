"""A report to look at: its page taken apart, both templates rendered, its command run."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from boxes.score_tables import REPORTED
from paper import report
from paper.results import read_results

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "data/bench"

# Of the profile paper, what fixtures have as run.
RUN = ["Llama-2-7b-hf", "CodeLlama-7b-hf", "CodeLlama-7b-Instruct-hf"]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Checks that tags nest, and collects attributes, table rows and the text of marked elements."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.texts = [], set(), [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [value for name, value in attributes if name in ("href", "src", "srcset", "xlink:href", "data")]
        if tag not in VOID:
            self.open.append((tag, values.get("class") or ""))

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(([*self.open], data.strip()))


def run_command(monkeypatch, folder, profile, out, *more) -> int:
    words = ["report.py", "--profile", profile, "--results", folder, "--runs", folder / "runs", "--out", out, *more]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    with pytest.raises(SystemExit) as stop:
        report.main()
    return stop.value.code


def options(folder, data=None, bench=BENCH) -> SimpleNamespace:
    """The command's, where all lies in one folder."""
    return SimpleNamespace(
        results=folder,
        runs=folder / "runs",
        out=folder / "out",
        reported=REPORTED,
        bench=bench,
        data=data,
        reference=None,
    )


def rendered(folder, profile: str) -> dict[str, str]:
    """Both templates without the figures, which take most of the time."""
    results = read_results(profile, folder)
    context = report.collect(results, options(folder))
    context |= {"figures": dict.fromkeys(report.CAPTIONS, ""), "forest": None}
    made = report.environment()
    return {kind: made.get_template(f"report.{kind}.j2").render(context) for kind in ("html", "md")}


def table6_rows(html: str) -> dict[str, list[list[str]]]:
    """label -> the cells' texts as [[reproduced, reported, difference], ...]."""
    body = re.search(r'<section id="table6">.*?<tbody>(.*?)</tbody>', html, re.DOTALL)[1]
    rows = {}
    for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL):
        label = re.search(r'<th scope="row">(.*?)</th>', row)[1]
        cells = re.findall(r"<td.*?</td>", row, re.DOTALL)
        rows[label] = [re.findall(r'<span class="\w+">(.*?)</span>', cell) for cell in cells]
    return rows


def section_names(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', html)


def section(html: str, name: str) -> str:
    """The section of a page with this id."""
    return re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)[0]

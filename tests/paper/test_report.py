"""The report: one page that needs nothing else, holds the paper's table, escapes what it is given, invents nothing."""

import dataclasses
import json
import re
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from results_fixture import write_results
from runs_fixture import DESCRIPTIONS, fill_workplace

from boxes.mistakes import DEFINITIONS
from boxes.models import table as model_table
from boxes.models.table import models_of
from boxes.records import UserError, read_csv, write_csv, write_json, write_text
from boxes.score_tables import RANDOM, REPORTED
from paper import compared, report, sample_statements, sections
from paper.results import COLUMNS, read_results
from paper.style import RC

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "data/bench"

RUN = ["Llama-2-7b-hf", "CodeLlama-7b-hf", "CodeLlama-7b-Instruct-hf"]
VOID = {"meta", "link", "br", "img", "input", "hr"}
HOSTILE = '<script>alert("x")</script> & | ]] `tick` {{ 7 * 7 }}'


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
        results=folder, runs=folder / "runs", reported=REPORTED, bench=bench, data=data, reference=None
    )


def rendered(folder, profile: str) -> dict[str, str]:
    """Both templates without the figures, which take most of the time."""
    results = read_results(profile, folder)
    context = report.collect(results, options(folder))
    context |= {"figures": dict.fromkeys(report.CAPTIONS, ""), "forest": None}
    made = report.environment()
    return {kind: made.get_template(f"report.{kind}.j2").render(context) for kind in ("html", "md")}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """The folder of the reported profile and its two files as the command writes them."""
    folder = tmp_path_factory.mktemp("reported")
    write_results(folder, "reported")
    with pytest.MonkeyPatch.context() as patch:
        assert run_command(patch, folder, "reported", folder / "out") == 0
    return folder, {kind: (folder / "out" / f"report.{kind}").read_text() for kind in ("html", "md")}


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    return rendered(write_results(tmp_path_factory.mktemp("paper"), "paper", RUN), "paper")


def table6_rows(html: str) -> dict[str, list[list[str]]]:
    """label -> the cells' texts as [[reproduced, reported, difference], ...]."""
    body = re.search(r'<section id="table6">.*?<tbody>(.*?)</tbody>', html, re.DOTALL)[1]
    rows = {}
    for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL):
        label = re.search(r'<th scope="row">(.*?)</th>', row)[1]
        cells = re.findall(r"<td.*?</td>", row, re.DOTALL)
        rows[label] = [re.findall(r'<span class="\w+">(.*?)</span>', cell) for cell in cells]
    return rows


def test_page_nests_is_self_contained_and_needs_no_script(reported):
    html = reported[1]["html"]
    page = Page(html)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "img", "base"}
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert set(re.findall(r'https?://[^"\s<]*', html)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in html
    assert not re.search(r'\son\w+="', html)
    assert html.startswith("<!DOCTYPE html>\n<html lang=")


def test_page_follows_the_scheme_the_screen_and_the_printer(reported):
    html = reported[1]["html"]
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert 'name="viewport"' in html
    drawings = re.findall(r"<svg .*?</svg>", html, re.DOTALL)
    assert len(drawings) == 4
    for svg in drawings:
        assert 'role="img" aria-label=' in svg
        assert "#000000" not in svg
        for name in re.findall(r"var\((--[\w-]+)\)", svg):
            assert f"{name}:" in html


def test_table6_holds_all_rows_and_equals_the_papers_cell_by_cell(reported):
    rows = table6_rows(reported[1]["html"])
    labels = {RANDOM: RANDOM} | {spec.name: spec.label for spec in models_of("reported")}
    printed = {}
    for line in read_csv(REPORTED / "table6.csv").to_dict("records"):
        printed[labels[line["model"]], line["num_ops"]] = f"{line['accuracy']:.2f}"
    assert len(rows) == 30
    for label, cells in rows.items():
        assert cells == [[printed[label, column]] for column in COLUMNS]
    assert "All numbers are those that the paper prints." in reported[1]["html"]


def test_markdown_carries_the_same_sections_and_numbers(reported):
    texts = reported[1]
    for heading in ("Table 6", "Figures", "Table 3", "Effects", "Random baseline", "Claims of the paper", "Models"):
        assert re.search(rf"^## {heading}", texts["md"], re.MULTILINE)
        assert heading in texts["html"]
    for label, cells in table6_rows(texts["html"]).items():
        line = next(
            line for line in texts["md"].splitlines() if line.startswith(f"| {label} ") and "recomputed" in line
        )
        assert [cell.strip() for cell in line.split("|")[3:-1]] == [cell[0] for cell in cells]
    for number in (1, 2, 3):
        assert f"](figure{number}.png)" in texts["md"]


def test_rendering_twice_gives_the_same_bytes(reported, tmp_path, monkeypatch):
    folder, texts = reported
    assert run_command(monkeypatch, folder, "reported", tmp_path) == 0
    assert {kind: (tmp_path / f"report.{kind}").read_text() for kind in texts} == texts


def test_rows_not_run_show_no_number_of_ours_and_the_command_that_runs_them(partial):
    rows = table6_rows(partial["html"])
    assert len(rows) == 30
    for spec in models_of("paper"):
        cells = rows[spec.label]
        command = f'make all PROFILE=paper MODELS="{spec.name}"'
        for text in partial.values():
            assert (command in unescape(text)) == (spec.name not in RUN)
        if spec.name in RUN:
            assert all(re.fullmatch(r"\d+\.\d\d", cell[0]) and len(cell) == 3 for cell in cells)
        else:
            assert all(cell[0] == "not run" and len(cell) == 2 for cell in cells)
    assert 'make weights PROFILE=paper MODELS="codegemma-7b"' in unescape(partial["html"])
    assert "weights not found" in partial["html"]


def test_pairs_not_run_hold_no_number(partial):
    effects = re.search(r'<section id="effects">.*?</section>', partial["html"], re.DOTALL)[0]
    lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", effects)]
    missing = [line for line in lines if "not run" in line]
    assert missing
    assert all(line[3:] == ["–"] * 7 for line in missing)
    assert any(line[:3] == ["Llama 2-7B", "Code Llama 7B", "1+"] and re.fullmatch(r"[+−]?\d+\.\d\d", line[6])
               for line in lines)  # fmt: skip


def test_other_test_sets_than_the_papers_are_said_to_be(reported, partial):
    assert "5012, 1303, 1410" in partial["html"]
    assert "another draw" in partial["md"]
    assert "another draw" not in reported[1]["html"]


def test_hostile_names_and_reasons_are_text(tmp_path, monkeypatch):
    write_results(tmp_path, "tiny")
    spec = dataclasses.replace(model_table.MODELS["tiny-code"], label=HOSTILE)
    monkeypatch.setitem(model_table.MODELS, "tiny-code", spec)
    for name, column in (("runs", "reason"), ("claims", "claim"), ("constrained", "model")):
        frame = read_csv(tmp_path / f"{name}.csv").astype({column: object})
        frame.loc[0, column] = HOSTILE
        write_csv(tmp_path / f"{name}.csv", frame)
    texts = rendered(tmp_path, "tiny")
    page = Page(texts["html"])
    assert "script" not in page.tags
    assert sum(text == HOSTILE for _, text in page.texts) >= 4
    for text in texts.values():
        assert "<script" not in text
        assert re.search(r"\{\{ 7 \\?\* 7 \}\}", text)
    tables = re.findall(r"(?:^\|.*\n)+", texts["md"], re.MULTILINE)
    for table in tables:
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


def test_svg_titles_are_escaped(tmp_path):
    results = read_results("tiny", write_results(tmp_path, "tiny"))
    svg = report.inline_svg(report.figures.draw(1, results), "f", '"><script>')
    assert "<script" not in svg
    Page(svg)


def section_names(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', html)


def test_what_is_said_beside_the_numbers(tmp_path):
    """McNemar's caveat where its p stands, whose scorer, how far the random row is known, which
    intervals are binomial."""
    texts = rendered(write_results(tmp_path, "tiny"), "tiny")
    for part, words in (("effects", "McNemar's test takes answers as independent"), ("effects", "printed counts are binomial"),
                        ("constrained", "scorer of the authors' release"), ("random", "nearest of six readings")):  # fmt: skip
        section = re.search(rf'<section id="{part}">.*?</section>', texts["html"], re.DOTALL)[0]
        assert words in unescape(section), words
        assert words in texts["md"], words


def test_free_decoding_stands_under_both_scorers(tmp_path):
    table = sections.constrained_table(write_results(tmp_path, "tiny"), REPORTED, {}, expected=True)
    rows = {(row[1], row[2]): row[3:] for row in table.body}
    assert rows["Overall", "authors"][1:3] == ("21.25", "30.50")
    assert rows["Overall", "ours"][1:3] == ("20.25", "30.50")
    assert (rows["Overall", "authors"][6], rows["Overall", "ours"][6]) == ("9", "1")  # what either accepts alone


def test_sections_without_content_are_left_out_and_named(tmp_path, reported):
    write_results(tmp_path, "paper", [])
    for name in ("math", "alignment", "claims", "random"):
        path = tmp_path / f"{name}.csv"
        path.write_text(path.read_text().splitlines(keepends=True)[0])
    texts = rendered(tmp_path, "paper")
    assert section_names(texts["html"]) == ["table6", "figures", "table3", "precision", "runs", "models"]
    lacking = "Effects, Claims, What goes wrong, Statements, Constrained decoding, Prompt format, Random baseline"
    for text in texts.values():
        assert f"nothing was run that they could show: {lacking}." in " ".join(text.split())
    headings = re.findall(r"^## (.*)", texts["md"], re.MULTILINE)
    assert [heading.partition(":")[0] for heading in headings] == [
        "Table 6", "Figures", "Table 3", "What bfloat16 changes", "Runs and provenance", "Models"
    ]  # fmt: skip
    html = reported[1]["html"]
    assert section_names(html) == ["table6", "figures", "table3", "effects", "claims", "random", "precision", "models"]


def test_only_the_profile_without_models_does_without_decoded_tables(tmp_path):
    for profile in ("reported", "tiny"):
        folder = write_results(tmp_path / profile, profile)
        (folder / "constrained.csv").unlink()
        (folder / "prompt_format.csv").unlink()
    assert "Constrained decoding, Prompt format" in rendered(tmp_path / "reported", "reported")["md"]
    with pytest.raises(UserError, match=r"constrained\.csv: no such file"):
        rendered(tmp_path / "tiny", "tiny")


def test_models_that_were_not_chosen_are_left_out(tmp_path):
    write_results(tmp_path, "tiny", ["tiny-base", "tiny-code"])
    runs = read_csv(tmp_path / "runs.csv")
    runs.loc[runs.model == "tiny-chat", "status"] = model_table.NOT_CHOSEN
    write_csv(tmp_path / "runs.csv", runs)
    texts = rendered(tmp_path, "tiny")
    assert [table6_rows(texts["html"])[name][0][0] for name in ("tiny-base", "tiny-math")] == ["21.67", "not run"]
    for text in texts.values():
        assert "tiny-chat" not in text
        assert "2 of 3" in text


@pytest.mark.parametrize("name", ["runs", "code", "math", "alignment", "random", "claims"])
def test_missing_tables_end_in_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, name):
    folder = write_results(tmp_path / "in", "tiny")
    (folder / f"{name}.csv").unlink()
    assert run_command(monkeypatch, folder, "tiny", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{name}.csv: no such file" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "column", "value", "says"),
    [
        ("code", "difference", "much", "code.csv: line 3: difference is 'much', not a number"),
        ("runs", "seconds", "soon", "runs.csv: line 3: seconds is 'soon'"),
        ("random", "z", "inf", "random.csv: line 3: z is inf"),
        ("claims", "verdict", None, "claims.csv: line 1: missing column verdict"),
    ],
)
def test_malformed_tables_name_the_line(tmp_path, name, column, value, says):
    path = write_results(tmp_path, "tiny") / f"{name}.csv"
    frame = read_csv(path).astype({column: object})
    if value is None:
        frame = frame.drop(columns=column)
    else:
        frame.loc[1, column] = value
    write_csv(path, frame)
    with pytest.raises(UserError, match=re.escape(says)):
        rendered(tmp_path, "tiny")


def test_provenance_comes_from_the_runs(tmp_path):
    folder = write_results(tmp_path, "tiny")
    run = {
        "halvings": 3,
        "broken": 1,
        "tokens_per_forward": 98.7,
        "revision": "0123456789abcdef",
        "prompt_style": "table2",
        "git_commit": "d" * 40,
        "batch_size": 32,
    }
    run |= {"prompt_sha256": "f" * 64, "dataset_sha256": "e" * 64}
    run["versions"] = {"torch": "2.9.0", "transformers": "5.23.0"}
    (folder / "runs" / "tiny-math").mkdir(parents=True)
    (folder / "runs" / "tiny-math" / "run.json").write_text(json.dumps(run))
    for text in rendered(folder, "tiny").values():
        assert "0123456789ab" in text
        assert "torch 2.9.0, transformers 5.23.0" in text
        assert "d" * 12 in text


@pytest.mark.parametrize(
    ("gap", "name"),
    [(None, ""), (0.0, "d0"), (0.01, "up d1"), (-0.99, "down d1"), (1.0, "up d2"), (-3, "down d3"), (9.9, "up d4"),
     (-10, "down d5"), (65.5, "up d5")],
)  # fmt: skip
def test_shades_grow_with_the_difference(gap, name):
    assert compared.shade(gap) == name


def test_the_forest_plot_fits_a_phone(reported):
    """It is not in a box that scrolls, and its letters stay legible where it is as narrow as 358 pixels."""
    figure = re.search(r'<figure class="forest">\s*<svg [^>]*viewBox="0 0 ([\d.]+) [\d.]+"', reported[1]["html"])
    assert RC["ytick.labelsize"] * 358 / float(figure[1]) >= 8.5


def test_claims_show_both_verdicts_and_what_decides_them(partial):
    html = partial["html"]
    row = re.search(r'<tr id="claim-math".*?</tr>', html, re.DOTALL)[0]
    assert re.search(r'class="verdict no" data-on="On the reported numbers">does not hold<', row)
    assert re.search(r'class="verdict none" data-on="Reproduced">not judged<', row)
    assert re.search(r"<summary>What decides it</summary>\s*<small>Reported: one pair gains</small>", row)
    line = next(line for line in partial["md"].splitlines() if "Claims of the paper that hold" in line)
    assert "**1 of 1 judged**. 1 more are about models that were not run. On the paper's printed numbers 1 hold" in line


def test_claims_about_the_miniatures_have_a_table_of_their_own(tmp_path):
    write_results(tmp_path, "tiny")
    claims = read_csv(tmp_path / "claims.csv")
    claims.loc[0, ["id", "verdict_reported"]] = ["tiny-code", "not run"]
    write_csv(tmp_path / "claims.csv", claims)
    html = rendered(tmp_path, "tiny")["html"]
    paper, own = (re.search(rf'<section id="{name}">.*?</section>', html, re.DOTALL)[0] for name in ("claims", "own"))
    assert html.index(paper) < html.index(own)
    assert re.findall(r'<tr id="claim-([\w-]+)"', paper) == ["math"]
    assert re.findall(r'data-on="(.*?)">(.*?)<', paper) == [("On the reported numbers", "does not hold")]
    assert re.findall(r'<tr id="claim-([\w-]+)"', own) == ["tiny-code"]
    assert re.findall(r'data-on="(.*?)">(.*?)<', own) == [("Reproduced", "holds")]
    assert "none judged here" in html


def test_every_run_shows_all_of_its_provenance(tmp_path):
    folder = write_results(tmp_path, "tiny")
    for name in ("tiny-math", "tiny-math/free", "tiny-math/superseded-1"):
        write_json(folder / "runs" / name / "run.json", {"halvings": 3, "broken": 17, "of_later": name, "empty": None})
    html = rendered(folder, "tiny")["html"]
    section = re.search(r'<section id="runs">.*?</section>', html, re.DOTALL)[0]
    assert re.findall(r"<summary>(.*?)</summary>", section) == ["tiny-math", "tiny-math: free"]
    assert section.count("<dt>broken</dt><dd>17</dd>") == 2
    assert "<dt>of_later</dt><dd>tiny-math/free</dd>" in section  # a field that the page does not know
    assert "<dt>empty</dt><dd>–</dd>" in section


def test_printed_numbers_are_not_called_reproduced(reported):
    for text in reported[1].values():
        visible = re.sub(r"<style>.*?</style>|<svg .*?</svg>", "", text, flags=re.DOTALL)
        assert not re.search(r"\breproduced\b", re.sub(r'class="[^"]*"', "", visible).replace("or reproduced here", ""))
        assert "recomputed" in text
    assert re.search(r"Models run</dt><dd><strong>none<", reported[1]["html"])
    assert reported[1]["html"].count("No model was run") == 1


def test_wrong_answers_are_counted_by_kind(tmp_path):
    texts = rendered(write_results(tmp_path, "tiny"), "tiny")
    assert re.search(r"\| missed put +\| +2 \(100 %\) +\| +0 +\| +2 \(100 %\)", texts["md"])
    section = re.search(r'<section id="errors">.*?</section>', texts["html"], re.DOTALL)[0]
    for kind, meaning in DEFINITIONS.items():
        assert f"<dt>{kind}</dt><dd>{meaning}</dd>" in section
    assert '<td class="r share d5">2<small>100 %</small></td>' in section
    assert re.search(r"of them as at the beginning</th><td class=\"r\">1<small>50 %", section)


@pytest.mark.parametrize(
    ("text", "cut"),
    [("Box 0 contains the map, Box 1", ("Box 0 contains the ", "map", ", Box 1")),
     ("Box 0 contains the cart.", ("Box 0 contains the ", "cart", ".")),
     ("Box 0 contains the car and", ("Box 0 contains the car ", "and", "")),
     ("Box 0 contains", ("Box 0 contains", "", "")),
     ("", ("", "", ""))],
)  # fmt: skip
def test_the_first_word_that_differs_is_marked(text, cut):
    assert sample_statements.divergence(text, "Box 0 contains the car.") == cut
    assert "".join(cut) == text


def test_statements_right_and_wrong(tmp_path):
    folder = fill_workplace(tmp_path)
    write_results(folder, "tiny", ["tiny-base", "tiny-code"])
    results = read_results("tiny", folder)
    texts = {}
    for data in (None, folder / "data.jsonl"):
        context = report.collect(results, options(folder, data))
        context |= {"figures": dict.fromkeys(report.CAPTIONS, ""), "forest": None}
        texts[data] = report.environment().get_template("report.html.j2").render(context)
    assert '<section id="examples">' not in texts[None]
    assert DESCRIPTIONS[0] not in unescape(texts[None])
    section = re.search(r'<section id="examples">.*?</section>', texts[folder / "data.jsonl"], re.DOTALL)[0]
    Page(f"<html>{section}</html>")
    zero, one = re.findall(r"<details.*?</details>", section, re.DOTALL)
    assert "true, as stated by tiny-base" in zero
    assert "lost object: tiny-code" in zero
    assert "Box 0 contains <mark>nothing</mark>, Box 1 contains nothing" in zero
    assert "<b> Put the map into Box 1.</b>" in one.replace("<b>Put", "<b> Put")
    assert "missed put: tiny-code" in one
    write_text(folder / "other.jsonl", (folder / "data.jsonl").read_text() + "\n")
    with pytest.raises(UserError):
        report.collect(results, options(folder, folder / "other.jsonl"))


def test_what_bfloat16_changes_is_the_committed_bench_s(tmp_path):
    made = sections.precision_table(BENCH / "bfloat16.csv")
    measured = pd.read_csv(BENCH / "bfloat16.csv")
    assert [row[2] for row in made.body] == [f"{row.flips} of {row.statements}" for row in measured.itertuples()]
    assert [float(row[3]) for row in made.body] == [round(100 * rate, 2) for rate in measured.flip_rate]
    assert not sections.precision_table(tmp_path / "bfloat16.csv").body  # the section is left out

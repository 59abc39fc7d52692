"""The report: one page that needs nothing else, holds the paper's table, escapes what it is given, invents nothing."""

import dataclasses
import re
from html import unescape

import pytest
from report_fixture import RUN, Page, rendered, run_command, section, section_names, table6_rows
from results_fixture import write_results

from boxes.models import table as model_table
from boxes.models.table import models_of
from boxes.records import UserError, read_csv, write_csv
from boxes.score_tables import RANDOM, REPORTED
from paper import figures, page_figures
from paper.results import COLUMNS, read_results
from paper.style import RC

HOSTILE = '<script>alert("x")</script> & | ]] `tick` {{ 7 * 7 }}'


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
    svg = page_figures.inline_svg(figures.draw(1, results), "f", '"><script>')
    assert "<script" not in svg
    Page(svg)


def test_what_is_said_beside_the_numbers(tmp_path):
    """McNemar's caveat where its p stands, whose scorer, how far the random row is known, which
    intervals are binomial."""
    texts = rendered(write_results(tmp_path, "tiny"), "tiny")
    for part, words in (("effects", "McNemar's test takes answers as independent"), ("effects", "printed counts are binomial"),
                        ("constrained", "scorer of the authors' release"), ("random", "nearest of six readings")):  # fmt: skip
        shown = section(texts["html"], part)
        assert words in unescape(shown), words
        assert words in texts["md"], words


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
        assert "2 of 4" in text


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


def test_the_forest_plot_fits_a_phone(reported):
    """It is not in a box that scrolls, and its letters stay legible where it is as narrow as 358 pixels."""
    figure = re.search(r'<figure class="forest">\s*<svg [^>]*viewBox="0 0 ([\d.]+) [\d.]+"', reported[1]["html"])
    assert RC["ytick.labelsize"] * 358 / float(figure[1]) >= 8.5


def test_printed_numbers_are_not_called_reproduced(reported):
    for text in reported[1].values():
        visible = re.sub(r"<style>.*?</style>|<svg .*?</svg>", "", text, flags=re.DOTALL)
        assert not re.search(r"\breproduced\b", re.sub(r'class="[^"]*"', "", visible).replace("or reproduced here", ""))
        assert "recomputed" in text
    assert re.search(r"Models run</dt><dd><strong>none<", reported[1]["html"])
    assert reported[1]["html"].count("No model was run") == 1


def test_a_row_is_linked_to_its_queries_where_they_lie(tmp_path):
    """samples.csv is beside the predictions; the link is from the page's folder."""
    folder = write_results(tmp_path, "tiny")
    assert "samples.csv" not in rendered(folder, "tiny")["html"]
    (folder / "runs/tiny-base").mkdir(parents=True)
    (folder / "runs/tiny-base/samples.csv").touch()
    (folder / "runs/tiny-base/run.json").write_text('{"model": "tiny-base"}')
    html = rendered(folder, "tiny")["html"]
    linked = re.compile(r'<a href="([^"#]+)" title="[^"]+">([^<]+)</a>')
    links = ["../runs/tiny-base/samples.csv"]
    for part in ("table6", "runs"):
        assert linked.findall(section(html, part)) == [(links[0], "tiny-base")]
    assert re.search(r'<th scope="row"><a href="[^"]+" title="[^"]+">tiny-base</a></th>', section(html, "table6"))
    Page(html)
    assert (folder / "out" / links[0]).parent.parent.resolve() == (folder / "runs").resolve()

"""What single sections of the report say: effects, claims, errors, statements, runs, bfloat16."""

import json
import re
from html import unescape

import pandas as pd
import pytest
from report_fixture import BENCH, Page, options, rendered, section
from results_fixture import write_results
from runs_fixture import DESCRIPTIONS, fill_workplace

from boxes.mistakes import DEFINITIONS
from boxes.records import UserError, read_csv, write_csv, write_json, write_text
from boxes.score_tables import REPORTED
from paper import compared, report, sample_statements, sections
from paper.results import read_results


def test_pairs_not_run_hold_no_number(partial):
    effects = section(partial["html"], "effects")
    lines = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", effects)]
    missing = [line for line in lines if "not run" in line]
    assert missing
    assert all(line[3:] == ["–"] * 7 for line in missing)
    assert any(line[:3] == ["Llama 2-7B", "Code Llama 7B", "1+"] and re.fullmatch(r"[+−]?\d+\.\d\d", line[6])
               for line in lines)  # fmt: skip


def test_free_decoding_stands_under_both_scorers(tmp_path):
    table = sections.constrained_table(write_results(tmp_path, "tiny"), REPORTED, {}, expected=True)
    rows = {(row[1], row[2]): row[3:] for row in table.body}
    assert rows["Overall", "authors"][1:3] == ("21.25", "30.50")
    assert rows["Overall", "ours"][1:3] == ("20.25", "30.50")
    assert (rows["Overall", "authors"][6], rows["Overall", "ours"][6]) == ("9", "1")  # what either accepts alone


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
    paper, own = (section(html, name) for name in ("claims", "own"))
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
    shown = section(html, "runs")
    assert re.findall(r"<summary>(.*?)</summary>", shown) == ["tiny-math", "tiny-math: free"]
    assert shown.count("<dt>broken</dt><dd>17</dd>") == 2
    assert "<dt>of_later</dt><dd>tiny-math/free</dd>" in shown  # a field that the page does not know
    assert "<dt>empty</dt><dd>–</dd>" in shown


def test_wrong_answers_are_counted_by_kind(tmp_path):
    texts = rendered(write_results(tmp_path, "tiny"), "tiny")
    assert re.search(r"\| missed put +\| +2 \(100 %\) +\| +0 +\| +2 \(100 %\)", texts["md"])
    shown = section(texts["html"], "errors")
    for kind, meaning in DEFINITIONS.items():
        assert f"<dt>{kind}</dt><dd>{meaning}</dd>" in shown
    assert '<td class="r share d5">2<small>100 %</small></td>' in shown
    assert re.search(r"of them as at the beginning</th><td class=\"r\">1<small>50 %", shown)


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
    shown = section(texts[folder / "data.jsonl"], "examples")
    Page(f"<html>{shown}</html>")
    zero, one = re.findall(r"<details.*?</details>", shown, re.DOTALL)
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

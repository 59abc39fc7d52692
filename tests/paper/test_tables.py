"""Tables 1, 3, 4 and 6: the paper's own, cell by cell, from the reported scores; and what has no number shows none."""

import csv
import io
import re

import pandas as pd
import pytest
from results_fixture import write_scores

from boxes.models.table import MODELS, NOT_CHOSEN, models_of
from boxes.records import read_csv, write_csv
from boxes.score_tables import RANDOM, REPORTED
from paper import tables
from paper.formats import Table, latex_escape, pipe_table, to_latex, to_markdown
from paper.results import COLUMNS, REFERENCES, difference, read_results, signed

RUN = ["Llama-2-7b-hf", "CodeLlama-7b-hf", "llama-7b"]

# Table 1 as printed: (model, size, +code, +math, +instruct/chat, base model), but for its "Code Llama 2" as a base.
PRINTED_TABLE1 = """\
Llama 2|7B–70B||||-
Code Llama|7B–70B|✓|||Llama 2
DeepSeek|7B||||-
DeepSeek-Coder|7B|✓|||DeepSeek
Gemma|8B||||-
CodeGemma|8B|✓|||Gemma
Llama|7B||||-
FLoat|7B||✓ (instruct)||Llama
Mistral|7B||||-
OpenMathMistral|7B||✓ (instruct)||Mistral
DeepSeek-Coder|7B|✓|||DeepSeek
DeepSeek-Math|7B|✓|✓||DeepSeek-Coder
Code Llama|7B, 34B|✓|||Llama 2
Llemma|7B, 34B|✓|✓||Code Llama
Llama 2|7B–70B||||-
Llama 2-Chat|7B–70B|||✓|Llama 2
Code Llama|7B–70B|✓|||Llama 2
Code Llama-Instruct|7B–70B|✓||✓|Code Llama
Gemma|8B||||-
Gemma-Instruct|8B|||✓|Gemma
CodeGemma|8B|✓|||Gemma
CodeGemma-Instruct|8B|✓||✓|CodeGemma
DeepSeek|7B||||-
DeepSeek-Chat|7B|||✓|DeepSeek
DeepSeek-Coder|7B|✓|||DeepSeek
DeepSeek-Coder-Instruct|7B|✓||✓|DeepSeek-Coder"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    return read_results("reported", write_scores(tmp_path_factory.mktemp("reported"), "reported"))


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    return read_results("paper", write_scores(tmp_path_factory.mktemp("paper"), "paper", RUN))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return read_results("tiny", write_scores(tmp_path_factory.mktemp("tiny"), "tiny"))


def printed_table6() -> dict[str, list[str]]:
    """The lines of data/reported/table6.csv as label -> the nine numbers as printed."""
    cells: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(io.StringIO((REPORTED / "table6.csv").read_text())):
        cells.setdefault(row["model"], {})[row["num_ops"]] = row["accuracy"]
    labels = {RANDOM: RANDOM} | {spec.name: spec.label for spec in models_of("reported")}
    return {labels[model]: [row[column] for column in COLUMNS] for model, row in cells.items()}


def markdown_rows(text: str) -> list[list[str]]:
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in (rows[:1] + rows[2:])]


def latex_rows(text: str) -> list[list[str]]:
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


def test_table6_of_the_reported_scores_is_the_papers_cell_by_cell(reported):
    printed = printed_table6()
    table = tables.table6(reported)
    assert {row[0]: list(row[1:]) for row in table.body} == printed
    assert [row[0] for row in table.body] == [RANDOM, *(spec.label for spec in models_of("reported"))]
    assert len(table.body) == 30
    for rows in (markdown_rows(to_markdown(table))[1:], latex_rows(to_latex(table))[3:]):
        assert {row[0]: row[1:] for row in rows} == printed


def test_table6_header_holds_the_papers_bucket_sizes(reported):
    header = ["Model", "Overall (5012)", "0 (1303)", "1 (1410)", "2 (1083)", "3 (651)", "4 (288)", "5 (142)",
              "6 (106)", "7 (29)"]  # fmt: skip
    assert markdown_rows(to_markdown(tables.table6(reported)))[0] == header


def test_table6_csv_is_long_and_its_differences_are_those_of_the_printed_numbers(reported, partial):
    frame = tables.table_frame(tables.table6(reported), reported)
    assert len(frame) == 30 * len(COLUMNS)
    assert set(frame["difference"]) == {"0.00"}
    assert (frame["recomputed"] == frame["reported"]).all()
    assert set(frame["status"]) == {"printed"}  # nothing was run, nothing reproduced
    ours = tables.table_frame(tables.table6(partial), partial)
    run = ours[ours["reproduced"] != ""]
    gaps = run["reproduced"].astype(float) - run["reported"].astype(float)
    assert (gaps - run["difference"].astype(float)).abs().max() < 1e-9


def test_table1_is_the_papers(reported):
    table = tables.table1(reported)
    assert [list(row[1:]) for row in table.body] == [line.split("|") for line in PRINTED_TABLE1.splitlines()]
    assert {row[0] for row in table.body} == {"Exp 1 (code)", "Exp 2 (math)", "Exp 3 (alignment)", ""}
    assert [table.body[rule][0] for rule in table.rules] == ["Exp 2 (math)", "Exp 3 (alignment)"]


def test_table3_is_the_papers(reported):
    text = {row["key"]: f"{row['value']:.2f}" for row in read_csv(REPORTED / "text.csv").to_dict("records")}
    body = tables.table3(reported).body
    assert [row[0] for row in body] == ["Llama 7B", "FLoat 7B"]
    for row, model in zip(body, ("llama-7b", "float-7b"), strict=True):
        assert list(row[1:]) == [text[f"{model}/{column}"] for column in ("all", "0", "1+")]


def test_table4_names_every_repository_and_its_commit(reported):
    body = tables.table4(reported).body
    assert len(body) == len({row[1] for row in body}) == 29
    for row, spec in zip(body, models_of("paper"), strict=True):
        assert row == (spec.label, spec.hub_id, spec.revision or "not pinned yet", spec.licence,
                       "yes" if spec.gated else "no", spec.prompt_format)  # fmt: skip
    assert sum(row[5] == "chat" for row in body) == 4


@pytest.mark.parametrize("profile", ["reported", "partial", "tiny"])
@pytest.mark.parametrize("number", tables.NUMBERS)
def test_latex_is_balanced_and_every_row_fills_the_columns(profile, number, request):
    table = tables.TABLES[number](request.getfixturevalue(profile))
    text = to_latex(table)
    assert re.findall(r"\\begin{(\w+)}", text) == re.findall(r"\\end{(\w+)}", text)[::-1] == ["table", "tabular"]
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    for rule in ("toprule", "bottomrule"):
        assert text.count(rf"\{rule}") == 1
    for row in latex_rows(text):
        columns = sum(int(m[1]) if (m := re.search(r"\\multicolumn{(\d+)}", cell)) else 1 for cell in row)
        assert columns == len(table.align)
    assert text.isascii()


def test_rows_not_run_show_no_number_and_the_others_do(partial):
    labels = {spec.label: spec.name for spec in partial.specs}
    for row in tables.table6(partial).body[1:]:
        assert all(re.fullmatch(r"\d+\.\d\d", cell) for cell in row[1:]) == (labels[row[0]] in RUN)
        if labels[row[0]] not in RUN:
            assert set(row[1:]) == {"not run"}
    frame = tables.table_frame(tables.table6(partial), partial)
    missing = frame[frame["status"] == "not run"]
    assert len(missing) == (29 - len(RUN)) * len(COLUMNS)
    assert set(missing["reproduced"]) == set(missing["difference"]) == set(missing["n"]) == {""}
    assert list(tables.table3(partial).body[1][1:]) == ["not run"] * 3


def test_no_scores_at_all_is_still_a_table(tmp_path):
    results = read_results("paper", write_scores(tmp_path, "paper", []))
    assert all(set(row[1:]) == {"not run"} for row in tables.table6(results).body[1:])
    assert "not run" in tables.for_terminal(results, 6)


@pytest.mark.parametrize("profile", ["reported", "partial", "tiny"])
def test_terminal_table6_fits_160_columns(profile, request):
    results = request.getfixturevalue(profile)
    text = tables.for_terminal(results, 6)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 160
    assert ("reported" in text) == (profile != "tiny")
    ours = "recomputed" if profile == "reported" else "reproduced"
    run = {"reported": 30, "partial": 1 + len(RUN), "tiny": 6}[profile]
    assert sum(ours in line for line in lines) == run
    assert ("reproduced" in text) == (profile != "reported")
    differences = [line.split()[1:] for line in lines if "difference" in line]
    assert len(differences) == {"reported": 0, "partial": run, "tiny": 0}[profile]
    assert all(re.fullmatch(r"[+-]\d+\.\d\d|0\.00", cell) for line in differences for cell in line)
    assert len(lines) - 5 == {"reported": 30, "partial": 3 * run + 26, "tiny": 6}[profile]
    assert text.count("recomputed = reported") == {"reported": 30}.get(profile, 0)
    assert text.count("reported (not run)") == {"partial": 26}.get(profile, 0)


def test_the_miniatures_stand_beside_the_committed_reference(tmp_path):
    scores = read_csv(REFERENCES / "tiny" / "scores.csv")
    write_csv(tmp_path / "scores.csv", scores)
    text = tables.for_terminal(read_results("tiny", tmp_path), 6)
    assert text.count("reproduced = reference") == 6
    assert "difference" not in text
    cell = (scores.model == "tiny-math") & (scores.num_ops == "3")
    scores.loc[cell, "accuracy"] -= 1.5
    write_csv(tmp_path / "scores.csv", scores)
    results = read_results("tiny", tmp_path)
    text = tables.for_terminal(results, 6)
    assert text.count("reproduced = reference") == 5
    assert re.search(r"tiny-math +reproduced .*\n +reference .*\n +difference( +0\.00){4} +-1\.50( +0\.00){4}\n", text)
    frame = tables.table_frame(tables.table6(results), results)
    line = frame[(frame.model == "tiny-math") & (frame.num_ops == "3")].iloc[0]
    assert float(line.reproduced) - float(line.reference) == pytest.approx(-1.5)
    assert line.difference == "-1.50"


@pytest.mark.parametrize(("profile", "chosen"), [("tiny", ["tiny-base"]), ("paper", ["llama-7b", "float-7b"])])
def test_models_that_were_not_chosen_are_in_no_table(tmp_path, profile, chosen):
    """One of the chosen was not run: that is another thing, and is said."""
    write_scores(tmp_path, profile, chosen[:1])
    runs = [(spec.name, "complete" if spec.name in chosen else NOT_CHOSEN, "") for spec in models_of(profile)]
    write_csv(tmp_path / "runs.csv", pd.DataFrame(runs, columns=["model", "status", "reason"]))
    results = read_results(profile, tmp_path)
    labels = [spec.label for spec in models_of(profile) if spec.name in chosen]
    assert [row[0] for row in tables.table6(results).body] == [RANDOM, *labels]
    assert [row[0] for row in tables.table4(results).body] == labels
    assert tables.for_terminal(results, 6).count("not run") == len(chosen) - 1
    for table in (build(results) for build in tables.TABLES.values()):
        for text in (to_markdown(table), to_latex(table), tables.table_frame(table, results).to_csv()):
            for spec in models_of(profile):
                assert spec.name in chosen or f"{spec.name}," not in text
    assert len(tables.table1(results).body) == (2 if profile == "paper" else 0)
    assert len(tables.table3(results).body) == len(chosen)


def test_a_known_difference_in_the_terminal(partial):
    lines = tables.for_terminal(partial, 6).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Llama 2-7B "))
    ours, theirs, gap = (lines[start + step].split()[-8:] for step in range(3))  # buckets 0 to 7
    assert theirs[0] == "65.54"
    assert gap[0] == f"{float(ours[0]) - 65.54:+.2f}"


@pytest.mark.parametrize(
    ("ours", "theirs", "text"), [(65.5413, 65.54, "0.00"), (1.0, 2.5, "−1.50"), (2.006, 2.0, "+0.01"), (None, 1.0, "–")]
)
def test_differences_are_of_the_printed_numbers(ours, theirs, text):
    assert signed(difference(ours, theirs)) == text


def test_hostile_labels_are_escaped():
    hostile = r"<b>100% a&b | c_d #1 {$x^2$} ~ \end{tabular}"
    table = Table(9, "", (("Model", "n"),), ((hostile, "1"), ("plain", "2")), "lr")
    rows = markdown_rows(pipe_table(table))
    assert [len(row) for row in rows] == [2, 2, 2]
    assert "<b>" not in rows[1][0]
    assert [len(row) for row in latex_rows(to_latex(table))] == [2, 2, 2]
    assert to_latex(table).count(r"\end{tabular}") == 1
    assert latex_escape("50% & more_") == r"50\% \& more\_"


def test_every_model_has_its_own_label():
    labels = [spec.label for spec in MODELS.values()]
    assert len(labels) == len(set(labels))

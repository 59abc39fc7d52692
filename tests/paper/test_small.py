"""The profile small in tables, figures and report: rows that were run beside those that were not, and models without a
pair."""

from report_fixture import rendered, table6_rows
from results_fixture import write_results, write_scores

from boxes.models.table import models_of
from paper import figures, tables
from paper.results import read_results

PACKAGED = ["smollm2-135m-instruct-q4_1", "gemma-3-270m-q4_k_m"]


def test_a_report_of_two_models_without_a_pair(tmp_path):
    write_results(tmp_path, "small", PACKAGED)
    html = rendered(tmp_path, "small")["html"]
    rows = table6_rows(html)
    assert list(rows)[1:] == [spec.label for spec in models_of("small")]
    assert rows["Gemma 3 270M (Q4_K_M)"] != rows["Gemma 3 270M"]
    assert "Its models are pretrained ones that a laptop decodes" in html
    assert "make weights PROFILE=small MODELS=&#34;Qwen2.5-0.5B&#34;" in html


def test_tables_and_figures_of_all_rows(tmp_path):
    results = read_results("small", write_scores(tmp_path, "small"))
    assert results.theirs == "reference"
    for number in tables.NUMBERS:
        assert tables.for_terminal(results, number)
    table1 = str(tables.table1(results).body)
    assert "Qwen2.5-Coder" in table1
    assert "Q4_" not in table1  # which has pairs alone
    panels = [sum(map(len, figures.rows_of_panels(number, results).values())) for number in figures.NUMBERS]
    assert panels == [2, 1, 11]
    for number in figures.NUMBERS:
        figures.draw(number, results)

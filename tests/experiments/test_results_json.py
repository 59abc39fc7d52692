"""results.json: the numbers of the CSVs under the fields that data/README.md documents; samples.csv; the log."""

import json
import re
import sys
from pathlib import Path

import pytest
from results_fixture import write_results
from runs_fixture import DESCRIPTIONS, TRUTHS, fill_workplace
from scripts_fixture import ROOT, refusal, run_script

from boxes.evaluation import COLUMNS, LOOKED_AT
from boxes.records import read_csv
from boxes.runs.log import logged
from boxes.score_tables import NUM_OPS

DOCUMENTED = (ROOT / "data/README.md").read_text().partition("**results.json**")[2].partition("**Columns of")[0]
NAMES = set(re.findall(r"`(\w+)`", DOCUMENTED))


@pytest.mark.parametrize("profile", ["tiny", "reported"])
def test_its_numbers_are_those_of_the_csvs_and_its_fields_are_documented(tmp_path, profile):
    folder = write_results(tmp_path, profile)
    out = folder / "results.json"
    assert run_script("tools/results_json.py", "--profile", profile, "--results", folder, "--out", out) == 0
    found = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert set(found) <= NAMES
    assert set(found["dataset"]) <= NAMES
    scores = read_csv(folder / "scores.csv").set_index(["model", "num_ops"])
    assert found["models"]
    for model in found["models"]:
        assert set(model) <= NAMES
        for num_ops in NUM_OPS:
            cell, row = model["scores"][num_ops], scores.loc[(model["model"], num_ops)]
            assert set(cell) <= NAMES
            assert (cell["n"], cell["accuracy"]) == (row.n, row.accuracy)
    assert set(found["random"]) == set(NUM_OPS)
    effects = read_csv(folder / "code.csv")
    assert [line["difference"] for line in found["effects"]["code"]] == list(effects.difference)


def test_without_results_it_says_so_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "results.json"
    words = ("tools/results_json.py", "--profile", "tiny", "--results", tmp_path, "--out", out)
    assert refusal(capsys, *words).startswith(f"{tmp_path}/scores.csv: no such file; ")
    for name in ("errors", "claims", "code"):  # a table that is lacking is not an empty one
        write_results(tmp_path, "tiny")
        (tmp_path / f"{name}.csv").unlink()
        assert refusal(capsys, *words).startswith(f"{tmp_path}/{name}.csv: no such file; ")
    assert not out.exists()


def test_every_query_is_there_to_look_at(tmp_path):
    """samples.csv beside the predictions: right and wrong answers, where a statement first goes wrong."""
    fill_workplace(tmp_path)
    words = ("--data", tmp_path / "data.jsonl", "--runs", tmp_path / "runs", "--out", tmp_path / "errors.csv")
    assert run_script("11_errors.py", "--profile", "tiny", *words) == 0
    right, wrong = (read_csv(tmp_path / "runs" / name / "samples.csv") for name in ("tiny-base", "tiny-code"))
    assert list(right.columns) == [*COLUMNS, *LOOKED_AT]
    assert list(right.description) == [text for text in DESCRIPTIONS for _ in range(7)]
    assert (right.correct.sum(), right.first_wrong_box.isna().all(), right.differs.isna().all()) == (14, True, True)
    assert list(wrong.gold) == [*TRUTHS[0], *TRUTHS[1]]
    assert set(wrong.first_wrong_box) == {0}
    assert set(wrong.differs) == {"nothing"}
    counted = read_csv(tmp_path / "errors.csv")
    counted = counted[(counted.model == "tiny-code") & (counted.kind == "wrong") & (counted.num_ops == "all")]
    assert counted.n.item() == (wrong.correct == 0).sum() == 3


def test_what_is_said_is_written_down_and_said(tmp_path, capsys):
    path = tmp_path / "logs" / "model.log"
    with logged(path):
        print("one")
        print("two", file=sys.stderr)
    with pytest.raises(ValueError, match="broken"), logged(path):
        raise ValueError("broken")
    assert capsys.readouterr() == ("one\n", "two\n")
    lines = [line.partition(" ")[2] or line for line in path.read_text().splitlines()]
    assert [line.partition(":")[0] for line in lines] == [
        "began", "one", "two", "ended", "began", "ended by ValueError"
    ]  # fmt: skip


def test_where_nothing_can_be_written_nothing_is_lost(tmp_path, capsys):
    (tmp_path / "logs").write_text("a file")
    with logged(tmp_path / "logs" / "model.log"):
        print("said")
    with logged(Path("/dev/full")):
        print("and said")
    assert capsys.readouterr().out == "said\nand said\n"

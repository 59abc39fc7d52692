"""References and results that cannot be compared end in status 2."""

from pathlib import Path

import pytest
from check_fixture import PAPER, TINY, VERDICTS, claim, write
from scripts_fixture import files, refusal

from boxes.claims.judging import HOLDS
from boxes.records import read_csv, write_csv


def said(tmp_path: Path, capsys, profile: str, *more: str) -> str:
    """The one line of a refusal; both folders stay as they were."""
    before = files(tmp_path)
    line = refusal(capsys, "tools/check.py", "--profile", profile, "--results", tmp_path / "results",
                   "--reference", tmp_path / "reference", *more)  # fmt: skip
    assert files(tmp_path) == before
    return line


def test_the_reference_of_another_profile_is_refused(tmp_path, capsys):
    write(tmp_path / "reference", PAPER)
    write(tmp_path / "results", TINY)
    assert "is no cell of profile tiny; give the reference of profile tiny" in said(tmp_path, capsys, "tiny")
    write(tmp_path / "reference", TINY[:3])
    assert "tiny-chat 0 is lacking; give the reference of profile tiny" in said(tmp_path, capsys, "tiny")
    (tmp_path / "reference/scores.csv").unlink()
    assert "scores.csv: no such file" in said(tmp_path, capsys, "tiny")


def test_results_on_another_test_set_are_refused(tmp_path, capsys):
    write(tmp_path / "results", TINY)
    scores = write(tmp_path / "reference", TINY) / "scores.csv"
    table = read_csv(scores)
    table.loc[table.num_ops == "0", "n"] = 99
    write_csv(scores, table)
    assert "another test set than the reference's, 100 queries at 0 and not 99" in said(tmp_path, capsys, "tiny")


@pytest.mark.parametrize("side", ["reference", "results"])
def test_malformed_results_are_refused(tmp_path, capsys, side):
    for folder in ("reference", "results"):
        write(tmp_path / folder, TINY)
    path, row = tmp_path / side / "scores.csv", f"{TINY[0]},all,800,400,50.0,40,60\n"
    path.write_text(path.read_text() + row)
    assert f"{side}/scores.csv: {TINY[0]} all stands twice" in said(tmp_path, capsys, "tiny")
    write(tmp_path / side, TINY)
    path = tmp_path / side / "claims.csv"
    path.write_text(path.read_text().replace("does not hold", "perhaps"))
    assert "claims.csv: line 3: verdict 'perhaps' is none of" in said(tmp_path, capsys, "tiny")
    claim(tmp_path / side, VERDICTS | {"fourth": HOLDS})
    assert "fourth is not in both" in said(tmp_path, capsys, "tiny")
    write(tmp_path / side, TINY)
    (tmp_path / side / "code.csv").write_text("base,treated,num_ops\na,b,all\n")
    assert "code.csv: other columns than" in said(tmp_path, capsys, "tiny")


def test_only_a_whole_profile_becomes_a_reference(tmp_path, capsys):
    (tmp_path / "reference").mkdir()
    write(tmp_path / "results", TINY[:3])
    assert "tiny-chat was not run; a reference needs all models" in said(tmp_path, capsys, "tiny", "--write")
    write(tmp_path / "results", PAPER)
    assert "the reference of profile paper is the paper" in said(tmp_path, capsys, "paper", "--write")

"""The command that writes the tables: every file, twice the same; scores that cannot be read."""

import sys

import pytest
from results_fixture import write_scores

from boxes.records import UserError
from paper import tables
from paper.results import read_results


def command(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["tables.py", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        tables.main()
    return stop.value.code


def test_command_writes_every_file_twice_the_same_and_print_writes_none(tmp_path, monkeypatch, capsys):
    words = ("--profile", "tiny", "--results", write_scores(tmp_path / "in", "tiny"), "--out", tmp_path / "out")
    assert command(monkeypatch, *words, "--print", 6) == 0
    assert "tiny-chat" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    contents = []
    for _ in range(2):
        assert command(monkeypatch, *words) == 0
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / "out").iterdir())})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {f"table{number}.{kind}" for number in (1, 3, 4, 6) for kind in ("md", "tex", "csv")}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("model,num_ops", "modell,num_ops", "line 1: missing column model"),
        ("tiny-base,all,120", "tiny-bass,all,120", "unknown model 'tiny-bass'"),
        ("tiny-base,all,120", "tiny-base,all8,120", "num_ops 'all8'"),
        ("tiny-base,all,120", "tiny-base,1,120", "twice"),
        ("tiny-base,all,120", "tiny-base,all,many", "line 20: n is 'many', not a number"),
        ("tiny-base,all,120,", "tiny-base,all,120,0,100.5,,\ntiny-base,1+,120,", "accuracy is 100.5, outside 0 to 100"),
        ("tiny-base,all,120,26,", "tiny-base,all,120,26,,,\ntiny-base,all,120,26,", "accuracy is empty"),
    ],
)
def test_malformed_scores_end_in_one_line(tmp_path, monkeypatch, capsys, old, new, says):
    path = write_scores(tmp_path, "tiny") / "scores.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert command(monkeypatch, "--profile", "tiny", "--results", tmp_path, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert str(path) in error
    assert not (tmp_path / "out").exists()


def test_missing_scores_are_named(tmp_path):
    with pytest.raises(UserError, match=r"scores\.csv: no such file"):
        read_results("tiny", tmp_path)

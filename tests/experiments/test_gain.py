"""What make model ends in: the gain of the pair, the format of an aligned model, and doubts about
the pair."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from boxes.models.table import MODELS, TINY_FOLDER
from boxes.records import UserError, write_csv
from boxes.score_tables import NUM_OPS
from experiments.tools import gain

BASE, CODE, CHAT = (MODELS[name] for name in ("tiny-base", "tiny-code", "tiny-chat"))


def write_pair(results: Path, spec, low: float, high: float, status: str = "complete") -> None:
    rows = []
    for name in NUM_OPS:
        queries = 0 if name == "7" else 100
        numbers = (50.0, 53.0, 3.0, low, high)
        rows.append((BASE.name, spec.name, name, queries, *numbers, status))
    write_csv(results / f"{spec.added}.csv", pd.DataFrame(rows, columns=list(gain.GAIN_COLUMNS)))


def write_run(runs: Path, name: str, status: str = "complete", used: str = "plain") -> None:
    (runs / name).mkdir(parents=True)
    run = {"model": name, "status": status, "reason": "out of memory", "prompt_format": used}
    (runs / name / "run.json").write_text(json.dumps(run))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.0, 5.0, "better"), (-5.0, -1.0, "worse"), (-1.0, 5.0, "no clear difference")],
)
def test_the_gain_stands_in_a_line_with_its_interval(tmp_path, capsys, low, high, verdict):
    write_pair(tmp_path, CODE, low, high)
    gain.show_gain(CODE, BASE, tmp_path)
    out = capsys.readouterr().out.splitlines()
    interval = f"[{low:+.2f}, {high:+.2f}]"
    gained = "tiny-code against tiny-base (code): +3.00 points at 1+ operations"
    assert out[1] == f"{gained}, 95 % interval {interval}: {verdict}"
    with_queries = [name for name in NUM_OPS if name != "7"]
    assert [line.split()[0] for line in out[5:]] == with_queries
    assert out[-1].split() == ["1+", "100", "50.00", "53.00", "+3.00", *interval.split()]


def test_a_pair_that_is_not_there_is_no_gain(tmp_path):
    write_pair(tmp_path, CODE, 1.0, 2.0, "not run")
    with pytest.raises(UserError, match=r"code\.csv: nothing of tiny-code against tiny-base"):
        gain.show_gain(CODE, BASE, tmp_path)


def test_a_model_that_failed_has_no_gain(tmp_path, capsys):
    write_run(tmp_path, "tiny-base")
    write_run(tmp_path, "tiny-code", "failed")
    assert gain.answer(CODE, BASE, tmp_path, tmp_path) == 3
    out, err = capsys.readouterr()
    assert (out, err) == ("", "gain.py: no gain to show; tiny-code: failed (out of memory)\n")


@pytest.mark.parametrize(
    ("used", "said"),
    [
        ("chat", "chat, which does best on the development set"),
        ("plain", "plain, which was asked for; on the development set chat does best"),
    ],
)
def test_an_aligned_model_says_which_format_and_why(tmp_path, capsys, used, said):
    write_pair(tmp_path, CHAT, 1.0, 2.0)
    for name, prompt_format in (("tiny-base", "plain"), ("tiny-chat", used)):
        write_run(tmp_path, name, used=prompt_format)
    rows = [("tiny-chat", "plain", 20.0, 0), ("tiny-chat", "chat", 30.0, 1)]
    columns = ["model", "format", "accuracy", "chosen"]
    write_csv(tmp_path / "prompt_format.csv", pd.DataFrame(rows, columns=columns))
    assert gain.answer(CHAT, BASE, tmp_path, tmp_path) == 0
    line = f"prompt format: {said} (plain 20.00, chat 30.00)"
    assert line in capsys.readouterr().out.splitlines()


def added(folder: Path):
    return replace(CODE, name="mine", path=str(folder), extra=True)


def test_a_minimal_pair_is_not_questioned():
    assert gain.questions(CODE, BASE) == []


def test_another_size_and_another_vocabulary_are_questioned(tmp_path):
    folder = Path(shutil.copytree(TINY_FOLDER / "tiny-code", tmp_path / "mine"))
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    deeper = config | {"num_hidden_layers": layers + 1}
    (folder / "config.json").write_text(json.dumps(deeper))
    question = f"another size: num_hidden_layers is {layers + 1}, not {layers}"
    assert gain.questions(added(folder), BASE) == [question]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    names = [name for name in vocabulary if name not in special]
    for name, other in zip(names[:20], names[20:40], strict=True):
        vocabulary[name], vocabulary[other] = vocabulary[other], vocabulary[name]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps(config))
    [question] = gain.questions(added(folder), BASE)
    assert question.startswith("another vocabulary: 40 of ")


def test_what_is_not_here_is_not_questioned(tmp_path):
    assert gain.questions(added(tmp_path / "nowhere"), BASE) == []

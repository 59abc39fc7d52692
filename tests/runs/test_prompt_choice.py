"""The format chosen on the development set: decoded first, used for the row, under the options of
the row."""

import json
import shutil

import pandas as pd
import pytest
from scenarios_fixture import write_dataset
from scripts_fixture import refusal, run_script

from boxes.models import table as model_table
from boxes.models.table import TINY_FOLDER, spec_of
from boxes.records import UserError, read_json, write_text
from boxes.runs.prompt_choice import accuracies_of, best_format, dev_answers
from boxes.runs.task import read_task

SETTINGS = ("--device", "cpu", "--dtype", "float32", "--batch-size", 8)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A test and a development set of two scenarios each."""
    folder = tmp_path_factory.mktemp("data")
    return write_dataset(folder / "test.jsonl", operations=3), write_dataset(folder / "dev.jsonl", seed=1)


@pytest.fixture(scope="module")
def chosen(data, tmp_path_factory):
    """A run of tiny-chat in the format of its choice, cut at 90 tokens a statement as DECODE may
    ask."""
    out = tmp_path_factory.mktemp("runs") / "tiny-chat"
    options = ("--prompt-format", "chosen", "--max-new-tokens", 90, "--prompt-style", "released")
    arguments = ("--model", "tiny-chat", "--data", data[0], "--out", out, "--dev", data[1], *SETTINGS)
    run_script("04_decode.py", *arguments, *options)
    return out


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ({"plain": 40.0, "chat": 40.1}, "chat"),
        ({"plain": 40.1, "chat": 40.0}, "plain"),
        ({"plain": 40.0, "chat": 40.0}, "plain"),  # Table 2's on a tie
        ({"chat": 0.0}, "chat"),
        ({"plain": 0.0}, "plain"),
        ({}, "plain"),
    ],
)
def test_the_better_format_is_chosen(accuracies, best):
    assert best_format(accuracies) == best


def test_the_row_is_decoded_in_the_format_that_did_best(chosen, data):
    dev = read_task(data[1], 20)
    accuracies = accuracies_of(dev_answers(spec_of("tiny-chat"), chosen, dev))
    assert list(accuracies) == ["plain", "chat"]
    run = read_json(chosen / "run.json")
    assert (run["status"], run["prompt_format"]) == ("complete", best_format(accuracies))
    assert read_json(chosen / "free/run.json")["prompt_format"] == run["prompt_format"]


def test_runs_on_the_development_set_heed_the_options_of_decoding(chosen):
    own = read_json(chosen / "run.json")
    for name in ("plain", "chat"):
        run = read_json(chosen / f"dev-{name}/run.json")
        assert (run["prompt_format"], run["max_new_tokens"]) == (name, 90)
        assert run["prompt_style"] == ("released" if name == "plain" else None)
        assert (run["dtype"], run["regex"]) == (own["dtype"], own["regex"])


def test_where_the_chat_format_does_better_it_is_used(chosen, data, tmp_path, capsys):
    """What is on the development set already is not decoded again; here its plain answers are
    spoilt."""
    out = shutil.copytree(chosen, tmp_path / "tiny-chat")
    for name, spoilt in (("plain", True), ("chat", False)):
        path = out / f"dev-{name}/predictions.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        text = "".join(json.dumps(line | ({"prediction": "Statement:"} if spoilt else {})) + "\n" for line in lines)
        write_text(path, text)
    options = ("--prompt-format", "chosen", "--max-new-tokens", 90, "--prompt-style", "released")
    arguments = ("--model", "tiny-chat", "--data", data[0], "--out", out, "--dev", data[1], *SETTINGS)
    run_script("04_decode.py", *arguments, *options)
    assert read_json(out / "run.json")["prompt_format"] == "chat"
    assert "tiny-chat: chat format, chosen on the development set: plain 0.00 %, chat " in capsys.readouterr().out
    assert (out / "superseded-1").is_dir() == (read_json(chosen / "run.json")["prompt_format"] == "plain")


def test_only_aligned_models_are_compared(data, tmp_path):
    out = tmp_path / "tiny-base"
    arguments = ("--model", "tiny-base", "--data", data[0], "--out", out, "--prompt-format", "chosen", *SETTINGS)
    run_script("04_decode.py", *arguments)
    assert read_json(out / "run.json")["prompt_format"] == "plain"
    assert not list(out.glob("dev-*"))


def test_without_a_development_set_there_is_nothing_to_choose_on(data, tmp_path, capsys):
    arguments = ("--model", "tiny-chat", "--data", data[0], "--out", tmp_path / "out", "--prompt-format", "chosen")
    said = refusal(capsys, "04_decode.py", *arguments, *SETTINGS)
    assert said == "tiny-chat: its prompt format is chosen on the development set; name that with --dev"
    assert not (tmp_path / "out/run.json").exists()


def test_an_added_model_is_decoded_in_the_chosen_format_unless_one_was_given(monkeypatch, data, tmp_path):
    from experiments.tools import add_model

    folder = shutil.copytree(TINY_FOLDER / "tiny-chat", tmp_path / "my-chat")
    rows = {}
    for name, more in (("mine", ()), ("given", ("--prompt-format", "chat")), ("coder", ("--added", "code"))):
        given = ["--model", str(folder), "--base", "tiny-base", "--added", "alignment", "--name", name, *more]
        monkeypatch.setattr("sys.argv", ["tools/add_model.py", *given])
        rows[name] = add_model.add(add_model.parse_arguments(), [])
    assert [row.choose_format for row in rows.values()] == [True, False, False]
    assert [row.prompt_format for row in rows.values()] == ["plain", "chat", "plain"]
    assert add_model.as_json(rows["mine"])["choose_format"] is True
    monkeypatch.setitem(model_table.MODELS, "mine", rows["mine"])
    arguments = ("--model", "mine", "--data", data[0], "--out", tmp_path / "mine", "--dev", data[1], *SETTINGS)
    run_script("04_decode.py", *arguments)
    answers = dev_answers(rows["mine"], tmp_path / "mine", read_task(data[1], 20))
    assert read_json(tmp_path / "mine/run.json")["prompt_format"] == best_format(accuracies_of(answers))


def test_answers_on_another_development_set_are_refused(chosen, data):
    with pytest.raises(UserError, match="results of another dataset"):
        dev_answers(spec_of("tiny-chat"), chosen, read_task(data[0], 20))


def test_the_table_says_which_was_chosen(chosen, data, tmp_path):
    shutil.copytree(chosen, tmp_path / "runs/tiny-chat")
    out = tmp_path / "prompt_format.csv"
    paths = ("--data", data[1], "--runs", tmp_path / "runs", "--out", out)
    run_script("03_select_prompt_format.py", "--profile", "tiny", *paths)
    table = pd.read_csv(out)
    assert table.format[table.chosen == 1].tolist() == [read_json(chosen / "run.json")["prompt_format"]]

"""A run goes on with the same prompts alone, token by token, whatever day it is."""

import os
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from running_fixture import MODEL, SETTINGS, cut, lines

from boxes.models.table import TINY_FOLDER
from boxes.records import read_json, write_json
from boxes.runs.decode import decode_run

pytestmark = pytest.mark.usefixtures("one_thread", "no_models_elsewhere")


DATED = "{{ strftime_now('Today is %d %b %Y.') }}\n"


@pytest.fixture
def dated(tmp_path) -> Path:
    """The tiny chat model with a template that says what day it is, as Llama 3.2's and gpt-oss's
    do."""
    folder = tmp_path / "dated"
    shutil.copytree(TINY_FOLDER / "tiny-chat", folder)
    template = folder / "chat_template.jinja"
    template.write_text(DATED + template.read_text())
    return folder


class Clock:
    """Stands in for the clock of chat templates."""

    def __init__(self, day: datetime):
        self.day = day

    def now(self) -> datetime:
        return self.day


def test_a_run_that_is_continued_tomorrow_is_the_same_run(dated, task, tmp_path, monkeypatch, capsys):
    chat = replace(SETTINGS, prompt_format="chat")
    clock = "transformers.utils.chat_template_utils.datetime"
    monkeypatch.setattr(clock, Clock(datetime(2026, 2, 28)))
    whole = decode_run(str(dated), task, tmp_path / "whole", chat)
    assert (whole["status"], whole["prompt_date"]) == ("complete", "2024-07-26")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    cut(tmp_path / "again", kept=3, torn=10)
    monkeypatch.setattr(clock, Clock(datetime(2026, 3, 1)))
    again = decode_run(str(dated), task, tmp_path / "again", chat)
    assert again["prompt_ids_sha256"] == whole["prompt_ids_sha256"]
    assert sorted(os.listdir(tmp_path / "again")) == ["predictions.jsonl", "run.json"]  # nothing was set aside
    assert lines(tmp_path / "again") == lines(tmp_path / "whole")
    assert "kept in" not in capsys.readouterr().err


def test_a_run_says_no_date_where_no_prompt_does(whole):
    assert read_json(whole / "run.json")["prompt_date"] is None


def test_predictions_on_other_tokens_are_set_aside(copy, task, capsys):
    """The same text read otherwise, by another version or with another tokenizer.json, is another
    prompt."""
    run = read_json(copy / "run.json")
    write_json(copy / "run.json", run | {"status": "partial", "prompt_ids_sha256": "0" * 64})
    again = decode_run(MODEL, task, copy, SETTINGS)
    assert again["prompt_ids_sha256"] == run["prompt_ids_sha256"]
    assert (copy / "superseded-1" / "predictions.jsonl").exists()
    assert "predictions with other settings are kept in" in capsys.readouterr().err


def test_a_complete_run_that_does_not_say_its_tokens_is_decoded_again(copy, task):
    run = read_json(copy / "run.json")
    known = run.pop("prompt_ids_sha256")
    write_json(copy / "run.json", run)
    assert decode_run(MODEL, task, copy, SETTINGS)["prompt_ids_sha256"] == known
    assert (copy / "superseded-1").is_dir()

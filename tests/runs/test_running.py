"""Runs on disk: resume, runs with other settings, what is not run, and the scripts 03, 04 and 09
end to end."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scenarios_fixture import write_dataset
from scripts_fixture import run_script

from boxes.decoding.engine import Decoder
from boxes.models import checkpoint, loading
from boxes.models.table import TINY_FOLDER, models_of, spec_of
from boxes.prompting import STATEMENT_REGEX, prompt_maker
from boxes.records import UserError, read_json, sha256_file, sha256_text, write_json, write_text
from boxes.release_scoring import score_as_released
from boxes.runs import decode, provenance
from boxes.runs.decode import decode_run
from boxes.runs.folder import read_predictions, score_run
from boxes.runs.task import Settings, read_task
from boxes.scoring import score_statement
from boxes.world import parse, replay, statement

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tiny-base"
SETTINGS = Settings(batch_size=2, device="cpu", dtype="float32")
# Of SPEC: what every run that was begun says about itself.
FIELDS = {
    "format", "status", "reason", "model", "hub_id", "revision", "tokenizer", "prompt_format", "prompt_style", "prompt_sha256",
    "prompt_ids_sha256", "prompt_date",
    "regex", "dataset", "dataset_sha256", "dtype", "device", "max_new_tokens", "batch_size", "versions", "git_commit",
    "seconds", "statements_per_second", "examples", "truncated", "invalid", "started", "constrained",
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _no_models_elsewhere(monkeypatch, tmp_path):
    monkeypatch.delenv("MODELS_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setattr(checkpoint, "cache_folder", lambda *_: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Eight descriptions: two scenarios after 0 to 3 operations."""
    return write_dataset(tmp_path_factory.mktemp("data") / "test-t5.jsonl", count=2, operations=3)


@pytest.fixture
def task(data):
    return read_task(data)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / MODEL
    assert decode_run(MODEL, read_task(data), folder, SETTINGS)["status"] == "complete"
    return folder


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    """A folder with what the uninterrupted run left."""
    folder = tmp_path / "runs" / MODEL
    folder.mkdir(parents=True)
    for path in whole.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def no_model(monkeypatch):
    """Whoever loads a model fails the test."""

    def load(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(decode, "load", load)


def lines(folder: Path) -> set[str]:
    return set((folder / "predictions.jsonl").read_text().splitlines())


def scores(folder: Path, task) -> set[tuple]:
    return set(score_run(spec_of(MODEL), folder / "predictions.jsonl", task.by_key))


def cut(folder: Path, kept: int, torn: int) -> None:
    """Leave what a kill leaves: whole lines, `torn` bytes of the next one, and a run.json that says
    partial."""
    path = folder / "predictions.jsonl"
    written = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(written[:kept]) + written[kept][:torn])
    partial = read_json(folder / "run.json") | {"status": "partial", "reason": "not finished", "seconds": 100.0}
    for name in ("statements_per_second", "truncated", "invalid"):
        del partial[name]
    write_json(folder / "run.json", partial)


def script(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run an experiment from the repository's root as Make does."""
    command = [sys.executable, f"experiments/{name}", *map(str, arguments)]
    env = {key: value for key, value in os.environ.items() if key != "MODELS_DIR"}
    env |= {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def test_run_json_says_how_predictions_were_made(whole, data, task):
    run = read_json(whole / "run.json")
    assert set(run) >= FIELDS
    expected = {
        "status": "complete", "reason": "", "model": MODEL, "hub_id": None, "prompt_format": "plain",
        "prompt_style": "table2", "regex": STATEMENT_REGEX, "constrained": True, "dataset": data.name,
        "dataset_sha256": sha256_file(data), "examples": 8, "dtype": "float32", "batch_size": 2, "invalid": 0,
        "truncated": 0, "selection": "all",
    }  # fmt: skip
    assert {key: run[key] for key in expected} == expected
    prompt = prompt_maker(decode.PromptSettings(), None)("{description}")
    assert run["prompt_sha256"] == sha256_text(prompt)
    assert run["device"].startswith("cpu")
    assert set(run["versions"]) == {"python", *provenance.PACKAGES}
    assert run["seconds"] > 0
    assert run["statements_per_second"] == pytest.approx(8 / run["seconds"], rel=0.01)
    assert run["revision"].startswith("sha256:")
    assert run["max_new_tokens"] > 0


def test_predictions_are_one_line_a_description(whole, task):
    found = read_predictions(whole / "predictions.jsonl", task.by_key)
    assert set(found) == set(task.by_key)
    for key, line in found.items():
        assert line["input"] == task.by_key[key].description
        assert line["prediction"].startswith("Statement: Box 0 contains")
        assert line["status"] == "ok"
        assert all(isinstance(token, int) for token in line["tokens"])


@pytest.mark.parametrize(("kept", "torn"), [(0, 0), (0, 25), (3, 0), (3, 1), (4, 60), (7, 200)])
def test_resume_equals_an_uninterrupted_run(copy, whole, task, kept, torn):
    cut(copy, kept, torn)
    before = (copy / "predictions.jsonl").read_bytes().splitlines(keepends=True)[:kept]
    run = decode_run(MODEL, task, copy, SETTINGS)
    assert run["status"] == "complete"
    assert lines(copy) == lines(whole)
    assert len((copy / "predictions.jsonl").read_text().splitlines()) == 8
    assert (copy / "predictions.jsonl").read_bytes().startswith(b"".join(before))
    assert scores(copy, task) == scores(whole, task)
    assert run["seconds"] > 100  # of both parts


def test_only_what_is_missing_is_decoded_again(copy, task, monkeypatch):
    cut(copy, 5, 10)
    asked = []

    def recorded(self, prompts, proposed, batches=Decoder.batches):
        asked.extend(prompts)
        return batches(self, prompts, proposed)

    monkeypatch.setattr(Decoder, "batches", recorded)
    decode_run(MODEL, task, copy, SETTINGS)
    assert len(asked) == 3


def test_a_kill_between_batches_and_a_second_start(task, whole, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def stop(self, prompts, proposed, batches=Decoder.batches):
        found = batches(self, prompts, proposed)
        yield next(found)
        yield next(found)
        raise Killed

    folder = tmp_path / MODEL
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "batches", stop)
        with pytest.raises(Killed):
            decode_run(MODEL, task, folder, SETTINGS)
    assert read_json(folder / "run.json")["status"] == "partial"
    assert len(lines(folder)) == 4
    assert decode_run(MODEL, task, folder, SETTINGS)["status"] == "complete"
    assert lines(folder) == lines(whole)


def test_another_batch_size_may_finish_a_run(copy, whole, task):
    cut(copy, 3, 0)
    assert decode_run(MODEL, task, copy, Settings(batch_size=5, device="cpu"))["status"] == "complete"
    assert lines(copy) == lines(whole)


@pytest.mark.parametrize("settings", [SETTINGS, Settings(), Settings(prompt_format="plain", dtype="float32")])
def test_a_complete_run_is_not_decoded_again(copy, whole, task, no_model, settings):
    before = (copy / "predictions.jsonl").stat().st_mtime_ns
    assert decode_run(MODEL, task, copy, settings) == read_json(whole / "run.json")
    assert (copy / "predictions.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_format": "chat"},
        {"prompt_style": "released"},
        {"max_new_tokens": 20},
        {"dtype": "bfloat16"},
        {"constrained": False},
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_other_settings_are_set_aside_and_never_mixed(copy, whole, task, capsys, change, complete):
    if not complete:
        cut(copy, 3, 12)
    kept = {name: (copy / name).read_bytes() for name in ("predictions.jsonl", "run.json")}
    run = decode_run(MODEL, task, copy, Settings(**{"batch_size": 8, "device": "cpu", "dtype": "float32"} | change))
    assert run["status"] == "complete"
    assert {key: run[key] for key in change} == change
    assert {name: (copy / "superseded-1" / name).read_bytes() for name in kept} == kept
    assert "superseded-1" in capsys.readouterr().err
    assert len(read_predictions(copy / "predictions.jsonl", task.by_key)) == 8
    # And back again: nothing is lost, the first run's answers come out as before.
    assert decode_run(MODEL, task, copy, SETTINGS)["status"] == "complete"
    assert lines(copy) == lines(whole)
    assert (copy / "superseded-2" / "predictions.jsonl").exists()


def test_another_dataset_is_set_aside(copy, whole, tmp_path):
    other = read_task(write_dataset(tmp_path / "test-t5.jsonl", count=1, operations=1, seed=9))
    run = decode_run(MODEL, other, copy, SETTINGS)
    assert (run["status"], run["examples"]) == ("complete", 2)
    assert lines(copy / "superseded-1") == lines(whole)
    assert not lines(copy) & lines(whole)


def test_predictions_without_run_json_are_not_touched(copy, task, whole):
    (copy / "run.json").unlink()
    run = decode_run(MODEL, task, copy, SETTINGS)
    assert run["status"] == "failed"
    path = copy / "predictions.jsonl"
    assert run["reason"] == f"{path}: predictions without run.json; move them away and decode again"
    assert lines(copy) == lines(whole)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "not a readable JSON file (Expecting value: line 1 column 1 (char 0)); delete it and run again"),
        ("[]", "expected a JSON object, found list; delete it and run again"),
        ('{"status": "done"}', "status 'done' is none of complete, partial, not run, failed; decode again"),
    ],
)
def test_a_damaged_run_json_and_its_predictions_are_kept(copy, task, whole, content, why, capsys):
    """Nobody knows what the predictions were made with: the model fails and says where they are,
    the next run begins anew."""
    (copy / "run.json").write_text(content)
    reason = (
        f"{copy}/run.json: {why}; what was decoded with it is kept in {copy}/superseded-1, run again to decode anew"
    )
    assert decode_run(MODEL, task, copy, SETTINGS) == {
        "format": 1, "model": MODEL, "status": "failed", "reason": reason
    }  # fmt: skip
    assert capsys.readouterr().err == f"{MODEL}: failed: {reason}\n"
    kept = copy / "superseded-1"
    assert (kept / "run.json").read_text() == content
    assert (kept / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()
    assert not (copy / "predictions.jsonl").exists()
    assert decode_run(MODEL, task, copy, SETTINGS)["status"] == "complete"
    assert (copy / "predictions.jsonl").read_bytes() == (whole / "predictions.jsonl").read_bytes()


def test_a_damaged_run_json_alone_is_written_anew(tmp_path, task):
    (tmp_path / "run.json").write_text("{")
    assert decode_run(MODEL, task, tmp_path, SETTINGS)["status"] == "complete"
    assert not list(tmp_path.glob("superseded-*"))


def test_threads_and_batches_change_no_prediction(whole, task, tmp_path):
    torch.set_num_threads(2)
    try:
        decode_run(MODEL, task, tmp_path, replace(SETTINGS, batch_size=7))
    finally:
        torch.set_num_threads(1)
    lines = [sorted((folder / "predictions.jsonl").read_text().splitlines()) for folder in (whole, tmp_path)]
    assert lines[0] == lines[1]


def test_scores_stand_in_the_order_of_the_dataset(copy, task):
    """However the predictions were batched, and wherever a run was interrupted."""
    path = copy / "predictions.jsonl"
    scored = score_run(spec_of(MODEL), path, task.by_key)
    assert [row[1:3] for row in scored[::7]] == list(task.by_key)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert score_run(spec_of(MODEL), path, task.by_key) == scored


def test_a_run_of_a_newer_version_is_not_touched(copy, task, capsys):
    write_json(copy / "run.json", read_json(copy / "run.json") | {"format": 2})
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    run = decode_run(MODEL, task, copy, SETTINGS)
    reason = f"{copy}/run.json: format 2, this version reads 1; use the version that wrote it, or another folder"
    assert run == {"model": MODEL, "status": "failed", "reason": reason}
    assert capsys.readouterr().err == f"{MODEL}: failed: {reason}\n"
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_predictions_of_another_dataset_under_this_run_json(copy, task):
    path = copy / "predictions.jsonl"
    cut(copy, 2, 0)
    path.write_text(path.read_text().replace("Box 0 contains", "Box 0 holds", 1))
    kept = path.read_bytes()
    run = decode_run(MODEL, task, copy, SETTINGS)
    assert run["status"] == "failed"
    first = json.loads(kept.splitlines()[0])
    sample = f"sample {first['sample_id']}, {first['num_operations']} operations"
    assert run["reason"] == f"{path}: line 1: results of another dataset ({sample}); decode again"
    assert path.read_bytes() == kept


def test_a_failing_model_is_failed_with_a_reason_of_one_line(copy, task, whole, capsys, monkeypatch):
    def fail(self, prompts, proposed):
        raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
        yield

    cut(copy, 3, 0)
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "batches", fail)
        run = decode_run(MODEL, task, copy, SETTINGS)
    assert run["status"] == read_json(copy / "run.json")["status"] == "failed"
    assert run["reason"] == "CUDA out of memory."
    assert f"{MODEL}: failed: CUDA out of memory.\n" in capsys.readouterr().err
    # What was decoded before is kept, with its settings, and goes on when the cause is gone.
    assert len(lines(copy)) == 3
    assert decode_run(MODEL, task, copy, SETTINGS)["status"] == "complete"
    assert lines(copy) == lines(whole)


def test_a_damaged_checkpoint_is_failed(task, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in (ROOT / "data/models" / MODEL).iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:5000])
    run = decode_run(str(folder), task, tmp_path / "run", SETTINGS)
    assert (run["status"], run["model"]) == ("failed", "broken")
    assert "\n" not in run["reason"]
    assert str(folder) in run["reason"]


def test_a_local_checkpoint_is_a_row_of_its_own(task, tmp_path, whole):
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in (ROOT / "data/models" / MODEL).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run = decode_run(str(folder), task, tmp_path / "run", SETTINGS)
    assert (run["status"], run["model"]) == ("complete", "mine")
    assert lines(tmp_path / "run") == lines(whole)


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


def test_missing_weights_are_not_run(task, tmp_path, capsys, no_model):
    run = decode_run("Llama-2-7b-hf", task, tmp_path / "run", SETTINGS)
    assert run == read_json(tmp_path / "run/run.json")
    assert (run["status"], run["model"]) == ("not run", "Llama-2-7b-hf")
    assert "make weights" in run["reason"]
    assert capsys.readouterr().err == f"Llama-2-7b-hf: not run: {run['reason']}\n"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_an_unknown_model_is_an_error_that_names_close_ones(task, tmp_path):
    with pytest.raises(UserError, match="did you mean tiny-base"):
        decode_run("tiny-bas", task, tmp_path / "run", SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_subset_of_the_dataset(data):
    task = read_task(data, per_bucket=1)
    assert 0 < len(task.examples) < 8
    assert task.examples == read_task(data, per_bucket=1).examples
    assert task.selection == "1 queries a bucket"
    assert task.checksum == sha256_file(data)


def test_04_without_weights_and_without_torch(data, tmp_path):
    """A line on stderr, exit status 0, and no second of importing torch."""
    for name in ("torch", "transformers"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text("raise SystemExit('imported for nothing')")
    arguments = ["--model", "Mistral-7B-v0.1", "--data", data, "--out", tmp_path / "run"]
    blocked = {"PYTHONPATH": f"{tmp_path / 'blocked'}:.", "HF_HOME": str(tmp_path / "hub")}
    done = script("04_decode.py", *arguments, **blocked)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.startswith("Mistral-7B-v0.1: not run: ")
    assert len(done.stderr.splitlines()) == 1
    assert read_json(tmp_path / "run/run.json")["status"] == "not run"


def test_04_from_its_command_line(data, tmp_path, whole):
    arguments = ["--model", MODEL, "--data", data, "--out", tmp_path / "run", "--device", "cpu", "--batch-size", "3"]
    done = script("04_decode.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{MODEL}: 8 statements, ")
    assert done.stdout.endswith(" a second, 0 truncated, 0 invalid\n")
    assert lines(tmp_path / "run") == lines(whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "tiny-bas", "--data", "DATA"], "04_decode.py: unknown model 'tiny-bas'; did you mean tiny-base"),
        (["--model", MODEL, "--data", "none.jsonl"], "04_decode.py: none.jsonl: no such file"),
    ],
)
def test_04_with_bad_arguments(data, tmp_path, arguments, message):
    arguments = [str(data) if argument == "DATA" else argument for argument in arguments]
    done = script("04_decode.py", *arguments, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def decoded(data, tmp_path_factory) -> Path:
    """The runs that 04_decode.py makes with --dev, of two models."""
    runs = tmp_path_factory.mktemp("decoded")
    for model in (MODEL, "tiny-chat"):
        loads, load = [], loading.load
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "boxes.models.load", lambda *which, load=load, loads=loads: loads.append(which) or load(*which)
            )
            arguments = ("--model", model, "--data", data, "--out", runs / model, "--dev", data, "--device", "cpu")
            assert run_script("04_decode.py", *arguments) == 0
        assert len(loads) == 1  # for all runs of a model
    return runs


def test_what_a_kill_left_of_a_run_json_is_swept_up(copy, task, whole):
    (copy / ".run.json.k1l1ed00").write_text('{"status": "par')
    assert decode_run(MODEL, task, copy, SETTINGS)["status"] == "complete"
    assert {path.name for path in copy.iterdir()} == {"run.json", "predictions.jsonl"}
    assert lines(copy) == lines(whole)


def test_free_decoding_is_drafted_by_another_run_and_does_not_depend_on_it(task, whole, copy, tmp_path):
    wrong = (copy / "predictions.jsonl").read_text().replace("Statement: ", "State: ")
    (copy / "predictions.jsonl").write_text(wrong)
    drafted, alone = (
        decode_run(MODEL, task, tmp_path / name, replace(SETTINGS, constrained=False, drafts_from=run))
        for name, run in (("drafted", whole), ("alone", copy))
    )
    assert lines(tmp_path / "drafted") == lines(tmp_path / "alone")
    assert drafted["tokens_per_forward"] > 2 * alone["tokens_per_forward"]


def test_04_makes_the_runs_beside_a_models_own(decoded):
    assert {path.parent.name for path in decoded.glob("tiny-base/*/run.json")} == {"free"}
    assert {path.parent.name for path in decoded.glob("tiny-chat/*/run.json")} == {"free", "dev-plain", "dev-chat"}
    for path in decoded.glob("*/*/run.json"):
        run, own = read_json(path), read_json(path.parent.parent / "run.json")
        assert run["status"] == own["status"] == "complete"
        assert (run["regex"] is None) is (path.parent.name == "free")
        assert run["prompt_format"] == path.parent.name.removeprefix("dev-").replace("free", own["prompt_format"])


def test_04_begins_nothing_beside_a_run_that_failed(data, tmp_path):
    broken = shutil.copytree(TINY_FOLDER / "tiny-chat", tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    done = script("04_decode.py", "--model", broken, "--data", data, "--out", tmp_path / "run", "--dev", data)
    assert done.returncode == 0
    assert [path.name for path in tmp_path.rglob("run.json")] == ["run.json"]
    assert read_json(tmp_path / "run/run.json")["status"] == "failed"


def test_03_chooses_a_prompt_format(data, tmp_path, decoded):
    out = tmp_path / "results/prompt_format.csv"
    arguments = ["--profile", "tiny", "--data", data, "--runs", decoded, "--out", out]
    done = script("03_select_prompt_format.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 1 of 1 alignment-tuned models compared\n"
    table = pd.read_csv(out)
    assert list(table.columns) == ["model", "format", "n", "accuracy", "chosen", "reported_format"]
    assert table["model"].tolist() == ["tiny-chat"] * 2
    assert table["format"].tolist() == ["plain", "chat"]
    assert table["chosen"].sum() == 1
    assert table["accuracy"][table["chosen"] == 1].item() == table["accuracy"].max()
    for name, row in zip(("plain", "chat"), table.itertuples(), strict=True):
        written = (decoded / f"tiny-chat/dev-{name}/predictions.jsonl").read_text().splitlines()
        assert row.n == 7 * len(written)


def test_03_with_results_of_another_dataset(tmp_path, decoded):
    other = write_dataset(tmp_path / "other.jsonl", count=1, operations=1, seed=4)
    out = tmp_path / "prompt_format.csv"
    done = script("03_select_prompt_format.py", "--profile", "tiny", "--data", other, "--runs", decoded, "--out", out)
    assert done.returncode == 2
    assert done.stderr.endswith(f"dev-plain/run.json: results of another dataset than {other}; decode again\n")
    assert not out.exists()


def test_03_where_nothing_is_run(data, tmp_path):
    out = tmp_path / "prompt_format.csv"
    done = script("03_select_prompt_format.py", "--profile", "paper", "--data", data, "--runs", tmp_path, "--out", out)
    aligned = [spec for spec in models_of("paper") if spec.added == "alignment"]
    assert (done.returncode, done.stdout) == (0, f"{out}: 0 of {len(aligned)} alignment-tuned models compared\n")
    assert pd.read_csv(out).empty


def test_09_compares_free_with_constrained_decoding(data, tmp_path, decoded, task):
    out = tmp_path / "results/constrained.csv"
    done = script("09_constrained_decoding.py", "--profile", "tiny", "--data", data, "--runs", decoded, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: 2 of 4 models compared\n"  # of the others there is no run
    table = pd.read_csv(out, dtype={"num_ops": str})
    table = table[table.model == MODEL]
    assert set(table["decoding"]) == {"constrained", "free"}
    by_scorer = {"ours": score_statement, "authors": score_as_released}
    for scorer, decoding in product(by_scorer, ("constrained", "free")):
        path = decoded / MODEL / ("free" if decoding == "free" else "") / "predictions.jsonl"
        rows = table[(table["decoding"] == decoding) & (table.scorer == scorer)].set_index("num_ops")
        correct = [row[-1] for row in score_run(spec_of(MODEL), path, task.by_key, by_scorer[scorer])]
        assert (rows.loc["all", "n"], rows.loc["all", "correct"]) == (56, sum(correct))
        assert rows.loc["all", "accuracy"] == pytest.approx(100 * sum(correct) / 56, abs=1e-5)
    table = table[table.scorer == "authors"]
    gains = table.set_index(["decoding", "num_ops"])[["gain", "gain_low", "gain_high", "interval", "p_mcnemar"]]
    assert gains.loc["free"].isna().all(axis=None)
    gained = table.accuracy[table.decoding == "constrained"].to_numpy() - table.accuracy[table.decoding == "free"]
    np.testing.assert_allclose(gains.loc["constrained"].gain, gained, atol=1e-5)
    assert set(gains.loc["constrained"].interval) == {"bootstrap"}
    whole_set = gains.loc["constrained", "all"]
    assert whole_set.gain_low <= whole_set.gain <= whole_set.gain_high
    assert 0 <= whole_set.p_mcnemar <= 1
    for line in map(json.loads, (decoded / MODEL / "free/predictions.jsonl").read_text().splitlines()):
        assert "." not in line["prediction"][:-1]


def test_09_counts_statements_that_one_scorer_alone_accepts(data, tmp_path, decoded, task):
    """Free text that only the authors' scorer reads ("; Box 1 contains"), and that only ours reads
    (Box 1 named twice)."""
    runs, out = shutil.copytree(decoded, tmp_path / "runs"), tmp_path / "constrained.csv"
    path = runs / MODEL / "free/predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        truth = statement(replay(*parse(line["input"]))[0])
        line["prediction"] = truth.replace(", Box 1", "; Box 1")
    twice = statement(replay(*parse(lines[0]["input"]))[0])
    lines[0]["prediction"] = twice.replace(", Box 2", ", Box 1 contains the unicorn, Box 2")
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))
    done = script("09_constrained_decoding.py", "--profile", "tiny", "--data", data, "--runs", runs, "--out", out)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(out, dtype={"num_ops": str})
    free = table[(table.model == MODEL) & (table.decoding == "free") & (table.num_ops == "all")].set_index("scorer")
    alone = {"authors": 0, "ours": 0}
    for line in lines:
        gold = task.by_key[key_of(line)].contents
        both = list(
            zip(*(score(line["prediction"], gold) for score in (score_as_released, score_statement)), strict=True)
        )
        alone["authors"] += (True, False) in both
        alone["ours"] += (False, True) in both
    assert free.accepted_alone.to_dict() == alone
    assert alone["authors"] >= 7
    assert alone["ours"] == 1
    constrained = table[(table.model == MODEL) & (table.decoding == "constrained")]
    assert (constrained.accepted_alone == 0).all()


def key_of(line: dict) -> tuple[int, int]:
    return line["sample_id"], line["num_operations"]


def test_09_with_results_of_another_dataset(copy, tmp_path):
    other = write_dataset(tmp_path / "other.jsonl", count=1, operations=1, seed=4)
    out = tmp_path / "constrained.csv"
    shutil.copytree(copy, copy / "free")
    arguments = ["--profile", "tiny", "--data", other, "--runs", copy.parent, "--out", out]
    done = script("09_constrained_decoding.py", *arguments)
    assert done.returncode == 2
    assert "results of another dataset" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("regex", "other", "decoded with a regular expression; decode again"),
        ("max_new_tokens", 9, "max_new_tokens is 9, with the expression 256; decode again"),
    ],
)
def test_09_with_free_runs_of_other_settings(data, tmp_path, decoded, field, value, message):
    runs, out = shutil.copytree(decoded, tmp_path / "runs"), tmp_path / "constrained.csv"
    path = runs / MODEL / "free/run.json"
    write_json(path, read_json(path) | {field: value})
    done = script("09_constrained_decoding.py", "--profile", "tiny", "--data", data, "--runs", runs, "--out", out)
    assert (done.returncode, done.stderr.endswith(f"{path}: {message}\n")) == (2, True), done.stderr
    assert not out.exists()

"""Runs on disk: what they say about themselves, resume, and runs with other settings."""

from dataclasses import replace

import pytest
import torch
from running_fixture import MODEL, SETTINGS, cut, lines, scores
from scenarios_fixture import write_dataset

from boxes.decoding.engine import Decoder
from boxes.models.table import TINY_FOLDER, spec_of
from boxes.prompting import STATEMENT_REGEX, prompt_maker
from boxes.records import read_json, sha256_file, sha256_text
from boxes.runs import decode, provenance
from boxes.runs.decode import decode_run
from boxes.runs.folder import read_predictions, score_run
from boxes.runs.task import Settings, read_task

# Of SPEC: what every run that was begun says about itself.
FIELDS = {
    "format", "status", "reason", "model", "hub_id", "revision", "tokenizer", "prompt_format", "prompt_style", "prompt_sha256",
    "prompt_ids_sha256", "prompt_date",
    "regex", "dataset", "dataset_sha256", "dtype", "device", "max_new_tokens", "batch_size", "versions", "git_commit",
    "seconds", "statements_per_second", "examples", "truncated", "invalid", "started", "constrained",
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread", "no_models_elsewhere")


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
    assert 2 <= len(lines(folder)) < len(lines(whole))
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


def test_a_local_checkpoint_is_a_row_of_its_own(task, tmp_path, whole):
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in (TINY_FOLDER / MODEL).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run = decode_run(str(folder), task, tmp_path / "run", SETTINGS)
    assert (run["status"], run["model"]) == ("complete", "mine")
    assert lines(tmp_path / "run") == lines(whole)


def test_a_subset_of_the_dataset(data):
    task = read_task(data, per_bucket=1)
    assert 0 < len(task.examples) < 8
    assert task.examples == read_task(data, per_bucket=1).examples
    assert task.selection == "1 queries a bucket"
    assert task.checksum == sha256_file(data)


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

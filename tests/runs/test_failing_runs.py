"""Runs that fail, are damaged or not run: a reason of one line, and what was decoded is kept."""

import json

import pytest
from running_fixture import MODEL, SETTINGS, cut, lines

from boxes.decoding.engine import Decoder
from boxes.models.table import TINY_FOLDER
from boxes.records import UserError, read_json, write_json
from boxes.runs.decode import decode_run

pytestmark = pytest.mark.usefixtures("one_thread", "no_models_elsewhere")


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
    for path in (TINY_FOLDER / MODEL).iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[:5000])
    run = decode_run(str(folder), task, tmp_path / "run", SETTINGS)
    assert (run["status"], run["model"]) == ("failed", "broken")
    assert "\n" not in run["reason"]
    assert str(folder) in run["reason"]


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

"""Kills, signals, locks, lack of memory, broken models: a few of each; `make test-faults` injects many, and into `make all`."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from scenarios_fixture import write_dataset

from boxes.decoding import loop, stems
from boxes.decoding.constraint import token_bytes
from boxes.minimal_pairs import QUERY_COLUMNS
from boxes.models.table import spec_of
from boxes.records import CannotWrite, JsonLines, read_json
from boxes.runs import decode
from boxes.runs.decode import decode_run
from boxes.runs.folder import score_run
from boxes.runs.task import Settings, read_task
from boxes.score_tables import bucket_scores

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tiny-base"


def faults(*arguments: str) -> subprocess.CompletedProcess:
    """tests/faults/inject.py, in a process of its own, for it forks."""
    environment = os.environ | {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "tests/faults/inject.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def inject(names: list[str], rounds: int, out: Path) -> dict[str, tuple[int, int]]:
    """How often each of some faults was injected and survived."""
    ran = faults("--only", *names, "--rounds", str(rounds), "--out", str(out))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    table = pd.read_csv(out)
    return {row.name: (row.injected, row.survived) for row in table.itertuples(index=False)}


@pytest.fixture(scope="module")
def injected(tmp_path_factory) -> dict[str, tuple[int, int]]:
    """Three of each fault while one model is decoded, in one process."""
    names = ["kill-decoding", "signals", "locks", "memory"]
    return inject(names, 3, tmp_path_factory.mktemp("faults") / "faults.csv")


def test_no_prediction_is_lost_or_made_twice_when_decoding_is_killed(injected):
    assert injected["kill-decoding"] == (3, 3)


def test_nothing_is_lost_while_a_model_is_decoded(injected):
    for name in ("signals", "locks", "memory"):
        assert injected[name] == (3, 3)


@pytest.mark.slow
def test_a_model_that_misbehaves_in_each_way(tmp_path):
    assert inject(["models"], 10, tmp_path / "faults.csv") == {"models": (10, 10)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kill-make", "full-disk", "permission", "clock", "two", "checkpoint", "hardware"])
def test_nothing_is_lost_in_make_all(name):
    ran = faults("--only", name, "--rounds", "2")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{name}: 2 of 2 survived" in ran.stdout


# ------------------------------------------------------------------------------------------------ through decode_run


@pytest.fixture
def place(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield read_task(write_dataset(tmp_path / "test-t5.jsonl", count=2, operations=2)), tmp_path / MODEL
    torch.set_num_threads(threads)


SETTINGS = Settings(batch_size=2, device="cpu", dtype="float32")


def test_a_full_disk_ends_the_script_and_is_no_fault_of_the_model(place, monkeypatch):
    task, folder = place

    def full(self, values):
        raise CannotWrite(f"{self.path}: cannot append (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(JsonLines, "append", full)
        with pytest.raises(CannotWrite, match="No space left"):
            decode_run(MODEL, task, folder, SETTINGS)
    assert read_json(folder / "run.json")["status"] == "partial"
    assert decode_run(MODEL, task, folder, SETTINGS)["status"] == "complete"


def special(tokenizer) -> list[int]:
    return tokenizer.all_special_ids


def end(tokenizer) -> list[int]:
    return [tokenizer.eos_token_id]


def letters(tokenizer) -> list[int]:
    """With these a text goes on for ever, and never is a clause at its end."""
    return [index for index, text in token_bytes(tokenizer).items() if re.fullmatch(rb" ?[a-z]", text)]


NONE = {"truncated": 0, "invalid": 0, "broken": 0}


@pytest.mark.parametrize(
    ("wrong", "constrained", "limit", "counts"),
    [
        (torch.nan, True, 20, {"invalid": 6, "broken": 6}),
        (torch.inf, True, 20, {"invalid": 6, "broken": 6}),
        (letters, True, 20, {"truncated": 6}),
        (letters, False, 20, {"truncated": 6}),
        (special, True, 150, {}),  # the expression has no place for them
        (special, False, 20, {"truncated": 6}),  # one after the other, without end
        (end, False, 20, {"invalid": 6}),
    ],
    ids=["NaN", "infinite", "words", "words-free", "special", "special-free", "end-free"],
)
def test_what_a_misbehaving_model_does_is_on_record(place, monkeypatch, wrong, constrained, limit, counts):
    task, folder = place
    loaded = decode.load(MODEL, "cpu", "float32")
    favoured = torch.tensor(wrong(loaded.tokenizer)) if callable(wrong) else None

    def change(_module, _input, logits):
        return logits.fill_(wrong) if favoured is None else logits.index_fill(-1, favoured, 1e4)

    loaded.model.get_output_embeddings().register_forward_hook(change)
    monkeypatch.setattr(decode, "load", lambda *_: loaded)
    run = decode_run(MODEL, task, folder, replace(SETTINGS, constrained=constrained, max_new_tokens=limit))
    assert (run["status"], run["reason"]) == ("complete", "")
    assert {name: run[name] for name in NONE} == NONE | counts
    assert "<" not in "".join(line["prediction"] for line in JsonLines(folder / "predictions.jsonl").read())
    rows = score_run(spec_of(MODEL), folder / "predictions.jsonl", task.by_key)
    scores = bucket_scores(pd.DataFrame(rows, columns=list(QUERY_COLUMNS)))
    assert scores.n.max() == 42
    assert scores.accuracy[scores.n > 0].between(0, 100).all()


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("at", ["first", "middle", "last"])
def test_out_of_memory_is_on_record_and_changes_no_line(place, monkeypatch, capsys, at):
    task, folder = place
    loaded, forward, calls = decode.load(MODEL, "cpu", "float32"), loop.forward, []
    monkeypatch.setattr(decode, "load", lambda *_: loaded)

    def counted(*arguments, **more):
        calls.append(at)
        if len(calls) == stop:
            raise torch.OutOfMemoryError("injected")
        return forward(*arguments, **more)

    for room in (loop, stems):  # steps, prefills
        monkeypatch.setattr(room, "forward", counted)
    stop = 0
    decode_run(MODEL, task, folder, SETTINGS)
    truth = sorted((folder / "predictions.jsonl").read_text().splitlines())
    shutil.rmtree(folder)
    stop = {"first": 1, "middle": len(calls) // 2, "last": len(calls)}[at]
    calls.clear()
    run = decode_run(MODEL, task, folder, SETTINGS)
    assert (run["status"], run["halvings"], run["batch_size"]) == ("complete", 1, 1)
    assert sorted((folder / "predictions.jsonl").read_text().splitlines()) == truth
    assert "out of memory with 2 prompts at a time; going on with 1\n" in capsys.readouterr().err


def test_an_error_nobody_foresaw_is_the_models(place, monkeypatch, capsys):
    task, folder = place

    def fail(*_):
        raise KeyError("rope")

    monkeypatch.setattr(decode, "load", fail)
    run = decode_run(MODEL, task, folder, SETTINGS)
    assert run["status"] == "failed"
    assert run["reason"].startswith("KeyError: 'rope' (test_faults.py, line ")
    assert f"{MODEL}: failed: KeyError" in capsys.readouterr().err


def test_time_and_work_of_interrupted_parts_add_up():
    old = {"seconds": 5.0, "halvings": 1, "broken": 2, "batch_size": 8}
    assert decode.spent_so_far(old) == {"seconds": 5.0, "halvings": 1, "broken": 2, "batch_size": 8}

    class Work:
        forwards, tokens, rows, halvings, way = 4, 10, 3, 2, "engine"
        counted = staticmethod({"broken": 1}.get)

    class Decoder:
        work = Work()

    expected = {"seconds": 6.5, "halvings": 3, "broken": 3, "batch_size": 3, "way": "engine", "tokens_per_forward": 2.5}
    assert decode.spent_so_far(old, 1.5, Decoder()) == expected


# ------------------------------------------------------------------------------------------------ what is committed


def test_all_that_was_injected_last_held():
    table = pd.read_csv(ROOT / "data/bench/faults.csv")
    assert (table.survived == table.injected).all()

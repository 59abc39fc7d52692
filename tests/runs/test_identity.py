"""Two checkpoints never share a row: a run knows its weights by their hash, whatever folder they
came from."""

import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from scenarios_fixture import write_dataset

from boxes.models import Checkpoint, checkpoint, find, find_row, hub
from boxes.models.checkpoint import UNVERIFIED
from boxes.models.table import MODELS, TINY_FOLDER
from boxes.records import UserError, read_json, sha256_file, write_json
from boxes.runs import decode
from boxes.runs.agreement import check_free, same_identity
from boxes.runs.decode import decode_run
from boxes.runs.task import Settings, read_task

SETTINGS = Settings(device="cpu", dtype="float32", max_new_tokens=30)  # altered weights find no end
SPEC = MODELS["CodeLlama-7b-hf"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def records(tmp_path, monkeypatch) -> Path:
    """What is recorded on this machine: nothing yet. No hub's cache."""
    monkeypatch.setattr(hub, "REVISIONS", tmp_path / "records" / "revisions.json")
    monkeypatch.setattr(hub, "VERIFIED", tmp_path / "records" / "verified.json")
    monkeypatch.setattr(checkpoint, "cache_folder", lambda *_: None)
    monkeypatch.delenv("MODELS_DIR", raising=False)
    return tmp_path / "records"


@pytest.fixture
def task(tmp_path):
    return read_task(write_dataset(tmp_path / "test-t5.jsonl", count=1, operations=1))


def place(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(TINY_FOLDER / "tiny-base", folder))


def alter(folder: Path) -> None:
    """Other weights of the same size, in a file with the same time."""
    path = folder / "model.safetensors"
    tensors, times = load_file(path), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    tensors["lm_head.weight"] = tensors["lm_head.weight"].flip(0).contiguous()
    size = path.stat().st_size
    save_file(tensors, path, metadata={"format": "pt"})
    os.utime(path, ns=times)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, times[1])


def reconfigure(folder: Path) -> None:
    write_json(folder / "config.json", read_json(folder / "config.json") | {"rms_norm_eps": 0.5})


def identity(folder: Path) -> str:
    return find(folder).sha256


def test_the_folder_does_not_matter_and_the_content_does(tmp_path):
    one, other = place(tmp_path / "a" / "model"), place(tmp_path / "b" / "another-name")
    assert identity(one) == identity(other) == identity(TINY_FOLDER / "tiny-base")
    (other / "README.md").write_text("no part of what it says")
    assert identity(one) == identity(other)
    for change in (alter, reconfigure):
        change(other)
        assert identity(one) != identity(other)
        shutil.rmtree(other)
        place(other)


@pytest.mark.parametrize("change", [alter, reconfigure])
def test_two_local_folders_of_one_name_share_no_predictions(change, tmp_path, task, capsys):
    one, other = place(tmp_path / "a" / "model"), place(tmp_path / "b" / "model")
    change(other)
    first = decode_run(str(one), task, tmp_path / "run", SETTINGS)
    again = decode_run(str(one), task, tmp_path / "run", SETTINGS)
    assert (first["status"], again) == ("complete", first)
    second = decode_run(str(other), task, tmp_path / "run", SETTINGS)
    assert second["status"] == "complete"
    assert second["model"] == first["model"] == "model"
    assert second["checkpoint_sha256"] != first["checkpoint_sha256"]
    assert "predictions with other settings are kept" in capsys.readouterr().err
    assert read_json(tmp_path / "run" / "superseded-1" / "run.json") == first


def test_other_weights_in_models_dir_share_no_predictions(tmp_path, task, monkeypatch):
    """They were taken at their owner's word: now a changed file begins a new run."""
    folder = place(tmp_path / "models" / SPEC.name)
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    first = decode_run(SPEC.name, task, tmp_path / "run", SETTINGS)
    assert first["revision"] == UNVERIFIED.format(SPEC.revision)
    alter(folder)
    second = decode_run(SPEC.name, task, tmp_path / "run", SETTINGS)
    assert (first["status"], second["status"], second["revision"]) == ("complete", "complete", first["revision"])
    assert second["checkpoint_sha256"] != first["checkpoint_sha256"]
    assert (tmp_path / "run" / "superseded-1").is_dir()


def test_weights_in_models_dir_that_were_recorded_are_of_the_commit(tmp_path, monkeypatch):
    folder = place(tmp_path / "models" / SPEC.name)
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    hub.record(SPEC.hub_id, SPEC.revision, {path.name: sha256_file(path) for path in folder.iterdir()})
    assert find_row(SPEC).revision == SPEC.revision
    alter(folder)
    assert find_row(SPEC).revision == UNVERIFIED.format(SPEC.revision)


def test_a_snapshot_is_known_by_what_was_recorded_without_being_read(tmp_path, monkeypatch):
    snapshot = place(tmp_path / "models--codellama--CodeLlama-7b-hf" / "snapshots" / SPEC.revision)
    expected = Checkpoint(SPEC, snapshot, snapshot).sha256
    hub.record(SPEC.hub_id, SPEC.revision, {path.name: sha256_file(path) for path in snapshot.iterdir()})
    monkeypatch.setattr(hub, "sha256_file", lambda path: pytest.fail(f"{path} was read"))
    known = Checkpoint(SPEC, snapshot, snapshot)
    assert (known.sha256, known.revision) == (expected, SPEC.revision)


def test_a_large_file_is_read_once_and_again_when_it_changed(tmp_path, monkeypatch, capsys):
    folder, read = place(tmp_path / "model"), []
    monkeypatch.setattr(hub, "REMEMBERED", 10**6)
    monkeypatch.setattr(hub, "SAID", 10**6)
    monkeypatch.setattr(hub, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    path = folder / "model.safetensors"
    first = hub.file_sums([path])
    assert hub.file_sums([path]) == first == {path: sha256_file(path)}
    assert read == ["model.safetensors"]
    alter(folder)  # which leaves size and time as they were
    assert hub.file_sums([path]) == {path: sha256_file(path)} != first
    assert len(read) == 2
    assert f"{folder}: reading 0 GB for their checksums, once" in capsys.readouterr().err


def test_runs_of_before_stay_readable():
    """They say the revision alone, which stands for the weights unless they were taken at their
    owner's word."""
    now = {"revision": "a" * 40, "checkpoint_sha256": "x", "model": "m", "prompt_format": "plain", "prompt_sha256": "p",
           "prompt_ids_sha256": "i",
           "regex": None, "max_new_tokens": 1, "dataset_sha256": "d", "selection": "all", "dtype": "float32"}  # fmt: skip
    old = {key: value for key, value in now.items() if key != "checkpoint_sha256"}
    assert same_identity(now, now)
    assert same_identity(old, now)
    assert not same_identity(old | {"revision": "b" * 40}, now)
    assert not same_identity(now | {"checkpoint_sha256": "y"}, now)
    assert not same_identity(now | {"dtype": "bfloat16"}, now)
    unverified = {"revision": UNVERIFIED.format("a" * 40)}
    assert same_identity(now | unverified, now | unverified)
    assert not same_identity(old | unverified, now | unverified)
    check_free(old, now, Path("folder"))
    with pytest.raises(UserError, match="checkpoint_sha256 is 'y', with the expression 'x'"):
        check_free(now | {"checkpoint_sha256": "y"}, now, Path("folder"))


def test_run_json_says_which_way(tmp_path, task):
    run = decode_run("tiny-base", task, tmp_path / "run", SETTINGS)
    assert (run["way"], len(run["checkpoint_sha256"])) == ("engine", 64)
    assert read_json(tmp_path / "run" / "run.json") == run


def test_a_run_resolves_its_model_and_reads_each_file_once(tmp_path, task, monkeypatch):
    found, read = [], []
    monkeypatch.setattr(decode, "find", lambda name: found.append(name) or find(name))
    monkeypatch.setattr(checkpoint, "find_row", lambda spec: found.append(spec) or find_row(spec))
    monkeypatch.setattr(hub, "sha256_file", lambda path: read.append(path.name) or sha256_file(path))
    for _ in range(2):  # a whole run, and one that finds it complete
        run = decode_run("tiny-base", task, tmp_path / "run", SETTINGS)
        assert (run["status"], found) == ("complete", ["tiny-base", MODELS["tiny-base"]])
        assert sorted(read) == sorted(set(read))
        assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(read)
        found.clear()
        read.clear()

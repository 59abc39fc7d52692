"""Experiment 04 from its command line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running_fixture import MODEL, lines, said

from boxes.models.table import TINY_FOLDER
from boxes.records import read_json

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("one_thread", "no_models_elsewhere")


def script(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run an experiment from the repository's root as Make does."""
    command = [sys.executable, f"experiments/{name}", *map(str, arguments)]
    env = {key: value for key, value in os.environ.items() if key != "MODELS_DIR"}
    env |= {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


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
def test_04_with_bad_arguments(data, tmp_path, arguments, message, capsys):
    arguments = [str(data) if argument == "DATA" else argument for argument in arguments]
    done = said(capsys, "04_decode.py", *arguments, "--out", tmp_path / "run")
    assert done.status == 2
    assert done.err.startswith(message)
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_04_makes_the_runs_beside_a_models_own(decoded):
    assert {path.parent.name for path in decoded.glob("tiny-base/*/run.json")} == {"free"}
    assert {path.parent.name for path in decoded.glob("tiny-chat/*/run.json")} == {"free", "dev-plain", "dev-chat"}
    for path in decoded.glob("*/*/run.json"):
        run, own = read_json(path), read_json(path.parent.parent / "run.json")
        assert run["status"] == own["status"] == "complete"
        assert (run["regex"] is None) is (path.parent.name == "free")
        assert run["prompt_format"] == path.parent.name.removeprefix("dev-").replace("free", own["prompt_format"])


def test_04_begins_nothing_beside_a_run_that_failed(data, tmp_path, capsys):
    broken = shutil.copytree(TINY_FOLDER / "tiny-chat", tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    arguments = ("--model", broken, "--data", data, "--out", tmp_path / "run", "--dev", data, "--device", "cpu")
    done = said(capsys, "04_decode.py", *arguments)
    assert done.status == 0
    assert [path.name for path in tmp_path.rglob("run.json")] == ["run.json"]
    assert read_json(tmp_path / "run/run.json")["status"] == "failed"

"""The dataset and the runs that several files look at."""

from pathlib import Path

import pytest
from running_fixture import MODEL, SETTINGS
from scenarios_fixture import write_dataset
from scripts_fixture import run_script

from boxes.models import checkpoint, loading
from boxes.runs import decode
from boxes.runs.decode import decode_run
from boxes.runs.task import read_task


@pytest.fixture
def no_models_elsewhere(monkeypatch, tmp_path):
    """Weights lie in this repository alone."""
    monkeypatch.delenv("MODELS_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setattr(checkpoint, "cache_folder", lambda *_: None)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Eight descriptions: two scenarios after 0 to 3 operations."""
    return write_dataset(tmp_path_factory.mktemp("data") / "test-t5.jsonl", count=2, operations=3)


@pytest.fixture
def task(data):
    return read_task(data)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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

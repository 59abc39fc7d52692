"""What make all ends with where a model could not be run: its name, and why."""

from pathlib import Path

from scripts_fixture import run_script

from boxes.models.table import models_of
from boxes.records import write_json


def add_run(runs: Path, folder: str, status: str, reason: str = "") -> None:
    model = folder.split("/")[0]
    write_json(runs / folder / "run.json", {"model": model, "status": status, "reason": reason})


def ended(capsys, runs: Path, *more: str, profile: str = "tiny") -> tuple[int | str | None, list[str]]:
    status = run_script("tools/unfinished.py", "--profile", profile, "--runs", runs, *more)
    out, err = capsys.readouterr()
    assert out == ""
    return status, [" ".join(line.split()) for line in err.splitlines()]


def test_nothing_is_said_where_all_models_were_run(tmp_path, capsys):
    for spec in models_of("tiny"):
        add_run(tmp_path, spec.name, "complete")
        add_run(tmp_path, f"{spec.name}/free", "complete")
    add_run(tmp_path, "tiny-base/superseded-1", "partial")
    assert ended(capsys, tmp_path) == (0, [])
    assert ended(capsys, tmp_path / "none", profile="reported") == (0, [])


def test_models_that_failed_or_were_not_run_are_named_with_the_reason(tmp_path, capsys):
    add_run(tmp_path, "tiny-base", "complete")
    add_run(tmp_path, "tiny-base/free", "failed", "CUDA out of memory.")
    add_run(tmp_path, "tiny-more", "complete")
    add_run(tmp_path, "tiny-code", "failed", 'x: a .bin file is "damaged", or worse; fetch the model again')
    add_run(tmp_path, "tiny-code/free", "not run", "for the same reason")
    add_run(tmp_path, "tiny-math", "not run", "no weights here")
    status, lines = ended(capsys, tmp_path)
    assert status == 3
    assert lines == [
        "Models without results:",
        "model status why",
        "tiny-base/free failed CUDA out of memory.",
        'tiny-code failed x: a .bin file is "damaged", or worse; fetch the model again',
        "tiny-math not run no weights here",
        "tiny-chat not run no run.json; decode first",
        "Weights come from MODELS_DIR=folder (a folder a model) or by make weights PROFILE=tiny; what failed is said above.",
        "Then make all PROFILE=tiny runs what is missing and keeps the rest.",
    ]


def test_models_narrow(tmp_path, capsys):
    add_run(tmp_path, "tiny-base", "complete")
    assert ended(capsys, tmp_path, "--models", "tiny-base") == (0, [])
    status, lines = ended(capsys, tmp_path, "--models", "tiny-base", "tiny-chat")
    assert (status, lines[2:-2]) == (3, ["tiny-chat not run no run.json; decode first"])
    assert ended(capsys, tmp_path, "--models", "gemma-7b")[0] == 2

"""What the tests of runs on disk share: settings, what a kill leaves, what a script says."""

from pathlib import Path
from types import SimpleNamespace

from scripts_fixture import run_script

from boxes.models.table import spec_of
from boxes.records import read_json, write_json
from boxes.runs.folder import score_run
from boxes.runs.task import Settings

MODEL = "tiny-base"
SETTINGS = Settings(batch_size=2, device="cpu", dtype="float32")


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


def said(capsys, name: str, *arguments: object) -> SimpleNamespace:
    """An experiment run in this process: its exit status, stdout and stderr."""
    capsys.readouterr()
    status = run_script(name, *arguments)
    out, err = capsys.readouterr()
    return SimpleNamespace(status=status, out=out, err=err)

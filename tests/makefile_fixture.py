"""What a `make -n` would run, and a checkout that looks as if something had run."""

import contextlib
import json
import re
import subprocess
from pathlib import Path

from checkout_fixture import make

from boxes.models.table import models_of, spec_of
from boxes.runs.plan import folders_beside
from boxes.runs.status import write_status

TINY = ("tiny-base", "tiny-more", "tiny-code", "tiny-math", "tiny-chat")


def scripts(result: subprocess.CompletedProcess) -> list[str]:
    """The numbered experiments and modules that a `make -n` would run."""
    assert result.returncode == 0, result.stderr
    return re.findall(r"experiments/(\d\d_\w+)\.py|-m (paper\.\w+)", result.stdout)


def names(result: subprocess.CompletedProcess) -> list[str]:
    return [experiment or module for experiment, module in scripts(result)]


def pretend_decoded(folder: Path, statuses: dict[str, str] | None = None) -> None:
    """Runs of the tiny models, complete but for those in `statuses`, and a status.csv newer than
    all it depends on."""
    assert make(folder, "data/runs/tiny/.settings").returncode == 0
    runs = Path("data/runs/tiny")
    for model in TINY:
        for name in (model, *(f"{model}/{other}" for other in folders_beside(spec_of(model)))):
            said = {"model": model, "status": (statuses or {}).get(name, "complete"), "reason": "", "seconds": 1.0}
            (folder / runs / name).mkdir(parents=True, exist_ok=True)
            (folder / runs / name / "predictions.jsonl").touch()
            (folder / runs / name / "run.json").write_text(json.dumps(said))
    with contextlib.chdir(folder):
        write_status(runs / "status.csv", models_of("tiny"), runs)


def pretend_data(folder: Path) -> None:
    assert make(folder, "data/boxes/.settings").returncode == 0
    for name in ("train-t5", "dev-t5", "test-t5", "test-subsample-states-t5"):
        (folder / f"data/boxes/{name}.jsonl").touch()

"""Results and references of invented numbers, and what experiments/tools/check.py says of them."""

from pathlib import Path

import pandas as pd
from scripts_fixture import run_script

from boxes.claims.judging import FAILS, HOLDS, NOT_RUN
from boxes.models.table import models_of
from boxes.records import write_csv
from boxes.score_tables import NUM_OPS, RANDOM, with_accuracy

TINY = [spec.name for spec in models_of("tiny")]
PAPER = [spec.name for spec in models_of("paper")]
N = {"all": 800, "1+": 700} | dict.fromkeys("01234567", 100)
VERDICTS = {"first": HOLDS, "second": FAILS, "third": NOT_RUN}


def write(folder: Path, models: list[str], scores: str = "scores.csv", **changed: int) -> Path:
    """Results of some models, half of every bucket right; changed: answers more, by bucket, of the
    first model."""
    rows = [(model, num_ops, N[num_ops], N[num_ops] // 2) for model in (RANDOM, *models) for num_ops in NUM_OPS]
    table = pd.DataFrame(rows, columns=["model", "num_ops", "n", "correct"])
    for num_ops, answers in changed.items():
        table.loc[(table.model == models[0]) & (table.num_ops == num_ops.strip("k")), "correct"] += answers
    write_csv(folder / scores, with_accuracy(table))
    write_csv(folder / "code.csv", pd.DataFrame([{"base": "a", "treated": "b", "num_ops": "all", "difference": 1.0}]))
    claim(folder, VERDICTS)
    return folder


def claim(folder: Path, verdicts: dict[str, str], reported: dict[str, str] | None = None, number: float = 2.5) -> None:
    """claims.csv."""
    write_csv(
        folder / "claims.csv",
        pd.DataFrame({"id": verdicts.keys(), "verdict": verdicts.values(),
                      "verdict_reported": (reported or verdicts).values(), "measure": "gain at 1+ (points)",
                      "number": number, "low": 1.25, "high": 3.75, "number_reported": 2.0}),
    )  # fmt: skip


def check(tmp_path: Path, capsys, profile: str, *more: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    capsys.readouterr()
    status = run_script("tools/check.py", "--profile", profile, "--results", tmp_path / "results",
                        "--reference", tmp_path / "reference", *more)  # fmt: skip
    return status, *capsys.readouterr()


def line(out: str, *starts: str) -> list[str]:
    """The cells of the printed line that begins with these."""
    found = [
        cells for row in out.splitlines() if (cells := row.split("  ")) and row.split()[: len(starts)] == list(starts)
    ]
    assert len(found) == 1, out
    return [cell.strip() for cell in found[0] if cell.strip()]

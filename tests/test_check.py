"""experiments/check.py: what has to agree with the reference, and by how much it may differ."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = "id,verdict\nfirst,holds\n"


def scores(folder: Path, correct: dict[tuple[str, str], int], n: int = 100) -> None:
    rows = [
        {
            "model": model,
            "num_ops": num_ops,
            "n": n,
            "correct": right,
            "accuracy": 100 * right / n,
            "ci_low": 0,
            "ci_high": 1,
        }
        for (model, num_ops), right in correct.items()
    ]
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "scores.csv", index=False)
    (folder / "claims.csv").write_text(CLAIMS)
    pd.DataFrame([{"base": "a", "treated": "b", "num_ops": "all", "difference": correct["a", "all"] / 10}]).to_csv(
        folder / "code.csv", index=False
    )


def check(tmp_path: Path, profile: str, *more: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "experiments/check.py", "--profile", profile, "--results", str(tmp_path / "results"),
               "--reference", str(tmp_path / "reference"), *more]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "."}, capture_output=True, text=True, timeout=120
    )


SAME = {("a", "all"): 50, ("a", "1+"): 20, ("b", "all"): 60, ("b", "1+"): 30}


def test_the_same_agrees(tmp_path):
    scores(tmp_path / "results", SAME)
    assert check(tmp_path, "tiny", "--write").returncode == 0
    result = check(tmp_path, "tiny")
    assert result.returncode == 0, result.stderr
    assert "code.csv: 1 rows agree" in result.stdout
    assert "claims.csv: 1 holds" in result.stdout
    assert "check: all agrees" in result.stdout


@pytest.mark.parametrize(("profile", "off", "agrees"), [("tiny", 2, True), ("tiny", 3, False), ("reported", 1, False)])
def test_how_much_a_cell_may_differ(tmp_path, profile, off, agrees):
    scores(tmp_path / "reference", SAME)
    scores(tmp_path / "results", SAME | {("a", "all"): 50 + off})
    result = check(tmp_path, profile)
    assert (result.returncode == 0) is agrees
    assert ("a, num_ops all" in result.stderr) is not agrees
    assert ("not judged" in result.stdout) is (profile == "tiny")  # what follows from a score that differs


def test_a_wrong_summary_of_the_same_scores_is_a_mismatch(tmp_path):
    scores(tmp_path / "reference", SAME)
    scores(tmp_path / "results", SAME)
    (tmp_path / "results/claims.csv").write_text(CLAIMS.replace("holds", "does not hold"))
    result = check(tmp_path, "tiny")
    assert result.returncode == 1
    assert "claims.csv: 1 of 1 rows differ from the reference, first: id first" in result.stderr


def test_the_paper_allows_another_test_set_and_models_not_run(tmp_path):
    scores(tmp_path / "reference", SAME)
    (tmp_path / "reference/scores.csv").rename(tmp_path / "reference/table6.csv")
    scores(tmp_path / "results", {("a", "all"): 54, ("a", "1+"): 40})
    result = check(tmp_path, "paper")
    assert result.returncode == 0, result.stderr
    assert "check: all agrees; 1 of 2 models were not run" in result.stdout
    scores(tmp_path / "results", {("a", "all"): 57, ("a", "1+"): 20})
    assert check(tmp_path, "paper").returncode == 1


def test_nothing_run_is_no_agreement(tmp_path):
    scores(tmp_path / "reference", SAME)
    (tmp_path / "reference/scores.csv").rename(tmp_path / "reference/table6.csv")
    scores(tmp_path / "results", SAME)
    (tmp_path / "results/scores.csv").write_text("model,num_ops,n,correct,accuracy,ci_low,ci_high\n")
    result = check(tmp_path, "paper")
    assert result.returncode == 3
    assert "none of 2 models was run" in result.stderr


def test_no_reference_is_said_in_one_line(tmp_path):
    scores(tmp_path / "results", SAME)
    result = check(tmp_path, "tiny")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "scores.csv: no such file" in result.stderr

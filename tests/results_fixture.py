"""Small result folders, made in code: the reported profile from the paper's counts, and others from invented ones."""

from pathlib import Path

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from boxes.models import models_of
from boxes.records import read_csv, write_csv
from paper.results import NUM_OPS, RANDOM, REPORTED

SIZES = {"0": 40, "1": 30, "2": 20, "3": 10, "4": 8, "5": 6, "6": 4, "7": 2}
SIZES |= {"all": sum(SIZES.values()), "1+": sum(SIZES.values()) - SIZES["0"]}
EFFECTS = {"code": 1, "math": 2, "alignment": 3}


def score_row(model: str, num_ops: str, n: int, correct: float) -> dict:
    """A line of scores.csv with its Wilson interval."""
    low, high = proportion_confint(correct, n, method="wilson")
    accuracy, low, high = (100 * value for value in (correct / n, low, high))
    cell = {"model": model, "num_ops": num_ops, "n": n, "correct": correct, "accuracy": accuracy}
    return cell | {"ci_low": max(low, 0.0), "ci_high": min(high, 100.0)}


def reported_scores() -> pd.DataFrame:
    """scores.csv of the reported profile: the paper's counts, and its random row as printed."""
    lines = []
    for row in read_csv(REPORTED).to_dict("records"):
        if row["model"] == RANDOM:
            lines.append(row | {"ci_low": None, "ci_high": None})
        else:
            lines.append(score_row(row["model"], row["num_ops"], row["n"], row["correct"]))
    return pd.DataFrame(lines)


def invented_scores(models: list[str]) -> pd.DataFrame:
    """scores.csv for some models: accuracy falls with every operation, and differs from model to model."""
    lines = []
    for place, model in enumerate([RANDOM, *models]):
        correct = {k: n // (2 + int(k) + place % 3) for k, n in SIZES.items() if k.isdigit()}
        correct |= {"all": sum(correct.values()), "1+": sum(correct.values()) - correct["0"]}
        lines += [score_row(model, num_ops, SIZES[num_ops], correct[num_ops]) for num_ops in NUM_OPS]
    return pd.DataFrame(lines)


def write_scores(folder: Path, profile: str, models: list[str] | None = None) -> Path:
    """scores.csv alone, as tables and figures need it. `models`: those that were run (default: all)."""
    names = [spec.name for spec in models_of(profile)] if models is None else models
    frame = reported_scores() if profile == "reported" else invented_scores(names)
    write_csv(folder / "scores.csv", frame[frame["model"].isin([RANDOM, *names])])
    return folder

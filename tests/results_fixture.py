"""Small result folders, made in code: the reported profile from the paper's counts, and others from
invented ones."""

from pathlib import Path

import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from boxes.mistakes import count_errors
from boxes.models.pairs import pairs
from boxes.models.table import models_of
from boxes.records import read_csv, write_csv
from boxes.score_tables import NUM_OPS, RANDOM, reported_scores

SIZES = {"0": 40, "1": 30, "2": 20, "3": 10, "4": 8, "5": 6, "6": 4, "7": 2}
SIZES |= {"all": sum(SIZES.values()), "1+": sum(SIZES.values()) - SIZES["0"]}
EFFECTS = {"code": 1, "math": 2, "alignment": 3}


def score_row(model: str, num_ops: str, n: int, correct: float) -> dict:
    """A line of scores.csv with its Wilson interval."""
    low, high = proportion_confint(correct, n, method="wilson")
    accuracy, low, high = (100 * value for value in (correct / n, low, high))
    cell = {"model": model, "num_ops": num_ops, "n": n, "correct": correct, "accuracy": accuracy}
    return cell | {"ci_low": max(low, 0.0), "ci_high": min(high, 100.0)}


def invented_scores(models: list[str]) -> pd.DataFrame:
    """scores.csv for some models: accuracy falls with every operation, and differs from model to
    model."""
    lines = []
    for place, model in enumerate([RANDOM, *models]):
        correct = {k: n // (2 + int(k) + place % 3) for k, n in SIZES.items() if k.isdigit()}
        correct |= {"all": sum(correct.values()), "1+": sum(correct.values()) - correct["0"]}
        lines += [score_row(model, num_ops, SIZES[num_ops], correct[num_ops]) for num_ops in NUM_OPS]
    return pd.DataFrame(lines)


def write_scores(folder: Path, profile: str, models: list[str] | None = None) -> Path:
    """scores.csv alone, as tables and figures need it. `models`: those that were run (default:
    all)."""
    names = [spec.name for spec in models_of(profile)] if models is None else models
    frame = reported_scores() if profile == "reported" else invented_scores(names)
    write_csv(folder / "scores.csv", frame[frame["model"].isin([RANDOM, *names])])
    return folder


def effect_rows(experiment: int, profile: str, scores: pd.DataFrame) -> pd.DataFrame:
    """code.csv, math.csv or alignment.csv: differences of the scores, with an interval of +-5
    points."""
    cells = scores.set_index(["model", "num_ops"])
    run, lines = set(scores["model"]), []
    for pair in pairs(experiment, profile):
        names = {"base": pair.base.name, "treated": pair.treated.name}
        if not run.issuperset(names.values()):
            lines.append(names | {"num_ops": "all", "status": "not run"})
            continue
        for num_ops in NUM_OPS:
            base, treated = (cells.accuracy[name, num_ops] for name in names.values())
            lines.append(
                names | {"num_ops": num_ops, "n": cells.n[names["base"], num_ops], "base_accuracy": base,
                         "treated_accuracy": treated, "difference": treated - base, "ci_low": treated - base - 5,
                         "ci_high": treated - base + 5, "interval": "newcombe", "status": "complete"}
            )  # fmt: skip
    columns = ["base", "treated", "num_ops", "n", "base_accuracy", "treated_accuracy", "difference", "ci_low",
               "ci_high", "interval", "b", "c", "p_mcnemar", "p_holm", "status"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def run_rows(profile: str, run: set[str]) -> pd.DataFrame:
    """runs.csv: a line for every model."""
    lines = []
    for spec in models_of(profile):
        known = {"model": spec.name, "label": spec.label}
        if spec.name in run:
            lines.append(
                known | {"status": "complete", "reason": "", "examples": 716, "truncated": 0, "invalid": 1,
                         "broken": 0, "halvings": 2,
                         "seconds": 12.5, "statements_per_second": 57.3, "tokens_per_forward": 98.6,
                         "device": "cpu", "dtype": "float32",
                         "prompt_format": spec.prompt_format}
            )  # fmt: skip
        else:
            lines.append(known | {"status": "not run", "reason": "weights not found"})
    columns = ["model", "label", "status", "reason", "examples", "truncated", "invalid", "broken", "halvings", "seconds",
               "statements_per_second", "tokens_per_forward", "device", "dtype", "prompt_format"]  # fmt: skip
    return pd.DataFrame(lines, columns=columns)


def error_counts(model: str | None) -> pd.DataFrame:
    """errors.csv of one model, which missed two puts into boxes with one operation."""
    wrong = [("1", "missed put", True), ("1", "missed put", False)] if model else []
    queries = pd.DataFrame([(model, *row) for row in wrong], columns=["model", "num_ops", "kind", "initial"])
    return count_errors(queries.astype({"num_ops": int, "initial": bool}), [model] if model else [])


def write_results(folder: Path, profile: str, models: list[str] | None = None) -> Path:
    """Every CSV that the report reads."""
    write_scores(folder, profile, models)
    scores = read_csv(folder / "scores.csv")
    run = set(scores["model"]) - {RANDOM}
    for name, experiment in EFFECTS.items():
        write_csv(folder / f"{name}.csv", effect_rows(experiment, profile, scores))
    write_csv(folder / "runs.csv", run_rows(profile, run))
    random = scores[scores["model"] == RANDOM]
    write_csv(
        folder / "random.csv",
        pd.DataFrame({"num_ops": random.num_ops, "n": random.n, "expected": random.accuracy, "sampled": 33.25,
                      "sd_sampled": 0.5, "reported": random.accuracy, "subsample_sd": 0.7, "z": 1.5}),
    )  # fmt: skip
    claims = [
        ("code-helps", "3.3", "Code training helps.", "holds", "holds", "1+", "5 of 5 pairs", "5 of 5 pairs"),
        ("math", "3.4", "Math does not help.", "not run", "does not hold", "all", "", "one pair gains"),
    ]
    columns = ["id", "section", "claim", "verdict", "verdict_reported", "buckets", "detail", "detail_reported"]
    write_csv(folder / "claims.csv", pd.DataFrame(claims, columns=columns))
    formats = pd.DataFrame(columns=["model", "format", "n", "accuracy", "chosen", "reported_format"])
    free = pd.DataFrame(columns=["model", "decoding", "scorer", "num_ops", "n", "accuracy", "truncated", "invalid",
                                 "accepted_alone"])  # fmt: skip
    if run and profile != "reported":
        name = sorted(run)[0]
        formats.loc[0], formats.loc[1] = (name, "plain", 70, 41.5, 1, "plain"), (name, "chat", 70, 40.5, 0, "plain")
        for num_ops in NUM_OPS:
            for scorer, share, alone in (("authors", 21.25, 9), ("ours", 20.25, 1)):
                free.loc[len(free)] = (name, "free", scorer, num_ops, SIZES[num_ops], share, 3, 2, alone)
                free.loc[len(free)] = (name, "constrained", scorer, num_ops, SIZES[num_ops], 30.5, 0, 0, 0)
        write_csv(folder / "errors.csv", error_counts(name))
    elif profile != "reported":
        write_csv(folder / "errors.csv", error_counts(None))
    write_csv(folder / "prompt_format.csv", formats)
    write_csv(folder / "constrained.csv", free)
    return folder

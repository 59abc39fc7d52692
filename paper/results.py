"""What the experiments wrote, read once and checked: scores, the paper's own numbers, the state of each run."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boxes.models import PROFILES, ModelSpec, models_of
from boxes.records import UserError, read_csv
from boxes.scoring import BUCKETS, NUM_OPS, RANDOM, REPORTED

COLUMNS = ("all", *BUCKETS)  # the columns of Table 6, "Overall" first
NOT_RUN = "not run"
PRINTED = "printed"  # the state of a row of the profile `reported`: nothing was run


@dataclass(frozen=True)
class Score:
    """One cell: queries in the bucket; accuracy and its 95 % interval in per cent (None: not given)."""

    n: int
    accuracy: float | None
    ci_low: float | None = None
    ci_high: float | None = None


Scores = dict[tuple[str, str], Score]  # (model, num_ops) -> Score


@dataclass(frozen=True)
class Results:
    """The scores of one profile beside the paper's, and the rows they belong to in the order of Table 6."""

    profile: str
    specs: tuple[ModelSpec, ...]
    scores: Scores
    reported: Scores

    @property
    def ours(self) -> str:
        """What our numbers are called: those of `reported` are the paper's own, computed anew from its counts."""
        return "recomputed" if self.profile == "reported" else "reproduced"

    def is_run(self, model: str) -> bool:
        """Whether the model has complete scores."""
        return (model, "all") in self.scores

    def score(self, model: str, num_ops: str) -> Score | None:
        """The reproduced cell, None where there is none."""
        return self.scores.get((model, num_ops))

    def reported_score(self, model: str, num_ops: str) -> Score | None:
        """The paper's cell, None where the paper has none."""
        return self.reported.get((model, num_ops))

    def bucket_sizes(self) -> dict[str, int]:
        """Queries per bucket: the same for every row, so that any complete row tells."""
        for model in (RANDOM, *(spec.name for spec in self.specs)):
            if self.is_run(model):
                return {num_ops: s.n for num_ops in NUM_OPS if (s := self.score(model, num_ops))}
        return {}

    def missing(self) -> list[ModelSpec]:
        """Models of the profile without scores."""
        return [spec for spec in self.specs if not self.is_run(spec.name)]


def read_results(profile: str, folder: Path, reported: Path = REPORTED) -> Results:
    """Read scores.csv of a results folder, table6.csv of the folder `reported`. UserError names file and line."""
    specs = tuple(models_of(profile))
    scores = read_scores(folder / "scores.csv", {RANDOM, *(spec.name for spec in specs)}, intervals=True)
    # The tiny models are not the paper's, and they read a test set of their own: nothing to compare them with.
    paper = {} if profile == "tiny" else read_scores(reported / "table6.csv", known=None, intervals=False)
    return Results(profile, specs, scores, paper)


def read_scores(path: Path, known: set[str] | None, intervals: bool) -> Scores:
    """Read model,num_ops,n,accuracy[,ci_low,ci_high]. `known` names the models allowed, None allows any."""
    wanted = ("model", "num_ops", "n", "accuracy", *(("ci_low", "ci_high") if intervals else ()))
    frame = read_csv(path, wanted)
    scores: Scores = {}
    for number, row in enumerate(frame.to_dict("records"), 2):
        where = f"{path}: line {number}"
        model, num_ops = row["model"], row["num_ops"]
        if known is not None and model not in known:
            raise UserError(f"{where}: unknown model {model!r}; add it (make model) or score again")
        if num_ops not in NUM_OPS:
            raise UserError(f"{where}: num_ops {num_ops!r} is none of {', '.join(NUM_OPS)}; score again")
        if (model, num_ops) in scores:
            raise UserError(f"{where}: {model} has num_ops {num_ops} twice; score again")
        n = number_or_none(row["n"], f"{where}: n", high=None)
        accuracy = number_or_none(row["accuracy"], f"{where}: accuracy")
        if n is None or (accuracy is None and n > 0):
            raise UserError(f"{where}: n or accuracy is empty; score again")
        bounds = [number_or_none(row[name], f"{where}: {name}") for name in ("ci_low", "ci_high")] if intervals else []
        scores[model, num_ops] = Score(int(n), accuracy, *bounds)
    return scores


def read_table(path: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """A CSV's lines as dictionaries, the columns `numbers` as float or None. Raises UserError with file and line."""
    lines = read_csv(path, (*columns, *numbers)).to_dict("records")
    for line_number, line in enumerate(lines, 2):
        for name in numbers:
            line[name] = number_or_none(line[name], f"{path}: line {line_number}: {name}", low=float("-inf"), high=None)
        for name in columns:
            line[name] = "" if pd.isna(line[name]) else str(line[name])
    return lines


def number_or_none(value: object, where: str, low: float = 0.0, high: float | None = 100.0) -> float | None:
    """A cell as a float within [low, high]; None for an empty one. Raises UserError that begins with `where`."""
    if value is None or pd.isna(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where} is {value!r}, not a number; run the experiment again") from None
    high = float("inf") if high is None else high
    if not (math.isfinite(number) and low <= number <= high):
        raise UserError(f"{where} is {number:g}, outside {low:g} to {high:g}; run the experiment again")
    return number


def two_digits(value: float | None) -> str:
    """A percentage as the paper prints it; an en dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{value:.2f}"


def difference(reproduced: float | None, reported: float | None) -> float | None:
    """Reproduced minus reported, of the two as printed, so that a reader can check the subtraction."""
    if reproduced is None or reported is None:
        return None
    return round(round(reproduced, 2) - round(reported, 2), 2) + 0.0  # + 0.0: no minus zero


def signed(value: float | None, minus: str = "−") -> str:
    """A difference in percentage points with its sign."""
    if value is None or pd.isna(value):
        return "–"
    return "0.00" if round(value, 2) == 0 else f"{value:+.2f}".replace("-", minus)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that tables, figures and report share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", required=True, choices=PROFILES, help="which models the rows are")
    parser.add_argument("--results", required=True, type=Path, help="folder of the CSVs, data/results/PROFILE")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to, paper/out/PROFILE")
    parser.add_argument("--reported", type=Path, default=REPORTED, help="the paper's numbers (default: %(default)s)")
    return parser

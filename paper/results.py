"""What the experiments wrote, read once and checked: scores, the paper's own numbers, the state of each run."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boxes.models.pairs import MinimalPair, pairs
from boxes.models.table import NOT_CHOSEN, PROFILES, ModelSpec, models_of
from boxes.records import UserError, read_csv
from boxes.score_tables import BUCKETS, NUM_OPS, RANDOM, REPORTED

COLUMNS = ("all", *BUCKETS)  # the columns of Table 6, "Overall" first
NOT_RUN = "not run"
PRINTED = "printed"  # the state of a row of the profile `reported`: nothing was run
REFERENCE = REPORTED.parent / "reference" / "tiny"  # what the miniatures came to in the committed results


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
    """The scores of one profile beside what is expected of them, and their rows in the order of Table 6.

    specs: the rows that were asked for (MODELS); others of the profile are left out everywhere.
    expected: the paper's scores; for the miniatures, which the paper does not have, the committed reference.
    """

    profile: str
    specs: tuple[ModelSpec, ...]
    scores: Scores
    expected: Scores

    @property
    def ours(self) -> str:
        """What our numbers are called: those of `reported` are the paper's own, computed anew from its counts."""
        return "recomputed" if self.profile == "reported" else "reproduced"

    @property
    def theirs(self) -> str:
        """What the numbers beside ours are called."""
        return "reference" if self.profile == "tiny" else "reported"

    @property
    def names(self) -> set[str]:
        """The models that were asked for."""
        return {spec.name for spec in self.specs}

    def pairs(self, experiment: int) -> list[MinimalPair]:
        """The minimal pairs of an experiment of which both models were asked for."""
        found = pairs(experiment, self.profile)
        return [pair for pair in found if {pair.base.name, pair.treated.name} <= self.names]

    def is_run(self, model: str) -> bool:
        """Whether the model has complete scores."""
        return (model, "all") in self.scores

    def score(self, model: str, num_ops: str) -> Score | None:
        """The reproduced cell, None where there is none."""
        return self.scores.get((model, num_ops))

    def expected_score(self, model: str, num_ops: str) -> Score | None:
        """The paper's cell (or the reference's), None where there is none."""
        return self.expected.get((model, num_ops))

    def bucket_sizes(self) -> dict[str, int]:
        """Queries per bucket: the same for every row, so that any complete row tells."""
        for model in (RANDOM, *(spec.name for spec in self.specs)):
            if self.is_run(model):
                return {num_ops: s.n for num_ops in NUM_OPS if (s := self.score(model, num_ops))}
        return {}

    def missing(self) -> list[ModelSpec]:
        """Models that were asked for and have no scores."""
        return [spec for spec in self.specs if not self.is_run(spec.name)]


def read_results(profile: str, folder: Path, reported: Path = REPORTED, reference: Path = REFERENCE) -> Results:
    """Read the results folder of a profile and what is expected. UserError names file and line."""
    specs = tuple(models_of(profile))
    known = {RANDOM, *(spec.name for spec in specs)}
    scores = read_scores(folder / "scores.csv", known, intervals=True)
    left_out = not_chosen(folder / "runs.csv")
    specs = tuple(spec for spec in specs if spec.name not in left_out)
    if profile == "tiny":
        expected = read_reference(reference / "scores.csv", scores)
    else:
        expected = read_scores(reported / "table6.csv", known=None, intervals=False)
    return Results(profile, specs, scores, expected)


def not_chosen(path: Path) -> set[str]:
    """The models that MODELS left out, from runs.csv: neither run nor wanted."""
    if not path.exists():
        return set()
    runs = read_csv(path, ("model", "status"))
    return set(runs.model[runs.status == NOT_CHOSEN])


def read_reference(path: Path, ours: Scores) -> Scores:
    """The committed scores; nothing where our test set is another one than theirs (another SEED, the release)."""
    if not path.exists():
        return {}
    theirs = read_scores(path, known=None, intervals=False)
    same = all(ours[cell].n == score.n for cell, score in theirs.items() if cell in ours)
    return theirs if same else {}


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

"""What the experiments wrote, read once and checked: scores, the paper's own numbers, the state of
each run."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boxes.commandline import add_shared, argument_parser
from boxes.dataset import SUBSET
from boxes.models.pairs import MinimalPair, pairs
from boxes.models.table import NOT_CHOSEN, PROFILES, WITH_REFERENCE, ModelSpec, models_of
from boxes.records import number_or_none, read_csv
from boxes.runs.task import dataset_note, looked_at
from boxes.score_tables import BUCKETS, NUM_OPS, RANDOM, REPORTED, Score, Scores, read_scores

Names = tuple[str, ...]
COLUMNS = ("all", *BUCKETS)  # the columns of Table 6, "Overall" first
NOT_RUN = "not run"
PRINTED = "printed"  # the state of a row of the profile `reported`: nothing was run
REFERENCES = REPORTED.parent / "reference"  # committed results, a folder a profile


@dataclass(frozen=True)
class Results:
    """The scores of one profile beside what is expected of them, and their rows in the order of
    Table 6.

    specs: the rows that were asked for (MODELS); others of the profile are left out everywhere.
    expected: the paper's scores; for profiles that the paper does not have and that were decoded
    here, the committed reference; of another dataset none.
    """

    profile: str
    specs: tuple[ModelSpec, ...]
    scores: Scores
    expected: Scores
    note: str = ""  # said with every table and figure: of what dataset the scores are, where it is not the test set

    @property
    def ours(self) -> str:
        """What our numbers are called: those of `reported` are the paper's own, computed anew from
        its counts."""
        return "recomputed" if self.profile == "reported" else "reproduced"

    @property
    def theirs(self) -> str:
        """What the numbers beside ours are called."""
        return "reference" if self.profile in WITH_REFERENCE else "reported"

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

    def accuracy(self, model: str, num_ops: str) -> float | None:
        """Of the reproduced cell, None where there is none."""
        score = self.score(model, num_ops)
        return score.accuracy if score else None

    def gap(self, model: str, num_ops: str) -> float | None:
        """The reproduced cell minus the expected one, None where one is not there."""
        ours, theirs = self.score(model, num_ops), self.expected_score(model, num_ops)
        if ours is None or theirs is None:
            return None
        return difference(ours.accuracy, theirs.accuracy)

    def bucket_sizes(self) -> dict[str, int]:
        """Queries per bucket: the same for every row, so that any complete row tells."""
        for model in (RANDOM, *(spec.name for spec in self.specs)):
            if self.is_run(model):
                scores = {num_ops: self.score(model, num_ops) for num_ops in NUM_OPS}
                return {num_ops: score.n for num_ops, score in scores.items() if score}
        return {}

    def missing(self) -> list[ModelSpec]:
        """Models that were asked for and have no scores."""
        return [spec for spec in self.specs if not self.is_run(spec.name)]


def read_results(
    profile: str,
    folder: Path,
    reported: Path = REPORTED,
    references: Path = REFERENCES,
) -> Results:
    """Read the results folder of a profile and what is expected. UserError names file and line."""
    specs = tuple(models_of(profile))
    known = {RANDOM, *(spec.name for spec in specs)}
    scores = read_scores(folder / "scores.csv", known)
    left_out = not_chosen(folder / "runs.csv")
    specs = tuple(spec for spec in specs if spec.name not in left_out)
    names = datasets_of(folder / "runs.csv")
    note = " ".join(filter(None, map(dataset_note, names)))
    if any(name != SUBSET and not looked_at(name) for name in names):
        expected = {}  # which is of the test set, whatever the other one has of its states
    elif profile in WITH_REFERENCE:
        expected = read_reference(references / profile / "scores.csv", scores)
    else:
        expected = read_scores(reported / "table6.csv")
    return Results(profile, specs, scores, expected, note)


def datasets_of(path: Path) -> list[str]:
    """The names of the dataset files that the runs in runs.csv are of, as far as they say."""
    if not path.exists():
        return []
    runs = read_csv(path, ("model", "status"))
    if "dataset" not in runs:  # earlier versions did not say
        return []
    return sorted(set(runs.dataset.dropna()))


def captioned(results: Results, caption: str) -> str:
    """A caption, with what is to be said of the dataset."""
    return f"{caption} {results.note}".rstrip()


def not_chosen(path: Path) -> set[str]:
    """The models that MODELS left out, from runs.csv: neither run nor wanted."""
    if not path.exists():
        return set()
    runs = read_csv(path, ("model", "status"))
    return set(runs.model[runs.status == NOT_CHOSEN])


def read_reference(path: Path, ours: Scores) -> Scores:
    """The committed scores; nothing where our test set is another one than theirs (another SEED,
    the release)."""
    if not path.exists():
        return {}
    theirs = read_scores(path)
    same = all(ours[cell].n == score.n for cell, score in theirs.items() if cell in ours)
    return theirs if same else {}


def read_table(path: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """A CSV's lines as dictionaries, the columns `numbers` as float or None. Raises UserError with file and line."""
    lines = read_csv(path, (*columns, *numbers)).to_dict("records")
    for line_number, line in enumerate(lines, 2):
        where = f"{path}: line {line_number}"
        for name in numbers:
            line[name] = number_or_none(line[name], f"{where}: {name}", -math.inf, math.inf)
        for name in columns:
            line[name] = "" if pd.isna(line[name]) else str(line[name])
    return lines


def read_written(path: Path, columns: Names, numbers: Names, expected: bool) -> list[dict]:
    """`read_table` of a CSV that a profile without models does not write (`expected` False)."""
    if not expected and not path.exists():
        return []
    return read_table(path, columns, numbers)


def two_digits(value: float | None) -> str:
    """A percentage as the paper prints it; an en dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{value:.2f}"


def difference(reproduced: float | None, reported: float | None) -> float | None:
    """Reproduced minus reported, of the two as printed: a reader can check the subtraction."""
    if pd.isna(reproduced) or pd.isna(reported):
        return None
    return round(round(reproduced, 2) - round(reported, 2), 2) + 0.0  # + 0.0: no minus zero


def signed(value: float | None, minus: str = "−") -> str:
    """A difference in percentage points with its sign."""
    if value is None or pd.isna(value):
        return "–"
    return "0.00" if round(value, 2) == 0 else f"{value:+.2f}".replace("-", minus)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that tables, figures and report share."""
    parser = argument_parser(description)
    add_shared(parser, PROFILES, "results", "out_folder", reported=REPORTED)
    return parser

"""The score table (scores.csv, a row a model and bucket): counted, printed, of the random baseline,
and read again, by this file alone."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boxes.records import UserError, number_or_none, read_csv
from boxes.statistics import clustered_wilson, wilson
from boxes.world import BUCKETS

NONTRIVIAL = BUCKETS[1:]
NUM_OPS = (*BUCKETS, "all", "1+")
RANDOM = "Random"
SCORE_COLUMNS = ("model", "num_ops", "n", "correct", "accuracy", "ci_low", "ci_high")
COUNTED = SCORE_COLUMNS[:5]  # those that the paper's table has, too: it prints no intervals
RESTORE = "restore the file from the repository"
REPORTED = Path(__file__).resolve().parent.parent / "data" / "reported"


@dataclass(frozen=True)
class Score:
    """A cell: right answers of n queries (of the random baseline as many as are expected), accuracy
    and its 95 % interval in per cent: Wilson's, binomial for printed counts, with the design effect
    for our own. NaN: not given."""

    n: int
    correct: float
    accuracy: float
    low: float = math.nan
    high: float = math.nan


Scores = dict[tuple[str, str], Score]  # (model, num_ops) -> Score


def score_of(row) -> Score:
    """A row of a table with the columns n, correct, accuracy, ci_low and ci_high."""
    return Score(int(row.n), row.correct, row.accuracy, row.ci_low, row.ci_high)


def read_score_table(path: Path | str) -> pd.DataFrame:
    """The rows of a score table as they stand, a printed one's without intervals."""
    return read_csv(path, COUNTED)


def read_scores(path: Path | str, known: set[str] | None = None) -> Scores:
    """The cells of a score table, each number held to its range. `known` names the models allowed,
    None allows any. UserError names file and line."""
    scores: Scores = {}
    for number, row in enumerate(read_score_table(path).to_dict("records"), 2):
        where = f"{path}: line {number}"
        model, num_ops = row["model"], row["num_ops"]
        if known is not None and model not in known:
            raise UserError(f"{where}: unknown model {model!r}; add it (make model) or score again")
        if num_ops not in NUM_OPS and not re.fullmatch("[1-9][0-9]{0,2}", num_ops):
            buckets = ", ".join(NUM_OPS)
            raise UserError(f"{where}: num_ops {num_ops!r} is none of {buckets}; score again")
        if (model, num_ops) in scores:
            raise UserError(f"{where}: {model} has num_ops {num_ops} twice; score again")
        scores[model, num_ops] = _read_score(row, where)
    return scores


def _read_score(row: dict, where: str) -> Score:
    n = number_or_none(row["n"], f"{where}: n", high=math.inf)
    accuracy = number_or_none(row["accuracy"], f"{where}: accuracy")
    if n is None or (accuracy is None and n > 0):
        raise UserError(f"{where}: n or accuracy is empty; score again")
    correct = number_or_none(row["correct"], f"{where}: correct", high=math.inf)
    low = number_or_none(row.get("ci_low"), f"{where}: ci_low")
    high = number_or_none(row.get("ci_high"), f"{where}: ci_high")
    given = [math.nan if value is None else value for value in (correct, accuracy, low, high)]
    return Score(int(n), *given)


def bucket_scores(queries: pd.DataFrame, longer: bool = False) -> pd.DataFrame:
    """Rows '0'..'7', 'all', '1+' (and, `longer`, '8' and so on, as far as there are such) of
    num_ops,n,correct,accuracy,ci_low,ci_high (per cent), from rows of sample_id, num_ops and correct
    (0/1), one a query. The intervals are Wilson's at 95 % with the design effect of scenarios
    (statistics.clustered_wilson). A bucket without queries has n 0 and no accuracy."""
    rows = []
    names = NUM_OPS
    if longer:
        names = (*NUM_OPS, *map(str, sorted(set(queries.num_ops[queries.num_ops >= len(BUCKETS)]))))
    for name in names:
        inside = queries[in_bucket(queries.num_ops, name)]
        n, correct = len(inside), int(inside.correct.sum())
        accuracy = math.nan
        if n:
            accuracy = 100 * correct / n
        interval = clustered_wilson(inside.correct.to_numpy(), inside.sample_id.to_numpy())
        rows.append((name, n, correct, accuracy, *interval))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS[1:]))


def in_bucket(num_ops, name: str):
    """Which of the counts in an array or Series belong to the bucket '0'..'7', 'all' or '1+'."""
    if name == "all":
        return num_ops >= 0
    if name == "1+":
        return num_ops >= 1
    return num_ops == int(name)


def with_accuracy(counts: pd.DataFrame) -> pd.DataFrame:
    """The same rows with accuracy,ci_low,ci_high in per cent, from n and correct: of printed
    counts, whose answers are not known, so that the intervals are binomial."""
    low, high = wilson(counts.correct, counts.n)
    accuracy = 100 * counts.correct / counts.n.where(counts.n > 0)
    return counts.assign(accuracy=accuracy, ci_low=low, ci_high=high)


def reported_scores(folder: Path | str = REPORTED) -> pd.DataFrame:
    """Table 6 of the paper as scores: SCORE_COLUMNS from the restored counts."""
    path = Path(folder) / "table6.csv"
    table = read_csv(path, COUNTED, mend=RESTORE)
    random = table.model == RANDOM
    if table.correct[~random].isna().any():
        raise UserError(f"{path}: a model's row has no count; {RESTORE}")
    models = with_accuracy(table[~random].astype({"correct": int}))
    chance = random_scores(table.num_ops[random], table.n[random], table.accuracy[random])
    both = pd.concat([chance, models.astype({"correct": object})])
    return both[list(SCORE_COLUMNS)].reset_index(drop=True)


def random_scores(num_ops: pd.Series, n: pd.Series, accuracy: pd.Series) -> pd.DataFrame:
    """The rows of the random baseline: an expectation, the count it stands for, no interval."""
    # object: whole counts of models stay whole beside these
    counts = (accuracy * n / 100).round(4).astype(object)
    rows = {"num_ops": num_ops, "n": n, "correct": counts, "accuracy": accuracy}
    table = pd.DataFrame(rows).assign(model=RANDOM, ci_low=math.nan, ci_high=math.nan)
    return table[list(SCORE_COLUMNS)]

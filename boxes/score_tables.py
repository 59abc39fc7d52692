"""The score table: accuracy by number of operations that changed a box, counted, reported and random."""

from pathlib import Path

import pandas as pd

from boxes.records import UserError, read_csv
from boxes.statistics import clustered_wilson, wilson

BUCKETS = tuple("01234567")  # Table 6; a box that changed 8 times or more counts in "all" and "1+" only


NUM_OPS = (*BUCKETS, "all", "1+")


RANDOM = "Random"


SCORE_COLUMNS = ("model", "num_ops", "n", "correct", "accuracy", "ci_low", "ci_high")


RESTORE = "restore the file from the repository"


REPORTED = Path(__file__).resolve().parent.parent / "data" / "reported"


def bucket_scores(queries: pd.DataFrame) -> pd.DataFrame:
    """Rows '0'..'7', 'all', '1+' of num_ops,n,correct,accuracy,ci_low,ci_high (per cent), from rows
    of sample_id, num_ops and correct (0/1), one a query. The intervals are Wilson's at 95 % with
    the design effect of scenarios (statistics.clustered_wilson). A bucket without queries has n 0
    and no accuracy."""
    rows = []
    for name in NUM_OPS:
        inside = queries[in_bucket(queries.num_ops, name)]
        n, correct = len(inside), int(inside.correct.sum())
        interval = clustered_wilson(inside.correct.to_numpy(), inside.sample_id.to_numpy())
        rows.append((name, n, correct, 100 * correct / n if n else float("nan"), *interval))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS[1:]))


def in_bucket(num_ops, name: str):
    """Which of the counts in an array or Series belong to the bucket '0'..'7', 'all' or '1+'."""
    if name == "all":
        return num_ops >= 0
    return num_ops >= 1 if name == "1+" else num_ops == int(name)


def with_accuracy(counts: pd.DataFrame) -> pd.DataFrame:
    """The same rows with accuracy,ci_low,ci_high in per cent, from n and correct: of printed
    counts, whose answers are not known, so that the intervals are binomial."""
    low, high = wilson(counts.correct, counts.n)
    return counts.assign(accuracy=100 * counts.correct / counts.n.where(counts.n > 0), ci_low=low, ci_high=high)


def reported_scores(folder: Path | str = REPORTED) -> pd.DataFrame:
    """Table 6 of the paper as scores: SCORE_COLUMNS from the restored counts."""
    path = Path(folder) / "table6.csv"
    table = read_csv(path, ("model", "num_ops", "n", "correct", "accuracy"), mend=RESTORE)
    random = table.model == RANDOM
    if table.correct[~random].isna().any():
        raise UserError(f"{path}: a model's row has no count; {RESTORE}")
    models = with_accuracy(table[~random].astype({"correct": int}))
    chance = random_scores(table.num_ops[random], table.n[random], table.accuracy[random])
    return pd.concat([chance, models.astype({"correct": object})])[list(SCORE_COLUMNS)].reset_index(drop=True)


def random_scores(num_ops: pd.Series, n: pd.Series, accuracy: pd.Series) -> pd.DataFrame:
    """The rows of the random baseline: an expectation in per cent, the count it stands for, and no interval."""
    counts = (accuracy * n / 100).round(4).astype(object)  # object: whole counts of models stay whole beside these
    rows = {"num_ops": num_ops, "n": n, "correct": counts, "accuracy": accuracy}
    return pd.DataFrame(rows).assign(model=RANDOM, ci_low=float("nan"), ci_high=float("nan"))[list(SCORE_COLUMNS)]

"""Correctness of a statement, box by box, as the authors' release has it, and accuracy by bucket (Table 6)."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from boxes.completion import Status
from boxes.records import UserError, read_csv
from boxes.statistics import clustered_wilson, wilson

NUM_BOXES = 7
STATUSES = tuple(status.value for status in Status)
BUCKETS = tuple("01234567")  # Table 6; a box that changed 8 times or more counts in "all" and "1+" only
NUM_OPS = (*BUCKETS, "all", "1+")
RANDOM = "Random"
AUTHORS, OURS = "authors", "ours"  # the scorers of constrained.csv: release_scoring.py and this file
SCORE_COLUMNS = ("model", "num_ops", "n", "correct", "accuracy", "ci_low", "ci_high")
RESTORE = "restore the file from the repository"
REPORTED = Path(__file__).resolve().parent.parent / "data" / "reported"

_FIRST = re.compile(r"\s*(?:Statement:\s*)?Box 0 contains")
_NEXT = re.compile(r", Box ([0-6]) contains")  # 0 as well: a Box 0 named again is named twice


def score_statement(prediction: str, gold: Sequence[str], status: str = "ok") -> tuple[bool, ...]:
    """Which of the seven boxes a statement gets right.

    prediction: "Statement: Box 0 contains ..., Box 1 contains ..."; what follows the first period is dropped.
    gold: the seven true contents, "the car and the map" or "nothing".
    status: "ok" and "invalid" are read as they stand; in a "truncated" text the clause that was cut is wrong.
    A box that is missing, named twice or followed by nothing ("Box 4 contains,") is wrong. No prediction raises;
    ValueError for a gold that is not seven texts and for an unknown status.
    """
    if len(gold) != NUM_BOXES:
        raise ValueError(f"expected the contents of {NUM_BOXES} boxes, found {len(gold)}")
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; expected one of {', '.join(STATUSES)}")
    predicted = read_statement(prediction, cut=status == Status.TRUNCATED)
    return tuple(_same_contents(predicted.get(box), truth) for box, truth in enumerate(gold))


def read_statement(prediction: str, cut: bool = False) -> dict[int, str]:
    """The contents text of every box that is named exactly once; `cut` leaves out an unfinished last clause."""
    text, period, _ = prediction.partition(".")
    start = _FIRST.match(text)
    if not start:
        return {}
    first, *rest = _NEXT.split(text[start.end() :])
    clauses = [(0, first), *((int(box), contents) for box, contents in zip(rest[::2], rest[1::2], strict=True))]
    if cut and not period:
        clauses[-1:] = _finished(*clauses[-1])
    named = Counter(box for box, _ in clauses)
    return {box: contents for box, contents in clauses if named[box] == 1}


def _finished(box: int, contents: str) -> list[tuple[int, str]]:
    """The last clause of a cut text where only the head of the next clause was cut (", Bo"), else nothing."""
    contents, comma, head = contents.partition(",")
    return [(box, contents)] if comma and f" Box {box + 1} contains".startswith(head) else []


def _same_contents(predicted: str | None, truth: str) -> bool:
    """Equality of sets; an empty box must be exactly "nothing"."""
    if predicted is None or not predicted.startswith(" "):
        return False
    predicted = predicted.strip()
    if truth == "nothing":
        return predicted == truth
    return _objects(predicted) == _objects(truth)


def _objects(contents: str) -> set[str]:
    return {item.removeprefix("the ") for item in contents.split(" and ")}


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

"""Statements to look at: for each number of operations one query that models answered rightly and
wrongly.

The page shows them and stays in paper/out, which git ignores: the text of the task is not to be
published in the clear.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from boxes.dataset import Example, read_examples
from boxes.evaluation import true_statement
from boxes.mistakes import classify, divergence
from boxes.records import sha256_file
from boxes.runs.agreement import check_belongs
from boxes.runs.folder import Key, complete_predictions, read_run
from boxes.score_tables import BUCKETS
from boxes.scoring import score_statement
from boxes.world import NUM_BOXES
from paper.results import Results

SHOWN = 4  # different wrong statements about a query
Examples = dict[Key, Example]
Answers = dict[str, dict[Key, dict]]  # model -> key -> a line of its predictions
_PIECE = re.compile(r"[^.,]*[.,]\s*")


@dataclass(frozen=True)
class Wrong:
    """A statement that is wrong about the box: who made it, the kind of error, and its text cut at
    the first word that differs from the true statement (`differs` is empty where it ends too
    early)."""

    models: tuple[str, ...]
    kind: str
    before: str
    differs: str
    after: str


@dataclass(frozen=True)
class Shown:
    """A query: what its box is called; `pieces` of its description, True where they name it; the true
    statement and who made it; wrong ones, the most frequent first, and how many more models were
    wrong about the box."""

    num_ops: str
    box: str
    pieces: tuple[tuple[str, bool], ...]
    truth: str
    right: tuple[str, ...]
    wrong: tuple[Wrong, ...]
    more: int


def read_answers(results: Results, data: Path, runs: Path) -> tuple[Examples, Answers]:
    """The dataset's states by key, and the predictions of every model with scores. UserError for
    runs of other data."""
    examples = {(one.sample_id, one.num_operations): one for one in read_examples(data)}
    checksum, answers = sha256_file(data), {}
    for spec in results.specs:
        if results.is_run(spec.name):
            folder = runs / spec.name
            check_belongs(spec, read_run(spec, folder), folder, data, checksum)
            answers[spec.name] = complete_predictions(folder / "predictions.jsonl", examples)
    return examples, answers


def choose_queries(examples: Examples, answers: Answers) -> list[Shown]:
    """A query for each bucket that has any: the one at which most models go wrong for the first
    time in their statement while as many others are right throughout; the first of such in the
    dataset."""
    throughout, first_wrong = _tally(examples, answers)

    def worth(query: tuple[Key, int]) -> tuple[int, int]:
        wrong = first_wrong[query]
        return min(wrong, throughout[query[0]]), wrong

    queries = list(product(examples, range(NUM_BOXES)))
    shown = []
    for bucket in BUCKETS:
        inside = [(key, box) for key, box in queries if examples[key].num_ops[box] == int(bucket)]
        if inside:
            key, box = max(inside, key=worth)  # the first of equal ones
            lines = {name: predictions[key] for name, predictions in answers.items()}
            shown.append(_shown(bucket, box, examples[key], lines))
    return shown


def _tally(examples: Examples, answers: Answers) -> tuple[Counter, Counter]:
    """How many statements about a description are right throughout, and how many are wrong about a
    box for the first time."""
    throughout, first_wrong = Counter(), Counter()
    for lines in answers.values():
        for key, line in lines.items():
            right = score_statement(line["prediction"], examples[key].contents, line["status"])
            if all(right):
                throughout[key] += 1
            else:
                first_wrong[key, right.index(False)] += 1
    return throughout, first_wrong


def _shown(bucket: str, box: int, example: Example, lines: dict[str, dict]) -> Shown:
    truth, called = true_statement(example), example.wording.boxes[box]
    right, wrong = [], {}
    for name, line in lines.items():
        kinds = classify(example.description, line["prediction"], line["status"])
        if not any(kinds):
            right.append(name)
        elif kinds[box]:
            wrong.setdefault((line["written"], kinds[box]), []).append(name)
    # The most frequent first; equal ones stay in the order of the table.
    groups = sorted(wrong.items(), key=lambda group: -len(group[1]))
    shown = []
    for (text, kind), names in groups[:SHOWN]:
        shown.append(Wrong(tuple(names), kind, *divergence(text, truth)))
    more = sum(len(names) for _, names in groups[SHOWN:])
    pieces = [(piece, called in piece) for piece in _PIECE.findall(example.description)]
    return Shown(bucket, called, tuple(pieces), truth, tuple(right), tuple(shown), more)

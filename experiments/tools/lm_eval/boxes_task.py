"""What the YAML files beside this one ask for, made of this repository's own prompts and scorers."""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[3]))  # this checkout, whatever is installed

from boxes.dataset import SUBSET, example_of, read_examples
from boxes.evaluation import CORRECT, query_frame, true_statement
from boxes.generation import NUM_OPERATIONS
from boxes.prompting import EXAMPLES, STATEMENT_HEAD, statement_prompt
from boxes.records import UserError
from boxes.runs.elsewhere import continued, prediction_line
from boxes.score_tables import BUCKETS, in_bucket
from boxes.scoring import AUTHORS, OURS
from boxes.world import BASE

DATA = Path(__file__).absolute().parents[3] / "data" / "boxes" / SUBSET
METRICS = {"": CORRECT[OURS], "released_": CORRECT[AUTHORS]}  # prefix -> column of a frame
INSIDE = {"acc": "all", "acc_1plus": "1+", **{f"acc_{name}": name for name in BUCKETS}}  # -> bucket of a score table
OURS_IN_METADATA = ("data", "operations")
Share = tuple[int, int]  # right answers, of so many


def dataset(data: str | None = None, operations: int | None = None, **others) -> dict:
    """The documents of `test`. The harness hands over what --metadata and --model_args say, too: a name that nobody knows
    is passed over, but not one that is nearly ours. UserError names it."""
    for name in others:
        for meant in get_close_matches(name.lower(), OURS_IN_METADATA, cutoff=0.7):
            raise UserError(f"--metadata: unknown name {name}; did you mean {meant}?")
    from datasets import Dataset  # of the harness

    return {"test": Dataset.from_list(documents(data or DATA, operations))}


def documents(path: Path | str, operations: int | None = None) -> list[dict]:
    """A document a description. operations: those with so many alone, as a task of
    boxes_by_operations has them. UserError for another wording, and where the group's tasks would
    not have all descriptions between them, or one of them none."""
    examples = read_examples(path)
    wording = examples[0].wording
    if wording.asked(0) != BASE.asked(0):
        wrong = f"in the wording {wording.name}, which these tasks do not have"
        raise UserError(f"{path}: {wrong}; use make prompts and make score")
    most = max(example.num_operations for example in examples)
    if operations is not None and most > NUM_OPERATIONS:
        wrong = f"has descriptions with {most} operations, which boxes_by_operations would leave out"
        raise UserError(f"{path}: {wrong}; use the task boxes")
    rows = []
    for example in examples:
        row = {"sample_id": example.sample_id, "num_operations": example.num_operations}
        if operations in (None, example.num_operations):
            rows.append(row | {"input": example.description})
    if not rows:
        raise UserError(f"{path}: no description with {operations} operations; use the task boxes")
    return rows


def prompt(doc: dict) -> str:
    """The prompt of Table 2, to STATEMENT_HEAD."""
    return statement_prompt(doc["input"])


def question(doc: dict) -> str:
    """A user's turn of Table 5."""
    return doc.get("question") or f"Description: {doc['input']}"


def truth(doc: dict) -> str:
    """The true statement; of an example of Table 2 its answer."""
    if "answer" in doc:
        return doc["answer"]
    return true_statement(example_of(doc["input"]))


def shots() -> list[dict]:
    """The two examples of Table 2."""
    return [{"question": question, "answer": answer} for question, answer in EXAMPLES]


def process_results(doc: dict, results: Sequence[str]) -> dict[str, Share]:
    """Of the text behind STATEMENT_HEAD: right answers and how many there are, by scorer and number
    of operations. The harness has taken the period off, and says not whether the limit cut a text:
    it is read as it stands."""
    return _judged(doc, continued(STATEMENT_HEAD, results[0]))


def process_whole(doc: dict, results: Sequence[str]) -> dict[str, Share]:
    """The same of a whole statement, as a chat answers."""
    return _judged(doc, results[0])


def _judged(doc: dict, text: str) -> dict[str, Share]:
    example = example_of(doc["input"], doc["sample_id"])
    key = (example.sample_id, example.num_operations)
    frame = query_frame({key: example}, {key: prediction_line(example, text)})
    found = {}
    for prefix, column in METRICS.items():
        for name, bucket in INSIDE.items():
            rows = frame[in_bucket(frame.num_ops, bucket)]
            found[f"{prefix}{name}"] = (int(rows[column].sum()), len(rows))
    return found


def share(items: Sequence[Share]) -> float:
    """Right answers of all answers; NaN where there are none."""
    right, n = (sum(values) for values in zip(*items, strict=True))
    return right / n if n else float("nan")

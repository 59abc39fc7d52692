"""What boxes.yaml and boxes_chat.yaml ask for, made of this repository's own prompts and scorers."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[3]))  # this checkout, whatever is installed

from boxes.dataset import SUBSET, example_of, read_examples
from boxes.evaluation import query_frame
from boxes.prompting import EXAMPLES, STATEMENT_HEAD, statement_prompt
from boxes.records import UserError
from boxes.runs.elsewhere import continued, prediction_line
from boxes.score_tables import BUCKETS
from boxes.world import BASE

DATA = Path(__file__).absolute().parents[3] / "data" / "boxes" / SUBSET
METRICS = {"": "correct", "released_": "correct_released"}  # prefix -> column of a frame
Share = tuple[int, int]  # right answers, of so many


def dataset(data: str | None = None, **_) -> dict:
    """The documents of `test`, a description each. data: another file than the test set's."""
    from datasets import Dataset  # of the harness

    rows = []
    for example in read_examples(data or DATA):
        if example.wording.asked(0) != BASE.asked(0):
            wrong = f"{data}: in the wording {example.wording.name}, which these tasks do not have"
            raise UserError(f"{wrong}; use make prompts and make score")
        row = {"sample_id": example.sample_id, "num_operations": example.num_operations}
        rows.append(row | {"input": example.description})
    return {"test": Dataset.from_list(rows)}


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
    contents = example_of(doc["input"]).contents
    return "Statement: " + ", ".join(f"Box {box} contains {text}" for box, text in enumerate(contents)) + "."


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
    inside: dict[str, Callable] = {"acc": lambda count: count >= 0, "acc_1plus": lambda count: count >= 1}
    for bucket in BUCKETS:
        inside[f"acc_{bucket}"] = lambda count, wanted=int(bucket): count == wanted
    found = {}
    for prefix, column in METRICS.items():
        for name, is_inside in inside.items():
            rows = frame[is_inside(frame.num_ops)]
            found[prefix + name] = (int(rows[column].sum()), len(rows))
    return found


def share(items: Sequence[Share]) -> float:
    """Right answers of all answers; NaN where there are none."""
    right, n = (sum(values) for values in zip(*items, strict=True))
    return right / n if n else float("nan")

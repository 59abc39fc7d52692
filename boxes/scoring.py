"""Correctness of a statement, box by box, as the authors' release has it."""

import re
from collections import Counter
from collections.abc import Sequence

from boxes.completion import Status
from boxes.world import NUM_BOXES

STATUSES = tuple(status.value for status in Status)
# The scorers of constrained.csv: release_scoring.py and this file.
AUTHORS, OURS = "authors", "ours"

_FIRST = re.compile(r"\s*(?:Statement:\s*)?Box 0 contains")
_NEXT = re.compile(r", Box ([0-6]) contains")  # 0 as well: a Box 0 named again is named twice


def score_statement(prediction: str, gold: Sequence[str], status: str = "ok") -> tuple[bool, ...]:
    """Which of the seven boxes a statement gets right.

    prediction: "Statement: Box 0 contains ..., Box 1 contains ..."; what follows the first period
    is dropped. gold: the seven true contents, "the car and the map" or "nothing". status: "ok" and
    "invalid" are read as they stand; in a "truncated" text the clause that was cut is wrong. A box
    that is missing, named twice or followed by nothing ("Box 4 contains,") is wrong. No prediction
    raises; ValueError for a gold that is not seven texts and for an unknown status.
    """
    if len(gold) != NUM_BOXES:
        raise ValueError(f"expected the contents of {NUM_BOXES} boxes, found {len(gold)}")
    if status not in STATUSES:
        raise ValueError(f"unknown status {status!r}; expected one of {', '.join(STATUSES)}")
    predicted = read_statement(prediction, cut=status == Status.TRUNCATED)
    return tuple(_same_contents(predicted.get(box), truth) for box, truth in enumerate(gold))


def read_statement(prediction: str, cut: bool = False) -> dict[int, str]:
    """The contents text of every box named exactly once; `cut` leaves out an unfinished clause."""
    text, period, _ = prediction.partition(".")
    start = _FIRST.match(text)
    if not start:
        return {}
    first, *rest = _NEXT.split(text[start.end() :])
    boxes = [0, *map(int, rest[::2])]
    clauses = list(zip(boxes, [first, *rest[1::2]], strict=True))
    if cut and not period:
        clauses[-1:] = _finished(*clauses[-1])
    named = Counter(boxes)
    return {box: contents for box, contents in clauses if named[box] == 1}


def _finished(box: int, contents: str) -> list[tuple[int, str]]:
    """The last clause of a cut text where only the head of the next clause was cut (", Bo"), else
    nothing."""
    contents, comma, head = contents.partition(",")
    if comma and f" Box {box + 1} contains".startswith(head):
        return [(box, contents)]
    return []


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

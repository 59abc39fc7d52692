"""What kind of error each wrong answer is, from the description and the statement alone.

Every object that is in the answer or in the truth and not in both has one of CAUSES. The kind of a
wrong answer is the first that fits of: other; stale copy; invented object and wrong box, where any
object has this cause; swapped object, where objects are both too many and lacking; the cause that
all objects share; several causes. So the kinds exclude each other and add up to the wrong answers.
INITIAL is counted across them.
"""

import re
from collections.abc import Sequence

import pandas as pd

from boxes.completion import Status
from boxes.score_tables import NUM_OPS, in_bucket
from boxes.scoring import read_statement, score_statement
from boxes.world import Move, Operation, Put, Remove, State, apply, changed_boxes, contents_text, parse

CAUSES = {
    "missed put": "a Put put it into the box, and it is not stated",
    "missed remove": "a Remove took it out of the box, and it is stated still",
    "missed move": "a Move put it into the box and it is not stated, or took it out and it is stated still",
    "lost object": "it lies in the box from the beginning, untouched, and is not stated",
    "invented object": "the description never names it, and it is stated",
    "wrong box": "it is stated in a box that it never lay in (counted there, and where it is missing)",
}
DEFINITIONS = CAUSES | {
    "stale copy": "exactly what the box held two or more of its changes earlier "
    "(one change earlier is the operation missed)",
    "swapped object": "one that was taken out of the box is stated in place of one that lies in it",
    "several causes": "more than one operation was missed, and none of the above",
    "other": "no contents can be read: the box is missing, named twice, empty of words, or cut",
}
KINDS = tuple(DEFINITIONS)
QUERY_COLUMNS = ("model", "num_ops", "kind", "initial")
COLUMNS = ("model", "num_ops", "kind", "n")
# Changed boxes that were answered with their contents of the beginning.
INITIAL = "as at the beginning"
WRONG = "wrong"
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_MISSED = {Put: "missed put", Remove: "missed remove", Move: "missed move"}


def classify(description: str, prediction: str, status: str = Status.OK) -> tuple[str | None, ...]:
    """The kind of error about each box, None for a right answer. ValueError for a description that
    cannot be read."""
    initial, operations = parse(description)
    states = states_of(initial, operations)
    truth = states[-1]
    right = score_statement(prediction, [contents_text(objects) for objects in truth], status)
    stated = stated_objects(prediction, status)
    kinds: list[str | None] = []
    for box, correct in enumerate(right):
        kinds.append(None)
        if not correct:
            kinds[box] = _kind(box, stated, states, operations)
    return tuple(kinds)


def states_of(initial: State, operations: Sequence[Operation]) -> list[State]:
    """The state at the beginning and after each operation."""
    states = [initial]
    for operation in operations:
        states.append(apply(states[-1], operation))
    return states


def stated_objects(prediction: str, status: str = Status.OK) -> dict[int, frozenset[str]]:
    """The objects that a statement names, by box, where its contents can be read."""
    texts = read_statement(prediction, cut=status == Status.TRUNCATED)
    stated: dict[int, frozenset[str]] = {}
    for box, text in texts.items():
        contents = text.strip()
        if contents == "nothing" and text.startswith(" "):
            stated[box] = frozenset()
        elif contents and text.startswith(" "):
            stated[box] = frozenset(item.removeprefix("the ") for item in contents.split(" and "))
    return stated


def repeats_the_beginning(box: int, description: str, prediction: str, status: str = Status.OK) -> bool:
    """Whether a statement gives a box the contents it had before any operation."""
    initial, _ = parse(description)
    return stated_objects(prediction, status).get(box) == frozenset(initial[box])


def _kind(box: int, stated: dict[int, frozenset[str]], states: list[State], operations: Sequence[Operation]) -> str:
    answer, truth = stated.get(box), frozenset(states[-1][box])
    if answer is None:
        return "other"
    history = [frozenset(states[0][box])]
    for state, operation in zip(states[1:], operations, strict=True):
        if box in changed_boxes(operation):
            history.append(frozenset(state[box]))
    if answer in history[:-2] and answer != history[-2]:
        return "stale copy"
    surplus = {_surplus(thing, box, states, operations) for thing in answer - truth}
    missing = {_missing(thing, box, stated, states, operations) for thing in truth - answer}
    causes = surplus | missing
    for cause in ("invented object", "wrong box"):
        if cause in causes:
            return cause
    if surplus and missing:
        return "swapped object"
    if len(causes) == 1:
        return causes.pop()
    return "several causes"


def _surplus(thing: str, box: int, states: list[State], operations: Sequence[Operation]) -> str:
    """Why an object is stated in a box that does not hold it."""
    if any(thing in state[box] for state in states):
        return _MISSED[type(_last_change(thing, box, operations))]
    named = set().union(*states[0], *(operation.objects for operation in operations))
    if thing in named:
        return "wrong box"
    return "invented object"


def _missing(
    thing: str, box: int, stated: dict[int, frozenset[str]], states: list[State], operations: Sequence[Operation]
) -> str:
    """Why an object is not stated in the box that holds it."""
    elsewhere = [other for other, objects in stated.items() if other != box and thing in objects]
    for other in elsewhere:
        lay_there = any(thing in state[other] for state in states)
        if not lay_there:
            return "wrong box"
    change = _last_change(thing, box, operations)
    if change:
        return _MISSED[type(change)]
    return "lost object"


def _last_change(thing: str, box: int, operations: Sequence[Operation]) -> Operation | None:
    """The last operation that put an object into a box or took it out of it."""
    for operation in reversed(operations):
        if thing in operation.objects and box in changed_boxes(operation):
            return operation
    return None


def divergence(text: str, truth: str) -> tuple[str, str, str]:
    """A text cut in three: as in the truth, the first word or mark that differs, the rest."""
    ours, theirs = _TOKEN.findall(text), _TOKEN.findall(truth)
    same = 0
    while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
        same += 1
    if same < len(ours) and ours[same].isspace():
        same += 1
    return "".join(ours[:same]), "".join(ours[same : same + 1]), "".join(ours[same + 1 :])


def wrong_answers(model: str, description: str, num_ops: Sequence[int], prediction: str, status: str) -> list[tuple]:
    """QUERY_COLUMNS of every wrong answer in a statement; `initial`: a changed box has its contents
    of the beginning."""
    rows = []
    for box, kind in enumerate(classify(description, prediction, status)):
        if kind:
            initial = repeats_the_beginning(box, description, prediction, status)
            rows.append((model, num_ops[box], kind, initial and num_ops[box] > 0))
    return rows


def count_errors(queries: pd.DataFrame, models: Sequence[str]) -> pd.DataFrame:
    """COLUMNS: how many wrong answers of each kind, model and bucket (NUM_OPS); KINDS add up to
    WRONG, INITIAL is of them."""
    rows = []
    for model in models:
        mine = queries[queries.model == model]
        for name in NUM_OPS:
            wrong = mine[in_bucket(mine.num_ops, name)]
            counts = wrong.kind.value_counts()
            rows += [(model, name, kind, int(counts.get(kind, 0))) for kind in KINDS]
            rows.append((model, name, WRONG, len(wrong)))
            rows.append((model, name, INITIAL, int(wrong.initial.sum())))
    return pd.DataFrame(rows, columns=list(COLUMNS))

"""The world of the boxes task (Kim & Schuster 2023): states, operations, and their English both
ways. No I/O, no randomness."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

NUM_BOXES = 7
MAX_OBJECTS = 3
# Table 6: queries by the number of operations that changed their box. One that changed 8 times or
# more counts in the totals only (boxes/score_tables.py).
BUCKETS = tuple("01234567")
_NOUNS = """
    book car paper letter game computer picture plant cup machine bill glass note stone fish drug
    television card document rock radio ball tea file newspaper branch train cash fig flower bag
    boat key painting phone drink engine bus coffee sheet plate magazine egg tape bottle block brain
    map crown ring leaf dress fan milk ticket shoe bone gift cross plane mirror coat wheel string
    ice rose boot hat suit creature bomb camera bread cake meat beer shirt cigarette jacket apple
    pipe guitar disk medicine knife cream clock chemical seed tie watch cheese bowl dish shell wire
    tissue pot brick bell
"""
NOUNS = tuple(_NOUNS.split())
_KNOWN = frozenset(NOUNS)
_SHOWN = 100  # characters of a value in an error; the longest sentence of the task has fewer

Objects = tuple[str, ...]  # alphabetical
State = tuple[Objects, ...]  # NUM_BOXES of them


@dataclass(frozen=True)
class Move:
    """Some of the contents of one box go to another."""

    objects: Objects
    source: int
    target: int


@dataclass(frozen=True)
class Remove:
    """Some of the contents of a box go into the void."""

    objects: Objects
    box: int


@dataclass(frozen=True)
class Put:
    """Objects from the void go into a box."""

    objects: Objects
    box: int


Operation = Move | Remove | Put


def changed_boxes(operation: Operation) -> tuple[int, ...]:
    """The boxes whose contents an operation changes (what `numops` counts)."""
    if isinstance(operation, Move):
        return operation.source, operation.target
    return (operation.box,)


def apply(state: State, operation: Operation) -> State:
    """The state after an operation. ValueError says why where it is not possible."""
    boxes = [set(contents) for contents in state]
    objects = set(operation.objects)
    if not objects or len(objects) != len(operation.objects):
        raise ValueError("an operation needs different objects, at least one")
    for box in changed_boxes(operation):
        if box not in range(NUM_BOXES):
            raise ValueError(f"there is no Box {box}")
    source, target = changed_boxes(operation)[0], changed_boxes(operation)[-1]
    if isinstance(operation, Put):
        held = objects & set().union(*boxes)
        if held:
            raise ValueError(f"the {min(held)} is already in a box")
    else:
        missing = objects - boxes[source]
        if missing:
            raise ValueError(f"the {min(missing)} is not in Box {source}")
        boxes[source] -= objects
    if not isinstance(operation, Remove):
        if isinstance(operation, Move) and source == target:
            raise ValueError(f"Box {target} is both source and target")
        if len(boxes[target] | objects) > MAX_OBJECTS:
            raise ValueError(f"Box {target} would hold more than {MAX_OBJECTS} objects")
        boxes[target] |= objects
    return tuple(tuple(sorted(contents)) for contents in boxes)


def replay(state: State, operations: Iterable[Operation]) -> tuple[State, tuple[int, ...]]:
    """The state after all operations, and how many of them changed each box (`numops`, seven
    counts).

    ValueError names the first operation that is not possible, and why.
    """
    counts = [0] * NUM_BOXES
    for operation in operations:
        try:
            state = apply(state, operation)
        except ValueError as error:
            raise ValueError(f"{sentence(operation)!r} cannot be: {error}") from None
        for box in changed_boxes(operation):
            counts[box] += 1
    return state, tuple(counts)


def mention(objects: Iterable[str]) -> str:
    """'the car and the map': objects in alphabetical order."""
    return " and ".join(f"the {noun}" for noun in sorted(objects))


def contents_text(objects: Iterable[str]) -> str:
    """'the car and the map', or 'nothing' for an empty box."""
    return mention(objects) or "nothing"


def clauses(state: State) -> str:
    """'Box 0 contains the car, Box 1 contains nothing, ..., Box 6 contains the map.'"""
    told = [f"Box {box} contains {contents_text(objects)}" for box, objects in enumerate(state)]
    return ", ".join(told) + "."


def statement(state: State) -> str:
    """The true statement about a state, as in Table 2."""
    return f"Statement: {clauses(state)}"


def sentence(operation: Operation) -> str:
    """One operation in English, e.g. 'Move the map from Box 6 to Box 2.'"""
    what = mention(operation.objects)
    if isinstance(operation, Move):
        return f"Move {what} from Box {operation.source} to Box {operation.target}."
    if isinstance(operation, Remove):
        return f"Remove {what} from Box {operation.box}."
    return f"Put {what} into Box {operation.box}."


def describe(state: State, operations: Sequence[Operation] = ()) -> str:
    """The description of an initial state and the operations on it; `parse` is its inverse."""
    return " ".join([clauses(state), *map(sentence, operations)])


def shown(value: object) -> str:
    """What was found, as errors show it: on one line, cut where it is long."""
    text = repr(value)
    if len(text) <= _SHOWN:
        return text
    return f"{text[:_SHOWN]}…"


def parse_contents(text: str) -> Objects:
    """The objects of 'the car and the map' or 'nothing', alphabetically; else a ValueError."""
    if text == "nothing":
        return ()
    objects = []
    for part in text.split(" and "):
        if not part.startswith("the "):
            raise ValueError(f"expected 'the NOUN' or 'nothing', found {shown(part)}")
        noun = part.removeprefix("the ")
        if noun not in _KNOWN:
            raise ValueError(f"unknown noun {shown(noun)}")
        objects.append(noun)
    if len(set(objects)) != len(objects):
        raise ValueError(f"an object stands twice in {shown(text)}")
    if objects != sorted(objects):
        raise ValueError(f"objects are not in alphabetical order in {shown(text)}")
    return tuple(objects)


_CLAUSE = re.compile(r"Box ([0-6]) contains ([a-z ]+)")
_OPERATIONS: tuple[tuple[re.Pattern[str], type[Operation]], ...] = (
    (re.compile(r"Move ([a-z ]+) from Box ([0-6]) to Box ([0-6])"), Move),
    (re.compile(r"Remove ([a-z ]+) from Box ([0-6])"), Remove),
    (re.compile(r"Put ([a-z ]+) into Box ([0-6])"), Put),
)


def _parse_state(text: str) -> State:
    parts = text.split(", ")
    if len(parts) != NUM_BOXES:
        raise ValueError(f"expected {NUM_BOXES} boxes, found {len(parts)}")
    state = []
    for box, part in enumerate(parts):
        match = _CLAUSE.fullmatch(part)
        if not match or int(match[1]) != box:
            raise ValueError(f"expected 'Box {box} contains ...', found {shown(part)}")
        objects = parse_contents(match[2])
        if len(objects) > MAX_OBJECTS:
            raise ValueError(f"Box {box} holds more than {MAX_OBJECTS} objects")
        state.append(objects)
    everything = list(chain(*state))
    for noun in everything:
        if everything.count(noun) > 1:
            raise ValueError(f"the {noun} is in two boxes")
    return tuple(state)


def parse_operation(text: str) -> Operation:
    """One operation from its sentence without the period. ValueError names what is wrong."""
    for pattern, kind in _OPERATIONS:
        match = pattern.fullmatch(text)
        if match:
            objects = parse_contents(match[1])
            if not objects:
                raise ValueError(f"an operation without objects: {shown(text)}")
            return kind(objects, *map(int, match.groups()[1:]))
    raise ValueError(f"not an operation: {shown(text)}")


def parse(description: str) -> tuple[State, tuple[Operation, ...]]:
    """The initial state and the operations of a description. ValueError names what is wrong."""
    if not description.endswith("."):
        raise ValueError("a description ends in a period")
    first, *rest = description[:-1].split(". ")
    return _parse_state(first), tuple(map(parse_operation, rest))

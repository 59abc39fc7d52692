"""The world of the boxes task (Kim & Schuster 2023): states, operations, and their English both
ways, in the words of each published form (WORDINGS). No I/O, no randomness."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
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


@dataclass(frozen=True)
class Wording:
    """How a form of the task says things: templates of descriptions, and how its queries differ from
    those of Table 2. In templates {what} is a mention, {is} and {it} agree with it in number."""

    name: str
    boxes: tuple[str, ...] = tuple(f"Box {number}" for number in range(NUM_BOXES))
    plural: str = "boxes"
    holds: str = "{box} contains {what}"
    empty: str = "{box} contains nothing"
    move: str = "Move {what} from {box} to {target}"
    remove: str = "Remove {what} from {box}"
    put: str = "Put {what} into {box}"
    move_all: str | None = None  # of all that a box holds, where the form does not name them
    asks_for_verb: bool = False  # a query is "Box 0 <extra_id_0>", not "Box 0 contains <extra_id_0>"

    @property
    def operations(self) -> dict[type[Operation], str]:
        """The template of each kind."""
        return {Move: self.move, Remove: self.remove, Put: self.put}

    def asked(self, box: int) -> str:
        """What of a query, or of a clause of a statement, stands before its answer."""
        return self.boxes[box] + ("" if self.asks_for_verb else " contains")

    @cached_property
    def _swapped(self) -> dict[str, str]:
        pairs = [*zip(BASE.boxes, self.boxes, strict=True), (BASE.plural, self.plural)]
        if self.asks_for_verb:
            pairs.append((" contains nothing", " is empty"))
        pairs = [pair for pair in pairs if pair[0] != pair[1]]
        return dict(pairs) | {own: base for base, own in pairs}

    def swap(self, text: str) -> str:
        """A statement in Table 2's words in those of this form, and the other way round."""
        words = "|".join(map(re.escape, self._swapped)) or "$."  # which nothing fits
        return re.sub(rf"(?:{words})\b", lambda found: self._swapped[found[0]], text)

    def plain(self, text: str) -> str:
        """A statement of this form in Table 2's words, in which it is judged. What is in those words
        already is no answer there, by either scorer."""
        told = self.swap(text)
        return told.replace(" is empty", " contains is empty") if self.asks_for_verb else told


# Of Kim & Schuster's published sets: few-shot (Table 2), few-shot with move_contents, full
# finetuning, and the alternative forms of that one.
BASE = Wording("base")
CONTENTS = replace(BASE, name="contents", move_all="Move the contents of {box} to {target}")
EMPTY = replace(BASE, name="empty", empty="{box} is empty", asks_for_verb=True)
CONTAINERS = Wording(
    name="containers",
    boxes=tuple(f"Container {letter}" for letter in "ABCDEFG"),
    plural="containers",
    holds="{what} {is} in {box}",
    empty="there is nothing in {box}",
    move="Pick up {what} in {box} and place {it} into {target}",
    remove="Take {what} out of {box}",
    put="Place {what} inside {box}",
    asks_for_verb=True,
)
WORDINGS = {wording.name: wording for wording in (BASE, CONTENTS, EMPTY, CONTAINERS)}


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


def clauses(state: State, wording: Wording = BASE) -> str:
    """'Box 0 contains the car, Box 1 contains nothing, ..., Box 6 contains the map.'"""
    told = []
    for box, objects in enumerate(state):
        template = wording.holds if objects else wording.empty
        told.append(_said(template, objects, wording.boxes[box]))
    text = ", ".join(told)
    return f"{text[0].upper()}{text[1:]}."


def statement(state: State, wording: Wording = BASE) -> str:
    """The true statement about a state, as in Table 2."""
    return wording.swap(f"Statement: {clauses(state)}")


def _said(template: str, objects: Objects, box: str, target: str = "") -> str:
    number = {"is": "are", "it": "them"} if len(objects) > 1 else {"is": "is", "it": "it"}
    return template.format(what=mention(objects), box=box, target=target, **number)


def sentence(operation: Operation, wording: Wording = BASE, source: Objects | None = None) -> str:
    """One operation in English, e.g. 'Move the map from Box 6 to Box 2.' `source`: what the box holds
    that a Move takes from, where the wording has a word for all of it."""
    boxes = [wording.boxes[box] for box in changed_boxes(operation)]
    template = wording.operations[type(operation)]
    if isinstance(operation, Move) and wording.move_all and operation.objects == source:
        template = wording.move_all
    return _said(template, operation.objects, *boxes) + "."


def sentences(state: State, operations: Sequence[Operation], wording: Wording = BASE) -> list[str]:
    """A description in its sentences: the initial state, then one an operation."""
    told = [clauses(state, wording)]
    for operation in operations:
        source = None
        if wording.move_all:
            source = state[changed_boxes(operation)[0]]
            state = apply(state, operation)
        told.append(sentence(operation, wording, source))
    return told


def describe(state: State, operations: Sequence[Operation] = (), wording: Wording = BASE) -> str:
    """The description of an initial state and the operations on it; `parse` is its inverse."""
    return " ".join(sentences(state, operations, wording))


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


@cache
def _pattern(template: str, wording: Wording) -> re.Pattern[str]:
    """A template as an expression of what it makes."""
    box, number = "|".join(wording.boxes), {"is": "(?:is|are)", "it": "(?:it|them)"}
    groups = {"what": "(?P<what>[a-z ]+)", "box": f"(?P<box>{box})", "target": f"(?P<target>{box})"}
    return re.compile(template.format(**groups, **number))


def wording_of(description: str) -> Wording:
    """The words that a description is in; one in which nothing tells them apart is in Table 2's."""
    initial = description.partition(".")[0]
    if "Container " in initial:
        return CONTAINERS
    if " is empty" in initial and " contains nothing" not in initial:
        return EMPTY
    return CONTENTS if " the contents of " in description else BASE


def _parse_state(text: str, wording: Wording) -> State:
    parts = text.split(", ")
    if len(parts) != NUM_BOXES:
        raise ValueError(f"expected {NUM_BOXES} boxes, found {len(parts)}")
    if not wording.holds.startswith("{box}"):  # a sentence begins with a capital
        parts[0] = parts[0][:1].lower() + parts[0][1:]
    state = []
    for box, part in enumerate(parts):
        state.append(_parse_clause(part, box, wording))
    everything = list(chain(*state))
    for noun in everything:
        if everything.count(noun) > 1:
            raise ValueError(f"the {noun} is in two boxes")
    return tuple(state)


def _parse_clause(part: str, box: int, wording: Wording) -> Objects:
    name = wording.boxes[box]
    if part == wording.empty.format(box=name):
        return ()
    match = _pattern(wording.holds, wording).fullmatch(part)
    if not match or match["box"] != name:
        expected = wording.holds.format(what="...", box=name, **{"is": "is"})
        raise ValueError(f"expected {expected!r}, found {shown(part)}")
    objects = parse_contents(match["what"])
    if len(objects) > MAX_OBJECTS:
        raise ValueError(f"{name} holds more than {MAX_OBJECTS} objects")
    told = _said(wording.holds if objects else wording.empty, objects, name)
    if told != part:
        raise ValueError(f"expected {told!r}, found {shown(part)}")
    return objects


def parse_operation(text: str, wording: Wording = BASE) -> Operation:
    """One operation from its sentence without the period. One of all that a box holds, which does not
    name them, has no objects. ValueError names what is wrong."""
    if wording.move_all:
        match = _pattern(wording.move_all, wording).fullmatch(text)
        if match:
            return Move((), wording.boxes.index(match["box"]), wording.boxes.index(match["target"]))
    for kind, template in wording.operations.items():
        match = _pattern(template, wording).fullmatch(text)
        if match:
            what, *boxes = match.groups()
            objects = parse_contents(what)
            if not objects:
                raise ValueError(f"an operation without objects: {shown(text)}")
            return kind(objects, *map(wording.boxes.index, boxes))
    raise ValueError(f"not an operation: {shown(text)}")


def parse(description: str, wording: Wording | None = None) -> tuple[State, tuple[Operation, ...]]:
    """The initial state and the operations of a description, in whatever words it is (or in those of
    `wording`). ValueError names what is wrong."""
    if not description.endswith("."):
        raise ValueError("a description ends in a period")
    wording = wording or wording_of(description)
    first, *rest = description[:-1].split(". ")
    initial = _parse_state(first, wording)
    operations: list[Operation] = []
    for text in rest:
        operation = parse_operation(text, wording)
        if not operation.objects:
            held = replay(initial, operations)[0][operation.source]
            if not held:
                raise ValueError(f"{text!r} cannot be: Box {operation.source} is empty")
            operation = replace(operation, objects=held)
        operations.append(operation)
    if wording is not BASE:  # whose patterns leave one spelling alone
        for told, found in zip(sentences(initial, operations, wording), (first, *rest), strict=True):
            if told != f"{found}.":
                raise ValueError(f"expected {shown(told)}, found {shown(found)}")
    return initial, tuple(operations)

"""Correctness of a statement as the scorer of the authors' release has it, written anew from how
that behaves.

Table 6 does not depend on it: under the regular expression it and boxes/scoring.py agree. Free
decoding does (Appendix A.2), for it reads many a text that is no statement: other joints between
the boxes ("; Box 1", " and Box 1"), "is empty", lists with commas, "thecar", text before
"Statement:", line breaks, a last clause that was cut. Clauses are sorted and counted, not looked
up: where seven are there, the k-th is box k, whatever number it names. Wording of other variants of
the task ("Container A") is not read. Checked against the release itself, outside this repository,
on 3570 statements changed at random in some 30 ways.
"""

import re
from collections.abc import Sequence

from boxes.world import NUM_BOXES

_JOINTS = re.compile(", and Box|, Box| and Box|; Box")
_ITEMS = re.compile(",? and |, ")
_NUMBERS = tuple(map(str, range(NUM_BOXES)))
_INVALID = "invalid"


def score_as_released(prediction: str, gold: Sequence[str], status: str = "ok") -> tuple[bool, ...]:
    """Which of the seven boxes a statement gets right; arguments as for scoring.score_statement.
    The release knows no status: a truncated text is read as it stands. ValueError for a gold that
    is not seven texts."""
    if len(gold) != NUM_BOXES:
        raise ValueError(f"expected the contents of {NUM_BOXES} boxes, found {len(gold)}")
    return tuple(map(_same_contents, _contents(_clauses(prediction)), gold))


def _clauses(prediction: str) -> list[str]:
    """Seven clauses, sorted as texts behind the first; what of "Box 1" is left of each is " 1
    contains ..."."""
    text = " ".join(prediction.split())
    if "Statement:" in text:
        text = text.split("Statement:")[1]
    text = text.replace("Box 0 contains", "").partition(".")[0]
    first, *rest = _JOINTS.split(text) if "Box " in text else [text]
    clauses = [first, *sorted(rest)]
    return (clauses if len(clauses) >= NUM_BOXES else _filled(clauses))[:NUM_BOXES]


def _filled(clauses: list[str]) -> list[str]:
    """Fewer than seven: a box named again is left out, one that lacks gets a clause."""
    named, kept = {"0"}, clauses[:1]
    for clause in clauses[1:]:
        box = clause.strip()[:1]
        if box in named:
            continue
        if box in _NUMBERS:
            named.add(box)
        kept.append(clause)
    for place, box in enumerate(_NUMBERS):
        if box not in named:
            kept.insert(place, f"{box} contains {_INVALID}")
    return kept


def _contents(clauses: list[str]) -> list[str]:
    """What each clause says is in its box. Where the first brings a verb of its own ("contains the
    car"), the others keep theirs, too, and none of them says "nothing" any more."""
    first, *rest = clauses
    with_verb = first.strip().startswith(("contains", "is"))
    return [first, *(_content(clause, with_verb) for clause in rest)]


def _content(clause: str, with_verb: bool) -> str:
    for verb in ("contains ", "is "):
        _, found, behind = clause.partition(verb)
        if found and with_verb:
            return found + behind
        if found:
            return behind if verb == "contains " else "nothing"
    return _INVALID


def _same_contents(predicted: str, truth: str) -> bool:
    """Equality of sets; an empty box must be exactly "nothing", and no other box may say so."""
    predicted = predicted.strip()
    if truth == "nothing":
        return predicted == truth
    if "nothing" in predicted or "is empty" in predicted:
        return False
    items = _ITEMS.split(predicted.replace("contains ", ""))
    objects = {item.replace("the ", "").replace("the", "") for item in items}
    return objects == {item.removeprefix("the ") for item in truth.split(" and ")}

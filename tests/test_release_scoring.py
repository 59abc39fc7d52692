"""The authors' scorer against ours: facts about how theirs behaves, each as a statement and the
verdict of both."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_scoring import ALL, GOLD, TRUE, boxes, but

from boxes.release_scoring import score_as_released
from boxes.scoring import score_statement
from boxes.world import contents_text, statement

NONE = (False,) * 7


def shifted(*right: int) -> tuple[bool, ...]:
    return tuple(box in right for box in range(7))


# GOLD: the car | nothing | the bag and the machine | nothing | the bill | the apple and the cash |
# the map
BOTH = [  # (old, new, what both say)
    ("", "", ALL),
    ("the bag and the machine", "the machine and the bag and the bag", ALL),  # order and repetition
    ("the bag and the machine", "bag and machine", ALL),
    ("the bag and the machine", "the bag", but(2)),
    ("the bag and the machine", "the bag the machine", but(2)),
    ("the car", "The car", but(0)),
    ("the car", "nothing", but(0)),
    ("the car", "the car and nothing", but(0)),
    ("Box 3 contains nothing", "Box 3 contains the nothing", but(3)),  # exactly "nothing"
    ("Box 3 contains nothing", "Box 3 contains nothing and nothing", but(3)),
    ("Box 3 contains nothing", "Box 3 contains", but(3)),  # an empty continuation is wrong everywhere
    ("Box 4 contains the bill", "Box 4 contains", but(4)),
    (" the car, Box 1", ", Box 1", but(0)),
    ("Box 4 contains the bill, ", "", but(4)),  # a missing box alone shifts nothing
    (", Box 6", ". Box 6", but(6)),  # after the first period nothing counts
]
ONLY_THEIRS = [  # (old, new, what theirs says, what ours says)
    ("the car", "the the car", ALL, but(0)),
    ("the car", "thecar", ALL, but(0)),
    ("Box 4 contains the bill", "Box 4 contains contains the bill", ALL, but(4)),
    (", Box 1", "; Box 1", ALL, but(0, 1)),
    (", Box 1", ", and Box 1", ALL, but(0, 1)),
    (", Box 6", " and Box 6", ALL, but(5, 6)),
    ("Box 3 contains nothing", "Box 3 is empty", ALL, but(2, 3)),
    ("Box 3 contains nothing", "Box 3 is ", ALL, but(2, 3)),  # whatever the box is, it is taken for empty
    ("the bag and the machine", "the bag, the machine", ALL, but(2)),
    ("the bag and the machine", "the bag, and the machine", ALL, but(2)),
    ("Statement:", "Sure. Here it is: Statement:", ALL, NONE),
    ("Statement:", "Statement: It is so:", but(0), NONE),
    ("Box 0 contains the car", "Box 0 is the car", but(0), NONE),
    ("the map.", "the map, Box 7 contains the car.", ALL, but(6)),
    (", Box 2", ",\r\nBox 2", ALL, but(1, 2)),
    ("the bag and the machine", "the bag and\nthe machine", ALL, but(2)),
    (
        ", Box 3 contains nothing, Box 4 contains the bill",
        ", Box 4 contains the bill, Box 3 contains nothing",
        ALL,
        ALL,
    ),
]
SHIFTS = [  # by position: seven clauses or more are counted, not looked up
    # 1 again: 2 holds what was said of 1, 3 of 2 ...; the eighth clause goes
    (", Box 2", ", Box 1 contains nothing, Box 2", shifted(0, 1), but(1)),
    # 4 named 3: "3 contains nothing", "3 contains the bill" in order, so that nothing moves
    ("Box 4 contains", "Box 3 contains", ALL, but(3, 4)),
    # 6 named 1 (sorted: nothing, the map): all from 2 on move by one
    ("Box 6 contains the map", "Box 1 contains the map", shifted(0, 1), but(1, 6)),
    (
        "Box 0 contains the car",
        "Box 0 contains contains the car",
        but(1, 3),
        but(0),
    ),  # verbs everywhere, "nothing" nowhere
]


@pytest.mark.parametrize(("old", "new", "theirs", "ours"), [*((*b, b[2]) for b in BOTH), *ONLY_THEIRS, *SHIFTS])
def test_what_each_scorer_says(old, new, theirs, ours):
    text = f"Statement: {TRUE}"
    assert old in text
    changed = text.replace(old, new, 1)
    assert score_as_released(changed, GOLD) == theirs
    assert score_statement(changed, GOLD) == ours


def test_a_cut_last_clause_that_equals_the_truth_counts_with_theirs_alone():
    cut = f"Statement: {TRUE.removesuffix('.')}"
    assert score_as_released(cut, GOLD, "truncated") == ALL
    assert score_statement(cut, GOLD, "truncated") == but(6)
    half = cut[: cut.index(" and the cash")]
    assert score_as_released(half, GOLD, "truncated") == but(5, 6)


@pytest.mark.parametrize(
    "text", ["", ".", "nothing", "Box 0 contains", "\x00", "Statement:", "Statement:Statement:", "is"]
)
def test_no_statement_raises_nothing(text):
    assert score_as_released(text, ("the car",) * 7) == NONE
    assert score_as_released(text, ("nothing",) * 7) == (text == "nothing", *NONE[1:])


def test_a_gold_of_another_length_is_refused():
    with pytest.raises(ValueError, match="7 boxes, found 6"):
        score_as_released(TRUE, GOLD[:6])


@given(boxes, boxes)
def test_both_agree_on_statements_of_the_expression(said, truth):
    gold = [contents_text(objects) for objects in truth]
    assert score_as_released(statement(said), gold) == score_statement(statement(said), gold)


words = st.lists(st.sampled_from(["the", "and", "car", "bag", "map", "bill"]), max_size=4)


@given(st.lists(words, min_size=7, max_size=7))
def test_both_agree_on_whatever_the_expression_lets_pass_but_for_doubled_articles(contents):
    """Any words: only "the" that is no article of a single object is read in another way."""
    text = ", ".join(
        f"Box {box} contains{''.join(f' {word}' for word in inside)}" for box, inside in enumerate(contents)
    )
    theirs, ours = (scorer(f"Statement: {text}.", GOLD) for scorer in (score_as_released, score_statement))
    for box, inside in enumerate(contents):
        if "the the" not in " ".join(inside):
            assert theirs[box] == ours[box], inside

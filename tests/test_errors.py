"""Kinds of errors: each by an example made for it, and laws that hold for any statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_fixture import TRUTHS, add_run, fill_workplace
from scenarios_fixture import scenarios
from scripts_fixture import refusal, run_script

from boxes.mistakes import INITIAL, KINDS, WRONG, classify, repeats_the_beginning
from boxes.records import read_csv
from boxes.scoring import score_statement
from boxes.world import NUM_BOXES, contents_text, describe, parse, replay

EMPTY = ("nothing",) * NUM_BOXES
START = "Box 0 contains the car, Box 1 contains the map, " + ", ".join(f"Box {b} contains nothing" for b in range(2, 7))
START += "."


def statement(*contents: str) -> str:
    """A statement whose first boxes hold `contents`, the others nothing."""
    filled = (*contents, *EMPTY[len(contents) :])
    return "Statement: " + ", ".join(f"Box {box} contains {text}" for box, text in enumerate(filled)) + "."


def kinds(operations: str, *contents: str, status: str = "ok") -> dict[int, str]:
    """The wrong boxes of a statement about START and operations on it."""
    found = classify(f"{START} {operations}".strip(), statement(*contents), status)
    return {box: kind for box, kind in enumerate(found) if kind}


@pytest.mark.parametrize(
    ("operations", "contents", "expected"),
    [
        ("Put the cup into Box 0.", ["the car", "the map"], {0: "missed put"}),
        ("Put the cup and the hat into Box 0.", ["the car and the cup", "the map"], {0: "missed put"}),
        ("Remove the car from Box 0.", ["the car", "the map"], {0: "missed remove"}),
        ("Move the car from Box 0 to Box 2.", ["the car", "the map"], {0: "missed move", 2: "missed move"}),
        ("Move the car from Box 0 to Box 2.", ["the car", "the map", "the car"], {0: "missed move"}),
        ("Move the car from Box 0 to Box 2.", ["nothing", "the map", "nothing"], {2: "missed move"}),
        # both ends of a move went wrong: the object is stated where it never lay, and is missing
        # where it lies
        ("Move the car from Box 0 to Box 2.", ["nothing", "the map", "nothing", "the car"],
         {2: "wrong box", 3: "wrong box"}),
        ("Put the cup into Box 0.", ["the car", "the cup and the map"], {0: "wrong box", 1: "wrong box"}),
        ("", ["the map", "the car"], {0: "wrong box", 1: "wrong box"}),
        ("", ["nothing", "the map"], {0: "lost object"}),
        ("", ["the car and the fish", "the map"], {0: "invented object"}),
        ("", ["the car and the", "the map"], {0: "invented object"}),
        ("Put the cup into Box 0.", ["the car and the fish", "the map"], {0: "invented object"}),
        ("Put the cup into Box 0.", ["the car and the map", "nothing"], {0: "wrong box", 1: "wrong box"}),
        # the wrong one was taken out
        ("Put the cup and the hat into Box 0. Remove the car from Box 0.", ["the car and the cup", "the map"],
         {0: "swapped object"}),
        ("Put the cup and the hat into Box 0. Move the cup from Box 0 to Box 2.", ["the car and the cup", "the map"],
         {0: "swapped object", 2: "missed move"}),
        ("Put the cup into Box 0. Put the hat into Box 0.", ["nothing", "the map"], {0: "several causes"}),
        ("Put the hat into Box 2. Move the car from Box 0 to Box 2.", ["nothing", "the map", "nothing"],
         {2: "stale copy"}),
        # two changes ago: none of the two operations happened
        ("Put the cup into Box 0. Put the hat into Box 0.", ["the car", "the map"], {0: "stale copy"}),
        ("Remove the car from Box 0. Put the hat into Box 0.", ["the car", "the map"], {0: "stale copy"}),
        ("Put the cup into Box 0. Put the hat into Box 0.", ["the car and the cup", "the map"], {0: "missed put"}),
        ("Put the cup into Box 0. Put the hat into Box 0.", ["the car and the hat", "the map"], {0: "missed put"}),
        # the contents of one and of three changes ago are the same: the one operation was missed
        ("Remove the car from Box 0. Put the car into Box 0. Put the hat into Box 0.", ["the car", "the map"],
         {0: "missed put"}),
        ("Move the car from Box 0 to Box 2. Remove the car from Box 2.", ["nothing", "the map", "the car"],
         {2: "missed remove"}),
        ("", ["the map and the car", "the map"], {0: "wrong box"}),
        ("Put the cup into Box 0.", ["the cup and the car", "the map"], {}),
    ],
)  # fmt: skip
def test_each_kind(operations, contents, expected):
    assert kinds(operations, *contents) == expected


def test_other_is_what_cannot_be_read():
    empty = statement("the car", "the map").replace("Box 2 contains nothing", "Box 2 contains")
    assert classify(START, empty) == (None, None, "other", None, None, None, None)
    cut = statement("the car", "the map").removesuffix(" contains nothing.")
    assert classify(START, cut, "truncated")[6] == "other"
    twice = statement("the car", "the map").replace("Box 6", "Box 5")
    assert classify(START, twice)[5:] == ("other", "other")
    assert classify(START, "I do not know.") == ("other",) * NUM_BOXES


def test_repeating_the_beginning_is_seen_across_kinds():
    description = f"{START} Put the cup into Box 0. Put the hat into Box 0."
    assert repeats_the_beginning(0, description, statement("the car", "the map"))
    assert not repeats_the_beginning(0, description, statement("the car and the cup", "the map"))
    assert not repeats_the_beginning(0, description, "")


WORDS = st.sampled_from(["the car", "the map", "nothing", "the", "the fish", "a map", ""])
CLAUSES = st.lists(st.lists(WORDS, max_size=3).map(" and ".join), min_size=NUM_BOXES, max_size=NUM_BOXES)


@given(st.integers(0, 200), CLAUSES, st.integers(0, 400), st.sampled_from(["ok", "truncated", "invalid"]))
def test_an_answer_has_a_kind_exactly_where_it_is_wrong(seed, clauses, cut, status):
    (scenario,) = scenarios(1, seed, operations=8)
    description = describe(scenario.initial, scenario.operations)
    truth = [contents_text(objects) for objects in replay(*parse(description))[0]]
    mixed = [clause if seed % 3 == 0 else right for clause, right in zip(clauses, truth, strict=True)]
    for prediction in (statement(*clauses), statement(*mixed)[:cut], statement(*truth)):
        found = classify(description, prediction, status)
        assert [kind is None for kind in found] == list(score_statement(prediction, truth, status))
        assert set(found) <= {*KINDS, None}


def test_a_model_that_never_follows_an_operation_misses_them_all():
    missed = {"missed put", "missed remove", "missed move", "stale copy", None}
    for scenario in scenarios(30, operations=12):
        description = describe(scenario.initial, scenario.operations)
        found = classify(description, statement(*map(contents_text, scenario.initial)))
        assert set(found) <= missed
        changes = replay(scenario.initial, scenario.operations)[1]
        assert all(kind is None for kind, count in zip(found, changes, strict=True) if count == 0)
        assert all(kind != "stale copy" for kind, count in zip(found, changes, strict=True) if count < 2)


def count(folder, *more: object) -> int | str | None:
    options = ["--data", folder / "data.jsonl", "--runs", folder / "runs", "--out", folder / "errors.csv", *more]
    return run_script("11_errors.py", "--profile", "tiny", *options)


def test_counts_of_the_runs_add_up(tmp_path, capsys):
    fill_workplace(tmp_path)
    assert count(tmp_path) == 0
    assert "3 wrong answers of 2 models" in capsys.readouterr().out
    errors = read_csv(tmp_path / "errors.csv").set_index(["model", "num_ops", "kind"]).n
    assert errors["tiny-base"].sum() == 0
    assert errors["tiny-code", "0", "lost object"] == 2
    assert errors["tiny-code", "1", "missed put"] == errors["tiny-code", "1+", WRONG] == 1
    assert errors["tiny-code", "all", INITIAL] == 1
    for (_, _), lines in errors.groupby(level=[0, 1]):
        by_kind = lines.droplevel([0, 1])
        assert by_kind[list(KINDS)].sum() == by_kind[WRONG]


def test_runs_that_do_not_belong_are_refused(tmp_path, capsys):
    fill_workplace(tmp_path)
    add_run(tmp_path, "tiny-code", TRUTHS, dataset_sha256="0" * 64)
    options = ["--data", tmp_path / "data.jsonl", "--runs", tmp_path / "runs", "--out", tmp_path / "errors.csv"]
    assert "another dataset" in refusal(capsys, "11_errors.py", "--profile", "tiny", *options)
    assert not (tmp_path / "errors.csv").exists()

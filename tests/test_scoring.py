import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs_fixture import TRUTHS, add_run, fill_workplace, score, score_arguments
from scripts_fixture import run_script

from boxes.records import read_csv
from boxes.score_tables import NUM_OPS, bucket_scores, in_bucket, with_accuracy
from boxes.scoring import score_statement
from boxes.world import NOUNS, contents_text, statement

GOLD = ("the car", "nothing", "the bag and the machine", "nothing", "the bill", "the apple and the cash", "the map")
TRUE = ", ".join(f"Box {box} contains {contents}" for box, contents in enumerate(GOLD)) + "."
ALL = (True,) * 7


def but(*wrong: int) -> tuple[bool, ...]:
    return tuple(box not in wrong for box in range(7))


@pytest.mark.parametrize("prediction", [f"Statement: {TRUE}", TRUE, f" {TRUE}", f"{TRUE}\nDescription: Box 0 contains"])
def test_a_true_statement_is_right_everywhere(prediction):
    assert score_statement(prediction, GOLD) == ALL


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("the bag and the machine", "the machine and the bag", ALL),  # a set: order does not count
        ("the bag and the machine", "the bag and the machine and the bag", ALL),  # nor does repetition
        ("the bag and the machine", "bag and machine", ALL),  # "the " is dropped
        ("the bag and the machine", "the bag", but(2)),
        ("the bag and the machine", "the bag and the machine and the map", but(2)),
        ("the bag and the machine", "the bag the machine", but(2)),
        ("the bag and the machine", "the bag and", but(2)),
        ("the bag and the machine", "the bag, the machine", but(2)),
        ("the car", "The car", but(0)),
        ("the car", "the cart", but(0)),
        ("the car", "nothing", but(0)),
        ("Box 3 contains nothing", "Box 3 contains the nothing", but(3)),  # exactly "nothing"
        ("Box 3 contains nothing", "Box 3 contains nothing and nothing", but(3)),
        ("Box 3 contains nothing", "Box 3 contains", but(3)),  # an empty continuation is not an empty box
        ("Box 4 contains the bill", "Box 4 contains", but(4)),
        ("Box 4 contains the bill", "Box 4 containsthe bill", but(4)),
        (", Box 4 contains the bill", "", but(4)),  # a missing box
        ("Box 4 contains", "Box 3 contains", but(3, 4)),  # one box named twice, another missing
        ("Box 1 contains nothing, Box 2", "Box 2", but(1)),
        (", Box 5", ", Box 0 contains the map, Box 5", but(0)),  # Box 0, too, must be named once
        ("Box 4 contains", "Box 0 contains", but(0, 4)),
        ("Box 0 contains", "Box 0 holds", but(*range(7))),
        (", Box 6", ". Box 6", but(6)),  # after the first period nothing counts
        (", Box 6", ".\nBox 6", but(6)),
    ],
)
def test_one_change(old, new, expected):
    assert old in TRUE
    assert score_statement(TRUE.replace(old, new, 1), GOLD) == expected


@pytest.mark.parametrize("prediction", ["", ".", "Statement:", "nothing", "Statement: Box 0 contains", "\x00", "Box 0"])
def test_no_statement_is_wrong_everywhere(prediction):
    assert score_statement(prediction, ("nothing",) * 7) == (False,) * 7


def test_invalid_text_is_read_as_it_stands():
    assert score_statement(TRUE.removesuffix("."), GOLD, "invalid") == ALL


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="7 boxes, found 6"):
        score_statement(TRUE, GOLD[:6])
    with pytest.raises(ValueError, match="unknown status 'done'"):
        score_statement(TRUE, GOLD, "done")


def test_every_prefix_of_a_truncated_statement_has_only_its_whole_clauses_right():
    whole = f"Statement: {TRUE}"
    for end in range(len(whole) + 1):
        text = whole[:end]
        finished = [f"Box {box} contains {contents}{',.'[box == 6]}" in text for box, contents in enumerate(GOLD)]
        assert score_statement(text, GOLD, "truncated") == tuple(finished), text


def test_a_cut_clause_is_wrong_even_where_it_reads_like_the_truth():
    cut = TRUE[: TRUE.index("the apple") + len("the apple")]
    gold = (*GOLD[:5], "the apple", GOLD[6])
    assert score_statement(cut, gold, "ok")[5]
    assert not score_statement(cut, gold, "truncated")[5]
    assert not score_statement("Box 0 contains the car, the m", GOLD, "truncated")[0]


boxes = st.permutations(NOUNS[:21]).flatmap(
    lambda nouns: st.lists(st.integers(0, 3), min_size=7, max_size=7).map(
        lambda sizes: tuple(tuple(sorted(nouns[3 * box : 3 * box + size])) for box, size in enumerate(sizes))
    )
)


@given(boxes, boxes)
def test_a_statement_is_right_exactly_where_the_states_agree(said, truth):
    gold = [contents_text(objects) for objects in truth]
    assert score_statement(statement(said), gold) == tuple(a == b for a, b in zip(said, truth, strict=True))


def test_buckets_count_eight_changes_in_the_totals_only():
    queries = pd.DataFrame({"sample_id": range(6), "num_ops": [0, 0, 1, 7, 8, 9], "correct": [1, 0, 1, 0, 1, 1]})
    rows = bucket_scores(queries).set_index("num_ops")
    assert list(rows.index) == list(NUM_OPS)
    assert rows.n.to_dict() == {"0": 2, "1": 1, **dict.fromkeys("23456", 0), "7": 1, "all": 6, "1+": 4}
    assert (rows.correct["0"], rows.correct["7"], rows.correct["all"], rows.correct["1+"]) == (1, 0, 4, 3)
    assert rows.accuracy["0"] == 50
    assert rows.accuracy[["2", "6"]].isna().all()
    assert rows.ci_low[["2", "6"]].isna().all()
    assert in_bucket(pd.Series([0, 1, 8]), "1+").tolist() == [False, True, True]


def test_intervals_of_accuracies_account_for_scenarios():
    """Two scenarios answered as a whole are two observations; printed counts are taken as
    binomial."""
    queries = pd.DataFrame({"sample_id": [1] * 30 + [2] * 30, "num_ops": [1] * 60, "correct": [1] * 30 + [0] * 30})
    rows = bucket_scores(queries).set_index("num_ops")
    printed = with_accuracy(pd.DataFrame({"n": [60], "correct": [30]}))
    assert (rows.n["1"], rows.accuracy["1"]) == (60, 50)
    assert rows.ci_high["1"] - rows.ci_low["1"] > 3 * float(printed.ci_high[0] - printed.ci_low[0])
    alone = bucket_scores(queries.assign(sample_id=range(60))).set_index("num_ops")
    assert alone.ci_low["1"] == pytest.approx(printed.ci_low[0], abs=0.2)


# --- experiments/05_score.py ---


@pytest.fixture
def workplace(tmp_path):
    return fill_workplace(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [("0,13,", "0,12,"), ("1,1,75.0", "1,1,74.9"), ("2,0,", "2,1,10.0"), ("1,1,75.0\n", ""), ("all,14,", "all,714,")],
)
def test_the_random_baseline_of_another_dataset_is_refused(workplace, capsys, old, new):
    path = workplace / "random.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    status, error = score(workplace, capsys)
    assert status == 2
    assert error.count("\n") == 1
    assert f"{path}: the random baseline of another dataset than {workplace / 'data.jsonl'}" in error
    assert not (workplace / "out" / "scores.csv").exists()


def test_models_that_are_not_chosen_are_not_those_that_were_not_run(workplace, capsys):
    assert score(workplace, capsys, "--models", "tiny-base", "tiny-chat") == (0, "")
    runs = read_csv(workplace / "out" / "runs.csv").set_index("model")
    states = {
        "tiny-base": "complete",
        "tiny-chat": "not run",
        **dict.fromkeys(("tiny-more", "tiny-code", "tiny-math"), "not chosen"),
    }
    assert runs.status.to_dict() == states
    assert run_script(*score_arguments(workplace, "--models", "tiny-base", "tiny-chat")) == 0
    assert "1 of 2 models scored" in capsys.readouterr().out


def test_the_printed_counts_of_chosen_models(tmp_path, capsys):
    words = ("05_score.py", "--profile", "reported", "--out", tmp_path, "--models", "llama-7b")
    assert run_script(*words) == 0
    runs = read_csv(tmp_path / "runs.csv")
    assert list(runs.model[runs.status == "complete"]) == ["llama-7b"]
    assert (runs.status == "not chosen").sum() == 28


def test_scores_of_two_runs(workplace, capsys):
    assert score(workplace, capsys) == (0, "")
    scores = read_csv(workplace / "out" / "scores.csv").set_index(["model", "num_ops"])
    assert scores.index.levels[0].tolist() == ["Random", "tiny-base", "tiny-code"]
    assert (scores.correct["tiny-base", "all"], scores.n["tiny-base", "all"]) == (14, 14)
    assert (scores.correct["tiny-code", "0"], scores.correct["tiny-code", "1"]) == (11, 0)
    assert scores.accuracy["tiny-code", "0"] == pytest.approx(100 * 11 / 13)
    assert scores.accuracy["Random", "1"] == 75
    assert scores.correct["Random", "all"] == pytest.approx(13.25)
    queries = read_csv(workplace / "out" / "queries.csv")
    assert len(queries) == 28
    assert queries.query("model == 'tiny-code' and correct == 0")[["num_operations", "box"]].values.tolist() == [
        [0, 0], [1, 0], [1, 1]]  # fmt: skip


def test_counts_of_models_are_whole_numbers_in_the_file(workplace, capsys):
    score(workplace, capsys)
    text = (workplace / "out" / "scores.csv").read_text()
    assert re.search(r"^tiny-base,all,14,14,100\.000000,", text, re.MULTILINE)


@pytest.mark.parametrize("status", ["partial", "not run", "failed"])
def test_a_run_that_is_not_complete_is_listed_and_never_scored(workplace, capsys, status):
    add_run(workplace, "tiny-code", TRUTHS, status=status, reason="killed")
    assert score(workplace, capsys)[0] == 0
    runs = read_csv(workplace / "out" / "runs.csv").set_index("model")
    assert (runs.status["tiny-code"], runs.reason["tiny-code"]) == (status, "killed")
    assert (runs.status["tiny-math"], runs.status["tiny-base"]) == ("not run", "complete")
    for name in ("scores.csv", "queries.csv"):
        assert "tiny-code" not in set(read_csv(workplace / "out" / name).model)


def test_models_narrow_the_scores(workplace, capsys):
    assert score(workplace, capsys, "--models", "tiny-code")[0] == 0
    assert set(read_csv(workplace / "out" / "scores.csv").model) == {"Random", "tiny-code"}
    status, error = score(workplace, capsys, "--models", "gemma-7b")
    assert status == 2
    assert "gemma-7b is no model of profile tiny" in error


def test_without_any_run_only_random_is_scored(workplace, capsys):
    for name in ("tiny-base", "tiny-code"):
        (workplace / "runs" / name / "run.json").unlink()
    assert score(workplace, capsys)[0] == 0
    assert set(read_csv(workplace / "out" / "scores.csv").model) == {"Random"}
    assert len(read_csv(workplace / "out" / "queries.csv")) == 0

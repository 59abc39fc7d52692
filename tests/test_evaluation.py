"""boxes.evaluation: the frame of a run's own predictions is that of the scripts, whatever hands them in."""

import json

import numpy as np
import pandas as pd
import pytest
from runs_fixture import DESCRIPTIONS, TRUTHS, fill_workplace

from boxes import world
from boxes.completion import Completion, Status
from boxes.dataset import example_of, examples_of, read_examples
from boxes.evaluation import COLUMNS, compare, evaluate, score_predictions, summarise
from boxes.minimal_pairs import paired_rows
from boxes.models.table import spec_of
from boxes.prompting import STATEMENT_HEAD, statement_prompt
from boxes.records import UserError, read_csv
from boxes.runs.folder import score_run
from boxes.score_tables import NUM_OPS, bucket_scores


def statement(contents) -> str:
    return "Statement: " + ", ".join(f"Box {box} contains {text}" for box, text in enumerate(contents)) + "."


EXAMPLES = examples_of(DESCRIPTIONS)
RIGHT = [statement(truths) for truths in TRUTHS]
NOTHING = [statement(["nothing"] * 7)] * 2


def test_a_frame_has_a_row_a_query():
    frame = score_predictions(EXAMPLES, [RIGHT[0], NOTHING[1]])
    assert tuple(frame.columns) == COLUMNS
    assert list(zip(frame.sample_id, frame.num_operations, frame.box, strict=True)) == [
        (0, number, box) for number in (0, 1) for box in range(7)
    ]
    wrong = frame[frame.correct == 0]
    assert list(wrong.box) == [0, 1]
    assert list(wrong.gold) == ["the car", "the map"]
    assert list(wrong.predicted) == ["nothing", "nothing"]
    assert list(wrong.kind) == ["lost object", "missed put"]
    assert list(wrong.num_ops) == [0, 1]
    assert frame[frame.correct == 1].kind.isna().all()
    assert set(frame.status) == {"ok"}


def test_descriptions_of_one_scenario_share_a_sample():
    other = DESCRIPTIONS[0] + " Put the bag into Box 1."
    found = examples_of([DESCRIPTIONS[1], DESCRIPTIONS[0], other])
    assert [example.sample_id for example in found] == [0, 0, 1]
    assert found[0].contents == tuple(TRUTHS[1])
    assert found[0].num_ops == (0, 1, 0, 0, 0, 0, 0)
    with pytest.raises(UserError, match=r"^description 2: the same as in 1; correct it or leave it out$"):
        examples_of([DESCRIPTIONS[0]] * 2)
    with pytest.raises(UserError, match=r"^description 1: a description ends in a period; "):
        examples_of(["Box 0"])


def test_the_order_of_examples_is_that_of_the_release(splits):
    """examples_of finds the scenarios that the generator made."""
    told, expected = [], []
    for place, scenario in enumerate(splits["dev"][:12]):
        for number, _, _ in scenario.states():
            told.append(world.describe(scenario.initial, scenario.operations[:number]))
            expected.append(place)
    order = np.random.default_rng(1).permutation(len(told))
    found = examples_of([told[place] for place in order])
    pairs = {(example.sample_id, expected[place]) for example, place in zip(found, order, strict=True)}
    assert len(pairs) == 12


def test_it_says_what_the_scripts_say(tmp_path):
    """Of a run's own predictions.jsonl: the answers of 05_score.py, the scores and the paired effects."""
    fill_workplace(tmp_path)
    examples = read_examples(tmp_path / "data.jsonl")
    by_key = {(example.sample_id, example.num_operations): example for example in examples}
    frames, rows = {}, []
    for name in ("tiny-base", "tiny-code"):
        path = tmp_path / "runs" / name / "predictions.jsonl"
        rows += score_run(spec_of(name), path, by_key)
        frames[name] = score_predictions(examples, path)
    queries = pd.DataFrame(rows, columns=["model", "sample_id", "num_operations", "box", "num_ops", "correct"])
    for name, frame in frames.items():
        mine = queries[queries.model == name].drop(columns="model").reset_index(drop=True)
        pd.testing.assert_frame_equal(frame[list(mine.columns)], mine)
        pd.testing.assert_frame_equal(summarise(frame), bucket_scores(mine))
        assert list(summarise(frame).num_ops) == list(NUM_OPS)
    effects = compare(frames["tiny-base"], frames["tiny-code"], ("tiny-base", "tiny-code"))
    expected = pd.DataFrame(paired_rows("tiny-base", "tiny-code", queries))
    for column in ("num_ops", "n", "difference", "ci_low", "ci_high", "p_mcnemar"):
        assert effects[column].equals(expected[column].astype(effects[column].dtype)), column
    assert effects.difference[effects.num_ops == "1"].item() == -100.0


GIVEN = {
    "texts": lambda: RIGHT,
    "completions": lambda: [Completion(text, (), Status.OK) for text in RIGHT],
    "by key, in another order": lambda: {(0, 1): RIGHT[1], (0, 0): RIGHT[0]},
    "one after the other": lambda: iter(RIGHT),
    "what follows the period": lambda: [text + " Description: Box 0 contains the cat." for text in RIGHT],
}


@pytest.mark.parametrize("given", GIVEN)
def test_the_same_statements_are_the_same_frame(given):
    frame = score_predictions(EXAMPLES, GIVEN[given]())
    pd.testing.assert_frame_equal(frame, score_predictions(EXAMPLES, RIGHT))
    assert frame.correct.all()


def test_a_continuation_has_its_head():
    rest = [text.removeprefix(STATEMENT_HEAD) for text in RIGHT]
    assert statement_prompt("").endswith(STATEMENT_HEAD)
    assert score_predictions(EXAMPLES, rest, head=STATEMENT_HEAD).correct.all()
    with pytest.raises(UserError, match=r"^2 of 2 predictions go on from a prompt .*in Python head=STATEMENT_HEAD"):
        score_predictions(EXAMPLES, rest)
    whole = [text.removeprefix("Statement: ") for text in RIGHT]
    assert score_predictions(EXAMPLES, whole).correct.all()
    with pytest.raises(UserError, match=r"^2 of 2 predictions begin their statement themselves; do not say"):
        score_predictions(EXAMPLES, whole, head=STATEMENT_HEAD)


def test_what_is_not_answered_is_wrong_and_both_scorers_judge():
    with pytest.warns(UserWarning, match=r"^1 of 2 examples are not answered; they count as wrong$"):
        frame = score_predictions(EXAMPLES, {(0, 0): RIGHT[0].replace(", Box", "; Box")})
    assert list(frame.status) == ["invalid"] * 14
    assert frame.predicted[7:].isna().all()
    assert list(frame.kind[7:]) == ["other"] * 7
    assert (frame.correct.sum(), frame.correct_released.sum()) == (0, 7)
    assert (summarise(frame).correct.max(), summarise(frame, "authors").correct.max()) == (0, 7)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match=r"^1 predictions for 2 examples; give one each$"):
        score_predictions(EXAMPLES, RIGHT[:1])
    with pytest.raises(UserError, match=r"^predictions of \(5, 0\), which no example is; leave them out$"):
        score_predictions(EXAMPLES, {(5, 0): RIGHT[0]})
    for examples in ([example_of(DESCRIPTIONS[0])] * 2, EXAMPLES * 2):
        with pytest.raises(UserError, match=r"^two examples have one sample_id and num_operations; "):
            score_predictions(examples, RIGHT * (len(examples) // 2))
        with pytest.raises(UserError, match=r"^two examples have one sample_id and num_operations; "):
            evaluate(None, None, examples)  # before anything is decoded
    with pytest.raises(UserError, match=r"^examples in several wordings; evaluate those of each apart$"):
        evaluate(None, None, [EXAMPLES[0], example_of(DESCRIPTIONS[0].replace("contains nothing", "is empty"), 1)])
    for nothing in (None, float("nan"), ["Statement:"]):
        with pytest.raises(
            UserError, match=r'^the prediction of \(0, 1\) is .*, not a text; give "" where there is none$'
        ):
            score_predictions(EXAMPLES, [RIGHT[0], nothing])
    frame = score_predictions(EXAMPLES, RIGHT)
    with pytest.raises(UserError, match=r"did not answer the same queries"):
        compare(frame, frame[:7])
    with pytest.raises(UserError, match=r"^both are called 'a'; give two names$"):
        compare(frame, frame, ("a", "a"))


def test_what_is_no_frame_of_one_model_is_refused():
    frame = score_predictions(EXAMPLES, RIGHT)
    both = pd.concat([frame, frame])
    for wrong, scorer, message in [
        (frame, "theirs", "unknown scorer 'theirs'; choose ours or authors"),
        (
            summarise(frame),
            "ours",
            "a frame without sample_id, num_operations, box; give one of evaluate or score_predictions",
        ),
        (both, "ours", "a query is answered twice in this frame; give those of each model apart"),
    ]:
        with pytest.raises(UserError, match=f"^{message}"):
            summarise(wrong, scorer)
        with pytest.raises(UserError, match=f"^{message}"):
            compare(frame, wrong, scorer=scorer)


def test_a_prompt_handed_in_with_its_answer_is_noticed():
    """As a pipeline does that returns the full text."""
    told = [statement_prompt(text) + right.removeprefix(STATEMENT_HEAD)
            for text, right in zip(DESCRIPTIONS, RIGHT, strict=True)]  # fmt: skip
    for head in ("", STATEMENT_HEAD):
        with pytest.raises(UserError, match=r"^2 of 2 predictions begin with their prompt; give what the model wrote"):
            score_predictions(EXAMPLES, told, head)


def test_what_a_model_says_beside_the_point_is_wrong_and_no_mistake_of_the_user():
    for text in ("I cannot say.", "Sure. " + RIGHT[0], "Box 3", "*"):
        assert score_predictions(EXAMPLES, [text] * 2).correct.sum() == 0
    # The engine's completions are whole, whatever the model has written.
    strange = [
        Completion(text, (), Status.INVALID) for text in (RIGHT[0].removeprefix(STATEMENT_HEAD), statement_prompt(""))
    ]
    assert score_predictions(EXAMPLES, strange).correct.sum() == 0


@pytest.mark.usefixtures("one_thread")
def test_a_model_is_evaluated_as_its_completions_are_scored():
    """evaluate is decoding and score_predictions, nothing else."""
    from boxes.decoding import Decoder
    from boxes.models import load

    loaded = load("tiny-base", device="cpu", dtype="float32")
    told = []
    frame = evaluate(loaded.model, loaded.tokenizer, EXAMPLES, progress=told.append, batch_size=1)
    completions = Decoder(loaded.model, loaded.tokenizer).decode(list(map(statement_prompt, DESCRIPTIONS)))
    pd.testing.assert_frame_equal(frame, score_predictions(EXAMPLES, completions))
    assert sum(told) == 2


def test_a_frame_survives_as_csv(tmp_path):
    frame = score_predictions(EXAMPLES, NOTHING)
    frame.to_csv(tmp_path / "frame.csv", index=False)
    assert read_csv(tmp_path / "frame.csv", COLUMNS, ("num_ops", "correct")).correct.sum() == frame.correct.sum()
    json.loads(frame.to_json())


def test_a_file_that_does_not_answer_all_is_noticed(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps({"sample_id": 0, "num_operations": 1, "prediction": RIGHT[1]}))
    with pytest.warns(UserWarning, match=r"^1 of 2 examples are not answered; they count as wrong$"):
        frame = score_predictions(EXAMPLES, path)
    assert list(frame.correct) == [0] * 7 + [1] * 7
    assert frame.predicted[:7].isna().all()

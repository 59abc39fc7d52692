"""Evaluation from Python: a row a query, scores and paired effects as data frames.

    frame = evaluate(model, tokenizer, examples)            # decoded here, by the engine
    frame = score_predictions(examples, texts)              # decoded by whatever
    summarise(frame)                                        # accuracy by number of operations
    compare(frame_of_base, frame_of_treated)                # paired effects

The numbers are those of the tables: the same readers, scorers, score table and statistics make them.
Examples come from `read_examples` (a dataset) or `examples_of` (descriptions) of boxes/dataset.py.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from boxes.completion import Completion, Status
from boxes.dataset import Example
from boxes.minimal_pairs import KEY, pair_table, paired_rows
from boxes.mistakes import classify, divergence
from boxes.prompting import PromptSettings, prompt_maker, statement_regex
from boxes.records import UserError
from boxes.release_scoring import score_as_released
from boxes.runs.elsewhere import prediction_lines, read_elsewhere
from boxes.runs.folder import Key, plain_lines
from boxes.score_tables import bucket_scores
from boxes.scoring import AUTHORS, OURS, read_statement, score_statement
from boxes.world import BASE

COLUMNS = ("sample_id", "num_operations", "box", "num_ops", "gold", "predicted", "correct", "status",
           "kind", "correct_released")  # fmt: skip
LOOKED_AT = ("description", "statement", "first_wrong_box", "differs")
# Which column of a frame a scorer wrote.
CORRECT = {OURS: "correct", AUTHORS: "correct_released"}
Predictions = Sequence[str | Completion] | Mapping[Key, str | Completion] | Path | str


def evaluate(
    model,
    tokenizer,
    examples: Sequence[Example],
    prompt: PromptSettings | None = None,
    progress: Callable[[int], None] | None = None,
    **options,
) -> pd.DataFrame:
    """Decode examples with a model and score them: COLUMNS, seven rows an example, in its order.

    `prompt`: plain (Table 2) by default. `progress` is told how many more are decoded. `options` are
    those of Decoder (regex, max_new_tokens, batch_size, draft). In float32 the statements are those
    that make decodes, whatever the batches. UserError for examples that cannot be decoded or scored
    together, before anything is.
    """
    _by_key(examples)
    if len({example.wording.asked(0) for example in examples}) > 1:
        raise UserError("examples in several wordings; evaluate those of each apart")
    from boxes.decoding import Decoder  # torch is imported where something is decoded

    wording = examples[0].wording if examples else BASE
    options = {"regex": statement_regex(wording), "wording": wording} | options
    decoder = Decoder(model, tokenizer, **options)
    make_prompt = prompt_maker(replace(prompt or PromptSettings(), wording=wording), tokenizer)
    prompts = [make_prompt(example.description) for example in examples]
    return score_predictions(examples, decoder.decode(prompts, progress))


def score_predictions(examples: Sequence[Example], predictions: Predictions, head: str = "") -> pd.DataFrame:
    """COLUMNS of statements decoded by whatever, seven rows an example, in its order.

    predictions: a text (or Completion) an example, in their order; or by (sample_id,
    num_operations); or the path of a file that boxes/runs/elsewhere.py describes. In these two an
    example may lack: it is not answered, counts as wrong, and a warning says how many. `head`: what
    the prompt ended in and the texts go on from (boxes.prompting.STATEMENT_HEAD for the plain prompt
    of Table 2). UserError for what is no text or belongs to no example, for texts of which most are
    a prompt or the rest of one, and for examples of one key.
    """
    by_key = _by_key(examples)
    if isinstance(predictions, str | Path):
        lines, missing = read_elsewhere(predictions, by_key, head)
    else:
        given = _given(by_key, predictions)
        lines = prediction_lines(by_key, given, head)
        missing = [key for key in by_key if key not in given]
    if missing:
        lacking = f"{len(missing)} of {len(by_key)} examples are not answered"
        warnings.warn(f"{lacking}; they count as wrong", stacklevel=2)
    return query_frame(by_key, plain_lines(by_key, lines))


def _given(by_key: Mapping[Key, Example], predictions: Sequence | Mapping) -> Mapping[Key, str | Completion]:
    """Predictions by key. UserError where they are not those of the examples."""
    if not isinstance(predictions, Mapping):
        predictions = list(predictions)
        if len(predictions) != len(by_key):
            raise UserError(f"{len(predictions)} predictions for {len(by_key)} examples; give one each")
        return dict(zip(by_key, predictions, strict=True))
    strangers = [key for key in predictions if key not in by_key]
    if strangers:
        raise UserError(f"predictions of {strangers[0]}, which no example is; leave them out")
    return predictions


def _by_key(examples: Sequence[Example]) -> dict[Key, Example]:
    by_key = {(example.sample_id, example.num_operations): example for example in examples}
    if len(by_key) != len(examples):
        raise UserError("two examples have one sample_id and num_operations; make them with examples_of")
    return by_key


def query_frame(examples: Mapping[Key, Example], lines: Mapping[Key, dict]) -> pd.DataFrame:
    """COLUMNS of lines of a predictions.jsonl (plain_lines), one of each example.

    gold, predicted: contents of the box as text, in Table 2's words whatever the form says, the
    latter None where none can be read; correct: 1 or 0 by our scorer, correct_released by that of the
    authors' release, which reads more texts of free decoding; kind: of the mistake
    (boxes/mistakes.py), None where `correct` is 1.
    """
    rows = []
    for key, example in examples.items():
        text, status = lines[key]["prediction"], lines[key]["status"]
        stated = read_statement(text, cut=status == Status.TRUNCATED)
        right = score_statement(text, example.contents, status)
        released = score_as_released(text, example.contents, status)
        kinds = classify(example.description, text, status)
        for box, num_ops in enumerate(example.num_ops):
            predicted = stated.get(box)
            if predicted is not None:
                predicted = predicted.strip()
            judged = (int(right[box]), status, kinds[box], int(released[box]))
            rows.append((*key, box, num_ops, example.contents[box], predicted, *judged))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def true_statement(example: Example) -> str:
    """What is right to say of an example, in the words of its form."""
    told = [f"Box {box} contains {contents}" for box, contents in enumerate(example.contents)]
    return example.wording.swap(f"Statement: {', '.join(told)}.")


def samples(examples: Mapping[Key, Example], lines: Mapping[Key, dict]) -> pd.DataFrame:
    """query_frame with what one looks at: the statement as it was written, the first box that it is
    wrong about (None where it is right) and the first word that differs from the true statement."""
    told = []
    for key, example in examples.items():
        line = lines[key]
        right = score_statement(line["prediction"], example.contents, line["status"])
        first = None if all(right) else right.index(False)
        _, differs, _ = divergence(line["written"], true_statement(example))
        told += [(example.description, line["written"], first, differs)] * len(right)
    looked = pd.DataFrame(told, columns=list(LOOKED_AT)).astype({"first_wrong_box": "Int64"})
    return pd.concat([query_frame(examples, lines), looked], axis=1)


def summarise(frame: pd.DataFrame, scorer: str = OURS) -> pd.DataFrame:
    """Accuracy by number of operations, overall and at 1+: num_ops, n, correct, accuracy, ci_low and
    ci_high in per cent, as in scores.csv; behind these 8 and more operations, where a description has
    so many. scorer: "ours", or "authors" for that of the release. UserError for a frame of several
    models, and for what is no such frame."""
    return bucket_scores(_judged(frame, scorer), longer=True)


def compare(
    base: pd.DataFrame, treated: pd.DataFrame, names: tuple[str, str] = ("base", "treated"), scorer: str = OURS
) -> pd.DataFrame:
    """Treated minus base on the same queries, a row a bucket: the columns of code.csv, with a
    bootstrap over scenarios and McNemar's exact test. The bootstrap is seeded by `names`, as that of
    the tables by the names of models. UserError where the two did not answer the same queries."""
    if names[0] == names[1]:
        raise UserError(f"both are called {names[0]!r}; give two names")
    frames = []
    for name, frame in zip(names, (base, treated), strict=True):
        frames.append(_judged(frame, scorer).assign(model=name))
    called = {"base": names[0], "treated": names[1]}
    return pair_table([called | row for row in paired_rows(*names, pd.concat(frames))])


def _judged(frame: pd.DataFrame, scorer: str) -> pd.DataFrame:
    """A frame of queries whose `correct` is by a scorer. UserError for another frame."""
    if scorer not in CORRECT:
        raise UserError(f"unknown scorer {scorer!r}; choose {' or '.join(CORRECT)}")
    lacking = [name for name in (*KEY, "num_ops", CORRECT[scorer]) if name not in frame]
    if lacking:
        raise UserError(f"a frame without {', '.join(lacking)}; give one of evaluate or score_predictions")
    if frame.duplicated(KEY).any():
        raise UserError("a query is answered twice in this frame; give those of each model apart")
    return frame.assign(correct=frame[CORRECT[scorer]])

"""Other forms of the task: files of their own, in the words of the published form, labelled, never compared."""

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from runpy import run_path

import pytest
from checkout_fixture import make
from scripts_fixture import ROOT, refusal, run_script

from boxes import generation
from boxes.dataset import SUBSET, examples_of, read_examples
from boxes.evaluation import compare, samples, score_predictions, summarise, true_statement
from boxes.generation import NUM_OPERATIONS, generate
from boxes.prompting import statement_head, statement_prompt, statement_regex
from boxes.records import UserError, read_csv
from boxes.runs.elsewhere import prediction_lines
from boxes.runs.folder import plain_lines
from boxes.runs.task import dataset_note, read_task
from boxes.world import CONTAINERS, WORDINGS, describe, parse, replay, statement
from paper.sample_statements import choose_queries

FORMS = run_path(str(ROOT / "experiments" / "tools" / "forms.py"))["FORMS"]
WORDED = ("contents", "empty", "containers")
START = "Box 0 contains the car, " + ", ".join(f"Box {box} is empty" for box in range(1, 7)) + "."


@pytest.fixture
def few(monkeypatch):
    """A dozen scenarios in the place of 2200."""
    monkeypatch.setattr(generation, "SPLITS", {"train": 4, "dev": 2, "test": 6})


def form(name, out, *more):
    assert run_script("tools/forms.py", "--form", name, "--seed", 3, "--out", out, *more) == 0
    return out / f"{name}-{SUBSET}"


def test_longer_sequences_are_the_scenarios_carried_on(few, tmp_path):
    path = form("long", tmp_path)
    base, longer = generate(3)["test"], generate(3, 2 * NUM_OPERATIONS)["test"]
    for one, other in zip(base, longer, strict=True):
        assert (one.initial, one.operations) == (other.initial, other.operations[:NUM_OPERATIONS])
        assert len(other.operations) == 2 * NUM_OPERATIONS
    examples = read_examples(path)
    known = {describe(one.initial, one.operations[:count]) for one in base for count in range(NUM_OPERATIONS + 1)}
    assert not known & {example.description for example in examples}
    assert {example.num_operations for example in examples} <= set(range(NUM_OPERATIONS + 1, 2 * NUM_OPERATIONS + 1))
    assert max(max(example.num_ops) for example in examples) > 7
    assert path.read_bytes() == form("long", tmp_path / "again").read_bytes()


@pytest.mark.parametrize("name", WORDED)
def test_a_wording_changes_the_words_alone(few, tmp_path, name):
    """The scenarios of the base set, in the words of the form; what is true of each state is what its
    operations, replayed, make true in the base set."""
    first = FORMS[name].first_id
    scenarios = {first + scenario.sample_id: scenario for scenario in generate(3)["test"]}
    examples = read_examples(form(name, tmp_path))
    assert len(examples) > 20
    for example in examples:
        scenario = scenarios[example.sample_id]
        operations = scenario.operations[: example.num_operations]
        assert example.description == describe(scenario.initial, operations, WORDINGS[name])
        assert parse(example.description) == (scenario.initial, operations)
        (plain,) = examples_of([describe(scenario.initial, operations)])
        assert (example.contents, example.num_ops) == (plain.contents, plain.num_ops)
        state, counts = replay(scenario.initial, operations)
        assert counts == example.num_ops
        true = statement(state, WORDINGS[name])
        assert re.fullmatch(statement_regex(example.wording), true)
    shown = Counter(example.description.count("the contents of") > 0 for example in examples)
    assert shown[True] > 5 if name == "contents" else not shown[True]


QUERIES = {  # form -> how a query is masked, what fills it, and what fills that of an empty box
    "contents": ("Box 3 contains <extra_id_0> .", "<extra_id_0> the ", "<extra_id_0> nothing"),
    "empty": ("Box 3 <extra_id_0> .", "<extra_id_0> contains the ", "<extra_id_0> is empty"),
    "containers": ("Container D <extra_id_0> .", "<extra_id_0> contains the ", "<extra_id_0> is empty"),
}


@pytest.mark.parametrize("name", WORDED)
def test_queries_are_those_of_the_published_form(few, tmp_path, name):
    masked, filled, empty = QUERIES[name]
    queries = list(map(json.loads, form(name, tmp_path).read_text().splitlines()))
    assert all(query["sentence_masked"].endswith(f". {masked}") for query in queries[3::7])
    for query in queries:
        answer = query["masked_content"]
        assert answer == empty or answer.startswith(filled)
        whole = query["sentence_masked"].replace("<extra_id_0> .", answer.removeprefix("<extra_id_0> ") + ".")
        assert query["sentence"] == whole


@pytest.mark.parametrize("name", WORDED)
def test_answers_count_in_the_words_of_the_form_alone(few, tmp_path, name):
    examples = read_examples(form(name, tmp_path))
    states = [replay(*parse(example.description))[0] for example in examples]
    head = statement_head(WORDINGS[name])
    mine = [statement(state, WORDINGS[name]) for state in states]
    for scorer in ("ours", "authors"):
        frame = score_predictions(examples, mine)
        assert summarise(frame, scorer).set_index("num_ops").accuracy["all"] == 100
        assert score_predictions(examples, [text.removeprefix(head) for text in mine], head).equals(frame)
    assert set(frame.status) == {"ok"}
    others = [other for other in WORDINGS.values() if other.asked(0) != WORDINGS[name].asked(0)]
    assert len(others) >= 2
    for other in others:
        frame = score_predictions(examples, [statement(state, other) for state in states])
        wrong = frame[frame.gold == "nothing"]
        assert wrong.correct.sum() == 0, other.name
        # The release's scorer reads "is empty" as nothing in the base set's words, too.
        assert name == "contents" or wrong.correct_released.sum() == 0, other.name


@pytest.mark.parametrize("name", WORDED)
def test_statements_are_shown_as_they_were_written(few, tmp_path, name):
    """In samples.csv and in the report, beside the truth in the same words."""
    by_key = read_task(form(name, tmp_path)).by_key
    right = [true_statement(example) for example in by_key.values()]
    assert right == [statement(replay(*parse(e.description))[0], WORDINGS[name]) for e in by_key.values()]
    wrong = [text.replace(" the ", " a ", 1) for text in right]
    for texts, differs in ((right, ""), (wrong, "a")):
        lines = plain_lines(by_key, prediction_lines(by_key, dict(zip(by_key, texts, strict=True))))
        looked = samples(by_key, lines)
        assert list(looked.statement[::7]) == texts
        assert set(looked.differs) == {differs}
        for shown in choose_queries(by_key, {"model": lines}):
            assert shown.box in WORDINGS[name].boxes
            assert shown.truth in right
            assert {f"{one.before}{one.differs}{one.after}" for one in shown.wrong} <= set(texts)


def test_scripts_read_a_form(few, tmp_path):
    """The random baseline is that of the same states in the base set's words, and prompts are in the
    form's own."""
    path = form("containers", tmp_path)
    examples = read_examples(path)
    plain = tmp_path / "plain.jsonl"
    texts = [describe(*parse(example.description)) for example in examples]
    plain.write_text("".join(json.dumps({"description": text}) + "\n" for text in dict.fromkeys(texts)))
    rows = []
    for data in (path, plain):
        out = tmp_path / "random.csv"
        assert run_script("02_random_baseline.py", "--profile", "tiny", "--data", data, "--out", out) == 0
        rows.append(read_csv(out)[["num_ops", "n", "expected"]])
    assert rows[0].round(6).equals(rows[1].round(6))
    out = tmp_path / "prompts.jsonl"
    assert run_script("tools/prompts.py", "--data", path, "--out", out) == 0
    line = json.loads(out.read_text().splitlines()[0])
    assert line["prompts"]["table2"] == statement_prompt(examples[0].description, wording=CONTAINERS)
    assert line["regex"]["chat"] == statement_head(CONTAINERS) + line["regex"]["table2"] == statement_regex(CONTAINERS)


def test_forms_are_not_compared(few, tmp_path):
    frames = []
    for name in ("contents", "empty"):
        examples = read_examples(form(name, tmp_path))
        frames.append(score_predictions(examples, ["Statement:"] * len(examples)))
    base = [replace(example, sample_id=example.sample_id - 20_000) for example in examples]
    frames.append(score_predictions(base, ["Statement:"] * len(base)))
    for one, other in combinations(frames, 2):
        with pytest.raises(UserError, match="did not answer the same queries"):
            compare(one, other)
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"sample_id": 0, "num_operations": 0, "prediction": "Statement:"}))
    with pytest.raises(UserError, match=r"unknown description \(sample 0, 0 operations\)"):
        score_predictions(examples, answers)


def test_own_descriptions_may_be_in_other_words(tmp_path):
    full = START.replace("is empty", "contains the map", 1)
    for box, noun in enumerate(("bag", "tie", "boot", "ring", "key"), 2):
        full = full.replace(f"Box {box} is empty", f"Box {box} contains the {noun}")
    assert "empty" not in full
    found = examples_of([full, START])
    assert {example.wording.name for example in found} == {"empty"}
    assert {example.wording.name for example in examples_of([full])} == {"base"}
    with pytest.raises(UserError) as caught:
        examples_of([START, START.replace("is empty", "contains nothing")])
    assert str(caught.value) == (
        "description 2: not in the wording of others (empty): expected 'Box 1 is empty', found 'Box 1 contains nothing'; "
        "a dataset has one wording"
    )


@pytest.mark.parametrize(
    ("description", "message"),
    [(", , , , , , the car is in Container G.", "expected '... is in Container A', found ''"),
     ("Container .", "expected 7 boxes, found 1"),
     (f"{START} Move the contents of Box 0 to Box 1.", "not an operation: 'Move the contents of Box 0 to Box 1'")],
)  # fmt: skip
def test_what_no_form_says_is_one_line(description, message):
    with pytest.raises(UserError, match=f"^description 1: {message}; correct it or leave it out$"):
        examples_of([description])


def test_a_spoilt_form_is_one_line(few, tmp_path, capsys):
    path = form("empty", tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    for old, new, message in [
        ("Box 0 <extra_id_0> .", "Box 0 contains <extra_id_0> .", "expected 'Box "),
        ('"<extra_id_0> contains', '"<extra_id_0>', "masked_content must be '<extra_id_0> contains "),
    ]:
        place = next(place for place, line in enumerate(lines) if old in line and " is empty," in line)
        spoilt = [*lines]
        spoilt[place] = lines[place].replace(old, new)
        path.write_text("".join(spoilt))
        said = refusal(capsys, "tools/prompts.py", "--data", path, "--out", tmp_path / "out.jsonl")
        assert said.startswith(f"{path}: line {place + 1}: {message}")
    assert "invalid choice: 'noop'" in refusal(capsys, "tools/forms.py", "--form", "noop", "--out", tmp_path)


@pytest.mark.parametrize("name", FORMS)
def test_each_is_labelled_and_held_to_its_checksum(few, tmp_path, capsys, name):
    file = f"{name}-{SUBSET}"
    assert dataset_note(file) == f"Not the test set: {file}."
    listed = [line.split() for line in (ROOT / "data/forms.sha256").read_text().splitlines()]
    assert [found for _, found in listed] == [f"{form}-{SUBSET}" for form in FORMS]
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest, _ in listed)
    assert len({digest for digest, _ in listed}) == len(FORMS)
    words = ("--form", name, "--seed", 3, "--out", tmp_path, "--checksums", ROOT / "data/forms.sha256")
    assert "forms.sha256; make it with SEED=27 and the numpy" in refusal(capsys, "tools/forms.py", *words)


def test_make_data_writes_it_beside_the_base_set(checkout):
    shown = make(checkout, "-n", "data", "FORM=long").stdout
    assert re.search(r"forms\.py --form long --seed 27 --out data/boxes --checksums data/forms\.sha256", shown)
    assert "01_generate_data" in shown
    assert "forms.py" not in make(checkout, "-n", "data", FORM="long").stdout
    assert "FORM= is for make data, not for all" in make(checkout, "all", "FORM=long").stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_the_committed_checksum_is_that_of_the_generated_file(tmp_path, name):
    out, sums = ("--out", tmp_path), ("--checksums", ROOT / "data/forms.sha256")
    assert run_script("tools/forms.py", "--form", name, *out, *sums) == 0


def test_make_knows_the_forms():
    judge = run_path(str(ROOT / "experiments" / "tools" / "command_line.py"))
    assert tuple(FORMS) == judge["FORMS"]

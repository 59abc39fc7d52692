"""Data of one's own: descriptions without gold are a dataset, and more operations than those of Table 6 have buckets."""

import json

import pytest
from scenarios_fixture import write_dataset
from scripts_fixture import refusal, run_script

from boxes.dataset import examples_of, read_examples
from boxes.evaluation import score_predictions, summarise
from boxes.records import UserError, read_csv
from boxes.runs.task import read_task
from boxes.score_tables import NUM_OPS, read_scores

START = "Box 0 contains the car, " + ", ".join(f"Box {box} contains nothing" for box in range(1, 7)) + "."
BACK_AND_FORTH = [" Move the car from Box 0 to Box 1.", " Move the car from Box 1 to Box 0."]
LONG = START + "".join(BACK_AND_FORTH * 5)


def described(path, descriptions) -> str:
    path.write_text("".join(json.dumps({"description": text}) + "\n" for text in descriptions))
    return path


def test_gold_is_replayed(tmp_path):
    """The same examples as the release's schema has, but for the numbers of the scenarios."""
    whole = read_examples(write_dataset(tmp_path / "whole.jsonl", count=3, operations=4))
    found = read_examples(described(tmp_path / "mine.jsonl", [example.description for example in whole]))
    assert [(e.description, e.contents, e.num_ops, e.num_operations) for e in found] == [
        (e.description, e.contents, e.num_ops, e.num_operations) for e in whole
    ]
    pairs = {(mine.sample_id, theirs.sample_id) for mine, theirs in zip(found, whole, strict=True)}
    assert len(pairs) == len({theirs for _, theirs in pairs}) == 3


def test_it_is_a_dataset_for_the_scripts(tmp_path):
    path = described(tmp_path / "mine.jsonl", [START, LONG])
    task = read_task(path)
    assert len(task.examples) == 2
    assert run_script("02_random_baseline.py", "--profile", "tiny", "--data", path, "--out", tmp_path / "r.csv") == 0
    assert read_csv(tmp_path / "r.csv").set_index("num_ops").n["all"] == 14
    assert run_script("tools/look.py", "--data", path, "--limit", 1, "--out", tmp_path) == 0
    assert run_script("tools/prompts.py", "--data", path, "--out", tmp_path / "prompts.jsonl") == 0


def test_more_operations_than_seven_have_their_accuracy(tmp_path):
    examples = read_examples(described(tmp_path / "mine.jsonl", [START, LONG]))
    told = ["Statement: " + START, "Statement: " + START.replace("the car", "nothing")]
    scores = summarise(score_predictions(examples, told))
    assert list(scores.num_ops) == [*NUM_OPS, "10"]
    ten = scores[scores.num_ops == "10"].iloc[0]
    assert (ten.n, ten.correct, ten.accuracy) == (2, 1, 50.0)
    assert scores[scores.num_ops == "1+"].n.item() == 2
    path = tmp_path / "scores.csv"
    scores.assign(model="mine").to_csv(path, index=False)
    assert read_scores(path)["mine", "10"].accuracy == 50.0
    path.write_text(path.read_text().replace(",10,", ",x,").replace("10,2", "ten,2"))
    with pytest.raises(UserError, match="num_ops 'ten' is none of"):
        read_scores(path)


BAD = [
    ('{"description": 5}', "field 'description' must be of type str"),
    ('{"text": "Box 0"}', "field 'description' must be of type str"),
    (json.dumps({"description": START}), "the same as in 1"),
    (json.dumps({"description": START.replace("car", "elephant")}), "unknown noun 'elephant'"),
    (json.dumps({"description": START + BACK_AND_FORTH[1]}),
     "'Move the car from Box 1 to Box 0.' cannot be: the car is not in Box 1"),
    (json.dumps({"description": f"{START} Put the map into Box 1.", "sample_id": 7}),
     "field 'sample_id' is not read: descriptions are numbered here"),
    ("[]", "expected a JSON object, found list"),
    ('{"descr', "not JSON, or cut short (Invalid control character at character 8)"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "message"), BAD, ids=range(len(BAD)))
def test_what_is_no_description_is_one_line(tmp_path, capsys, line, message):
    path = described(tmp_path / "mine.jsonl", [START])
    with open(path, "a") as file:
        file.write(line + "\n")
    said = refusal(capsys, "tools/prompts.py", "--data", path, "--out", tmp_path / "out.jsonl")
    assert said == f"{path}: line 2: {message}; correct it or leave it out"


def test_other_peoples_columns_and_tables_are_one_line(tmp_path, capsys):
    """Of files without a description in their first line: told what one may hold."""
    path = tmp_path / "mine.jsonl"
    fields = "'sentence', 'sentence_masked', 'masked_content', 'sample_id', 'numops', 'numops_by_op'"
    for content, message in [
        (json.dumps({"text": START}), f"neither a 'description' nor the release's {fields}"),
        ("description\n" + START, "not JSON, or cut short (Expecting value at character 1)"),
        (json.dumps([{"description": START}]), "expected a JSON object, found list"),
    ]:
        path.write_text(content)
        said = refusal(capsys, "tools/prompts.py", "--data", path, "--out", tmp_path / "out.jsonl")
        assert said == f"{path}: line 1: {message}; correct it, or make the data again (make data)"


def test_descriptions_from_python_are_texts_in_a_list():
    for given, message in [
        (START, "one text, whose letters are no descriptions; give a list"),
        ([START, None], "description 2: None is no text; correct it or leave it out"),
        ([float("nan")], "description 1: nan is no text; correct it or leave it out"),
        ([[START]], "description 1: ['Box 0 contains the car, "),
    ]:
        with pytest.raises(UserError) as caught:
            examples_of(given)
        assert str(caught.value).startswith(message)


def test_what_an_editor_does_to_descriptions_changes_nothing(tmp_path):
    path = described(tmp_path / "mine.jsonl", [START, LONG])
    found, content = read_examples(path), path.read_bytes()
    for edited in (b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), content.rstrip()):
        path.write_bytes(edited)
        assert read_examples(path) == found

"""Statements that others decoded: which are read as what, and which are refused in one line."""

import json

import pytest
from runs_fixture import DESCRIPTIONS, TRUTHS

from boxes.dataset import examples_of
from boxes.prompting import STATEMENT_HEAD, statement_prompt
from boxes.records import UserError
from boxes.runs.elsewhere import continued, custom_id, read_elsewhere

EXAMPLES = {(example.sample_id, example.num_operations): example for example in examples_of(DESCRIPTIONS)}
SAID = ["Statement: " + ", ".join(f"Box {b} contains {c}" for b, c in enumerate(truth)) + "." for truth in TRUTHS]
RECORDS = [{"sample_id": 0, "num_operations": number, "prediction": text} for number, text in enumerate(SAID)]


def written(path, lines) -> str:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts))
    return str(path)


def read(path, lines, head=""):
    found, missing = read_elsewhere(written(path / "given.jsonl", lines), EXAMPLES, head)
    return [(line["prediction"], line["status"]) for line in found.values()], missing


def batch(number: int, choice: dict | None, **more) -> dict:
    body = {"choices": [choice]} if choice else {"choices": []}
    return {"id": "x", "custom_id": f"0-{number}", "response": {"status_code": 200, "body": body}, "error": None} | more


FORMS = {
    "keys": RECORDS,
    "in another order": RECORDS[::-1],
    "descriptions": [{"input": text, "prediction": said} for text, said in zip(DESCRIPTIONS, SAID, strict=True)],
    "both, and more fields": [record | {"input": DESCRIPTIONS[n], "model": "x"} for n, record in enumerate(RECORDS)],
    "as a run of ours has them": [record | {"input": DESCRIPTIONS[n], "status": "ok", "tokens": [1]}
                                  for n, record in enumerate(RECORDS)],
    "completions of a batch": [batch(n, {"text": text, "finish_reason": "stop"}) for n, text in enumerate(SAID)],
    "chats of a batch": [batch(n, {"message": {"content": text}}) for n, text in enumerate(SAID)],
    "a schema's object": [batch(n, {"message": {"content": json.dumps({"statement": text})}})
                          for n, text in enumerate(SAID)],
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_are_the_same_lines(tmp_path, form):
    assert read(tmp_path, FORMS[form]) == ([(text, "ok") for text in SAID], [])


def test_the_rest_of_a_prompt_gets_its_head(tmp_path):
    rest = [record | {"prediction": record["prediction"].removeprefix(STATEMENT_HEAD)} for record in RECORDS]
    assert read(tmp_path, rest, STATEMENT_HEAD) == ([(text, "ok") for text in SAID], [])
    with pytest.raises(UserError, match=r"given\.jsonl: 2 of 2 predictions go on from .*; say so \(--prompt table2"):
        read(tmp_path, rest)
    # What a base model rambles behind the period begins with "Statement:".
    rambling = [record | {"prediction": record["prediction"] + f"\n\nDescription: x\n{SAID[0]}"} for record in rest]
    with pytest.raises(UserError, match=r"given\.jsonl: 2 of 2 predictions go on from "):
        read(tmp_path, rambling)
    with pytest.raises(UserError, match=r"given\.jsonl: 2 of 2 predictions begin their statement themselves"):
        read(tmp_path, [record | {"prediction": f"\n{record['prediction']}"} for record in RECORDS], STATEMENT_HEAD)
    with pytest.raises(UserError, match=r"given\.jsonl: 2 of 2 predictions begin with their prompt"):
        read(tmp_path, [record | {"prediction": statement_prompt("x") + record["prediction"]} for record in rest])


@pytest.mark.parametrize(
    ("text", "whole"),
    [(" the car, Box", " the car, Box"), ("the car, Box", " the car, Box"), (", Box", ", Box"),
     (f"{STATEMENT_HEAD} x", " x"), ("", "")],
)  # fmt: skip
def test_a_space_that_a_tool_took_off_is_put_back(text, whole):
    assert continued(STATEMENT_HEAD, text) == STATEMENT_HEAD + whole


CUT = SAID[0][:40]
STATUSES = [
    ({}, SAID[0] + " Description: Box", "ok"),
    ({}, "Sure. " + SAID[0], "invalid"),
    ({"finish_reason": "length"}, CUT, "truncated"),
    ({"finish_reason": "length"}, SAID[0] + " And", "ok"),
    ({"finish_reason": "stop"}, CUT, "invalid"),
    ({}, CUT, "invalid"),
    ({"status": "truncated"}, SAID[0], "truncated"),
]


@pytest.mark.parametrize(("more", "text", "status"), STATUSES)
def test_the_status_is_that_of_the_text(tmp_path, more, text, status):
    lines, _ = read(tmp_path, [RECORDS[0] | {"prediction": text} | more, RECORDS[1]])
    assert lines[0] == (text, status)


@pytest.mark.parametrize(
    "lines",
    [RECORDS[:1], [RECORDS[0], batch(1, None)], [RECORDS[0], batch(1, {"text": SAID[1]}, error={"code": 500})],
     [RECORDS[0], batch(1, None, response=None)],
     [RECORDS[0], batch(1, {"message": {"content": None, "refusal": "no"}})],
     [RECORDS[0], batch(1, None, response={"status_code": 429, "body": {"message": "slower"}})],
     [RECORDS[0], batch(1, None, response={"body": {"error": "too long"}})]],
)  # fmt: skip
def test_what_is_not_answered_is_counted(tmp_path, lines):
    assert read(tmp_path, lines) == ([(SAID[0], "ok"), ("", "invalid")], [(0, 1)])


MEND = "correct the file, or name the dataset that it is about"
LINES = "write one JSON object a line"
BAD = [
    ({"prediction": None}, "field 'prediction' must be a text; leave the line out where there is none"),
    ({"prediction": ["x"]}, "field 'prediction' must be a text; leave the line out where there is none"),
    ({"prediction": "\ud83d"}, f"the prediction has half a character (a lone surrogate), which is no text; {MEND}"),
    ('{"id": 7, "output": "x"}', "no field 'prediction', but ['id', 'output']; call the text so"),
    ({"sample_id": 5}, f"unknown description (sample 5, 1 operations); {MEND}"),
    ({"sample_id": "0"}, f"'sample_id' and 'num_operations' must be whole numbers; {MEND}"),
    ({"num_operations": True}, f"'sample_id' and 'num_operations' must be whole numbers; {MEND}"),
    ({"num_operations": 0}, "the description of line 1 again; leave one of them"),
    ({"input": "Box"}, f"'input' is not the description of sample 0 after 1 operations; {MEND}"),
    ({"status": "fine"}, f"field 'status' is 'fine', not one of ok, truncated, invalid; {MEND}"),
    ({"finish_reason": 7}, f"field 'finish_reason' is 7, not a text; {MEND}"),
    ('{"prediction": "x"}', "neither 'input' nor 'sample_id' and 'num_operations' say which description it is about; "
     + MEND),
    ('{"input": "Box 9", "prediction": "x"}', f"unknown description: 'Box 9'; {MEND}"),
    ('{"custom_id": "a", "response": {}}', f"custom_id 'a' is not one of make prompts (SAMPLE-OPERATIONS); {MEND}"),
    ('{"custom_id": 5}', f"custom_id 5 is not one of make prompts (SAMPLE-OPERATIONS); {MEND}"),
    ('{"custom_id": "0-1", "method": "POST", "body": {}}', "a request, not an answer to it; name the file that the batch "
     "API wrote"),
    *[({"custom_id": "0-1", "response": response},
       f"field 'response' is not what a batch API writes; {MEND}")
      for response in ("x", ["x"], {"body": "x"}, {"body": {"choices": "x"}}, {"body": {"choices": ["x"]}},
                       {"body": {"choices": [{"message": "x"}], "output": []}}, {"body": {"choices": [{"text": ["x"]}]}},
                       {"body": {"output": [{"content": []}]}})],
    ({"custom_id": "0-1", "response": {"body": {"choices": [{"text": "\udc00"}]}}},
     f"the prediction has half a character (a lone surrogate), which is no text; {MEND}"),
    ("[1]", f"expected a JSON object, found list; {LINES}"),
    ("", f"not JSON, or cut short (Expecting value at character 2); {LINES}"),
    ("0,1,the car", f"not JSON, or cut short (Extra data at character 2); {LINES}"),
    ('{"sample_id": 0, "pre', f"not JSON, or cut short (Unterminated string starting at character 18); {LINES}"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_read_is_one_line(tmp_path, change, message):
    line = change
    if isinstance(change, dict) and "custom_id" not in change:
        line = RECORDS[1] | change
    with pytest.raises(UserError) as error:
        read(tmp_path, [RECORDS[0], line, ""][: 3 if line == "" else 2])
    assert str(error.value) == f"{tmp_path}/given.jsonl: line 2: {message}"


def test_a_text_that_is_no_json_at_any_depth_is_a_text(tmp_path):
    deep = "[" * 100_000
    (_, (text, status)), _ = read(tmp_path, [batch(0, {"text": SAID[0]}), batch(1, {"text": deep})])
    assert (text, status) == (deep, "invalid")


def test_no_file_and_an_empty_one(tmp_path):
    with pytest.raises(UserError, match=r"/none: no such file; name the predictions, one JSON object a line$"):
        read_elsewhere(tmp_path / "none", EXAMPLES)
    with pytest.raises(UserError, match=r"given\.jsonl: empty; "):
        read(tmp_path, [])
    with pytest.raises(UserError, match=r"given\.jsonl: no line has an answer; "):
        read(tmp_path, [batch(0, None), batch(1, None)])
    with pytest.raises(UserError, match=r": no such file; name the predictions"):
        read_elsewhere(SAID[0] * 20, EXAMPLES)  # no path is as long


def test_what_an_editor_does_to_a_file_changes_nothing(tmp_path):
    path = tmp_path / "given.jsonl"
    content = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
    for edited in (content, b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), content.rstrip()):
        path.write_bytes(edited)
        assert read_elsewhere(path, EXAMPLES)[1] == []
    path.write_bytes(content.decode().encode("utf-16"))
    with pytest.raises(UserError, match=rf"^{path}: line 1: not UTF-8 text; {LINES}$"):
        read_elsewhere(path, EXAMPLES)


def test_two_descriptions_of_one_text_must_be_named_by_their_keys(tmp_path):
    twice = EXAMPLES | {(9, 0): EXAMPLES[0, 0]}
    path = written(tmp_path / "given.jsonl", [{"input": DESCRIPTIONS[0], "prediction": SAID[0]}])
    with pytest.raises(UserError, match=r"line 1: 2 descriptions are this one: "):
        read_elsewhere(path, twice)


def test_ids_name_the_key():
    assert [custom_id(example) for example in EXAMPLES.values()] == ["0-0", "0-1"]

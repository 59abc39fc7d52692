"""Runs that are not scored: each with the one line that says which file and line, what is wrong and
what to do."""

import json
from pathlib import Path

import pytest
from runs_fixture import DESCRIPTIONS, TRUTHS, add_run, fill_workplace, provenance, score, score_arguments
from scripts_fixture import files, refusal

from boxes.models.table import spec_of
from boxes.records import UserError, read_csv
from boxes.runs.agreement import check_belongs, plain_prompt_sha256


@pytest.fixture
def workplace(tmp_path) -> Path:
    return fill_workplace(tmp_path)


def refused(capsys, folder: Path, *more: object) -> str:
    """What 05_score.py says, having written nothing; the run's folder is cut off."""
    before = files(folder)
    line = refusal(capsys, *score_arguments(folder, *more))
    assert files(folder) == before
    return line.replace(f"{folder / 'runs' / 'tiny-code'}/", "")


def predictions(folder: Path) -> Path:
    return folder / "runs" / "tiny-code" / "predictions.jsonl"


# --- lines of predictions.jsonl ---


def change_line(folder: Path, **changes: object) -> None:
    """Change the second line; None leaves a field out."""
    lines = [json.loads(line) for line in predictions(folder).read_text().splitlines()]
    lines[1] = {key: value for key, value in (lines[1] | changes).items() if value is not None}
    predictions(folder).write_text("".join(json.dumps(line) + "\n" for line in lines))


AGAIN = "delete the line and decode again"
NOT_JSON = "not JSON, or cut short ({}); delete the line"
OTHER = "results of another dataset (sample {}, {} operations); decode again"
LINES = [
    ({"num_operations": 0, "input": DESCRIPTIONS[0]}, "the description of line 1 again; delete one of them"),
    ({"num_operations": 5}, OTHER.format(3, 5)),
    ({"num_operations": -1}, OTHER.format(3, -1)),
    ({"sample_id": 4}, OTHER.format(4, 1)),
    ({"input": DESCRIPTIONS[0]}, OTHER.format(3, 1)),
    ({"input": DESCRIPTIONS[1] + " "}, OTHER.format(3, 1)),
    ({"prediction": None}, f"no proper prediction; {AGAIN}"),
    ({"prediction": 7}, f"no proper prediction; {AGAIN}"),
    ({"prediction": ["Statement:"]}, f"no proper prediction; {AGAIN}"),
    ({"input": None, "status": None}, f"no proper input, status; {AGAIN}"),
    ({"sample_id": [3]}, f"no proper sample_id; {AGAIN}"),
    ({"num_operations": True}, f"no proper num_operations; {AGAIN}"),  # which Python takes for 1
    ({"num_operations": 1.0}, f"no proper num_operations; {AGAIN}"),
    ({"status": "fine"}, f"unknown status 'fine'; {AGAIN}"),
    ({"status": "o" * 9999}, f"unknown status '{'o' * 99}…; {AGAIN}"),
    ({"sample_id": 10**4000}, OTHER.format("1" + "0" * 99 + "…", 1)),
    ({"status": "OK"}, f"unknown status 'OK'; {AGAIN}"),
]


@pytest.mark.parametrize(("changes", "message"), LINES, ids=range(len(LINES)))
def test_predictions_that_do_not_belong(workplace, capsys, changes, message):
    change_line(workplace, **changes)
    assert refused(capsys, workplace) == f"predictions.jsonl: line 2: {message}"


BYTES = [
    (b"{'sample_id': 3}\n", NOT_JSON.format("Expecting property name enclosed in double quotes at character 2")),
    (b"\n", NOT_JSON.format("Expecting value at character 2")),
    (b'{"sample_id": 3, "num_ope{"sample_id": 3}\n', NOT_JSON.format("Expecting ':' delimiter at character 28")),
    (bytes(100) + b"\n", "NUL bytes in place of text; delete the line"),
    (b'{"input": "\xff"}\n', "not UTF-8 text; delete the line"),
    (b"[3, 1]\n", "expected a JSON object, found list; delete the line"),
    (b"{}\n", f"no proper sample_id, num_operations, input, prediction, status; {AGAIN}"),
    (b"[" * 100_000 + b"\n", "not JSON (a number too long, or brackets too deep); delete the line"),
    (b" " * (1 << 21) + b"\n", "longer than 1048576 bytes; delete the line"),
]


@pytest.mark.parametrize(("line", "message"), BYTES, ids=range(len(BYTES)))
def test_bytes_that_are_no_predictions(workplace, capsys, line, message):
    first, second = predictions(workplace).read_bytes().splitlines(keepends=True)
    predictions(workplace).write_bytes(first + line + second)
    assert refused(capsys, workplace) == f"predictions.jsonl: line 2: {message}"


def torn(folder: Path) -> None:
    predictions(folder).write_bytes(predictions(folder).read_bytes()[:-20])


def a_folder(folder: Path) -> None:
    predictions(folder).unlink()
    predictions(folder).mkdir()


COUNT = "predictions.jsonl: {} of 2 descriptions in a complete run; decode again"


@pytest.mark.parametrize(
    ("change", "message"),
    [(torn, COUNT.format(1)), (lambda folder: predictions(folder).write_text(""), COUNT.format(0)),
     (lambda folder: predictions(folder).unlink(), COUNT.format(0)),
     (a_folder, "predictions.jsonl: cannot be read (Is a directory); check the file and its permissions")],
    ids=["torn", "empty", "none", "a-folder"],
)  # fmt: skip
def test_a_complete_run_that_lacks_predictions(workplace, capsys, change, message):
    change(workplace)
    assert refused(capsys, workplace) == message


def accepted(folder: Path, capsys) -> bytes:
    assert score(folder, capsys) == (0, "")
    return (folder / "out" / "scores.csv").read_bytes()


@pytest.mark.parametrize(
    "edit",
    [lambda content: content.replace(b"\n", b"\r\n"), lambda content: b"\xef\xbb\xbf" + content,
     lambda content: content.replace(b'"status"', b'"of a newer version": [1], "status"')],
    ids=["CRLF", "BOM", "one more field"],
)  # fmt: skip
def test_what_changes_nothing_is_accepted(workplace, capsys, edit):
    before = accepted(workplace, capsys)
    predictions(workplace).write_bytes(edit(predictions(workplace).read_bytes()))
    assert accepted(workplace, capsys) == before


@pytest.mark.parametrize("text", ["", "\ud800", "\0", "Box 0 contains" * 50_000, ", Box 1 contains the map" * 40_000])
def test_any_text_is_a_prediction_and_scored(workplace, capsys, text):
    change_line(workplace, prediction=text)
    assert score(workplace, capsys) == (0, "")
    queries = read_csv(workplace / "out" / "queries.csv").query("model == 'tiny-code' and num_operations == 1")
    assert queries.correct.tolist() == [0] * 7


# --- run.json ---

RUNS = [
    ({"dataset_sha256": "0" * 64}, "run.json: results of another dataset than {data}; decode again"),
    ({"dataset_sha256": None, "dtype": None}, "run.json: no dataset_sha256, dtype; decode again"),
    ({"selection": "20 queries a bucket"},
     "run.json: results of '20 queries a bucket', not of all of {data}; decode again"),
    ({"regex": None}, "run.json: decoded without the regular expression of boxes/prompting.py; decode again"),
    ({"regex": "Statement: .*"},
     "run.json: decoded without the regular expression of boxes/prompting.py; decode again"),
    ({"prompt_sha256": "0" * 64},
     "run.json: decoded with another prompt than that of boxes/prompting.py; decode again"),
    ({"prompt_style": "released"},
     "run.json: decoded with another prompt than that of boxes/prompting.py; decode again"),
    ({"prompt_style": "odd"}, "run.json: prompt style 'odd' is none of table2, released; decode again"),
    ({"prompt_style": ["table2"]}, "run.json: prompt style ['table2'] is none of table2, released; decode again"),
    ({"prompt_style": None}, "run.json: prompt style None is none of table2, released; decode again"),
    ({"revision": "sha256:0"}, "run.json: results of revision 'sha256:0', tiny-code is now {revision}; decode again"),
    ({"model": "tiny-math"}, "run.json: results of 'tiny-math', not of tiny-code; decode again"),
    ({"model": None}, "run.json: results of None, not of tiny-code; decode again"),
    ({"status": "done"}, "run.json: status 'done' is none of complete, partial, not run, failed; decode again"),
    ({"status": ["complete"]},
     "run.json: status ['complete'] is none of complete, partial, not run, failed; decode again"),
    ({"seconds": "12"}, "run.json: seconds must be a number, found '12'; decode again"),
    ({"format": 2},
     "run.json: format 2, this version reads 1; use the version that wrote it, or another folder"),
    ({"format": "x"},
     "run.json: format 'x', this version reads 1; use the version that wrote it, or another folder"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), RUNS, ids=range(len(RUNS)))
def test_runs_that_do_not_belong(workplace, capsys, changes, message):
    add_run(workplace, "tiny-code", TRUTHS, **changes)
    revision = provenance("tiny-code", "")["revision"]
    assert refused(capsys, workplace) == message.format(data=workplace / "data.jsonl", revision=revision)


RELEASED = {"prompt_style": "released", "prompt_sha256": plain_prompt_sha256("released")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [(RELEASED, "tiny-code: decoded with prompt_style 'released', but tiny-base with 'table2'; decode one of them again "
      "with the other's --prompt-style, or name with --models (MODELS) those that belong together"),
     ({"max_new_tokens": 100}, "tiny-code: decoded with max_new_tokens 100, but tiny-base with 256; decode one of them "
      "again with the other's --max-new-tokens, or name with --models (MODELS) those that belong together")],
)  # fmt: skip
def test_runs_of_other_settings_do_not_share_a_table(workplace, capsys, changes, message):
    add_run(workplace, "tiny-code", TRUTHS, **changes)
    assert refused(capsys, workplace) == message
    assert score(workplace, capsys, "--models", "tiny-code") == (0, "")
    add_run(workplace, "tiny-code", TRUTHS, prompt_format="chat", prompt_style=None, prompt_sha256="f" * 64)
    assert score(workplace, capsys) == (0, "")  # the format differs from model to model, as in Table 6


def test_hub_models_are_held_to_their_pinned_commit():
    spec = spec_of("CodeLlama-7b-hf")
    run = provenance("tiny-base", "d") | {"model": spec.name}
    for revision in (spec.revision, f"{spec.revision} (unverified, from MODELS_DIR)"):
        check_belongs(spec, run | {"revision": revision}, Path("f"), Path("data"), "d")
    with pytest.raises(UserError, match="results of revision 'main', CodeLlama-7b-hf is now 6c284d"):
        check_belongs(spec, run | {"revision": "main"}, Path("f"), Path("data"), "d")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a readable JSON file (Expecting value: line 1 column 1 (char 0)); delete it and run again"),
     (b'{"status": "comp', "not a readable JSON file (Unterminated string starting at: line 1 column 12 (char 11)); "
      "delete it and run again"),
     (b"[]", "expected a JSON object, found list; delete it and run again")],
    ids=["empty", "cut short", "list"],
)  # fmt: skip
def test_a_run_json_that_cannot_be_read(workplace, capsys, content, message):
    (workplace / "runs" / "tiny-code" / "run.json").write_bytes(content)
    assert refused(capsys, workplace) == f"run.json: {message}"

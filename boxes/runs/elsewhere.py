"""Statements that were decoded elsewhere (vLLM, an API, a notebook), as lines of a predictions.jsonl.

A file of them has one JSON object a line: "prediction" with the text, and which description it is
about, as "input" (the description) or as "sample_id" and "num_operations"; or it is what a batch
API wrote, whose "custom_id" says so (`custom_id`). "finish_reason" ("length": cut at the token
limit) or "status" may stand beside. What no line is about counts as not answered.
"""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boxes.completion import Completion, Status
from boxes.dataset import Example
from boxes.prompting import INSTRUCTION, STATEMENT_HEAD, statement_regex
from boxes.records import UserError, parse_object, read_lines, write_json, write_text
from boxes.runs.folder import ELSEWHERE, FORMAT, Key, Run
from boxes.runs.lock import held
from boxes.runs.task import Task
from boxes.world import Wording, shown

Given = str | Completion | dict  # a text, what the engine returns, or a record of a file
CUT = "length"  # the finish_reason of a text that met its token limit
_ID = re.compile(r"(\d{1,18})-(\d{1,9})")
_MEND = "correct the file, or name the dataset that it is about"
_LINES = "write one JSON object a line"
# What most predictions are when somebody has taken them for another thing, and what to do.
_MISTAKEN = {
    "prompt": "begin with their prompt; give what the model wrote behind it",
    "rest": f'go on from a prompt that ends in "{STATEMENT_HEAD}"; say so (--prompt table2; in Python '
    "head=STATEMENT_HEAD)",
    "whole": "begin their statement themselves; do not say that they go on from a prompt (--prompt table2, head=)",
}


def custom_id(example: Example) -> str:
    """What names a description in a batch file: "SAMPLE-OPERATIONS"."""
    return f"{example.sample_id}-{example.num_operations}"


def prediction_line(example: Example, text: str, status: Status | None = None, reason: str | None = None) -> dict:
    """A line of predictions.jsonl. Without a status it is that of the text: ok where it is a whole
    statement up to its first period, else truncated for the reason CUT, else invalid. The text is
    kept as it is: what scorers drop they drop themselves."""
    if status is None:
        status = Status.INVALID
        if re.fullmatch(statement_regex(example.wording), text[: text.find(".") + 1]):
            status = Status.OK
        elif reason == CUT:
            status = Status.TRUNCATED
    return {
        "sample_id": example.sample_id,
        "num_operations": example.num_operations,
        "input": example.description,
        "prediction": text,
        "status": str(status),
    }


def continued(head: str, text: str) -> str:
    """A text behind what its prompt ended in, unless it begins with that. Many tools take the space
    off a text that they decode alone ("the car" for " the car"): before a letter it is put back."""
    if text.startswith(head):
        return text
    space = " " if text[:1].isalpha() else ""
    return f"{head}{space}{text}"


def prediction_lines(examples: Mapping[Key, Example], given: Mapping[Key, Given], head: str = "") -> dict[Key, dict]:
    """A line a description, in the dataset's order; "" and invalid for one that is not answered.
    `head`: what the prompt ended in and the text goes on from (STATEMENT_HEAD); put before a text
    that has it not. UserError for what is no text, and where most texts are _MISTAKEN."""
    answers = {key: _answer(key, value) for key, value in given.items()}
    texts = {}
    for key, (text, _, _) in answers.items():
        if text and not isinstance(given[key], Completion):  # which is whole, whatever it says
            texts[key] = text
    _check_beginnings(examples, texts, head)
    lines = {}
    for key, example in examples.items():
        text, status, reason = answers.get(key, ("", Status.INVALID, None))
        if head and key in answers:
            text = continued(head, text)
        lines[key] = prediction_line(example, text, status, reason)
    return lines


def _answer(key: Key, given: Given) -> tuple[str, Status | None, str | None]:
    """Text, status and finish_reason, as far as they are known."""
    if isinstance(given, Completion):
        return given.text, given.status, None
    if isinstance(given, dict):
        return given["prediction"], given.get("status"), given.get("finish_reason")
    if not isinstance(given, str):
        raise UserError(f'the prediction of {key} is {shown(given)}, not a text; give "" where there is none')
    return given, None, None


def _check_beginnings(examples: Mapping[Key, Example], texts: Mapping[Key, str], head: str) -> None:
    """UserError where most texts are of one kind of _MISTAKEN: all would be judged as what they are
    not."""
    kinds = Counter(_mistaken(text, examples[key].wording, head) for key, text in texts.items())
    for kind, wrong in _MISTAKEN.items():
        if 2 * kinds[kind] > len(texts):
            raise UserError(f"{kinds[kind]} of {len(texts)} predictions {wrong}")


def _mistaken(text: str, wording: Wording, head: str) -> str | None:
    """Which of _MISTAKEN a text is, by what stands before its second box and its first period."""
    if wording.swap(INSTRUCTION) in text.partition(wording.boxes[1])[0]:
        return "prompt"
    stated = text.partition(".")[0]
    if not head and wording.boxes[0] not in stated and wording.asked(1) in stated:
        return "rest"
    begun = stated.lstrip().startswith(("Statement:", wording.asked(0)))
    if head and begun and not text.startswith(head):
        return "whole"
    return None


def read_elsewhere(
    path: Path | str, examples: Mapping[Key, Example], head: str = ""
) -> tuple[dict[Key, dict], list[Key]]:
    """The lines of a file as prediction_lines makes them, and the descriptions that it does not
    answer. UserError names the file, the line and whatever is wrong."""
    if not os.path.exists(path):  # False for a text that no path can be, too
        raise UserError(f"{path}: no such file; name the predictions, one JSON object a line")
    by_text: dict[str, list[Key]] = {}
    for key, example in examples.items():
        by_text.setdefault(example.description, []).append(key)
    given: dict[Key, dict] = {}
    first: dict[Key, int] = {}
    for number, line in read_lines(path, _MEND):
        try:
            record = _record(_object(line))
            key = _key(record, examples, by_text)
            if first.setdefault(key, number) != number:
                raise ValueError(f"the description of line {first[key]} again; leave one of them")
        except ValueError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
        if record["prediction"] is not None:
            given[key] = record
    if not given:
        wrong = "no line has an answer" if first else "empty"
        raise UserError(f"{path}: {wrong}; name the predictions, one JSON object a line")
    try:
        lines = prediction_lines(examples, given, head)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return lines, [key for key in examples if key not in given]


def _object(line: bytes) -> dict:
    try:
        return parse_object(line)
    except ValueError as error:
        raise ValueError(f"{error}; {_LINES}") from None


def _record(line: dict) -> dict:
    """prediction, status, finish_reason and what names the description. ValueError: what lacks or is
    of another type. prediction: None where a batch API had no answer."""
    if "custom_id" in line and "prediction" not in line:
        return _batch_record(line)
    if "prediction" not in line:
        raise ValueError(f"no field 'prediction', but {shown(list(line))}; call the text so")
    if type(line["prediction"]) is not str:
        raise ValueError("field 'prediction' must be a text; leave the line out where there is none")
    status, reason = line.get("status"), line.get("finish_reason")
    if status not in (None, *Status):
        raise ValueError(f"field 'status' is {shown(status)}, not one of {', '.join(Status)}; {_MEND}")
    if reason is not None and type(reason) is not str:
        raise ValueError(f"field 'finish_reason' is {shown(reason)}, not a text; {_MEND}")
    return line | {"prediction": _encodable(line["prediction"])}


def _batch_record(line: dict) -> dict:
    """A line that a batch API wrote, for a completion or a chat; an error of it is no answer."""
    name = line["custom_id"]
    found = _ID.fullmatch(name) if type(name) is str else None
    if not found:
        raise ValueError(f"custom_id {shown(name)} is not one of make prompts (SAMPLE-OPERATIONS); {_MEND}")
    if not {"response", "error"} & line.keys():
        raise ValueError("a request, not an answer to it; name the file that the batch API wrote")
    record = {"sample_id": int(found[1]), "num_operations": int(found[2]), "prediction": None}
    if line.get("error") or line.get("response") is None:
        return record
    text, reason = _batch_answer(line["response"])
    if text is None:
        return record
    return record | {"prediction": _encodable(_unwrapped(text)), "finish_reason": reason}


def _batch_answer(response: object) -> tuple[str | None, object]:
    """Text and finish_reason; no text where the API failed or the model refused. ValueError for what
    is no completion and no chat."""
    body = _inside(response, "body")
    choices = _inside(body, "choices")
    failed = _inside(response, "status_code") not in (None, 200) or _inside(body, "error")
    if failed or choices == []:
        return None, None
    text = _inside(choices, 0, "text")
    if text is None:
        text = _inside(choices, 0, "message", "content")
    if text is None and isinstance(_inside(choices, 0, "message"), dict):
        return None, None
    if type(text) is not str:
        raise ValueError(f"field 'response' is not what a batch API writes; {_MEND}")
    return text, _inside(choices, 0, "finish_reason")


def _inside(value: Any, *path: str | int) -> Any:
    """What lies at a path of keys and places in a JSON value; None where there is no such path."""
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return None
    return value


def _encodable(text: str) -> str:
    """The text. ValueError for one that cannot be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the prediction has half a character (a lone surrogate), which is no text; {_MEND}") from None
    return text


def _unwrapped(text: str) -> str:
    """The statement in {"statement": ...}, as a schema has it; any other text as it is."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict) and isinstance(value.get("statement"), str):
        return value["statement"]
    return text


def _key(record: dict, examples: dict[Key, Example], by_text: dict[str, list[Key]]) -> Key:
    """Which description a record is about. ValueError where there is none, or not one."""
    numbers = tuple(record.get(name) for name in ("sample_id", "num_operations"))
    text = record.get("input")
    if numbers == (None, None):
        if type(text) is not str:
            wrong = "neither 'input' nor 'sample_id' and 'num_operations' say which description it is about"
            raise ValueError(f"{wrong}; {_MEND}")
        keys = by_text.get(text.strip(), [])
        if len(keys) != 1:
            wrong = f"{len(keys)} descriptions are this one" if keys else "unknown description"
            raise ValueError(f"{wrong}: {shown(text)}; {_MEND}")
        return keys[0]
    if any(type(value) is not int for value in numbers):
        raise ValueError(f"'sample_id' and 'num_operations' must be whole numbers; {_MEND}")
    if numbers not in examples:
        unknown = f"sample {shown(numbers[0])}, {shown(numbers[1])} operations"
        raise ValueError(f"unknown description ({unknown}); {_MEND}")
    if text is not None and (type(text) is not str or text.strip() != examples[numbers].description):
        wrong = f"'input' is not the description of sample {numbers[0]} after {numbers[1]} operations"
        raise ValueError(f"{wrong}; {_MEND}")
    return numbers


def write_elsewhere(folder: Path, name: str, task: Task, lines: dict[Key, dict], about: dict) -> dict:
    """An ordinary complete run in a folder, which says that it was decoded elsewhere; its run.json.
    Other predictions that lie there are kept under another name. about: what is said of the file and
    of how it was decoded."""
    run = Run(folder)
    statuses = [line["status"] for line in lines.values()]
    text = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines.values())
    provenance = {
        "format": FORMAT,
        "status": "complete",
        "model": name,
        "decoded": ELSEWHERE,
        "dataset": task.data.name,
        "dataset_sha256": task.checksum,
        "selection": task.selection,
        "examples": len(lines),
        "truncated": statuses.count(Status.TRUNCATED),
        "invalid": statuses.count(Status.INVALID),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
    }
    with held(folder):
        path = run.predictions.path
        if path.exists() and path.read_bytes() != text.encode():
            kept = run.set_aside()
            print(f"{name}: other predictions are kept in {kept}", file=sys.stderr)
        write_text(path, text)
        write_json(run.provenance, provenance)
    return provenance

"""Statements that were decoded elsewhere (vLLM, an API, a notebook), as lines of a predictions.jsonl.

A file of them has one JSON object a line: "prediction" with the text, and which description it is
about, as "input" (the description) or as "sample_id" and "num_operations"; or it is what a batch
API wrote, whose "custom_id" says so (`custom_id`). "finish_reason" ("length": cut at the token
limit) or "status" may stand beside. What no line is about counts as not answered.
"""

import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from boxes.completion import Completion, Status
from boxes.dataset import Example
from boxes.prompting import STATEMENT_HEAD, statement_head, statement_regex
from boxes.records import UserError, parse_object, read_lines, write_json, write_text
from boxes.runs.folder import ELSEWHERE, FORMAT, Key, Run
from boxes.runs.lock import held
from boxes.runs.task import Task
from boxes.world import WORDINGS, shown

CUT = "length"  # the finish_reason of a text that met its token limit
# What is in a statement, where it is not the rest of a prompt that ends in STATEMENT_HEAD.
_HEADS = {statement_head(wording).removeprefix("Statement: ") for wording in WORDINGS.values()}
_BEGINS = re.compile("|".join(["Statement:", *sorted(_HEADS)]))
_ID = re.compile(r"(\d{1,18})-(\d{1,9})")
_MEND = "correct the file, or name the dataset that it is about"
_ANSWERED = "leave one of them"


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


def prediction_lines(
    examples: dict[Key, Example], given: Iterable[tuple[Key, str | Completion | dict]], head: str = ""
) -> dict[Key, dict]:
    """A line a description, in the dataset's order; "" and invalid for one that is not answered.
    given: texts, completions or lines of records, each of one description. `head`: what the prompt
    ended in and the text goes on from (STATEMENT_HEAD); put before a text that has it not. UserError
    where no text has what a statement begins with, so that a head was forgotten."""
    found: dict[Key, dict] = {}
    for key, answer in given:
        text, status, reason = answer, None, None
        if isinstance(answer, Completion):
            text, status = answer.text, answer.status
        elif isinstance(answer, dict):
            text, status, reason = (answer.get(name) for name in ("prediction", "status", "finish_reason"))
        if head:
            text = continued(head, text)
        found[key] = prediction_line(examples[key], text, status, reason)
    if found and not any(_BEGINS.search(line["prediction"]) for line in found.values()):
        raise UserError(
            f'no prediction has "Statement:" or "Box 0 contains"; where they go on from a prompt that ends in '
            f'"{STATEMENT_HEAD}", say so (--prompt table2; in Python head=STATEMENT_HEAD)'
        )
    lines = {}
    for key, example in examples.items():
        lines[key] = found.get(key) or prediction_line(example, "", Status.INVALID)
    return lines


def read_elsewhere(path: Path | str, examples: dict[Key, Example], head: str = "") -> tuple[dict[Key, dict], list[Key]]:
    """The lines of a file as prediction_lines makes them, and the descriptions that it does not
    answer. UserError names the file, the line and whatever is wrong."""
    if not Path(path).exists():
        raise UserError(f"{path}: no such file; name the predictions, one JSON object a line")
    by_text: dict[str, list[Key]] = {}
    for key, example in examples.items():
        by_text.setdefault(example.description, []).append(key)
    given: dict[Key, dict] = {}
    first: dict[Key, int] = {}
    number = 0
    for number, line in read_lines(path, _MEND):
        try:
            record = _record(parse_object(line))
            key = _key(record, examples, by_text)
            if first.setdefault(key, number) != number:
                raise ValueError(f"the description of line {first[key]} again; {_ANSWERED}")
        except ValueError as error:
            wrong = str(error)
            mend = "" if "; " in wrong else f"; {_MEND}"
            raise UserError(f"{path}: line {number}: {wrong}{mend}") from None
        if record["prediction"] is not None:
            given[key] = record
    if not number:
        raise UserError(f"{path}: empty; name the predictions, one JSON object a line")
    try:
        lines = prediction_lines(examples, given.items(), head)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return lines, [key for key in examples if key not in given]


def _record(line: dict) -> dict:
    """prediction, status, finish_reason and what names the description. ValueError: what lacks or is
    of another type. prediction: None where a batch API had no answer."""
    if "custom_id" in line and "prediction" not in line:
        return _batch_record(line)
    if type(line.get("prediction")) is not str:
        raise ValueError("field 'prediction' must be a text")
    for name, known in (("status", tuple(Status)), ("finish_reason", None)):
        value = line.get(name)
        if value is not None and (type(value) is not str or (known and value not in known)):
            wanted = f"one of {', '.join(known)}" if known else "a text"
            raise ValueError(f"field {name!r} is {shown(value)}, not {wanted}")
    return line


def _batch_record(line: dict) -> dict:
    """A line that a batch API wrote, for a completion or a chat; an error of it is no answer."""
    name = line["custom_id"]
    found = _ID.fullmatch(name) if type(name) is str else None
    if not found:
        raise ValueError(f"custom_id {shown(name)} is not one of make prompts (SAMPLE-OPERATIONS)")
    record = {"sample_id": int(found[1]), "num_operations": int(found[2]), "prediction": None}
    try:
        body = (line.get("response") or {}).get("body")
        if line.get("error") or not body or not body.get("choices"):
            return record
        choice = body["choices"][0]
        text = choice.get("text")
        if text is None:
            text = (choice.get("message") or {}).get("content")
        if type(text) is not str and text is not None:
            raise TypeError
        return record | {"prediction": _unwrapped(text), "finish_reason": choice.get("finish_reason")}
    except (AttributeError, LookupError, TypeError):
        raise ValueError("field 'response' is not what a batch API writes") from None


def _unwrapped(text: str | None) -> str | None:
    """The statement in {"statement": ...}, as a schema has it; any other text as it is."""
    try:
        value = json.loads(text or "")
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
            raise ValueError("neither 'input' nor 'sample_id' and 'num_operations' say which description it is about")
        keys = by_text.get(text.strip(), [])
        if len(keys) != 1:
            wrong = f"{len(keys)} descriptions are this one" if keys else "unknown description"
            raise ValueError(f"{wrong}: {shown(text)}")
        return keys[0]
    if any(type(value) is not int for value in numbers):
        raise ValueError("'sample_id' and 'num_operations' must be whole numbers")
    if numbers not in examples:
        raise ValueError(f"unknown description (sample {shown(numbers[0])}, {shown(numbers[1])} operations)")
    if text is not None and (type(text) is not str or text.strip() != examples[numbers].description):
        raise ValueError(f"'input' is not the description of sample {numbers[0]} after {numbers[1]} operations")
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

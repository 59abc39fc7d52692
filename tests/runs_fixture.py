"""A dataset of two states and runs on it, as experiment 05 finds them."""

import json
from pathlib import Path

from scripts_fixture import run_script

from boxes.models import find
from boxes.prompting import STATEMENT_REGEX
from boxes.records import JsonLines, sha256_file, write_json, write_text
from boxes.runs.agreement import plain_prompt_sha256

DESCRIPTIONS = ["Box 0 contains the car, " + ", ".join(f"Box {b} contains nothing" for b in range(1, 7)) + "."]
DESCRIPTIONS.append(DESCRIPTIONS[0] + " Put the map into Box 1.")
TRUTHS = [["the car", *["nothing"] * 6], ["the car", "the map", *["nothing"] * 5]]
CHANGES = [[0] * 7, [0, 1, 0, 0, 0, 0, 0]]
# Of random.csv: a box of which one object is mentioned is right in three of four draws, an empty one always.
CHANCES = ["0,13,96.153846", "1,1,75.0", "2,0,", "all,14,94.642857", "1+,1,75.0"]


def fill_workplace(folder: Path) -> Path:
    """A dataset of two states, random.csv and complete runs of tiny-base (all right) and tiny-code (says 'nothing')."""
    lines = []
    for description, truths, changes in zip(DESCRIPTIONS, TRUTHS, CHANGES, strict=True):
        for box, (truth, count) in enumerate(zip(truths, changes, strict=True)):
            lines.append(json.dumps({
                "sentence": f"{description} Box {box} contains {truth}.",
                "sentence_masked": f"{description} Box {box} contains <extra_id_0> .",
                "masked_content": f"<extra_id_0> {truth}", "sample_id": 3, "numops": count,
                "numops_by_op": {"move": 0, "remove": 0, "put": count}}))  # fmt: skip
    write_text(folder / "data.jsonl", "\n".join(lines) + "\n")
    write_text(folder / "random.csv", "num_ops,n,expected\n" + "\n".join(CHANCES) + "\n")
    nothing = ["nothing"] * 7
    add_run(folder, "tiny-base", [TRUTHS[0], TRUTHS[1]])
    add_run(folder, "tiny-code", [nothing, nothing])
    return folder


def add_run(folder: Path, name: str, answers: list[list[str]], **changes: object) -> None:
    """A complete run; `changes` are to its run.json, None leaves a field out."""
    predictions = [
        {"sample_id": 3, "num_operations": number, "input": DESCRIPTIONS[number], "status": "ok", "tokens": [],
         "prediction": "Statement: " + ", ".join(f"Box {b} contains {c}" for b, c in enumerate(contents)) + "."}
        for number, contents in enumerate(answers)
    ]  # fmt: skip
    path = folder / "runs" / name / "predictions.jsonl"
    path.unlink(missing_ok=True)
    JsonLines(path).append(predictions)
    run = provenance(name, sha256_file(folder / "data.jsonl")) | changes
    write_json(path.with_name("run.json"), {key: value for key, value in run.items() if value is not None})


def provenance(name: str, checksum: str) -> dict:
    """run.json of a complete run of a tiny model, with all that it is known by."""
    return {
        "status": "complete", "model": name, "revision": find(name).revision, "truncated": 0, "invalid": 0,
        "prompt_format": "plain", "prompt_style": "table2", "prompt_sha256": plain_prompt_sha256("table2"),
        "prompt_ids_sha256": "a" * 64,
        "regex": STATEMENT_REGEX, "max_new_tokens": 256, "dataset_sha256": checksum, "selection": "all",
        "dtype": "float32",
    }  # fmt: skip


def score_arguments(folder: Path, *more: object) -> list[object]:
    """The command line of 05_score.py in a workplace."""
    paths = {"--data": "data.jsonl", "--runs": "runs", "--random": "random.csv", "--out": "out"}
    named = [part for option, name in paths.items() for part in (option, folder / name)]
    return ["05_score.py", "--profile", "tiny", *named, *more]


def score(folder: Path, capsys, *more: object) -> tuple[int | str | None, str]:
    """Run the script; (exit status, stderr)."""
    status = run_script(*score_arguments(folder, *more))
    return status, capsys.readouterr().err

"""A dataset of two states and runs on it, as experiment 05 finds them."""

import json
from pathlib import Path

from scripts_fixture import run_script

from boxes.records import JsonLines, sha256_file, write_json, write_text

DESCRIPTIONS = ["Box 0 contains the car, " + ", ".join(f"Box {b} contains nothing" for b in range(1, 7)) + "."]
DESCRIPTIONS.append(DESCRIPTIONS[0] + " Put the map into Box 1.")
TRUTHS = [["the car", *["nothing"] * 6], ["the car", "the map", *["nothing"] * 5]]
CHANGES = [[0] * 7, [0, 1, 0, 0, 0, 0, 0]]


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
    write_text(folder / "random.csv", "num_ops,n,expected\n0,13,40.0\n1,1,20.0\nall,14,38.6\n1+,1,20.0\n")
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
    run = {"status": "complete", "model": name, "dataset_sha256": sha256_file(folder / "data.jsonl"), "truncated": 0}
    write_json(path.with_name("run.json"), {key: value for key, value in (run | changes).items() if value is not None})


def score_arguments(folder: Path, *more: object) -> list[object]:
    """The command line of 05_score.py in a workplace."""
    paths = {"--data": "data.jsonl", "--runs": "runs", "--random": "random.csv", "--out": "out"}
    named = [part for option, name in paths.items() for part in (option, folder / name)]
    return ["05_score.py", "--profile", "tiny", *named, *more]


def score(folder: Path, capsys, *more: object) -> tuple[int | str | None, str]:
    """Run the script; (exit status, stderr)."""
    status = run_script(*score_arguments(folder, *more))
    return status, capsys.readouterr().err

"""make prompts, then make score of what was decoded, to a row beside its base (slow: a tiny model decodes)."""

import json

import pytest
from checkout_fixture import link_checkout, make, small_release

from boxes.records import read_csv

pytestmark = pytest.mark.slow
SMALL = ("DATA=release", "RELEASE_ZIP=small.zip", "HARDWARE=--device cpu --batch-size 8")


def test_what_another_tool_decoded_is_a_row(tmp_path):
    """The base's own answers, handed in as another's, gain nothing over it; and out again."""
    folder = link_checkout(tmp_path)
    small_release(folder / "small.zip")
    records = {"MODELS_RECORDS": str(folder / "records"), "OMP_NUM_THREADS": "1"}
    assert make(folder, "prompts", "OUT=prompts.jsonl", *SMALL, **records).returncode == 0
    prompts = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
    base = make(folder, "table6", "MODELS=tiny-base", *SMALL, **records)
    assert base.returncode == 0, base.stderr
    decoded = folder / "data/runs/tiny/tiny-base/predictions.jsonl"
    answers = {line["input"]: line["prediction"] for line in map(json.loads, decoded.read_text().splitlines())}
    given = [{"input": prompt["input"], "prediction": answers[prompt["input"]]} for prompt in prompts]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    ran = make(folder, "score", "PREDICTIONS=answers.jsonl", "NAME=mine", "BASE=tiny-base", "V=1", *SMALL, **records)
    assert ran.returncode == 0, ran.stderr
    assert "mine against tiny-base (code): +0.00 points at 1+ operations" in ran.stdout
    assert "| mine (decoded elsewhere) " in (folder / "paper/out/tiny/table6.md").read_text()
    report = (folder / "paper/out/tiny/report.html").read_text()
    assert "mine (decoded elsewhere)" in report
    assert "not stated" in report
    effects = read_csv(folder / "data/results/tiny/code.csv")
    assert set(effects.treated[effects.status == "complete"]) == {"mine"}
    assert make(folder, "archive", "MODELS=tiny-base mine", *SMALL, **records).returncode == 0
    assert make(folder, "model", "REMOVE=mine", **records).returncode == 0
    assert "mine" not in (folder / "records/added.json").read_text()

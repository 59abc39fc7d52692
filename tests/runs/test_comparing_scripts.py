"""Experiments 03 and 09 on the runs of 04."""

import json
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
from running_fixture import MODEL, said
from scenarios_fixture import write_dataset

from boxes.models.table import models_of, spec_of
from boxes.records import read_json, write_json, write_text
from boxes.release_scoring import score_as_released
from boxes.runs.folder import score_run
from boxes.scoring import score_statement
from boxes.world import parse, replay, statement

pytestmark = pytest.mark.usefixtures("one_thread", "no_models_elsewhere")


def test_03_chooses_a_prompt_format(data, tmp_path, decoded, capsys):
    out = tmp_path / "results/prompt_format.csv"
    arguments = ["--profile", "tiny", "--data", data, "--runs", decoded, "--out", out]
    done = said(capsys, "03_select_prompt_format.py", *arguments)
    assert done.status == 0, done.err
    assert done.out == f"{out}: 1 of 1 alignment-tuned models compared\n"
    table = pd.read_csv(out)
    assert list(table.columns) == ["model", "format", "n", "accuracy", "chosen", "reported_format"]
    assert table["model"].tolist() == ["tiny-chat"] * 2
    assert table["format"].tolist() == ["plain", "chat"]
    assert table["chosen"].sum() == 1
    assert table["accuracy"][table["chosen"] == 1].item() == table["accuracy"].max()
    for name, row in zip(("plain", "chat"), table.itertuples(), strict=True):
        written = (decoded / f"tiny-chat/dev-{name}/predictions.jsonl").read_text().splitlines()
        assert row.n == 7 * len(written)


def test_03_with_results_of_another_dataset(tmp_path, decoded, capsys):
    other = write_dataset(tmp_path / "other.jsonl", count=1, operations=1, seed=4)
    out = tmp_path / "prompt_format.csv"
    arguments = ("--profile", "tiny", "--data", other, "--runs", decoded, "--out", out)
    done = said(capsys, "03_select_prompt_format.py", *arguments)
    assert done.status == 2
    assert done.err.endswith(f"dev-plain/run.json: results of another dataset than {other}; decode again\n")
    assert not out.exists()


def test_03_where_nothing_is_run(data, tmp_path, capsys):
    out = tmp_path / "prompt_format.csv"
    arguments = ("--profile", "paper", "--data", data, "--runs", tmp_path, "--out", out)
    done = said(capsys, "03_select_prompt_format.py", *arguments)
    aligned = [spec for spec in models_of("paper") if spec.added == "alignment"]
    assert (done.status, done.out) == (0, f"{out}: 0 of {len(aligned)} alignment-tuned models compared\n")
    assert pd.read_csv(out).empty


def test_09_compares_free_with_constrained_decoding(data, tmp_path, decoded, task, capsys):
    out = tmp_path / "results/constrained.csv"
    arguments = ("--profile", "tiny", "--data", data, "--runs", decoded, "--out", out)
    done = said(capsys, "09_constrained_decoding.py", *arguments)
    assert done.status == 0, done.err
    assert done.out == f"{out}: 2 of 5 models compared\n"  # of the others there is no run
    table = pd.read_csv(out, dtype={"num_ops": str})
    table = table[table.model == MODEL]
    assert set(table["decoding"]) == {"constrained", "free"}
    by_scorer = {"ours": score_statement, "authors": score_as_released}
    for scorer, decoding in product(by_scorer, ("constrained", "free")):
        path = decoded / MODEL / ("free" if decoding == "free" else "") / "predictions.jsonl"
        rows = table[(table["decoding"] == decoding) & (table.scorer == scorer)].set_index("num_ops")
        correct = [row[-1] for row in score_run(spec_of(MODEL), path, task.by_key, by_scorer[scorer])]
        assert (rows.loc["all", "n"], rows.loc["all", "correct"]) == (56, sum(correct))
        assert rows.loc["all", "accuracy"] == pytest.approx(100 * sum(correct) / 56, abs=1e-5)
    table = table[table.scorer == "authors"]
    gains = table.set_index(["decoding", "num_ops"])[["gain", "gain_low", "gain_high", "interval", "p_mcnemar"]]
    assert gains.loc["free"].isna().all(axis=None)
    gained = table.accuracy[table.decoding == "constrained"].to_numpy() - table.accuracy[table.decoding == "free"]
    np.testing.assert_allclose(gains.loc["constrained"].gain, gained, atol=1e-5)
    assert set(gains.loc["constrained"].interval) == {"bootstrap"}
    whole_set = gains.loc["constrained", "all"]
    assert whole_set.gain_low <= whole_set.gain <= whole_set.gain_high
    assert 0 <= whole_set.p_mcnemar <= 1
    for line in map(json.loads, (decoded / MODEL / "free/predictions.jsonl").read_text().splitlines()):
        assert "." not in line["prediction"][:-1]


def test_09_counts_statements_that_one_scorer_alone_accepts(data, tmp_path, decoded, task, capsys):
    """Free text that only the authors' scorer reads ("; Box 1 contains"), and that only ours reads
    (Box 1 named twice)."""
    runs, out = shutil.copytree(decoded, tmp_path / "runs"), tmp_path / "constrained.csv"
    path = runs / MODEL / "free/predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        truth = statement(replay(*parse(line["input"]))[0])
        line["prediction"] = truth.replace(", Box 1", "; Box 1")
    twice = statement(replay(*parse(lines[0]["input"]))[0])
    lines[0]["prediction"] = twice.replace(", Box 2", ", Box 1 contains the unicorn, Box 2")
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in lines))
    done = said(capsys, "09_constrained_decoding.py", "--profile", "tiny", "--data", data, "--runs", runs, "--out", out)
    assert done.status == 0, done.err
    table = pd.read_csv(out, dtype={"num_ops": str})
    free = table[(table.model == MODEL) & (table.decoding == "free") & (table.num_ops == "all")].set_index("scorer")
    alone = {"authors": 0, "ours": 0}
    for line in lines:
        gold = task.by_key[key_of(line)].contents
        both = list(
            zip(*(score(line["prediction"], gold) for score in (score_as_released, score_statement)), strict=True)
        )
        alone["authors"] += (True, False) in both
        alone["ours"] += (False, True) in both
    assert free.accepted_alone.to_dict() == alone
    assert alone["authors"] >= 7
    assert alone["ours"] == 1
    constrained = table[(table.model == MODEL) & (table.decoding == "constrained")]
    assert (constrained.accepted_alone == 0).all()


def key_of(line: dict) -> tuple[int, int]:
    return line["sample_id"], line["num_operations"]


def test_09_with_results_of_another_dataset(copy, tmp_path, capsys):
    other = write_dataset(tmp_path / "other.jsonl", count=1, operations=1, seed=4)
    out = tmp_path / "constrained.csv"
    shutil.copytree(copy, copy / "free")
    arguments = ["--profile", "tiny", "--data", other, "--runs", copy.parent, "--out", out]
    done = said(capsys, "09_constrained_decoding.py", *arguments)
    assert done.status == 2
    assert "results of another dataset" in done.err
    assert not out.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("regex", "other", "decoded with a regular expression; decode again"),
        ("max_new_tokens", 9, "max_new_tokens is 9, with the expression 256; decode again"),
    ],
)
def test_09_with_free_runs_of_other_settings(data, tmp_path, decoded, field, value, message, capsys):
    runs, out = shutil.copytree(decoded, tmp_path / "runs"), tmp_path / "constrained.csv"
    path = runs / MODEL / "free/run.json"
    write_json(path, read_json(path) | {field: value})
    done = said(capsys, "09_constrained_decoding.py", "--profile", "tiny", "--data", data, "--runs", runs, "--out", out)
    assert (done.status, done.err.endswith(f"{path}: {message}\n")) == (2, True), done.err
    assert not out.exists()

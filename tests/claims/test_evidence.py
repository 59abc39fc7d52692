"""What the claims are judged on, read from results, and the script that judges them."""

import dataclasses
import runpy
import sys

import numpy as np
import pandas as pd
import pytest
from claims_fixture import ALIGNED, NOT_BORNE_OUT, table

from boxes.claims.evidence import read_evidence
from boxes.claims.findings import Number
from boxes.claims.judging import FAILS, HOLDS, NOT_RUN, Claim, judge
from boxes.claims.predicates import gain_within
from boxes.claims.sentences import CODE_CLAIMS, LLAMA_70B, claims_of
from boxes.claims.thresholds import CLOSE_CALL, MARGINAL
from boxes.minimal_pairs import COLUMNS as PAIR_COLUMNS
from boxes.models.table import models_of
from boxes.records import read_csv, write_csv
from boxes.score_tables import NONTRIVIAL, RANDOM, reported_scores, with_accuracy
from boxes.statistics import Difference, newcombe


def test_paired_differences_come_before_those_from_counts(tmp_path):
    names = ["Llama-2-13b-hf", "CodeLlama-13b-hf"]
    frame = table(names, np.array([[0.2] * 8, [0.4] * 8]))
    write_csv(tmp_path / "scores.csv", frame)
    assert read_evidence(tmp_path).gain(*names, "7").interval == "newcombe"
    row = dict(zip(("base", "treated"), names, strict=True)) | {"num_ops": "7", "n": 29, "status": "complete"}
    row |= {"difference": 20.5, "ci_low": 1.0, "ci_high": 40.0, "interval": "bootstrap"}
    not_run = {"base": "a", "treated": "b", "num_ops": "all", "status": "not run"}
    write_csv(tmp_path / "code.csv", pd.DataFrame([row, not_run], columns=list(PAIR_COLUMNS)))
    evidence = read_evidence(tmp_path)
    assert evidence.gain(*names, "7") == Difference(20.5, 1.0, 40.0, "bootstrap")
    assert evidence.gain(*names, "6").interval == "newcombe"
    assert "+20.50 [+1.00, +40.00] bootstrap" in judge(
        Claim("x", "4", "", "7", gain_within(*names, "7", MARGINAL)), evidence
    )[1]  # fmt: skip
    trivial = next(claim for claim in CODE_CLAIMS if claim.id == "code-trivial-13b")
    assert judge(trivial, evidence)[0] == HOLDS
    assert len(NONTRIVIAL) == 7


def write_constrained(folder, gain: Difference) -> None:
    """constrained.csv of Llama 2 70B: 14 answers of 5012 more are right under the expression."""
    counts = pd.DataFrame({"model": LLAMA_70B, "decoding": ["free", "constrained"],
                           "scorer": "authors", "num_ops": "all", "n": 5012, "correct": [3100, 3114], "truncated": 0,
                           "invalid": 3})  # fmt: skip
    gains = {"gain": gain.points, "gain_low": gain.low, "gain_high": gain.high, "interval": gain.interval}
    both = [dict.fromkeys(gains), gains]
    theirs = pd.concat([with_accuracy(counts), pd.DataFrame(both)], axis=1)
    ours = theirs.assign(scorer="ours", accuracy=1.0, correct=50, gain=0.0)  # by which nothing is judged
    write_csv(folder / "constrained.csv", pd.concat([theirs, ours]))


@pytest.mark.parametrize(("low", "verdict"), [(-0.02, FAILS), (0.08, HOLDS)])
def test_what_the_expression_is_worth_goes_by_the_paired_interval(low, verdict, tmp_path):
    """Free and constrained answers are to the same queries: the counts alone would not tell these
    apart."""
    write_csv(tmp_path / "scores.csv", reported_scores())
    write_constrained(tmp_path, Difference(0.279330, low, 0.5, "bootstrap"))
    evidence = read_evidence(tmp_path)
    assert evidence.constraint_gain(LLAMA_70B)[2] == Difference(0.279330, low, 0.5, "bootstrap")
    claim = next(claim for claim in claims_of("paper") if claim.id == "constrained-decoding")
    detail = f"{LLAMA_70B}: from 61.85 to 62.13, +0.28 [{low:+.2f}, +0.50] bootstrap"
    near = f"{detail}; {CLOSE_CALL}"  # 0 is within an interval of either lower end
    assert judge(claim, evidence) == (verdict, near, Number(0.279330, low, 0.5), True)
    unpaired = newcombe(3100, 5012, 3114, 5012)
    assert unpaired.low < -1
    from_counts = dataclasses.replace(evidence, constraint_gains={}).constraint_gain(LLAMA_70B)[2]
    assert (from_counts.points, from_counts.low, from_counts.high) == pytest.approx(
        (unpaired.points, unpaired.low, unpaired.high), abs=1e-6
    )


def test_prompt_formats_are_read(tmp_path):
    write_csv(tmp_path / "scores.csv", reported_scores())
    formats = [(spec.name, f, 10, 50.0, int(f == spec.prompt_format)) for spec in ALIGNED for f in ("plain", "chat")]
    columns = ["model", "format", "n", "accuracy", "chosen"]
    write_csv(tmp_path / "prompt_format.csv", pd.DataFrame(formats, columns=columns))
    verdicts = {claim.id: judge(claim, read_evidence(tmp_path)) for claim in claims_of("paper")}
    assert verdicts["prompt-format"][:2] == (HOLDS, "11 of 11 as used; others: none")
    assert verdicts["prompt-format"].number.point == 11


def run(monkeypatch, folder, profile):
    arguments = ["--profile", profile, "--results", str(folder), "--out", str(folder / "claims.csv")]
    monkeypatch.setattr(sys, "argv", ["10_claims.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path("experiments/10_claims.py", run_name="__main__")
    assert stopped.value.code == 0
    return read_csv(
        folder / "claims.csv", ("id", "section", "claim", "verdict", "verdict_reported", "buckets", "detail")
    )


def test_the_script_on_reported_numbers(tmp_path, monkeypatch):
    rows = run(monkeypatch, tmp_path, "reported")
    assert (rows.verdict == rows.verdict_reported).all()
    assert rows[rows.verdict == FAILS].id.tolist() == list(NOT_BORNE_OUT)


def test_the_script_on_tiny_results(tmp_path, monkeypatch):
    """The paper's claims are not run on the tiny models, whatever these do; their own claims are
    judged."""
    names = [RANDOM, *(spec.name for spec in models_of("tiny"))]
    shares = np.array([[0.3] * 8, [0.4] * 8, [0.57] * 8, [0.6] * 8, [0.5] * 8, [0.2] * 8])
    write_csv(tmp_path / "scores.csv", table(names, shares))
    rows = run(monkeypatch, tmp_path, "tiny").set_index("id")
    tiny = rows.index.str.startswith("tiny-")
    assert set(rows.verdict[~tiny]) == {NOT_RUN}
    assert set(rows.verdict_reported[tiny]) == {NOT_RUN}
    assert (rows.verdict_reported[~tiny] == HOLDS).sum() == 43 - len(NOT_BORNE_OUT)
    assert rows.verdict[tiny].to_dict() == {
        "tiny-code": HOLDS,
        "tiny-code-control": HOLDS,
        "tiny-math": FAILS,  # ten points more are not marginal
        "tiny-math-control": HOLDS,
        "tiny-alignment": FAILS,
        "tiny-alignment-control": FAILS,
        "tiny-random-base": FAILS,  # ahead everywhere, but 29 queries do not show it
        "tiny-random-more": HOLDS,
        "tiny-random-code": HOLDS,
        "tiny-random-math": HOLDS,
        "tiny-random-chat": FAILS,
        "tiny-prompt-format": NOT_RUN,
        "tiny-constrained": NOT_RUN,
    }

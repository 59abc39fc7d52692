"""The comparison of pairs that experiments 06, 07 and 08 share."""

import runpy
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from boxes.minimal_pairs import COLUMNS, QUERY_COLUMNS, compare_pairs, paired_rows
from boxes.models.pairs import pairs
from boxes.records import UserError, read_csv, write_csv
from boxes.score_tables import NUM_OPS, bucket_scores, reported_scores
from boxes.statistics import newcombe

SHARES = {"tiny-base": 0.3, "tiny-code": 0.5, "tiny-math": 0.3, "tiny-chat": 0.4}


def answers(model: str, share: float, seed: int) -> pd.DataFrame:
    """Queries of 40 descriptions in 20 scenarios, right with a given probability; num_ops are the
    same for every model."""
    num_ops = np.random.default_rng(0).integers(0, 9, (40, 7))
    correct = np.random.default_rng(seed).random((40, 7)) < share
    rows = [
        (model, description // 2, description, box, num_ops[description, box], int(correct[description, box]))
        for description in range(40)
        for box in range(7)
    ]
    return pd.DataFrame(rows, columns=list(QUERY_COLUMNS))


@pytest.fixture
def queries():
    return pd.concat(answers(model, share, seed) for seed, (model, share) in enumerate(SHARES.items()))


@pytest.fixture
def scores(queries):
    return pd.concat(bucket_scores(rows).assign(model=model) for model, rows in queries.groupby("model", sort=False))


def test_paired_rows(scores, queries):
    table = compare_pairs(pairs(1, "tiny")[:1], scores, queries)
    assert list(table.columns) == list(COLUMNS)
    assert table.num_ops.tolist() == list(NUM_OPS)
    assert set(table.interval) == {"bootstrap"}
    base, treated = (queries[queries.model == model].reset_index() for model in ("tiny-base", "tiny-code"))
    for row in table.itertuples():
        inside = {"all": base.num_ops >= 0, "1+": base.num_ops > 0}.get(row.num_ops)
        inside = base.num_ops == int(row.num_ops) if inside is None else inside
        won, lost = (treated.correct > base.correct) & inside, (treated.correct < base.correct) & inside
        assert (row.n, row.b, row.c) == (inside.sum(), lost.sum(), won.sum())
        assert row.difference == pytest.approx(100 * (won.sum() - lost.sum()) / inside.sum())
        assert row.difference == pytest.approx(row.treated_accuracy - row.base_accuracy)
        assert row.ci_low <= row.difference <= row.ci_high
        assert row.p_mcnemar == pytest.approx(binomtest(row.b, row.b + row.c).pvalue)


def test_answers_that_mostly_agree_are_told_apart_by_their_pairing():
    """Free and constrained decoding differ in few answers; counts alone would hide it."""
    free = answers("free", 0.7, 1)
    constrained = free.assign(model="constrained", correct=free.correct.where(free.index % 30 != 0, 1))
    rows = {row["num_ops"]: row for row in paired_rows("free", "constrained", pd.concat([free, constrained]))}
    gained = int((constrained.correct - free.correct).sum())
    assert (rows["all"]["b"], rows["all"]["c"]) == (0, gained)
    assert gained > 0
    assert rows["all"]["difference"] == pytest.approx(100 * gained / len(free))
    unpaired = newcombe(int(free.correct.sum()), len(free), int(constrained.correct.sum()), len(free))
    assert unpaired.low < 0 <= rows["all"]["ci_low"]
    assert rows["all"]["ci_high"] < unpaired.high
    with pytest.raises(UserError, match=r"^free and constrained did not answer the same queries"):
        paired_rows("free", "constrained", pd.concat([free, constrained[:-7]]))


def test_scenarios_are_drawn_and_not_descriptions(queries):
    """The second state of each scenario answered as the first: twice the answers, and no narrower
    an interval."""
    first = queries[queries.num_operations % 2 == 0]
    copied = pd.concat([first, first.assign(num_operations=first.num_operations + 1)])
    once, twice = (paired_rows("tiny-base", "tiny-code", rows) for rows in (first, copied))
    for one, two in zip(once, twice, strict=True):
        assert two["n"] == 2 * one["n"]
        ends = [one["difference"], one["ci_low"], one["ci_high"]]
        assert [two["difference"], two["ci_low"], two["ci_high"]] == pytest.approx(ends, nan_ok=True)


def test_holm_is_over_the_whole_experiment(scores, queries):
    twice = pairs(1, "tiny")[:1] + pairs(3, "tiny")[:1]
    table = compare_pairs(twice, scores, queries)
    assert len(table) == 20
    assert table.p_holm.to_numpy() == pytest.approx(multipletests(table.p_mcnemar.astype(float), method="holm")[1])


def test_a_pair_has_the_same_interval_whatever_else_is_run_and_in_whatever_order(scores, queries):
    alone = compare_pairs(pairs(3, "tiny")[:1], scores, queries)
    shuffled = queries.sample(frac=1, random_state=1)
    among = compare_pairs(pairs(1, "tiny")[:1] + pairs(3, "tiny")[:1], scores, shuffled)
    among = among[among.treated == "tiny-chat"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.drop(columns="p_holm"), among.drop(columns="p_holm"))


def test_a_pair_that_was_not_run_has_one_row_that_says_so(scores, queries):
    table = compare_pairs(pairs(2, "tiny")[:1], scores[scores.model != "tiny-math"], queries)
    assert table[["base", "treated", "num_ops", "status"]].values.tolist() == [
        ["tiny-base", "tiny-math", "all", "not run"]]  # fmt: skip
    assert table.difference.isna().all()


def test_an_empty_bucket_has_no_numbers(scores, queries):
    few = queries.assign(num_ops=lambda rows: rows.num_ops.clip(upper=3))
    table = compare_pairs(pairs(1, "tiny")[:1], scores, few).set_index("num_ops")
    assert table.n["5"] == 0
    assert table.loc["5", ["base_accuracy", "difference", "ci_low", "b", "p_mcnemar", "p_holm"]].isna().all()
    assert table.status["5"] == "complete"


def test_models_that_answered_different_queries_are_refused(scores, queries):
    wrong = queries[~((queries.model == "tiny-code") & (queries.num_operations == 3))]
    with pytest.raises(UserError, match="tiny-base and tiny-code did not answer the same queries"):
        compare_pairs(pairs(1, "tiny")[:1], scores, wrong)
    with pytest.raises(UserError, match="tiny-code: not 7 boxes a statement"):
        compare_pairs(pairs(1, "tiny")[:1], scores, queries[~((queries.model == "tiny-code") & (queries.box == 3))])


def test_reported_pairs_have_newcombe_intervals_and_no_tests():
    table = compare_pairs(pairs(1, "reported"), reported_scores(), None)
    assert len(table) == 50
    assert set(table.interval) == {"newcombe"}
    assert table[["b", "c", "p_mcnemar", "p_holm"]].isna().all(axis=None)
    row = table[(table.treated == "CodeLlama-13b-hf") & (table.num_ops == "7")].iloc[0]
    assert (row.base_accuracy, row.treated_accuracy) == pytest.approx((100 * 5 / 29, 100 * 4 / 29))
    assert row.ci_low < row.difference < 0 < row.ci_high


@pytest.mark.parametrize(("script", "name", "count"), [("06", "code", 5), ("07", "math", 5), ("08", "alignment", 11)])
def test_scripts_on_the_reported_scores(tmp_path, monkeypatch, script, name, count):
    write_csv(tmp_path / "scores.csv", reported_scores())
    out = tmp_path / f"{name}.csv"
    arguments = ["--profile", "reported", "--results", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [f"{script}_{name}.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(f"experiments/{script}_{name}.py", run_name="__main__")
    assert stopped.value.code == 0
    table = read_csv(out, COLUMNS)
    assert table.groupby(["base", "treated"]).size().tolist() == [10] * count


def test_a_script_asks_for_the_answers_of_the_models(tmp_path, monkeypatch, capsys, scores, queries):
    """And names the file whose answers cannot be compared."""
    write_csv(tmp_path / "scores.csv", scores)
    arguments = ["--profile", "tiny", "--results", str(tmp_path), "--out", str(tmp_path / "code.csv")]
    monkeypatch.setattr(sys, "argv", ["06_code.py", *arguments])
    few = queries[(queries.model != "tiny-code") | (queries.num_operations != 3)]
    wrong = [None, few, queries[(queries.model != "tiny-code") | (queries.box != 3)]]
    said = [
        "no such file",
        "tiny-base and tiny-code did not answer the same queries",
        "tiny-code: not 7 boxes a statement",
    ]
    for table, message in zip(wrong, said, strict=True):
        if table is not None:
            write_csv(tmp_path / "queries.csv", table)
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path("experiments/06_code.py", run_name="__main__")
        assert stopped.value.code == 2
        assert capsys.readouterr().err.startswith(f"06_code.py: {tmp_path}/queries.csv: {message}; ")
        assert not (tmp_path / "code.csv").exists()

"""data/reported: the counts restored from the printed accuracies, and the numbers of the text."""

import pandas as pd
import pytest

from boxes.claims.evidence import reported_evidence, reported_text
from boxes.models.table import models_of
from boxes.records import UserError, read_csv, write_text
from boxes.score_tables import BUCKETS, NUM_OPS, RANDOM, REPORTED, SCORE_COLUMNS, reported_scores

SIZES = dict(zip(BUCKETS, (1303, 1410, 1083, 651, 288, 142, 106, 29), strict=True)) | {"all": 5012, "1+": 3709}
TABLE = read_csv(REPORTED / "table6.csv")
MODELS = TABLE[TABLE.model != RANDOM]
PRINTED = TABLE[TABLE.num_ops != "1+"]


def test_a_row_for_every_model_and_bucket_in_the_order_of_table_6():
    names = [RANDOM, *(spec.name for spec in models_of("reported"))]
    assert len(names) == 30
    assert list(zip(TABLE.model, TABLE.num_ops, strict=True)) == [(name, k) for name in names for k in NUM_OPS]
    assert TABLE.n.tolist() == [SIZES[k] for k in NUM_OPS] * 30
    assert SIZES["all"] == 716 * 7 == sum(SIZES[k] for k in BUCKETS)
    assert SIZES["1+"] == sum(SIZES[k] for k in BUCKETS[1:])


def test_every_printed_accuracy_is_the_rounded_share_of_its_count():
    for row in MODELS.itertuples():
        assert round(100 * row.correct / row.n, 2) == row.accuracy, row


def test_no_other_count_rounds_to_a_printed_accuracy():
    """One answer of 1410 is 0.07 points: the rounded accuracy of a bucket leaves one count."""
    for row in MODELS[MODELS.num_ops.isin(BUCKETS)].itertuples():
        assert [c for c in range(row.n + 1) if round(100 * c / row.n, 2) == row.accuracy] == [row.correct], row


def test_totals_are_sums_of_their_buckets():
    for _, rows in MODELS.groupby("model"):
        correct = rows.set_index("num_ops").correct
        assert correct["all"] == correct[list(BUCKETS)].sum()
        assert correct["1+"] == correct[list(BUCKETS[1:])].sum()


def test_random_row_is_without_counts_and_its_totals_are_weighted_means():
    random = TABLE[TABLE.model == RANDOM].set_index("num_ops")
    assert random.correct.isna().all()
    for total, buckets in (("all", BUCKETS), ("1+", BUCKETS[1:])):
        mean = sum(SIZES[k] * random.accuracy[k] for k in buckets) / SIZES[total]
        assert random.accuracy[total] == pytest.approx(mean, abs=0.011)  # of cells that are rounded themselves


@pytest.mark.parametrize(
    ("model", "overall", "first", "last"),
    [  # three rows typed from the paper once more
        ("Llama-2-7b-hf", 21.31, 65.54, 3.45),
        ("deepseek-math-7b-base", 56.40, 98.93, 27.59),
        ("float-7b", 27.55, 89.33, 13.79),
    ],
)
def test_rows_of_the_paper(model, overall, first, last):
    cells = TABLE[TABLE.model == model].set_index("num_ops").accuracy
    assert (cells["all"], cells["0"], cells["7"]) == (overall, first, last)


@pytest.mark.parametrize(("key", "value"), [item for item in reported_text().items() if not item[0].endswith("/free")])
def test_numbers_of_the_text_are_those_of_table_6(key, value):
    model, num_ops = key.split("/")
    row = TABLE[(TABLE.model == model) & (TABLE.num_ops == num_ops)].iloc[0]
    digits = 1 if value == 64.9 else 2  # the one number the text prints with a single digit
    assert round(100 * row.correct / row.n, digits) == value


def test_the_accuracy_of_free_decoding_is_a_count_too():
    evidence = reported_evidence()
    free, constrained, gain = evidence.constraint_gain("Llama-2-70b-hf")
    assert round(free.accuracy, 2) == reported_text()["Llama-2-70b-hf/all/free"] == 54.95
    assert (free.correct, constrained.correct) == (2754, 3114)
    assert gain.points == pytest.approx(7.18, abs=0.01)


def test_as_scores():
    scores = reported_scores()
    assert list(scores.columns) == list(SCORE_COLUMNS)
    assert len(scores) == 300
    random = scores.model == RANDOM
    assert scores[random][["ci_low", "ci_high"]].isna().all(axis=None)
    low, accuracy, high = (scores[~random][name] for name in ("ci_low", "accuracy", "ci_high"))
    assert ((low <= accuracy) & (accuracy <= high)).all()
    assert (accuracy.round(2) == MODELS.accuracy.to_numpy()).all()
    assert all(isinstance(count, int) for count in scores.correct[~random])


def test_a_broken_file_is_named(tmp_path):
    text = (REPORTED / "table6.csv").read_text()
    write_text(tmp_path / "table6.csv", text.replace("Llama-2-7b-hf,0,1303,854,", "Llama-2-7b-hf,0,1303,,"))
    with pytest.raises(UserError, match=r"table6\.csv: a model's row has no count"):
        reported_scores(tmp_path)
    write_text(tmp_path / "text.csv", "key,value,section\na/0,1,3\na/0,2,3\n")
    with pytest.raises(UserError, match=r"text\.csv: a key stands twice"):
        reported_text(tmp_path)


def test_the_files_are_plain():
    for name in ("table6.csv", "text.csv"):
        content = (REPORTED / name).read_bytes()
        assert content.isascii()
        assert content.endswith(b"\n")
        assert b"\r" not in content
    assert pd.read_csv(REPORTED / "text.csv").section.tolist().count("Table 3") == 6

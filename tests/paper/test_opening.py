"""The first lines of the report: yes or no, and where it is no; what was run; what of the paper's claims."""

import shutil
from pathlib import Path

import pytest

from boxes.models.table import models_of
from boxes.records import read_csv, write_csv, write_text
from boxes.runs.task import LOOK, dataset_note
from boxes.score_tables import REPORTED
from experiments.tools.reference_tables import FILES
from paper import opening
from paper.results import read_results

REFERENCE = REPORTED.parent / "reference"
CLAIMS = [
    {"verdict": "holds", "verdict_reported": "holds"},
    {"verdict": "not run", "verdict_reported": "does not hold"},
]
RUN = {"started": "2026-01-02T03:04:05+00:00", "device": "cpu, 2 threads", "dtype": "float32", "git_commit": "a" * 40}


def copied(profile: str, folder: Path) -> Path:
    """A results folder that is the committed reference."""
    for name in FILES:
        if (REFERENCE / profile / f"{name}.csv").exists():
            shutil.copy(REFERENCE / profile / f"{name}.csv", folder)
    return folder


def agreement(profile: str, folder: Path) -> opening.Line:
    return opening.agreement(read_results(profile, folder), folder, REFERENCE / profile)


def changed(folder: Path, name: str, column: str, row: int, value) -> Path:
    frame = read_csv(folder / f"{name}.csv").astype({column: object})
    frame.loc[row, column] = value
    write_csv(folder / f"{name}.csv", frame)
    return folder


@pytest.mark.parametrize("profile", ["tiny", "reported"])
def test_the_reference_agrees_with_itself(tmp_path, profile):
    line = agreement(profile, copied(profile, tmp_path))
    assert (line.answer, line.kind, line.faults) == ("yes", "yes", ())
    count = len(models_of(profile, extra=False))
    assert line.remark.startswith(f"{count} of {count} models: every accuracy to the last digit; ")


def test_other_datasets_are_not_held_against_the_reference(tmp_path):
    """Not even one with the same states in other words, whose buckets have the same sizes."""
    copied("tiny", tmp_path)
    assert read_results("tiny", tmp_path).expected
    for name in ("empty-test-subsample-states-t5.jsonl", "mine.jsonl", LOOK.format(20)):
        write_text(tmp_path / "runs.csv", f"model,status,reason,dataset\ntiny-base,complete,,{name}\n")
        line = agreement("tiny", tmp_path)
        assert (line.answer, line.kind) == ("nothing to compare", "")
        assert line.remark == dataset_note(name)
        assert bool(read_results("tiny", tmp_path).expected) == (name == LOOK.format(20))


def test_a_tolerated_difference_is_said(tmp_path):
    scores = read_csv(copied("tiny", tmp_path) / "scores.csv")
    row = scores.index[(scores.model == "tiny-math") & (scores.num_ops == "all")][0]
    line = agreement("tiny", changed(tmp_path, "scores", "accuracy", row, scores.accuracy[row] - 0.5))
    assert line.answer == "yes"
    assert "within 1 % of the queries behind it" in line.remark
    assert "(largest difference overall: −0.50)" in line.remark


def test_where_it_does_not_agree_is_said(tmp_path):
    scores = read_csv(copied("tiny", tmp_path) / "scores.csv")
    row = scores.index[(scores.model == "tiny-math") & (scores.num_ops == "3")][0]
    line = agreement("tiny", changed(tmp_path, "scores", "accuracy", row, scores.accuracy[row] - 10))
    assert (line.answer, line.kind) == ("no", "no")
    assert line.remark == "1 row differs."
    assert line.faults == ("tiny-math at 3: -10.00 points",)


def test_a_claim_that_flips_is_a_no(tmp_path):
    claims = read_csv(copied("tiny", tmp_path) / "claims.csv")
    row = claims.index[claims.id == "tiny-math"][0]
    other = {"holds": "does not hold", "does not hold": "holds"}[claims.verdict[row]]
    line = agreement("tiny", changed(tmp_path, "claims", "verdict", row, other))
    assert line.answer == "no"
    assert line.faults[0].startswith("claim tiny-math flipped")


def test_many_faults_are_counted(tmp_path):
    scores = read_csv(copied("tiny", tmp_path) / "scores.csv")
    scores["accuracy"] = scores.accuracy * 0.5
    write_csv(tmp_path / "scores.csv", scores)
    line = agreement("tiny", tmp_path)
    assert len(line.faults) == opening.LISTED + 1
    assert line.faults[-1].endswith("more (make check names them)")


def test_another_test_set_is_no_yes(tmp_path):
    folder = changed(copied("tiny", tmp_path), "scores", "n", 0, 7)
    line = agreement("tiny", folder)
    assert (line.answer, line.kind) == ("cannot be compared", "")
    assert "another test set than the reference's" in line.remark
    assert read_results("tiny", folder).expected == {}  # and no number of the reference stands beside ours


def test_what_was_run_when_and_where():
    fields = [
        (f"model {n}", list((RUN | {"git_commit": commit}).items()))
        for n, commit in enumerate(("b" * 40 + "-dirty", "b" * 40))
    ]
    assert opening.recorded([("tiny-base", list(RUN.items()))]) == (
        "Decoded 2026-01-02 on cpu, 2 threads, float32; commit: aaaaaaaaaaaa."
    )
    assert opening.recorded(fields).endswith("commit: bbbbbbbbbbbb and bbbbbbbbbbbb with changes.")
    assert opening.recorded([]) == "When and on what is not recorded here."


@pytest.mark.parametrize(
    ("profile", "claims", "answer", "says"),
    [("reported", CLAIMS, "1 of 2", "On the paper's printed numbers 1 hold and 1 do not."),
     ("paper", CLAIMS, "1 of 1 judged", "1 more are about models that were not run."),
     ("paper", CLAIMS[1:], "none judged here", "None of the models that they are about was run."),
     ("tiny", CLAIMS[1:], "none judged here", "All 1 are about the 29 checkpoints of Table 6")],
)  # fmt: skip
def test_what_of_the_claims(tmp_path, profile, claims, answer, says):
    scores = "tiny" if profile == "tiny" else "reported"
    line = opening.claims_held(read_results(profile, copied(scores, tmp_path)), claims)
    assert line.answer == answer
    assert says in line.remark

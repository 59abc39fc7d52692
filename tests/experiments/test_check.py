"""experiments/tools/check.py: what has to agree with the reference, by how much it may differ, and
what a flipped claim does."""

import re

import pandas as pd
import pytest
from check_fixture import PAPER, TINY, VERDICTS, check, claim, line, write

from boxes.claims.judging import FAILS, HOLDS, NOT_RUN
from boxes.models.table import NOT_CHOSEN
from boxes.records import read_csv, write_csv
from boxes.score_tables import NUM_OPS, RANDOM

# --- rows ---


def test_the_same_agrees_and_every_row_and_claim_has_its_line(tmp_path, capsys):
    write(tmp_path / "results", TINY)
    assert check(tmp_path, capsys, "tiny", "--write")[0] == 0
    status, out, err = check(tmp_path, capsys, "tiny")
    assert (status, err) == (0, "")
    for model in TINY:
        assert line(out, model, "overall")[-5:] == ["50.00", "50.00", "+0.00", "[-4.89, +4.89]", "agrees"]
        assert line(out, model, "1+")[-1] == "agrees"
    assert line(out, RANDOM, "overall")[-2:] == ["–", "agrees"]  # an expectation, no count
    assert "tables behind the rows agree: code.csv, claims.csv (4 lines)" in out
    for name, verdict in VERDICTS.items():
        if verdict != NOT_RUN:
            assert line(out, name) == [name, "gain at 1+ (points)", "2.50", "2.50", "+0.00", "[+1.25, +3.75]", verdict]
    assert "claims: 1 holds, 1 does not hold, 1 not judged; 0 flipped" in out
    assert out.endswith("check: all agrees\n")
    assert "not run (" not in out


@pytest.mark.parametrize(
    ("profile", "models", "answers", "agrees"),
    [("tiny", TINY, 2, True), ("tiny", TINY, 3, False), ("tiny", TINY, -3, False), ("reported", PAPER, 1, False)],
)
def test_how_much_a_cell_may_differ(tmp_path, capsys, profile, models, answers, agrees):
    write(tmp_path / "reference", models)
    write(tmp_path / "results", models, k3=answers)
    code = tmp_path / "results/code.csv"
    code.write_text(code.read_text().replace("1.0", "1.1"))
    status, out, err = check(tmp_path, capsys, profile)
    assert (status == 0) is agrees
    assert (f"{models[0]} at 3: {answers:+.2f} points" in err) is not agrees
    assert ("tables not compared, for the scores behind them differ" in out) is (
        profile == "tiny"
    )  # what follows from a score that differs
    if not agrees:
        difference = line(out, models[0], "3")
        assert (difference[3:5], difference[-1]) == ([f"{50 + answers}.00", f"{answers:+.2f}"], "differs")


def test_a_wrong_summary_of_the_same_scores_is_a_mismatch(tmp_path, capsys):
    write(tmp_path / "reference", TINY)
    write(tmp_path / "results", TINY)
    claim(tmp_path / "results", VERDICTS, number=2.6)
    status, _, err = check(tmp_path, capsys, "tiny")
    assert status == 1
    assert "claims.csv: 3 of 3 rows differ, first: id first" in err
    assert err.splitlines()[-1] == "check: FAILED: 1 table behind the rows differs"


@pytest.mark.parametrize(
    ("bucket", "more", "agrees"), [("3", 2, True), ("3", 3, False), ("all", 8, True), ("all", 9, False)]
)
def test_kinds_of_errors_may_differ_as_a_cell_may(tmp_path, capsys, bucket, more, agrees):
    """2 answers of the bucket's 100 queries, 8 of 800 in all; the errors of models that were not
    run are passed over."""
    for folder in ("reference", "results"):
        write(tmp_path / folder, TINY if folder == "reference" else TINY[:2])
        rows = [(model, num_ops, kind, 10) for model in TINY for num_ops in NUM_OPS for kind in ("wrong box", "other")]
        table = pd.DataFrame(rows, columns=["model", "num_ops", "kind", "n"])
        if folder == "results":
            table = table[table.model.isin(TINY[:2])]
            chosen = (table.model == TINY[1]) & (table.num_ops == bucket) & (table.kind == "other")
            table.loc[chosen, "n"] += more
        write_csv(tmp_path / folder / "errors.csv", table)
    status, out, err = check(tmp_path, capsys, "tiny")
    assert (status == 0) is agrees, err
    if agrees:
        assert "tables behind the rows agree: code.csv, errors.csv" in out
    else:
        where = f"model {TINY[1]}, num_ops {bucket}, kind other"
        assert f"errors.csv: 1 of 40 rows differ, first: {where}" in err


def test_a_cell_that_is_lacking_is_a_mismatch(tmp_path, capsys):
    write(tmp_path / "reference", TINY)
    scores = write(tmp_path / "results", TINY) / "scores.csv"
    table = read_csv(scores)
    write_csv(scores, table[(table.model != TINY[0]) | (table.num_ops != "4")])
    status, out, err = check(tmp_path, capsys, "tiny")
    assert status == 1
    assert f"{TINY[0]} at 4" in err
    assert line(out, TINY[0], "4")[-1] == "differs"


@pytest.mark.parametrize(("answers", "agrees"), [(40, True), (41, False), (-41, False)])  # 5 points of 800
def test_the_paper_allows_another_test_set_and_models_not_run(tmp_path, capsys, answers, agrees):
    write(tmp_path / "reference", PAPER, scores="table6.csv")
    write(tmp_path / "results", PAPER[:2], all=answers)
    status, out, err = check(tmp_path, capsys, "paper")
    assert (status == 0) is agrees, err
    assert f"models not run (27): {PAPER[2]}, " in out
    assert line(out, RANDOM, "overall")[-1] == "not compared"
    if agrees:
        assert "check: all agrees; 27 of 29 models were not run" in out


# --- rows that were not run ---


@pytest.mark.parametrize("profile", ["tiny", "paper"])
def test_rows_not_run_are_listed_with_the_reason(tmp_path, capsys, profile):
    models = TINY if profile == "tiny" else PAPER
    write(tmp_path / "reference", models, scores="scores.csv" if profile == "tiny" else "table6.csv")
    write(tmp_path / "results", models[:1])
    reasons = ["", "weights not found"] + ["gated"] * (len(models) - 2)
    write_csv(tmp_path / "results/runs.csv", pd.DataFrame({"model": models, "reason": reasons}))
    status, out, err = check(tmp_path, capsys, profile)
    assert (status, err) == (0, "")
    assert models[1] not in out.partition("models not run")[0]  # no row without a number
    assert f"models not run (1): weights not found: {models[1]}\n" in out
    assert f"models not run ({len(models) - 2}): gated: {models[2]}, {models[3]}" in out
    assert re.search(r"claims not judged \(1\), for they are about .*: third\n", out)
    assert out.splitlines()[-1] == f"check: all agrees; {len(models) - 1} of {len(models)} models were not run"


@pytest.mark.parametrize("profile", ["tiny", "paper"])
def test_models_that_were_not_chosen_are_not_those_that_were_not_run(tmp_path, capsys, profile):
    models = TINY if profile == "tiny" else PAPER
    write(tmp_path / "reference", models, scores="scores.csv" if profile == "tiny" else "table6.csv")
    write(tmp_path / "results", models[:1])
    states = ["complete", "not run"] + [NOT_CHOSEN] * (len(models) - 2)
    runs = pd.DataFrame({"model": models, "status": states, "reason": ""})
    write_csv(tmp_path / "results/runs.csv", runs)
    status, out, err = check(tmp_path, capsys, profile)
    assert (status, err) == (0, "")
    assert f"models not run (1): {models[1]}\n" in out
    assert f"models not chosen (MODELS names others): {len(models) - 2}\n" in out
    assert out.endswith("check: all agrees; 1 of 2 models were not run\n")


def test_claims_of_the_paper_and_of_the_miniatures_are_two_kinds(tmp_path, capsys):
    for folder in ("reference", "results"):
        write(tmp_path / folder, TINY)
        claim(tmp_path / folder, {"tiny-math": NOT_RUN, "math": NOT_RUN, "tiny-code": HOLDS})
    _, out, _ = check(tmp_path, capsys, "tiny")
    assert "claims not judged (1), for they are about models without results: tiny-math\n" in out
    assert "claims not judged (1), for they are about the models of Table 6: math\n" in out


def test_many_claims_without_a_verdict_are_one_line(tmp_path, capsys):
    write(tmp_path / "reference", PAPER, scores="table6.csv")
    write(tmp_path / "results", PAPER)
    claim(tmp_path / "results", {f"claim-{number}": NOT_RUN for number in range(38)})
    _, out, _ = check(tmp_path, capsys, "paper")
    assert sum("claim-" in text for text in out.splitlines()) == 1
    assert "claim-7 and 30 more" in out
    assert "not run" not in out  # models are run, claims are judged


def test_what_was_not_run_is_not_called_reproduced(tmp_path, capsys):
    write(tmp_path / "reference", PAPER)
    write(tmp_path / "results", PAPER)
    _, out, _ = check(tmp_path, capsys, "reported")
    assert "recomputed" in out
    assert "reproduced" not in out


def test_nothing_run_is_no_agreement(tmp_path, capsys):
    write(tmp_path / "reference", PAPER, scores="table6.csv")
    write(tmp_path / "results", PAPER)
    (tmp_path / "results/scores.csv").write_text("model,num_ops,n,correct,accuracy,ci_low,ci_high\n")
    status, out, err = check(tmp_path, capsys, "paper")
    assert status == 3
    assert "none of 29 models was run" in err
    assert "models not run (29): " in out


# --- claims ---


@pytest.mark.parametrize(("expected", "found"), [(HOLDS, FAILS), (FAILS, HOLDS)])
@pytest.mark.parametrize("profile", ["tiny", "paper", "reported"])
def test_a_claim_that_flips_fails_the_check(tmp_path, capsys, profile, expected, found):
    """For tiny also where the scores differ as they may: a verdict is expected all the same."""
    models = TINY if profile == "tiny" else PAPER
    write(tmp_path / "reference", models, scores="table6.csv" if profile == "paper" else "scores.csv")
    write(tmp_path / "results", models, **({"k3": 1} if profile == "tiny" else {}))
    for folder, verdict in (("reference", expected), ("results", found)):
        claim(tmp_path / folder, VERDICTS | {"second": verdict}, VERDICTS | {"second": expected})
    status, out, err = check(tmp_path, capsys, profile)
    assert status == 1
    assert line(out, "second")[-1] == f"FLIPPED: {found}, expected: {expected}"
    assert f"claim second flipped: {found}, expected: {expected}" in err
    assert err.endswith("check: FAILED: 1 claim flipped\n")
    assert "; 1 flipped" in out
    assert "claim first" not in err


@pytest.mark.parametrize(("expected", "found"), [(HOLDS, NOT_RUN), (NOT_RUN, HOLDS), (NOT_RUN, NOT_RUN)])
def test_a_claim_that_cannot_be_judged_flips_nothing_and_is_listed(tmp_path, capsys, expected, found):
    write(tmp_path / "reference", PAPER, scores="table6.csv")
    write(tmp_path / "results", PAPER)
    claim(tmp_path / "results", {"only": found}, {"only": expected})
    status, out, err = check(tmp_path, capsys, "paper")
    assert (status, err) == (0, "")
    assert ("claims not judged (1), for they are about models without results: only" in out) is (found == NOT_RUN)
    assert ("(nothing to compare with)" in out) is ((expected, found) == (NOT_RUN, HOLDS))
    assert "0 flipped" in out


# --- a reference of some rows ---

SMALL = ["SmolLM2-135M", "Qwen2.5-0.5B"]
RUNS = "model,status,reason\nSmolLM2-135M,complete,\nQwen2.5-0.5B,complete,\ngemma-3-270m,not run,no weights\n"


def small_reference(tmp_path, capsys, *models: str) -> None:
    """Results of some models of the profile small, made its reference."""
    folder = write(tmp_path / "results", list(models))
    (folder / "runs.csv").write_text(RUNS)
    status, _, err = check(tmp_path, capsys, "small", "--write")
    assert (status, err) == (0, "")


def test_the_small_profile_is_compared_where_its_reference_has_rows(tmp_path, capsys):
    small_reference(tmp_path, capsys, *SMALL)
    status, out, err = check(tmp_path, capsys, "small")
    assert (status, err) == (0, "")
    assert line(out, "SmolLM2-135M", "overall")[-1] == "agrees"
    assert "tables behind the rows agree: code.csv, claims.csv (4 lines)" in out
    assert out.endswith("check: all agrees; 22 of 24 models were not run\n")
    runs = (tmp_path / "reference/runs.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in runs] == ["model", *SMALL]


def test_a_small_row_that_differs_fails(tmp_path, capsys):
    small_reference(tmp_path, capsys, *SMALL)
    write(tmp_path / "results", SMALL, k3=3)
    status, _, err = check(tmp_path, capsys, "small")
    assert (status, "SmolLM2-135M at 3: +3.00 points" in err) == (1, True)


def test_a_small_row_that_the_reference_lacks_is_shown_and_not_compared(tmp_path, capsys):
    small_reference(tmp_path, capsys, SMALL[0])
    folder = write(tmp_path / "results", SMALL)
    pair = {"base": "Qwen2.5-0.5B", "treated": "Qwen2.5-Coder-0.5B", "num_ops": "all", "difference": 7.0}
    table = pd.concat([read_csv(folder / "code.csv"), pd.DataFrame([pair])])
    write_csv(folder / "code.csv", table)
    status, out, err = check(tmp_path, capsys, "small")
    assert (status, err) == (0, "")
    assert line(out, "Qwen2.5-0.5B", "overall")[-1] == "not compared"
    assert out.endswith("22 of 24 models were not run; 1 that were run are not in the reference\n")


def test_rows_that_are_all_strangers_to_the_reference_are_no_agreement(tmp_path, capsys):
    small_reference(tmp_path, capsys, SMALL[0])
    write(tmp_path / "results", SMALL[1:])
    status, _, err = check(tmp_path, capsys, "small")
    assert status == 3
    assert err == "check: Qwen2.5-0.5B: not in the reference, so nothing could be compared\n"


def test_a_small_reference_needs_a_row(tmp_path, capsys):
    write(tmp_path / "results", [])
    status, _, err = check(tmp_path, capsys, "small", "--write")
    assert (status, "no model was run; a reference needs one at least" in err) == (2, True)

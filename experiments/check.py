"""Compare results with the committed reference, number by number. Exit status 1 on a mismatch, 3 where no model was run.

    python experiments/check.py --profile tiny --results data/results/tiny --reference data/reference/tiny
    python experiments/check.py --profile paper --results data/results/paper --reference data/reported
    python experiments/check.py --profile tiny --results data/results/tiny --reference data/reference/tiny --write

What has to agree depends on what can:
- reported: every number, to the last digit; there is nothing in it that could differ.
- tiny: decoding in float32 on another processor may turn a near tie, so that a cell may differ by 1 % of its queries,
  two at least. Where a cell does, what follows from it (differences, p values, verdicts) is shown and not judged.
- paper: test set (the paper's draw is not published) and number formats differ; an overall accuracy may by 5 points.
"""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from boxes.arguments import argument_parser
from boxes.models import MODELS, PROFILES
from boxes.records import UserError, command, read_csv, write_text
from boxes.scoring import RANDOM, SCORE_COLUMNS

TOLERATED_SHARE = 0.01  # of a cell's queries, tiny
TOLERATED_QUERIES = 2  # at least, tiny
TOLERATED_POINTS = 5.0  # of an overall accuracy, paper
ROUNDING = 1e-5  # CSVs carry six digits after the point
DECODED = ("prompt_format", "constrained")  # from decodings of their own: held to the tolerance of a cell
FILES = ("scores", "random", "code", "math", "alignment", *DECODED, "claims")
KEYS = ("model", "base", "treated", "decoding", "format", "id", "num_ops")


@command
def main() -> int:
    arguments = parse_arguments()
    if arguments.write:
        return write_reference(arguments.results, arguments.reference)
    same, bad, run, models = compare_scores(arguments.profile, arguments.results, arguments.reference)
    same |= arguments.profile == "reported"
    if arguments.profile != "paper":
        for name in FILES[1:]:
            bad += compare_file(name, arguments.results, arguments.reference, judged=same or name in DECODED)
    print_claims(arguments.results / "claims.csv")
    if bad:
        print("check: FAILED: " + "; ".join(bad), file=sys.stderr)
        return 1
    if not run:
        print(f"check: none of {models} models was run, so nothing could be compared", file=sys.stderr)
        return 3
    print("check: all agrees" + (f"; {models - run} of {models} models were not run" if run < models else ""))
    return 0


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--results", required=True, type=Path, help="folder of the CSVs to check")
    parser.add_argument("--reference", required=True, type=Path, help="folder of the reference; paper: of table6.csv")
    parser.add_argument("--write", action="store_true", help="make the results the reference")
    return parser.parse_args()


def write_reference(results: Path, reference: Path) -> int:
    """Copy every result but the answers and the circumstances of the runs."""
    added = [spec.name for spec in MODELS.values() if spec.extra]
    if added:
        raise UserError(
            f"{added[0]} was added on this machine; a reference is made without (experiments/add_model.py --remove NAME)"
        )
    for name in FILES:
        if (results / f"{name}.csv").exists():
            write_text(reference / f"{name}.csv", (results / f"{name}.csv").read_text(encoding="utf-8"))
    print(f"{reference}: written")
    return 0


def read_own(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A CSV without the rows of models that were added on this machine: no reference knows them."""
    frame = read_csv(path, columns)
    extra = [spec.name for spec in MODELS.values() if spec.extra]
    keys = [key for key in ("model", "base", "treated") if key in frame.columns]
    return frame[~frame[keys].isin(extra).any(axis=1)]


def tolerance(profile: str, num_ops: str, n: int) -> float:
    """By how many points a cell of n queries may differ; infinite where nothing is asked."""
    if profile == "reported" or n == 0:
        return ROUNDING
    if profile == "tiny":
        return 100 * max(TOLERATED_QUERIES, TOLERATED_SHARE * n) / n + ROUNDING
    return TOLERATED_POINTS if num_ops == "all" else float("inf")


def compare_scores(profile: str, results: Path, reference: Path) -> tuple[bool, list[str], int, int]:
    """Print reference | reproduced | difference. Returns whether all is the same, what differs too much, and how many
    of how many models of the reference were run."""
    ours = read_own(results / "scores.csv", SCORE_COLUMNS)
    theirs = read_csv(
        reference / ("table6.csv" if profile == "paper" else "scores.csv"), ("model", "num_ops", "accuracy")
    )
    table = theirs.merge(ours, on=["model", "num_ops"], how="outer", suffixes=("_reference", ""))
    table["difference"] = (table.accuracy - table.accuracy_reference).round(6) + 0.0  # + 0.0: no minus zero
    shown, bad = [], []
    for model in dict.fromkeys([*theirs.model, *ours.model]):
        cells = table[table.model == model].set_index("num_ops")
        if cells.accuracy.isna().all():
            shown.append([model, cells.accuracy_reference["all"], "not run"])
            continue
        allowed = [tolerance(profile, str(key), int(n)) for key, n in cells.n.items()]
        wrong = (cells.difference.abs() > allowed) | (cells.accuracy.isna() != cells.accuracy_reference.isna())
        if profile == "paper" and model == RANDOM:
            wrong[:] = False  # its cells are compared in random.csv
        bad += [f"{model}, num_ops {key}: {cells.difference[key]:+.2f} points" for key in cells.index[wrong]]
        row = [model]
        for key in ("all", "1+"):
            row += [cells.accuracy_reference.get(key), cells.accuracy.get(key), round(cells.difference[key], 2) + 0.0]
        shown.append(row)
    heads = ["reported" if profile == "paper" else "reference", "reproduced", "difference"]
    print(tabulate(shown, ["model", *(f"{key}\n{head}" for key in ("overall", "1+ ops") for head in heads)],
                   floatfmt=".2f", missingval="–"))  # fmt: skip
    models = set(theirs.model) - {RANDOM}
    run = models & set(ours.model)
    return bool((table.difference.abs() <= ROUNDING).all()), bad, len(run), len(models)


def compare_file(name: str, results: Path, reference: Path, judged: bool) -> list[str]:
    """Print how one CSV compares with its reference, cell by cell. Returns the mismatch, where it is judged."""
    if not (reference / f"{name}.csv").exists():
        return []
    ours, theirs = read_own(results / f"{name}.csv"), read_csv(reference / f"{name}.csv")
    if list(ours.columns) != list(theirs.columns):
        raise UserError(f"{reference / name}.csv: other columns than {results / name}.csv; write the reference again")
    keys = [key for key in KEYS if key in ours.columns]
    both = theirs.merge(ours, on=keys, how="outer", suffixes=("_reference", ""))
    different = pd.Series(False, index=both.index)
    for column in ["accuracy"] if name in DECODED else ours.columns.difference(keys):
        old, new = both[f"{column}_reference"], both[column]
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            allowed = [tolerance("tiny", "", n) for n in both.n.fillna(0)] if name in DECODED else ROUNDING
            different |= ~((old - new).abs() <= allowed) & ~(old.isna() & new.isna())
        else:
            different |= old.astype(str) != new.astype(str)
    if not different.any():
        print(f"{name}.csv: {len(both)} rows agree with the reference")
        return []
    first = both[different].iloc[0]
    where = ", ".join(f"{key} {first[key]}" for key in keys)
    message = f"{name}.csv: {different.sum()} of {len(both)} rows differ from the reference, first: {where}"
    print(message if judged else f"{message} (not judged: the scores behind it differ, too)")
    return [message] if judged else []


def print_claims(path: Path) -> None:
    """Count the verdicts."""
    verdicts = read_csv(path, ("id", "verdict")).verdict.value_counts()
    print("claims.csv: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))


if __name__ == "__main__":
    main()

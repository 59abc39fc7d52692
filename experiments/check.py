"""Compare results with what is expected, row by row and claim by claim: reported, reproduced, difference, interval, verdict.

    python experiments/check.py --profile tiny --results data/results/tiny --reference data/reference/tiny
    python experiments/check.py --profile paper --results data/results/paper --reference data/reported
    python experiments/check.py --profile tiny --results data/results/tiny --reference data/reference/tiny --write

Exit status: 0 all that was run agrees (what was not run is listed); 1 a row differs by more than is tolerated, or a claim
flips; 2 something cannot be read, or the reference is another profile's or another test set's; 3 no model was run.

What has to agree depends on what can:
- reported: every number, to the last digit; there is nothing in it that could differ.
- tiny: decoding in float32 on another processor may turn a near tie, so that a cell may differ by 1 % of its queries,
  two at least, and so may a kind of error. Where a cell does, what follows from it (differences, p values) is shown and
  not judged.
- paper: overall and 1+ may differ by 5 points. The test set is another draw of the same size (the paper's is not
  published), which alone gives an interval of 2 points to either side were all queries independent; the seven of a
  description are not, and number formats differ.

A claim flips where its verdict is another than the expected one: on the paper's numbers, for tiny in the reference. One that
is "not run" on either side is listed and flips nothing. The interval of a row is that of its difference (Newcombe's, from the
counts), the interval of a claim that of its reproduced number.
"""

import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.arguments import argument_parser
from boxes.claims import FAILS, HOLDS, NOT_RUN, counted
from boxes.models import MODELS, PROFILES, models_of
from boxes.records import UserError, command, read_csv, write_text
from boxes.scoring import NUM_OPS, RANDOM, SCORE_COLUMNS
from boxes.statistics import newcombe
from experiments.reference_tables import FILES, ROUNDING, SHOWN, compare_table, read_own, read_tables, tolerance

CLAIM_COLUMNS = ("id", "verdict", "verdict_reported", "measure", "number", "low", "high", "number_reported")
FLIPPED = {(HOLDS, FAILS), (FAILS, HOLDS)}


@command
def main() -> int:
    arguments = parse_arguments()
    profile, results, reference = arguments.profile, arguments.results, arguments.reference
    if arguments.write:
        return write_reference(profile, results, reference)
    if not reference.is_dir():
        raise UserError(f"{reference}: no such folder; profile {profile} has no reference to compare with")
    cells, claims = read_cells(profile, results, reference), read_claims(profile, results, reference)
    tables = {} if profile == "paper" else read_tables(results, reference)
    models = [spec.name for spec in models_of(profile, extra=False)]
    run = [model for model in models if not cells[cells.model == model].accuracy.isna().all()]
    bad = compare_rows(cells, "reference" if profile == "tiny" else "reported")
    same = bool((cells.difference.abs() <= ROUNDING).all())  # and all there
    print()
    sizes = {cell.num_ops: int(cell.n_reference) for cell in cells[cells.model == RANDOM].itertuples()}
    for name, both in tables.items():
        bad += compare_table(name, both, same or profile == "reported", run, sizes)
    bad += compare_claims(claims, "reference" if profile == "tiny" else "reported")
    list_not_run(results, [model for model in models if model not in run], claims)
    if bad:
        print("check: FAILED: " + "; ".join(bad), file=sys.stderr)
        return 1
    if not run:
        print(f"check: none of {len(models)} models was run, so nothing could be compared", file=sys.stderr)
        return 3
    missing = len(models) - len(run)
    print("check: all agrees" + (f"; {missing} of {len(models)} models were not run" if missing else ""))
    return 0


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--profile", required=True, choices=PROFILES)
    parser.add_argument("--results", required=True, type=Path, help="folder of the CSVs to check")
    parser.add_argument("--reference", required=True, type=Path, help="folder of the reference; paper: of table6.csv")
    parser.add_argument("--write", action="store_true", help="make the results the reference")
    return parser.parse_args()


def write_reference(profile: str, results: Path, reference: Path) -> int:
    """Copy every result but the answers and the circumstances of the runs."""
    if profile == "paper":
        raise UserError(f"{reference}: the reference of profile paper is the paper; it is not written from results")
    added = [spec.name for spec in MODELS.values() if spec.extra]
    if added:
        raise UserError(
            f"{added[0]} was added on this machine; a reference is made without (experiments/add_model.py --remove NAME)"
        )
    missing = {spec.name for spec in models_of(profile, extra=False)} - set(
        read_csv(results / "scores.csv", SCORE_COLUMNS).model
    )
    if missing:
        raise UserError(f"{results / 'scores.csv'}: {min(missing)} was not run; a reference needs all models")
    for name in FILES:
        if (results / f"{name}.csv").exists():
            write_text(reference / f"{name}.csv", (results / f"{name}.csv").read_text(encoding="utf-8"))
    print(f"{reference}: written")
    return 0


# --- rows ---


def read_cells(profile: str, results: Path, reference: Path) -> pd.DataFrame:
    """A line for every model and bucket of the profile: the reference's numbers (.._reference), ours, their difference, and
    whether it is too large (`wrong`). UserError where the two cannot be compared."""
    theirs_path = reference / ("table6.csv" if profile == "paper" else "scores.csv")
    theirs, ours = read_csv(theirs_path, SCORE_COLUMNS[:5]), read_own(results / "scores.csv", SCORE_COLUMNS[:5])
    names = [RANDOM, *(spec.name for spec in models_of(profile, extra=False))]
    wanted = pd.MultiIndex.from_product([names, NUM_OPS], names=["model", "num_ops"])
    for path, table, mend in ((theirs_path, theirs, f"give the reference of profile {profile}"),
                              (results / "scores.csv", ours, "score again")):  # fmt: skip
        cells = pd.MultiIndex.from_frame(table[["model", "num_ops"]])
        if cells.has_duplicates:
            raise UserError(f"{path}: {' '.join(cells[cells.duplicated()][0])} stands twice; {mend}")
        if len(strangers := cells.difference(wanted)):
            raise UserError(f"{path}: {' '.join(strangers[0])} is no cell of profile {profile}; {mend}")
    if len(lacking := wanted.difference(pd.MultiIndex.from_frame(theirs[["model", "num_ops"]]))):
        raise UserError(f"{theirs_path}: {' '.join(lacking[0])} is lacking; give the reference of profile {profile}")
    both = pd.DataFrame(index=wanted).reset_index()
    both = both.merge(theirs, how="left").merge(ours, on=["model", "num_ops"], how="left", suffixes=("_reference", ""))
    other = both[both.n.notna() & (both.n != both.n_reference)]
    if profile != "paper" and len(other):
        raise UserError(
            f"{results / 'scores.csv'}: another test set than the reference's, {int(other.n.iloc[0])} queries at "
            f"{other.num_ops.iloc[0]} and not {int(other.n_reference.iloc[0])}; check the data of SEED=27"
        )
    both["difference"] = (both.accuracy - both.accuracy_reference).round(6) + 0.0  # + 0.0: no minus zero
    allowed = [tolerance(profile, row.num_ops, row.n_reference) for row in both.itertuples()]
    run = both.model.map(both.groupby("model").accuracy.count() > 0)
    uneven = both.accuracy.isna() != both.accuracy_reference.isna()
    both["wrong"] = run & ((both.difference.abs() > allowed) | uneven)
    both["judged"] = (profile != "paper") | (both.model != RANDOM)  # its cells are compared in random.csv
    both["wrong"] &= both.judged
    return both


def compare_rows(cells: pd.DataFrame, expected: str) -> list[str]:
    """Print a line for every row and bucket of SHOWN, and for what else differs too much. Returns what does."""
    lines = []
    run = set(cells.model[cells.accuracy.notna()])
    for cell in cells[cells.num_ops.isin(SHOWN) | cells.wrong].itertuples():
        verdict = "differs" if cell.wrong else "agrees" if cell.judged else "not judged"
        lines.append([
            cell.model, SHOWN.get(cell.num_ops, cell.num_ops), two(cell.accuracy_reference), two(cell.accuracy),
            signed(cell.difference), difference_interval(cell), verdict if cell.model in run else NOT_RUN,
        ])  # fmt: skip
    show(lines, ["row", "bucket", expected, "reproduced", "difference", "95 % interval", "verdict"])
    return [
        f"{cell.model} at {cell.num_ops}: {cell.difference:+.2f} points" for cell in cells[cells.wrong].itertuples()
    ]


def difference_interval(cell) -> str:
    """Reproduced minus reported, from the counts; the random row has an expectation and no counts."""
    counts = (cell.correct_reference, cell.n_reference, cell.correct, cell.n)
    if cell.model == RANDOM or any(map(pd.isna, counts)):
        return "–"
    difference = newcombe(*map(int, counts))
    return interval(difference.low, difference.high)


# --- claims ---


def read_claims(profile: str, results: Path, reference: Path) -> pd.DataFrame:
    """claims.csv with `expected` (a verdict) and `expected_number` beside each claim."""
    ours = _claims(results / "claims.csv")
    if profile == "paper":
        return ours.assign(expected=ours.verdict_reported, expected_number=ours.number_reported)
    theirs = _claims(reference / "claims.csv")
    if set(ours.id) != set(theirs.id):
        odd = min(set(ours.id) ^ set(theirs.id))
        raise UserError(
            f"{reference / 'claims.csv'}: {odd} is not in both, it and the results; write the reference again"
        )
    theirs = theirs[["id", "verdict", "number"]].rename(columns={"verdict": "expected", "number": "expected_number"})
    return ours.merge(theirs, on="id", validate="one_to_one")


def _claims(path: Path) -> pd.DataFrame:
    table = read_csv(path, CLAIM_COLUMNS)
    for number, row in enumerate(table.itertuples(), 2):
        for verdict in (row.verdict, row.verdict_reported):
            if verdict not in (HOLDS, FAILS, NOT_RUN):
                raise UserError(f"{path}: line {number}: verdict {verdict!r} is none of {HOLDS}, {FAILS}, {NOT_RUN}")
    if table.id.duplicated().any():
        raise UserError(f"{path}: {table.id[table.id.duplicated()].iloc[0]} stands twice; judge the claims again")
    return table


def compare_claims(claims: pd.DataFrame, expected: str) -> list[str]:
    """Print a line for every claim. Returns those that flip."""
    print()
    lines, flipped = [], []
    for claim in claims.itertuples():
        verdict = claim.verdict
        if (claim.expected, claim.verdict) in FLIPPED:
            verdict = f"FLIPPED: {claim.verdict}, expected: {claim.expected}"
            flipped.append(f"claim {claim.id} flipped: {claim.verdict}, expected: {claim.expected}")
        elif claim.expected == NOT_RUN != claim.verdict:
            verdict += " (nothing to compare with)"
        gap = claim.number - claim.expected_number
        lines.append([claim.id, claim.measure, two(claim.expected_number), two(claim.number), signed(gap),
                      interval(claim.low, claim.high), verdict])  # fmt: skip
    show(lines, ["claim", "what decides", expected, "reproduced", "difference", "95 % interval", "verdict"])
    print(f"\nclaims: {counted(claims.verdict)}; {len(flipped)} flipped")
    return flipped


def list_not_run(results: Path, models: list[str], claims: pd.DataFrame) -> None:
    """Name the rows that were not run, with the reason where it is known, and the claims without a verdict."""
    path = results / "runs.csv"
    reasons = {}
    if path.exists():
        known = read_csv(path, ("model", "reason")).dropna(subset="reason")
        reasons = dict(zip(known.model, known.reason, strict=True))
    if models:
        print(f"\nrows not run ({len(models)}):")
        print("\n".join(f"  {model}: {reasons[model]}" if model in reasons else f"  {model}" for model in models))
    judged = claims.verdict != NOT_RUN
    unexpected = judged & (claims.expected == NOT_RUN)
    for what, ids in (("not run", claims.id[~judged]), ("without an expected verdict", claims.id[unexpected])):
        if len(ids):
            print(f"\nclaims {what} ({len(ids)}): {', '.join(ids)}")
    print()


# --- how numbers read ---


def two(value: float) -> str:
    """Two digits after the point, an en dash for nothing."""
    return "–" if pd.isna(value) else f"{value:.2f}"


def signed(value: float) -> str:
    """The same with a sign."""
    return "–" if pd.isna(value) else f"{round(value, 2) + 0.0:+.2f}"


def interval(low: float, high: float) -> str:
    """Both ends, or an en dash."""
    return "–" if pd.isna(low) or pd.isna(high) else f"[{low:+.2f}, {high:+.2f}]"


def show(lines: list[list[str]], heads: list[str]) -> None:
    """A table whose cells are text: two columns of names, four of numbers, the verdict."""
    print(tabulate(lines, heads, disable_numparse=True, colalign=("left", "left", *["right"] * 4, "left")))


if __name__ == "__main__":
    main()

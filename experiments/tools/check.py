"""Compare results with what is expected, row by row and claim by claim, and end in one line of
verdict.

    python experiments/tools/check.py --profile tiny --results data/results/tiny \\
        --reference data/reference/tiny
    python experiments/tools/check.py --profile paper --results data/results/paper \\
        --reference data/reported
    python experiments/tools/check.py --profile tiny --results data/results/tiny \\
        --reference data/reference/tiny --write

Exit status: 0 all that was run agrees; 1 a row differs by more than is tolerated, or a claim flips;
2 something cannot be read, or the reference is another profile's or another test set's; 3 no model
was run.

What has to agree, and by how much it may differ, stands in experiments/tools/verdict.py. The
interval of a row is that of its difference (Newcombe's, from the counts), the interval of a claim
that of our number. Of models, "not run" are those that were asked for and have no scores; of
claims, "not judged" are those whose numbers are not there.
"""

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout comes first

from boxes.claims.judging import NOT_RUN, counted
from boxes.commandline import add_shared, argument_parser, command
from boxes.models.table import PROFILES, models_of, read_added
from boxes.records import UserError, write_text
from boxes.score_tables import RANDOM, read_score_table
from boxes.statistics import newcombe
from experiments.tools.reference_tables import FILES, SHOWN, TableVerdict
from experiments.tools.verdict import Verdict, compare

LISTED = 8  # names in a line; of more, the number is said


@command
def main() -> int:
    arguments = parse_arguments()
    profile, results, reference = arguments.profile, arguments.results, arguments.reference
    if arguments.write:
        return write_reference(profile, results, reference)
    found = compare(profile, results, reference)
    print(f"{results} beside {reference}. 1+: boxes that at least one operation changed.\n")
    show_rows(found)
    show_models(found)
    show_tables(found)
    show_claims(found)
    sys.stdout.flush()
    return conclude(found)


def conclude(found: Verdict) -> int:
    """What does not agree, a line each; in the last the verdict. Returns the exit status."""
    if found.faults:
        print("\n".join([*found.faults, f"check: FAILED: {found.summary}"]), file=sys.stderr)
        return 1
    if not found.compared:
        nothing = f"none of {found.chosen} models was run"
        if found.run:
            nothing = f"{some(found.run)}: not in the reference"
        print(f"check: {nothing}, so nothing could be compared", file=sys.stderr)
        return 3
    verdict = "check: all agrees"
    if found.not_run:
        verdict += f"; {len(found.not_run)} of {found.chosen} models were not run"
    strangers = len(found.run) - len(found.compared)
    if strangers:
        verdict += f"; {strangers} that were run are not in the reference"
    print(verdict)
    return 0


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    add_shared(parser, PROFILES, "results")
    reference = "folder of the reference; paper: of table6.csv"
    parser.add_argument("--reference", required=True, type=Path, help=reference)
    parser.add_argument("--write", action="store_true", help="make the results the reference")
    return parser.parse_args()


def write_reference(profile: str, results: Path, reference: Path) -> int:
    """Copy every result but the answers and the circumstances of the runs."""
    if profile == "paper":
        why = "the reference of profile paper is the paper"
        raise UserError(f"{reference}: {why}; it is not written from results")
    added = read_added()
    if added:
        mend = "a reference is made without (experiments/tools/add_model.py --remove NAME)"
        raise UserError(f"{added[0].name} was added on this machine; {mend}")
    scores = results / "scores.csv"
    run = set(read_score_table(scores).model)
    names = {spec.name for spec in models_of(profile, extra=False)}
    if profile == "small" and not run & names:
        raise UserError(f"{scores}: no model was run; a reference needs one at least")
    if profile != "small" and names - run:
        wrong = f"{min(names - run)} was not run; a reference needs all models"
        raise UserError(f"{scores}: {wrong}")
    for name in FILES:
        path = results / f"{name}.csv"
        if path.exists():
            write_text(reference / path.name, path.read_text(encoding="utf-8"))
    if profile == "small":  # what was run on what: of pretrained models, readers ask
        head, *lines = (results / "runs.csv").read_text(encoding="utf-8").splitlines(keepends=True)
        lines = [line for line in lines if line.split(",")[0] in run]
        write_text(reference / "runs.csv", head + "".join(lines))
    print(f"{reference}: written")
    return 0


# --- rows ---


def show_rows(found: Verdict) -> None:
    """A line for every row that was run and bucket of SHOWN, and for what else differs too much."""
    lines = []
    rows = found.cells[found.cells.model.isin([RANDOM, *found.run])]
    for cell in rows[rows.num_ops.isin(SHOWN) | rows.wrong].itertuples():
        verdict = "not compared"
        if cell.wrong:
            verdict = "differs"
        elif cell.judged:
            verdict = "agrees"
        bucket = SHOWN.get(cell.num_ops, cell.num_ops)
        numbers = (two(cell.accuracy_reference), two(cell.accuracy), signed(cell.difference))
        lines.append([cell.model, bucket, *numbers, difference_interval(cell), verdict])
    show(lines, ["row", "bucket"], found)


def difference_interval(cell) -> str:
    """Reproduced minus reported, from the counts, of which the random row has none."""
    counts = (cell.correct_reference, cell.n_reference, cell.correct, cell.n)
    if cell.model == RANDOM or any(map(pd.isna, counts)):
        return "–"
    difference = newcombe(*map(int, counts))
    return interval(difference.low, difference.high)


def show_models(found: Verdict) -> None:
    """A line for every reason why models have no rows."""
    reasons: dict[str, list[str]] = {}
    for model in found.not_run:
        reasons.setdefault(found.reasons.get(model, ""), []).append(model)
    lines = []
    for reason, models in reasons.items():
        why = ""
        if reason:
            why = f": {reason}"
        lines.append(f"models not run ({len(models)}){why}: {some(models)}")
    if found.left_out:
        lines.append(f"models not chosen (MODELS names others): {len(found.left_out)}")
    if lines:
        print("\n" + "\n".join(lines))


def show_tables(found: Verdict) -> None:
    """A line for the tables behind the rows that agree, one for each that differs, one for others."""
    agree = [table for table in found.tables if not table.different]
    others = [table for table in found.tables if table.different and not table.judged]
    lines = [table.message for table in found.tables if table.different and table.judged]
    if agree:
        rows = sum(table.rows for table in agree)
        lines.insert(0, f"tables behind the rows agree: {named(agree)} ({rows} lines)")
    if others:
        why = "for the scores behind them differ or are not all there"
        lines.append(f"tables not compared, {why}: {named(others)}")
    if lines:
        print("\n" + "\n".join(lines))


def named(tables: Sequence[TableVerdict]) -> str:
    """The files of some tables."""
    return ", ".join(f"{table.name}.csv" for table in tables)


# --- claims ---


def show_claims(found: Verdict) -> None:
    """A line for every claim that was judged, one for the others, and how many there are of each."""
    lines, flipped = [], set(found.flipped.id)
    for claim in found.judged.itertuples():
        verdict = claim.verdict
        if claim.id in flipped:
            verdict = f"FLIPPED: {claim.verdict}, expected: {claim.expected}"
        elif claim.expected == NOT_RUN:
            verdict += " (nothing to compare with)"
        gap = claim.number - claim.expected_number
        numbers = (two(claim.expected_number), two(claim.number), signed(gap))
        ends = interval(claim.low, claim.high)
        lines.append([claim.id, claim.measure, *numbers, ends, verdict])
    if lines:
        print()
        show(lines, ["claim", "what decides"], found)
    print(f"\nclaims: {counted(found.claims.verdict)}; {len(flipped)} flipped")
    unjudged = list(found.claims.id[found.claims.verdict == NOT_RUN])
    own = [name for name in unjudged if name.startswith(f"{found.profile}-")]
    papers = [name for name in unjudged if name not in own]
    for ids, why in ((own, "they are about models without results"), (papers, WHY[found.profile])):
        if ids:
            print(f"claims not judged ({len(ids)}), for {why}: {some(ids)}")


# Why claims of the paper have no verdict in a profile.
WHY = {
    "reported": "the paper prints no numbers for them",
    "tiny": "they are about the models of Table 6",
    "small": "they are about the models of Table 6",
    "paper": "they are about models without results",
    "modern": "they are about the models of Table 6",
}


# --- how numbers read ---


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    first = ", ".join(names[:LISTED])
    more = len(names) - LISTED
    if more > 0:
        return f"{first} and {more} more"
    return first


def two(value: float) -> str:
    """Two digits after the point, an en dash for nothing."""
    if pd.isna(value):
        return "–"
    return f"{value:.2f}"


def signed(value: float) -> str:
    """The same with a sign."""
    if pd.isna(value):
        return "–"
    return f"{round(value, 2) + 0.0:+.2f}"


def interval(low: float, high: float) -> str:
    """Both ends, or an en dash."""
    if pd.isna(low) or pd.isna(high):
        return "–"
    return f"[{low:+.2f}, {high:+.2f}]"


def show(lines: list[list[str]], names: list[str], found: Verdict) -> None:
    """A table whose cells are text: two columns of names, four of numbers, the verdict."""
    heads = [*names, found.theirs, found.ours, "difference", "95 % interval", "verdict"]
    sides = ("left", "left", *["right"] * 4, "left")
    print(tabulate(lines, heads, disable_numparse=True, colalign=sides))


if __name__ == "__main__":
    main()

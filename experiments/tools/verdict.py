"""Whether the results of a profile are what is expected of them, for make check and for the
report's first lines.

What has to agree depends on what can:
- reported: every number, to the last digit; there is nothing in it that could differ.
- tiny: decoding in float32 on another processor may turn a near tie, so that a cell may differ by
  1 % of its queries, two at least, and so may a kind of error. Where a cell does, what follows from
  it (differences, p values) is shown and not compared.
- small: as tiny, for the rows that the reference has; other rows are shown and not compared.
- paper: overall and 1+ may differ by 5 points. The test set is another draw of the same size (the
  paper's is not published), which alone gives an interval of 2 points to either side were all
  queries independent; the seven of a description are not, and number formats differ.

A claim flips where its verdict is another than the expected one: on the paper's numbers, for tiny
and small in the reference. One that cannot be judged on either side flips nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from boxes.claims.judging import FAILS, HOLDS, NOT_RUN
from boxes.models.table import NOT_CHOSEN, WITH_REFERENCE, models_of
from boxes.records import UserError, read_csv
from boxes.score_tables import NUM_OPS, RANDOM, REPORTED, read_score_table
from experiments.tools.reference_tables import ROUNDING, TableVerdict, compare_table, own, read_tables, tolerance

CLAIM_COLUMNS = ("id", "verdict", "verdict_reported", "measure", "number", "low", "high")
CLAIM_COLUMNS += ("number_reported",)
FLIPPED = {(HOLDS, FAILS), (FAILS, HOLDS)}
REFERENCE = REPORTED.parent / "reference"


@dataclass(frozen=True)
class Verdict:
    """Results beside what is expected of them.

    cells: the lines of `read_cells`. claims: those of `read_claims`. tables: what stands behind the
    scores (not in paper). run, not_run: the models that were asked for; reasons: why one was not
    run; left_out: those that were not asked for.
    """

    profile: str
    cells: pd.DataFrame
    claims: pd.DataFrame
    tables: tuple[TableVerdict, ...]
    run: tuple[str, ...]
    not_run: tuple[str, ...]
    left_out: tuple[str, ...]
    reasons: dict[str, str]

    @property
    def ours(self) -> str:
        """What our numbers are called."""
        return "recomputed" if self.profile == "reported" else "reproduced"

    @property
    def theirs(self) -> str:
        """What the expected ones are called."""
        return "reference" if self.profile in WITH_REFERENCE else "reported"

    @property
    def compared(self) -> tuple[str, ...]:
        """The models that were run and that the reference has."""
        judged = set(self.cells.model[self.cells.judged])
        return tuple(name for name in self.run if name in judged)

    @property
    def chosen(self) -> int:
        """How many models were asked for."""
        return len(self.run) + len(self.not_run)

    @cached_property
    def wrong_cells(self) -> pd.DataFrame:
        """Cells that differ by more than is tolerated."""
        return self.cells[self.cells.wrong]

    @cached_property
    def flipped(self) -> pd.DataFrame:
        """Claims that flip."""
        pairs = zip(self.claims.expected, self.claims.verdict, strict=True)
        return self.claims[[pair in FLIPPED for pair in pairs]]

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Claims that have a verdict on our numbers."""
        return self.claims[self.claims.verdict != NOT_RUN]

    @property
    def faults(self) -> list[str]:
        """Everything that does not agree, a line each."""
        lines = []
        for cell in self.wrong_cells.itertuples():
            lines.append(f"{cell.model} at {cell.num_ops}: {cell.difference:+.2f} points")
        for table in self.tables:
            if table.different and table.judged:
                lines.append(table.message)
        for claim in self.flipped.itertuples():
            verdicts = f"{claim.verdict}, expected: {claim.expected}"
            lines.append(f"claim {claim.id} flipped: {verdicts}")
        return lines

    @property
    def summary(self) -> str:
        """How much does not agree."""
        tables = sum(bool(table.different and table.judged) for table in self.tables)
        counts = {
            ("1 row differs", "rows differ"): len(self.wrong_cells),
            ("1 table behind the rows differs", "tables behind the rows differ"): tables,
            ("1 claim flipped", "claims flipped"): len(self.flipped),
        }
        said = []
        for (one, many), n in counts.items():
            if n == 1:
                said.append(one)
            elif n:
                said.append(f"{n} {many}")
        return ", ".join(said)


def default_reference(profile: str) -> Path:
    """Where the expected numbers of a profile lie, if it has any (modern has none)."""
    if profile == "paper":
        return REPORTED
    return REFERENCE / profile


def compare(profile: str, results: Path, reference: Path) -> Verdict:
    """UserError where something cannot be read, or fits another profile or test set."""
    if not reference.is_dir():
        mend = f"profile {profile} has no reference to compare with"
        raise UserError(f"{reference}: no such folder; {mend}")
    cells = read_cells(profile, results, reference)
    claims = read_claims(profile, results, reference)
    behind = {}
    judged = set(cells.model[cells.judged])
    if profile != "paper":
        behind = read_tables(results, reference, set(cells.model) - judged)
    statuses, reasons = read_statuses(results / "runs.csv")
    names = [spec.name for spec in models_of(profile, extra=False)]
    left_out = [name for name in names if statuses.get(name) == NOT_CHOSEN]
    chosen = [name for name in names if name not in left_out]
    run = [name for name in chosen if not cells[cells.model == name].accuracy.isna().all()]
    gaps = cells.difference[cells.judged].abs()
    same = profile == "reported" or bool((gaps <= ROUNDING).all())  # all there
    random = cells[cells.model == RANDOM]
    sizes = dict(zip(random.num_ops, random.n_reference.astype(int), strict=True))
    tables = [compare_table(name, both, same, run, sizes) for name, both in behind.items()]
    not_run = tuple(name for name in chosen if name not in run)
    return Verdict(profile, cells, claims, tuple(tables), tuple(run), not_run, tuple(left_out), reasons)


def read_statuses(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """model -> status and model -> reason, from runs.csv where there is one."""
    if not path.exists():
        return {}, {}
    runs = read_csv(path, ("model", "reason"))
    known = runs.dropna(subset="reason")
    statuses = dict(zip(runs.model, runs.get("status", [None] * len(runs)), strict=True))
    return statuses, dict(zip(known.model, known.reason, strict=True))


CELL = ["model", "num_ops"]


def check_cells(path: Path, table: pd.DataFrame, wanted: pd.MultiIndex, profile: str, mend: str) -> None:
    """UserError for a cell that stands twice, or that no row of the profile has."""
    cells = pd.MultiIndex.from_frame(table[CELL])
    if cells.has_duplicates:
        raise UserError(f"{path}: {' '.join(cells[cells.duplicated()][0])} stands twice; {mend}")
    strangers = cells.difference(wanted)
    if len(strangers):
        cell = " ".join(strangers[0])
        raise UserError(f"{path}: {cell} is no cell of profile {profile}; {mend}")


def read_cells(profile: str, results: Path, reference: Path) -> pd.DataFrame:
    """A line for every model and bucket of the profile: the reference's numbers (.._reference),
    ours, their difference, and whether it is too large (`wrong`). UserError where the two cannot be
    compared."""
    theirs_path, ours_path = reference / "scores.csv", results / "scores.csv"
    if profile == "paper":
        theirs_path = reference / "table6.csv"
    theirs, ours = read_score_table(theirs_path), own(read_score_table(ours_path))
    names = [RANDOM, *(spec.name for spec in models_of(profile, extra=False))]
    wanted = pd.MultiIndex.from_product([names, NUM_OPS], names=["model", "num_ops"])
    mend = f"give the reference of profile {profile}"
    check_cells(theirs_path, theirs, wanted, profile, mend)
    check_cells(ours_path, ours, wanted, profile, "score again")
    lacking = wanted.difference(pd.MultiIndex.from_frame(theirs[CELL]))
    compared = set(names)
    if profile == "small":  # of which nobody has run all
        compared = set(theirs.model)
        lacking = lacking[lacking.get_level_values("model").isin(compared)]
    if len(lacking):
        raise UserError(f"{theirs_path}: {' '.join(lacking[0])} is lacking; {mend}")
    both = pd.DataFrame(index=wanted).reset_index().merge(theirs, how="left")
    both = both.merge(ours, on=CELL, how="left", suffixes=("_reference", ""))
    other = both[both.n.notna() & both.n_reference.notna() & (both.n != both.n_reference)]
    if profile != "paper" and len(other):
        first = other.iloc[0]
        found = f"{int(first.n)} queries at {first.num_ops} and not {int(first.n_reference)}"
        wrong = f"another test set than the reference's, {found}"
        raise UserError(f"{ours_path}: {wrong}; check the data of SEED=27")
    # + 0.0: no minus zero
    both["difference"] = (both.accuracy - both.accuracy_reference).round(6) + 0.0
    allowed = [tolerance(profile, row.num_ops, row.n_reference) for row in both.itertuples()]
    run = both.model.map(both.groupby("model").accuracy.count() > 0)
    uneven = both.accuracy.isna() != both.accuracy_reference.isna()
    both["wrong"] = run & ((both.difference.abs() > allowed) | uneven)
    # The cells of the random baseline are compared in random.csv.
    both["judged"] = (profile != "paper") | (both.model != RANDOM)
    both["judged"] &= both.model.isin(compared)
    both["wrong"] &= both.judged
    return both


def read_claims(profile: str, results: Path, reference: Path) -> pd.DataFrame:
    """claims.csv with `expected` (a verdict) and `expected_number` beside each claim."""
    ours = _claims(results / "claims.csv")
    if profile == "paper":
        return ours.assign(expected=ours.verdict_reported, expected_number=ours.number_reported)
    theirs = _claims(reference / "claims.csv")
    if set(ours.id) != set(theirs.id):
        odd = min(set(ours.id) ^ set(theirs.id))
        path = reference / "claims.csv"
        wrong = f"{odd} is not in both, it and the results"
        raise UserError(f"{path}: {wrong}; write the reference again")
    theirs = theirs[["id", "verdict", "number"]]
    theirs = theirs.rename(columns={"verdict": "expected", "number": "expected_number"})
    return ours.merge(theirs, on="id", validate="one_to_one")


def _claims(path: Path) -> pd.DataFrame:
    table = read_csv(path, CLAIM_COLUMNS)
    for number, row in enumerate(table.itertuples(), 2):
        for verdict in (row.verdict, row.verdict_reported):
            if verdict not in (HOLDS, FAILS, NOT_RUN):
                known = f"{HOLDS}, {FAILS}, {NOT_RUN}"
                raise UserError(f"{path}: line {number}: verdict {verdict!r} is none of {known}")
    twice = table.id[table.id.duplicated()]
    if len(twice):
        raise UserError(f"{path}: {twice.iloc[0]} stands twice; judge the claims again")
    return table

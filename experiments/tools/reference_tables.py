"""By how much results may differ from a reference, and the comparison of tables with it (for
experiments/tools/verdict.py)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from boxes.models.table import WITH_REFERENCE, read_added
from boxes.records import UserError, read_csv

# Of profiles that are decoded in float32 (WITH_REFERENCE):
TOLERATED_SHARE = 0.01  # of a cell's queries
TOLERATED_QUERIES = 2  # at least
TOLERATED_POINTS = 5.0  # of overall and 1+, paper
ROUNDING = 1e-5  # CSVs carry six digits after the point
# The buckets of every row; others where they differ too much.
SHOWN = {"all": "overall", "1+": "1+"}
# What follows from no score, and the column in which it is held to the tolerance of a cell.
DECODED = {"prompt_format": "accuracy", "constrained": "accuracy", "errors": "n"}
FILES = ("scores", "random", "code", "math", "alignment", *DECODED, "claims")
KEYS = ("model", "base", "treated", "decoding", "scorer", "format", "id", "num_ops", "kind")


def own(frame: pd.DataFrame) -> pd.DataFrame:
    """A table without the models that were added on this machine: no reference knows them."""
    return without(frame, [spec.name for spec in read_added()])


def without(frame: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """A table without the lines that are about some models."""
    keys = [key for key in ("model", "base", "treated") if key in frame.columns]
    return frame[~frame[keys].isin(list(models)).any(axis=1)]


def tolerance(profile: str, num_ops: str, n: int) -> float:
    """By how many points a cell of n queries may differ; infinite where nothing is asked."""
    if profile == "reported" or n == 0:
        return ROUNDING
    if profile in WITH_REFERENCE:
        return 100 * max(TOLERATED_QUERIES, TOLERATED_SHARE * n) / n + ROUNDING
    if num_ops in SHOWN:
        return TOLERATED_POINTS
    return float("inf")


def read_tables(
    results: Path, reference: Path, unknown: Iterable[str] = ()
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """The tables behind the scores that the reference has, ours and the reference's, by name,
    without models that it does not know."""
    tables = {}
    for name in FILES[1:]:
        if (reference / f"{name}.csv").exists():
            ours = own(read_csv(results / f"{name}.csv"))
            theirs = read_csv(reference / f"{name}.csv")
            if list(ours.columns) != list(theirs.columns):
                wrong = f"other columns than {results / name}.csv"
                raise UserError(f"{reference / name}.csv: {wrong}; write the reference again")
            tables[name] = without(ours, unknown), without(theirs, unknown)
    return tables


def tolerated(name: str, rows: pd.DataFrame, sizes: dict[str, int]) -> pd.Series | float:
    """By how much the numbers in each row of a table may differ: points of accuracy, or answers of
    a kind of error among the queries of the row's bucket (`sizes`)."""
    if name == "errors":
        shares = {name: tolerance("tiny", name, n) / 100 for name, n in sizes.items()}
        return rows.num_ops.map(sizes) * rows.num_ops.map(shares)
    if name in DECODED:
        return rows.n.fillna(0).map(lambda n: tolerance("tiny", "", n))
    return ROUNDING


@dataclass(frozen=True)
class TableVerdict:
    """How a table compares with its reference: rows, how many differ, the first that does, and
    whether it must not."""

    name: str
    rows: int
    different: int
    first: str
    judged: bool

    @property
    def message(self) -> str:
        """In a line."""
        if not self.different:
            return f"{self.name}.csv: {self.rows} rows agree"
        return f"{self.name}.csv: {self.different} of {self.rows} rows differ, first: {self.first}"


def compare_table(
    name: str, tables: tuple[pd.DataFrame, pd.DataFrame], judged: bool, run: list[str], sizes: dict[str, int]
) -> TableVerdict:
    """One table (ours, the reference's) beside its reference, cell by cell. It is judged where the
    scores are all there and the same, or where it does not follow from them."""
    ours, theirs = tables
    keys = [key for key in KEYS if key in ours.columns]
    both = theirs.merge(ours, on=keys, how="outer", suffixes=("_reference", ""))
    if name in DECODED:
        both = both[both.model.isin(run)]
    different = pd.Series(False, index=both.index)
    skipped = [*keys, "verdict"]  # a claim's verdict is compared with the claims
    columns = ours.columns.difference(skipped)
    if name in DECODED:
        columns = [DECODED[name]]
    for column in columns:
        old, new = both[f"{column}_reference"], both[column]
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            near = (old - new).abs() <= tolerated(name, both, sizes)
            different |= ~near & ~(old.isna() & new.isna())
        else:
            different |= old.astype(str) != new.astype(str)
    where = ""
    if different.any():
        first = both[different].iloc[0]
        where = ", ".join(f"{key} {first[key]}" for key in keys)
    return TableVerdict(name, len(both), int(different.sum()), where, judged or name in DECODED)

"""What goes wrong: errors.csv as counts by kind of error, each with its share and its shade."""

from itertools import product
from pathlib import Path

from boxes.mistakes import DEFINITIONS, INITIAL, KINDS, WRONG
from paper.formats import Table, whole
from paper.results import COLUMNS, read_written

_ROWS = (*KINDS, WRONG, INITIAL)
_LABELS = {WRONG: "wrong answers", INITIAL: f"of them {INITIAL}"}
# Shares of a column's wrong answers from which a cell is shaded one step darker.
_SHARES = (0.005, 0.1, 0.2, 0.35, 0.5)
Counts = dict[tuple[str, str, str], int]  # (model, num_ops, kind) -> wrong answers


def error_counts(folder: Path, expected: bool) -> Counts:
    """errors.csv; kinds are those of boxes/mistakes.py, with WRONG and INITIAL."""
    texts = ("model", "num_ops", "kind")
    counts = {}
    for line in read_written(folder / "errors.csv", texts, ("n",), expected):
        counts[line["model"], line["num_ops"], line["kind"]] = int(line["n"] or 0)
    return counts


def error_rows(columns: list[dict[str, int]]) -> list[dict]:
    """A row a kind, a cell a column: its count, its share of the column's wrong answers and the
    shade of that."""
    rows = []
    for kind in _ROWS:
        cells = [_cell(column, kind) for column in columns]
        rows.append({"label": _LABELS.get(kind, kind), "kind": kind, "cells": cells})
    return rows


def _cell(column: dict[str, int], kind: str) -> dict[str, str]:
    n, wrong = column[kind], column[WRONG]
    cell = {"n": whole(n), "share": "", "shade": ""}
    if not wrong or kind == WRONG:
        return cell
    part = n / wrong
    if n:
        cell["share"] = f"{100 * part:.0f} %"
    step = sum(part >= limit for limit in _SHARES)
    if step and kind in KINDS:
        cell["shade"] = f"share d{step}"
    return cell


def error_table(rows: list[dict], header: list[str]) -> Table:
    """The rows of `error_rows` as text."""
    body = [(row["label"], *map(_text, row["cells"])) for row in rows]
    return Table(0, "", (("Kind", *header),), tuple(body), "l" + "r" * len(header))


def _text(cell: dict[str, str]) -> str:
    return f"{cell['n']} ({cell['share']})" if cell["share"] else cell["n"]


def errors(folder: Path, labels: dict[str, str], expected: bool) -> dict:
    """What the page says of wrong answers: definitions, counts by model, by bucket of all models,
    and by bucket of each."""
    counts = error_counts(folder, expected)
    models = list(dict.fromkeys(model for model, _, _ in counts))

    def column(names: list[str], num_ops: str) -> dict[str, int]:
        sums = dict.fromkeys(_ROWS, 0)
        for name, kind in product(names, _ROWS):
            sums[kind] += counts.get((name, num_ops, kind), 0)
        return sums

    def by_bucket(names: list[str]) -> list[dict]:
        return error_rows([column(names, num_ops) for num_ops in COLUMNS])

    return {
        "definitions": DEFINITIONS,
        "models": [labels.get(model, model) for model in models],
        "by_model": error_rows([column([model], "all") for model in models]),
        "by_bucket": by_bucket(models),
        "of_model": [(labels.get(model, model), by_bucket([model])) for model in models],
    }

"""Tables 3 and 6: what was reproduced beside what was expected, as lines of text and as cells."""

from paper.formats import Table
from paper.results import COLUMNS, NOT_RUN, Results, signed, two_digits

Rows = list[tuple[str, str]]  # (model, label)
# Percentage points from which a cell is shaded one step darker.
_SHADES = (0.005, 1, 2, 5, 10)


def shade(gap: float | None) -> str:
    """The class of a cell: "up" or "down" and how far it is from the paper's, 0 to 5."""
    if gap is None:
        return ""
    step = sum(abs(gap) >= limit for limit in _SHADES)
    if not step:
        return "d0"
    side = "up" if gap > 0 else "down"
    return f"{side} d{step}"


def compared_cell(results: Results, model: str, num_ops: str) -> dict[str, str]:
    """One cell: what was reproduced, what was expected, their difference and its shade."""
    expected = results.expected_score(model, num_ops)
    gap = results.gap(model, num_ops)
    reproduced = NOT_RUN
    if results.is_run(model):
        reproduced = two_digits(results.accuracy(model, num_ops))
    return {
        "reproduced": reproduced,
        "expected": two_digits(expected.accuracy) if expected else "",
        "difference": "" if gap is None else signed(gap),
        "shade": shade(gap),
    }


def compared_rows(results: Results, rows: Rows, columns=COLUMNS) -> list[dict]:
    """Rows as model, label, whether it was run, whether all is as expected, and cells."""
    compared = []
    for model, label in rows:
        cells = [compared_cell(results, model, num_ops) for num_ops in columns]
        same = all(cell["reproduced"] == cell["expected"] for cell in cells)
        run = results.is_run(model)
        compared.append({"model": model, "label": label, "run": run, "same": same, "cells": cells})
    return compared


def accuracy_cells(results: Results, model: str, columns) -> list[str]:
    """The accuracies of a row as they are printed."""
    if not results.is_run(model):
        return [NOT_RUN] * len(columns)
    return [two_digits(results.accuracy(model, column)) for column in columns]


def stacked(results: Results, table: Table, rows: Rows, columns, minus: str) -> Table:
    """A table with what is expected: one line a row where ours are the same, else ours, theirs and
    the difference."""
    body = []
    for model, label in rows:
        body += _stack(results, model, label, columns, minus)
    header = tuple((first, "", *rest) for first, *rest in table.header)
    return Table(table.number, table.caption, header, tuple(body), "l" + table.align)


def _stack(results: Results, model: str, label: str, columns, minus: str) -> list[tuple[str, ...]]:
    """The lines of one model: what kind of number, and a number a column."""
    ours, theirs = results.ours, results.theirs
    cells = accuracy_cells(results, model, columns)
    expected = [results.expected_score(model, column) for column in columns]
    if not any(expected):
        return [(label, ours, *cells)]
    printed = [two_digits(score and score.accuracy) for score in expected]
    if not results.is_run(model):
        return [(label, f"{theirs} ({NOT_RUN})", *printed)]
    if cells == printed:
        return [(label, f"{ours} = {theirs}", *printed)]
    gaps = [signed(results.gap(model, column), minus) for column in columns]
    return [(label, ours, *cells), ("", theirs, *printed), ("", "difference", *gaps)]

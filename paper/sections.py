"""What the report says: every section's table, as text cells, from the CSVs of a results folder."""

from itertools import product
from pathlib import Path

from boxes.baseline import KNOWN
from boxes.mistakes import DEFINITIONS, INITIAL, KINDS, WRONG
from boxes.models.table import NOT_CHOSEN
from boxes.records import read_json
from boxes.score_tables import BUCKETS
from boxes.scoring import AUTHORS, OURS
from boxes.statistics import MCNEMAR_CAVEAT
from paper.formats import Table
from paper.results import COLUMNS, NOT_RUN, Results, difference, read_table, signed, two_digits

HEADLINE = ("all", "0", "1+")  # the buckets that summarise an effect
NAMES = {"all": "Overall"} | {bucket: bucket for bucket in (*BUCKETS, "1+")}
EFFECTS = {"code": "Experiment 1: code", "math": "Experiment 2: math", "alignment": "Experiment 3: alignment"}
# What is said beside the numbers it is about.
NOTES = {
    "intervals": "Intervals of decoded rows take scenarios, not answers, as independent; those of the printed counts are "
    "binomial, for the paper's single answers are not published, and too narrow by as much.",
    "mcnemar": f"{MCNEMAR_CAVEAT}.",
    "scorers": "By the scorer of the authors' release, as the paper measured, and by ours, as in Table 6. Alone: free statements "
    "of which this scorer accepts a box that the other does not.",
    "random": f"{KNOWN}.",
}
_SHADES = (0.005, 1, 2, 5, 10)  # percentage points from which a cell is shaded one step darker


def plain(value: object) -> str:
    """A value of a CSV as text; an en dash where there is none."""
    return "–" if value in (None, "") else str(value)


def whole(value: float | None) -> str:
    """A count, with thousands set apart."""
    return "–" if value is None else f"{value:,.0f}"


def p_value(value: float | None) -> str:
    """A p-value to three digits."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def shade(gap: float | None) -> str:
    """The class of a cell of Table 6: "up" or "down" and how far it is from the paper's, 0 to 5."""
    if gap is None:
        return ""
    step = sum(abs(gap) >= limit for limit in _SHADES)
    return f"{'up' if gap > 0 else 'down'} d{step}" if step else "d0"


def compared_cell(results: Results, model: str, num_ops: str) -> dict[str, str]:
    """One cell of Table 6: what was reproduced, what was expected, their difference and its shade."""
    ours, theirs = results.score(model, num_ops), results.expected_score(model, num_ops)
    gap = difference(ours.accuracy, theirs.accuracy) if ours and theirs else None
    return {
        "reproduced": two_digits(ours.accuracy if ours else None) if results.is_run(model) else NOT_RUN,
        "expected": two_digits(theirs.accuracy) if theirs else "",
        "difference": "" if gap is None else signed(gap),
        "shade": shade(gap),
    }


def compared_rows(results: Results, rows: list[tuple[str, str]], columns=COLUMNS) -> list[dict]:
    """Rows of Table 6 (or 3) as label, whether it was run, whether all is as expected, and cells."""
    compared = []
    for model, label in rows:
        cells = [compared_cell(results, model, num_ops) for num_ops in columns]
        same = all(cell["reproduced"] == cell["expected"] for cell in cells)
        compared.append({"label": label, "run": results.is_run(model), "same": same, "cells": cells})
    return compared


def runs_table(folder: Path) -> Table:
    """runs.csv: what was decoded, on what, how fast, and what went wrong; without models that were not asked for."""
    numbers = ("examples", "truncated", "invalid", "broken", "halvings", "seconds", "statements_per_second",
               "tokens_per_forward")  # fmt: skip
    texts = ("model", "label", "status", "reason", "device", "dtype", "prompt_format")
    body = tuple(
        (
            run["label"] or run["model"],
            run["status"],
            plain(run["prompt_format"]),
            plain(run["device"]),
            plain(run["dtype"]),
            *(whole(run[name]) for name in numbers[:5]),
            *("–" if run[name] is None else f"{run[name]:,.1f}" for name in numbers[5:]),
            plain(run["reason"]),
        )
        for run in read_table(folder / "runs.csv", texts, numbers)
        if run["status"] != NOT_CHOSEN
    )
    header = ("Model", "Status", "Prompt", "Device", "Type", "Descriptions", "Truncated", "Invalid", "Broken",
              "Halvings", "Seconds", "Statements/s", "Tokens/forward", "Remark")  # fmt: skip
    return Table(0, "", (header,), body, "lllll" + "r" * len(numbers) + "l")


def provenance(results: Results, runs: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """(run, its run.json as names and values) of every run of the profile, those beside a model's own included."""
    found = []
    for spec in results.specs:
        folder = runs / spec.name
        for path in (folder / "run.json", *sorted(folder.glob("*/run.json"))):
            if path.exists() and not path.parent.name.startswith("superseded-"):
                name = "" if path.parent == folder else f": {path.parent.name}"
                found.append((f"{spec.label}{name}", _flat(read_json(path))))
    return found


def _flat(run: dict) -> list[tuple[str, str]]:
    """Names and values in order; a value that is an object on one line."""
    return [
        (name, ", ".join(f"{key} {part}" for key, part in sorted(value.items())))
        if isinstance(value, dict) else (name, plain(value))
        for name, value in sorted(run.items())
    ]  # fmt: skip


# Of a run.json, what the Markdown report has room for: column -> (field, its longest text).
_PROVENANCE = {
    "Revision": ("revision", 19), "Prompt style": ("prompt_style", 12), "Prompt sha256": ("prompt_sha256", 12),
    "Data sha256": ("dataset_sha256", 12), "Commit": ("git_commit", 12), "Batch": ("batch_size", 9),
    "Halvings": ("halvings", 9), "Broken": ("broken", 9), "Tokens a forward": ("tokens_per_forward", 9),
    "Versions": ("versions", 200),
}  # fmt: skip


def provenance_table(runs: list[tuple[str, list[tuple[str, str]]]]) -> Table:
    """The runs of `provenance`, one a row, long values cut."""
    body = tuple(
        (name, *(dict(values).get(field, "–")[:longest] for field, longest in _PROVENANCE.values()))
        for name, values in runs
    )
    return Table(0, "", (("Run", *_PROVENANCE),), body, "llllllrrrrl")


def effect_lines(folder: Path, name: str, chosen: set[str]) -> list[dict]:
    """code.csv, math.csv or alignment.csv, of pairs of chosen models; a pair with one that was not run has one line."""
    texts = ("base", "treated", "num_ops", "interval", "status")
    numbers = ("n", "base_accuracy", "treated_accuracy", "difference", "ci_low", "ci_high", "p_mcnemar", "p_holm")
    lines = read_table(folder / f"{name}.csv", texts, numbers)
    return [line for line in lines if {line["base"], line["treated"]} <= chosen]


def _place(line: dict) -> int:
    return list(NAMES).index(line["num_ops"]) if line["num_ops"] in NAMES else len(NAMES)


def effects_table(lines: list[dict], labels: dict[str, str], buckets: tuple[str, ...] = HEADLINE) -> Table:
    """Treated minus base in percentage points: an effect a line, of the buckets asked for."""
    body = []
    pairs = list(dict.fromkeys((line["base"], line["treated"]) for line in lines))
    for line in sorted(lines, key=lambda line: (pairs.index((line["base"], line["treated"])), _place(line))):
        names = [labels.get(line[side], line[side]) for side in ("base", "treated")]
        if line["status"] == NOT_RUN:
            body.append((*names, NOT_RUN, *["–"] * 7))
        elif line["num_ops"] in buckets:
            interval = f"{signed(line['ci_low'])} to {signed(line['ci_high'])}" if line["interval"] else "–"
            accuracies = [two_digits(line[f"{side}_accuracy"]) for side in ("base", "treated")]
            tests = [p_value(line[name]) for name in ("p_mcnemar", "p_holm")]
            body.append(
                (*names, NAMES.get(line["num_ops"], line["num_ops"]), whole(line["n"]), *accuracies,
                 signed(line["difference"]), interval, *tests)
            )  # fmt: skip
    header = ("Base", "Treated", "NumOps", "n", "Base %", "Treated %", "Difference", "95 % interval", "p", "Holm p")
    return Table(0, "", (header,), tuple(body), "lllrrrrrrr")


def constrained_table(folder: Path, reported: Path, labels: dict[str, str], expected: bool) -> Table:
    """Appendix A.2: accuracy with and without the regular expression, by the authors' scorer and by
    ours, beside the paper's example. Alone: free statements of which this scorer accepts a box that
    the other does not."""
    texts, numbers = (
        ("model", "decoding", "scorer", "num_ops"),
        ("n", "accuracy", "truncated", "invalid", "accepted_alone"),
    )
    cells = {tuple(line[name] for name in texts): line for line in _lines(
        folder / "constrained.csv", texts, numbers, expected)}  # fmt: skip
    paper = {line["key"]: line["value"] for line in read_table(reported / "text.csv", ("key",), ("value",))}
    body = []
    for model in dict.fromkeys(model for model, *_ in cells):
        for num_ops, scorer in product(HEADLINE, (AUTHORS, OURS)):
            free, constrained = (cells.get((model, kind, scorer, num_ops)) for kind in ("free", "constrained"))
            if not free or not constrained:
                continue
            both = (free["accuracy"], constrained["accuracy"])
            # The paper's numbers are by the authors' scorer.
            printed = [paper.get(f"{model}/{num_ops}{kind}") if scorer == AUTHORS else None for kind in ("/free", "")]
            body.append(
                (labels.get(model, model), NAMES[num_ops], scorer, whole(free["n"]), *map(two_digits, both),
                 signed(difference(both[1], both[0])), whole(free["truncated"]), whole(free["invalid"]),
                 whole(free["accepted_alone"]), *map(two_digits, printed))
            )  # fmt: skip
    header = ("Model", "NumOps", "Scorer", "n", "Free %", "Constrained %", "Gain", "Free: truncated", "Free: invalid",
              "Free: alone", "Reported free %", "Reported constrained %")  # fmt: skip
    return Table(0, "", (header,), tuple(body), "lllrrrrrrrrr")


def prompt_table(folder: Path, labels: dict[str, str], expected: bool) -> Table:
    """Appendix A.1: both prompt formats of the aligned models on the development set, and the one chosen."""
    lines = _lines(folder / "prompt_format.csv", ("model", "format", "reported_format"), ("n", "accuracy", "chosen"),
                   expected)  # fmt: skip
    body = tuple(
        (labels.get(line["model"], line["model"]), line["format"], whole(line["n"]), two_digits(line["accuracy"]),
         "✓" if line["chosen"] else "", plain(line["reported_format"]))
        for line in lines
    )  # fmt: skip
    return Table(0, "", (("Model", "Format", "n", "Dev accuracy %", "Chosen", "The paper's"),), body, "llrrcl")


def random_table(folder: Path) -> Table:
    """The random row: its expectation in closed form, a sampled one, the paper's, and how far apart they are."""
    numbers = ("n", "expected", "sampled", "sd_sampled", "reported", "z")
    lines = read_table(folder / "random.csv", ("num_ops",), numbers)
    by_bucket = {line["num_ops"]: line for line in lines}
    body = tuple(
        (
            NAMES[num_ops],
            whole(line["n"]),
            *(NOT_RUN if line[name] is None else two_digits(line[name]) for name in ("expected", "sampled")),
            *(two_digits(line[name]) for name in ("sd_sampled", "reported")),
            signed(line["z"]),
        )
        for num_ops in ("all", *BUCKETS, "1+")
        if (line := by_bucket.get(num_ops))
    )
    return Table(0, "", (("NumOps", "n", "Expected %", "Sampled %", "s.d.", "Reported %", "z"),), body, "lrrrrrr")


def precision_table(path: Path) -> Table:
    """What the committed bench found bfloat16 to change: statements unlike those of batch 1 without drafts, and the score."""
    texts, numbers = ("model", "dtype", "way", "device"), ("statements", "flips", "accuracy", "points_from_base")
    lines = read_table(path, texts, numbers) if path.exists() else []
    body = tuple(
        (line["model"], f"{line['dtype']}: {line['way']}", f"{whole(line['flips'])} of {whole(line['statements'])}",
         two_digits(100 * line["flips"] / line["statements"]), two_digits(line["accuracy"]),
         signed(line["points_from_base"]), line["device"])
        for line in lines
    )  # fmt: skip
    header = ("Model", "Way", "Flips", "Flip rate %", "Accuracy %", "Points from the first", "Device")
    return Table(0, "", (header,), body, "llrrrrl")


def claim_lines(folder: Path) -> list[dict]:
    """claims.csv: every claim of the text with the verdict on the reported and on the reproduced numbers."""
    return read_table(
        folder / "claims.csv",
        ("id", "section", "claim", "verdict", "verdict_reported", "buckets", "detail", "detail_reported"),
    )


def claim_columns(lines: list[dict], profile: str) -> dict[str, str]:
    """The columns with verdicts, and what they are called: those on the reported numbers, which the miniatures have not, and
    those on ours, where any claim was judged on them."""
    columns = {}
    if any(line["verdict_reported"] not in (NOT_RUN, "") for line in lines):
        columns["verdict_reported"] = "On the reported numbers"
    if profile != "reported" and any(line["verdict"] not in (NOT_RUN, "") for line in lines):
        columns["verdict"] = "Reproduced"
    return columns


def claims_table(lines: list[dict], profile: str) -> Table:
    """Claims, their verdicts, and what decides them."""
    verdicts = claim_columns(lines, profile)
    columns = {"section": "Section", "claim": "Claim", **verdicts, "buckets": "Deciding buckets", "detail": "Detail"}
    body = tuple(tuple(plain(judged(line[name])) for name in columns) for line in lines)
    return Table(0, "", (tuple(columns.values()),), body, "l" * len(columns))


def judged(verdict: str) -> str:
    """A verdict as the page says it: models are run, claims are judged."""
    return "not judged" if verdict == NOT_RUN else verdict


def error_counts(folder: Path, expected: bool) -> dict[tuple[str, str, str], int]:
    """errors.csv: (model, num_ops, kind) -> wrong answers; kinds are those of boxes/mistakes.py, with WRONG and INITIAL."""
    lines = _lines(folder / "errors.csv", ("model", "num_ops", "kind"), ("n",), expected)
    return {(line["model"], line["num_ops"], line["kind"]): int(line["n"] or 0) for line in lines}


_SHARES = (0.005, 0.1, 0.2, 0.35, 0.5)  # of a column's wrong answers, from which a cell is shaded one step darker


def error_rows(columns: list[dict[str, int]]) -> list[dict]:
    """A row a kind, a cell a column: its count, its share of the column's wrong answers and the shade of that."""
    rows = []
    for kind in (*KINDS, WRONG, INITIAL):
        cells = []
        for counts in columns:
            n, wrong = counts.get(kind, 0), counts.get(WRONG, 0)
            part = n / wrong if wrong and kind != WRONG else None
            step = sum(part >= limit for limit in _SHARES) if part is not None and kind in KINDS else 0
            share = "" if part is None or not n else f"{100 * part:.0f} %"
            cells.append({"n": whole(n), "share": share, "shade": f"share d{step}" if step else ""})
        rows.append({"label": _ERROR_LABELS.get(kind, kind), "kind": kind, "cells": cells})
    return rows


_ERROR_LABELS = {WRONG: "wrong answers", INITIAL: f"of them {INITIAL}"}


def error_table(rows: list[dict], header: list[str]) -> Table:
    """The rows of `error_rows` as text."""
    body = tuple(
        (row["label"], *(f"{c['n']} ({c['share']})" if c["share"] else c["n"] for c in row["cells"])) for row in rows
    )
    return Table(0, "", (("Kind", *header),), body, "l" + "r" * len(header))


def errors(folder: Path, labels: dict[str, str], expected: bool) -> dict:
    """What the page says of wrong answers: definitions, counts by model, by bucket of all models, and by bucket of each."""
    counts = error_counts(folder, expected)
    models = list(dict.fromkeys(model for model, _, _ in counts))

    def column(names: list[str], num_ops: str) -> dict[str, int]:
        return {kind: sum(counts.get((m, num_ops, kind), 0) for m in names) for kind in (*KINDS, WRONG, INITIAL)}

    return {
        "definitions": DEFINITIONS,
        "models": [labels.get(model, model) for model in models],
        "by_model": error_rows([column([model], "all") for model in models]),
        "by_bucket": error_rows([column(models, num_ops) for num_ops in COLUMNS]),
        "of_model": [(labels.get(m, m), error_rows([column([m], num_ops) for num_ops in COLUMNS])) for m in models],
    }


def _lines(path: Path, texts: tuple[str, ...], numbers: tuple[str, ...], expected: bool) -> list[dict]:
    """The lines of a CSV that a profile without models does not write (`expected` False)."""
    return read_table(path, texts, numbers) if expected or path.exists() else []

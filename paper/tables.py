"""Tables 1, 3, 4 and 6 of the paper from the scores of a profile, as Markdown, LaTeX (booktabs) and CSV.

    python -m paper.tables --profile reported --results data/results/reported --out paper/out/reported
    python -m paper.tables --profile tiny --results data/results/tiny --out paper/out/tiny --print 6

table3.csv and table6.csv are long: a line per cell with `reproduced`, `reported` and their `difference` (percentage
points, of the two as printed). In the profile `reported`, which runs nothing, `recomputed` from the paper's counts stands
for `reproduced`; in `tiny`, whose models the paper does not have, `reference` (data/reference/tiny) for `reported`.
With --print the table goes to the terminal and no file is written: a model whose numbers are all as expected has one
line, any other three.
"""

import signal
import sys
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout, whatever is installed

from boxes.models.pairs import MinimalPair, pairs
from boxes.models.table import ModelSpec, lineage, spec_of
from boxes.records import command, write_csv, write_text
from paper.formats import Table, to_latex, to_markdown
from paper.results import (
    BUCKETS,
    COLUMNS,
    NOT_RUN,
    PRINTED,
    RANDOM,
    Results,
    arguments,
    difference,
    read_results,
    signed,
    two_digits,
)

NUMBERS = (1, 3, 4, 6)
TABLE3_COLUMNS = {"all": "Aggregate", "0": "NumOps = 0", "1+": "NumOps ≥ 1"}
EXPERIMENTS = {1: "code", 2: "math", 3: "alignment"}
# The order in which Table 1 prints the families of each experiment; families it does not know follow.
TABLE1_ORDER = {
    1: ("Llama 2", "DeepSeek", "Gemma"),
    2: ("Llama", "Mistral", "DeepSeek-Coder", "Code Llama"),
    3: ("Llama 2", "Code Llama", "Gemma", "CodeGemma", "DeepSeek", "DeepSeek-Coder"),
}


def variant(spec: ModelSpec) -> str:
    """A family with its alignment, as Table 1 names its rows: "Llama 2-Chat", "Code Llama-Instruct"."""
    if spec.profile == "tiny" or spec.extra:
        return spec.name
    return f"{spec.family}-{spec.label.split()[-1]}" if spec.added == "alignment" else spec.family


def sized(spec: ModelSpec) -> str:
    """A family with its size, as Table 3 names its rows: "FLoat 7B"."""
    return spec.name if spec.profile == "tiny" or spec.extra else f"{spec.family} {spec.size}"


def size_range(sizes: list[str]) -> str:
    """ "7B", "7B, 34B" or, from three on, "7B–70B"."""
    ordered = sorted(set(sizes), key=lambda size: float(size.rstrip("BM")))
    return f"{ordered[0]}–{ordered[-1]}" if len(ordered) > 2 else ", ".join(ordered)


def table1(results: Results) -> Table:
    """The models of each experiment and what they were trained on, back to the first base model."""
    body, rules = [], []
    for experiment, kind in EXPERIMENTS.items():
        groups = _table1_groups(experiment, results.pairs(experiment))
        rules += [len(body)] if groups else []
        for position, group in enumerate(groups):
            first = (f"Exp {experiment} ({kind})",) if position == 0 else ("",)
            body.append(first + _table1_row(group))
    header = ("Exp", "Model", "Size", "+Code", "+Math", "+Instruct/Chat", "Base Model")
    caption = "Models compared in each experiment. Ticks: the additional training, that of the base models included."
    return Table(1, caption, (header,), tuple(body), "lllcccl", rules=tuple(rules[1:]))


def _table1_groups(experiment: int, compared: list[MinimalPair]) -> list[list[ModelSpec]]:
    """The rows of one experiment: models of one family and alignment, in the paper's order."""
    order = TABLE1_ORDER[experiment]

    def place(pair: MinimalPair) -> int:
        return order.index(pair.base.family) if pair.base.family in order else len(order)

    groups: dict[tuple, list[ModelSpec]] = {}
    for base_family in dict.fromkeys(pair.base.family for pair in sorted(compared, key=place)):
        family_pairs = [pair for pair in compared if pair.base.family == base_family]
        for spec in (*(pair.base for pair in family_pairs), *(pair.treated for pair in family_pairs)):
            group = groups.setdefault((variant(spec), spec.instruct_data), [])
            if spec not in group:
                group.append(spec)
    return list(groups.values())


def _table1_row(group: list[ModelSpec]) -> tuple[str, ...]:
    steps = {step.added: step for spec in group for step in lineage(spec)}
    math = steps.get("math")
    ticks = (
        "✓" if "code" in steps else "",
        "" if math is None else "✓ (instruct)" if math.instruct_data else "✓",
        "✓" if "alignment" in steps else "",
    )
    # Code Llama 34B names no base model (Llama 2 34B was not released); its family's other sizes do.
    bases = [variant(spec_of(spec.base)) for spec in group if spec.base]
    return (variant(group[0]), size_range([spec.size for spec in group]), *ticks, bases[0] if bases else "-")


def table3_specs(profile: str) -> tuple[ModelSpec, ...]:
    """Table 3 compares the first pair of Experiment 2: Llama 7B and FLoat."""
    pair = pairs(2, profile)[0]
    return pair.base, pair.treated


def table3(results: Results) -> Table:
    """Accuracy of the first pair of Experiment 2: overall, on unchanged boxes, on changed boxes."""
    rows = table3_rows(results)
    body = tuple((label, *_cells(results, model, TABLE3_COLUMNS)) for model, label in rows)
    names = " and ".join(label for _, label in rows) or "No model of this table was chosen"
    caption = f"{names}: accuracy in per cent, overall and by number of operations."
    return Table(3, caption, (("Model", *TABLE3_COLUMNS.values()),), body, "lrrr")


def table4(results: Results) -> Table:
    """Every model with its repository, commit, licence, access and the prompt format of Table 6."""
    header = ("Model", "Hugging Face identifier", "Revision", "Licence", "Gated", "Prompt")
    body = tuple(
        (
            spec.label,
            spec.hub_id or ("a folder" if spec.extra else "in this repository"),
            spec.revision or ("not pinned yet" if spec.hub_id else "-"),
            spec.licence,
            "yes" if spec.gated else "no",
            "chosen" if spec.choose_format else spec.prompt_format,
        )
        for spec in results.specs
    )
    return Table(4, "Models, their pinned revisions and the prompt format used.", (header,), body, "llllcl")


def table6(results: Results) -> Table:
    """The detailed results in the paper's layout; rows that were not run say so and hold no number."""
    sizes = results.bucket_sizes()
    header = (
        ("Model", "Overall", *BUCKETS),
        ("", *(f"({sizes[c]})" if c in sizes else "" for c in COLUMNS)),
    )
    body = [(RANDOM, *_cells(results, RANDOM, COLUMNS))]
    body += [(spec.label, *_cells(results, spec.name, COLUMNS)) for spec in results.specs]
    caption = "Accuracy in per cent by the number of operations affecting the box (number of queries in brackets)."
    span = "Performance split by number of operations"
    return Table(6, caption, header, tuple(body), "l" + "r" * len(COLUMNS), span=span)


def _cells(results: Results, model: str, columns) -> list[str]:
    if not results.is_run(model):
        return [NOT_RUN] * len(columns)
    scores = [results.score(model, column) for column in columns]
    return [two_digits(score.accuracy if score else None) for score in scores]


def comparison(results: Results, rows: list[tuple[str, str]], columns) -> pd.DataFrame:
    """Long form: a line per (model, label) row and column; the fields of reproduced are empty where not run."""
    lines, run = [], PRINTED if results.profile == "reported" else "run"
    for model, label in rows:
        status = run if results.is_run(model) else NOT_RUN
        for column in columns:
            ours, theirs = results.score(model, column), results.expected_score(model, column)
            gap = _gap(results, model, column)
            lines.append(
                {
                    "model": model,
                    "label": label,
                    "status": status,
                    "num_ops": column,
                    "n": "" if ours is None else ours.n,
                    results.ours: "" if ours is None else _printed(ours.accuracy),
                    results.theirs: "" if theirs is None else _printed(theirs.accuracy),
                    "difference": "" if gap is None else f"{gap:.2f}",
                }
            )
    return pd.DataFrame(lines)


def _printed(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.2f}"


def all_rows(results: Results) -> list[tuple[str, str]]:
    """(model, label) of every row of Table 6, Random first."""
    return [(RANDOM, RANDOM), *((spec.name, spec.label) for spec in results.specs)]


def table3_rows(results: Results) -> list[tuple[str, str]]:
    """(model, label) of the rows of Table 3."""
    specs = table3_specs(results.profile)
    return [(spec.name, sized(spec)) for spec in specs if spec.name in results.names]


def table_frame(table: Table, results: Results) -> pd.DataFrame:
    """What a table's CSV holds: Tables 3 and 6 in long form, Tables 1 and 4 as they are printed."""
    if table.number == 3:
        return comparison(results, table3_rows(results), TABLE3_COLUMNS)
    if table.number == 6:
        return comparison(results, all_rows(results), COLUMNS)
    return pd.DataFrame(table.body, columns=list(table.header[0]))


def stacked_table6(results: Results, minus: str = "−") -> Table:
    """Table 6 with what is expected: one line a row where ours are the same, else ours, theirs and the difference."""
    return _stacked(results, table6(results), all_rows(results), COLUMNS, minus)


def stacked_table3(results: Results, minus: str = "−") -> Table:
    """Table 3 likewise."""
    return _stacked(results, table3(results), table3_rows(results), tuple(TABLE3_COLUMNS), minus)


def _stacked(results: Results, table: Table, rows: list[tuple[str, str]], columns, minus: str) -> Table:
    body = [line for model, label in rows for line in _stack(results, model, label, columns, minus)]
    header = tuple((first, "", *rest) for first, *rest in table.header)
    return Table(table.number, table.caption, header, tuple(body), "l" + table.align)


def _stack(results: Results, model: str, label: str, columns, minus: str) -> list[tuple[str, ...]]:
    """The lines of one model: what kind of number, and a number a column."""
    ours, theirs = results.ours, results.theirs
    expected = [results.expected_score(model, column) for column in columns]
    if not any(expected):
        return [(label, ours, *_cells(results, model, columns))]
    printed = [two_digits(score and score.accuracy) for score in expected]
    if not results.is_run(model):
        return [(label, f"{theirs} ({NOT_RUN})", *printed)]
    cells = _cells(results, model, columns)
    if cells == printed:
        return [(label, f"{ours} = {theirs}", *printed)]
    gaps = [_gap(results, model, column) for column in columns]
    return [
        (label, ours, *cells),
        ("", theirs, *printed),
        ("", "difference", *(signed(gap, minus) for gap in gaps)),
    ]


def _gap(results: Results, model: str, column: str) -> float | None:
    ours, theirs = results.score(model, column), results.expected_score(model, column)
    return difference(ours.accuracy, theirs.accuracy) if ours and theirs else None


TABLES = {1: table1, 3: table3, 4: table4, 6: table6}


def for_terminal(results: Results, number: int) -> str:
    """One table as text; Table 6 with what is expected beside ours fits 160 columns."""
    stacked = {3: stacked_table3, 6: stacked_table6}
    table = stacked[number](results, "-") if number in stacked else TABLES[number](results)
    align = [{"l": "left", "c": "center", "r": "right"}[letter] for letter in table.align]
    header = ["\n".join(column) if any(column[1:]) else column[0] for column in zip(*table.header, strict=True)]
    return f"{table.caption}\n\n" + tabulate(table.body, header, "simple", disable_numparse=True, colalign=align)


@command
def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--print", type=int, choices=NUMBERS, help="show this table in the terminal; write nothing")
    options = parser.parse_args()
    results = read_results(options.profile, options.results, options.reported)
    if options.print:
        sys.stdout.reconfigure(encoding="utf-8")
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `| head` ends it quietly
        print(for_terminal(results, options.print))
        return
    for number in NUMBERS:
        table = TABLES[number](results)
        write_text(options.out / f"table{number}.md", to_markdown(table))
        write_text(options.out / f"table{number}.tex", to_latex(table))
        write_csv(options.out / f"table{number}.csv", table_frame(table, results))


if __name__ == "__main__":
    main()

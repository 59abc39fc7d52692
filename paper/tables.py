"""Tables 1, 3, 4 and 6 of the paper from the scores of a profile, as Markdown, LaTeX (booktabs) and
CSV.

    python -m paper.tables --profile reported --results data/results/reported \\
        --out paper/out/reported
    python -m paper.tables --profile tiny --results data/results/tiny --out paper/out/tiny --print 6

table3.csv and table6.csv are long: a line per cell with `reproduced`, `reported` and their
`difference` (percentage points, of the two as printed). In the profile `reported`, which runs
nothing, `recomputed` from the paper's counts stands for `reproduced`; in `tiny`, whose models the
paper does not have, `reference` (data/reference/tiny) for `reported`. With --print the table goes
to the terminal and no file is written: a model whose numbers are all as expected has one line, any
other three.
"""

import signal
import sys
from itertools import chain
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from boxes.commandline import command
from boxes.models.pairs import MinimalPair, pairs
from boxes.models.table import ModelSpec, lineage, size_number, spec_of
from boxes.records import write_csv, write_text
from paper.compared import Rows, accuracy_cells, stacked
from paper.formats import Table, alignments, to_latex, to_markdown
from paper.results import BUCKETS, COLUMNS, NOT_RUN, PRINTED, RANDOM, Results, arguments, captioned, read_results

NUMBERS = (1, 3, 4, 6)
TABLE3_COLUMNS = {"all": "Aggregate", "0": "NumOps = 0", "1+": "NumOps ≥ 1"}
EXPERIMENTS = {1: "code", 2: "math", 3: "alignment"}
# The order in which Table 1 prints the families of each experiment; families it does not know
# follow.
TABLE1_ORDER = {
    1: ("Llama 2", "DeepSeek", "Gemma"),
    2: ("Llama", "Mistral", "DeepSeek-Coder", "Code Llama"),
    3: ("Llama 2", "Code Llama", "Gemma", "CodeGemma", "DeepSeek", "DeepSeek-Coder"),
}


def variant(spec: ModelSpec) -> str:
    """A family with its alignment, as Table 1 names its rows: "Llama 2-Chat", "Code
    Llama-Instruct"."""
    if spec.profile == "tiny" or spec.extra:
        return spec.name
    if spec.added == "alignment":
        return f"{spec.family}-{spec.label.split()[-1]}"
    return spec.family


def sized(spec: ModelSpec) -> str:
    """A family with its size, as Table 3 names its rows: "FLoat 7B"."""
    if spec.profile == "tiny" or spec.extra:
        return spec.name
    return f"{spec.family} {spec.size}"


def size_range(sizes: list[str]) -> str:
    """ "7B", "7B, 34B" or, from three on, "7B–70B"."""
    ordered = sorted(set(sizes), key=size_number)
    if len(ordered) > 2:
        return f"{ordered[0]}–{ordered[-1]}"
    return ", ".join(ordered)


def table1(results: Results) -> Table:
    """The models of each experiment and what they were trained on, back to the first base model."""
    body, rules = [], []
    for experiment, kind in EXPERIMENTS.items():
        groups = _table1_groups(experiment, results.pairs(experiment))
        if groups:
            rules.append(len(body))
        first = f"Exp {experiment} ({kind})"
        for group in groups:
            body.append((first, *_table1_row(group)))
            first = ""
    header = ("Exp", "Model", "Size", "+Code", "+Math", "+Instruct/Chat", "Base Model")
    ticks = "Ticks: the additional training, that of the base models included."
    caption = f"Models compared in each experiment. {ticks}"
    return Table(1, caption, (header,), tuple(body), "lllcccl", rules=tuple(rules[1:]))


def _table1_groups(experiment: int, compared: list[MinimalPair]) -> list[list[ModelSpec]]:
    """The rows of one experiment: models of one family and alignment, in the paper's order."""
    order = TABLE1_ORDER[experiment]

    def place(pair: MinimalPair) -> int:
        return order.index(pair.base.family) if pair.base.family in order else len(order)

    families: dict[str, list[MinimalPair]] = {}
    for pair in sorted(compared, key=place):
        families.setdefault(pair.base.family, []).append(pair)
    groups: dict[tuple, list[ModelSpec]] = {}
    for family_pairs in families.values():
        bases = [pair.base for pair in family_pairs]
        treated = [pair.treated for pair in family_pairs]
        for spec in (*bases, *treated):
            group = groups.setdefault((variant(spec), spec.instruct_data), [])
            if spec not in group:
                group.append(spec)
    return list(groups.values())


def _table1_row(group: list[ModelSpec]) -> tuple[str, ...]:
    ticks = {"code": "", "math": "", "alignment": ""}
    for step in chain.from_iterable(map(lineage, group)):
        ticks[step.added] = "✓ (instruct)" if step.instruct_data else "✓"
    # Code Llama 34B names no base model, for Llama 2 34B was not released; its other sizes do.
    bases = [variant(spec_of(spec.base)) for spec in group if spec.base]
    base = bases[0] if bases else "-"
    sizes = size_range([spec.size for spec in group])
    return variant(group[0]), sizes, ticks["code"], ticks["math"], ticks["alignment"], base


def table3_specs(profile: str) -> tuple[ModelSpec, ...]:
    """Table 3 compares the first pair of Experiment 2: Llama 7B and FLoat."""
    pair = pairs(2, profile)[0]
    return pair.base, pair.treated


def table3(results: Results) -> Table:
    """Accuracy of the first pair of Experiment 2: overall, on unchanged boxes, on changed boxes."""
    rows = table3_rows(results)
    body = tuple((label, *accuracy_cells(results, model, TABLE3_COLUMNS)) for model, label in rows)
    names = " and ".join(label for _, label in rows) or "No model of this table was chosen"
    caption = captioned(results, f"{names}: accuracy in per cent, overall and by number of operations.")
    return Table(3, caption, (("Model", *TABLE3_COLUMNS.values()),), body, "lrrr")


def table4(results: Results) -> Table:
    """Every model with its repository, commit, licence, access and the prompt format of Table 6."""
    header = ("Model", "Hugging Face identifier", "Revision", "Licence", "Gated", "Prompt")
    body = []
    for spec in results.specs:
        place, revision = spec.hub_id, spec.revision
        if not spec.hub_id:
            place = "a folder" if spec.extra else "in this repository"
        if spec.elsewhere:
            place = "decoded elsewhere"
        if not revision:
            revision = "not pinned yet" if spec.hub_id else "-"
        gated = "yes" if spec.gated else "no"
        prompt = "chosen" if spec.choose_format else spec.prompt_format
        body.append((spec.label, place, revision, spec.licence, gated, prompt))
    caption = "Models, their pinned revisions and the prompt format used."
    return Table(4, caption, (header,), tuple(body), "llllcl")


def table6(results: Results) -> Table:
    """The detailed results in the paper's layout; rows that were not run hold no number."""
    sizes = {column: f"({n})" for column, n in results.bucket_sizes().items()}
    header = (("Model", "Overall", *BUCKETS), ("", *(sizes.get(column, "") for column in COLUMNS)))
    body = [(label, *accuracy_cells(results, model, COLUMNS)) for model, label in all_rows(results)]
    by = "by the number of operations affecting the box (number of queries in brackets)"
    caption = captioned(results, f"Accuracy in per cent {by}.")
    span = "Performance split by number of operations"
    return Table(6, caption, header, tuple(body), "l" + "r" * len(COLUMNS), span=span)


def comparison(results: Results, rows: Rows, columns) -> pd.DataFrame:
    """Long form: a line per (model, label) row and column; the fields of reproduced are empty where
    not run."""
    lines = []
    for model, label in rows:
        status = NOT_RUN
        if results.is_run(model):
            status = PRINTED if results.profile == "reported" else "run"
        for column in columns:
            ours, theirs = results.score(model, column), results.expected_score(model, column)
            lines.append(
                {
                    "model": model,
                    "label": label,
                    "status": status,
                    "num_ops": column,
                    "n": ours.n if ours else "",
                    results.ours: _printed(ours.accuracy if ours else None),
                    results.theirs: _printed(theirs.accuracy if theirs else None),
                    "difference": _printed(results.gap(model, column)),
                }
            )
    return pd.DataFrame(lines)


def _printed(value: float | None) -> str:
    return "" if pd.isna(value) else f"{value:.2f}"


def all_rows(results: Results) -> Rows:
    """(model, label) of every row of Table 6, Random first."""
    return [(RANDOM, RANDOM), *((spec.name, spec.label) for spec in results.specs)]


def table3_rows(results: Results) -> Rows:
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
    """Table 6 with what is expected beside ours."""
    return stacked(results, table6(results), all_rows(results), COLUMNS, minus)


def stacked_table3(results: Results, minus: str = "−") -> Table:
    """Table 3 likewise."""
    return stacked(results, table3(results), table3_rows(results), tuple(TABLE3_COLUMNS), minus)


TABLES = {1: table1, 3: table3, 4: table4, 6: table6}


def for_terminal(results: Results, number: int) -> str:
    """One table as text; Table 6 with what is expected beside ours fits 160 columns."""
    if number == 3:
        table = stacked_table3(results, "-")
    elif number == 6:
        table = stacked_table6(results, "-")
    else:
        table = TABLES[number](results)
    header = []
    for first, *more in zip(*table.header, strict=True):
        header.append("\n".join((first, *more)) if any(more) else first)
    align = alignments(table)
    text = tabulate(table.body, header, "simple", disable_numparse=True, colalign=align)
    return f"{table.caption}\n\n{text}"


@command
def main() -> None:
    parser = arguments(__doc__)
    shown = "show this table in the terminal; write nothing"
    parser.add_argument("--print", type=int, choices=NUMBERS, help=shown)
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

"""A table of text cells, and how it is written as Markdown and as LaTeX."""

from dataclasses import dataclass

from tabulate import tabulate

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "✓": r"\checkmark{}",
        "≥": r"$\geq$",
        "–": "--",
        "−": "$-$",
    }
)
_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", **{mark: f"\\{mark}" for mark in "\\`*[]|"}})


@dataclass(frozen=True)
class Table:
    """Cells as text, [rows][columns]. `align`: l, c or r a column; `rules`: body rows with a line above them."""

    number: int
    caption: str
    header: tuple[tuple[str, ...], ...]
    body: tuple[tuple[str, ...], ...]
    align: str
    span: str = ""  # a heading over all columns but the first
    rules: tuple[int, ...] = ()


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it stands (\\checkmark needs amssymb)."""
    return " ".join(text.split()).translate(_LATEX)


def markdown_escape(text: str) -> str:
    """Text that a Markdown table cell shows as it stands."""
    return " ".join(text.split()).translate(_MARKDOWN)


def to_markdown(table: Table) -> str:
    """A pipe table under its caption."""
    return f"**Table {table.number}.** {markdown_escape(table.caption)}\n\n{pipe_table(table)}\n"


def pipe_table(table: Table) -> str:
    """The table alone; header lines that LaTeX stacks are joined by a space."""
    header = [" ".join(filter(None, column)) for column in zip(*table.header, strict=True)]
    rows = [[markdown_escape(cell) for cell in row] for row in table.body]
    align = [{"l": "left", "c": "center", "r": "right"}[letter] for letter in table.align]
    return tabulate(rows, [markdown_escape(h) for h in header], "github", disable_numparse=True, colalign=align)


def to_latex(table: Table) -> str:
    """A booktabs table (packages booktabs and amssymb)."""
    lines = [r"% \usepackage{booktabs,amssymb}", r"\begin{table}", r"\centering"]
    lines += [rf"\begin{{tabular}}{{{table.align}}}", r"\toprule"]
    if table.span:
        lines.append(rf" & \multicolumn{{{len(table.align) - 1}}}{{c}}{{{latex_escape(table.span)}}} \\")
        lines.append(rf"\cmidrule(l){{2-{len(table.align)}}}")
    lines += [_latex_row(row) for row in table.header]
    lines.append(r"\midrule")
    for position, row in enumerate(table.body):
        if position in table.rules:
            lines.append(r"\midrule")
        lines.append(_latex_row(row))
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{latex_escape(table.caption)}}}"]
    lines += [rf"\label{{tab:table{table.number}}}", r"\end{table}", ""]
    return "\n".join(lines)


def _latex_row(row: tuple[str, ...]) -> str:
    return " & ".join(latex_escape(cell) for cell in row) + r" \\"

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
_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MARKDOWN |= str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]|"})
_ALIGNMENTS = {"l": "left", "c": "center", "r": "right"}


@dataclass(frozen=True)
class Table:
    """Cells as text, [rows][columns].

    `align`: l, c or r a column; `rules`: body rows with a line above them.
    """

    number: int
    caption: str
    header: tuple[tuple[str, ...], ...]
    body: tuple[tuple[str, ...], ...]
    align: str
    span: str = ""  # a heading over all columns but the first
    rules: tuple[int, ...] = ()


def or_dash(value: object) -> str:
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
    header = []
    for column in zip(*table.header, strict=True):
        header.append(markdown_escape(" ".join(filter(None, column))))
    rows = [list(map(markdown_escape, row)) for row in table.body]
    return tabulate(rows, header, "github", disable_numparse=True, colalign=alignments(table))


def alignments(table: Table) -> list[str]:
    """Of the columns, as tabulate calls them."""
    return [_ALIGNMENTS[letter] for letter in table.align]


def to_latex(table: Table) -> str:
    """A booktabs table (packages booktabs and amssymb)."""
    lines = [r"% \usepackage{booktabs,amssymb}", r"\begin{table}", r"\centering"]
    lines += [rf"\begin{{tabular}}{{{table.align}}}", r"\toprule"]
    if table.span:
        span = latex_escape(table.span)
        lines.append(rf" & \multicolumn{{{len(table.align) - 1}}}{{c}}{{{span}}} \\")
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
    return " & ".join(map(latex_escape, row)) + r" \\"

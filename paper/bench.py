"""data/bench/*.csv -> data/bench/README.md with all tables, a figure, and the handful of figures in
the README.

    python -m paper.bench --bench data/bench --readme README.md

In the README only what stands between two marks is written. What has no CSV is said to be not
measured.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from boxes.commandline import argument_parser, command, in_folder
from boxes.records import UserError, write_text
from paper.bench_tables import (
    ENGINE,
    FLOOR,
    GENERATE,
    NOT_MEASURED,
    PAPER,
    PLAIN,
    WAYS,
    bfloat16,
    drafts,
    faults,
    predicted,
    real,
    rehearsal,
    scaling,
    shapes,
    ways,
)
from paper.style import MUTED, TEXT_WIDTH, own_settings

BEGIN = "<!-- figures: written by paper/bench.py from data/bench/*.csv -->"
END = "<!-- end of figures -->"
# CSV -> (heading, what is rendered from it), in the order of the page.
TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
    "real": ("Real pretrained models", real),
    "drafts": ("Which drafts are confirmed", drafts),
    "decoding": ("Ways to decode", ways),
    "scaling": ("How seconds grow", scaling),
    "bfloat16": ("What bfloat16 changes", bfloat16),
    "shapes": ("Shapes of real models", shapes),
    "predicted": ("Predicted for a GPU", predicted),
    "rehearsal": ("A GPU rehearsed", rehearsal),
    "faults": ("What it survives", faults),
}
INTRODUCTION = """\
# What was measured

<!-- Written by paper/bench.py from the CSVs in this folder: edit those by `make bench` and \
`make test-faults`. -->

Seconds and memory are those of one machine, named with each table; ratios of two ways on one \
machine travel better. The floor is
one teacher-forced forward over the same tokens, the prefix that all share once. On a CPU the engine runs less where \
states of one scenario share more.
`make bench` measures all of this anew, `make test-faults` the last table. tiny-base was trained to err as the paper's \
models do: one that answered nearly all
right had 85 % of its drafts confirmed, and took less.

![Statements a second by way; seconds by prompts](bench.png)
"""


def page(folder: Path) -> str:
    """data/bench/README.md."""
    parts = [INTRODUCTION]
    for name, (heading, render) in TABLES.items():
        path = folder / f"{name}.csv"
        text = render(pd.read_csv(path)) if path.exists() else f"{NOT_MEASURED}\n"
        parts.append(f"## {heading}\n\n{text}")
    return "\n".join(parts)


FIGURES = {
    "time, × the floor (one forward over the same tokens)": "{floor:.2f}",
    "time without drafts, × the engine's": "{plain:.2f}",
    "time of the best batched `generate`, × the engine's": "{generate:.1f}",
    "time of the paper's way, × the engine's": "{paper:.1f}",
    "descriptions, seconds for all of them": "{prompts:.0f}, {seconds:.1f}",
}


def block(folder: Path) -> str:
    """What stands between the marks of the README: few figures, real models first, and the figure
    that travels between machines."""
    columns, device = [], ""
    for name in ("real", "decoding"):
        path = folder / f"{name}.csv"
        if path.exists():
            table = pd.read_csv(path)
            device = table.device[0]
            columns += _columns(table)
    if not columns:
        return f"{BEGIN}\n\nSpeed: {NOT_MEASURED}.\n\n{END}"
    lines = ["| " + " | ".join([f"the engine, float32, {device}", *(c["model"] for c in columns)])]
    lines.append("|:---" + "|---:" * len(columns))
    for what, form in FIGURES.items():
        lines.append("| " + " | ".join([what, *(form.format(**column) for column in columns)]))
    return "\n".join([BEGIN, "", *(f"{line} |" for line in lines), "", END])


def _columns(table: pd.DataFrame) -> list[dict]:
    """A column a model: plain prompts under the expression, of each way the row with the most
    prompts. The slow ways may have had fewer."""
    if "decoding" in table:
        asked = (table.decoding == "constrained") & (table.prompt_format == "plain")
        table = table[asked & table.batch_size.isna()]
    found = []
    for model, rows in table.groupby("model", sort=False):
        most = rows.sort_values("prompts", ascending=False, kind="stable").drop_duplicates("way")
        most = most.set_index("way")
        times = most.times_engine
        found.append(
            {
                "model": model,
                "floor": 1 / times[FLOOR],
                "plain": times[PLAIN],
                "generate": times[GENERATE].min(),
                "paper": times[PAPER],
                "prompts": most.prompts[ENGINE],
                "seconds": most.seconds[ENGINE],
            }
        )
    return found


def replaced(text: str, new: str, name: Path) -> str:
    """A README's text with another block between the marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        marks = f"the marks {BEGIN!r} and {END!r}"
        raise UserError(f"{name}: {marks} must stand in it once each, in this order")
    return text[: text.index(BEGIN)] + new + text[text.index(END) + len(END) :]


def figure(folder: Path) -> None:
    """Statements a second by way, and seconds by prompts: data/bench/bench.png."""
    decoding, growth = (pd.read_csv(folder / f"{name}.csv") for name in ("decoding", "scaling"))
    with own_settings():
        drawing, (left, right) = plt.subplots(
            1, 2, figsize=(TEXT_WIDTH, 2.4), width_ratios=(3, 2), layout="constrained"
        )
        _draw_ways(left, decoding.iloc[::-1])
        _draw_growth(right, growth)
        drawing.savefig(folder / "bench.png", metadata={"Software": None})
        plt.close(drawing)


def _draw_ways(axes: Axes, table: pd.DataFrame) -> None:
    names = [WAYS[way].split(":")[0].replace("`", "") for way in table.way]
    bars = axes.barh(names, table.statements_per_second)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set(xlabel=f"statements a second ({table.prompts.iloc[0]} prompts)")
    axes.margins(x=0.15)


def _draw_growth(axes: Axes, table: pd.DataFrame) -> None:
    """With all threads, beside what would be in proportion to the first."""
    if table.threads.notna().any():
        table = table[table.threads == table.threads.max()]
    first = table.iloc[0]
    proportion = first.seconds * table.prompts / first.prompts
    axes.plot(table.prompts, table.seconds, marker="o", color="#1f5fbf")
    axes.plot(table.prompts, proportion, color=MUTED, ls=":", label="in proportion")
    axes.set(xscale="log", yscale="log", xlabel="prompts", ylabel="seconds, the engine")
    axes.legend()


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--bench", type=in_folder, required=True, help="folder of the bench's CSVs")
    add("--readme", type=Path, required=True, help="the README whose figures are written anew")
    arguments = parser.parse_args()
    text = arguments.readme.read_text(encoding="utf-8")
    write_text(arguments.readme, replaced(text, block(arguments.bench), arguments.readme))
    write_text(arguments.bench / "README.md", page(arguments.bench))
    if all((arguments.bench / f"{name}.csv").exists() for name in ("decoding", "scaling")):
        figure(arguments.bench)


if __name__ == "__main__":
    main()

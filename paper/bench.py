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
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from boxes.commandline import argument_parser, command, in_folder
from boxes.records import UserError, write_text
from paper.style import MUTED, TEXT_WIDTH, own_settings

BEGIN = "<!-- figures: written by paper/bench.py from data/bench/*.csv -->"
END = "<!-- end of figures -->"
ENGINE, PLAIN, FLOOR, PAPER = "e engine", "d engine without drafts", "f floor", "a paper"
NOT_MEASURED = "not measured"
WAYS = {
    "a paper": "(a) the paper's way: `generate`, one prompt at a time, outlines",
    "b outlines": "(b) `generate` in batches, outlines",
    "c llguidance": "(c) `generate` in batches, llguidance",
    "d engine without drafts": "(d) the engine without drafts",
    "e engine": "(e) the engine",
    "f floor": "(f) the floor: one teacher-forced forward over the same tokens",
}


def number(value: float, digits: int = 1) -> str:
    """Rounded to digits behind the point, or to three figures where it is small; a dash where there
    is none."""
    if pd.isna(value):
        return "–"
    return f"{value:,.{digits}f}" if abs(value) >= 1 or value == 0 else f"{value:.{digits + 1}f}"


def share(value: float, digits: int = 0) -> str:
    """A share in per cent; a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:.{digits}%}"


def with_note(text: str, note: object, form: str) -> str:
    """A text and a remark of a CSV, which may be empty, in a form of both."""
    return form.format(text, note) if isinstance(note, str) and note else text


def pipe(rows: list[dict], texts: int = 1) -> str:
    """A Markdown table whose first columns are `texts`, the others numbers."""
    align = ["left"] * texts + ["right"] * (len(rows[0]) - texts)
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=align)


def ways(table: pd.DataFrame) -> str:
    """How the ways compare: ratios first."""
    rows = [
        {
            "way": with_note(WAYS[row.way], row.note, "{} ({})"),
            "× the engine's time": number(row.times_engine, 2),
            "statements/s": number(row.statements_per_second),
            "seconds": number(row.seconds, 2),
            "peak memory, MiB": number(row.peak_memory_mib, 0),
            "tokens a forward": number(row.tokens_per_forward, 0),
            "drafted tokens confirmed": share(row.drafted_confirmed),
        }
        for row in table.itertuples()
    ]
    first = table.iloc[0]
    return (
        f"{first.model}, the same {first.prompts} prompts for all, median of {first['rounds']} "
        f"rounds in which the ways take turns, float32, on {first.device}; peak memory is what a "
        f"way had beyond what was there before it:\n\n{pipe(rows)}\n"
    )


# What tells the cases of real.csv and drafts.csv apart.
CASE = ["model", "decoding", "prompt_format", "batch_size", "prompts"]


def cases(table: pd.DataFrame) -> pd.DataFrame:
    """A row a case of real.csv, with how many times as long as others the engine took."""
    times = table.pivot_table(index=CASE, columns="way", values="times_engine", dropna=False)
    times = times.dropna(how="all").reindex(table.drop_duplicates(CASE).set_index(CASE).index)
    of_engine = table[table.way == ENGINE].set_index(CASE)
    found = times.reindex(columns=list(WAYS)).reset_index()
    for column in ("seconds", "tokens_per_forward", "drafted_confirmed", "rounds", "device"):
        found[column] = of_engine[column].to_numpy()
    return found


def real(table: pd.DataFrame) -> str:
    """Real models: the engine against its floor, itself without drafts and the slow ways."""
    rows = []
    for _, row in cases(table).iterrows():
        size = "" if pd.isna(row.batch_size) else f", batch size {row.batch_size:.0f}"
        generate = row[["b outlines", "c llguidance"]].min()
        rows.append(
            {
                "model": row.model,
                "decoding": f"{row.decoding}, {row.prompt_format}{size}",
                "prompts": number(row.prompts, 0),
                "× the floor": number(1 / row[FLOOR], 2),
                "without drafts, × the engine": number(row[PLAIN], 2),
                "the best `generate`, ×": number(generate),
                "the paper's way, ×": number(row[PAPER]),
                "drafted tokens confirmed": share(row.drafted_confirmed),
                "tokens a forward": number(row.tokens_per_forward, 0),
                "seconds": number(row.seconds),
            }
        )
    first = table.iloc[0]
    return (
        f"Pretrained models in 4 bits, dequantised; float32, median of {first['rounds']} rounds in "
        f"which the ways take turns, on {first.device}. All ways give the same token ids:\n\n"
        f"{pipe(rows, texts=2)}\n"
    )


KINDS = {
    "fixed": "what every statement has, behind its comma",
    "clause": "that a clause ends",
    "content": "what the description says is in a box",
    "written": "what the model wrote under the expression",
    "copied": "what followed the last two tokens before",
    "repeated": "what followed the last three",
}


def drafts(table: pd.DataFrame) -> str:
    """Acceptance and gain by kind of draft."""
    rows = []
    for row in table[table.verified > 0].itertuples():
        size = "" if pd.isna(row.batch_size) else f", batch size {row.batch_size:.0f}"
        rows.append(
            {
                "model": row.model,
                "decoding": f"{row.decoding}, {row.prompt_format}{size}",
                "kind of draft": KINDS[row.kind],
                "verified": f"{row.verified:,}",
                "confirmed": share(row.confirmed / row.verified),
                "of all tokens": share(row.confirmed / row.tokens),
            }
        )
    what = "Each confirmed token is one that needed no step of its own (`of all tokens`: of those written)"
    return f"{what}:\n\n{pipe(rows, texts=3)}\n"


def scaling(table: pd.DataFrame) -> str:
    """Seconds by prompts and threads."""
    rows = [
        {
            "prompts": f"{row.prompts:,} ({row.times_test_set}× the test set)",
            "threads": number(row.threads, 0),
            "× the first with all threads": number(row.times_first, 2),
            "seconds": number(row.seconds, 2),
            "statements/s": number(row.statements_per_second),
            "peak memory, MiB": number(row.peak_memory_mib, 0),
        }
        for row in table.itertuples()
    ]
    return f"{table.model[0]}, float32, the engine:\n\n{pipe(rows)}\n"


def bfloat16(table: pd.DataFrame) -> str:
    """Flips against batch 1 without drafts."""
    rows = [
        {
            "model": row.model,
            "way": f"{row.dtype}: {row.way}",
            "flips": f"{row.flips} of {row.statements}",
            "flip rate": share(row.flip_rate, 1),
            "accuracy": number(row.accuracy, 2),
            "points from the first": f"{row.points_from_base:+.2f}",
        }
        for row in table.itertuples()
    ]
    return (
        "A flip is another statement than bfloat16's at batch 1 without drafts. Measured on "
        f"{table.device[0]}:\n\n{pipe(rows)}\n"
    )


def shapes(table: pd.DataFrame) -> str:
    """Inflated models in the shapes of real ones."""
    rows = []
    for row in table.itertuples(name="Row"):
        device = f"{row.device}, {row.dtype}"
        if row.status == NOT_MEASURED:
            device = "–"
        rows.append(
            {
                "shape": row.shape,
                "parameters": f"{row.parameters / 1e9:.2f}B",
                "device": device,
                "prompts": number(row.prompts, 0),
                "seconds": number(row.seconds, 1),
                "× the floor": number(row.floor_ratio, 2),
                "FLOP utilisation": share(row.mfu),
                "peak memory, MB": number(row.peak_memory_mb, 0),
                "× faster than the paper's way": number(row.speedup, 1),
                "same statements": share(row.agree, 1),
                "": with_note(row.status, row.reason, "{}: {}"),
            }
        )
    what = "tiny-base, inflated to the shape of a real model, so that its answers are known"
    return f"{what}:\n\n{pipe(rows)}\n"


def faults(table: pd.DataFrame) -> str:
    """What was injected, and whether what must hold then held."""
    rows = [
        {
            "what happens": row.fault,
            "what must hold": row.held_to,
            "tried": f"{row.injected:,}",
            "held": f"{row.survived:,}",
        }
        for row in table.itertuples()
    ]
    return pipe(rows, texts=2) + "\n"


# CSV -> (heading, what is rendered from it), in the order of the page.
TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
    "real": ("Real pretrained models", real),
    "drafts": ("Which drafts are confirmed", drafts),
    "decoding": ("Ways to decode", ways),
    "scaling": ("How seconds grow", scaling),
    "bfloat16": ("What bfloat16 changes", bfloat16),
    "shapes": ("Shapes of real models", shapes),
    "faults": ("What it survives", faults),
}
INTRODUCTION = """\
# What was measured

<!-- Written by paper/bench.py from the CSVs in this folder: edit those by `make bench` and \
`make test-faults`. -->

Seconds and memory are those of one machine, named with each table; ratios of two ways on one \
machine travel better. The floor is
one teacher-forced forward over the same tokens: what any way that runs the model at all must take \
at least.
`make bench` measures all of this anew, `make test-faults` the last table.

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
    """A column a model: plain prompts under the expression. The slow ways may have had fewer."""
    if "decoding" in table:
        asked = (table.decoding == "constrained") & (table.prompt_format == "plain")
        table = table[asked & table.batch_size.isna()]
    found = []
    for model, rows in table.groupby("model", sort=False):
        whole = rows[rows.prompts == rows.prompts.max()].set_index("way")
        slow = rows.drop_duplicates("way", keep="last").set_index("way").times_engine
        found.append(
            {
                "model": model,
                "floor": 1 / whole.times_engine[FLOOR],
                "plain": whole.times_engine[PLAIN],
                "generate": slow[["b outlines", "c llguidance"]].min(),
                "paper": slow[PAPER],
                "prompts": whole.prompts[ENGINE],
                "seconds": whole.seconds[ENGINE],
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

"""data/bench/*.csv -> data/bench/README.md with all tables, a figure, and the handful of figures in
the README.

    python -m paper.bench --bench data/bench --readme README.md

In the README only what stands between two marks is written. What has no CSV is said to be not
measured.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # this checkout before others

from matplotlib import pyplot as plt

from boxes.records import UserError, command, write_text
from paper.style import MUTED, TEXT_WIDTH, own_settings

BEGIN, END = "<!-- figures: written by paper/bench.py from data/bench/*.csv -->", "<!-- end of figures -->"
ENGINE, FLOOR, PAPER = "e engine", "f floor", "a paper"
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


def pipe(rows: list[dict]) -> str:
    """A Markdown table."""
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=_alignment(rows))


def _alignment(rows: list[dict]) -> list[str]:
    return ["left", *["right"] * (len(rows[0]) - 1)]


def ways(table: pd.DataFrame) -> str:
    """How the ways compare: ratios first."""
    rows = [
        {
            "way": WAYS[row.way] + (f" ({row.note})" if isinstance(row.note, str) and row.note else ""),
            "× the engine's time": number(row.times_engine, 2),
            "statements/s": number(row.statements_per_second),
            "seconds": number(row.seconds, 2),
            "peak memory, MiB": number(row.peak_memory_mib, 0),
            "tokens a forward": number(row.tokens_per_forward, 0),
            "drafted tokens confirmed": "–" if pd.isna(row.drafted_confirmed) else f"{row.drafted_confirmed:.0%}",
        }
        for row in table.itertuples()
    ]
    first = table.iloc[0]
    return (
        f"{first.model}, the same {first.prompts} prompts for all, median of {first['rounds']} rounds in which the ways take "
        f"turns, float32, on {first.device}; peak memory is what a way had beyond what was there before it:\n\n{pipe(rows)}\n"
    )


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
            "flip rate": f"{row.flip_rate:.1%}",
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
    rows = [
        {
            "shape": row.shape,
            "parameters": f"{row.parameters / 1e9:.2f}B",
            "device": "–" if row.status == NOT_MEASURED else f"{row.device}, {row.dtype}",
            "prompts": number(row.prompts, 0),
            "seconds": number(row.seconds, 1),
            "× the floor": number(row.floor_ratio, 2),
            "FLOP utilisation": "–" if pd.isna(row.mfu) else f"{row.mfu:.0%}",
            "peak memory, MB": number(row.peak_memory_mb, 0),
            "× faster than the paper's way": number(row.speedup, 1),
            "same statements": "–" if pd.isna(row.agree) else f"{row.agree:.1%}",
            "": row.status if not isinstance(row.reason, str) or not row.reason else f"{row.status}: {row.reason}",
        }
        for row in table.itertuples(name="Row")
    ]
    return f"tiny-base, inflated to the shape of a real model, so that its answers are known:\n\n{pipe(rows)}\n"


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
    align = ["left", "left", "right", "right"]
    return tabulate(rows, headers="keys", tablefmt="pipe", disable_numparse=True, colalign=align) + "\n"


# CSV -> (heading, what is rendered from it), in the order of the page.
TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
    "decoding": ("Ways to decode", ways),
    "scaling": ("How seconds grow", scaling),
    "bfloat16": ("What bfloat16 changes", bfloat16),
    "shapes": ("Shapes of real models", shapes),
    "faults": ("What it survives", faults),
}
INTRODUCTION = """\
# What was measured

<!-- Written by paper/bench.py from the CSVs in this folder: edit those by `make bench` and `make test-faults`. -->

Seconds and memory are those of one machine, named with each table; ratios of two ways on one machine travel better. The floor is
one teacher-forced forward over the same tokens: what any way that runs the model at all must take at least.
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


def block(folder: Path) -> str:
    """What stands between the marks of the README: few figures, the one that travels between
    machines first."""
    path = folder / "decoding.csv"
    if not path.exists():
        return f"{BEGIN}\n\nSpeed: {NOT_MEASURED}.\n\n{END}"
    table = pd.read_csv(path).set_index("way")
    floor, paper, engine = (table.loc[way] for way in (FLOOR, PAPER, ENGINE))
    rows = [
        ("time, × the floor (one forward over the same tokens)", f"{1 / floor.times_engine:.2f}"),
        ("time of the paper's way, × the engine's", f"{paper.times_engine:.1f}"),
        (f"seconds for {engine.prompts} descriptions", f"{engine.seconds:.1f}"),
        ("drafted tokens that the model confirms", f"{engine.drafted_confirmed:.0%}"),
    ]
    lines = [f"| {what} | {value} |" for what, value in rows]
    head = f"| {engine.model}, float32, {engine.device} | the engine |"
    return "\n".join([BEGIN, "", head, "|:---|---:|", *lines, "", END])


def replaced(text: str, new: str, name: Path) -> str:
    """A README's text with another block between the marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise UserError(f"{name}: the marks {BEGIN!r} and {END!r} must stand in it once each, in this order")
    return text[: text.index(BEGIN)] + new + text[text.index(END) + len(END) :]


def figure(folder: Path) -> None:
    """Statements a second by way, and seconds by prompts: data/bench/bench.png."""
    decoding, growth = (pd.read_csv(folder / f"{name}.csv") for name in ("decoding", "scaling"))
    few = decoding.iloc[::-1]
    with own_settings():
        drawing, (left, right) = plt.subplots(
            1, 2, figsize=(TEXT_WIDTH, 2.4), width_ratios=(3, 2), layout="constrained"
        )
        bars = left.barh([WAYS[way].split(":")[0].replace("`", "") for way in few.way], few.statements_per_second)
        left.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        left.set(xlabel=f"statements a second ({few.prompts.iloc[0]} prompts)")
        left.margins(x=0.15)
        all_threads = growth[growth.threads == growth.threads.max()] if growth.threads.notna().any() else growth
        right.plot(all_threads.prompts, all_threads.seconds, marker="o", color="#1f5fbf")
        first = all_threads.iloc[0]
        right.plot(
            all_threads.prompts,
            first.seconds * all_threads.prompts / first.prompts,
            color=MUTED,
            ls=":",
            label="in proportion",
        )
        right.set(xscale="log", yscale="log", xlabel="prompts", ylabel="seconds, the engine")
        right.legend()
        drawing.savefig(folder / "bench.png", metadata={"Software": None})
        plt.close(drawing)


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True, help="folder of the bench's CSVs")
    parser.add_argument("--readme", type=Path, required=True, help="the README whose few figures are written anew")
    arguments = parser.parse_args()
    text = arguments.readme.read_text(encoding="utf-8")
    write_text(arguments.readme, replaced(text, block(arguments.bench), arguments.readme))
    write_text(arguments.bench / "README.md", page(arguments.bench))
    if all((arguments.bench / f"{name}.csv").exists() for name in ("decoding", "scaling")):
        figure(arguments.bench)


if __name__ == "__main__":
    main()

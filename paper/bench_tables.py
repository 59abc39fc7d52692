"""The tables of data/bench/README.md, each from a CSV of that folder."""

import pandas as pd
from tabulate import tabulate

ENGINE, PLAIN, FLOOR, PAPER = "e engine", "d engine without drafts", "f floor", "a paper"
GENERATE = ["b outlines", "c llguidance"]
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


def asked(row) -> str:
    """What tells a row's case from others, as text."""
    text = f"{row.decoding}, {row.prompt_format}"
    return text if pd.isna(row.batch_size) else f"{text}, batch size {row.batch_size:.0f}"


def real(table: pd.DataFrame) -> str:
    """Real models: the engine against its floor, itself without drafts and the slow ways."""
    rows = []
    for _, row in cases(table).iterrows():
        generate = row[GENERATE].min()
        rows.append(
            {
                "model": row.model,
                "decoding": asked(row),
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
        f"which the ways take turns, on {first.device}. All ways give the same token ids. "
        "Since the 714 were measured, 128 prompts are decoded at a time, not 64; 238 of them took as long either way:\n\n"
        f"{pipe(rows, texts=2)}\n"
    )


KINDS = {
    "fixed": "what every statement has, behind its comma",
    "clause": "that a clause ends",
    "content": "what the description says is in a box",
    "written": "what the model wrote under the expression",
    "copied": "what followed the last two tokens before",
    "repeated": "what followed the last three",
    "waiting": "that a clause ends, behind an error",
}


def drafts(table: pd.DataFrame) -> str:
    """Acceptance and gain by kind of draft."""
    rows = []
    for row in table[table.verified > 0].itertuples():
        rows.append(
            {
                "model": row.model,
                "decoding": asked(row),
                "kind of draft": KINDS[row.kind],
                "prompts": f"{row.prompts:,}",
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
    what = "the engine; more prompts have more states of one scenario, which share what they begin with"
    return f"{table.model[0]}, float32, {what}:\n\n{pipe(rows)}\n"


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
    """Inflated models in the shapes of real ones; where one was measured, not on which devices it was not."""
    rows = []
    known = table.status != NOT_MEASURED
    others = table[~known & ~table["shape"].isin(table[known]["shape"])]
    for row in pd.concat([table[known], others.drop_duplicates("shape")]).itertuples(name="Row"):
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


def predicted(table: pd.DataFrame) -> str:
    """What nobody has measured yet, labelled so, and what would show that it is wrong."""
    rows = []
    for row in table.itertuples(name="Row"):
        name = row.schedule if row.part == 1 else f"{row.schedule} ({row.part:.0%} of the prompts, widened)"
        rows.append(
            {
                "shape": f"{row.shape}, {row.gpus} GPU" + "s" * (row.gpus > 1),
                "drafts confirmed as by": name,
                "": f"**{row.status}**",
                "predicted seconds": number(row.seconds),
                "of them prefill": number(row.prefill_seconds),
                "steps": number(row.step_seconds),
                "waiting for Python": number(row.waiting_seconds),
                "best known, without an expression": number(row.floor_seconds),
                "measured seconds": with_note(number(row.measured_seconds), row.device, "{} ({})"),
                "measured / predicted": number(row.off, 2),
            }
        )
    return f"{PREDICTION}\n\n{pipe(rows, texts=3)}\n"


PREDICTION = """\
**Predicted, not measured**, but for rows that say so: the engine in bfloat16 over all prompts on an NVIDIA H200 (70b: two).
`make bench SHAPES=...` on a GPU puts a measurement beside each row of tiny-base, the model that it inflates; it is divided
by the prediction where it is an H200's. The forwards are those of a real run on a CPU, cut up as a GPU's
(`experiments/bench/schedule.py`); operations, bytes and launches of each are counted on fake tensors of the shape
(`experiments/bench/predict.py`). The device takes operations / (790 TFLOP/s × 0.95) and bytes / (4.3 TB/s × 0.5), one
behind the other, Python 20 µs a launched kernel; a forward takes the longer of the two.

The first prediction was wrong: by other constants (the larger of operations at 60 % and bytes at 80 %, 5 µs a kernel), and
by the steps of an older tiny-base that needed fewer, 5.8 s for the 7b, of which 9.1 were measured then. These constants were
read off kernels of that card, so what is measured of the 7b is no test of them; the 13b and the 34b, measured later and on
another machine with such a card, are. Products reach 95 % of the peak, but norms, rotations and copies take as long as they in
prefill; Python needed 15 to 45 µs a launch on the first three machines.

It is wrong if one of these is: the two rates; Python's time, which steps wait for; the model confirms drafts as often as
the one recorded. A run that takes less than 0.7 or more than 1.5 times the prediction says that the way of counting is
wrong, not only a constant."""


def rehearsal(table: pd.DataFrame) -> str:
    """Kernels a layer, and the batch that memory.py chooses for a card, on fake tensors."""
    rows = []
    for name, cards in table.groupby("shape", sort=False):
        first = cards.iloc[0]
        row = {"shape": name, "kernels a layer": number(first.launches_a_layer, 0)}
        row["besides"] = number(first.launches_besides, 0)
        for card in cards.itertuples():
            said = f"{card.rows} rows, {share(card.spare)} to spare" if card.rows else "too small"
            row[f"{card.card_gb} GB"] = said
        rows.append(row)
    return f"{REHEARSED}\n\n{pipe(rows)}\n"


REHEARSED = """\
Counted on fake tensors of device "cuda" (`make rehearse`): nothing was computed and no GPU was there. The engine's own
code ran all its phases; a mismatch of devices or dtypes, or a copy to the host within a step, would have stopped it. Kernels
launched by a step of 64 rows, and how much of a card is left at the peak of the batch that `boxes/decoding/memory.py`
chooses (256 rows at most):"""


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

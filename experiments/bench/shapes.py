"""Measure the engine at the shapes of real models: seconds, the floor, the paper's way, memory; the
answers are checked.

    python experiments/bench/shapes.py --shapes 7b 13b \\
        --data data/boxes/test-subsample-states-t5.jsonl --out data/bench/shapes.csv

Each model is the tiny one inflated (inflate.py), so its answers are known: in float32 the engine
and the paper's way must give the tiny model's own token ids; in bfloat16, where the rounding of a
wider model is another, as many of the statements as of the tiny model itself in bfloat16, but for
chance, and two runs the same. A shape that fails has no speed, and the exit status is 2. Shapes that were not asked for or
do not fit have a row that says so. A shape whose runs take 30 seconds has fewer than --repeats, two
at least.
"""

import argparse
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, natural
from boxes.completion import Completion
from boxes.dataset import read_examples
from boxes.decoding.engine import Decoder
from boxes.decoding.forward import common_prefix
from boxes.decoding.memory import release
from boxes.models import load
from boxes.models.shapes import MEASURED, SHAPES, Shape
from boxes.prompting import encode_prompts, statement_prompt
from boxes.records import UserError, read_csv, write_csv
from boxes.reference import reference_decode
from experiments.bench.decoding import spread, teacher_forced
from experiments.bench.inflate import inflate, too_large
from experiments.bench.measure import add_bench, add_model, add_prompts, add_rounds, device_name
from experiments.bench.predicted import MEASURED_WITH, take_measured

# MB: 10^6 bytes, of the device's memory while the engine ran, weights included. mfu: of the peak
# measured in the same run.
COLUMNS = (
    "shape", "parameters", "device", "dtype", "prompts", "seconds", "statements_per_second",
    "floor_seconds", "floor_ratio", "mfu", "peak_memory_mb", "batch_size", "runs",
    "reference_prompts", "reference_seconds_per_prompt", "speedup", "agree", "status", "reason",
)  # fmt: skip
COUNTS = ("parameters", "prompts", "batch_size", "runs", "reference_prompts")
FAILED, NOT_MEASURED = "failed", "not measured"
PREDICTED = "predicted.csv"  # beside the table: what is measured takes its place
DEVIATIONS = 3  # standard deviations, by which a share may be lower by chance
ENOUGH = 30  # seconds of a way's runs behind which no more are made
WARM_UP = 8  # prompts
PEAK_SECONDS = 2  # in which the device's peak is looked for
Row = dict[str, object]


def synchronize(device: torch.device) -> None:
    """Wait for what the device was told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(way: Callable[[], object], device: torch.device) -> tuple[float, object]:
    """Wall time of one run, the device's work included, and what it gave."""
    synchronize(device)
    began = time.perf_counter()
    result = way()
    synchronize(device)
    return time.perf_counter() - began, result


@dataclass
class Runs:
    """Seconds of the engine's runs and of the floor's, the engine's answers, and its highest use of
    memory in MB."""

    engine: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    answers: list[list[Completion]] = field(default_factory=list)
    memory: float = 0.0


def run_by_turns(decoder: Decoder, prompts: list[str], repeats: int) -> Runs:
    """The engine and the floor by turns, so that a busy machine slows both."""
    runs, device = Runs(), decoder.device
    while len(runs.engine) < 2 or (len(runs.engine) < repeats and sum(runs.engine) < ENOUGH):
        reset_peak(device)
        seconds, answers = timed(lambda: decoder.decode(prompts), device)
        runs.memory = max(runs.memory, peak_memory(device))
        runs.engine.append(seconds)
        runs.answers.append(answers)
        if sum(runs.floor) < ENOUGH:
            floor = partial(teacher_forced, decoder, prompts, runs.answers[0])
            runs.floor.append(timed(floor, device)[0])
    return runs


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best of the large products of random matrices that
    PEAK_SECONDS allow."""
    size, end = 8192 if device.type == "cuda" else 1024, time.monotonic() + PEAK_SECONDS
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    taken = [timed(lambda: left @ right, device)[0]]
    while time.monotonic() < end:
        taken.append(timed(lambda: left @ right, device)[0])
    return 2 * size**3 / min(taken)


def useful_flops(shape: Shape, encoded: list[list[int]], answers: list[Completion]) -> float:
    """What the answers need in matrices: the common prefix once, own tokens and statements once.

    The output matrix is needed for the statements alone. Attention scores do not count.
    """
    skip, generated = common_prefix(encoded), sum(len(answer.tokens) for answer in answers)
    tokens = skip + sum(len(ids) - skip for ids in encoded) + generated
    return 2 * (shape.layer_parameters * tokens + shape.head_parameters * generated)


def reset_peak(device: torch.device) -> None:
    """Begin a new high-water mark of memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        # Some containers forbid it: the mark is then that of the process's whole life.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float:
    """The high-water mark in MB: of the GPU's tensors, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def share_equal(expected: list[Completion], found: list[Completion]) -> float:
    """The share of statements with the same token ids."""
    pairs = zip(expected, found, strict=True)
    return sum(one.tokens == other.tokens for one, other in pairs) / len(expected)


def least_agreement(expected: list[Completion], rounded: list[Completion]) -> float:
    """The least share of an inflated model's statements in less precision that must be those of the tiny one in float32:
    as many as of the tiny one itself in it (`rounded`), k of n, p = (k + 1) / (n + 2), less DEVIATIONS
    sqrt(2 p (1 - p) / n); half of them at least."""
    count = len(expected)
    share = (share_equal(expected, rounded) * count + 1) / (count + 2)
    return max(0.5, share - DEVIATIONS * math.sqrt(2 * share * (1 - share) / count))


@dataclass(frozen=True)
class Answers:
    """What the tiny model writes in float32, and the share of it that an inflated one must write in its dtype."""

    expected: list[Completion]
    least: float


def measure(shape: Shape, tiny, prompts: list[str], answers_of_tiny: Answers, settings) -> Row:
    """One shape's row, but for what all rows have."""
    expected = answers_of_tiny.expected
    device, dtype = tiny.model.device, getattr(torch, settings.dtype)
    model = inflate(tiny.model, shape, device, dtype)
    decoder = Decoder(model, tiny.tokenizer)
    decoder.decode(prompts[:WARM_UP])
    runs = run_by_turns(decoder, prompts, settings.repeats)
    answers, agree = runs.answers[0], share_equal(expected, runs.answers[0])
    if agree < answers_of_tiny.least:
        return failed(not_its_own(agree, len(prompts)), agree)
    if any(share_equal(answers, other) < 1 for other in runs.answers):
        return failed("the engine gave other statements in another run", agree)
    some = spread(range(len(prompts)), settings.reference_prompts)
    reference_seconds, found = run_reference(model, tiny.tokenizer, [prompts[i] for i in some])
    same = share_equal([expected[i] for i in some], found) if some else 1
    if dtype == torch.float32 and same < 1:  # a few statements in bfloat16 would say nothing
        return failed(f"the paper's way: {not_its_own(same, len(some))}", agree)
    seconds, floor = statistics.median(runs.engine), statistics.median(runs.floor)
    flops = useful_flops(shape, encode_prompts(tiny.tokenizer, prompts), answers)
    return {
        "prompts": len(prompts),
        "seconds": seconds,
        "statements_per_second": len(prompts) / seconds,
        "floor_seconds": floor,
        "floor_ratio": seconds / floor,
        "flops_per_second": flops / seconds,
        "peak_memory_mb": runs.memory,
        "batch_size": decoder.work.rows,
        "runs": len(runs.engine),
        "reference_prompts": len(some),
        "reference_seconds_per_prompt": reference_seconds,
        "speedup": reference_seconds and reference_seconds * len(prompts) / seconds,
        "agree": agree,
        "status": MEASURED,
    }


def not_its_own(share: float, count: int) -> str:
    """What is wrong where this share of statements is the tiny model's."""
    return f"{1 - share:.2%} of {count} statements are not the tiny model's own"


def failed(reason: str, agree: float) -> Row:
    """The row of a shape whose answers are wrong: its speed means nothing."""
    return {"agree": agree, "status": FAILED, "reason": reason}


def run_reference(model, tokenizer, prompts: list[str]) -> tuple[float | None, list[Completion]]:
    """The paper's way behind a warm-up: seconds a prompt, None where there is none, and the
    statements."""
    if not prompts:
        return None, []
    reference_decode(model, tokenizer, prompts[:1], max_new_tokens=2)
    seconds, found = timed(lambda: reference_decode(model, tokenizer, prompts), model.device)
    return seconds / len(prompts), found


def try_shape(shape: Shape, tiny, *task) -> Row:
    """Measure a shape, or say why not. `task`: what `measure` takes behind the model."""
    settings, device = task[-1], tiny.model.device
    reason = too_large(shape, device, getattr(torch, settings.dtype))
    if not reason:
        try:
            return measure(shape, tiny, *task)
        except torch.OutOfMemoryError:
            reason = "out of memory"
        except UserError as error:  # the model cannot be inflated so, or not even one prompt fits
            reason = str(error)
        finally:
            gc.collect()
            release()
    return {"status": NOT_MEASURED, "reason": reason}


def read_rows(path: Path) -> dict[tuple[str, str], Row]:
    """The rows of an earlier run by device and shape."""
    if not path.exists():
        return {}
    table = read_csv(path, COLUMNS)
    rows = [row for row in table.to_dict("records") if row["shape"] in SHAPES]
    return {(row["device"], row["shape"]): row for row in rows}


def write_rows(path: Path, rows: dict[tuple[str, str], Row]) -> pd.DataFrame:
    """The table: by device, in the order of the shapes."""
    order = sorted(rows, key=lambda key: (key[0], list(SHAPES).index(key[1])))
    table = pd.DataFrame([rows[key] for key in order], columns=COLUMNS)
    table = table.astype(dict.fromkeys(COUNTS, "Int64"))
    write_csv(path, table)
    return table


def answers_in(settings, dtype: str, prompts: list[str]) -> list[Completion]:
    """The tiny model's own answers in a dtype."""
    tiny = load(settings.model, settings.device, dtype)
    return Decoder(tiny.model, tiny.tokenizer).decode(prompts)


def settings_of() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    names = ", ".join(SHAPES)
    add("--shapes", nargs="+", required=True, choices=SHAPES, metavar="SHAPE", help=names)
    for add_some in (add_model, add_bench, add_prompts):
        add_some(parser)
    add_rounds(parser, "--repeats")
    few = "of the paper's way (default: %(default)s)"
    add("--reference-prompts", type=natural, default=16, help=few)
    add("--device", help="cpu, cuda, cuda:1, ... (default: the GPU where there is one)")
    dtypes = "default: bfloat16 on a GPU, else float32"
    add("--dtype", choices=("float32", "bfloat16"), help=dtypes)
    return parser.parse_args()


@command
def main() -> None:
    settings = settings_of()
    tiny = load(settings.model, settings.device, "float32")
    device = tiny.model.device
    settings.dtype = settings.dtype or ("bfloat16" if device.type == "cuda" else "float32")
    prompts = [statement_prompt(example.description) for example in read_examples(settings.data)]
    prompts = spread(prompts, settings.prompts or len(prompts))
    rows, here = read_rows(settings.out), device_name(device)
    dtype = getattr(torch, settings.dtype)
    answers = Answers(answers_in(settings, "float32", prompts), least=1.0)
    if dtype != torch.float32:
        least = least_agreement(answers.expected, answers_in(settings, settings.dtype, prompts))
        answers = replace(answers, least=least)
    peak = peak_flops(device, dtype)  # the best of all, for other work may slow one of them
    for name, shape in SHAPES.items():
        same = {"shape": name, "parameters": shape.parameters}
        same |= {"device": here, "dtype": settings.dtype}
        if name in settings.shapes:
            row = try_shape(shape, tiny, prompts, answers, settings)
            peak = max(peak, peak_flops(device, dtype))
            rows[here, name] = same | row | {"mfu": row.get("flops_per_second", math.nan) / peak}
            predicted = device.type == "cuda" and tiny.spec.name == MEASURED_WITH
            if predicted and row["status"] == MEASURED:
                print(take_measured(settings.out.with_name(PREDICTED), rows[here, name]))
        elif rows.get((here, name), {}).get("status") not in (MEASURED, FAILED):
            reason = too_large(shape, device, dtype) or "not asked for"
            rows[here, name] = same | {"status": NOT_MEASURED, "reason": reason}
        table = write_rows(settings.out, rows)
    print(table.to_string(index=False))
    mismatches = []
    for name in settings.shapes:
        row = rows[here, name]
        if row["status"] == FAILED:
            mismatches.append(f"{name}: {row['reason']}")
    if mismatches:
        raise UserError(f"wrong answers; {'; '.join(mismatches)}")


if __name__ == "__main__":
    main()

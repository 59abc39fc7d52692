"""Measure how the engine's seconds grow with the number of prompts and with CPU threads.

    python experiments/bench/scaling.py --data data/boxes/test-t5.jsonl --unit 714 --out data/bench/scaling.csv

`--unit` is the size of the evaluated subset; 1, 4 and 16 times as many of the dataset's descriptions are decoded.
"""

import os
import sys
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, out_file, positive
from boxes.dataset import read_examples
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.prompting import statement_prompt
from boxes.records import UserError, command, write_csv
from experiments.bench.measure import machine_name, measured, median_seconds

TIMES = (1, 4, 16)


def thread_counts(cores: int) -> list[int]:
    """1, 2, 4, ... and all cores."""
    return sorted({cores, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)})


def decode_measured(loaded, prompts: list[str], times: int, threads: int, rounds: int) -> dict:
    """One row: `rounds` runs over `times` times the unit of prompts."""
    torch.set_num_threads(threads)
    decoder = Decoder(loaded.model, loaded.tokenizer)
    runs = [measured(lambda: decoder.decode(prompts), loaded.model.device) for _ in range(rounds)]
    seconds = median_seconds(runs)
    return {
        "times_test_set": times,
        "threads": threads if loaded.model.device.type == "cpu" else None,
        "prompts": len(prompts),
        "seconds": seconds,
        "statements_per_second": len(prompts) / seconds,
        "rounds": rounds,
        "peak_memory_mib": max(peak for _, peak, _ in runs),
        "device": machine_name(loaded.model.device),
    }


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--model", default="tiny-base", help="a name of boxes/models/table.py or a folder (%(default)s)"
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset with at least 16 units of descriptions")
    parser.add_argument("--unit", type=positive, default=714, help="descriptions in the evaluated subset (%(default)s)")
    parser.add_argument("--out", type=out_file, required=True, help="the CSV to write")
    parser.add_argument("--rounds", type=positive, default=3, help="runs of which the median counts; 1 for the largest")
    arguments = parser.parse_args()
    prompts = [statement_prompt(example.description) for example in read_examples(arguments.data)]
    if len(prompts) < max(TIMES) * arguments.unit:
        needed = max(TIMES) * arguments.unit
        raise UserError(f"{arguments.data}: {len(prompts)} descriptions, {needed} are needed; give a smaller --unit")
    loaded = load(arguments.model, dtype="float32")
    cores = len(os.sched_getaffinity(0)) if loaded.model.device.type == "cpu" else 1
    unit, found = prompts[:: len(prompts) // arguments.unit][: arguments.unit], []
    Decoder(loaded.model, loaded.tokenizer).decode(unit[:64])  # warms up
    for threads in thread_counts(cores):
        found.append(decode_measured(loaded, unit, 1, threads, arguments.rounds))
    for times in TIMES[1:]:
        rounds = 1 if times == TIMES[-1] else arguments.rounds
        found.append(decode_measured(loaded, prompts[: times * arguments.unit], times, cores, rounds))
    table = pd.DataFrame(found)
    table.insert(0, "model", loaded.spec.name)
    first = table[(table["times_test_set"] == 1) & table["threads"].isin([cores, None])]["seconds"].iloc[-1]
    table.insert(5, "times_first", table["seconds"] / first)
    write_csv(arguments.out, table)
    print(table.drop(columns=["model", "device"]).to_string(index=False))


if __name__ == "__main__":
    main()

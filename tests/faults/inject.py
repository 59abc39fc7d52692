"""Inject faults and see that nothing is lost: every result must come out as without them. `make test-faults` runs all.

    python tests/faults/inject.py --out data/bench/faults.csv
    python tests/faults/inject.py --only kill-decoding --rounds 5

Exit status 1 where a fault was not survived. What is written is a row a fault: how often it was injected, how often survived.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).absolute().parents[1]))  # the fixtures of the tests

from faults_decoding import broken_models, decoding_ended, decoding_killed, memory_short, stale_locks
from faults_make import (
    clock_jumps,
    full_disk,
    make_killed,
    no_permission,
    other_hardware,
    truncated_checkpoint,
    two_at_once,
)
from fuzz import PROPERTIES, attempt

from boxes.commandline import argument_parser, command, natural, out_file, positive
from boxes.records import write_csv


@dataclass(frozen=True)
class Fault:
    """What is done, what is held to count as survived, how often, and by whom: (folder, rounds, seed) -> (survived, note)."""

    fault: str
    survived: str
    rounds: int
    inject: Callable[[Path, int, int], tuple[int, str]]


SAME = "every prediction, CSV and table is the same, byte by byte, as without"


def inputs(_folder: Path, rounds: int, seed: int) -> tuple[int, str]:
    """Inputs made by editing good ones: each is refused as documented, or read as an independent reader reads it."""
    counts = {name: attempt(name, rounds // len(PROPERTIES), seed) for name in PROPERTIES}
    return sum(tried for tried, _ in counts.values()), ", ".join(
        f"{tried} {name}s" for name, (tried, _) in counts.items()
    )


FAULTS = {
    "kill-make": Fault("`kill -9` during `make all`", SAME, 30, make_killed),
    "kill-decoding": Fault("`kill -9` while a model is decoded", f"no line lost once it was written, none twice; {SAME}",
                           60, decoding_killed),
    "signals": Fault("Ctrl-C, SIGTERM, SIGHUP while a model is decoded", "one line, status 130, 143 or 129, no torn line, "
                     "no lock left; then as without", 30, decoding_ended),
    "full-disk": Fault("the disk is full during `make all`", "one line says so; with room again, as without", 4, full_disk),
    "permission": Fault("a folder that may not be written", "one line says so; with permission, as without", 4, no_permission),
    "clock": Fault("the clock jumps a day between two `make all`", SAME, 4, clock_jumps),
    "two": Fault("two `make all` at once in one checkout", f"the second waits; {SAME}", 3, two_at_once),
    "locks": Fault("a lock whose owner died, here or on another machine", "taken over by one of four alone", 12, stale_locks),
    "memory": Fault("out of memory at the first, a middle, the last forward", "half the batch, on record; the same lines", 12,
                    memory_short),
    "models": Fault("a model that never ends, writes special tokens, or whose logits are NaN or infinite",
                    "statuses and counts say so, its scores are defined", 12, broken_models),
    "checkpoint": Fault("a truncated checkpoint among good ones", "the others are scored; it is named with the reason, status "
                        "not 0; whole again, as without", 3, truncated_checkpoint),
    "hardware": Fault("another number of threads and of prompts at a time", SAME, 2, other_hardware),
    "inputs": Fault("malformed datasets, predictions, descriptions and statements", "refused in one line, or read as an "
                    "independent reader reads them", 8000, inputs),
}  # fmt: skip


@command
def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--out", type=out_file, help="CSV to write (default: none)")
    parser.add_argument("--only", nargs="*", choices=FAULTS, default=list(FAULTS), help="only these (default: all)")
    parser.add_argument("--rounds", type=positive, help="how often each (default: as its row says)")
    parser.add_argument("--seed", type=natural, default=1, help="of what is random (default: %(default)s)")
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only:
        fault, began = FAULTS[name], time.monotonic()
        rounds = arguments.rounds or fault.rounds
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            survived, note = fault.inject(Path(folder), rounds, arguments.seed)
        injected = max(rounds, survived) if name == "inputs" else rounds
        seconds = round(time.monotonic() - began)
        print(f"{name}: {survived} of {injected} survived in {seconds} s ({note})", flush=True)
        rows.append({"name": name, "fault": fault.fault, "held_to": fault.survived, "injected": injected,
                     "survived": survived, "note": note})  # fmt: skip
        if arguments.out:
            write_csv(arguments.out, pd.DataFrame(rows))
    return int(any(row["survived"] < row["injected"] for row in rows))


if __name__ == "__main__":
    main()

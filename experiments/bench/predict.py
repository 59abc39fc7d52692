"""Predict the engine's seconds on a GPU that nobody has had yet, from recorded schedules (schedule.py).

    python experiments/bench/predict.py --schedule data/bench/schedule.csv --out data/bench/predicted.csv

Each forward runs on fake tensors of a real shape (rehearse.py), where its floating-point operations, the bytes that its
kernels read and write, and its launches are counted. The device takes operations / FLOPS and bytes / BANDWIDTH, kernel
after kernel, Python launches * LAUNCH (the constants are in predicted.py); they work at the same time, so a forward takes
the longer. `waiting_seconds`: how long the device waits for Python.
What `make bench SHAPES=...` has measured stays beside the new predictions.
Copies to the device between forwards are not in it.
"""

import sys
from functools import cache
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, out_file
from boxes.decoding import loop
from boxes.decoding.attention import KVCache, prefix_sharing
from boxes.decoding.forward import forward
from boxes.models.shapes import SHAPES, Shape
from boxes.records import read_csv, write_csv
from experiments.bench import schedule
from experiments.bench.fake_gpu import GPU, Cost, fake_gpu
from experiments.bench.predicted import BANDWIDTH, COLUMNS, FLOORS, FLOPS, LAUNCH, PREDICTED, keep_measured
from experiments.bench.rehearse import STATEMENT, Script, fake_model, job_of, of_all, placed, prompts_of

GRAIN = 64  # widths and tokens are counted to the next multiple of this: as many forwards fewer to rehearse
PROMPTS = 714
TWO = {"70b": 2}  # GPUs, where one holds no batch beside the weights; one works at a time


@cache
def fake_models(shape: Shape, layers: int):
    """A model of a shape; one serves all schedules."""
    return fake_model(shape, layers, torch.bfloat16)


class Rehearsed:
    """One shape with a few layers on the fake GPU, and its shared prefix."""

    def __init__(self, shape: Shape, layers: int, ledger):
        self.ledger, self.model = ledger, fake_models(shape, layers)
        placed(self.model, 1)
        self.prefix = None

    def cost(self, phase: str, rows: int, columns: int, tokens: int, width: int, decided: int) -> Cost:
        """What one forward with its head costs, of a step with its bookkeeping."""
        self.ledger.cost = Cost()
        with prefix_sharing(self.model):
            if phase == "prefix":
                self.prefix = KVCache(1, columns)
                forward(self.model, self.prefix, 0, torch.zeros(1, columns, dtype=torch.long, device=GPU))
            elif phase == "step":
                self._step(rows, columns, width)
            else:
                self._prefill(rows, columns, tokens, decided)
        return self.ledger.cost

    def _step(self, rows: int, columns: int, width: int) -> None:
        job, prompts = job_of(self.model, rows), prompts_of(rows)
        begun = loop.new_rows(prompts, self.prefix.shape[1], (len(prompts[0].ids) + width, STATEMENT + 1), GPU)
        cache = KVCache(rows, width, self.prefix)
        for _ in range(2):  # the first takes the memory of the rows, which is there in a run
            self.ledger.cost = Cost()
            loop.step(job, cache, begun, width - columns)

    def _prefill(self, rows: int, columns: int, tokens: int, decided: int) -> None:
        packed = None
        if tokens < rows * columns:
            packed = torch.zeros(tokens, dtype=torch.long, device=GPU)
        ids = torch.zeros(rows, columns, dtype=torch.long, device=GPU)
        hidden = forward(self.model, KVCache(rows, columns, self.prefix), 0, ids, packed=packed)
        states = torch.zeros(1, decided, dtype=torch.long, device=GPU)
        loop.decide(job_of(self.model, rows), hidden[:1, :1].expand(-1, decided, -1), states, None)


def widened(row) -> tuple:
    """A forward of the whole test set's run, from one of a smaller run of the same form."""
    rows = max(1, round(row.rows / row.part)) if row.phase == "step" else row.rows
    columns = row.columns if row.phase == "step" else grained(row.columns)
    tokens = rows * columns if row.phase == "step" else min(grained(row.tokens), rows * columns)
    return row.phase, rows, columns, tokens, grained(row.width), grained(row.decided)


def grained(number: int) -> int:
    """The next multiple of GRAIN."""
    return -(-int(number) // GRAIN) * GRAIN


def times(row) -> float:
    """How often a forward of a smaller run is run in the whole one: a prefill is as large there, and there are more."""
    return 1 / row.part if row.phase == "prefill" else 1.0


def costs_of(shape: Shape, forwards: list[tuple]) -> dict[tuple, tuple[float, float, float]]:
    """Operations, bytes and launches of each forward with all layers of a shape."""
    found: dict[int, list[Cost]] = {}
    for layers in (2, 3):
        fake_models(shape, layers)
        with fake_gpu(Script()) as ledger:
            rehearsed = Rehearsed(shape, layers, ledger)
            found[layers] = [rehearsed.cost(*one) for one in forwards]
    costs = {}
    for one, two, three in zip(forwards, found[2], found[3], strict=True):
        numbers = [(getattr(two, what), getattr(three, what)) for what in ("flops", "moved", "launches")]
        costs[one] = tuple(of_all(shape.layers, *pair) for pair in numbers)
    return costs


def predict(name: str, table: pd.DataFrame) -> dict:
    """The row of a shape for one model's schedule."""
    rows = list(table.itertuples(index=False))
    forwards = list(dict.fromkeys(map(widened, rows)))  # the prefix first, which the others attend to
    costs = costs_of(SHAPES[name], forwards)
    seconds = {"prefix": 0.0, "prefill": 0.0, "step": 0.0}
    waiting = 0.0
    for row in rows:
        flops, moved, launches = costs[widened(row)]
        busy = flops / FLOPS + moved / BANDWIDTH
        seconds[row.phase] += busy * times(row)
        waiting += max(0.0, launches * LAUNCH - busy) * times(row)
    prefill = seconds["prefix"] + seconds["prefill"]
    return {
        "shape": name,
        "schedule": rows[0].model,
        "part": rows[0].part,
        "gpus": TWO.get(name, 1),
        "prompts": PROMPTS,
        "forwards": round(sum(map(times, rows))),
        "prefill_seconds": prefill,
        "step_seconds": seconds["step"],
        "waiting_seconds": waiting,
        "seconds": prefill + seconds["step"] + waiting,
        "floor_seconds": FLOORS[name],
        "status": PREDICTED,
    }


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--schedule", type=Path, required=True, help="the CSV that schedule.py wrote")
    add("--shapes", nargs="+", choices=FLOORS, default=list(FLOORS), metavar="SHAPE", help=", ".join(FLOORS))
    add("--out", type=out_file, required=True, help="the CSV to write")
    arguments = parser.parse_args()
    table, rows = read_csv(arguments.schedule, schedule.COLUMNS), []
    for name in arguments.shapes:
        for _, recorded in table.groupby("model", sort=False):
            rows.append(predict(name, recorded))
    write_csv(arguments.out, keep_measured(pd.DataFrame(rows, columns=COLUMNS), arguments.out))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()

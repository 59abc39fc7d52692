"""Record how a GPU would cut up the work: rows, columns and tokens of each forward, from a real run on a CPU that is
cut up as a GPU's is.

    python experiments/bench/schedule.py --models tiny-base smollm2-135m-instruct-q4_1 \\
        --data data/boxes/test-subsample-states-t5.jsonl --out data/bench/schedule.csv

With --prompts the run is a smaller one of the same form: rows at a time and drafted tokens of a step are as many times
fewer, so that there are as many steps and each is as much narrower; predict.py widens it again. Which drafts a model
confirms, and so how many steps there are, is the model's own doing. The text of the task is not in the file.
"""

import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command
from boxes.dataset import read_examples
from boxes.decoding import loop, memory, price, stems, widths
from boxes.decoding.engine import Decoder
from boxes.decoding.forward import common_prefix
from boxes.models import load
from boxes.prompting import encode_prompts, statement_prompt
from boxes.records import write_csv
from experiments.bench.decoding import spread
from experiments.bench.measure import add_bench, add_prompts

GPU = "cuda"
# part: of the test set. tokens: run, of rows x columns. width: own tokens of the longest row behind it. decided: tokens
# whose logits are made.
COLUMNS = ("model", "part", "phase", "rows", "columns", "tokens", "width", "decided")


@contextmanager
def noting(rows: list[dict], part: float):
    """While it lasts, every forward behind the prefix is noted, and a step is as much narrower as the run is smaller."""
    forward, decide = loop.forward, loop.decide

    def noted(model, cache, first, tokens, lengths=None, width=0, packed=None):
        found = {"phase": "prefill" if lengths is None else "step", "rows": len(tokens), "columns": tokens.shape[1]}
        found["tokens"] = tokens.numel() if packed is None else len(packed)
        rows.append(found | {"width": width or tokens.shape[1]})
        return forward(model, cache, first, tokens, lengths, width, packed)

    def decided(job, hidden, states, packed):
        rows[-1]["decided"] = states.numel()
        return decide(job, hidden, states, packed)

    # What pays in bfloat16 on a GPU, not in this run's float32.
    certain = {(GPU, torch.float32): price.FORWARD_TOKENS[GPU, None] * part}
    with ExitStack() as stack:
        for room in (loop, stems):  # those of steps, those of prefills
            stack.enter_context(patch.object(room, "forward", noted))
        stack.enter_context(patch.object(loop, "decide", decided))
        stack.enter_context(patch.object(widths, "STEP_TOKENS", max(1, round(widths.STEP_TOKENS * part))))
        stack.enter_context(patch.dict(price.FORWARD_TOKENS, certain))
        yield


def record(name: str, prompts: list[str], part: float) -> list[dict]:
    """Every forward of one model's run over the prompts, the shared prefix first."""
    loaded = load(name, "cpu", "float32")
    rows_at_a_time = max(1, round(memory.most_rows(GPU) * part))
    decoder = Decoder(loaded.model, loaded.tokenizer, batch_size=rows_at_a_time)
    decoder.kind = GPU
    shared = common_prefix(encode_prompts(loaded.tokenizer, prompts))
    rows = [{"phase": "prefix", "rows": 1, "columns": shared, "tokens": shared, "width": shared, "decided": 0}]
    with noting(rows, part):
        decoder.decode(prompts)
    return [{"model": loaded.spec.name, "part": part} | row for row in rows]


@command
def main() -> None:
    parser = argument_parser(__doc__)
    for add in (add_bench, add_prompts):
        add(parser)
    parser.add_argument("--models", nargs="+", required=True, help="names of boxes/models/table.py or folders")
    arguments = parser.parse_args()
    prompts = [statement_prompt(example.description) for example in read_examples(arguments.data)]
    some = spread(prompts, arguments.prompts or len(prompts))
    rows = []
    for name in arguments.models:
        rows += record(name, some, len(some) / len(prompts))
        write_csv(arguments.out, pd.DataFrame(rows, columns=COLUMNS))
    print(pd.DataFrame(rows).groupby(["model", "phase"]).agg({"rows": "size", "tokens": "sum"}))


if __name__ == "__main__":
    main()

"""Measure real pretrained models, which err: the engine with and without drafts and the floor, in
every way of asking, freely over many prompts, too; over fewer the paper's way and generate in batches; and of the first
model the engine and the floor over all prompts.

    python experiments/bench/real.py --data data/boxes/test-subsample-states-t5.jsonl \\
        --models smollm2-135m-instruct-q4_1 gemma-3-270m-q4_k_m \\
        --out data/bench/real.csv --drafts data/bench/drafts.csv

Every way must give the same token ids over its prompts, or the script fails. --drafts says of each
kind of drafted token how many were verified and confirmed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, out_file, positive
from boxes.dataset import read_examples
from boxes.decoding.drafting import KIND_NAMES
from boxes.decoding.engine import Decoder
from boxes.models import Loaded, load
from boxes.prompting import STATEMENT_REGEX, PromptSettings, prompt_maker
from boxes.records import write_csv
from experiments.bench.decoding import (
    ENGINE,
    ENGINE_PLAIN,
    compare,
    engine_ways,
    rows_of,
    spread,
)
from experiments.bench.measure import add_bench, add_prompts, add_rounds, device_name, rounds


@dataclass(frozen=True)
class Case:
    """A way of asking: the prompt's format, whether the expression holds, and how many prompts are
    decoded at a time (None: as many as the engine takes). `most` prompts are taken, None: all.
    `both`: whether it is decoded without drafts, too; if not, it is a long case."""

    prompt_format: str = "plain"
    free: bool = False
    batch_size: int | None = None
    most: int | None = None
    both: bool = True


SOME = 48
CASES = (
    Case(both=False),
    Case(free=True, most=192, both=False),
    Case(most=SOME),
    Case(free=True, most=16),
    Case("chat", most=24),
    Case(batch_size=8, most=16),
    Case(batch_size=1, most=6),
)


def measure_case(loaded: Loaded, case: Case, texts: list[str], count: int) -> tuple[list, list]:
    """Rows of real.csv and of drafts.csv for one case."""
    regex = None if case.free else STATEMENT_REGEX
    make = partial(Decoder, loaded.model, loaded.tokenizer, regex, batch_size=case.batch_size)
    fast, slow = make(), make(draft=False)
    ways = engine_ways(fast, slow if case.both else None, texts)
    runs = rounds(ways, count, loaded.model.device)
    table = rows_of(runs, {ENGINE: fast, ENGINE_PLAIN: slow}, {})
    nothing = torch.zeros(len(KIND_NAMES))  # of a model that is decoded in another way
    proposed, accepted = (fast.work.sums.get(name, nothing).tolist() for name in ("proposed", "accepted"))
    drafts = []
    for name, verified, confirmed in zip(KIND_NAMES, proposed, accepted, strict=True):
        counts = {"verified": verified, "confirmed": confirmed, "tokens": fast.work.tokens}
        drafts.append({"prompts": len(texts), "kind": name} | counts)
    return [about(case) | row for row in table], [about(case) | row for row in drafts]


def about(case: Case) -> dict:
    """The columns that say which case a row is of."""
    return {
        "prompt_format": case.prompt_format,
        "decoding": "free" if case.free else "constrained",
        "batch_size": case.batch_size,
    }


def texts_of(loaded: Loaded, case: Case, descriptions: list[str]) -> list[str]:
    """The prompts of a case; none where the model has no chat template."""
    if case.prompt_format == "chat" and not loaded.tokenizer.chat_template:
        return []
    make_prompt = prompt_maker(PromptSettings(case.prompt_format), loaded.tokenizer)
    chosen = spread(descriptions, case.most or len(descriptions))
    return [make_prompt(description) for description in chosen]


def measure_model(
    name: str, descriptions: list[str], slow: int, count: int, whole: bool
) -> Iterator[tuple[list, list]]:
    """Rows of both tables for one model, case by case; `whole`: over all descriptions, too."""
    loaded = load(name, dtype="float32")
    who = {"model": loaded.spec.name}
    device = {"device": device_name(loaded.model.device)}
    for case in CASES:
        if not case.both and (len(descriptions) <= SOME or (case.most is None and not whole)):
            continue
        texts = texts_of(loaded, case, descriptions)
        if texts:
            rows, drafts = measure_case(loaded, case, texts, count)
            yield [who | row | device for row in rows], [who | row for row in drafts]
    texts = texts_of(loaded, Case(most=slow), descriptions)
    rows = compare(loaded.model, loaded.tokenizer, texts, count)
    yield [who | about(Case()) | row | device for row in rows], []


@command
def main() -> None:
    parser = argument_parser(__doc__)
    for add_some in (add_bench, add_prompts, add_rounds):
        add_some(parser)
    add = parser.add_argument
    add("--models", nargs="+", required=True, help="names of boxes/models/table.py or folders")
    add("--slow", type=positive, default=24, help="prompts of the slow ways (%(default)s)")
    add("--drafts", type=out_file, required=True, help="the CSV of kinds of drafts to write")
    arguments = parser.parse_args()
    descriptions = [example.description for example in read_examples(arguments.data)]
    descriptions = spread(descriptions, arguments.prompts or len(descriptions))
    table, drafts = [], []
    for name in arguments.models:
        whole = name == arguments.models[0]
        for rows, more in measure_model(name, descriptions, arguments.slow, arguments.rounds, whole):
            table += rows
            drafts += more
            # What is measured is kept, whatever becomes of the next case.
            write_csv(arguments.out, pd.DataFrame(table).drop(columns="statements_per_second"))
            write_csv(arguments.drafts, pd.DataFrame(drafts))
    print(pd.DataFrame(table).drop(columns=["device", "note"]).to_string(index=False))


if __name__ == "__main__":
    main()

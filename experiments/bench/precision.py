"""Measure what bfloat16 changes: statements that differ from batch 1 without drafts ("flips"), and the score.

    python experiments/bench/precision.py --models tiny-base --data data/boxes/test-subsample-states-t5.jsonl \\
        --out data/bench/bfloat16.csv

In float32 the way of batching changes nothing. In bfloat16 it does, in any software: flips between batch 1 and plain
batches (no shared prefix, no drafts) are the noise floor that those of the engine are to be compared with.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, out_file, positive
from boxes.completion import Completion
from boxes.dataset import Example, read_examples
from boxes.decoding import fallback
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.prompting import PromptSettings, prompt_maker
from boxes.records import command, write_csv
from boxes.scoring import score_statement
from experiments.bench.decoding import spread
from experiments.bench.measure import machine_name

BASE = "batch 1, no drafts"
BATCH = 64


@torch.inference_mode()
def plain_batches(decoder: Decoder, prompts: list[str]) -> list[Completion]:
    """The texts of padded batches, without a shared prefix or drafts."""
    asked, found = decoder.prompts(prompts), {}
    decoder.work.rows = BATCH
    for finished in fallback.decode_rows(decoder, sorted(asked, key=lambda prompt: -len(prompt.ids))):
        for index, ids, ended in finished:
            found[index] = decoder.completion(asked[index], ids, ended)
    return [found[index] for index in range(len(prompts))]


def ways(loaded) -> dict[str, Callable[[list[str]], list[Completion]]]:
    """The ways of batching that are compared, the base first."""
    model, tokenizer = loaded.model, loaded.tokenizer
    return {
        BASE: Decoder(model, tokenizer, batch_size=1, draft=False).decode,
        f"plain batches of {BATCH} (the noise floor)": lambda prompts: plain_batches(
            Decoder(model, tokenizer, draft=False), prompts
        ),
        f"the engine, {BATCH} a batch, no drafts": Decoder(model, tokenizer, batch_size=BATCH, draft=False).decode,
        f"the engine, {BATCH} a batch": Decoder(model, tokenizer, batch_size=BATCH).decode,
    }


def correct_queries(examples: list[Example], completions: list[Completion]) -> int:
    """How many queries, seven a description, the statements answer."""
    pairs = zip(examples, completions, strict=True)
    return sum(sum(score_statement(one.text, example.contents, one.status)) for example, one in pairs)


def compare(name: str, data: Path, count: int | None) -> list[dict]:
    """The rows of one model: all ways in bfloat16, and the engine in float32."""
    examples = read_examples(data)
    examples = spread(examples, count or len(examples))
    rows, base, base_correct = [], [], 0
    for dtype in ("bfloat16", "float32"):
        loaded = load(name, dtype=dtype)
        chosen = PromptSettings(loaded.spec.prompt_format, "table2", loaded.spec.system_role)
        make_prompt = prompt_maker(chosen, loaded.tokenizer)
        prompts = [make_prompt(example.description) for example in examples]
        for way, decode in ways(loaded).items():
            if dtype == "float32" and "engine" not in way:
                continue
            completions = decode(prompts)
            correct = correct_queries(examples, completions)
            if not base:
                base, base_correct = completions, correct
            flips = sum(one.tokens != other.tokens for one, other in zip(completions, base, strict=True))
            rows.append(
                {
                    "model": name,
                    "dtype": dtype,
                    "way": way,
                    "statements": len(prompts),
                    "flips": flips,
                    "flip_rate": flips / len(prompts),
                    "queries": 7 * len(prompts),
                    "correct": correct,
                    "accuracy": 100 * correct / (7 * len(prompts)),
                    "points_from_base": 100 * (correct - base_correct) / (7 * len(prompts)),
                    "device": machine_name(loaded.model.device),
                }
            )
    return rows


@command
def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--models", nargs="+", default=["tiny-base"], help="names of boxes/models/table.py (%(default)s)"
    )
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    parser.add_argument("--out", type=out_file, required=True, help="the CSV to write")
    parser.add_argument("--prompts", type=positive, help="only so many, all over the dataset (default: all of them)")
    arguments = parser.parse_args()
    found = [row for name in arguments.models for row in compare(name, arguments.data, arguments.prompts)]
    table = pd.DataFrame(found)
    write_csv(arguments.out, table)
    print(table.drop(columns=["device", "queries", "statements"]).to_string(index=False))


if __name__ == "__main__":
    main()

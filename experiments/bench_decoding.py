"""Measure ways of decoding in one run on one machine: the paper's way, batched generate, the engine, the floor.

    python experiments/bench_decoding.py --model tiny-base --data data/boxes/test-subsample-states-t5.jsonl \\
        --out data/bench/decoding.csv

Every way decodes the same prompts and must give the same token ids, or the script fails. The floor is one teacher-forced
forward over the same tokens: the shared prefix once, each prompt's own tokens and its statement once.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from outlines.backends.outlines_core import OutlinesCoreLogitsProcessor
from transformers import GenerationConfig, LogitsProcessorList

from boxes.attention import KVStore
from boxes.completion import Completion
from boxes.constraint import build_index, end_ids_of
from boxes.dataset import read_examples
from boxes.decoding import Decoder, forward, own_attention, padded, share_prefix
from boxes.models import load
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompts, statement_prompt
from boxes.records import UserError, command, write_csv
from boxes.reference import reference_decode

GENERATE_BATCHES = (8, 16, 32)


def batched_generate(model, tokenizer, prompts: list[str], batch_size: int) -> list[tuple[int, ...]]:
    """transformers' generate in left-padded batches under outlines' processor; the token ids."""
    index, *_ = build_index(STATEMENT_REGEX[len(STATEMENT_HEAD) :], tokenizer)
    end = end_ids_of(tokenizer)[0]
    settings = GenerationConfig(max_new_tokens=256, do_sample=False, eos_token_id=end, pad_token_id=end)
    rows = []
    for first in range(0, len(prompts), batch_size):
        encoded = encode_prompts(tokenizer, prompts[first : first + batch_size])
        width = max(map(len, encoded))
        ids = torch.tensor([[end] * (width - len(row)) + row for row in encoded], device=model.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=model.device)
        processor = LogitsProcessorList([OutlinesCoreLogitsProcessor(index, "torch")])
        output = model.generate(ids, attention_mask=mask, generation_config=settings, logits_processor=processor)
        rows += [tuple(token for token in row if token != end) for row in output[:, width:].tolist()]
    return rows


@torch.inference_mode()
def teacher_forced(decoder: Decoder, prompts: list[str], answers: list[Completion]) -> None:
    """The floor: nothing is decided, every token is run once, in batches of as many rows as the decoder last took."""
    encoded = encode_prompts(decoder.tokenizer, prompts)
    model, device = decoder.model, decoder.device
    skip, shared = share_prefix(model, encoded)
    rows = [(ids[skip:], answer.tokens) for ids, answer in zip(encoded, answers, strict=True)]
    rows.sort(key=lambda row: -len(row[0]) - len(row[1]))
    with own_attention(model):
        for first in range(0, len(rows), decoder.work.rows):
            batch = rows[first : first + decoder.work.rows]
            whole = [[*own, *tokens] for own, tokens in batch]
            width = max(map(len, whole))
            hidden = forward(model, KVStore(len(batch), width, shared), 0, padded(whole, width, 0, device))
            written = [
                state[len(own) - 1 : len(ids)] for state, (own, _), ids in zip(hidden, batch, whole, strict=True)
            ]
            model.get_output_embeddings()(torch.cat(written)).argmax(dim=-1)
    if device.type == "cuda":
        torch.cuda.synchronize()


def median_seconds(way: Callable[[], object], repeats: int) -> tuple[float, object]:
    """Median wall time of `repeats` runs behind a warm-up, and what the last one gave."""
    times, result = [], None
    for _ in range(repeats):
        began = time.perf_counter()
        result = way()
        times.append(time.perf_counter() - began)
    return statistics.median(times), result


def same(expected: list[Completion], found, way: str) -> None:
    """UserError where a way did not give the expected token ids."""
    tokens = [tuple(one.tokens) if isinstance(one, Completion) else one for one in found]
    wrong = sum(one.tokens != other for one, other in zip(expected, tokens, strict=True))
    if wrong:
        raise UserError(f"{way}: {wrong} of {len(expected)} statements have other tokens than the paper's way")


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-base", help="a name of boxes/models.py or a folder (%(default)s)")
    parser.add_argument("--data", type=Path, required=True, help="dataset in the release's schema")
    parser.add_argument("--out", type=Path, required=True, help="the CSV to write")
    parser.add_argument("--subset", type=int, default=64, help="prompts that all ways decode (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the median counts (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: all cores)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    loaded = load(arguments.model, dtype="float32")
    everything = [statement_prompt(example.description) for example in read_examples(arguments.data)]
    some = everything[:: max(1, len(everything) // arguments.subset)][: arguments.subset]
    pd_rows = measure(loaded.model, loaded.tokenizer, some, everything, arguments.repeats)
    table = pd.DataFrame(pd_rows, columns=["way", "prompts", "seconds", "statements_per_second", "note"])
    table.insert(0, "model", loaded.spec.name)
    table["device"] = f"{loaded.model.device.type}, {torch.get_num_threads()} threads"
    write_csv(arguments.out, table)
    print(table.to_string(index=False))


def measure(model, tokenizer, some: list[str], everything: list[str], repeats: int) -> list[tuple]:
    """A row a way: name, prompts, seconds, statements a second, note."""
    rows = []

    def add(name: str, prompts: list[str], seconds: float, note: str = "") -> None:
        rows.append((name, len(prompts), seconds, len(prompts) / seconds, note))

    seconds, expected = median_seconds(lambda: reference_decode(model, tokenizer, some), 1)
    add("(a) the paper's way: generate, one prompt at a time, outlines", some, seconds, "one run")
    best = None
    for size in GENERATE_BATCHES:
        seconds, found = median_seconds(lambda size=size: batched_generate(model, tokenizer, some, size), 1)
        same(expected, found, f"generate in batches of {size}")
        best = min(best or (seconds, size), (seconds, size))
    add("(b) generate in batches, outlines", some, best[0], f"batch {best[1]}, the best of {GENERATE_BATCHES}; one run")
    rows.append(("(c) generate in batches, another processor", len(some), None, None, "not run"))
    for prompts in (some, everything):
        slow, fast = Decoder(model, tokenizer, draft=False), Decoder(model, tokenizer)
        fast.decode(prompts[:8])
        seconds, found = median_seconds(lambda d=slow, p=prompts: d.decode(p), repeats if prompts is some else 1)
        same(expected, found, "engine without drafts") if prompts is some else None
        add("(d) engine without drafts", prompts, seconds)
        seconds, again = median_seconds(lambda d=fast, p=prompts: d.decode(p), repeats)
        same(found, again, "engine")
        add("(e) engine", prompts, seconds, f"{fast.work.tokens / fast.work.forwards:.0f} tokens a forward")
        seconds, _ = median_seconds(lambda d=fast, p=prompts, a=again: teacher_forced(d, p, a), repeats)
        add("(f) floor: one teacher-forced forward", prompts, seconds)
    return rows


if __name__ == "__main__":
    main()

"""Measure ways of decoding in one run on one machine: the paper's way, batched generate, the
engine, the floor.

    python experiments/bench/decoding.py --model tiny-base \\
        --data data/boxes/test-subsample-states-t5.jsonl --out data/bench/decoding.csv

Every way decodes the same prompts and must give the same token ids, or the script fails. The floor
is one teacher-forced forward over the same tokens: the shared prefix once, each prompt's own tokens
and its statement once.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import llguidance.hf
import llguidance.torch
import pandas as pd
import torch
from llguidance import LLExecutor, LLMatcher
from outlines.backends.outlines_core import OutlinesCoreLogitsProcessor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command
from boxes.completion import MAX_NEW_TOKENS, Completion
from boxes.dataset import read_examples
from boxes.decoding.attention import KVCache, prefix_sharing
from boxes.decoding.constraint import build_index, end_ids_of, token_bytes
from boxes.decoding.engine import Decoder
from boxes.decoding.forward import forward, share_prefix, together
from boxes.decoding.job import Work
from boxes.decoding.loop import prefill_tokens
from boxes.models import load
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompts, statement_prompt
from boxes.records import UserError, write_csv
from boxes.reference import reference_decode
from experiments.bench.measure import (
    add_bench,
    add_model,
    add_prompts,
    add_rounds,
    device_name,
    measured,
    median_ratio,
    median_seconds,
    rounds,
)

GENERATE_BATCHES = (8, 16, 32, 64)
SEARCHED = 64  # prompts with which the best of them is found
REST = STATEMENT_REGEX[len(STATEMENT_HEAD) :]  # the prompts end in its beginning
# By itself llguidance allows one way to spell what the expression leaves no choice about; the paper's
# way, outlines, allows all.
LLGUIDANCE_GRAMMAR = f'%llguidance {{"no_forcing": true}}\nstart: /{REST}/\n'
PAPER, OUTLINES, LLGUIDANCE = "a paper", "b outlines", "c llguidance"
ENGINE_PLAIN, ENGINE, FLOOR = "d engine without drafts", "e engine", "f floor"
WHAT = {
    PAPER: "the paper's way: generate, one prompt at a time, outlines",
    OUTLINES: "generate in batches, outlines",
    LLGUIDANCE: "generate in batches, llguidance",
    ENGINE_PLAIN: "the engine without drafts",
    ENGINE: "the engine",
    FLOOR: "the floor: one teacher-forced forward",
}


class LLGuidanceProcessor(LogitsProcessor):
    """llguidance's masks, all rows at once in its own threads."""

    def __init__(self, tokenizer, width: int):
        self.tokenizer = llguidance.hf.from_tokenizer(tokenizer, width)
        self.width, self.executor = width, LLExecutor()
        self.matchers: list[LLMatcher] = []

    def __call__(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        if not self.matchers:
            grammar = LLMatcher.grammar_from_lark(LLGUIDANCE_GRAMMAR)
            self.matchers = [LLMatcher(self.tokenizer, grammar) for _ in ids]
            self.masks = llguidance.torch.allocate_token_bitmask(len(ids), self.width)
        else:
            for matcher, token in zip(self.matchers, ids[:, -1].tolist(), strict=True):
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        pairs = list(zip(self.matchers, range(len(ids)), strict=True))
        llguidance.torch.fill_next_token_bitmask_par(self.executor, pairs, self.masks)
        llguidance.torch.apply_token_bitmask_inplace(logits, self.masks.to(logits.device))
        return logits


def processors(model, tokenizer) -> dict[str, Callable[[], LogitsProcessor]]:
    """Makers of a processor a batch; what can be made once is made here."""
    index = build_index(REST, tokenizer, token_bytes(tokenizer))
    width = model.get_output_embeddings().weight.shape[0]
    return {
        OUTLINES: lambda: OutlinesCoreLogitsProcessor(index, "torch"),
        LLGUIDANCE: lambda: LLGuidanceProcessor(tokenizer, width),
    }


def batched_generate(model, tokenizer, prompts: list[str], batch_size: int, processor) -> list:
    """transformers' generate in left-padded batches of like length; the token ids."""
    end = end_ids_of(tokenizer)[0]
    settings = GenerationConfig(max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    settings.eos_token_id = settings.pad_token_id = end
    encoded = encode_prompts(tokenizer, prompts)
    order = sorted(range(len(prompts)), key=lambda index: -len(encoded[index]))
    rows: dict[int, tuple[int, ...]] = {}
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        width = max(len(encoded[index]) for index in chosen)
        blanks = [width - len(encoded[index]) for index in chosen]
        ids = [[end] * blank + encoded[index] for index, blank in zip(chosen, blanks, strict=True)]
        mask = [[0] * blank + [1] * (width - blank) for blank in blanks]
        output = model.generate(
            torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=settings,
            logits_processor=LogitsProcessorList([processor()]),
        )
        for index, row in zip(chosen, output[:, width:].tolist(), strict=True):
            rows[index] = tuple(token for token in row if token != end)
    return [rows[index] for index in range(len(prompts))]


@torch.inference_mode()
def teacher_forced(decoder: Decoder, prompts: list[str], answers: list[Completion]) -> None:
    """The floor: nothing is decided, every token is run once, as many at a time as the engine
    prefills."""
    encoded = encode_prompts(decoder.tokenizer, prompts)
    model, device = decoder.model, decoder.device
    skip, shared = share_prefix(model, encoded)
    rows = [(ids[skip:], answer.tokens) for ids, answer in zip(encoded, answers, strict=True)]
    rows.sort(key=lambda row: -len(row[0]) - len(row[1]))
    with prefix_sharing(model):
        while rows:
            width = len(rows[0][0]) + len(rows[0][1])
            count = max(1, prefill_tokens(decoder.kind) // width)
            whole = [[*own, *tokens] for own, tokens in rows[:count]]
            store = KVCache(len(whole), width, shared)
            tokens, packed = together(whole, device)
            hidden = forward(model, store, 0, tokens, packed=packed).flatten(0, 1)
            written, row = [], 0  # the states that the tokens of a statement are decided from
            for (own, _), ids in zip(rows[:count], whole, strict=True):
                written.append(hidden[row + len(own) - 1 : row + len(ids)])
                row += width if packed is None else len(ids)
            model.get_output_embeddings()(torch.cat(written)).argmax(dim=-1)
            rows = rows[count:]


def same(expected: list[tuple], found: list, way: str) -> None:
    """UserError where a way did not give the expected token ids."""
    tokens = [tuple(one.tokens) if isinstance(one, Completion) else one for one in found]
    wrong = sum(one != other for one, other in zip(expected, tokens, strict=True))
    if wrong:
        found = f"{wrong} of {len(expected)} statements"
        raise UserError(f"{way}: {found} have other tokens than the ways before it")


def sizes_for(count: int) -> tuple[int, ...]:
    """The batch sizes that so many prompts can fill; the smallest, where they fill none."""
    return tuple(size for size in GENERATE_BATCHES if size <= count) or GENERATE_BATCHES[:1]


def best_batches(model, tokenizer, prompts: list[str]) -> dict[str, int]:
    """The batch size at which each processor is fastest over some prompts; this warms up, too."""
    best = {}
    for way, processor in processors(model, tokenizer).items():
        seconds = {}
        for size in sizes_for(len(prompts)):
            decode = partial(batched_generate, model, tokenizer, prompts, size, processor)
            seconds[size], *_ = measured(decode, model.device)
        best[way] = min(seconds, key=seconds.get)
    return best


def compare(model, tokenizer, prompts: list[str], count: int) -> list[dict]:
    """A row a way, all over the same prompts in `count` rounds."""
    fast, slow = Decoder(model, tokenizer), Decoder(model, tokenizer, draft=False)
    sizes = best_batches(model, tokenizer, spread(prompts, SEARCHED))
    ways = {PAPER: lambda: reference_decode(model, tokenizer, prompts)}
    for way, make in processors(model, tokenizer).items():
        ways[way] = partial(batched_generate, model, tokenizer, prompts, sizes[way], make)
    ways |= engine_ways(fast, slow, prompts)
    best = f"the best of {', '.join(map(str, sizes_for(len(prompts))))}"
    notes = {way: f"batches of {size}, {best}" for way, size in sizes.items()}
    runs = rounds(ways, count, model.device)
    return rows_of(runs, {ENGINE: fast, ENGINE_PLAIN: slow}, notes)


def spread(items: Sequence, count: int) -> list:
    """So many of the items, from all over the list."""
    return list(items[:: max(1, len(items) // count)][:count]) if count else []


def engine_ways(fast: Decoder, slow: Decoder | None, prompts: list[str]) -> dict:
    """The engine with drafts, the floor over what it wrote, and the engine without drafts."""
    written: list[Completion] = []

    def run(decoder: Decoder):
        decoder.work = Work()
        written[:] = decoder.decode(prompts)
        return list(written)

    ways = {ENGINE: lambda: run(fast), FLOOR: lambda: teacher_forced(fast, prompts, written)}
    if slow:
        ways[ENGINE_PLAIN] = lambda: run(slow)
    return ways


def rows_of(runs: dict[str, list], decoders: dict, notes: dict) -> list[dict]:
    """A row a way. UserError where one gave other tokens than the engine's first run."""
    *_, answers = runs[ENGINE][0]
    table, expected = [], [tuple(one.tokens) for one in answers]
    for way in WHAT:
        taken = runs.get(way, [])
        if not taken:
            continue
        for *_, result in taken:
            if way != FLOOR:
                same(expected, result, WHAT[way])
        seconds = median_seconds(taken)
        table.append(
            {
                "way": way,
                "prompts": len(expected),
                "times_engine": median_ratio(taken, runs[ENGINE]),
                "seconds": seconds,
                "statements_per_second": len(expected) / seconds,
                "rounds": len(taken),
                "peak_memory_mib": max(peak for _, peak, _ in taken),
                **done_by(decoders.get(way)),
                "note": notes.get(way, ""),
            }
        )
    return table


def done_by(decoder: Decoder | None) -> dict[str, float | None]:
    """Tokens a forward of the engine, and which part of what it drafted was confirmed; None of other ways, and of what
    drafts nothing."""
    per_forward, confirmed = None, None
    if decoder:
        per_forward = decoder.work.tokens / decoder.work.forwards
        proposed = decoder.work.counted("proposed")
        confirmed = decoder.work.counted("accepted") / proposed if proposed else None
    return {"tokens_per_forward": per_forward, "drafted_confirmed": confirmed}


@command
def main() -> None:
    parser = argument_parser(__doc__)
    for add in (add_model, add_bench, add_prompts, add_rounds):
        add(parser)
    arguments = parser.parse_args()
    loaded = load(arguments.model, dtype="float32")
    prompts = [statement_prompt(example.description) for example in read_examples(arguments.data)]
    prompts = spread(prompts, arguments.prompts or len(prompts))
    found = compare(loaded.model, loaded.tokenizer, prompts, arguments.rounds)
    table = pd.DataFrame(found)
    table.insert(0, "model", loaded.spec.name)
    table["device"] = device_name(loaded.model.device)
    write_csv(arguments.out, table)
    print(table.drop(columns=["model", "device", "note"]).to_string(index=False))


if __name__ == "__main__":
    main()

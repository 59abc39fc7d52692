"""The tiny models and miniatures, decoded by the engine and by the reference."""

import re
from contextlib import contextmanager
from functools import cache

import torch
from miniatures import TOKENIZERS, miniature
from scenarios_fixture import prompts

from boxes.completion import Completion, Status
from boxes.decoding.constraint import token_bytes
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.models.table import models_of
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompt
from boxes.reference import reference_decode

TINY = [spec.name for spec in models_of("tiny")]
BASE = "tiny-base"
COUNT = 16  # prompts a tiny model by default; 64 with -m slow
# Random weights finish it, and Figure 4's hardly ever.
SHORT_REGEX = r"Statement: Box 0 contains( [a-z]{1,4}){1,3}, Box 1\."


@cache
def tiny(name: str):
    return load(name, "cpu", "float32")


def tiny_prompts(name: str, count: int = COUNT, **settings) -> list[str]:
    """Prompts in the format that the model's row names, unless `settings` say otherwise."""
    loaded = tiny(name)
    return prompts(count, loaded.tokenizer, **{"format": loaded.spec.prompt_format} | settings)


@cache
def tiny_reference(name: str, count: int = COUNT) -> list[Completion]:
    loaded = tiny(name)
    return reference_decode(loaded.model, loaded.tokenizer, tiny_prompts(name, count))


def engine(name: str = BASE, **options) -> Decoder:
    return Decoder(tiny(name).model, tiny(name).tokenizer, **options)


def shaped(shape: str, kind: str):
    """A miniature with logits wider than the tokenizer, and the tokenizer."""
    tokenizer = TOKENIZERS[kind]()
    return miniature(shape, len(tokenizer) + 24), tokenizer


@contextmanager
def logits_changed(model, change):
    """While it lasts, `change` alters the model's logits in place."""
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _module, _input, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def favouring(tokens: list[int]):
    """A change of logits under which these tokens win wherever one of them is allowed."""

    def change(logits):
        logits[..., tokens] += 1e4
        return logits

    return change


@torch.no_grad()
def greedy(model, tokenizer, prompt: str, limit: int) -> list[int]:
    """Plain unconstrained greedy decoding without a cache, to the first token with a period or the
    end."""
    ids, spelled = encode_prompt(tokenizer, prompt), token_bytes(tokenizer)
    start = len(ids)
    while len(ids) < start + limit:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1, : len(tokenizer)]
        ids.append(int(logits.argmax()))
        if ids[-1] == tokenizer.eos_token_id or b"." in spelled.get(ids[-1], b""):
            break
    return ids[start:]


def check_consistent(completion: Completion, tokenizer, regex: str = STATEMENT_REGEX) -> None:
    """Text, tokens and status say the same."""
    spelled = token_bytes(tokenizer)
    written = b"".join(spelled[token] for token in completion.tokens).decode(errors="replace")
    assert completion.text in (written, STATEMENT_HEAD + written)
    assert (completion.status == Status.OK) == (re.fullmatch(regex, completion.text) is not None)

"""The tiny models and miniatures, decoded by the engine and by the reference."""

import re
from collections.abc import Sequence
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
def uncached_logits(model, tokenizer, prompt: str, tokens: Sequence[int]) -> torch.Tensor:
    """The model's own logits (N + 1, V) behind the prompt and behind each of N tokens: one forward
    of the whole text, without a cache. Those of ids beyond the tokenizer are left out."""
    whole = torch.tensor([[*encode_prompt(tokenizer, prompt), *tokens]], device=model.device)
    logits = model(whole, use_cache=False, logits_to_keep=len(tokens) + 1).logits
    return logits[0, :, : len(tokenizer)]


def greedy_choices(model, tokenizer, prompt: str, tokens: Sequence[int]) -> list[int]:
    """What plain unconstrained greedy decoding chooses behind the prompt and behind each token."""
    return uncached_logits(model, tokenizer, prompt, tokens).argmax(dim=-1).tolist()


def check_free(model, tokenizer, prompt: str, completion: Completion, limit: int) -> None:
    """A text decoded freely is greedy, and goes to the first token with a period, the end or the
    limit."""
    spelled = token_bytes(tokenizer)
    *chosen, following = greedy_choices(model, tokenizer, prompt, completion.tokens)
    assert chosen == list(completion.tokens)
    periods = [b"." in spelled.get(token, b"") for token in chosen]
    assert not any(periods[:-1])
    ended = any(periods) or (len(chosen) < limit and following == tokenizer.eos_token_id)
    assert ended or len(chosen) == limit
    assert (completion.status == Status.TRUNCATED) is not ended


def check_consistent(completion: Completion, tokenizer, regex: str = STATEMENT_REGEX) -> None:
    """Text, tokens and status say the same."""
    spelled = token_bytes(tokenizer)
    written = b"".join(spelled[token] for token in completion.tokens).decode(errors="replace")
    assert completion.text in (written, STATEMENT_HEAD + written)
    assert (completion.status == Status.OK) == (re.fullmatch(regex, completion.text) is not None)

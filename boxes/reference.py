"""The paper's way of decoding (A.2): transformers' `generate` under outlines' processor.

One prompt at a time, slow on purpose: everything here is somebody else's code, so that the engine
in decoding/ has an independent judge, an oracle.
"""

import copy
from collections.abc import Sequence

import torch
from outlines.backends.outlines_core import OutlinesCoreLogitsProcessor
from transformers import GenerationConfig, LogitsProcessorList

from boxes.completion import Completion, finish
from boxes.decoding.constraint import build_index, end_ids_of, token_bytes
from boxes.decoding.expression import literal_beginning
from boxes.prompting import STATEMENT_REGEX, encode_prompt


def reference_decode(
    model, tokenizer, prompts: Sequence[str], regex: str = STATEMENT_REGEX, max_new_tokens: int = 256
) -> list[Completion]:
    """Greedy constrained decoding. A prompt that ends in the literal beginning has begun it."""
    literal, spelled = literal_beginning(regex), token_bytes(tokenizer)
    processors: dict[str, OutlinesCoreLogitsProcessor] = {}
    completions = []
    for prompt in prompts:
        head = literal if literal and prompt.endswith(literal) else ""
        if head not in processors:
            # The head's characters are literal: what is left of the expression begins behind it.
            index = build_index(regex[len(head) :], tokenizer, spelled)
            processors[head] = OutlinesCoreLogitsProcessor(index, "torch")
        # One token more, for the end behind a statement of exactly max_new_tokens.
        ids = _generate(model, tokenizer, prompt, processors[head], max_new_tokens + 1)
        ended = ids[-1:] == list(end_ids_of(tokenizer))
        ids = ids[:-1] if ended else ids[:max_new_tokens]
        text = head + b"".join(spelled[i] for i in ids).decode("utf-8", errors="replace")
        completions.append(finish(text, ids, ended, regex))
    return completions


def _generate(model, tokenizer, prompt: str, processor, max_new_tokens: int) -> list[int]:
    """The new token ids, the end included. No stop ids, penalties or sampling leak in."""
    processor.reset()
    input_ids = torch.tensor([encode_prompt(tokenizer, prompt)], device=model.device)
    end = end_ids_of(tokenizer)[0]
    ends = {"eos_token_id": end, "pad_token_id": end}
    settings = GenerationConfig(max_new_tokens=max_new_tokens, do_sample=False, **ends)
    defaults = model.generation_config
    try:
        model.generation_config = copy.deepcopy(settings)
        output = model.generate(
            input_ids,
            attention_mask=torch.ones_like(input_ids),
            generation_config=settings,
            logits_processor=LogitsProcessorList([processor]),
        )
    finally:
        model.generation_config = defaults
    return output[0, input_ids.shape[1] :].tolist()

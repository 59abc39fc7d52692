"""Batched decoding without a shared prefix or drafts, for models that cannot take the engine's attention (attention.why_not)."""

from dataclasses import dataclass

import torch
from transformers import DynamicCache

from boxes.completion import Completion, finish
from boxes.constraint import Automaton
from boxes.prompting import STATEMENT_REGEX


@dataclass
class Batch:
    """Rows being decoded: caches and last logits, states of the automaton, what was generated. B rows, T steps so far."""

    cache: DynamicCache
    attention_mask: torch.Tensor  # (B, columns so far), zeros on the left where a prompt is shorter
    logits: torch.Tensor  # (B, V)
    states: torch.Tensor  # (B,)
    positions: torch.Tensor  # (B,) of the next token


def decode_batch(decoder, prompts: list[str], encoded: list[list[int]]) -> list[Completion]:
    """The completions of one batch under a Decoder's settings."""
    automaton = decoder.automaton
    starts = [automaton.start(prompt) for prompt in prompts]
    batch = prefill(decoder.model, encoded, [state for state, _ in starts])
    rows, finished = _loop(decoder, batch)
    ends = (-1, *automaton.end_ids)
    rows = [[token for token in row if token not in ends] for row in rows]
    return [
        finish(head + decoder.text(ids), ids, ended, decoder.regex or STATEMENT_REGEX)
        for (_, head), ids, ended in zip(starts, rows, finished, strict=True)
    ]


def _loop(decoder, batch: Batch) -> tuple[list[list[int]], list[bool]]:
    """The token of each row and step, -1 behind a row's end, and which rows ended."""
    automaton = decoder.automaton
    ends = torch.tensor(automaton.end_ids, device=batch.states.device)
    columns, finished = [], torch.zeros_like(batch.states, dtype=torch.bool)
    for _ in range(decoder.max_new_tokens):
        chosen = choose(automaton, batch)
        columns.append(chosen.masked_fill(finished, -1))
        finished |= automaton.done[batch.states] | torch.isin(chosen, ends)
        if finished.all():
            break
        step(decoder.model, batch, chosen)
    return torch.stack(columns, dim=1).tolist(), finished.tolist()


def prefill(model, encoded: list[list[int]], starts: list[int]) -> Batch:
    """Run the prompts once, padded on the left."""
    width = max(map(len, encoded))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in encoded], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    output = model(ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
    states = torch.tensor(starts, device=model.device)
    return Batch(cache, mask, output.logits[:, -1], states, positions[:, -1] + 1)


def choose(automaton: Automaton, batch: Batch) -> torch.Tensor:
    """The likeliest allowed token of each row, (B,); the automaton moves on. A finished row stays where it is."""
    logits = batch.logits.masked_fill(~automaton.allowed[batch.states], -torch.inf)
    chosen = logits.argmax(dim=-1)
    moved = automaton.next_state[batch.states, chosen].long()
    batch.states = torch.where(automaton.done[batch.states], batch.states, moved)
    return chosen


def step(model, batch: Batch, chosen: torch.Tensor) -> None:
    """Feed one token a row and keep the logits of the next."""
    batch.attention_mask = torch.nn.functional.pad(batch.attention_mask, (0, 1), value=1)
    output = model(
        chosen[:, None],
        attention_mask=batch.attention_mask,
        position_ids=batch.positions[:, None],
        past_key_values=batch.cache,
    )
    batch.logits, batch.positions = output.logits[:, -1], batch.positions + 1

"""Batched decoding without a shared prefix or drafts, for models that cannot take the engine's attention (attention.why_not)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from boxes.constraint import choose


@dataclass
class Batch:
    """Rows being decoded: caches and last hidden states, states of the automaton. B rows."""

    cache: DynamicCache
    attention_mask: torch.Tensor  # (B, columns so far), zeros on the left where a prompt is shorter
    hidden: torch.Tensor  # (B, T, hidden), of the last forward's T tokens
    states: torch.Tensor  # (B,)
    positions: torch.Tensor  # (B,) of the next token


def decode_rows(decoder, waiting: list) -> Iterator[list[tuple[int, list[int], bool]]]:
    """Prompts (decoding.Prompt) in batches under a Decoder's settings: index, generated ids, and whether the text ended."""
    for first in range(0, len(waiting), decoder.work.rows):
        prompts = waiting[first : first + decoder.work.rows]
        batch = prefill(decoder.model, [prompt.ids for prompt in prompts], [prompt.state for prompt in prompts])
        rows, ended = _loop(decoder, batch)
        yield [(prompt.index, *found) for prompt, *found in zip(prompts, rows, ended, strict=True)]


def _loop(decoder, batch: Batch) -> tuple[list[list[int]], list[bool]]:
    """The token of each row and step, -1 behind a row's end, and which rows ended."""
    columns, finished = [], torch.zeros_like(batch.states, dtype=torch.bool)
    head = decoder.model.get_output_embeddings()
    for _ in range(decoder.max_new_tokens):
        chosen, ends, after, broken = (
            found[:, 0] for found in choose(decoder.automaton, head, batch.hidden[:, -1:], batch.states[:, None])
        )
        columns.append(chosen.masked_fill(finished, -1))
        batch.states = torch.where(finished, batch.states, after)
        decoder.work.count(broken=(broken & ~finished).sum())
        finished |= ends
        decoder.work.forwards += 1
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
    output = model.base_model(ids, attention_mask=mask, position_ids=positions, past_key_values=cache)
    states = torch.tensor(starts, device=model.device)
    return Batch(cache, mask, output.last_hidden_state, states, positions[:, -1] + 1)


def step(model, batch: Batch, chosen: torch.Tensor) -> None:
    """Feed one token a row."""
    batch.attention_mask = torch.nn.functional.pad(batch.attention_mask, (0, 1), value=1)
    output = model.base_model(
        chosen[:, None],
        attention_mask=batch.attention_mask,
        position_ids=batch.positions[:, None],
        past_key_values=batch.cache,
    )
    batch.hidden, batch.positions = output.last_hidden_state, batch.positions + 1

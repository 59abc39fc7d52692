"""The fallback: decoding through a model's own forward, without a shared prefix or drafts, for
models that the engine's forward does not fit.

Its own head, its own attention and its own cache, whatever that is called; where none can be
trusted everything is computed again for every token. B rows, V logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from boxes.decoding.automaton import masked_argmax
from boxes.decoding.calling import cache_name, forward_parameters, needs_mask
from boxes.decoding.job import Finished, Job, Prompt


@dataclass
class Batch:
    """Rows being decoded: the model's cache and last logits, states of the automaton. B rows."""

    cache: Any
    attention_mask: torch.Tensor  # (B, columns so far), zeros on the left where a prompt is shorter
    logits: torch.Tensor  # (B, T, V), of the last forward's last T tokens
    states: torch.Tensor  # (B,)
    positions: torch.Tensor  # (B,) of the next token


def decode_batches(job: Job, waiting: list[Prompt]) -> Iterator[Finished]:
    """Decode prompts, `job.work.rows` at a time."""
    for first in range(0, len(waiting), job.work.rows):
        prompts = waiting[first : first + job.work.rows]
        states = [prompt.state for prompt in prompts]
        batch = prefill_batch(job.model, [prompt.ids for prompt in prompts], states)
        tokens, ended = _write(job, batch, step_batch)
        yield list(zip([prompt.index for prompt in prompts], tokens, ended, strict=True))


def decode_uncached(job: Job, waiting: list[Prompt]) -> Iterator[Finished]:
    """Decode one prompt at a time, all of it computed again for every token."""
    for prompt in waiting:
        ids = list(prompt.ids)

        def step_again(model, batch: Batch, chosen: torch.Tensor, ids: list[int] = ids) -> None:
            ids.append(int(chosen))
            batch.logits = own_logits(model, ids, 1)[None]

        batch = _new_batch(own_logits(job.model, ids, 1)[None], [prompt.state])
        [tokens], [ended] = _write(job, batch, step_again)
        yield [(prompt.index, tokens, ended)]


def _write(
    job: Job, batch: Batch, feed: Callable[[Any, Batch, torch.Tensor], None]
) -> tuple[list[list[int]], list[bool]]:
    """The token of each row and step, -1 behind its end; which ended. `feed` runs tokens (B,)."""
    batch.states = batch.states.to(job.device)
    columns, finished = [], torch.zeros_like(batch.states, dtype=torch.bool)
    for number in range(1, job.max_new_tokens + 1):
        last = batch.logits[:, -1:].to(job.device)  # (B, 1, V)
        found = masked_argmax(job.automaton, _as_it_is, last, batch.states[:, None])
        chosen, ends, after, broken = (column[:, 0] for column in found)  # (B,) each
        columns.append(chosen.masked_fill(finished, -1))
        batch.states = torch.where(finished, batch.states, after)
        job.work.count(broken=(broken & ~finished).sum())
        finished |= ends
        job.work.forwards += 1
        if number % job.look == 0 and finished.all():
            break
        feed(job.model, batch, chosen)
    return torch.stack(columns, dim=1).tolist(), finished.tolist()


def _as_it_is(logits: torch.Tensor) -> torch.Tensor:
    """In place of an output embedding: the model has made logits already."""
    return logits


# ---------------------------------------------------------------------------- a model's own forward
def own_logits(model, ids: Sequence[int], last: int) -> torch.Tensor:
    """(last, V): the model's own logits of a row's `last` tokens, without a cache or a batch."""
    row = torch.tensor([list(ids)], device=model.device)
    mask = torch.ones_like(row)
    output = _run(model, input_ids=row, attention_mask=mask, use_cache=False, logits_to_keep=last)
    return output.logits[0, -last:]


def prefill_batch(
    model,
    encoded: Sequence[Sequence[int]],  # B rows of token ids
    starts: list[int],  # B states
    last: int = 1,  # logits of so many tokens at the end of each row
) -> Batch:
    """Run the prompts once, padded on the left. TypeError where the model gives no cache back."""
    width = max(map(len, encoded))
    ids = torch.zeros(len(encoded), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(encoded):
        ids[number, width - len(row) :] = torch.tensor(row)
        mask[number, width - len(row) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = _run(
        model,
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=True,
        logits_to_keep=last,
    )
    cache = getattr(output, cache_name(model) or "", None)
    if cache is None:
        raise TypeError("it gives no cache back")
    batch = _new_batch(output.logits[:, -last:], starts)
    batch.cache, batch.attention_mask, batch.positions = cache, mask, positions[:, -1] + 1
    return batch


def step_batch(model, batch: Batch, chosen: torch.Tensor) -> None:
    """Feed one token a row, `chosen` (B,)."""
    batch.attention_mask = torch.nn.functional.pad(batch.attention_mask, (0, 1), value=1)
    name = cache_name(model)
    output = _run(
        model,
        input_ids=chosen[:, None].to(model.device),
        attention_mask=batch.attention_mask if needs_mask(model) else None,
        position_ids=batch.positions[:, None],
        use_cache=True,
        **{name: batch.cache},
    )
    batch.cache = getattr(output, name)
    batch.logits, batch.positions = output.logits, batch.positions + 1


def return_objects(model) -> None:
    """Have a model return objects with names, even if its configuration asks for tuples."""
    for module in model.modules():
        if hasattr(module, "config"):
            module.config.return_dict = True


def _new_batch(logits: torch.Tensor, starts: list[int]) -> Batch:
    none = torch.zeros(len(starts), 0, dtype=torch.long, device=logits.device)
    return Batch(None, none, logits, torch.tensor(starts, device=logits.device), none)


def _run(model, **asked):
    """Call a model with what its forward takes of this."""
    known = forward_parameters(model)
    return model(**{name: value for name, value in asked.items() if name in known})

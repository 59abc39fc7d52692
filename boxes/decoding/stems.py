"""A second level of sharing: the states of a scenario begin alike behind the prefix.

Their descriptions tell the same initial state and the same first operations, which is 14 % of the
evaluated prompts' own tokens. Of those that are prefilled together one, the lead, runs whole; the
others take over what it stored and run what is their own.
"""

import torch

from boxes.decoding.attention import KVCache
from boxes.decoding.forward import alike, forward, states_at, together
from boxes.decoding.job import Job, Prompt

MEASURED = ("cpu",)
# Fewer tokens alike are not worth a forward of their own.
LEAST = 32


def by_stem(prompts: list[Prompt], skip: int, kind: str) -> list[Prompt]:
    """Prompts that begin alike behind `skip` tokens as neighbours, longer ones first, and so the
    groups by the longest in each; as they are on a device where that has not been measured."""
    if kind not in MEASURED:
        return prompts
    groups: list[list[Prompt]] = []
    last: list[int] = []
    for prompt in sorted(prompts, key=lambda prompt: prompt.ids[skip:]):
        own = prompt.ids[skip:]
        if alike(last, own) < LEAST:
            groups.append([])
        groups[-1].append(prompt)
        last = own
    for group in groups:
        group.sort(key=lambda prompt: prompt.length, reverse=True)
    groups.sort(key=lambda group: group[0].length, reverse=True)
    return [prompt for group in groups for prompt in group]


def leads_first(prompts: list[Prompt], skip: int, kind: str) -> tuple[list[Prompt], list[tuple[int, int]]]:
    """The prompts, those that begin like one before them last; of each of these its lead, as a place
    in the list, and how many own tokens it takes over."""
    if kind not in MEASURED:
        return prompts, []
    leads: list[Prompt] = []
    others: list[tuple[Prompt, int, int]] = []
    for prompt in prompts:
        own = prompt.ids[skip:]
        shared = [alike(lead.ids[skip:], own) for lead in leads]
        most = max(shared, default=0)
        if most < LEAST:
            leads.append(prompt)
        else:
            others.append((prompt, shared.index(most), most))
    ordered = [*leads, *(prompt for prompt, _, _ in others)]
    return ordered, [(lead, most) for _, lead, most in others]


def own_states(
    job: Job,
    cache: KVCache,
    first: int,  # row of the KV cache
    whole: list[list[int]],  # own and drafted tokens of B prompts
    columns: torch.Tensor,  # (B, N) of them
    stored: list[int] | None = None,  # so many of each are in the KV cache already
) -> torch.Tensor:
    """The states (B, N, hidden) at some columns of prompts, of which what is not stored yet is run."""
    lengths, longest = None, 0
    if stored:
        longest = max(map(len, whole))
        whole = [tokens[most:] for tokens, most in zip(whole, stored, strict=True)]
        lengths = torch.tensor(stored, device=job.device)
        columns = columns - lengths[:, None]
    # Packed: no token that is not there is stored behind a row's end.
    tokens, packed = together(whole, job.device, always=bool(stored) or job.ragged)
    width = tokens.shape[1]
    hidden = forward(job.model, cache, first, tokens, lengths, longest, packed)
    return states_at(hidden, columns.clamp(max=width - 1), width, packed)

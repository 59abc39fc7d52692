"""A forward of the model over rows of the KV cache, and the prefix that all prompts share.

Tokens that differ in number from row to row are packed: the model sees one row of what there is.
Shapes: B rows, N tokens a row, M tokens a forward.
"""

from collections.abc import Sequence

import torch

from boxes.decoding.attention import KVCache, prefix_sharing
from boxes.decoding.calling import cache_name

# Rows that fill so much of (B, N) are not packed: attention unpacks them, which has a price.
PACKED = 0.95


def common_prefix(encoded: list[list[int]]) -> int:
    """How many tokens all prompts begin with, so that each keeps one of its own at least."""
    if len(encoded) < 2:
        return 0
    return alike(min(encoded), max(encoded))  # the two that differ earliest


def alike(one: list[int], other: list[int]) -> int:
    """How many tokens two texts begin with, so that each keeps one of its own at least."""
    limit = min(len(one), len(other)) - 1
    return next((index for index in range(limit) if one[index] != other[index]), limit)


def share_prefix(model, encoded: list[list[int]]) -> tuple[int, KVCache | None]:
    """How many tokens all prompts begin with, and their KV cache; 0 and None if there are none."""
    length = common_prefix(encoded)
    if not length:
        return 0, None
    cache = KVCache(1, length)
    with prefix_sharing(model):
        forward(model, cache, 0, torch.tensor([encoded[0][:length]], device=model.device))
    return length, cache


def forward(
    model,
    cache: KVCache,
    first: int,  # row of the KV cache
    tokens: torch.Tensor,  # (B, N)
    lengths: torch.Tensor | None = None,  # (B,) own tokens in the KV cache, by default none
    width: int = 0,  # bounds lengths + N
    packed: torch.Tensor | None = None,  # (M,) which of the B * N tokens there are; None: all
) -> torch.Tensor:
    """Run tokens in the rows from `first` on; the last hidden states, (B, N, hidden), of packed
    tokens (1, M, hidden)."""
    if lengths is None:
        lengths = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    cache.begin(first, lengths, tokens.shape[1], width, packed)
    if packed is not None:
        tokens = tokens.reshape(1, -1)[:, packed]
    within = backbone(model)
    output = within(
        tokens.to(model.device),
        position_ids=cache.positions.to(model.device),
        kv_cache=cache,
        use_cache=True,
        **{cache_name(within) or "past_key_values": cache},
    )
    return output.last_hidden_state.to(tokens.device)


def backbone(model):
    """The part of a model that makes hidden states."""
    if model.base_model is model:  # Mllama's
        return model.model
    return model.base_model


def padded(rows: Sequence[Sequence[int]], width: int, fill: int, device) -> torch.Tensor:
    """(B, width) of rows, filled on the right."""
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)


def together(rows: list[list[int]], device, always: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows of tokens, (B, N), and which of them there are (M,); None: they need no packing."""
    width = max(map(len, rows))
    tokens = padded(rows, width, 0, device)
    if not always and sum(map(len, rows)) >= PACKED * tokens.numel():
        return tokens, None
    there = []
    for number, row in enumerate(rows):
        there.extend(range(number * width, number * width + len(row)))
    return tokens, torch.tensor(there, device=device)


def states_at(
    hidden: torch.Tensor,  # as forward gave them: (B, N, hidden), or packed (1, M, hidden)
    columns: torch.Tensor,  # (B, C) of N
    width: int,  # N
    packed: torch.Tensor | None,  # (M,) ascending
) -> torch.Tensor:
    """The states (B, C, hidden) at some columns of each row; anything where there is no token."""
    if packed is None:
        return hidden.gather(1, columns[:, :, None].expand(-1, -1, hidden.shape[2]))
    rows = torch.arange(len(columns), device=columns.device)[:, None]
    place = torch.searchsorted(packed, rows * width + columns)
    return hidden[0, place.clamp(max=len(packed) - 1)]

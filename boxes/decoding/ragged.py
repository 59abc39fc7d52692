"""Attention of rows of unlike lengths as they are, one behind the other, where a kernel takes them so.

FlashAttention's does (Dao 2023), in half precision on a GPU. Nothing is unpacked, and no row is as wide as the longest.
Shapes: B rows, M new tokens in all, S slots of memory, H query heads, K key-value heads, G = H / K, D head size.
"""

from dataclasses import dataclass

import torch

from boxes.decoding.kernels import Scoring, TwoTensors, merge

KERNEL = {("cuda", torch.float16), ("cuda", torch.bfloat16)}
SIZES = 8  # a head's size is a multiple of this


@dataclass(frozen=True)
class Layout:
    """Where rows are; int32, on a layer's device."""

    new: torch.Tensor  # (B + 1,) where each row's new tokens begin among M, and where the last ones end
    stored: torch.Tensor  # (B + 1,) where each row's memory begins among S
    before: torch.Tensor  # (B,) own tokens that each row had
    counts: torch.Tensor  # (B,) own tokens, the new ones included
    most_new: int  # no row has more new tokens
    most: int  # nor more own ones


def takes_ragged(kind: str, dtype: torch.dtype) -> bool:
    """Whether there is a kernel on a type of device for a dtype."""
    return (kind, dtype) in KERNEL


def suits(query: torch.Tensor, scoring: Scoring) -> bool:
    """Whether the kernel does what a layer asks for."""
    plain = scoring.cap is None and scoring.window is None and query.shape[-1] % SIZES == 0
    return plain and takes_ragged(query.device.type, query.dtype)


def attention(
    query: torch.Tensor,  # (M, H, D)
    keys: torch.Tensor,  # (S, K, D)
    values: torch.Tensor,  # (S, K, D)
    begins: TwoTensors,  # (B + 1,) of each row in M and in S
    counts: torch.Tensor | None,  # (B,) keys that each has, one at least; None: all to where the next row begins
    longest: tuple[int, int],  # no row has more queries, more keys
    scale: float,
    causal: bool,  # a row's last query sees all its keys, the one before it one fewer, ...
) -> TwoTensors:
    """Attention (M, H, D) of each row over its own keys, and its log-sum-exp (H, M)."""
    output, logsumexp, *_ = torch.ops.aten._flash_attention_forward(
        query, keys, values, *begins, *longest, 0.0, causal, False, scale=scale, seqused_k=counts
    )
    return output, logsumexp


def over_own(
    query: torch.Tensor,  # (B, H, T, D), or packed (1, H, M, D)
    key: torch.Tensor,  # (B, K, T, D) or (1, K, M, D)
    value: torch.Tensor,
    stored: TwoTensors | None,  # (B', K, C, D), the new tokens included; None: rows are fresh
    layout: Layout,
    scale: float,
) -> TwoTensors:
    """New queries over their row's own tokens: an output like the query, and its log-sum-exp."""
    rows, heads, new, size = query.shape
    flat = [tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value)]  # (M, ..., D)
    if stored is None:
        output, logsumexp = _among_new(*flat, layout, scale)
    else:
        memory = [tensor.transpose(1, 2).flatten(0, 1) for tensor in stored]  # (S, K, D)
        if key.shape[1] == heads:
            begins, longest = (layout.new, layout.stored), (layout.most_new, layout.most)
            output, logsumexp = attention(flat[0], *memory, begins, layout.counts, longest, scale, True)
        else:
            output, logsumexp = _grouped(flat, memory, layout, scale)
    output = output.view(rows, new, heads, size).transpose(1, 2)
    return output, logsumexp.view(heads, rows, new).transpose(0, 1)


def _among_new(query, key, value, layout: Layout, scale: float) -> TwoTensors:
    """New queries over the new tokens of their row."""
    longest = (layout.most_new, layout.most_new)
    return attention(query, key, value, (layout.new, layout.new), None, longest, scale, True)


def _grouped(flat: list[torch.Tensor], memory: list[torch.Tensor], layout: Layout, scale: float) -> TwoTensors:
    """Where G heads share their keys: laid out as G queries of one head, so that what a row had is read once. Those see
    all of it and, apart, the new tokens."""
    count, heads, size = flat[0].shape
    shared = flat[1].shape[1]  # K
    groups = heads // shared
    queries = flat[0].view(count, shared, groups, size).transpose(1, 2).reshape(-1, shared, size)  # (M * G, K, D)
    begins, longest = (layout.new * groups, layout.stored), (layout.most_new * groups, layout.most)
    output, logsumexp = attention(queries, *memory, begins, layout.before, longest, scale, False)
    output = output.view(count, groups, shared, size).transpose(1, 2).reshape(count, heads, size)
    logsumexp = logsumexp.view(shared, count, groups).transpose(1, 2).reshape(heads, count)
    new, logsumexp_new = _among_new(*flat, layout, scale)
    both = merge((output.transpose(0, 1), logsumexp), (new.transpose(0, 1), logsumexp_new))  # (H, M, D)
    return both.transpose(0, 1), torch.logaddexp(logsumexp, logsumexp_new)

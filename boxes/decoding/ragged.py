"""Attention of rows of unlike lengths as they are, one behind the other, where kernels take them so: on a GPU.

Nothing is unpacked, and no row is as wide as the longest. Shapes: B rows, M new tokens in all, T at most a row, C slots of
memory a row, H query heads, K key-value heads, G = H / K, D head size.
"""

from dataclasses import dataclass, replace

import torch

from boxes.decoding.kernels import Scoring, TwoTensors, merge

KERNEL = {("cuda", torch.float16), ("cuda", torch.bfloat16), ("cuda", torch.float32)}
HALF = (torch.float16, torch.bfloat16)
SIZES = 8  # a head's size is a multiple of this
# Of torch's kernels the one whose blocks have fewest queries: a row has few.
FOR_FEW = torch.ops.aten._efficient_attention_forward
FOR_MANY = torch.ops.aten._flash_attention_forward  # FlashAttention (Dao 2023)
FROM_BOTTOM_RIGHT = 2  # of the kernel's masks: a row's last query sees all its keys, the one before it one fewer, ...


@dataclass(frozen=True)
class Layout:
    """Where rows are, on a layer's device; what is not said to be else is int32."""

    new: torch.Tensor  # (B + 1,) where each row's new tokens begin among M, and where the last ones end
    before: torch.Tensor  # (B,) own tokens that each row had
    counts: torch.Tensor  # (B,) own tokens, the new ones included
    rows: torch.Tensor  # (B + 1,) of the memory: each row's number, and one more
    places: TwoTensors  # (M,) int64 each: of each new token its row, and its number among the new ones of that row
    most_new: int  # T
    most: int  # no row has more own tokens

    def of_groups(self, groups: int) -> "Layout":
        """The same where each new token is as many as there are heads in a group."""
        within = torch.arange(groups, device=self.new.device)
        rows, columns = self.places
        places = rows.repeat_interleave(groups), (columns[:, None] * groups + within).flatten()
        return replace(self, new=self.new * groups, places=places, most_new=self.most_new * groups)


def takes_ragged(kind: str, dtype: torch.dtype) -> bool:
    """Whether there are kernels on a type of device for a dtype."""
    return (kind, dtype) in KERNEL


def suits(query: torch.Tensor, scoring: Scoring) -> bool:
    """Whether they do what a layer asks for."""
    plain = scoring.cap is None and scoring.window is None and query.shape[-1] % SIZES == 0
    return plain and takes_ragged(query.device.type, query.dtype)


def over_own(
    query: torch.Tensor,  # (B, H, T, D), or packed (1, H, M, D)
    key: torch.Tensor,  # (B, K, T, D) or (1, K, M, D)
    value: torch.Tensor,
    stored: TwoTensors | None,  # (rows, K, C, D), the new tokens included; None: rows are fresh
    layout: Layout,
    of_groups: Layout,  # layout.of_groups(G)
    scale: float,
) -> TwoTensors:
    """New queries over their row's own tokens: an output of the query's shape, and its log-sum-exp."""
    rows, heads, new, size = query.shape
    flat = [tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value)]  # (M, ..., D)
    if stored is None:
        output, logsumexp = among_new(*flat, layout, scale)
    elif key.shape[1] == heads:
        output, logsumexp = over_stored(flat[0], *stored, layout, scale, FROM_BOTTOM_RIGHT)
    else:
        output, logsumexp = grouped(flat, stored, layout, of_groups, scale)
    output = output.view(rows, new, heads, size).transpose(1, 2)
    return output, logsumexp.view(heads, rows, new).transpose(0, 1)


def among_new(query, key, value, layout: Layout, scale: float) -> TwoTensors:
    """New queries (M, H, D) over the new tokens of their row, (M, K, D) each; (M, H, D), and (H, M)."""
    if query.dtype in HALF:
        most = layout.most_new
        output, logsumexp, *_ = FOR_MANY(
            query, key, value, layout.new, layout.new, most, most, 0.0, True, False, scale=scale
        )
        return output, logsumexp
    groups = query.shape[1] // key.shape[1]
    keys, values = (states.repeat_interleave(groups, 1) for states in (key, value))
    return attention(query, keys, values, layout.new, None, layout, scale, FROM_BOTTOM_RIGHT)


def over_stored(query, keys, values, layout: Layout, scale: float, mask: int) -> TwoTensors:
    """Queries (M, H, D) over what is stored (rows, H, C, D) of their row: counts or, without a mask, what it had."""
    rows, heads, capacity, size = keys.shape
    # One row's slots behind the other's, as the kernel walks over them: H * C on is the same head of the next row.
    strides = (size, capacity * size, 1)
    slots = ((rows - 1) * heads + 1) * capacity
    memory = (states.as_strided((slots, heads, size), strides) for states in (keys, values))
    counts = layout.counts if mask else layout.before
    return attention(query, *memory, layout.rows * (heads * capacity), counts, layout, scale, mask)


def attention(
    query: torch.Tensor,  # (M, H, D)
    keys: torch.Tensor,  # (S, H, D)
    values: torch.Tensor,  # (S, H, D)
    begins: torch.Tensor,  # (B + 1,) int32: where each row's keys begin in S
    counts: torch.Tensor | None,  # (B,) int32: how many it has, one at least; None: all to where the next row's begin
    layout: Layout,
    scale: float,
    mask: int,
) -> TwoTensors:
    """Attention (M, H, D) of each row over its own keys, and its log-sum-exp (H, M)."""
    output, logsumexp, *_ = FOR_FEW(
        query[None],
        keys[None],
        values[None],
        None,
        layout.new,
        begins,
        layout.most_new,
        layout.most,
        0.0,
        mask,
        True,
        scale=scale,
        seqlen_k=counts,
    )
    rows, columns = layout.places
    return output[0], logsumexp.transpose(1, 2)[rows, columns].T  # (B, T, H) of which M are there


def grouped(
    flat: list[torch.Tensor], stored: TwoTensors, layout: Layout, of_groups: Layout, scale: float
) -> TwoTensors:
    """Where G heads share their keys: laid out as G queries of one head, so that what a row had is read once. Those see
    all of it and, apart, the new tokens."""
    count, heads, size = flat[0].shape
    shared = flat[1].shape[1]  # K
    groups = heads // shared
    queries = flat[0].view(count, shared, groups, size).transpose(1, 2).reshape(-1, shared, size)  # (M * G, K, D)
    output, logsumexp = over_stored(queries, *stored, of_groups, scale, 0)
    output = output.view(count, groups, shared, size).transpose(1, 2).reshape(count, heads, size)
    logsumexp = logsumexp.reshape(shared, count, groups).transpose(1, 2).reshape(heads, count)
    new, logsumexp_new = among_new(*flat, layout, scale)
    both = merge((output.transpose(0, 1), logsumexp), (new.transpose(0, 1), logsumexp_new))  # (H, M, D)
    return both.transpose(0, 1), torch.logaddexp(logsumexp, logsumexp_new)

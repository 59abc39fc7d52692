"""Attention over a part of the keys, with its log-sum-exp: torch's kernels, and plain arithmetic
where scores are capped, which no kernel of torch's does. Parts become one attention by `merge`.

Shapes: N sequences, T queries each, C keys, H query heads, K key-value heads, D head size.
"""

from dataclasses import dataclass

import torch

TwoTensors = tuple[torch.Tensor, torch.Tensor]  # keys and values, or an output and its log-sum-exp
# The score of a key that a query does not see. Finite: a query may see none of a part, its
# output there must be a number, and torch's kernel on a CPU gives a log-sum-exp of 0 for -inf.
UNSEEN = -1e30
ALIGNED = 16  # numbers: rows of a mask begin at multiples of this, as CUDA's kernel asks
# Capped scores made at a time: on a CPU as many as its cache holds.
SCORES_AT_ONCE = {"cuda": 2**24, "cpu": 2**19}


@dataclass(frozen=True)
class Scoring:
    """What a layer does with the scores of queries and keys."""

    scale: float
    window: int | None = None  # a query at position p sees the keys j with p - window < j <= p
    cap: float | None = None  # scores become cap * tanh(score / cap)

    def scored(self, products: torch.Tensor) -> torch.Tensor:
        """Scores in float32 of products of queries and keys."""
        scores = products.float() * self.scale
        if self.cap:
            scores = scores.div_(self.cap).tanh_().mul_(self.cap)
        return scores


def seen(positions: torch.Tensor, first: int, count: int, window: int | None) -> torch.Tensor:
    """Which of `count` keys, at positions from `first` on, queries at `positions` see, bool: one
    dimension more than `positions` has."""
    keys = torch.arange(first, first + count, device=positions.device)
    visible = keys <= positions[..., None]
    if window is not None:
        visible &= keys > positions[..., None] - window
    return visible


def added(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A mask (T, C) to add to scores: 0 where a key is seen."""
    queries, keys = visible.shape
    width = -(-keys // ALIGNED) * ALIGNED
    unseen = max(UNSEEN, torch.finfo(dtype).min / 2)
    mask = torch.zeros(queries, width, dtype=dtype, device=visible.device)
    return mask[:, :keys].masked_fill_(~visible, unseen)


def part(
    query: torch.Tensor,  # (N, H, T, D)
    keys: torch.Tensor,  # (N, K, C, D)
    values: torch.Tensor,  # (N, K, C, D)
    scoring: Scoring,
    causal: bool = False,
    mask: torch.Tensor | None = None,  # (T, C), or without a cap (N, 1, T, C), in place of `causal`
) -> TwoTensors:
    """Attention (N, H, T, D) over these keys alone, and its log-sum-exp (N, H, T)."""
    if scoring.cap:
        if causal:
            positions = torch.arange(query.shape[2], device=query.device)
            mask = added(seen(positions, 0, keys.shape[2], None), query.dtype)
        return _capped(query, keys, values, scoring, mask)
    options = {"dropout_p": 0.0, "is_causal": causal, "scale": scoring.scale}
    if query.is_cuda and mask is None and query.dtype in (torch.float16, torch.bfloat16):
        # Grouped heads share their keys uncopied in this kernel alone.
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        output, logsumexp, *_ = flash(query, keys, values, **options)
        return output, logsumexp
    groups = query.shape[1] // keys.shape[1]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    if query.device.type == "cpu":
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        if mask is not None and mask.dim() == 2:
            mask = mask[None, None]
        return flash(query, keys, values, attn_mask=mask, **options)
    if mask is not None:
        mask = mask.expand(*query.shape[:2], *mask.shape[-2:])
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    output, logsumexp, *_ = efficient(query, keys, values, mask, True, **options)
    return output, logsumexp[..., : query.shape[2]]


def _capped(query, keys, values, scoring: Scoring, mask: torch.Tensor | None) -> TwoTensors:
    """Some queries at a time, so that their scores take bounded memory."""
    size = query.shape[0] * query.shape[1] * keys.shape[2]
    at_once = max(1, SCORES_AT_ONCE.get(query.device.type, SCORES_AT_ONCE["cpu"]) // size)
    outputs, logsumexps = [], []
    for first in range(0, query.shape[2], at_once):
        some = slice(first, first + at_once)
        visible = None if mask is None else mask[some] == 0
        output, logsumexp = weighted(query[:, :, some], keys, values, scoring, visible)
        outputs.append(output)
        logsumexps.append(logsumexp)
    return torch.cat(outputs, dim=2), torch.cat(logsumexps, dim=2)


def weighted(
    query: torch.Tensor,  # (N, H, T, D)
    keys: torch.Tensor,  # (N, K, C, D)
    values: torch.Tensor,  # (N, K, C, D)
    scoring: Scoring,
    visible: torch.Tensor | None,  # bool, broadcast to (N, H, T, C)
) -> TwoTensors:
    """As `part`, in plain arithmetic; grouped heads share their keys uncopied."""
    count, heads, new, size = query.shape
    grouped = query.reshape(count, keys.shape[1], -1, size)  # (N, K, G * T, D)
    scores = scoring.scored(grouped @ keys.transpose(2, 3))
    scores = scores.view(count, heads, new, -1)  # (N, H, T, C)
    if visible is not None:
        scores.masked_fill_(~visible, UNSEEN)
    logsumexp = scores.logsumexp(dim=-1)  # (N, H, T)
    weights = (scores - logsumexp[..., None]).exp_().to(values.dtype)
    weights = weights.view(count, keys.shape[1], -1, keys.shape[2])  # (N, K, G * T, C)
    return (weights @ values).view(count, heads, new, -1), logsumexp


def merge(own: TwoTensors, shared: TwoTensors) -> torch.Tensor:
    """One attention (N, H, T, D), in float32, of two over parts of the keys, by log-sum-exps.

    Part i has scores s_ij, L_i = log sum_j exp(s_ij) and output o_i = sum_j exp(s_ij - L_i) v_ij.
    The softmax over both parts gives

        (exp(L_1) o_1 + exp(L_2) o_2) / (exp(L_1) + exp(L_2)) = o_1 + sigmoid(L_2 - L_1) (o_2 - o_1)

    for a softmax over two parts is the sigmoid of the difference of their log-sum-exps. Source: the
    online softmax (Milakov & Gimelshein 2018); FlashAttention (Dao et al. 2022) merges blocks so.
    """
    (output, logsumexp), (prefix_output, prefix_logsumexp) = own, shared
    share = torch.sigmoid(prefix_logsumexp.float() - logsumexp.float())[..., None]
    return torch.lerp(output.float(), prefix_output.float(), share)

"""Prefix sharing: the prompts' common beginning is stored once, and every row attends to it.

One attention function, registered with transformers, serves every decoder that takes custom
attention. Each row's own keys and values lie in preallocated memory with a length of its own.
Shapes: B rows, T new tokens, P prefix tokens, C own tokens, H query heads, K key-value heads,
G = H / K, D head size.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface

ATTENTION_NAME = "prefix_shared"
TwoTensors = tuple[torch.Tensor, torch.Tensor]  # keys and values, or an output and its log-sum-exp


class KVCache:
    """Keys and values of all layers, a row a prompt, with the methods that transformers calls.

    A forward runs some neighbouring rows; `begin` says which. Memory lies on the layer's device.
    """

    is_compileable = False
    is_sliding = (False,)
    layers = ()  # transformers' own objects of layers: there are none

    def __init__(self, rows: int, capacity: int, prefix: "KVCache | None" = None):
        self.shape = (rows, capacity)
        self.prefix = prefix  # a KV cache of one row
        # Own (rows, K, C, D) each, by the layer's number: some models skip layers (Mllama those
        # that look at images).
        self.stored: dict[int, TwoTensors] = {}
        # Of the forward under way:
        self.rows = slice(0, rows)
        self.slots: torch.Tensor | None = None  # (B, T) where the new tokens go
        self.packed: torch.Tensor | None = None  # (M,) which of the B * T tokens there are
        # Nothing is stored for these rows yet: own tokens attend causally among themselves.
        self.fresh = True
        self.width = 0  # none of these rows has more own tokens than this, the new ones included
        self.filled = 0  # no row ever had

    def begin(
        self,
        first: int,
        lengths: torch.Tensor,
        new: int,
        width: int = 0,
        packed: torch.Tensor | None = None,
    ) -> None:
        """Announce `new` tokens a row in the rows from `first` on, behind `lengths` (B,) own ones.

        `width` bounds what any of the rows then holds; 0: they are fresh and `lengths` are zero.
        `packed` (M,): only these of the B * new tokens are there, and the model sees them as one
        row of M, so that it does no work for what is not.
        """
        self.rows = slice(first, first + len(lengths))
        self.slots = lengths[:, None] + torch.arange(new, device=lengths.device)
        self.packed = packed
        self.fresh, self.width = not width, min(width or new, self.shape[1])
        self.filled = max(self.filled, self.width)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_, **__
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new keys and values, (B, K, T, D) or (1, K, M, D), in each row's own slots; the
        same, unpacked where rows are fresh."""
        if layer not in self.stored:
            self.stored[layer] = (self._zeros(keys), self._zeros(values))
        if self.fresh:
            keys, values = self.unpacked(keys), self.unpacked(values)
        else:
            rows, slots = self._places(keys.device)
        for stored, new in zip(self.stored[layer], (keys, values), strict=True):
            if self.fresh:
                stored[self.rows, :, : self.width] = new
                # Rows that lay here before may hold what is not a number.
                stored[self.rows, :, self.width : self.filled] = 0
            else:
                stored[self.rows][rows, :, slots] = new.transpose(1, 2)
        return keys, values

    def unpacked(self, states: torch.Tensor) -> torch.Tensor:
        """(B, H, T, D) of packed (1, H, M, D), zero where there is no token."""
        if self.packed is None:
            return states
        rows, new = self.slots.shape
        _, heads, _, size = states.shape
        whole = states.new_zeros(heads, rows * new, size)
        whole[:, self.packed.to(states.device)] = states[0]
        return whole.view(heads, rows, new, size).transpose(0, 1)

    def repacked(self, states: torch.Tensor) -> torch.Tensor:
        """The other way: (1, H, M, ...) of (B, H, T, ...) where tokens are packed."""
        if self.packed is None:
            return states
        together = states.transpose(0, 1).flatten(1, 2)  # (H, B * T, ...)
        return together[None, :, self.packed.to(states.device)]

    def _places(self, device: torch.device) -> TwoTensors:
        """Row and slot of each new token, (B, T) or (1, M)."""
        rows = torch.arange(len(self.slots), device=device)[:, None].expand_as(self.slots)
        slots = self.slots.to(device)
        if self.packed is None:
            return rows, slots
        packed = self.packed.to(device)[None]
        return rows.reshape(-1)[packed], slots.reshape(-1)[packed]

    @property
    def positions(self) -> torch.Tensor:
        """Where each new token stands in its text, (B, T) or (1, M)."""
        before = self.prefix.shape[1] if self.prefix else 0
        return self._places(self.slots.device)[1] + before

    def _zeros(self, new: torch.Tensor) -> torch.Tensor:
        """Memory for all rows. Behind a row's end weights are 0, and 0 times garbage may be NaN."""
        rows, capacity = self.shape
        return new.new_zeros(rows, new.shape[1], capacity, new.shape[3])

    def move(self, sources: list[int], targets: list[int]) -> None:
        """Copy what the rows `sources` hold into the rows `targets`."""
        for layer in self.stored.values():
            for stored in layer:
                to = torch.tensor(targets, dtype=torch.long, device=stored.device)
                of = torch.tensor(sources, dtype=torch.long, device=stored.device)
                stored[to, :, : self.filled] = stored[of, :, : self.filled]

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens before this forward; positions are passed, so only that it is not None matters."""
        return 0

    def get_mask_sizes(self, query_length, layer: int = 0) -> tuple[int, int]:
        """For transformers' mask, which is not used."""
        if isinstance(query_length, int):
            return query_length, 0
        return len(query_length), 0

    def get_query_offset(self, layer: int = 0) -> int:
        """For transformers' mask, which is not used."""
        return 0


def full(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, causal: bool):
    """Attention, causal or without a mask, (B, H, T, D), and its log-sum-exp (B, H, T); H = K."""
    options = {"dropout_p": 0.0, "is_causal": causal, "scale": scale}
    if query.device.type == "cpu":
        flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        return flash(query, keys, values, **options)
    if query.dtype in (torch.float16, torch.bfloat16):
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        output, logsumexp, *_ = flash(query, keys, values, **options)
        return output, logsumexp
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    output, logsumexp, *_ = efficient(query, keys, values, None, True, **options)
    return output, logsumexp[..., : query.shape[2]]


def _over_prefix(query: torch.Tensor, layer: TwoTensors, scale: float) -> TwoTensors:
    """Every row's queries over the one prefix: the rows are laid out as more queries of one
    sequence, without a copy where memory is laid out as projections leave it, (B, T, H, D)."""
    rows, heads, new, size = query.shape
    groups = heads // layer[0].shape[1]
    keys, values = (stored.repeat_interleave(groups, 1) for stored in layer)  # (1, H, P, D)
    together = query.transpose(1, 2).reshape(1, rows * new, heads, size)
    together = together.transpose(1, 2)  # (1, H, B * T, D)
    output, logsumexp = full(together, keys, values, scale, causal=False)
    output = output.transpose(1, 2).reshape(rows, new, heads, size).transpose(1, 2)  # (B, H, T, D)
    return output, logsumexp.reshape(heads, rows, new).transpose(0, 1)  # (B, H, T)


def _over_own(query: torch.Tensor, cache: KVCache, layer: TwoTensors, scale: float) -> TwoTensors:
    """A few new queries a row over its own tokens; grouped heads share their keys uncopied."""
    rows, heads, new, size = query.shape
    keys, values = (stored[cache.rows, :, : cache.width] for stored in layer)  # (B, K, C, D)
    grouped = query.reshape(rows, keys.shape[1], -1, size)  # (B, K, G * T, D)
    scores = (grouped @ keys.transpose(2, 3)).float() * scale
    scores = scores.view(rows, heads, new, -1)  # (B, H, T, C)
    slots = cache.slots.to(query.device)[:, :, None]  # (B, T, 1)
    visible = torch.arange(keys.shape[2], device=query.device) <= slots  # (B, T, C)
    scores.masked_fill_(~visible[:, None], -torch.inf)
    logsumexp = scores.logsumexp(dim=-1)  # (B, H, T)
    weights = (scores - logsumexp[..., None]).exp().to(values.dtype)
    weights = weights.view(rows, keys.shape[1], -1, keys.shape[2])  # (B, K, G * T, C)
    return (weights @ values).view(rows, heads, new, -1), logsumexp


def _own(query, key, value, cache: KVCache, layer: TwoTensors, scale: float) -> TwoTensors:
    """Every row's queries over its own tokens, the new ones included; packed as they are."""
    query = cache.unpacked(query)
    if cache.fresh:
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        output, logsumexp = full(query, key, value, scale, causal=True)
    else:
        output, logsumexp = _over_own(query, cache, layer, scale)
    return cache.repacked(output), cache.repacked(logsumexp)


def merge(own: TwoTensors, shared: TwoTensors) -> torch.Tensor:
    """One attention (B, H, T, D), in float32, of two over parts of the keys, by log-sum-exps.

    Part i has scores s_ij, L_i = log sum_j exp(s_ij) and output o_i = sum_j exp(s_ij - L_i) v_ij.
    The softmax over both parts gives

        (exp(L_1) o_1 + exp(L_2) o_2) / (exp(L_1) + exp(L_2)) = o_1 + sigmoid(L_2 - L_1) (o_2 - o_1)

    for a softmax over two parts is the sigmoid of the difference of their log-sum-exps. Source: the
    online softmax (Milakov & Gimelshein 2018); FlashAttention (Dao et al. 2022) merges blocks so.
    """
    (output, logsumexp), (prefix_output, prefix_logsumexp) = own, shared
    share = torch.sigmoid(prefix_logsumexp.float() - logsumexp.float())[..., None]
    return torch.lerp(output.float(), prefix_output.float(), share)


def attend(
    module,
    query: torch.Tensor,  # (B, H, T, D)
    key: torch.Tensor,  # (B, K, T, D)
    value: torch.Tensor,  # (B, K, T, D)
    attention_mask=None,
    scaling=None,
    kv_cache: KVCache | None = None,
    s_aux=None,
    **_,
):
    """transformers' attention function: over the prefix and a row's own tokens; (B, T, H, D)."""
    if kv_cache is None:
        raise ValueError("prefix-shared attention needs kv_cache as a keyword of the model's call")
    if s_aux is not None:
        raise ValueError("its attention has sinks")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    own = _own(query, key, value, kv_cache, kv_cache.stored[module.layer_idx], scale)
    output = own[0]
    if kv_cache.prefix is not None:
        shared = _over_prefix(query, kv_cache.prefix.stored[module.layer_idx], scale)
        output = merge(own, shared).to(query.dtype)
    return output.transpose(1, 2).contiguous(), None


def no_mask(*_, **__) -> None:
    """transformers' mask function: none is made, lengths do its work."""


AttentionInterface.register(ATTENTION_NAME, attend)
AttentionMaskInterface.register(ATTENTION_NAME, no_mask)


class prefix_sharing:
    """While it lasts, the model attends with `attend`; then as before."""

    def __init__(self, model):
        self.model = model

    def __enter__(self) -> None:
        self.before = self.model.config._attn_implementation
        self.model.set_attn_implementation(ATTENTION_NAME)

    def __exit__(self, *_) -> None:
        self.model.set_attn_implementation(self.before)


def why_not(model, longest: int) -> str | None:
    """Why a model cannot use prefix-shared attention over `longest` tokens; None where it can."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < longest:
        return f"its sliding window of {window} tokens is shorter than {longest}"
    if getattr(config, "attn_logit_softcapping", None):
        return "it caps attention scores"
    if not getattr(model, "_supports_attention_backend", False):
        return "it does not take a custom attention function"
    return None

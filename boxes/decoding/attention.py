"""Prefix sharing: the prompts' common beginning is stored once, and every row attends to it.

One attention function, registered with transformers, serves every decoder that takes custom
attention. Each row's own keys and values lie in preallocated memory with a length of its own.
Shapes: B rows, T new tokens, P prefix tokens, C own tokens, H query heads, K key-value heads,
G = H / K, D head size.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function

from boxes.decoding import ragged
from boxes.decoding.kernels import Scoring, TwoTensors, added, merge, part, seen, weighted
from boxes.decoding.ragged import Layout, takes_ragged

ATTENTION_NAME = "prefix_shared"
UNREADABLE = 0  # in place of a window
# What transformers' models pass to attention and what changes nothing here: nobody drops anything
# in inference, positions are in queries and keys already, the window is read off the mask.
WITHOUT_EFFECT = {"dropout", "position_ids", "use_cache", "cache_position", "sliding_window"}


class KVCache:
    """Keys and values of all layers, a row a prompt, with the methods that transformers calls.

    A forward runs some neighbouring rows; `begin` says which. Memory lies on the layer's device.
    """

    is_compileable = False
    is_sliding = (False,)
    layers = ()  # transformers' own objects of layers: there are none

    def __init__(self, rows: int, capacity: int, prefix: "KVCache | None" = None, last: int | None = None):
        self.shape = (rows, capacity)
        self.prefix = prefix  # a KV cache of one row
        # The last position that a token has: what lies behind is nobody's, and the model's table of
        # positions may end there.
        self.last = last
        # Own (rows, K, C, D) each, by the layer's number: some models skip layers (Mllama those
        # that look at images).
        self.stored: dict[int, TwoTensors] = {}
        # Of the forward under way:
        self.rows = slice(0, rows)
        self.lengths: torch.Tensor | None = None  # (B,) own tokens before it
        self.slots: torch.Tensor | None = None  # (B, T) where the new tokens go
        self.packed: torch.Tensor | None = None  # (M,) which of the B * T tokens there are
        # Nothing is stored for these rows yet: own tokens attend causally among themselves.
        self.fresh = True
        self.width = 0  # none of these rows has more own tokens than this, the new ones included
        # Made by the first layer that needs them, on its device.
        self.masks: dict[tuple, torch.Tensor] = {}
        self.places: dict[torch.device, TwoTensors] = {}
        self.layouts: dict[tuple, Layout] = {}
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
        self.lengths = lengths
        self.slots = lengths[:, None] + torch.arange(new, device=lengths.device)
        self.packed = packed
        self.fresh, self.width = not width, min(width or new, self.shape[1])
        self.filled = max(self.filled, self.width)
        self.masks, self.places, self.layouts = {}, {}, {}

    @property
    def before(self) -> int:
        """Tokens of the prefix."""
        return self.prefix.shape[1] if self.prefix else 0

    def prefix_mask(self, window: int, query: torch.Tensor) -> torch.Tensor:
        """Which tokens of the prefix the new ones see, (B * T, P) or (M, P), on the query's
        device."""
        return self._mask("prefix", window, query, self.positions.flatten(), self.before)

    def own_mask(self, window: int, query: torch.Tensor) -> torch.Tensor:
        """Which own tokens those of fresh rows see, (T, T)."""
        return self._mask("own", window, query, self.slots[0], self.width)

    def stored_mask(self, window: int | None, query: torch.Tensor, groups: int) -> torch.Tensor:
        """Which stored tokens of their row those of each see, (B, 1, G * T, C)."""
        key = ("stored", window, query.device, query.dtype, groups)
        if key not in self.masks:
            visible = seen(self.slots.to(query.device), 0, self.width, window)  # (B, T, C)
            visible = visible[:, None].expand(-1, groups, -1, -1).flatten(1, 2)
            mask = added(visible.flatten(0, 1), query.dtype)
            self.masks[key] = mask.unflatten(0, visible.shape[:2])[:, None]
        return self.masks[key]

    def _mask(self, over: str, window: int, query, positions, count: int) -> torch.Tensor:
        key = (over, window, query.device, query.dtype)
        if key not in self.masks:
            visible = seen(positions.to(query.device), 0, count, window)
            self.masks[key] = added(visible, query.dtype)
        return self.masks[key]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_, **__
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the new keys and values, (B, K, T, D) or (1, K, M, D), in each row's own slots; the
        same, unpacked where rows are fresh and no kernel takes them packed."""
        if layer not in self.stored:
            self.stored[layer] = (self._zeros(keys), self._zeros(values))
        whole = self.fresh and not takes_ragged(keys.device.type, keys.dtype)
        if whole:
            keys, values = self.unpacked(keys), self.unpacked(values)
        for stored, new in zip(self.stored[layer], (keys, values), strict=True):
            own = stored[self.rows]
            if self.fresh:  # rows that lay here before may hold what is not a number
                own[:, :, self.width if whole else 0 : self.filled] = 0
            if whole:
                own[:, :, : self.width] = new
            else:
                rows, slots = self._places(keys.device)
                own[rows, :, slots] = new.transpose(1, 2)
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

    def whole(self, states: torch.Tensor) -> torch.Tensor:
        """The same of what `update` gave, which may be unpacked already."""
        return self.unpacked(states) if takes_ragged(states.device.type, states.dtype) else states

    def repacked(self, states: torch.Tensor) -> torch.Tensor:
        """The other way: (1, H, M, ...) of (B, H, T, ...) where tokens are packed."""
        if self.packed is None:
            return states
        together = states.transpose(0, 1).flatten(1, 2)  # (H, B * T, ...)
        return together[None, :, self.packed.to(states.device)]

    def layout(self, device: torch.device, groups: int = 1) -> Layout:
        """Where each row's tokens are, for `ragged`; each token as many as so many heads."""
        if (device, groups) not in self.layouts and groups > 1:
            self.layouts[device, groups] = self.layout(device).of_groups(groups)
        elif (device, groups) not in self.layouts:
            rows, new = self.slots.shape
            numbers = torch.arange(rows + 1, device=self.slots.device)
            begins = numbers * new
            if self.packed is not None:
                begins = torch.searchsorted(self.packed, begins)
            counts = self.lengths + begins.diff()
            parts = (part.to(device, torch.int32) for part in (begins, self.lengths, counts, numbers + self.rows.start))
            rows, slots = self._places(device)
            places = rows.flatten(), slots.flatten() - self.lengths.to(device)[rows.flatten()]
            self.layouts[device, groups] = Layout(*parts, places, new, self.width)
        return self.layouts[device, groups]

    def _places(self, device: torch.device) -> TwoTensors:
        """Row and slot of each new token, (B, T) or (1, M)."""
        if device not in self.places:
            self.places[device] = self._places_on(device)
        return self.places[device]

    def _places_on(self, device: torch.device) -> TwoTensors:
        rows = torch.arange(len(self.slots), device=device)[:, None].expand_as(self.slots)
        slots = self.slots.to(device)
        if self.packed is None:
            return rows, slots
        packed = self.packed.to(device)[None]
        return rows.reshape(-1)[packed], slots.reshape(-1)[packed]

    @property
    def positions(self) -> torch.Tensor:
        """Where each new token stands in its text, (B, T) or (1, M)."""
        positions = self._places(self.slots.device)[1] + self.before
        return positions if self.last is None else positions.clamp(max=self.last)

    def _zeros(self, new: torch.Tensor) -> torch.Tensor:
        """Memory for all rows. Behind a row's end weights are 0, and 0 times garbage may be NaN."""
        rows, capacity = self.shape
        return new.new_zeros(rows, new.shape[1], capacity, new.shape[3])

    def move(self, sources: list[int], targets: list[int]) -> None:
        """Copy what the rows `sources` hold into the rows `targets`."""
        moves: dict[torch.device, TwoTensors] = {}  # once a device: each copy to it waits for it
        for layer in self.stored.values():
            for stored in layer:
                device = stored.device
                if device not in moves:
                    moves[device] = torch.tensor([sources, targets], dtype=torch.long, device=device).unbind()
                of, to = moves[device]
                stored[to, :, : self.filled] = stored[of, :, : self.filled]

    def get_seq_length(self, layer: int = 0) -> int:
        """Tokens before this forward; positions are passed, so only that it is not None matters."""
        return 0

    def get_mask_sizes(self, query_length, layer: int = 0) -> tuple[int, int]:
        """How many tokens the longest row has behind this forward; for `window_of`."""
        return self.before + self.width, 0

    def get_query_offset(self, layer: int = 0) -> int:
        """For transformers' mask, which is not used."""
        return 0


def _over_prefix(query: torch.Tensor, cache: KVCache, layer: int, scoring: Scoring) -> TwoTensors:
    """Every row's queries over the one prefix: the rows are laid out as more queries of one
    sequence, without a copy where memory is laid out as projections leave it, (B, T, H, D)."""
    rows, heads, new, size = query.shape
    together = query.transpose(1, 2).reshape(1, rows * new, heads, size)
    together = together.transpose(1, 2)  # (1, H, B * T, D)
    mask = None if scoring.window is None else cache.prefix_mask(scoring.window, query)
    output, logsumexp = part(together, *cache.prefix.stored[layer], scoring, mask=mask)
    output = output.transpose(1, 2).reshape(rows, new, heads, size).transpose(1, 2)  # (B, H, T, D)
    return output, logsumexp.reshape(heads, rows, new).transpose(0, 1)  # (B, H, T)


def _over_own(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cache: KVCache,
    layer: int,
    scoring: Scoring,
) -> TwoTensors:
    """New queries over their row's own tokens: fresh rows among themselves, others over what is
    stored. As packed as the query is."""
    if ragged.suits(query, scoring):
        stored = None if cache.fresh else cache.stored[layer]
        layouts = [cache.layout(query.device, groups) for groups in (1, query.shape[1] // key.shape[1])]
        return ragged.over_own(query, key, value, stored, *layouts, scoring.scale)
    query = cache.unpacked(query)
    if not cache.fresh:
        found = _over_stored(query, cache, layer, scoring)
    elif scoring.window is None or scoring.window >= cache.width:
        found = part(query, cache.whole(key), cache.whole(value), scoring, causal=True)
    else:
        mask = cache.own_mask(scoring.window, query)
        found = part(query, cache.whole(key), cache.whole(value), scoring, mask=mask)
    return cache.repacked(found[0]), cache.repacked(found[1])


def _over_stored(query: torch.Tensor, cache: KVCache, layer: int, scoring: Scoring) -> TwoTensors:
    """A few new queries a row over what is stored of it; grouped heads share their keys uncopied."""
    keys, values = (stored[cache.rows, :, : cache.width] for stored in cache.stored[layer])
    if not scoring.cap:
        rows, heads, new, size = query.shape
        grouped = query.reshape(rows, keys.shape[1], -1, size)  # (B, K, G * T, D)
        mask = cache.stored_mask(scoring.window, query, heads // keys.shape[1])
        output, logsumexp = part(grouped, keys, values, scoring, mask=mask)
        return output.reshape(rows, heads, new, size), logsumexp.reshape(rows, heads, new)
    visible = seen(cache.slots.to(query.device), 0, cache.width, scoring.window)  # (B, T, C)
    return weighted(query, keys, values, scoring, visible[:, None])


def attend(
    module,
    query: torch.Tensor,  # (B, H, T, D)
    key: torch.Tensor,  # (B, K, T, D)
    value: torch.Tensor,  # (B, K, T, D)
    attention_mask: int | None = None,  # what `window_of` gave
    scaling: float | None = None,
    kv_cache: KVCache | None = None,
    softcap: float | None = None,
    **more,
):
    """transformers' attention function: over the prefix and a row's own tokens; (B, T, H, D).
    ValueError where the layer asks for more than that."""
    if kv_cache is None:
        raise ValueError("prefix-shared attention needs kv_cache as a keyword of the model's call")
    _refuse(attention_mask, more)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scoring, layer = Scoring(scale, attention_mask, softcap), module.layer_idx
    own = _over_own(query, key, value, kv_cache, layer, scoring)
    output = own[0]
    if kv_cache.prefix is not None:
        shared = _over_prefix(query, kv_cache, layer, scoring)
        output = merge(own, shared)
    return output.to(query.dtype).transpose(1, 2).contiguous(), None


def _refuse(attention_mask, more: dict) -> None:
    """ValueError where attention is asked for what is not done here."""
    if more.get("s_aux") is not None:
        raise ValueError("its attention has sinks")
    if attention_mask is not None and not isinstance(attention_mask, int):
        raise ValueError("it makes an attention mask of its own")
    if attention_mask == UNREADABLE:
        raise ValueError("its attention mask is no sliding window")
    for name, value in more.items():
        if name not in WITHOUT_EFFECT and value is not None:
            raise ValueError(f"its attention takes {name}")


def window_of(*_, mask_function, kv_length: int, **__) -> int | None:
    """transformers' mask function. No mask is made, lengths do its work; what it gives in place of
    one is the window that can be read off the model's own rule, `mask_function`, over so many
    tokens: how many a query sees; None, all before it; UNREADABLE, others than the last ones."""
    if mask_function is causal_mask_function:
        return None
    keys = torch.arange(kv_length)
    queries = keys[-2:, None]  # two: what they see begins one farther where it is a window
    visible = mask_function(0, 0, queries, keys)
    window = int(visible[-1].sum())
    if not visible.equal(seen(queries[:, 0], 0, kv_length, window)):
        return UNREADABLE
    return window if window < kv_length else None


AttentionInterface.register(ATTENTION_NAME, attend)
AttentionMaskInterface.register(ATTENTION_NAME, window_of)


class prefix_sharing:
    """While it lasts, the model attends with `attend`; then as before."""

    def __init__(self, model):
        self.model = model

    def __enter__(self) -> None:
        self.before = self.model.config._attn_implementation
        self.model.set_attn_implementation(ATTENTION_NAME)

    def __exit__(self, *_) -> None:
        self.model.set_attn_implementation(self.before)


def why_not(model) -> str | None:
    """Why a model cannot use prefix-shared attention; None where a trial may show that it can."""
    if not getattr(model, "_supports_attention_backend", False):
        return "it does not take a custom attention function"
    return None

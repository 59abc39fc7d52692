"""Which way a model is decoded: the first whose logits are the model's own, tried on two rows.

A head with a transform of its own, attention that is not one softmax, positions that depend on the
longest row, a cache of another name, and what nobody thought of: in transformers nothing says so,
it shows in the logits. Rows are as long as those that will be decoded, for windows and RoPE can
change with length. P positions, V logits.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from boxes.decoding import fallback, forward, loop, memory
from boxes.decoding.attention import KVCache, prefix_sharing
from boxes.decoding.calling import KEYS_AND_VALUES, cache_name
from boxes.decoding.head import head_of
from boxes.decoding.job import Finished, Job, Prompt
from boxes.records import UserError

SHORTEST = 24  # tokens of a row in a trial
TAIL = 4  # of its tokens are run in cached steps
BEFORE = 4  # and so many before them are looked at, too
STEP = 3  # tokens of an engine's step in a trial: several, as with drafts, and then one
# How much farther a way's logits may be from the model's own than these move when the embedding is
# rounded once more (`noise`). A way rounds about ten times a layer, each time by a third of that;
# in quadrature, 9 in 80 layers. Measured over tests/architectures.py: at most 2 where a way is
# right (float32; bfloat16: 0.7), 80 or more in float32 where it is not.
ROUNDINGS = 10
# In standard deviations of a token's logits: farther apart is wrong in any dtype. bfloat16 came to
# 0.03 at most.
FARTHEST = 0.3
# The same forward twice is equal to the bit, but for sums that a GPU adds in any order. In
# roundings of the dtype.
REPEATED = 1000
REASON = 120  # characters of another library's error


@dataclass(frozen=True)
class Trial:
    """Two rows of token ids, of different length; the last `tail` are run in cached steps."""

    rows: tuple[list[int], ...]
    tail: int

    @property
    def looked_at(self) -> int:
        """How many tokens at the end of each row have their logits compared."""
        return BEFORE + self.tail


@dataclass(frozen=True)
class Way:
    """A way of decoding: its name in run.json, how it decodes, its logits (2, P, V) in a trial.

    `most` rows are decoded at a time, None: as many as memory holds.
    """

    name: str
    decode: Callable[[Job, list[Prompt]], Iterator[Finished]]
    logits: Callable[[Any, Trial], torch.Tensor]
    most: int | None = None


def trial_of(model, encoded: Sequence[Sequence[int]], max_new_tokens: int) -> Trial:
    """The longest and the shortest prompt; one alone is its own neighbour, without a piece."""
    first, last = max(encoded, key=len), min(encoded, key=len)
    long, tail = _lengthened(first, SHORTEST), TAIL
    # A row can pass it while it is being written.
    if len(long) + max_new_tokens > rope_limit(model)[1]:
        tail = max(TAIL, max_new_tokens)
        long = _lengthened(long, len(long) + tail)
    elif window_limit(model) < len(long) + max_new_tokens:
        long = _lengthened(long, len(long) + max_new_tokens)
    short = _lengthened(last, SHORTEST - 3)
    if len(short) >= len(long):
        middle = len(long) // 2
        short = long[:middle] + long[middle + 3 :]
    return Trial((long, short), min(tail, len(short) // 2))


def _lengthened(ids: Sequence[int], length: int) -> list[int]:
    """The same tokens again and again until there are so many; all where there are more."""
    return (list(ids) * -(-length // len(ids)))[: max(length, len(ids))]


def rope_limit(model) -> tuple[str, float]:
    """The kind of a RoPE whose angles depend on the length of a row, or of another ("dynamic",
    "longrope"), and the tokens beyond which they do; "" and infinity of others."""
    config = model.config.get_text_config()
    found = getattr(config, "rope_parameters", None) or {}
    for part in (found, *found.values()):
        if not isinstance(part, dict):
            continue
        kind = part.get("rope_type") or ""
        if "dynamic" in kind or kind == "longrope":
            length = part.get("original_max_position_embeddings") or config.max_position_embeddings
            return kind, length
    return "", float("inf")


def window_limit(model) -> float:
    """Up to how many tokens a sliding window hides nothing; infinity without one."""
    return getattr(model.config.get_text_config(), "sliding_window", None) or float("inf")


# ----------------------------------------------------------------------------------------- the ways
def engine_logits(model, trial: Trial) -> torch.Tensor:
    """Those of loop.py: both rows behind what they share, the last tokens in cached steps."""
    device = model.get_output_embeddings().weight.device
    skip, shared = forward.share_prefix(model, [row[: -trial.looked_at] for row in trial.rows])
    whole = [row[skip : -trial.tail] for row in trial.rows]
    lengths = torch.tensor([len(own) for own in whole], device=device)
    width = max(map(len, whole))
    cache = KVCache(len(whole), width + trial.tail, shared)
    steps = torch.tensor([row[-trial.tail :] for row in trial.rows], device=device)  # (2, tail)
    with prefix_sharing(model):
        tokens, packed = forward.together(whole, device)
        hidden = forward.forward(model, cache, 0, tokens, packed=packed)
        columns = lengths[:, None] - BEFORE + torch.arange(BEFORE, device=device)  # (2, BEFORE)
        found = [forward.states_at(hidden, columns, width, packed)]
        for tokens in steps.split(STEP, dim=1):
            width += tokens.shape[1]
            # Packed, as steps with drafts are, and then not.
            packed = torch.arange(tokens.numel(), device=device) if len(found) == 1 else None
            hidden = forward.forward(model, cache, 0, tokens, lengths, width, packed)
            found.append(hidden.reshape(*tokens.shape, -1))
            lengths = lengths + tokens.shape[1]
    return head_of(model)(torch.cat(found, dim=1))


def batch_logits(model, trial: Trial) -> torch.Tensor:
    """Those of fallback.py with both rows in one batch."""
    beginnings = [row[: -trial.tail] for row in trial.rows]
    batch = fallback.prefill_batch(model, beginnings, [0] * len(trial.rows), BEFORE)
    found = [batch.logits]
    for column in range(trial.tail):
        tokens = [row[len(row) - trial.tail + column] for row in trial.rows]
        fallback.step_batch(model, batch, torch.tensor(tokens, device=model.device))
        found.append(batch.logits)
    return torch.cat(found, dim=1)


def single_logits(model, trial: Trial) -> torch.Tensor:
    """Those of fallback.py with each row in a batch of its own."""
    return torch.cat([batch_logits(model, Trial((row,), trial.tail)) for row in trial.rows])


def uncached_logits(model, trial: Trial) -> torch.Tensor:
    """The model's own, rows in the order in which they are decoded: (2, P, V)."""
    return torch.stack([fallback.own_logits(model, row, trial.looked_at) for row in trial.rows])


WAYS = (
    Way("engine", loop.decode_shared, engine_logits),
    Way("plain", fallback.decode_batches, batch_logits),
    Way("single", fallback.decode_batches, single_logits, 1),
    Way("uncached", fallback.decode_uncached, uncached_logits, 1),
)


# ----------------------------------------------------------------------------------- the comparison
def choose_way(
    model,
    ways: Sequence[Way],
    trial: Trial,
    reason: str | None,
) -> tuple[Way, str | None]:
    """The first of the ways that gives the model's own logits, and why it is not the first of all.
    `reason`: why the first cannot be, where that is known. UserError where none does; an error for
    want of memory is raised as it is."""
    own = _own(model, trial)
    for way in ways[1:] if reason else ways:
        try:
            found = logits_apart(own, way.logits(model, trial))
        except Exception as error:
            # An architecture can fail here in as many ways as there are lines that run it.
            memory.raise_exhausted(error)
            reason = reason or f"the engine cannot run it ({_one_line(error)})"
            continue
        # Where it is small anyway, the noise need not be measured.
        eps = torch.finfo(model.dtype).eps
        right = found <= ROUNDINGS * eps or found <= ROUNDINGS * noise(model, trial, own)
        if right and found <= FARTHEST:
            return way, reason
        reason = reason or _what_differs(model, trial, own, found)
    wrong = f"no way of decoding gives the model's own logits: {reason}"
    raise UserError(f"{_model_name(model)}: {wrong}; leave this model out")


def _own(model, trial: Trial) -> torch.Tensor:
    """The model's own logits (2, P, V). UserError if it has none, or others after another row."""
    long, short = trial.rows
    try:
        before = fallback.own_logits(model, short, trial.looked_at)
        own = fallback.own_logits(model, long, trial.looked_at)
        after = fallback.own_logits(model, short, trial.looked_at)
    except Exception as error:  # see choose_way
        memory.raise_exhausted(error)
        wrong = f"its own forward fails ({_one_line(error)})"
        raise UserError(f"{_model_name(model)}: {wrong}; leave this model out") from None
    bound = min(REPEATED * torch.finfo(model.dtype).eps, FARTHEST)
    if logits_apart(before[None], after[None]) > bound:
        wrong = "its own logits depend on the rows before"
        raise UserError(f"{_model_name(model)}: {wrong}; leave this model out")
    return torch.stack([own, before])


def check_length(model, longest: int) -> None:
    """UserError where a RoPE keeps the length of the longest row so far, and it matters: what such
    a model says depends on what it was asked before, with a cache or without."""
    kind, limit = rope_limit(model)
    if "dynamic" in kind and longest > limit:
        depends = f"its RoPE ({kind}) depends on the longest row so far beyond {limit} tokens"
        raise UserError(
            f"{_model_name(model)}: {depends}, and prompts with their answers have {longest}; "
            "leave this model out, or give it another rope_type in config.json"
        )


def logits_apart(own: torch.Tensor, found: torch.Tensor) -> float:
    """How far logits (2, P, V) are from the model's own, in a token's standard deviations.

    A shift and a scale change no argmax and do not count. The median over the tokens of a row and
    of a phase (before the cached steps, in them), the largest of these: one token alone can differ
    by rounding, where a mixture takes another expert.
    """
    if own.shape != found.shape:
        raise ValueError(f"logits of the shape {tuple(found.shape)} in place of {tuple(own.shape)}")
    apart = (_standard(own) - _standard(found.to(own.device))).pow(2).mean(dim=-1).sqrt()  # (2, P)
    apart = apart.masked_fill(apart.isnan(), torch.inf)
    whole = own.isfinite().all(dim=-1)
    largest = 0.0
    for phase in (slice(0, BEFORE), slice(BEFORE, None)):
        for row, good in zip(apart[:, phase], whole[:, phase], strict=True):
            if good.any():  # what is no number is so in every way
                largest = max(largest, float(row[good].median()))
    return largest


def _standard(logits: torch.Tensor) -> torch.Tensor:
    logits = logits.float()
    return (logits - logits.mean(dim=-1, keepdim=True)) / logits.std(dim=-1, keepdim=True)


def noise(model, trial: Trial, own: torch.Tensor) -> float:
    """How far the model's own logits move when each number of an embedding is rounded again."""
    eps = torch.finfo(model.dtype).eps
    generator = torch.Generator().manual_seed(0)

    def change(_module, _input, output: torch.Tensor) -> torch.Tensor:
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
        return output * (1 + eps * signs)

    handle = model.get_input_embeddings().register_forward_hook(change)
    try:
        moved = uncached_logits(model, trial)
    finally:
        handle.remove()
    return max(logits_apart(own, moved), eps)


def other_cache(model) -> str | None:
    """What is said of a model whose cache has another name than the engine's; None of others."""
    name = cache_name(model)
    if name is None:
        return "its forward takes no cache"
    if name in KEYS_AND_VALUES:
        return None
    return f"its cache is called {name}"


def _what_differs(model, trial: Trial, own: torch.Tensor, found: float) -> str:
    """What is said of a model whose logits the engine does not give."""
    kind, limit = rope_limit(model)
    if len(trial.rows[0]) > limit:
        return f"its RoPE ({kind}) depends on how long a row is"
    far = f"the engine's logits differ from the model's own by {found:.2g} standard deviations"
    try:
        row = torch.tensor([trial.rows[1]], device=model.device)
        hidden = forward.backbone(model)(row).last_hidden_state[0, -trial.looked_at :]
        straight = head_of(model)(hidden)[None]
        if logits_apart(own[1:], straight) > found / 2:
            return f"{far}: its head changes the hidden states"
    except Exception:  # this is an attempt to say more
        return far
    return far


def _model_name(model) -> str:
    return getattr(model, "name_or_path", "") or type(model).__name__


def _one_line(error: Exception) -> str:
    """An error of another library on one line of bearable length."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    if len(text) <= REASON:
        return text
    return f"{text[:REASON]}…"

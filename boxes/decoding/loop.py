"""Prefill, one step, the loop: prefix sharing, speculative decoding, rows that make room.

The prompts' common prefix is computed and stored once; rows keep their own keys and values, each
with its own length; drafts (drafting.py) are verified several tokens at a time by the model's own
masked argmax (speculative decoding: Leviathan et al. 2023, here greedy, so that no answer changes).
Shapes: B rows, R their capacity in tokens, N tokens a forward, V logits.
"""

from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import pad

from boxes.decoding import memory
from boxes.decoding.attention import KVCache, prefix_sharing
from boxes.decoding.automaton import Automaton, masked_argmax
from boxes.decoding.head import head_of
from boxes.decoding.job import Finished, Job, Prompt
from boxes.decoding.rows import Rows, append, close_up, join, next_drafted

# A step verifies as many drafted tokens a row as keep rows x tokens near this,
STEP_TOKENS = 512
STEP_DRAFT = 16  # and no more than these, for the next draft ends at the next divergence
# Tokens prefilled at a time: more gain nothing, take memory and, on a CPU, leave its cache.
PREFILL_TOKENS = {"cuda": 2**13, "cpu": 2**12}
# Steps between looks at which rows are finished: each stops a device; 1 elsewhere.
LOOK = {"cuda": 4}


# ----------------------------------------------------------------------------------------- the loop
def decode_shared(job: Job, waiting: list[Prompt]) -> Iterator[Finished]:
    """Decode prompts, `job.work.rows` at a time; if half are finished they make room for others."""
    skip, shared = share_prefix(job.model, [prompt.ids for prompt in waiting])
    longest_draft = max(len(prompt.draft.tokens) for prompt in waiting)
    capacity = memory.row_capacity(job.max_new_tokens, STEP_DRAFT, longest_draft)
    size = min(job.work.rows, len(waiting))
    cache = KVCache(size, max(len(prompt.ids) for prompt in waiting) - skip + capacity, shared)
    look = LOOK.get(job.device.type, 1)
    # `longest`: no row has more own tokens in the KV cache.
    rows, longest, steps, taken = None, 0, 0, 0
    while rows is not None or taken < len(waiting):
        used = 0 if rows is None else len(rows)
        room, left = size - used, len(waiting) - taken
        with prefix_sharing(job.model):
            if room >= min((size + 1) // 2, left) > 0:
                most = prefill_tokens(job.device)
                for new in portions(waiting[taken : taken + room], skip, most):
                    first = 0 if rows is None else len(rows)
                    rows = join(rows, prefill(job, cache, first, new, skip, capacity))
                    taken += len(new)
                    longest = max(longest, *(prompt.length - skip for prompt in new))
                steps = 0
            else:
                ahead = draft_length(job, len(rows))
                longest += ahead + 1
                step(job, cache, rows, ahead, longest)
                steps += 1
        if steps % look == 0:
            wanted = size if taken < len(waiting) else len(rows)
            rows, longest, finished = harvest(job, cache, rows, wanted)
            if finished:
                yield finished


def prefill_tokens(device: torch.device) -> int:
    """How many tokens are prefilled at a time on a device."""
    return PREFILL_TOKENS.get(device.type, PREFILL_TOKENS["cpu"])


def portions(prompts: list[Prompt], skip: int, most: int) -> Iterator[list[Prompt]]:
    """Prompts in groups of about `most` tokens, longer ones first: what is prefilled at a time."""
    while prompts:
        count = max(1, most // (prompts[0].length - skip))
        yield prompts[:count]
        prompts = prompts[count:]


def draft_length(job: Job, rows: int) -> int:
    """Drafted tokens a row that a step verifies: fewer in a large batch, where they cost more."""
    if not job.draft:
        return 0
    return max(1, min(STEP_TOKENS // rows - 1, STEP_DRAFT))


def harvest(job: Job, cache: KVCache, rows: Rows, size: int) -> tuple[Rows | None, int, Finished]:
    """Take finished rows out where at most half of `size` are left. The others, closed up; how many
    own tokens the longest of them has; the finished ones."""
    open_rows = ~rows.ended & (rows.counts < job.max_new_tokens)
    # One copy from the device.
    *going, longest = torch.cat([open_rows, rows.lengths.max()[None]]).tolist()
    left = sum(going)
    if left > size // 2:
        return rows, longest, []
    gone = [row for row, goes_on in enumerate(going) if not goes_on]
    columns = [column[gone].tolist() for column in (rows.prompts, rows.tokens, rows.ended)]
    finished = list(zip(*columns, strict=True))
    if not left:
        return None, 0, finished
    movers, holes, order = close_up(going)
    cache.move(movers, holes)
    return rows.map(lambda tensor, _: tensor[order]), longest, finished


# ------------------------------------------------------------------------------- prefix and forward
def common_prefix(encoded: list[list[int]]) -> int:
    """How many tokens all prompts begin with, so that each keeps one of its own at least."""
    if len(encoded) < 2:
        return 0
    first, last = min(encoded), max(encoded)  # the two that differ earliest
    limit = min(map(len, encoded)) - 1
    return next((index for index in range(limit) if first[index] != last[index]), limit)


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
) -> torch.Tensor:
    """Run tokens in the rows from `first` on; the last hidden states, (B, N, hidden)."""
    if lengths is None:
        lengths = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    cache.begin(first, lengths, tokens.shape[1], width)
    before = cache.prefix.shape[1] if cache.prefix else 0
    positions = cache.slots + before  # (B, N)
    output = backbone(model)(
        tokens.to(model.device),
        position_ids=positions.to(model.device),
        past_key_values=cache,
        kv_cache=cache,
        use_cache=True,
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


# ---------------------------------------------------------------------------- prefill, step, verify
def prefill(
    job: Job,
    cache: KVCache,
    first: int,  # row of the KV cache
    prompts: list[Prompt],  # B
    skip: int,  # tokens of the shared prefix
    capacity: int,  # R
) -> Rows:
    """Run prompts' own tokens and whole drafts in the rows from `first` on; verify the drafts."""
    device = job.device
    own = [prompt.ids[skip:] for prompt in prompts]
    drafted = [prompt.draft.tokens for prompt in prompts]
    restart = [prompt.draft.restarts for prompt in prompts]
    rows = Rows(
        prompts=torch.tensor([prompt.index for prompt in prompts], device=device),
        lengths=torch.tensor([len(ids) - 1 for ids in own], device=device),
        pending=torch.tensor([ids[-1] for ids in own], device=device),
        states=torch.tensor([prompt.state for prompt in prompts], device=device),
        tokens=torch.full((len(own), capacity), -1, device=device),
        counts=torch.zeros(len(own), dtype=torch.long, device=device),
        ended=torch.zeros(len(own), dtype=torch.bool, device=device),
        drafted=padded(drafted, capacity, -1, device),
        restart=padded(restart, capacity, capacity - 1, device),
        pointer=torch.zeros(len(own), dtype=torch.long, device=device),
    )
    whole = [[*ids, *draft] for ids, draft in zip(own, drafted, strict=True)]
    tokens = padded(whole, max(map(len, whole)), 0, device)  # (B, own + drafted)
    hidden = forward(job.model, cache, first, tokens)  # (B, own + drafted, hidden)
    window = torch.arange(max(map(len, drafted)) + 1, device=device)  # (N,)
    window = (rows.lengths[:, None] + window).clamp(max=hidden.shape[1] - 1)  # (B, N)
    verify(job, rows, hidden.gather(1, window[:, :, None].expand(-1, -1, hidden.shape[2])))
    return rows


def step(job: Job, cache: KVCache, rows: Rows, ahead: int, width: int) -> None:
    """Run each row's pending token and its next `ahead` drafted ones, and verify; N = 1 + ahead."""
    drafted = next_drafted(rows, ahead).clamp(min=0)  # (B, ahead)
    tokens = torch.cat([rows.pending[:, None], drafted], dim=1)  # (B, N)
    verify(job, rows, forward(job.model, cache, 0, tokens, rows.lengths, width))


def verify(job: Job, rows: Rows, hidden: torch.Tensor) -> None:
    """Accept what the masked argmax confirms of each row's draft, and one token more.

    hidden: (B, N, hidden), behind the pending token and N - 1 drafted ones. No row is looked at in
    Python: all of this is tensor arithmetic on the device.
    """
    count = hidden.shape[1]  # N
    proposed = next_drafted(rows, count)  # (B, N)
    states = states_along(job.automaton, rows.states, proposed)  # (B, N)
    head = head_of(job.model)
    choice, ends, after, broken = masked_argmax(job.automaton, head, hidden, states)  # (B, N) each
    room = (job.max_new_tokens - rows.counts).masked_fill(rows.ended, 0)[:, None]  # (B, 1)
    confirmed = (choice == proposed) & ~ends  # (B, N)
    # The model's first choice always counts; each further one if all drafted tokens before it are
    # confirmed.
    reached = pad(confirmed[:, :-1], (1, 0), value=True).cumprod(1).bool()  # (B, N)
    taken = reached & (torch.arange(count, device=room.device) < room)  # (B, N)
    append(rows, taken, choice, after)
    rows.ended |= (taken & ends).any(dim=1)
    job.work.forwards += 1
    job.work.count(
        proposed=((proposed[:, :-1] >= 0) & (room > 0)).sum(),
        accepted=taken[:, 1:].sum(),
        broken=(taken & broken).sum(),
    )


def states_along(automaton: Automaton, state: torch.Tensor, proposed: torch.Tensor) -> torch.Tensor:
    """The states (B, N) from `state` (B,) on, before each token of `proposed` (B, N)."""
    path = [state]
    for position in range(proposed.shape[1] - 1):
        path.append(automaton.next_state[path[-1], proposed[:, position].clamp(min=0)].long())
    return torch.stack(path, dim=1)

"""Prefill, one step, the loop: prefix sharing, speculative decoding, rows that make room.

The prompts' common prefix is computed and stored once; rows keep their own keys and values, each
with its own length; drafts (proposals.py says which) are verified several tokens at a time by the
model's own masked argmax (speculative decoding: Leviathan et al. 2023, here greedy, so that no
answer changes). Shapes: B rows, L tokens a text may have, N tokens a row and forward, M tokens a
forward, V logits.
"""

import time
from collections.abc import Iterator
from itertools import accumulate
from operator import mul

import torch
from torch.nn.functional import pad

from boxes.decoding import memory
from boxes.decoding.attention import KVCache, prefix_sharing
from boxes.decoding.automaton import masked_argmax
from boxes.decoding.drafting import CONTENT, KINDS
from boxes.decoding.forward import forward, padded, share_prefix
from boxes.decoding.head import head_of
from boxes.decoding.job import Finished, Job, Prompt
from boxes.decoding.proposals import (
    FADING,
    Proposal,
    by_kind,
    choose,
    from_statement,
    from_text,
    states_along,
)
from boxes.decoding.rows import Rows, append, close_up, join
from boxes.decoding.stems import by_stem, leads_first, own_states
from boxes.decoding.widths import STEP_DRAFT, likeliest, most_drafted, uneven

# Tokens prefilled at a time: more gain nothing, take memory and, on a CPU, leave its cache.
PREFILL_TOKENS = {"cuda": 2**13, "cpu": 2**12}
# Which part of the rows must be finished to be taken out and replaced. On a GPU, where memory is
# the bound, a finished row costs little and copying the others does; on a CPU it costs its part.
TAKEN_OUT = {"cuda": 0.5, "cpu": 0.0}
REPLACED = {"cuda": 0.5, "cpu": 0.125}


# ----------------------------------------------------------------------------------------- the loop
def decode_shared(job: Job, waiting: list[Prompt]) -> Iterator[Finished]:
    """Decode prompts, `job.work.rows` at a time; finished ones make room for others."""
    skip, shared = share_prefix(job.model, [prompt.ids for prompt in waiting])
    longest_draft = max(len(prompt.draft.tokens) for prompt in waiting)
    capacity = memory.row_capacity(job.max_new_tokens, STEP_DRAFT, longest_draft)
    length = max(len(prompt.ids) for prompt in waiting) + capacity  # L
    size = min(job.work.rows, len(waiting))
    waiting = by_stem(waiting, skip, job.kind)
    # No token stands farther; a GPU's step has columns behind a row's end that are nobody's.
    last = length - capacity + job.max_new_tokens - 2
    cache = KVCache(size, length - skip, shared, last)
    # `longest`: no row has more own tokens in the KV cache.
    rows, longest, steps, taken = None, 0, 0, 0
    while rows is not None or taken < len(waiting):
        used = 0 if rows is None else len(rows)
        room = min(size - used, len(waiting) - taken)
        with prefix_sharing(job.model):
            if room and (rows is None or room >= enough(REPLACED, job, size)):
                for new in portions(waiting[taken : taken + room], skip, job.kind):
                    first = 0 if rows is None else len(rows)
                    new, stems = leads_first(new, skip, job.kind)
                    begun = new_rows(new, skip, (length, longest_draft + 1), job.device)
                    prefill(job, cache, first, begun, new, stems)
                    rows = join(rows, begun)
                    taken += len(new)
                    longest = max(longest, *(prompt.length - skip for prompt in new))
                steps = 0
            else:
                longest += step(job, cache, rows, longest)
                steps += 1
        if steps % job.look == 0:
            rows, longest, finished = harvest(job, cache, rows)
            if finished:
                yield finished


def enough(parts: dict[str, float], job: Job, rows: int) -> int:
    """How many of so many rows the part for the job's device comes to, 1 at least."""
    return max(1, int(rows * parts.get(job.kind, parts["cpu"])))


def prefill_tokens(kind: str) -> int:
    """How many tokens are prefilled at a time on a device of a type."""
    return PREFILL_TOKENS.get(kind, PREFILL_TOKENS["cpu"])


def portions(prompts: list[Prompt], skip: int, kind: str) -> Iterator[list[Prompt]]:
    """Prompts, in their order, in groups of about PREFILL_TOKENS: what is prefilled at a time."""
    while prompts:
        count = max(1, prefill_tokens(kind) // (prompts[0].length - skip))
        yield prompts[:count]
        prompts = prompts[count:]


def harvest(job: Job, cache: KVCache, rows: Rows) -> tuple[Rows | None, int, Finished]:
    """Take finished rows out where they are enough. The others, closed up; how many own tokens the
    longest of them has; the finished ones."""
    open_rows = ~rows.ended & (rows.counts < job.max_new_tokens)
    # One copy from the device.
    *going, longest = torch.cat([open_rows, rows.lengths.max()[None]]).tolist()
    left = sum(going)
    if left and len(going) - left < enough(TAKEN_OUT, job, len(going)):
        return rows, longest, []
    gone = [row for row, goes_on in enumerate(going) if not goes_on]
    columns = torch.stack([rows.prompts, rows.begins, rows.counts, rows.ended], dim=1)
    columns = torch.cat([columns, rows.texts], dim=1)
    finished = []
    for prompt, begins, count, ended, *text in columns[torch.tensor(gone, device=job.device)].tolist():
        finished.append((prompt, text[begins : begins + count], bool(ended)))
    if not left:
        return None, 0, finished
    movers, holes, order = close_up(going)
    cache.move(movers, holes)
    order = torch.tensor(order, device=job.device)  # once: each copy to a GPU waits for it
    return rows.map(lambda tensor, _: tensor[order]), longest, finished


# ---------------------------------------------------------------------------- prefill, step, verify
def prefill(
    job: Job,
    cache: KVCache,
    first: int,  # row of the KV cache
    rows: Rows,
    prompts: list[Prompt],  # B, those of the rows
    stems: list[tuple[int, int]],  # of the last ones: a lead and how many tokens are taken over
) -> None:
    """Run prompts' own tokens in the rows from `first` on, and of their drafts what pays; verify
    the drafts."""
    skip = cache.before
    drafted = beginnings(job, prompts)
    whole = []
    for prompt, draft in zip(prompts, drafted, strict=True):
        whole.append([*prompt.ids[skip:], *draft])
    count = max(map(len, drafted)) + 1  # N
    columns = rows.lengths[:, None] + torch.arange(count, device=job.device)  # (B, N)
    leads = len(whole) - len(stems)
    hidden = own_states(job, cache, first, whole[:leads], columns[:leads])
    if stems:
        others = first + leads
        cache.move([first + lead for lead, _ in stems], list(range(others, first + len(whole))))
        stored = [most for _, most in stems]
        hidden = torch.cat([hidden, own_states(job, cache, others, whole[leads:], columns[leads:], stored)])
        job.work.forwards += 1
    statement = from_statement(rows, count)
    proposed = padded(drafted, count, -1, job.device)
    verify(job, rows, hidden, proposed, statement.kinds, [statement])


def new_rows(prompts: list[Prompt], skip: int, widths: tuple[int, int], device) -> Rows:
    """Rows of prompts of which nothing has run yet; `widths` are L and R (rows.py), `skip` tokens
    of each prompt are shared."""
    count = len(prompts)
    drafts = [prompt.draft for prompt in prompts]
    length, most = widths
    kinds = [draft.kinds or (CONTENT,) * len(draft.tokens) for draft in drafts]
    encoded = [prompt.ids for prompt in prompts]
    texts = padded(encoded, max(map(len, encoded)), -1, device)
    nothing = torch.zeros(count, dtype=torch.long, device=device)
    return Rows(
        prompts=torch.tensor([prompt.index for prompt in prompts], device=device),
        texts=pad(texts, (0, length - texts.shape[1]), value=-1),
        begins=torch.tensor(list(map(len, encoded)), device=device),
        counts=nothing,
        lengths=torch.tensor([len(ids) - skip - 1 for ids in encoded], device=device),
        pending=torch.tensor([ids[-1] for ids in encoded], device=device),
        states=torch.tensor([prompt.state for prompt in prompts], device=device),
        ended=nothing.bool(),
        drafted=padded([draft.tokens for draft in drafts], most, -1, device),
        kinds=padded(kinds, most, CONTENT, device),
        restart=padded([draft.restarts for draft in drafts], most, most - 1, device),
        pointer=nothing,
        tried=torch.zeros(count, KINDS, device=device),
        confirmed=torch.zeros(count, KINDS, device=device),
    )


def beginnings(job: Job, prompts: list[Prompt]) -> list[list[int]]:
    """The first tokens of each prompt's draft, as far as they pay (proposals.choose)."""
    if not job.draft:
        return [[] for _ in prompts]
    rates, least = job.acceptance.rates().tolist(), job.price.least(job.work.rows)
    drafted = []
    for prompt in prompts:
        kinds = prompt.draft.kinds or (CONTENT,) * len(prompt.draft.tokens)
        chances = accumulate((rates[kind] for kind in kinds), mul)
        pays = sum(chance >= least for chance in chances)
        drafted.append(list(prompt.draft.tokens[: min(pays, job.max_new_tokens - 1)]))
    return drafted


def step(job: Job, cache: KVCache, rows: Rows, longest: int) -> int:
    """Run each row's pending token and what is drafted behind it, and verify; the most tokens that
    a row may have become longer by."""
    began = time.perf_counter()
    tokens, kinds, chances, sources = ahead(job, rows)  # (B, N - 1)
    packed = None
    if job.ragged:
        tokens, packed = likeliest(tokens, chances.masked_fill(rows.ended[:, None], 0))
    elif job.kind != "cuda":
        tokens, kinds, packed = uneven(tokens, kinds)
    run = torch.cat([rows.pending[:, None], tokens.clamp(min=0)], dim=1)  # (B, N)
    count = run.shape[1]
    hidden = forward(job.model, cache, 0, run, rows.lengths, longest + count, packed)
    verify(
        job,
        rows,
        hidden,
        pad(tokens, (0, 1), value=-1),
        pad(kinds, (0, 1), value=CONTENT),
        sources,
        packed,
    )
    job.price.learn(run.numel() if packed is None else len(packed), began)
    return count


def ahead(job: Job, rows: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[Proposal]]:
    """The tokens (B, N - 1) to draft in a step, their kinds and chances (proposals.choose); the sources they are chosen
    from."""
    nothing = rows.kinds[:, :0]
    if not job.draft:
        return nothing, nothing, nothing.float(), []
    most = most_drafted(job, len(rows))
    sources = [from_statement(rows, most), from_text(rows, most)]
    if job.price.exploring:
        return nothing, nothing, nothing.float(), sources
    rates, least = job.acceptance.rates_of(rows), job.price.least(len(rows))
    tokens, kinds, chances = choose(rows, sources, job.automaton, rates, least)
    # No position behind the last token that counts: it could be beyond what the model has, or
    # change its RoPE.
    room = (job.max_new_tokens - 1 - rows.counts)[:, None]  # (B, 1)
    tokens = tokens.masked_fill(torch.arange(most, device=tokens.device) >= room, -1)
    return tokens, kinds, chances, sources


def verify(
    job: Job,
    rows: Rows,
    hidden: torch.Tensor,  # (B, N, hidden), or packed (1, M, hidden)
    proposed: torch.Tensor,  # (B, N) drafted tokens, -1 behind
    kinds: torch.Tensor,  # (B, N) of them
    sources: list[Proposal],  # of each the first token is compared, run or not: that costs nothing
    packed: torch.Tensor | None = None,  # (M,)
) -> None:
    """Accept what the masked argmax confirms of each row's draft, and one token more.

    `hidden` are the states behind the pending token and N - 1 drafted ones. No row is looked at in
    Python: all of this is tensor arithmetic on the device.
    """
    count = proposed.shape[1]  # N
    states = states_along(job.automaton, rows.states, proposed)  # (B, N)
    choice, ends, after, broken = decide(job, hidden, states, packed)  # (B, N) each
    room = (job.max_new_tokens - rows.counts).masked_fill(rows.ended, 0)[:, None]  # (B, 1)
    equal = choice == proposed
    # The model's first choice always counts; each further one if all drafted tokens before it are
    # confirmed.
    reached = pad((equal & ~ends)[:, :-1], (1, 0), value=True).cumprod(1).bool()  # (B, N)
    taken = reached & (torch.arange(count, device=room.device) < room)  # (B, N)
    note(job, rows, proposed, kinds, sources, choice, taken)
    append(rows, taken, choice, after)
    rows.ended |= (taken & ends).any(dim=1)
    job.work.forwards += 1
    job.work.count(broken=(taken & broken).sum())


def decide(job: Job, hidden: torch.Tensor, states: torch.Tensor, packed: torch.Tensor | None) -> list[torch.Tensor]:
    """masked_argmax for (B, N) tokens, of which perhaps only some are there."""
    head = head_of(job.model)
    if packed is None:
        return list(masked_argmax(job.automaton, head, hidden, states))
    found = masked_argmax(job.automaton, head, hidden, states.reshape(1, -1)[:, packed])
    whole = []
    for tensor in found:
        spread = tensor.new_zeros(states.numel())
        spread[packed] = tensor[0]
        whole.append(spread.view_as(states))
    return whole


def note(
    job: Job,
    rows: Rows,
    proposed: torch.Tensor,  # (B, N)
    kinds: torch.Tensor,  # (B, N)
    sources: list[Proposal],
    choice: torch.Tensor,  # (B, N)
    taken: torch.Tensor,  # (B, N)
) -> None:
    """Count and learn what became of the proposals."""
    run = proposed >= 0
    written = taken & run & (choice == proposed)
    job.work.count(
        proposed=by_kind(kinds, run & taken[:, :1]),
        accepted=by_kind(kinds, written),
    )
    if not job.draft:
        return
    # The first token of each source, and the others of what was run.
    first = [source.tokens[:, :1] for source in sources]
    tokens = torch.cat([*first, proposed[:, 1:]], dim=1)
    of_kind = torch.cat([*(source.kinds[:, :1] for source in sources), kinds[:, 1:]], dim=1)
    chosen = torch.cat([*[choice[:, :1]] * len(first), choice[:, 1:]], dim=1)
    reached = torch.cat([*[taken[:, :1]] * len(first), taken[:, 1:]], dim=1)
    rows.tried *= FADING
    rows.confirmed *= FADING
    job.acceptance.learn(rows, of_kind, reached & (tokens >= 0), tokens == chosen)

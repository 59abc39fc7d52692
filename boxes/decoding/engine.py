"""The engine: greedy decoding under an automaton, exact and near the floor. Prefill, one step, the loop.

The prompts' common prefix is computed and stored once; rows keep their own keys and values, each with its own length; drafts
(drafting.py) are verified several tokens at a time by the model's own masked argmax; rows that are finished make room for
waiting prompts. In float32 the token ids equal those of reference.py, one prompt at a time. Shapes: B rows, N tokens a
forward, V logits.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch

from boxes.completion import MAX_NEW_TOKENS, Completion, finish
from boxes.decoding import attention, memory
from boxes.decoding.attention import KVStore
from boxes.decoding.constraint import choose, compile_regex, free
from boxes.decoding.drafting import Draft, draft_text, drafts
from boxes.decoding.fallback import return_objects
from boxes.decoding.trial import (
    BEFORE,
    PLAIN_WAYS,
    Trial,
    Way,
    backbone,
    check_length,
    choose_way,
    other_cache,
    trial_of,
)
from boxes.models.table import AUTOMATA
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompts

STEP_TOKENS = 512  # a step verifies as many drafted tokens a row as keep rows x tokens near this (facts: 200 to 500)
# Tokens prefilled at a time: more gain nothing, take memory and, on a CPU, leave its cache.
PREFILL_TOKENS = {"cuda": 2**13, "cpu": 2**12}
STEP_DRAFT = 16  # and no more than these, for the next draft ends at the next divergence
LOOK = {"cuda": 4}  # steps between looks at which rows are finished: each costs a device a stop; 1 elsewhere
TRIED = 3  # tokens of a step in a trial: several, as with drafts, and then one
Progress = Callable[[int], None]
Finished = list[tuple[int, list[int], bool]]  # index of the prompt, generated ids, whether it ended


@dataclass(frozen=True)
class Prompt:
    """What the engine knows of a prompt before it runs."""

    index: int
    text: str
    ids: list[int]
    state: int  # of the automaton, behind the prompt
    head: str  # the beginning of the statement that the prompt ends in
    draft: Draft


@dataclass
class Rows:
    """Rows being decoded, on the device. `pending` is each row's last token that is not in the store yet."""

    prompts: torch.Tensor  # (B,) index of the prompt
    lengths: torch.Tensor  # (B,) own tokens in the store
    pending: torch.Tensor  # (B,)
    states: torch.Tensor  # (B,) of the automaton, behind `pending`
    tokens: torch.Tensor  # (B, room) generated so far, -1 behind
    counts: torch.Tensor  # (B,) how many of them
    ended: torch.Tensor  # (B,) bool
    drafted: torch.Tensor  # (B, room) proposed tokens, -1 behind
    restart: torch.Tensor  # (B, room) where the first clause at or behind each drafted token begins
    pointer: torch.Tensor  # (B,) the next drafted token

    def __len__(self) -> int:
        return len(self.prompts)

    def map(self, change: Callable[[torch.Tensor, str], torch.Tensor]) -> "Rows":
        """The same rows with every tensor changed."""
        return Rows(**{field.name: change(getattr(self, field.name), field.name) for field in fields(self)})


class Decoder:
    """Decodes prompts greedily under a regular expression; `regex=None` decodes freely, to the first period.

    `draft=False` gives the same text in more time. `batch_size`: prompts decoded at a time; None: as many as the device's
    memory holds, up to memory.MOST_ROWS. It is halved when memory runs out all the same. A model of which the engine does not
    give the logits is decoded in another way (trial.py), or refused. What was done is counted in `work`.
    """

    def __init__(
        self,
        model,
        tokenizer,
        regex: str | None = STATEMENT_REGEX,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int | None = None,
        draft: bool = True,
    ):
        self.model, self.tokenizer = model.eval(), tokenizer
        return_objects(model)
        self.regex, self.max_new_tokens, self.batch_size, self.draft = regex, max_new_tokens, batch_size, draft
        head = model.get_output_embeddings().weight
        width, self.device = len(head), head.device  # of everything but the layers of a model that is spread
        if regex:
            automaton = compile_regex(regex, tokenizer, width, AUTOMATA)
        else:
            automaton = free(tokenizer, width, STATEMENT_HEAD)
        self.automaton = automaton.to(self.device)
        self.work = Work()
        self.way: Way | None = None  # chosen before the first prompt
        self.tried = 0  # tokens of the longest row for which it was

    def decode(self, prompts: Sequence[str], progress: Progress | None = None) -> list[Completion]:
        """The completions of prompts, in their order. `progress` is told how many more are finished."""
        completions: list[Completion | None] = [None] * len(prompts)
        for indices, finished in self.batches(prompts):
            for index, completion in zip(indices, finished, strict=True):
                completions[index] = completion
            if progress:
                progress(len(indices))
        return completions

    @torch.inference_mode()
    def batches(
        self, texts: Sequence[str], proposed: Sequence[str | None] | None = None
    ) -> Iterator[tuple[list[int], list[Completion]]]:
        """Finished prompts as they come: their indices, and their completions. Longer ones come first. `proposed`: the
        statements to draft; by default those that a symbolic reading of the prompts gives."""
        waiting = sorted(self.prompts(texts, proposed), key=tokens_of, reverse=True)
        prompts = {prompt.index: prompt for prompt in waiting}
        self.work.rows = self.batch_size or self._rows_that_fit(waiting, alone=False)
        while waiting:
            memory.release()
            try:
                for finished in self._choose_way(waiting).decode(self, waiting):
                    found = [self.completion(prompts[index], ids, ended) for index, ids, ended in finished]
                    yield [index for index, *_ in finished], found
                    done = {index for index, *_ in finished}
                    waiting = [prompt for prompt in waiting if prompt.index not in done]
            except (torch.OutOfMemoryError, RuntimeError) as error:
                self.work.rows = memory.halved(self.work.rows, error)  # what was under way begins again
                self.work.halvings += 1

    def _choose_way(self, waiting: list[Prompt]) -> Way:
        """How to decode prompts as long as these; it is said where that is not the engine's way."""
        encoded = [prompt.ids for prompt in waiting]
        longest = max(map(len, encoded)) + self.max_new_tokens
        if longest > self.tried:
            check_length(self.model, longest)
            reason = other_cache(self.model) or attention.why_not(self.model, longest)
            trial = trial_of(self.model, encoded, self.max_new_tokens)
            self.way, reason = choose_way(self.model, WAYS, trial, reason)
            self.tried, self.work.way = longest, self.way.name
            if reason:
                print(f"decoding without a shared prefix or drafts: {reason}", file=sys.stderr)
        if self.way is not WAYS[0]:
            fit = self.way.most or self.batch_size or self._rows_that_fit(waiting, alone=True)
            self.work.rows = min(self.work.rows, fit)
        return self.way

    def _rows_that_fit(self, waiting: list[Prompt], alone: bool) -> int:
        """How many prompts memory holds at a time; `alone`: each with a copy of what all begin with, and none drafted."""
        if not waiting:
            return 1
        own = max(len(prompt.ids) for prompt in waiting)
        most = memory.MOST_ROWS.get(self.device.type, memory.MOST_ROWS["cpu"])
        if alone:
            return memory.rows_that_fit(self.model, own + self.max_new_tokens, own * most, len(waiting))
        own -= common_prefix([prompt.ids for prompt in waiting])
        run = prefill_tokens(self.device)
        return memory.rows_that_fit(self.model, own + self.max_new_tokens, run, len(waiting))

    def prompts(self, texts: Sequence[str], proposed: Sequence[str | None] | None = None) -> list[Prompt]:
        """Prompts as tokens, with their drafts and where in the expression each begins."""
        encoded = encode_prompts(self.tokenizer, texts)
        starts = [self.automaton.start(text) for text in texts]
        drafted = [Draft()] * len(texts)
        if self.draft:
            heads, statements = [head for _, head in starts], proposed or [draft_text(text) for text in texts]
            drafted = drafts(self.tokenizer, self.automaton.token_bytes, texts, heads, statements)
        return [
            Prompt(index, text, ids, state, head, draft)
            for index, (text, ids, (state, head), draft) in enumerate(zip(texts, encoded, starts, drafted, strict=True))
        ]

    def completion(self, prompt: Prompt, ids: list[int], ended: bool) -> Completion:
        """What generated ids say. In free decoding everything behind the first period is dropped."""
        ids = [token for token in ids if token not in (-1, *self.automaton.end_ids)]
        text = self.automaton.text(ids)
        if not self.regex and "." in text:
            text = text[: text.index(".") + 1]
        self.work.tokens += len(ids)
        return finish(prompt.head + text, ids, ended, self.regex or STATEMENT_REGEX)


class Work:
    """What a decoder has done: for the bench, and for run.json."""

    def __init__(self):
        self.way = ""  # trial.Way's name
        self.rows = 0  # prompts decoded at a time, as far as memory held them
        self.halvings = 0  # of that number, for want of memory
        self.forwards = 0
        self.tokens = 0  # generated
        self._sums: dict[str, torch.Tensor] = {}  # on the device, that counting needs no stop

    def count(self, **found: torch.Tensor) -> None:
        """Add numbers of drafted tokens that were run (`proposed`), of those that the model confirmed (`accepted`), of texts
        that ended for want of a finite logit (`broken`)."""
        for name, number in found.items():
            self._sums[name] = self._sums.get(name, 0) + number

    def counted(self, name: str) -> int:
        """A number that was added up."""
        return int(self._sums.get(name, 0))


# ------------------------------------------------------------------------------------------------ the loop
def decode_rows(decoder: Decoder, waiting: list[Prompt]) -> Iterator[Finished]:
    """Decode prompts, `decoder.work.rows` at a time; whenever half of the rows are finished they make room for others."""
    skip, shared = share_prefix(decoder.model, [prompt.ids for prompt in waiting])
    room = memory.room(decoder.max_new_tokens, STEP_DRAFT, max(len(prompt.draft.tokens) for prompt in waiting))
    size = min(decoder.work.rows, len(waiting))
    store = KVStore(size, max(len(prompt.ids) for prompt in waiting) - skip + room, shared)
    look = LOOK.get(decoder.device.type, 1)
    rows, longest, steps, taken = None, 0, 0, 0  # `longest`: no row has more own tokens in the store
    while rows is not None or taken < len(waiting):
        free = size - (len(rows) if rows is not None else 0)
        with own_attention(decoder.model):
            if free >= min((size + 1) // 2, len(waiting) - taken) > 0:
                for new in portions(waiting[taken : taken + free], skip, prefill_tokens(decoder.device)):
                    rows = join(rows, prefill(decoder, store, 0 if rows is None else len(rows), new, skip, room))
                    taken += len(new)
                    longest = max(longest, max(map(tokens_of, new)) - skip)
                steps = 0
            else:
                ahead = draft_length(decoder, len(rows))
                longest += ahead + 1
                step(decoder, store, rows, ahead, longest)
                steps += 1
        if steps % look == 0:
            waits = taken < len(waiting)
            rows, longest, finished = harvest(decoder, store, rows, size if waits else len(rows))
            if finished:
                yield finished


def tokens_of(prompt: Prompt) -> int:
    """Tokens of a prompt and its draft."""
    return len(prompt.ids) + len(prompt.draft.tokens)


def prefill_tokens(device: torch.device) -> int:
    """How many tokens are prefilled at a time on a device."""
    return PREFILL_TOKENS.get(device.type, PREFILL_TOKENS["cpu"])


def portions(prompts: list[Prompt], skip: int, most: int) -> Iterator[list[Prompt]]:
    """Prompts in groups of about `most` tokens, longer ones first: what is prefilled at a time."""
    while prompts:
        count = max(1, most // (tokens_of(prompts[0]) - skip))
        yield prompts[:count]
        prompts = prompts[count:]


def draft_length(decoder: Decoder, rows: int) -> int:
    """How many drafted tokens a row are verified in a step: fewer in a large batch, where they cost the more."""
    return max(1, min(STEP_TOKENS // rows - 1, STEP_DRAFT)) if decoder.draft else 0


def harvest(decoder: Decoder, store: KVStore, rows: Rows, size: int) -> tuple[Rows | None, int, Finished]:
    """Take finished rows out where at most half of `size` are left. The others, closed up; how many own tokens the longest
    of them has; the finished ones."""
    open_rows = ~rows.ended & (rows.counts < decoder.max_new_tokens)
    *going, longest = torch.cat([open_rows, rows.lengths.max()[None]]).tolist()  # one copy from the device
    left = sum(going)
    if left > size // 2:
        return rows, longest, []
    gone = [row for row, goes_on in enumerate(going) if not goes_on]
    columns = (rows.prompts, rows.tokens, rows.ended)
    finished = list(zip(*(column[gone].tolist() for column in columns), strict=True))
    if not left:
        return None, 0, finished
    order = list(range(left))
    holes = [row for row in gone if row < left]
    movers = [row for row in range(left, len(going)) if going[row]]  # as many as there are holes
    for hole, mover in zip(holes, movers, strict=True):
        order[hole] = mover
    store.move(movers, holes)
    return rows.map(lambda tensor, _: tensor[order]), longest, finished


def join(rows: Rows | None, new: Rows) -> Rows:
    """Both, the new ones behind."""
    return new if rows is None else rows.map(lambda tensor, name: torch.cat([tensor, getattr(new, name)]))


# ------------------------------------------------------------------------------------------------ prefix and forward
def common_prefix(encoded: list[list[int]]) -> int:
    """How many tokens all prompts begin with, so that each keeps one of its own at least."""
    if len(encoded) < 2:
        return 0
    first, last = min(encoded), max(encoded)  # the two that differ earliest
    limit = min(map(len, encoded)) - 1
    return next((index for index in range(limit) if first[index] != last[index]), limit)


def share_prefix(model, encoded: list[list[int]]) -> tuple[int, KVStore | None]:
    """How many tokens all prompts begin with, and their store; 0 and None where they have nothing in common."""
    length = common_prefix(encoded)
    if not length:
        return 0, None
    store = KVStore(1, length)
    with own_attention(model):
        forward(model, store, 0, torch.tensor([encoded[0][:length]], device=model.device))
    return length, store


class own_attention:
    """While it lasts, the model attends through attention.py; then as before."""

    def __init__(self, model):
        self.model = model

    def __enter__(self) -> None:
        self.before = self.model.config._attn_implementation
        self.model.set_attn_implementation(attention.NAME)

    def __exit__(self, *_) -> None:
        self.model.set_attn_implementation(self.before)


def forward(model, store: KVStore, first: int, tokens: torch.Tensor, lengths=None, width: int = 0) -> torch.Tensor:
    """Run (B, N) tokens in the rows from `first` on, behind each row's `lengths` own tokens, by default none; the last hidden
    states, (B, N, hidden). `width` bounds lengths + N."""
    none = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
    store.begin(first, none if lengths is None else lengths, tokens.shape[1], width)
    positions = store.slots + (store.prefix.shape[1] if store.prefix else 0)
    output = backbone(model)(
        tokens.to(model.device),
        position_ids=positions.to(model.device),
        past_key_values=store,
        store=store,
        use_cache=True,
    )
    return output.last_hidden_state.to(tokens.device)


def padded(rows: Sequence[Sequence[int]], width: int, fill: int, device) -> torch.Tensor:
    """(B, width) of rows, filled on the right."""
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)


# ------------------------------------------------------------------------------------------------ prefill, step, verify
def prefill(decoder: Decoder, store: KVStore, first: int, prompts: list[Prompt], skip: int, room: int) -> Rows:
    """Run prompts' own tokens with their whole drafts behind them in the rows from `first` on, and verify the drafts."""
    device = decoder.device
    own = [prompt.ids[skip:] for prompt in prompts]
    proposed = [prompt.draft.tokens for prompt in prompts]
    restart = [prompt.draft.restarts for prompt in prompts]
    rows = Rows(
        prompts=torch.tensor([prompt.index for prompt in prompts], device=device),
        lengths=torch.tensor([len(ids) - 1 for ids in own], device=device),
        pending=torch.tensor([ids[-1] for ids in own], device=device),
        states=torch.tensor([prompt.state for prompt in prompts], device=device),
        tokens=torch.full((len(own), room), -1, device=device),
        counts=torch.zeros(len(own), dtype=torch.long, device=device),
        ended=torch.zeros(len(own), dtype=torch.bool, device=device),
        drafted=padded(proposed, room, -1, device),
        restart=padded(restart, room, room - 1, device),
        pointer=torch.zeros(len(own), dtype=torch.long, device=device),
    )
    whole = [[*ids, *draft] for ids, draft in zip(own, proposed, strict=True)]
    hidden = forward(decoder.model, store, first, padded(whole, max(map(len, whole)), 0, device))
    window = torch.arange(max(map(len, proposed)) + 1, device=device)
    window = (rows.lengths[:, None] + window).clamp(max=hidden.shape[1] - 1)
    verify(decoder, rows, hidden.gather(1, window[:, :, None].expand(-1, -1, hidden.shape[2])))
    return rows


def step(decoder: Decoder, store: KVStore, rows: Rows, ahead: int, width: int) -> None:
    """Run each row's pending token and its next `ahead` drafted tokens, and verify those."""
    tokens = torch.cat([rows.pending[:, None], next_drafted(rows, ahead).clamp(min=0)], dim=1)
    verify(decoder, rows, forward(decoder.model, store, 0, tokens, rows.lengths, width))


def next_drafted(rows: Rows, count: int) -> torch.Tensor:
    """Each row's next drafted tokens, (B, count), -1 where there are none."""
    ahead = rows.pointer[:, None] + torch.arange(count, device=rows.pointer.device)
    return rows.drafted.gather(1, ahead.clamp(max=rows.drafted.shape[1] - 1))


def verify(decoder: Decoder, rows: Rows, hidden: torch.Tensor) -> None:
    """Accept what the masked argmax confirms of each row's draft, and one token more; (B, n + 1, hidden), n drafted tokens.

    No row is looked at in Python: all of this is tensor arithmetic on the device.
    """
    automaton, size = decoder.automaton, hidden.shape[1]
    proposed = next_drafted(rows, size)
    path = [rows.states]  # the states along the draft
    for position in range(size - 1):
        path.append(automaton.next_state[path[-1], proposed[:, position].clamp(min=0)].long())
    head = decoder.model.get_output_embeddings()
    choice, ends, after, broken = choose(automaton, head, hidden, torch.stack(path, dim=1))
    room = (decoder.max_new_tokens - rows.counts).masked_fill(rows.ended, 0)[:, None]
    position = torch.arange(size, device=proposed.device)
    confirmed = (choice == proposed) & ~ends
    taken = (position < room) & torch.nn.functional.pad(confirmed[:, :-1], (1, 0), value=True).cumprod(1).bool()
    accepted = taken.sum(dim=1)
    columns = (rows.counts[:, None] + position).clamp(max=rows.tokens.shape[1] - 1)
    rows.tokens.scatter_(1, columns, torch.where(taken, choice, rows.tokens.gather(1, columns)))
    last = (accepted - 1).clamp(min=0)[:, None]
    moved = accepted > 0
    rows.pending = torch.where(moved, choice.gather(1, last)[:, 0], rows.pending)
    rows.states = torch.where(moved, after.gather(1, last)[:, 0], rows.states)
    rows.ended |= (taken & ends).any(dim=1)
    rows.counts, rows.lengths = rows.counts + accepted, rows.lengths + accepted
    decoder.work.forwards += 1
    decoder.work.count(
        proposed=((proposed[:, :-1] >= 0) & (room > 0)).sum(),
        accepted=taken[:, 1:].sum(),
        broken=(taken & broken).sum(),
    )
    move_pointer(rows, accepted)


def move_pointer(rows: Rows, accepted: torch.Tensor) -> None:
    """Where each row's draft goes on: behind its last token where that was drafted, else at the next clause."""
    end = rows.drafted.shape[1] - 1
    last = (rows.pointer + accepted - 1).clamp(min=0, max=end)[:, None]
    at_next = rows.restart.gather(1, last)
    followed = rows.drafted.gather(1, last)[:, 0] == rows.pending
    entered = rows.drafted.gather(1, at_next)[:, 0] == rows.pending
    rows.pointer = torch.where(followed, last[:, 0] + 1, at_next[:, 0] + entered).clamp(max=end)


# ------------------------------------------------------------------------------------------------ the engine on trial
def engine_logits(model, trial: Trial) -> torch.Tensor:
    """The engine's logits (2, P, V) of two rows: behind what they share, side by side, the last tokens in cached steps."""
    device = model.get_output_embeddings().weight.device
    skip, shared = share_prefix(model, [row[: -trial.looked_at] for row in trial.rows])
    whole = [row[skip : -trial.tail] for row in trial.rows]
    lengths = torch.tensor([len(own) for own in whole], device=device)
    width = max(map(len, whole))
    store = KVStore(len(whole), width + trial.tail, shared)
    steps = torch.tensor([row[-trial.tail :] for row in trial.rows], device=device)
    with own_attention(model):
        hidden = forward(model, store, 0, padded(whole, width, 0, device))
        ends = [slice(len(own) - BEFORE, len(own)) for own in whole]
        found = [torch.stack([row[end] for row, end in zip(hidden, ends, strict=True)])]
        for tokens in steps.split(TRIED, dim=1):
            width += tokens.shape[1]
            found.append(forward(model, store, 0, tokens, lengths, width))
            lengths = lengths + tokens.shape[1]
    return model.get_output_embeddings()(torch.cat(found, dim=1))


WAYS = (Way("engine", decode_rows, engine_logits), *PLAIN_WAYS)

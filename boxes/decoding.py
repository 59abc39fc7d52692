"""The engine: greedy decoding under an automaton, exact and near the floor. Prefill, one step, the loop.

The prompts' common prefix is computed and stored once; rows keep their own keys and values, each with its own length; drafts
(drafting.py) are verified several tokens at a time by the model's own masked argmax. In float32 the token ids equal those of
reference.py, one prompt at a time. Shapes: B rows, N tokens a forward, V logits, L tokens of the longest draft.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch

from boxes import attention, plain
from boxes.attention import KVStore
from boxes.completion import Completion, finish
from boxes.constraint import Automaton, compile_regex, free
from boxes.drafting import Draft, drafts
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompts

MAX_NEW_TOKENS = 256  # twice the longest true statement of the task; the authors' script stops at 100
BATCH_SIZE = 64
STEP_DRAFT = 8  # drafted tokens verified in one step behind the prefill
Progress = Callable[[int], None]


@dataclass
class Batch:
    """Rows being decoded. `pending` is each row's last token that is not in the store yet."""

    store: KVStore
    lengths: torch.Tensor  # (B,) own tokens in the store
    pending: torch.Tensor  # (B,)
    states: torch.Tensor  # (B,) of the automaton, behind `pending`
    tokens: torch.Tensor  # (B, max_new_tokens + slack) generated so far, -1 behind
    counts: torch.Tensor  # (B,) how many of them
    finished: torch.Tensor  # (B,) bool
    drafted: torch.Tensor  # (B, L + slack) proposed tokens, -1 behind
    restart: torch.Tensor  # (B, L + slack) where the first clause at or behind each drafted token begins
    pointer: torch.Tensor  # (B,) the next drafted token

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these, (kept,) indices."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                setattr(self, field.name, value[rows])
        self.store.keep(rows)


class Decoder:
    """Decodes prompts greedily under a regular expression; `regex=None` decodes freely, to the first period.

    `draft=False` gives the same text in more time. A model that cannot take prefix-shared attention is decoded by plain.py.
    """

    def __init__(
        self,
        model,
        tokenizer,
        regex: str | None = STATEMENT_REGEX,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = BATCH_SIZE,
        draft: bool = True,
    ):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.regex, self.max_new_tokens, self.batch_size, self.draft = regex, max_new_tokens, batch_size, draft
        width = model.get_output_embeddings().weight.shape[0]
        automaton = compile_regex(regex, tokenizer, width) if regex else free(tokenizer, width, STATEMENT_HEAD)
        self.automaton = automaton.to(model.device)
        self.forwards, self.generated = 0, 0  # for the bench: tokens a forward

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
    def batches(self, prompts: Sequence[str]) -> Iterator[tuple[list[int], list[Completion]]]:
        """Finished batches as they come: which prompts, and their completions. Prompts of like length go together."""
        encoded = encode_prompts(self.tokenizer, prompts)
        order = sorted(range(len(prompts)), key=lambda index: -len(encoded[index]))
        longest = max(map(len, encoded), default=0) + self.max_new_tokens
        reason = attention.why_not(self.model, longest)
        if reason:
            print(f"decoding without a shared prefix or drafts: {reason}", file=sys.stderr)
        shared = None if reason else self._share_prefix(encoded)
        for first in range(0, len(order), self.batch_size):
            indices = order[first : first + self.batch_size]
            chosen = [prompts[index] for index in indices], [encoded[index] for index in indices]
            yield indices, plain.decode_batch(self, *chosen) if reason else self._decode_batch(*chosen, shared)

    def _share_prefix(self, encoded: list[list[int]]) -> KVStore | None:
        """The store of the tokens that all prompts begin with; None where they have nothing in common."""
        length = common_prefix(encoded)
        if not length:
            return None
        store = KVStore(1, length)
        device = self.model.device
        with own_attention(self.model):
            none = torch.zeros(1, dtype=torch.long, device=device)
            forward(self.model, store, torch.tensor([encoded[0][:length]], device=device), none, length)
        return store

    def _decode_batch(self, prompts: list[str], encoded: list[list[int]], shared: KVStore | None) -> list[Completion]:
        starts = [self.automaton.start(prompt) for prompt in prompts]
        heads = [head for _, head in starts]
        proposed = [Draft()] * len(prompts)
        if self.draft and self.regex:
            proposed = drafts(self.tokenizer, self.automaton.token_bytes, prompts, encoded, heads)
        with own_attention(self.model):
            rows, finished = self._loop(encoded, [state for state, _ in starts], proposed, shared)
        regex = self.regex or STATEMENT_REGEX
        return [
            finish(head + self.text(ids), ids, ended, regex)
            for head, ids, ended in zip(heads, rows, finished, strict=True)
        ]

    def text(self, ids: list[int]) -> str:
        """The text of generated ids; in free decoding everything behind the first period is dropped."""
        text = self.automaton.text(ids)
        return text if self.regex or "." not in text else text[: text.index(".") + 1]

    def _loop(self, encoded, starts: list[int], proposed: list[Draft], shared: KVStore | None):
        """The generated ids of each row, and whether it ended rather than ran out of tokens."""
        skip = shared.capacity if shared else 0
        batch, own = prepare(self, [ids[skip:] for ids in encoded], starts, proposed, shared)
        prefill(self, batch, own)
        used, size = own.shape[1] + batch.drafted.shape[1], STEP_DRAFT if any(draft.tokens for draft in proposed) else 0
        rows, finished = [[]] * len(encoded), [False] * len(encoded)
        where = torch.arange(len(encoded), device=batch.counts.device)  # the prompt of each row that is left
        while True:
            left = (~batch.finished & (batch.counts < self.max_new_tokens)).nonzero()[:, 0]
            if len(left) <= len(where) // 2:  # of a batch that is half done the other half goes on alone
                for row, tokens, ended in zip(
                    where.tolist(), batch.tokens.tolist(), batch.finished.tolist(), strict=True
                ):
                    rows[row], finished[row] = [token for token in tokens if token not in self._not_text], ended
                where = where[left]
                batch.keep(left)
            if not len(left):
                break
            used += size + 1
            step(self, batch, size, used)
        self.generated += sum(map(len, rows))
        return rows, finished

    @property
    def _not_text(self) -> tuple[int, ...]:
        return (-1, *self.automaton.end_ids)


def common_prefix(encoded: list[list[int]]) -> int:
    """How many tokens all prompts begin with, so that each keeps one of its own at least."""
    if len(encoded) < 2:
        return 0
    first, last = min(encoded), max(encoded)  # the two that differ earliest
    limit = min(map(len, encoded)) - 1
    return next((index for index in range(limit) if first[index] != last[index]), limit)


class own_attention:
    """While it lasts, the model attends through attention.py; then as before."""

    def __init__(self, model):
        self.model = model

    def __enter__(self) -> None:
        self.before = self.model.config._attn_implementation
        self.model.set_attn_implementation(attention.NAME)

    def __exit__(self, *_) -> None:
        self.model.set_attn_implementation(self.before)


def forward(model, store: KVStore, tokens: torch.Tensor, lengths: torch.Tensor, width: int) -> torch.Tensor:
    """Run (B, N) tokens behind each row's `lengths` own tokens; the last hidden states, (B, N, hidden)."""
    store.begin(lengths, tokens.shape[1], width)
    offset = store.prefix.capacity if store.prefix else 0
    output = model.base_model(
        tokens, position_ids=store.slots + offset, past_key_values=store, store=store, use_cache=True
    )
    return output.last_hidden_state


def padded(rows: list[Sequence[int]], width: int, fill: int, device) -> torch.Tensor:
    """(B, width) of rows, filled on the right."""
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)


def prepare(
    decoder: Decoder, own: list[list[int]], starts, proposed: list[Draft], shared
) -> tuple[Batch, torch.Tensor]:
    """The batch before anything is run, and its rows' own prompt tokens (B, longest), padded with 0 on the right."""
    device, rows = decoder.model.device, len(own)
    width, length = max(map(len, own)), max(len(draft.tokens) for draft in proposed)
    slack = STEP_DRAFT + length + 2
    restart = [
        [next((c for c in draft.clauses if c >= i), length) for i in range(len(draft.tokens))] for draft in proposed
    ]
    batch = Batch(
        store=KVStore(rows, width + decoder.max_new_tokens + 2 * slack, shared),
        lengths=torch.tensor([len(ids) - 1 for ids in own], device=device),
        pending=torch.tensor([ids[-1] for ids in own], device=device),
        states=torch.tensor(starts, device=device),
        tokens=torch.full((rows, decoder.max_new_tokens + slack), -1, device=device),
        counts=torch.zeros(rows, dtype=torch.long, device=device),
        finished=torch.zeros(rows, dtype=torch.bool, device=device),
        drafted=padded([draft.tokens for draft in proposed], length + STEP_DRAFT + 1, -1, device),
        restart=padded(restart, length + STEP_DRAFT + 1, length, device),
        pointer=torch.zeros(rows, dtype=torch.long, device=device),
    )
    return batch, padded(own, width, 0, device)


def prefill(decoder: Decoder, batch: Batch, own: torch.Tensor) -> None:
    """Run the rows' own prompt tokens with their whole drafts behind them, and verify the drafts."""
    size = batch.drafted.shape[1] - STEP_DRAFT - 1
    tokens = torch.nn.functional.pad(own, (0, size))
    where = batch.lengths[:, None] + 1 + torch.arange(size, device=own.device)
    tokens.scatter_(1, where, batch.drafted[:, :size].clamp(min=0))
    hidden = forward(decoder.model, batch.store, tokens, torch.zeros_like(batch.lengths), tokens.shape[1])
    window = batch.lengths[:, None] + torch.arange(size + 1, device=own.device)
    hidden = hidden.gather(1, window[:, :, None].expand(-1, -1, hidden.shape[2]))
    verify(decoder, batch, hidden)


def step(decoder: Decoder, batch: Batch, size: int, width: int) -> None:
    """Run each row's pending token and its next `size` drafted tokens, and verify those."""
    ahead = batch.pointer[:, None] + torch.arange(size, device=batch.pointer.device)
    proposed = batch.drafted.gather(1, ahead.clamp(max=batch.drafted.shape[1] - 1)).clamp(min=0)
    tokens = torch.cat([batch.pending[:, None], proposed], dim=1)
    verify(decoder, batch, forward(decoder.model, batch.store, tokens, batch.lengths, width))


def verify(decoder: Decoder, batch: Batch, hidden: torch.Tensor) -> None:
    """Accept what the masked argmax confirms of each row's draft, and one token more; (B, n + 1, hidden), n drafted tokens.

    No row is looked at in Python: all of this is tensor arithmetic on the device.
    """
    automaton, size, rows = decoder.automaton, hidden.shape[1] - 1, torch.arange(len(hidden), device=hidden.device)
    decoder.forwards += 1
    logits = decoder.model.get_output_embeddings()(hidden)
    ahead = (batch.pointer[:, None] + torch.arange(size + 1, device=hidden.device)).clamp(
        max=batch.drafted.shape[1] - 1
    )
    proposed = batch.drafted.gather(1, ahead)  # (B, n + 1)
    # Rows whose choice at this position still counts.
    going = ~batch.finished & (batch.counts < decoder.max_new_tokens)
    states, accepted = batch.states, torch.zeros_like(batch.counts)
    for position in range(size + 1):
        choice = logits[:, position].masked_fill(~automaton.allowed[states], -torch.inf).argmax(dim=-1)
        batch.tokens[rows, batch.counts] = torch.where(going, choice, batch.tokens[rows, batch.counts])
        batch.counts += going
        batch.pending = torch.where(going, choice, batch.pending)
        states = torch.where(going, automaton.next_state[states, choice].long(), states)
        accepted += going
        ended = automaton.done[states] | torch.isin(choice, ends_of(automaton, choice.device))
        batch.finished |= going & ended
        going = going & ~ended & (choice == proposed[:, position]) & (batch.counts < decoder.max_new_tokens)
    batch.states, batch.lengths = states, batch.lengths + accepted
    move_pointer(batch, accepted)


def move_pointer(batch: Batch, accepted: torch.Tensor) -> None:
    """Where each row's draft goes on: behind its last token where that was drafted, else at the next clause."""
    last = (batch.pointer + accepted - 1).clamp(min=0, max=batch.drafted.shape[1] - 1)[:, None]
    at_next = batch.restart.gather(1, last)
    followed = batch.drafted.gather(1, last)[:, 0] == batch.pending
    entered = batch.drafted.gather(1, at_next)[:, 0] == batch.pending
    moved = torch.where(followed, last[:, 0] + 1, at_next[:, 0] + entered)
    batch.pointer = torch.where(batch.finished, batch.pointer, moved)


def ends_of(automaton: Automaton, device) -> torch.Tensor:
    """The ids that end a text, as a tensor."""
    return torch.tensor(automaton.end_ids, device=device)

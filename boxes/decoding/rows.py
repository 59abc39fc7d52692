"""Rows being decoded, as tensors: what is known of each, how tokens are added, how they close up.

Shapes: B rows, L tokens a text may have, R a draft, K kinds of drafted tokens, N tokens a forward.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch


@dataclass
class Rows:
    """Rows being decoded, on the device. `pending`: the last token, not in the KV cache yet."""

    prompts: torch.Tensor  # (B,) index of the prompt
    texts: torch.Tensor  # (B, L) the prompt and what was generated so far, -1 behind
    begins: torch.Tensor  # (B,) tokens of the prompt
    counts: torch.Tensor  # (B,) tokens generated
    lengths: torch.Tensor  # (B,) own tokens in the KV cache
    pending: torch.Tensor  # (B,) token ids
    states: torch.Tensor  # (B,) of the automaton, behind `pending`
    ended: torch.Tensor  # (B,) bool
    drafted: torch.Tensor  # (B, R) proposed tokens, -1 behind
    kinds: torch.Tensor  # (B, R) of drafting.KINDS
    restart: torch.Tensor  # (B, R) where the first clause at or behind each drafted token begins
    pointer: torch.Tensor  # (B,) the next drafted token
    tried: torch.Tensor  # (B, K) proposals of each kind that were compared, older ones counting less
    confirmed: torch.Tensor  # (B, K) and those of them that the model wrote

    def __len__(self) -> int:
        return len(self.prompts)

    def map(self, change: Callable[[torch.Tensor, str], torch.Tensor]) -> "Rows":
        """The same rows with every tensor changed."""
        changed = {}
        for field in fields(self):
            changed[field.name] = change(getattr(self, field.name), field.name)
        return Rows(**changed)


def join(rows: Rows | None, new: Rows) -> Rows:
    """Both, the new ones behind."""
    if rows is None:
        return new
    return rows.map(lambda tensor, name: torch.cat([tensor, getattr(new, name)]))


def close_up(going: list[bool]) -> tuple[list[int], list[int], list[int]]:
    """How the rows that go on become the first ones: movers, holes, and the new rows' old numbers.

    Before: row i of Rows is row i of the KV cache, `left` of them go on. After: the same for rows 0
    to left - 1. Only rows from `left` on move, each into a hole below: there are as many, for of
    the first `left` rows as many are finished as go on behind them; no row is both read and
    written, and each is copied once at most.
    """
    left = sum(going)
    holes = [row for row in range(left) if not going[row]]
    movers = [row for row in range(left, len(going)) if going[row]]
    order = list(range(left))
    for hole, mover in zip(holes, movers, strict=True):
        order[hole] = mover
    return movers, holes, order


def append(rows: Rows, taken: torch.Tensor, choice: torch.Tensor, after: torch.Tensor) -> None:
    """Add the tokens of `choice` (B, N) that are `taken`, a row's first; `after`: states behind."""
    accepted = taken.sum(dim=1)  # (B,)
    position = torch.arange(taken.shape[1], device=taken.device)  # (N,)
    columns = (rows.begins + rows.counts)[:, None] + position  # (B, N)
    columns = columns.clamp(max=rows.texts.shape[1] - 1)
    rows.texts.scatter_(1, columns, torch.where(taken, choice, rows.texts.gather(1, columns)))
    last = (accepted - 1).clamp(min=0)[:, None]  # (B, 1)
    moved = accepted > 0  # (B,)
    rows.pending = torch.where(moved, choice.gather(1, last)[:, 0], rows.pending)
    rows.states = torch.where(moved, after.gather(1, last)[:, 0], rows.states)
    rows.counts, rows.lengths = rows.counts + accepted, rows.lengths + accepted
    move_pointer(rows, taken, choice)


def move_pointer(rows: Rows, taken: torch.Tensor, choice: torch.Tensor) -> None:
    """Where the statement's draft goes on: behind the last token while the draft is followed, from
    the next clause on after a divergence, once it is entered."""
    number = torch.arange(len(rows), device=taken.device)
    # Of each drafted token: it, the first one of its next clause, and where that begins. The last column is no token, so
    # that no pointer moves behind it.
    restart = rows.restart.clamp(max=rows.drafted.shape[1] - 1)
    table = torch.stack([rows.drafted, rows.drafted.gather(1, restart), restart], dim=2)  # (B, R, 3)
    for column in range(taken.shape[1]):
        here = table[number, rows.pointer]  # (B, 3)
        followed, entered = (here[:, :2] == choice[:, column, None]).unbind(dim=1)
        moved = torch.where(followed, rows.pointer + 1, here[:, 2] + entered)
        rows.pointer = torch.where(taken[:, column], moved, rows.pointer)

"""Rows being decoded, as tensors: what is known of each, how tokens are added, how they close up.

Shapes: B rows, R their capacity in tokens, N tokens a forward.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch


@dataclass
class Rows:
    """Rows being decoded, on the device. `pending`: the last token, not in the KV cache yet."""

    prompts: torch.Tensor  # (B,) index of the prompt
    lengths: torch.Tensor  # (B,) own tokens in the KV cache
    pending: torch.Tensor  # (B,) token ids
    states: torch.Tensor  # (B,) of the automaton, behind `pending`
    tokens: torch.Tensor  # (B, R) generated so far, -1 behind
    counts: torch.Tensor  # (B,) how many of them
    ended: torch.Tensor  # (B,) bool
    drafted: torch.Tensor  # (B, R) proposed tokens, -1 behind
    restart: torch.Tensor  # (B, R) where the first clause at or behind each drafted token begins
    pointer: torch.Tensor  # (B,) the next drafted token

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


def next_drafted(rows: Rows, count: int) -> torch.Tensor:
    """Each row's next drafted tokens, (B, count), -1 where there are none."""
    ahead = rows.pointer[:, None] + torch.arange(count, device=rows.pointer.device)
    return rows.drafted.gather(1, ahead.clamp(max=rows.drafted.shape[1] - 1))


def append(rows: Rows, taken: torch.Tensor, choice: torch.Tensor, after: torch.Tensor) -> None:
    """Add the tokens of `choice` (B, N) that are `taken`, a row's first; `after`: states behind."""
    accepted = taken.sum(dim=1)  # (B,)
    position = torch.arange(taken.shape[1], device=taken.device)  # (N,)
    columns = (rows.counts[:, None] + position).clamp(max=rows.tokens.shape[1] - 1)  # (B, N)
    rows.tokens.scatter_(1, columns, torch.where(taken, choice, rows.tokens.gather(1, columns)))
    last = (accepted - 1).clamp(min=0)[:, None]  # (B, 1)
    moved = accepted > 0  # (B,)
    rows.pending = torch.where(moved, choice.gather(1, last)[:, 0], rows.pending)
    rows.states = torch.where(moved, after.gather(1, last)[:, 0], rows.states)
    rows.counts, rows.lengths = rows.counts + accepted, rows.lengths + accepted
    move_pointer(rows, accepted)


def move_pointer(rows: Rows, accepted: torch.Tensor) -> None:
    """Where drafts go on: behind the last token if that was drafted, else at the next clause."""
    end = rows.drafted.shape[1] - 1
    last = (rows.pointer + accepted - 1).clamp(min=0, max=end)[:, None]  # (B, 1)
    at_next = rows.restart.gather(1, last)  # (B, 1)
    followed = rows.drafted.gather(1, last)[:, 0] == rows.pending  # (B,)
    entered = rows.drafted.gather(1, at_next)[:, 0] == rows.pending  # (B,)
    rows.pointer = torch.where(followed, last[:, 0] + 1, at_next[:, 0] + entered).clamp(max=end)

"""Which tokens a step drafts for each row: the source that promises more, as far as it pays.

Two sources: the row's statement (drafting.py), and its own text, in which what followed the last
two or three tokens the last time they stood there is likely to follow again (prompt lookup:
Saxena 2023; n-gram speculation). All of it is tensor arithmetic on the device.
Shapes: B rows, N tokens a forward, K kinds of drafted tokens, L tokens a text may have.
"""

from dataclasses import dataclass

import torch

from boxes.decoding.automaton import Automaton
from boxes.decoding.drafting import CLAUSE, CONTENT, COPIED, FIXED, KINDS, REPEATED, WAITING, WRITTEN
from boxes.decoding.rows import Rows

# What is believed of each kind before the model has shown it: so many of so many are confirmed.
BELIEVED = {
    FIXED: (19.0, 20.0),
    CLAUSE: (5.0, 8.0),
    CONTENT: (4.0, 8.0),
    WRITTEN: (99.9, 100.0),
    WAITING: (3.0, 8.0),
    COPIED: (2.0, 8.0),
    REPEATED: (4.0, 8.0),
}
SHARED = 4.0  # what all rows showed counts in one row as much as so many proposals of its own
FADING = 0.9  # a row's older proposals count that much less a step


class Acceptance:
    """How many drafted tokens of each kind were compared (`tried`) and how many the model wrote,
    (K,) each on the device, over all rows so far."""

    def __init__(self, device: torch.device):
        pairs = torch.tensor([BELIEVED[kind] for kind in range(KINDS)], device=device)
        self.confirmed, self.tried = pairs.unbind(dim=1)

    def rates(self) -> torch.Tensor:
        """The probability (K,) that a drafted token of each kind is confirmed."""
        return self.confirmed / self.tried

    def rates_of(self, rows: Rows) -> torch.Tensor:
        """The same for each row (B, K), drawn towards what all rows showed."""
        return (rows.confirmed + SHARED * self.rates()) / (rows.tried + SHARED)

    def learn(
        self,
        rows: Rows,
        kinds: torch.Tensor,  # (B, M)
        compared: torch.Tensor,  # (B, M) bool: the model decided on the token that was proposed here
        equal: torch.Tensor,  # (B, M) bool: and wrote it
    ) -> None:
        """Count what the model did with proposals, here and in each row."""
        tried = torch.zeros_like(rows.tried).scatter_add_(1, kinds, compared.to(rows.tried))
        confirmed = (compared & equal).to(rows.tried)
        confirmed = torch.zeros_like(rows.tried).scatter_add_(1, kinds, confirmed)
        self.tried += tried.sum(dim=0)
        self.confirmed += confirmed.sum(dim=0)
        rows.tried += tried
        rows.confirmed += confirmed


@dataclass(frozen=True)
class Proposal:
    """Proposed tokens (B, N) of one source, -1 from where there are none, and their kinds."""

    tokens: torch.Tensor
    kinds: torch.Tensor


def from_statement(rows: Rows, count: int) -> Proposal:
    """The next `count` tokens of each row's statement. Where the row's last token is not the one
    before them, the first of them is waited for."""
    ahead = rows.pointer[:, None] + torch.arange(count, device=rows.pointer.device)
    ahead = ahead.clamp(max=rows.drafted.shape[1] - 1)
    before = rows.drafted.gather(1, (rows.pointer[:, None] - 1).clamp(min=0))  # (B, 1)
    waiting = (rows.pointer[:, None] > 0) & (before != rows.pending[:, None])
    first = torch.arange(count, device=waiting.device) == 0
    kinds = rows.kinds.gather(1, ahead).masked_fill(waiting & first, WAITING)
    return Proposal(rows.drafted.gather(1, ahead), kinds)


def from_text(rows: Rows, count: int) -> Proposal:
    """What followed the last three tokens of each row's text the last time they stood there, else
    what followed the last two. What would run into the end of the text begins again: a loop that
    was written once is expected to go on."""
    length = rows.texts.shape[1]
    last = (rows.begins + rows.counts)[:, None] - 1  # (B, 1)
    position = torch.arange(length, device=last.device)
    same = []  # (B, L) each: where the last token stands, the one before it, and the one before that
    for back in range(3):
        same.append(rows.texts == rows.texts.gather(1, (last - back).clamp(min=0)))
    two = same[0] & same[1].roll(1, 1) & (position < last) & (position > 0)
    three = two & same[2].roll(2, 1) & (position > 1)
    found = torch.where(two, position + length * three, -1).amax(dim=1, keepdim=True)  # (B, 1)
    here = found % length
    period = (last - here).clamp(min=1)
    ahead = here + 1 + torch.arange(count, device=last.device) % period
    tokens = rows.texts.gather(1, ahead.clamp(max=length - 1))
    tokens = tokens.masked_fill(found < 0, -1)
    kinds = torch.where(found >= length, REPEATED, COPIED).expand(-1, count)
    return Proposal(tokens, kinds)


def choose(
    rows: Rows,
    sources: list[Proposal],
    automaton: Automaton,
    rates: torch.Tensor,  # (B, K)
    least: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The tokens (B, N) to draft for each row, -1 from where no token pays, their kinds, and the probability that each
    of them and all before it are confirmed.

    A drafted token counts if the model confirms it and all before it, so it promises the product of
    their rates; it pays where that is at least `least`. What the automaton does not allow is never
    confirmed. Of the sources the one that promises more tokens is taken.
    """
    count = len(sources)  # S; below, all rows of one source and then all of the next
    tokens = torch.cat([source.tokens for source in sources])  # (S * B, N)
    kinds = torch.cat([source.kinds for source in sources])
    chance = rates.repeat(count, 1).gather(1, kinds).cumprod(dim=1)
    states = states_along(automaton, rows.states.repeat(count), tokens)
    legal = automaton.allowed[states, tokens.clamp(min=0)] & (tokens >= 0)
    pays = (legal & (chance >= least)).cumprod(dim=1).bool()
    promised = (chance * pays).sum(dim=1).view(count, -1)
    best = promised.argmax(dim=0) * len(rows) + torch.arange(len(rows), device=tokens.device)  # (B,)
    return tokens.masked_fill(~pays, -1)[best], kinds[best], chance[best]


def states_along(automaton: Automaton, state: torch.Tensor, proposed: torch.Tensor) -> torch.Tensor:
    """The states (B, N) from `state` (B,) on, before each token of `proposed` (B, N)."""
    path, tokens = [state], proposed.clamp(min=0)
    for position in range(proposed.shape[1] - 1):
        path.append(automaton.next_state[path[-1], tokens[:, position]].long())
    return torch.stack(path, dim=1)


def by_kind(kinds: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """How many of some tokens (B, N) are of each kind (K,)."""
    counts = torch.zeros(KINDS, dtype=torch.long, device=kinds.device)
    return counts.scatter_add_(0, kinds.flatten(), which.flatten().long())

"""An automaton over token ids as dense tensors, and the masked argmax: look-ups on the device."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

LOGITS_AT_ONCE = 2**26  # numbers


@dataclass(frozen=True)
class Automaton:
    """States 0..S-1 over token ids 0..V-1 (V: width of the model's logits).

    allowed: (S, V) bool; next_state: (S, V) int32, meaningful where allowed; done: (S,) bool,
    nothing but the end follows; starts: the state behind each literal beginning of the expression,
    "" included; token_bytes: what each id stands for.
    """

    allowed: torch.Tensor
    next_state: torch.Tensor
    done: torch.Tensor
    starts: dict[str, int]
    token_bytes: list[bytes]
    end_ids: tuple[int, ...]

    @cached_property
    def forbidden(self) -> torch.Tensor:
        """(S, V) bool, what is not allowed: the mask of every step."""
        return ~self.allowed

    def start(self, prompt: str) -> tuple[int, str]:
        """The state behind a prompt, and the literal beginning (of the expression) it ends in."""
        for head in sorted(self.starts, key=len, reverse=True):
            before = prompt.removesuffix(head)[-1:] if head else ""
            if prompt.endswith(head) and (not before or before.isspace()):
                return self.starts[head], head
        return self.starts[""], ""

    def text(self, ids: list[int]) -> str:
        """The text of token ids, the ends dropped."""
        spelled = b"".join(self.token_bytes[token] for token in ids if token not in self.end_ids)
        return spelled.decode("utf-8", errors="replace")

    def to(self, device: torch.device | str) -> "Automaton":
        """The same automaton with its tensors on a device."""
        tensors = (self.allowed.to(device), self.next_state.to(device), self.done.to(device))
        return Automaton(*tensors, self.starts, self.token_bytes, self.end_ids)


def masked_argmax(
    automaton: Automaton,
    head: Callable[[torch.Tensor], torch.Tensor],  # makes logits (..., V) of hidden states
    hidden: torch.Tensor,  # (B, N, hidden)
    states: torch.Tensor,  # (B, N)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The likeliest allowed token, whether it ends the text, and the state behind it, (B, N) each.

    Where no allowed token has a finite logit the text ends (the model is broken there), which the
    last of the results says. Logits are made a few rows at a time, to fit in memory.
    """
    at_once = max(1, LOGITS_AT_ONCE // automaton.allowed.shape[1])
    best, choice = [], []
    parts = zip(hidden.flatten(0, 1).split(at_once), states.flatten().split(at_once), strict=True)
    for some, where in parts:
        value, token = head(some).masked_fill_(automaton.forbidden[where], -torch.inf).max(dim=-1)
        best.append(value)
        choice.append(token)
    broken = ~torch.cat(best).view_as(states).isfinite()
    choice = torch.cat(choice).view_as(states).masked_fill(broken, automaton.end_ids[0])
    after = automaton.next_state[states, choice].long()
    ends = automaton.done[after]
    for end in automaton.end_ids:
        ends = ends | (choice == end)
    return choice, ends, after, broken

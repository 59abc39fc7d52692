"""What a drafted token costs, and so how sure it must be to pay.

A step over B rows with n tokens takes about a + q n seconds: a for what every forward does (the
weights are read), q for each token. A drafted token that is confirmed with probability c costs q;
it saves c times a row's part in another step and that token in it, c (a / B + q). It pays where

    c >= q / (a / B + q) = 1 / (1 + a / q / B).

Where arithmetic is the bound, as on a CPU with many rows, drafts must be sure; where memory is, as
on a GPU with few rows, nearly every draft pays.
"""

import time
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

# a / q in tokens where it is not measured; None: in any other dtype. On a GPU the weights are read
# in the time of some tokens' arithmetic: bytes of a weight / bytes a second x operations a second /
# 2 (H200: 4.3e12 bytes; in bfloat16 790e12 operations, in float32, without tensor cores, 55e12).
FORWARD_TOKENS = {("cuda", None): 184.0, ("cuda", torch.float32): 26.0, ("cpu", None): 32.0}
# Where it is measured. In less precision an answer may depend on how many tokens a forward has, and
# no answer may depend on a clock; a GPU runs behind the clock.
MEASURED = {("cpu", torch.float32)}
LEAST_TOKENS = 1.0  # a / q is no less: noise can say so, and then nothing would be drafted again
REMEMBERED = 64  # steps
EXPLORED = 4  # steps until the price is known; every other of them drafts nothing


class Price:
    """a / q of a model on a type of device (`forward_tokens`), learnt from the steps so far."""

    def __init__(self, kind: str, dtype: torch.dtype):
        self.learning = (kind, dtype) in MEASURED
        other = FORWARD_TOKENS.get((kind, None), FORWARD_TOKENS["cpu", None])
        self.forward_tokens = FORWARD_TOKENS.get((kind, dtype), other)
        self.steps: deque[tuple[int, float]] = deque(maxlen=REMEMBERED)  # tokens and seconds

    @property
    def exploring(self) -> bool:
        """Whether the next step shall draft nothing, so that a and q can be told apart."""
        return self.learning and len(self.steps) < EXPLORED and len(self.steps) % 2 == 0

    def least(self, rows: int) -> float:
        """How sure a drafted token must be in a step over so many rows."""
        return 1 / (1 + self.forward_tokens / rows)

    def learn(self, tokens: int, began: float) -> None:
        """Learn from a step that began at `began` (of time.perf_counter)."""
        if not self.learning:
            return
        self.steps.append((tokens, time.perf_counter() - began))
        if len(self.steps) >= EXPLORED:
            found = fitted(self.steps)
            if found is not None:
                self.forward_tokens = found


def fitted(steps: Sequence[tuple[int, float]]) -> float | None:
    """a / q of the line a + q n that fits steps of n tokens best, by relative errors; None where
    they have no price of a token (all of one size, or noise)."""
    tokens, seconds = np.array(steps).T
    weighted = np.stack([np.ones_like(tokens), tokens], axis=1) / seconds[:, None]
    (forward, token), _, rank, _ = np.linalg.lstsq(weighted, np.ones(len(steps)), rcond=None)
    if rank < 2 or token <= 0:
        return None
    return max(LEAST_TOKENS, float(forward / token))

"""How many drafted tokens each row has in a step.

A step over tokens that are there alone costs a CPU its part for each; a GPU must not wait to learn how many there are.
Shapes: B rows, N tokens a row and step, M tokens a step.
"""

import torch
from torch.nn.functional import pad

from boxes.decoding.job import Job

# A step verifies no more drafted tokens a row than these,
STEP_DRAFT = 32
# nor, on a GPU, than keep rows x tokens near this, up to which arithmetic is not the bound, or one a row.
STEP_TOKENS = 512
# Where rows may draft unlike numbers on a GPU, one drafts so many at most even if there are many rows.
LIKELY = 8
# On a CPU rows draft as many as pay in each; a few, or this many times the rows' mean.
UNEVEN = 2


def most_drafted(job: Job, rows: int) -> int:
    """Drafted tokens a row that a step verifies at most."""
    if job.kind != "cuda":
        return STEP_DRAFT
    return max(LIKELY if job.ragged else 1, min(STEP_TOKENS // rows - 1, STEP_DRAFT))


def likeliest(tokens: torch.Tensor, chances: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Of drafted tokens (B, N - 1) those that are likeliest to count, -1 in place of the others, and which of the B * N
    tokens of a step there are (M,); None: all of them. M is known beforehand, so that no device waits: if fewer pay,
    some that do not are run for nothing."""
    count, most = tokens.shape
    room = max(count, STEP_TOKENS - count)
    if room >= tokens.numel():
        return tokens, None
    columns = torch.arange(most, device=tokens.device)
    # None goes before one that stands before it in its row.
    order = chances.masked_fill(tokens < 0, -1.0) - 1e-4 * columns
    chosen = torch.zeros(tokens.numel(), dtype=torch.bool, device=tokens.device)
    chosen.scatter_(0, order.flatten().topk(room, sorted=False).indices, True)
    there = pad(chosen.view(count, most), (1, 0), value=True).flatten()
    # Their numbers, ascending: nonzero() would wait to learn how many there are.
    packed = there.to(torch.int8).sort(descending=True, stable=True).indices[: count + room]
    return tokens.masked_fill(~chosen.view(count, most), -1), packed


def uneven(tokens: torch.Tensor, kinds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Drafted tokens (B, N - 1) and their kinds, no wider than they are used, and which of the B * N
    tokens of a step there are; None: all of them. No row drafts many more than the others, for
    attention over a row's own tokens is as wide as the widest."""
    there = tokens >= 0
    counts = there.sum(dim=1)
    most = min(int(counts.max()), max(4, int(UNEVEN * counts.float().mean())))
    tokens, kinds, there = tokens[:, :most], kinds[:, :most], there[:, :most]
    there = pad(there, (1, 0), value=True).flatten()
    if bool(there.all()):
        return tokens, kinds, None
    return tokens, kinds, there.nonzero()[:, 0]

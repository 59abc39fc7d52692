"""Muon in float32: the optimiser of torch.optim.Muon, whose products in bfloat16 took 45 % of a
step on a CPU that has no such instructions."""

import math

import torch

MOMENTUM = 0.95
ITERATIONS = 5
A, B, C = 3.4445, -4.7750, 2.0315  # of the quintic, as in the reference implementation


class Muon(torch.optim.Optimizer):
    """Matrices move along the orthogonal factor of their gradient's momentum (Nesterov's), times
    0.2 sqrt(longer side), which matches the size of AdamW's steps."""

    def __init__(self, matrices: list[torch.nn.Parameter], lr: float):
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for matrix in group["params"]:
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                update = orthogonal(matrix.grad.lerp(momentum, MOMENTUM))
                matrix.sub_(update, alpha=0.2 * math.sqrt(max(matrix.shape)) * group["lr"])


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of the decomposition U S V^T: singular values between 0.5 and 1.5 after the
    quintic iteration X <- a X + b (X X^T) X + c (X X^T)^2 X."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = A * wide + (B * gram + C * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide

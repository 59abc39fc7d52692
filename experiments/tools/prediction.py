"""How long a model will take on this machine's processor: predicted from the shape of the model and
the speed of the processor, which is measured in a moment. Nothing is loaded.

What counts are the products with the model's matrices: the prefix that all prompts share once, the
own tokens of every prompt, every token written. How many times as long as that the engine takes at
the speed measured is LONGER: 318 s against 233 s for SmolLM2 135M Instruct (Q4_1), the whole evaluated
subset on two threads; Gemma 3 270M (Q4_K_M) takes 1.2 times as much beside its floor (data/bench/real.csv).
"""

import time

import torch

from boxes.models.shapes import Shape, shape_of
from boxes.models.table import ModelSpec
from boxes.runs.plan import compares_formats

DESCRIPTIONS = 714  # of the evaluated subset
DEV_DESCRIPTIONS = 140  # of the development set's, about, in each of both formats (Appendix A.1)
PREFIX, OWN, WRITTEN = 360, 160, 66  # tokens: all prompts begin with, a prompt's own, a statement's
LONGER = 1.5  # to be measured anew where the engine has changed
ROWS = 512  # of the product that is timed
MOMENT = 0.2  # seconds


def predicted_seconds(spec: ModelSpec, speeds: dict[tuple[int, int], float]) -> float | None:
    """Seconds for a row's runs; None where its shape is not known. `speeds`: those measured so far,
    by the size of a matrix."""
    shape = shape_of(spec)
    if not shape:
        return None
    size = (shape.hidden, shape.ffn)
    if size not in speeds:
        speeds[size] = speed_of(*size)
    runs = [DESCRIPTIONS]
    if compares_formats(spec):
        runs += [DEV_DESCRIPTIONS, DEV_DESCRIPTIONS]
    return LONGER * sum(operations(shape, count) for count in runs) / speeds[size]


def operations(shape: Shape, descriptions: int) -> float:
    """Floating-point operations in the matrices for so many descriptions; the output matrix is
    needed for what is written alone."""
    written = descriptions * WRITTEN
    tokens = PREFIX + descriptions * OWN + written
    return 2 * (shape.layer_parameters * tokens + shape.head_parameters * written)


def speed_of(inside: int, outside: int) -> float:
    """Operations a second of a product of that size in float32, the best in a moment: other work may
    slow one of them."""
    left, right = torch.randn(ROWS, inside), torch.randn(inside, outside)
    best, end = float("inf"), time.monotonic() + MOMENT
    while time.monotonic() < end:
        began = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - began)
    return 2 * ROWS * inside * outside / best

"""Where arithmetic is subtle: rows that close up, and attention merged of two parts."""

from itertools import product

import pytest
import torch

from boxes.decoding.kernels import Scoring, merge, part
from boxes.decoding.rows import close_up


@pytest.mark.parametrize("length", range(1, 8))
def test_rows_that_go_on_become_the_first_ones(length):
    for going in product([False, True], repeat=length):
        movers, holes, order = close_up(list(going))
        left = sum(going)
        cache = list(range(length))
        for mover, hole in zip(movers, holes, strict=True):
            assert mover >= left > hole
            cache[hole] = cache[mover]
        assert cache[:left] == order
        assert sorted(order) == [row for row in range(length) if going[row]]


def test_attention_over_two_parts_is_attention_over_both():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 3, 16, generator=generator)
    keys, values = (torch.randn(2, 4, 90, 16, generator=generator) for _ in range(2))
    keys *= 9  # sharp: exponentials of the scores themselves would overflow
    parts = [slice(0, 70), slice(70, 90)]
    shared, own = (part(query, keys[:, :, p], values[:, :, p], Scoring(1.0)) for p in parts)
    whole, _ = part(query, keys, values, Scoring(1.0))
    torch.testing.assert_close(merge(own, shared), whole)

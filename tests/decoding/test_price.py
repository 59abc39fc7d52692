"""What a drafted token costs on a device, and that no answer can depend on a clock."""

import time

import pytest
import torch

from boxes.decoding import price
from boxes.decoding.price import EXPLORED, Price, fitted

CPU, GPU = "cpu", "cuda"


def test_the_price_is_found_in_steps():
    steps = [(tokens, 0.1 + 0.002 * tokens) for tokens in (2, 64, 150, 300, 31)]
    assert fitted(steps) == pytest.approx(50)


@pytest.mark.parametrize(
    "steps",
    [
        [(64, 0.2)] * 9,  # of one size
        [(64, 0.3), (128, 0.2), (256, 0.1)],  # noise: more tokens in less time
    ],
)
def test_steps_that_say_nothing_of_a_token_change_nothing(steps):
    assert fitted(steps) is None


def test_a_forward_that_costs_nothing_in_itself_leaves_only_sure_drafts():
    assert fitted([(64, 0.0064), (128, 0.0128), (32, 0.0032)]) == price.LEAST_TOKENS
    free = Price(CPU, torch.float32)
    for tokens in (64, 128, 32, 96):
        free.learn(tokens, time.perf_counter() - 1e-2 * tokens)
    assert 0.98 < free.least(64) < 1


def test_fewer_rows_make_drafts_pay_sooner():
    some = Price(CPU, torch.float32)
    assert some.least(1) < some.least(8) < some.least(64) < 1


def test_every_other_of_the_first_steps_drafts_nothing():
    some, found = Price(CPU, torch.float32), []
    for _ in range(EXPLORED + 2):
        found.append(some.exploring)
        some.learn(64, time.perf_counter())
    assert found == [True, False] * (EXPLORED // 2) + [False, False]


@pytest.mark.parametrize(
    ("device", "dtype"),
    [(CPU, torch.bfloat16), (GPU, torch.float32), (GPU, torch.bfloat16)],
)
def test_where_answers_could_depend_on_it_no_clock_is_read(monkeypatch, device, dtype):
    monkeypatch.setattr(price, "time", None)
    fixed = Price(device, dtype)
    assert not fixed.exploring
    before = fixed.least(64)
    for tokens in range(1, 20):
        fixed.learn(tokens, 0.0)
    assert fixed.least(64) == before

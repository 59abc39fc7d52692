"""Running out of memory: the batch is halved, decoding goes on, the text is the same, and it is on
record."""

from functools import cache

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, PreTrainedConfig

from boxes.decoding import attention, fallback, loop, memory, stems
from boxes.decoding.engine import Decoder
from boxes.generation import sample_operations, sample_state
from boxes.models import load
from boxes.prompting import statement_prompt
from boxes.records import UserError
from boxes.world import describe

COUNT = 12  # more than a batch of 8
ONE = r"^out of memory with one prompt at a time; free memory, or spread the model over more GPUs$"
pytestmark = pytest.mark.usefixtures("one_thread", "steady")


@pytest.fixture(scope="module")
def tiny():
    return load("tiny-base", "cpu", "float32")


@pytest.fixture(scope="module")
def prompts():
    rngs = [np.random.default_rng([12, index]) for index in range(COUNT)]
    states = [sample_state(rng) for rng in rngs]
    operations = [sample_operations(rng, state, 4) for rng, state in zip(rngs, states, strict=True)]
    return list(map(statement_prompt, map(describe, states, operations)))


@pytest.fixture(scope="module")
def truth(tiny, prompts):
    return Decoder(tiny.model, tiny.tokenizer).decode(prompts)


def failing(function, calls: set[int], error: Exception):
    """The function, but that the calls of these numbers, from 1, raise."""
    count = 0

    def run(*arguments, **more):
        nonlocal count
        count += 1
        if count in calls:
            raise error
        return function(*arguments, **more)

    run.count = lambda: count
    return run


def fail(monkeypatch, calls: set[int], error: Exception):
    """From now on the engine's forwards of these numbers, of prefills and of steps, raise."""
    run = failing(loop.forward, calls, error)
    for room in (loop, stems):
        monkeypatch.setattr(room, "forward", run)
    return run


@pytest.fixture(scope="module")
def forwards_of(tiny, prompts, steady):
    """How many forwards the prompts take, for the options of a decoder."""

    @cache
    def count(**options) -> int:
        with pytest.MonkeyPatch.context() as patch:
            counting = fail(patch, set(), ValueError())
            Decoder(tiny.model, tiny.tokenizer, **options).decode(prompts)
        return counting.count()

    return count


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("draft", [True, False])
def test_half_a_batch_goes_on(monkeypatch, capsys, tiny, prompts, truth, forwards_of, where, draft):
    last = forwards_of(batch_size=8, draft=draft)
    call = {"first": 1, "middle": last // 2, "last": last}[where]
    fail(monkeypatch, {call}, torch.OutOfMemoryError("injected"))
    decoder = Decoder(tiny.model, tiny.tokenizer, batch_size=8, draft=draft)
    told = []
    assert decoder.decode(prompts, progress=told.append) == truth
    assert (decoder.work.rows, decoder.work.halvings, sum(told)) == (4, 1, COUNT)
    assert capsys.readouterr().err == "out of memory with 8 prompts at a time; going on with 4\n"


def test_what_was_finished_is_not_decoded_again(monkeypatch, tiny, prompts, forwards_of):
    last = forwards_of(batch_size=8, draft=True)
    fail(monkeypatch, {last - 1, last}, torch.OutOfMemoryError())
    found = []
    for indices, _ in Decoder(tiny.model, tiny.tokenizer, batch_size=8).batches(prompts):
        found += indices
    assert sorted(found) == list(range(COUNT))


def test_halved_again_and_again_down_to_one(monkeypatch, tiny, prompts, truth):
    text = "DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."
    error = RuntimeError(f"[enforce fail at alloc_cpu.cpp] {text}")
    fail(monkeypatch, {1, 3, 5}, error)
    decoder = Decoder(tiny.model, tiny.tokenizer, batch_size=8)
    assert decoder.decode(prompts) == truth
    assert (decoder.work.rows, decoder.work.halvings) == (1, 3)


def test_one_prompt_that_does_not_fit_is_an_error(monkeypatch, tiny, prompts):
    fail(monkeypatch, {1, 2, 3, 4}, torch.OutOfMemoryError())
    with pytest.raises(UserError, match=ONE):
        Decoder(tiny.model, tiny.tokenizer, batch_size=4).decode(prompts)


def test_another_error_is_not_taken_for_it(monkeypatch, tiny, prompts, forwards_of):
    last = forwards_of(batch_size=4)  # the first ones are a trial, which another way would follow
    fail(monkeypatch, {last}, RuntimeError("device-side assert"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        Decoder(tiny.model, tiny.tokenizer, batch_size=4).decode(prompts)


@pytest.mark.parametrize("where", [1, 2, 3])
def test_the_fallback_goes_on_too(monkeypatch, tiny, prompts, truth, where):
    monkeypatch.setattr(attention, "why_not", lambda *_: "a test asks for it")
    monkeypatch.setattr(
        fallback,
        "prefill_batch",
        failing(fallback.prefill_batch, {where}, torch.OutOfMemoryError()),
    )
    decoder = Decoder(tiny.model, tiny.tokenizer, batch_size=8)
    assert decoder.decode(prompts) == truth
    assert (decoder.work.rows, decoder.work.halvings) == (4, 1)


def test_the_batch_is_what_memory_holds(monkeypatch, tiny):
    """What is left beside a forward of 300 tokens holds so many rows of 500."""
    config = tiny.model.config
    row = 500 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    passing = 300 * memory.passing_bytes(config, 4)
    assert memory.stored_bytes(config, 4) * 500 == row
    for free, expected in (
        (0, 1),
        (row + passing, 1),
        (10 * row + passing + 1, 10),
        (1e18, 64),
    ):
        monkeypatch.setattr(memory, "usable_bytes", lambda _device, free=free: free)
        assert memory.rows_that_fit(tiny.model, 500, 300, 64) == expected
    assert memory.rows_that_fit(tiny.model, 500, 300, 3) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {},  # of a model without attention: no heads, no inner width
        {"num_attention_heads": 4, "intermediate_size": None},
        {
            "num_attention_heads": [4, 2],
            "num_key_value_heads": [2, 1],
            "intermediate_size": [96, 128],
        },
    ],
)
def test_a_configuration_that_lacks_numbers_or_has_one_a_layer(fields):
    config = PreTrainedConfig(hidden_size=64, num_hidden_layers=2, **fields)
    assert memory.stored_bytes(config, 4) >= 2 * 2 * 32 * 4
    assert memory.passing_bytes(config, 4) > 4 * 64 * 4


def test_this_machine_says_what_it_has():
    assert memory.free_bytes(torch.device("cpu")) > 2**20


def test_decoding_takes_that_many(monkeypatch, tiny, prompts, truth):
    monkeypatch.setattr(memory, "rows_that_fit", lambda *_: 5)
    decoder = Decoder(tiny.model, tiny.tokenizer)
    assert decoder.decode(prompts) == truth
    assert decoder.work.rows == 5


def test_the_rows_of_a_70b_need_a_second_h200():
    """138 GB of weights leave 12 GB of one, about what stays free; grouped heads make 0.33 MB a token."""
    config = LlamaConfig(
        hidden_size=8192,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        intermediate_size=28672,
    )
    assert memory.stored_bytes(config, 2) == 327_680
    usable = (1 - memory.SPARE["cuda"]) * 143_771 * 2**20
    run = loop.PREFILL_TOKENS["cuda"] * memory.passing_bytes(config, 2)
    for cards, enough in ((1, False), (2, True)):
        left = cards * (usable - 138e9 / cards - run)
        assert (left > memory.MOST_ROWS["cuda"] * 470 * memory.stored_bytes(config, 2)) is enough

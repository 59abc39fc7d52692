"""Sliding windows and soft caps with a shared prefix: exact wherever the window's edge lies, and a
window that is off by one is found before the first prompt."""

import pytest
import torch
from architectures import WINDOWED, build
from decoding_fixture import SHORT_REGEX
from miniatures import byte_level_tokenizer
from scenarios_fixture import prompts
from transformers import AttentionMaskInterface
from transformers.masking_utils import (
    causal_mask_function,
    chunked_causal_mask_function,
    sliding_window_causal_mask_function,
)

from boxes.decoding import attention, kernels, trial
from boxes.decoding.engine import Decoder
from boxes.decoding.forward import common_prefix
from boxes.decoding.kernels import Scoring, merge, part, seen
from boxes.prompting import encode_prompts
from boxes.reference import reference_decode

LIMIT = 12  # tokens
# Where the window's edge lies in the prompts of `asked`.
# OLMo 3's miniature: with 24 tokens two of its logits are 2e-6 apart, which rounding decides.
SHIFTED = {("olmo3", "own tokens"): 25}
PLACES = {"own tokens": 24, "prefix": 256, "seam": 330, "answer": 465}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Three prompts of different length, the longest in the middle."""
    ordered = sorted(prompts(8), key=len)
    return [ordered[0], ordered[-1], ordered[3]]


def decoder_of(model, **options) -> Decoder:
    settings = {"regex": SHORT_REGEX, "max_new_tokens": LIMIT} | options
    return Decoder(model, byte_level_tokenizer(), **settings)


def test_the_places_are_what_they_are_called(asked):
    encoded = encode_prompts(byte_level_tokenizer(), asked)
    prefix, lengths = common_prefix(encoded), sorted(map(len, encoded))
    assert PLACES["own tokens"] < lengths[0] - prefix < PLACES["prefix"] < prefix
    assert prefix < PLACES["seam"] < lengths[0]
    assert lengths[-1] < PLACES["answer"] < lengths[-1] + LIMIT


ALL = [
    *(("gemma3-window", place) for place in PLACES),
    ("gemma2", "prefix"),
    *(pytest.param(name, "seam", marks=pytest.mark.slow) for name in WINDOWED),
    *(pytest.param(name, "own tokens", marks=pytest.mark.slow) for name in WINDOWED),
]


@pytest.mark.parametrize(("name", "place"), ALL)
def test_wherever_the_edge_lies_ids_are_those_of_the_reference(name, place, asked):
    model = build(name, sliding_window=SHIFTED.get((name, place), PLACES[place]))
    expected = reference_decode(model, byte_level_tokenizer(), asked, SHORT_REGEX, LIMIT)
    for options in ({}, {"batch_size": 1}, {"draft": False}, {"batch_size": 2, "draft": False}):
        decoder = decoder_of(model, **options)
        assert decoder.decode(asked) == expected
        assert decoder.work.way == "engine"
    assert len({token for completion in expected for token in completion.tokens}) > 3


@pytest.mark.parametrize("name", ["gemma3-window", "gemma2"])
def test_bfloat16_gives_no_false_alarm(name, asked):
    decoder = decoder_of(build(name).to(torch.bfloat16))
    decoder.decode(asked)
    assert decoder.work.way == "engine"


# --- mutants ---


def rule_off(monkeypatch, by: int) -> None:
    def window_of(*more, **named):
        window = attention.window_of(*more, **named)
        return window if window is None else window + by

    mapping = AttentionMaskInterface._global_mapping
    monkeypatch.setitem(mapping, attention.ATTENTION_NAME, window_of)


def mask_off(name: str):
    def change(monkeypatch, by: int) -> None:
        mask = getattr(attention.KVCache, name)
        moved = lambda cache, window, query: mask(cache, window + by, query)  # noqa: E731
        monkeypatch.setattr(attention.KVCache, name, moved)

    return change


def steps_off(monkeypatch, by: int) -> None:
    """Only where own tokens are attended to in cached steps."""

    def moved(positions, first, count, window):
        if positions.dim() == 2 and window is not None and positions.shape[1] <= trial.STEP:
            window += by
        return seen(positions, first, count, window)

    monkeypatch.setattr(attention, "seen", moved)


MUTANTS = {
    ("rule", "own tokens"): rule_off,
    ("rule", "prefix"): rule_off,
    ("rule", "seam"): rule_off,
    ("rule", "answer"): rule_off,
    ("mask of the prefix", "seam"): mask_off("prefix_mask"),
    ("mask of the prefix", "answer"): mask_off("prefix_mask"),
    ("mask of own tokens", "own tokens"): mask_off("own_mask"),
    ("mask in steps", "own tokens"): steps_off,
}


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("mutant", MUTANTS, ids=" ".join)
def test_a_window_that_is_off_by_one_is_found(mutant, by, asked, monkeypatch):
    model = build("gemma3-window", sliding_window=PLACES[mutant[1]])
    encoded = encode_prompts(byte_level_tokenizer(), asked)
    tried = trial.trial_of(model, encoded, LIMIT)
    assert trial.choose_way(model, trial.WAYS[:2], tried, None)[0].name == "engine"
    MUTANTS[mutant](monkeypatch, by)
    way, reason = trial.choose_way(model, trial.WAYS[:2], tried, None)
    assert way.name == "plain"
    assert reason.startswith("the engine's logits differ from the model's own by ")


@pytest.mark.parametrize("cap", [None, 1.9])
def test_a_cap_that_is_dropped_or_another_is_found(cap, asked, monkeypatch):
    model = build("gemma2")
    encoded = encode_prompts(byte_level_tokenizer(), asked)
    monkeypatch.setattr(attention, "Scoring", lambda scale, window, _cap: Scoring(scale, window, cap))
    tried = trial.trial_of(model, encoded, LIMIT)
    assert trial.choose_way(model, trial.WAYS[:2], tried, None)[0].name == "plain"


# --- the arithmetic ---


def naive(query, keys, values, scoring: Scoring, visible):
    """In float64, from the definition."""
    groups = query.shape[1] // keys.shape[1]
    keys, values = (one.double().repeat_interleave(groups, 1) for one in (keys, values))
    scores = query.double() @ keys.transpose(2, 3) * scoring.scale
    if scoring.cap:
        scores = scoring.cap * torch.tanh(scores / scoring.cap)
    scores = scores.masked_fill(~visible, -torch.inf)
    return scores.softmax(dim=-1) @ values, scores.logsumexp(dim=-1)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("window", [None, 1, 7, 40])
@pytest.mark.parametrize("at_once", [1, 2**19])
def test_a_part_is_what_the_definition_says(cap, window, at_once, monkeypatch):
    monkeypatch.setitem(kernels.SCORES_AT_ONCE, "cpu", at_once)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 30, 16, generator=generator)
    keys, values = (torch.randn(2, 2, 30, 16, generator=generator) for _ in range(2))
    visible, scoring = seen(torch.arange(30), 0, 30, window), Scoring(0.8, window, cap)
    mask = kernels.added(visible, query.dtype)
    for output, logsumexp in (
        part(query, keys, values, scoring, mask=mask),
        kernels.weighted(query, keys, values, scoring, visible),
        *([part(query, keys, values, scoring, causal=True)] if window is None else []),
    ):
        expected = naive(query, keys, values, scoring, visible)
        torch.testing.assert_close(output.double(), expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logsumexp.double(), expected[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cap", [None, 3.0])
def test_a_query_that_sees_nothing_of_a_part_takes_nothing_from_it(dtype, cap):
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(1, 4, 9, 16, generator=generator) for _ in range(3))
    query, keys, values = query.to(dtype), keys.to(dtype) * 9, values.to(dtype)
    visible = seen(torch.arange(9), 0, 9, None)
    visible[4:] = False
    mask = kernels.added(visible, dtype)
    own = part(query, keys, values, Scoring(1.0, cap=cap), causal=True)
    shared = part(query, keys, values, Scoring(1.0, cap=cap), mask=mask)
    assert torch.equal(merge(own, shared)[:, :, 4:], own[0][:, :, 4:].float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("masked", [True, False])
def test_the_shapes_on_a_gpu(dtype, cap, masked):
    """Tensors without numbers take the kernels of a GPU, which want the rows of a mask aligned."""
    query = torch.empty(2, 8, 90, 64, dtype=dtype, device="meta")
    keys = torch.empty(2, 2, 47, 64, dtype=dtype, device="meta")
    mask = None
    if masked:
        mask = kernels.added(seen(torch.arange(90, device="meta"), 0, 47, 5), dtype)
        assert (mask.shape, mask.stride(), mask.dtype) == ((90, 47), (48, 1), dtype)
    output, logsumexp = part(query, keys, keys, Scoring(0.1, 5, cap), mask=mask)
    assert (output.shape, output.dtype) == (query.shape, dtype)
    assert (logsumexp.shape, logsumexp.dtype) == (query.shape[:3], torch.float32)


# --- the window, read off the model's own rule ---


def read(rule, tokens: int):
    return attention.window_of(batch_size=1, mask_function=rule, kv_length=tokens, q_length=3)


def test_the_window_is_read_off_the_rule():
    assert read(causal_mask_function, 900) is None
    for window in (1, 2, 511, 512, 899):
        assert read(sliding_window_causal_mask_function(window), 900) == window
    for window in (900, 901, 4096):
        assert read(sliding_window_causal_mask_function(window), 900) is None
    one_more = lambda _batch, _head, query, key: (key <= query) & (key >= query - 512)  # noqa: E731
    assert read(one_more, 900) == 513
    assert read(one_more, 1) is None


def test_another_rule_is_no_window():
    unpadded = torch.zeros(1, dtype=torch.long)
    for chunk in (2, 64, 450, 899):
        rule = chunked_causal_mask_function(chunk, unpadded)
        assert read(rule, 900) == attention.UNREADABLE
    assert read(lambda _batch, _head, query, key: key >= 0 * query, 9) == attention.UNREADABLE
    assert read(lambda _batch, _head, query, key: key > 9 + query, 9) == attention.UNREADABLE


@pytest.mark.parametrize(
    ("asks", "why"),
    [
        ({"s_aux": torch.zeros(4)}, "its attention has sinks"),
        ({"position_bias": torch.zeros(4)}, "its attention takes position_bias"),
        ({"attention_mask": torch.zeros(4)}, "it makes an attention mask of its own"),
        ({"attention_mask": attention.UNREADABLE}, "its attention mask is no sliding window"),
    ],
)
def test_what_is_not_done_is_refused(asks, why):
    query = torch.zeros(1, 1, 1, 16)
    with pytest.raises(ValueError, match=why):
        attention.attend(None, query, query, query, kv_cache=attention.KVCache(1, 1), **asks)

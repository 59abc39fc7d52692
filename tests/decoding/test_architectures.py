"""Whatever the architecture: exact against an uncached forward of the model's own, one row at a
time, or refused in one line."""

import inspect
from types import MethodType

import pytest
import torch
from architectures import ARCHITECTURES, FEW, MANY, build
from miniatures import byte_level_tokenizer
from scenarios_fixture import prompts
from transformers import AttentionInterface

from boxes.decoding import attention, engine, forward, trial
from boxes.decoding.engine import Decoder
from boxes.decoding.trial import WAYS
from boxes.prompting import encode_prompt
from boxes.records import UserError

# Leaves a random model a choice at nearly every token.
REGEX = r"Statement: Box 0 contains( [a-z]{1,4}){1,3}, Box 1\."
LIMIT = 8  # tokens
ALL = [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in MANY)]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Three prompts of different length, the longest in the middle."""
    ordered = sorted(prompts(8), key=length)
    return [ordered[0], ordered[-1], ordered[3]]


def length(prompt: str) -> int:
    return len(encode_prompt(byte_level_tokenizer(), prompt))


def lengths(asked: list[str]) -> list[int]:
    return list(map(length, asked))


def said(capfd) -> list[str]:
    """The lines on stderr that say how a model is decoded."""
    lines = capfd.readouterr().err.splitlines()
    return [line for line in lines if line.startswith("decoding without")]


def oracle(model, decoder: Decoder, prompt: str) -> list[int]:
    """Masked argmax over the model's own logits, everything computed again for every token."""
    automaton, ids, written = decoder.automaton, encode_prompt(decoder.tokenizer, prompt), []
    state, _ = automaton.start(prompt)
    while len(written) < LIMIT and not automaton.done[state]:
        logits = model(torch.tensor([ids + written]), use_cache=False).logits[0, -1]
        token = int(logits.masked_fill(~automaton.allowed[state], -torch.inf).argmax())
        if token in automaton.end_ids:
            break
        written.append(token)
        state = int(automaton.next_state[state, token])
    return written


def decoder_of(model, **options) -> Decoder:
    settings = {"regex": REGEX, "max_new_tokens": LIMIT} | options
    return Decoder(model, byte_level_tokenizer(), **settings)


@pytest.mark.parametrize("name", ALL)
def test_exact_or_refused(name, asked, capfd):
    model = build(name, between=max(lengths(asked)) + 3)
    decoder, expected = decoder_of(model), ARCHITECTURES[name].way
    if expected == "refused":
        with pytest.raises(UserError) as caught:
            decoder.decode(asked)
        assert len(str(caught.value).splitlines()) == 1
        assert "leave this model out" in str(caught.value)
        return
    completions = decoder.decode(asked)
    for prompt, completion in zip(asked, completions, strict=True):
        assert list(completion.tokens) == oracle(model, decoder, prompt)
    assert len({token for completion in completions for token in completion.tokens}) > 3
    assert decoder.work.way == expected
    assert len(said(capfd)) == (expected != "engine")


# --- what is said ---


SAID = {
    # Of transformers up to 5.23, and from 5.24 on.
    "mamba": ("its cache is called cache_params", "it does not take a custom attention function"),
    "gpt_oss": "the engine cannot run it (ValueError: its attention has sinks)",
    "diffllama": "the engine's logits differ from the model's own by ",
    "llama4": "the engine cannot run it (ValueError: its attention mask is no sliding window)",
}


@pytest.mark.parametrize("name", SAID)
def test_the_kind_is_named_in_one_line(name, asked, capfd):
    decoder_of(build(name)).decode(asked[:1])
    [line] = said(capfd)
    assert line.removeprefix("decoding without a shared prefix or drafts: ").startswith(SAID[name])


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("of_class", [False, True])
def test_a_model_may_call_its_cache_otherwise(plain, of_class, asked, monkeypatch):
    """As all of transformers' own do from 5.24 on."""
    model = build("llama")
    for part in (model, model.model):
        if of_class:
            monkeypatch.setattr(type(part), "forward", renamed(type(part).forward))
        else:
            part.forward = MethodType(renamed(type(part).forward), part)
    if plain:
        monkeypatch.setattr(engine.attention, "why_not", lambda _: "a test asks for it")
    decoder = decoder_of(model)
    completions = decoder.decode(asked)
    assert decoder.work.way == ("plain" if plain else "engine")
    for prompt, completion in zip(asked, completions, strict=True):
        assert list(completion.tokens) == oracle(model, decoder, prompt)


def renamed(forward):
    """A model's forward whose cache is called "cache", going in and coming out."""
    name = "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"

    def called(self, input_ids=None, attention_mask=None, position_ids=None, cache=None, use_cache=None, **more):
        cache = more.pop(name, cache)  # what the outer model calls it
        given = {"attention_mask": attention_mask, "position_ids": position_ids, name: cache, "use_cache": use_cache}
        output = forward(self, input_ids, **given, **more)
        output["cache"] = output[name] if use_cache else None
        return output

    return called


def test_a_rope_by_the_longest_row_is_named(asked):
    depends = r"its RoPE \(dynamic\) depends on the longest row so far beyond 300 tokens"
    with pytest.raises(UserError, match=depends):
        decoder_of(build("llama-dynamic")).decode(asked)


def test_rows_are_as_long_as_needed_where_a_rope_changes_with_length(asked):
    """The length at which it does must be passed in the steps behind a cache, not only in
    prefilling."""
    encoded = [encode_prompt(byte_level_tokenizer(), prompt) for prompt in asked]
    longest = max(lengths(asked))
    for name, between, tail in (
        ("phi3-longrope-within", 0, trial.TAIL),
        ("phi3-longrope-between", longest + 3, 50),
    ):
        rows = trial.trial_of(build(name, between), encoded, 50)
        assert rows.tail == tail
        assert len(rows.rows[0]) == longest + (tail if between else 0)


# --- faults put into a sound model, as an architecture that nobody thought of would have them ---


class OtherHead(torch.nn.Module):
    """An output embedding behind which the model does more."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config

    def __getattr__(self, name):
        if name == "model":
            return super().__getattr__(name)
        return getattr(super().__getattr__("model"), name)

    def forward(self, input_ids, attention_mask=None, position_ids=None, past_key_values=None,
                use_cache=None, logits_to_keep=0, return_dict=True):  # fmt: skip
        output = self.model(input_ids, attention_mask=attention_mask, position_ids=position_ids,
                            use_cache=use_cache, past_key_values=past_key_values,
                            logits_to_keep=logits_to_keep)  # fmt: skip
        output.logits = output.logits.roll(1, dims=-1)
        return output


def test_a_head_that_does_more_is_found_and_obeyed(asked, capfd):
    model = OtherHead(build("llama"))
    decoder = decoder_of(model)
    completions = decoder.decode(asked)
    assert decoder.work.way == "plain"
    assert "its head changes the hidden states" in capfd.readouterr().err
    for prompt, completion in zip(asked, completions, strict=True):
        assert list(completion.tokens) == oracle(model, decoder, prompt)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", ["lengths", "scale", "packing"])
def test_an_engine_that_is_wrong_is_found(fault, dtype, asked, monkeypatch):
    """In the second dtype rounding is five orders of magnitude larger, and no excuse."""
    run, attend, places = forward.forward, attention.attend, attention.KVCache._places

    def one_token_short(model, cache, first, tokens, lengths=None, width=0, packed=None):
        if lengths is not None:
            lengths = lengths - 1
        return run(model, cache, first, tokens, lengths, width, packed)

    def one_place_on(cache, device):
        rows, slots = places(cache, device)
        return rows, slots if cache.packed is None else slots.roll(1)

    def half_as_sharp(*inputs, scaling, **more):
        return attend(*inputs, scaling=scaling / 2, **more)

    if fault == "lengths":
        monkeypatch.setattr(forward, "forward", one_token_short)
    elif fault == "packing":
        monkeypatch.setattr(attention.KVCache, "_places", one_place_on)
    else:
        name = attention.ATTENTION_NAME
        monkeypatch.setitem(AttentionInterface._global_mapping, name, half_as_sharp)
    decoder = decoder_of(build("llama").to(dtype))
    decoder.decode(asked)
    assert decoder.work.way == "plain"


@pytest.mark.parametrize("name", ["llama", "gpt2", "cohere", "mllama"])
def test_bfloat16_gives_no_false_alarm(name, asked):
    decoder = decoder_of(build(name).to(torch.bfloat16))
    decoder.decode(asked)
    assert decoder.work.way == "engine"


def test_a_model_whose_rows_depend_on_those_before_is_refused(asked):
    model = build("llama")
    longest = [0]

    def mix(_module, _inputs, output):
        longest[0] = max(longest[0], output.shape[1])
        return output + output.roll(longest[0] % 7 + 1, dims=-1)

    model.get_input_embeddings().register_forward_hook(mix)
    wrong = "its own logits depend on the rows before; leave this model out"
    with pytest.raises(UserError, match=wrong):
        decoder_of(model).decode(asked)


def test_a_prompt_beyond_the_positions_is_refused(asked):
    model = build("gpt2")
    model.transformer.wpe = torch.nn.Embedding(400, 64)
    wrong = r"its own forward fails \(IndexError: index out of range in self\)"
    with pytest.raises(UserError, match=wrong):
        decoder_of(model).decode(asked)


def test_a_configuration_that_asks_for_tuples(asked):
    model = build("llama")
    expected = decoder_of(model).decode(asked)
    model.config.return_dict = False
    decoder = decoder_of(model)
    assert decoder.decode(asked) == expected
    assert decoder.work.way == "engine"


def test_the_check_is_made_once_a_decoder(asked, monkeypatch):
    counted = []

    def choose_way(*more):
        counted.append(1)
        return trial.choose_way(*more)

    monkeypatch.setattr(engine, "choose_way", choose_way)
    decoder = decoder_of(build("llama"), batch_size=1)
    decoder.decode(asked)
    decoder.decode(asked[:1])
    assert len(counted) == 1


def test_rows_of_a_trial_are_as_those_to_be_decoded(asked):
    model = build("llama")
    encoded = [encode_prompt(byte_level_tokenizer(), prompt) for prompt in asked]
    assert [len(row) for row in trial.trial_of(model, encoded, 50).rows] == [
        max(lengths(asked)),
        min(lengths(asked)),
    ]
    for few in (
        [encoded[0]],
        [[5, 6]],
        [encoded[0], encoded[0]],
        [encoded[0], encoded[0][:-3]],
        [[5, 6], [7, 8, 9]],
    ):
        rows = trial.trial_of(model, few, 50)
        assert len(rows.rows[0]) > len(rows.rows[1]) > rows.looked_at
        assert trial.choose_way(model, WAYS, rows, None)[0] is WAYS[0]

"""Where a text ends: at the period, the limit, an early end, where no logit is a number."""

import re

import pytest
import torch
from decoding_fixture import (
    BASE,
    check_free,
    engine,
    favouring,
    logits_changed,
    shaped,
    tiny,
    tiny_prompts,
    tiny_reference,
)
from miniatures import TOKENIZERS
from scenarios_fixture import prompts

from boxes.completion import Completion, Status
from boxes.decoding import attention
from boxes.decoding.constraint import token_bytes
from boxes.decoding.engine import Decoder
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompt
from boxes.reference import reference_decode

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "limit",
    [
        pytest.param(1, marks=pytest.mark.slow),
        2,
        pytest.param(9, marks=pytest.mark.slow),
        20,
    ],
)
def test_a_statement_that_is_cut_is_truncated(limit):
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 6)
    completions = engine(max_new_tokens=limit).decode(asked)
    expected = reference_decode(loaded.model, loaded.tokenizer, asked, max_new_tokens=limit)
    assert completions == expected
    for completion, whole in zip(completions, tiny_reference(BASE, 6), strict=True):
        assert completion.status == Status.TRUNCATED
        assert completion.tokens == whole.tokens[:limit]
        assert whole.text.startswith(completion.text)


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("short_of", [0, 1])
def test_a_statement_that_ends_exactly_at_the_limit_is_whole(short_of, draft):
    loaded, asked, whole = tiny(BASE), tiny_prompts(BASE, 6), tiny_reference(BASE, 6)
    limit = len(whole[3].tokens) - short_of
    completions = engine(max_new_tokens=limit, draft=draft).decode(asked)
    for completion, expected in zip(completions, whole, strict=True):
        assert completion.tokens == expected.tokens[:limit]
        assert completion.status in (Status.OK, Status.TRUNCATED)
        assert (completion.status == Status.OK) == (len(expected.tokens) <= limit)
    if draft:
        expected = reference_decode(loaded.model, loaded.tokenizer, asked, max_new_tokens=limit)
        assert completions == expected


@pytest.mark.parametrize("name", [BASE, "tiny-chat"])
def test_free_decoding_is_greedy_to_the_first_period(name):
    loaded, asked = tiny(name), tiny_prompts(name, 2)
    completions = engine(name, regex=None, max_new_tokens=90).decode(asked)
    for prompt, completion in zip(asked, completions, strict=True):
        check_free(loaded.model, loaded.tokenizer, prompt, completion, 90)
        assert completion.text.count(".") == 1
        assert completion.text.endswith(".")
        whole = re.fullmatch(STATEMENT_REGEX, completion.text) is not None
        assert completion.status in (Status.OK, Status.INVALID)
        assert (completion.status == Status.OK) == whole
        assert completion.text.startswith(STATEMENT_HEAD)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_free_decoding_of_random_weights(kind):
    model, tokenizer = shaped("llama", kind)
    asked = prompts(4)
    completions = Decoder(model, tokenizer, None, 30).decode(asked)
    for prompt, completion in zip(asked, completions, strict=True):
        check_free(model, tokenizer, prompt, completion, 30)
        assert completion.status != Status.OK
        assert "." not in completion.text[:-1]


def test_an_end_at_once_in_free_decoding_is_invalid():
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 3)
    with logits_changed(loaded.model, favouring([loaded.tokenizer.eos_token_id])):
        completions = engine(regex=None).decode(asked)
    assert completions == [Completion(STATEMENT_HEAD, (), Status.INVALID)] * 3


def test_an_end_cannot_come_early_under_the_expression():
    loaded, asked, expected = tiny(BASE), tiny_prompts(BASE, 3), tiny_reference(BASE, 6)[:3]
    with logits_changed(loaded.model, favouring([loaded.tokenizer.eos_token_id])):
        assert engine().decode(asked) == expected
        assert reference_decode(loaded.model, loaded.tokenizer, asked) == expected


@pytest.mark.parametrize("regex", [STATEMENT_REGEX, None])
@pytest.mark.parametrize("draft", [True, False])
def test_a_model_that_never_ends_is_stopped(regex, draft):
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 3)
    spelled = token_bytes(loaded.tokenizer)
    letters = [index for index in spelled if re.fullmatch(rb" ?[a-z]", spelled[index])]
    with logits_changed(loaded.model, favouring(letters)):
        completions = engine(regex=regex, max_new_tokens=40, draft=draft).decode(asked)
    for completion in completions:
        assert completion.status == Status.TRUNCATED
        assert len(completion.tokens) == 40
        assert re.fullmatch(r"Statement: Box 0 contains[a-z ]*", completion.text)


@pytest.mark.parametrize("way", ["engine", "plain"])
@pytest.mark.parametrize("regex", [STATEMENT_REGEX, None])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_text_ends_where_no_logit_is_a_number(monkeypatch, regex, value, way):
    if way == "plain":
        monkeypatch.setattr(attention, "why_not", lambda *_: "a test asks for it")
    asked, decoder = tiny_prompts(BASE, 3), engine(regex=regex)
    with logits_changed(tiny(BASE).model, lambda logits: logits.fill_(value)):
        completions = decoder.decode(asked)
    assert completions == [Completion(STATEMENT_HEAD, (), Status.INVALID)] * 3
    assert decoder.work.counted("broken") == 3


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("batch_size", [1, 6])
def test_a_broken_text_does_not_break_those_beside_it_or_after_it(batch_size, draft):
    """One description's embedding is not a number, the others are decoded as ever."""
    loaded, asked, expected = tiny(BASE), tiny_prompts(BASE, 6), tiny_reference(BASE, 6)
    spoiled = encode_prompt(loaded.tokenizer, asked[2])
    decoder = engine(batch_size=batch_size, draft=draft)

    def spoil(_module, inputs, output):
        rows = inputs[0].tolist()
        own = spoiled[-40:]
        for row, ids in enumerate(rows):
            for at in range(len(ids) - 39):
                if ids[at : at + 40] == own:
                    output[row, at : at + 40] = torch.nan
        return output

    handle = loaded.model.get_input_embeddings().register_forward_hook(spoil)
    try:
        completions = decoder.decode(asked)
    finally:
        handle.remove()
    assert completions[2] == Completion(STATEMENT_HEAD, (), Status.INVALID)
    assert [one for index, one in enumerate(completions) if index != 2] == [
        *expected[:2],
        *expected[3:],
    ]
    assert decoder.work.counted("broken") == 1

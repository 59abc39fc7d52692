"""The engine against the paper's way of decoding, one prompt at a time: the same token ids, text and status in float32."""

import re
from contextlib import contextmanager
from functools import cache

import pytest
import torch
from accelerate import dispatch_model
from miniatures import SHAPES, TOKENIZERS, miniature
from scenarios_fixture import prompts
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from boxes.completion import Completion, Status
from boxes.decoding import attention
from boxes.decoding.constraint import token_bytes
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.models.table import models_of
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompt
from boxes.reference import reference_decode

TINY = [spec.name for spec in models_of("tiny")]
BASE = "tiny-base"
COUNT = 32  # prompts a tiny model by default; 64 with -m slow
SHORT_REGEX = (
    r"Statement: Box 0 contains( [a-z]{1,4}){1,3}, Box 1\."  # random weights finish it, and Figure 4's hardly ever
)
pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def tiny(name: str):
    return load(name, "cpu", "float32")


def tiny_prompts(name: str, count: int = COUNT, **settings) -> list[str]:
    """Prompts in the format that the model's row names, unless `settings` say otherwise."""
    loaded = tiny(name)
    return prompts(count, loaded.tokenizer, **{"format": loaded.spec.prompt_format} | settings)


@cache
def tiny_reference(name: str) -> list[Completion]:
    loaded = tiny(name)
    return reference_decode(loaded.model, loaded.tokenizer, tiny_prompts(name))


def engine(name: str = BASE, **options) -> Decoder:
    return Decoder(tiny(name).model, tiny(name).tokenizer, **options)


def shaped(shape: str, kind: str):
    """A miniature with logits wider than the tokenizer, and the tokenizer."""
    tokenizer = TOKENIZERS[kind]()
    return miniature(shape, len(tokenizer) + 24), tokenizer


@contextmanager
def logits_changed(model, change):
    """While it lasts, `change` alters the model's logits in place."""
    handle = model.get_output_embeddings().register_forward_hook(lambda _module, _input, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def favouring(tokens: list[int]):
    """A change of logits under which these tokens win wherever one of them is allowed."""

    def change(logits):
        logits[..., tokens] += 1e4
        return logits

    return change


@torch.no_grad()
def greedy(model, tokenizer, prompt: str, limit: int) -> list[int]:
    """Plain unconstrained greedy decoding without a cache, to the first token with a period or the end."""
    ids, spelled = encode_prompt(tokenizer, prompt), token_bytes(tokenizer)
    start = len(ids)
    while len(ids) < start + limit:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1, : len(tokenizer)]
        ids.append(int(logits.argmax()))
        if ids[-1] == tokenizer.eos_token_id or b"." in spelled.get(ids[-1], b""):
            break
    return ids[start:]


def check_consistent(completion: Completion, tokenizer, regex: str = STATEMENT_REGEX) -> None:
    """Text, tokens and status say the same."""
    spelled = token_bytes(tokenizer)
    written = b"".join(spelled[token] for token in completion.tokens).decode(errors="replace")
    assert completion.text in (written, STATEMENT_HEAD + written)
    assert (completion.status == Status.OK) == (re.fullmatch(regex, completion.text) is not None)


@pytest.mark.parametrize("name", TINY)
def test_tiny_models_decode_as_the_reference(name):
    completions = engine(name).decode(tiny_prompts(name))
    assert completions == tiny_reference(name)
    for completion in completions:
        assert re.fullmatch(STATEMENT_REGEX, completion.text)
        assert completion.status == Status.OK
        check_consistent(completion, tiny(name).tokenizer)
    assert len({completion.text for completion in completions}) > COUNT / 2


@pytest.mark.slow
@pytest.mark.parametrize("style", ["table2", "released"])
@pytest.mark.parametrize("name", TINY)
def test_tiny_models_decode_64_prompts_as_the_reference(name, style):
    loaded = tiny(name)
    asked = tiny_prompts(name, 64, style=style, seed=1)
    assert engine(name).decode(asked) == reference_decode(loaded.model, loaded.tokenizer, asked)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_random_weights_decode_as_the_reference(shape, kind):
    """Full and grouped KV heads, scaled tied embeddings, a head size of its own; drafts are hardly ever right here."""
    model, tokenizer = shaped(shape, kind)
    asked = prompts(5) + prompts(2, style="released")
    for regex, limit, expected in ((SHORT_REGEX, 100, Status.OK), (STATEMENT_REGEX, 24, Status.TRUNCATED)):
        completions = Decoder(model, tokenizer, regex=regex, max_new_tokens=limit).decode(asked)
        assert completions == reference_decode(model, tokenizer, asked, regex, limit)
        assert expected in {completion.status for completion in completions}
        for completion in completions:
            check_consistent(completion, tokenizer, regex)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_random_weights_decode_64_prompts_as_the_reference(shape, kind):
    model, tokenizer = shaped(shape, kind)
    asked = prompts(48, seed=2) + prompts(16, seed=3, style="released")
    completions = Decoder(model, tokenizer, max_new_tokens=64).decode(asked)
    assert completions == reference_decode(model, tokenizer, asked, max_new_tokens=64)


@pytest.mark.parametrize("window", [8, 700])
def test_a_sliding_window_is_respected(window):
    """Within the window nothing changes; a narrower one needs another way of decoding, with the same answers."""
    tokenizer = TOKENIZERS["sentencepiece"]()
    config = MistralConfig(**miniature("mistral", len(tokenizer)).config.to_diff_dict() | {"sliding_window": window})
    torch.manual_seed(1)
    model = MistralForCausalLM(config).eval()
    asked = prompts(4)
    completions = Decoder(model, tokenizer, regex=SHORT_REGEX, max_new_tokens=40).decode(asked)
    assert completions == reference_decode(model, tokenizer, asked, SHORT_REGEX, 40)


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 7}, {"draft": False}, {"max_new_tokens": 400}])
def test_how_rows_are_grouped_and_drafted_changes_nothing(options):
    assert engine(**options).decode(tiny_prompts(BASE)) == tiny_reference(BASE)


def test_the_order_of_prompts_is_kept():
    asked, expected = tiny_prompts(BASE), tiny_reference(BASE)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3)).tolist()
    told = []
    completions = engine(batch_size=5).decode([asked[index] for index in order], progress=told.append)
    assert completions == [expected[index] for index in order]
    assert sum(told) == COUNT


def test_batches_name_each_prompt_once():
    expected = tiny_reference(BASE)
    found = list(engine(batch_size=5).batches(tiny_prompts(BASE)))
    assert sorted(index for indices, _ in found for index in indices) == list(range(COUNT))
    assert all(0 < len(indices) <= 5 for indices, _ in found)
    assert all(expected[i] == one for indices, finished in found for i, one in zip(indices, finished, strict=True))


def test_no_prompts():
    assert engine().decode([]) == []


def test_prompts_of_all_kinds_in_one_batch():
    """Equal ones, one that begins another, both styles, chat, and a text that is none of the task's."""
    loaded = tiny(BASE)
    plain = tiny_prompts(BASE, 2)
    asked = [plain[0], plain[0], plain[0].removesuffix(" Box 0 contains"), *tiny_prompts(BASE, 2, format="chat")]
    asked += [*tiny_prompts(BASE, 2, style="released"), "Hello", "Box 3 contains", plain[1]]
    completions = engine(max_new_tokens=80).decode(asked)
    assert completions[0] == completions[1]
    # The reference knows the whole head or none; the automaton goes on from any beginning of it.
    known = [index for index in range(len(asked)) if index != 2]
    expected = reference_decode(loaded.model, loaded.tokenizer, [asked[i] for i in known], max_new_tokens=80)
    assert [completions[index] for index in known] == expected
    assert re.fullmatch(STATEMENT_REGEX, completions[2].text)
    assert [engine(max_new_tokens=80).decode([prompt])[0] for prompt in asked] == completions


@pytest.mark.parametrize("limit", [1, 2, 9, 20])
def test_a_statement_that_is_cut_is_truncated(limit):
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 6)
    completions = engine(max_new_tokens=limit).decode(asked)
    assert completions == reference_decode(loaded.model, loaded.tokenizer, asked, max_new_tokens=limit)
    for completion, whole in zip(completions, tiny_reference(BASE), strict=False):
        assert completion.status == Status.TRUNCATED
        assert completion.tokens == whole.tokens[:limit]
        assert whole.text.startswith(completion.text)


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("short_of", [0, 1])
def test_a_statement_that_ends_exactly_at_the_limit_is_whole(short_of, draft):
    loaded, asked, whole = tiny(BASE), tiny_prompts(BASE, 6), tiny_reference(BASE)[:6]
    limit = len(whole[3].tokens) - short_of
    completions = engine(max_new_tokens=limit, draft=draft).decode(asked)
    for completion, expected in zip(completions, whole, strict=True):
        assert completion.tokens == expected.tokens[:limit]
        assert completion.status == (Status.OK if len(expected.tokens) <= limit else Status.TRUNCATED)
    if draft:
        assert completions == reference_decode(loaded.model, loaded.tokenizer, asked, max_new_tokens=limit)


def test_a_generation_config_does_not_leak_in():
    """Stop ids, penalties, sampling and limits of a checkpoint's generation_config, in the engine and in the reference."""
    loaded, asked, expected = tiny(BASE), tiny_prompts(BASE, 4), tiny_reference(BASE)[:4]
    comma = expected[0].tokens[next(i for i, t in enumerate(expected[0].tokens) if t != expected[0].tokens[0])]
    before = loaded.model.generation_config
    settings = GenerationConfig(
        do_sample=True, temperature=9.0, top_k=3, repetition_penalty=8.0, no_repeat_ngram_size=2, max_length=12,
        eos_token_id=[2, comma], suppress_tokens=list(expected[0].tokens[:3]), num_beams=2, pad_token_id=0,
    )  # fmt: skip
    loaded.model.generation_config = settings
    try:
        kept = settings.to_dict()
        assert engine().decode(asked) == expected
        assert reference_decode(loaded.model, loaded.tokenizer, asked) == expected
        assert loaded.model.generation_config is settings
        assert settings.to_dict() == kept
    finally:
        loaded.model.generation_config = before


def test_the_model_is_left_as_it_was():
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 4)
    ids = torch.tensor([encode_prompt(loaded.tokenizer, asked[0])])
    with torch.no_grad():
        before = loaded.model(ids).logits
        next(iter(engine(batch_size=2).batches(asked)))  # and stop in the middle
        assert torch.equal(loaded.model(ids).logits, before)


@pytest.mark.parametrize("name", [BASE, "tiny-chat"])
def test_free_decoding_is_greedy_to_the_first_period(name):
    loaded, asked = tiny(name), tiny_prompts(name, 2)
    completions = engine(name, regex=None, max_new_tokens=90).decode(asked)
    for prompt, completion in zip(asked, completions, strict=True):
        ids = greedy(loaded.model, loaded.tokenizer, prompt, 90)
        assert completion.tokens == tuple(token for token in ids if token != loaded.tokenizer.eos_token_id)
        assert completion.text.count(".") == 1
        assert completion.text.endswith(".")
        assert completion.status == (Status.OK if re.fullmatch(STATEMENT_REGEX, completion.text) else Status.INVALID)
        assert completion.text.startswith(STATEMENT_HEAD)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_free_decoding_of_random_weights(kind):
    model, tokenizer = shaped("llama", kind)
    asked = prompts(4)
    for prompt, completion in zip(asked, Decoder(model, tokenizer, None, 30).decode(asked), strict=True):
        ids = greedy(model, tokenizer, prompt, 30)
        ends = ids[-1] == tokenizer.eos_token_id or b"." in token_bytes(tokenizer).get(ids[-1], b"")
        assert completion.tokens == tuple(token for token in ids if token != tokenizer.eos_token_id)
        assert completion.status == (Status.INVALID if ends else Status.TRUNCATED)
        assert "." not in completion.text[:-1]


def test_an_end_at_once_in_free_decoding_is_invalid():
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 3)
    with logits_changed(loaded.model, favouring([loaded.tokenizer.eos_token_id])):
        completions = engine(regex=None).decode(asked)
    assert completions == [Completion(STATEMENT_HEAD, (), Status.INVALID)] * 3


def test_an_end_cannot_come_early_under_the_expression():
    loaded, asked, expected = tiny(BASE), tiny_prompts(BASE, 3), tiny_reference(BASE)[:3]
    with logits_changed(loaded.model, favouring([loaded.tokenizer.eos_token_id])):
        assert engine().decode(asked) == expected
        assert reference_decode(loaded.model, loaded.tokenizer, asked) == expected


@pytest.mark.parametrize("regex", [STATEMENT_REGEX, None])
@pytest.mark.parametrize("draft", [True, False])
def test_a_model_that_never_ends_is_stopped(regex, draft):
    loaded, asked = tiny(BASE), tiny_prompts(BASE, 3)
    letters = [index for index, content in token_bytes(loaded.tokenizer).items() if re.fullmatch(rb" ?[a-z]", content)]
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
    loaded, asked, expected = tiny(BASE), tiny_prompts(BASE, 6), tiny_reference(BASE)[:6]
    spoiled = encode_prompt(loaded.tokenizer, asked[2])
    decoder = engine(batch_size=batch_size, draft=draft)

    def spoil(_module, inputs, output):
        rows = inputs[0].tolist()
        own = spoiled[-40:]
        for row, ids in enumerate(rows):
            if any(ids[at : at + 40] == own for at in range(len(ids) - 39)):
                output[row] = torch.nan
        return output

    handle = loaded.model.get_input_embeddings().register_forward_hook(spoil)
    try:
        completions = decoder.decode(asked)
    finally:
        handle.remove()
    assert completions[2] == Completion(STATEMENT_HEAD, (), Status.INVALID)
    assert [one for index, one in enumerate(completions) if index != 2] == [*expected[:2], *expected[3:]]
    assert decoder.work.counted("broken") == 1


def test_a_model_whose_layers_are_spread_decodes_the_same(tmp_path):
    """As over several GPUs: accelerate's hooks move what each layer needs to where the layer is; here some lie on disk."""
    spread = load(BASE, "cpu", "float32")
    layers = {f"model.layers.{number}": "disk" if number % 2 else "cpu" for number in range(4)}
    places = {"model.embed_tokens": "cpu", **layers, "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    model = dispatch_model(spread.model, places, main_device="cpu", offload_dir=tmp_path)
    assert Decoder(model, spread.tokenizer).decode(tiny_prompts(BASE)) == tiny_reference(BASE)


def test_spread_over_all_devices_there_are():
    spread = load(BASE, "auto", "float32")
    assert Decoder(spread.model, spread.tokenizer).decode(tiny_prompts(BASE, 4)) == tiny_reference(BASE)[:4]

"""The engine against the paper's way of decoding, one prompt at a time: the same token ids, text
and status in float32."""

import re

import pytest
import torch
from accelerate import dispatch_model
from decoding_fixture import (
    BASE,
    COUNT,
    SHORT_REGEX,
    TINY,
    check_consistent,
    engine,
    shaped,
    tiny,
    tiny_prompts,
    tiny_reference,
)
from miniatures import SHAPES, TOKENIZERS, miniature
from scenarios_fixture import prompts
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from boxes.completion import Status
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.prompting import STATEMENT_REGEX, encode_prompt
from boxes.reference import reference_decode

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    "name",
    [
        "tiny-base",
        "tiny-chat",
        pytest.param("tiny-code", marks=pytest.mark.slow),
        pytest.param("tiny-math", marks=pytest.mark.slow),
    ],
)
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
    """Full and grouped KV heads, scaled tied embeddings, a head size of its own; drafts are hardly
    ever right here."""
    model, tokenizer = shaped(shape, kind)
    asked = prompts(5) + prompts(2, style="released")
    for regex, limit, expected in (
        (SHORT_REGEX, 100, Status.OK),
        (STATEMENT_REGEX, 24, Status.TRUNCATED),
    ):
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
    """A window narrower than the prompts, and one that nothing reaches."""
    tokenizer = TOKENIZERS["sentencepiece"]()
    config = miniature("mistral", len(tokenizer)).config.to_diff_dict()
    config = MistralConfig(**config | {"sliding_window": window})
    torch.manual_seed(1)
    model = MistralForCausalLM(config).eval()
    asked = prompts(4)
    decoder = Decoder(model, tokenizer, regex=SHORT_REGEX, max_new_tokens=40)
    assert decoder.decode(asked) == reference_decode(model, tokenizer, asked, SHORT_REGEX, 40)
    assert decoder.work.way == "engine"


GROUPED = [{"batch_size": 1}, {"batch_size": 7}, {"draft": False}, {"max_new_tokens": 400}]


@pytest.mark.parametrize("options", GROUPED)
def test_how_rows_are_grouped_and_drafted_changes_nothing(options):
    assert engine(**options).decode(tiny_prompts(BASE)) == tiny_reference(BASE)


def test_the_order_of_prompts_is_kept():
    asked, expected = tiny_prompts(BASE), tiny_reference(BASE)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(3)).tolist()
    told = []
    shuffled = [asked[index] for index in order]
    completions = engine(batch_size=5).decode(shuffled, progress=told.append)
    assert completions == [expected[index] for index in order]
    assert sum(told) == COUNT


def test_batches_name_each_prompt_once():
    expected = tiny_reference(BASE)
    found = list(engine(batch_size=5).batches(tiny_prompts(BASE)))
    assert sorted(index for indices, _ in found for index in indices) == list(range(COUNT))
    assert all(0 < len(indices) <= 5 for indices, _ in found)
    for indices, finished in found:
        assert finished == [expected[index] for index in indices]


def test_no_prompts():
    assert engine().decode([]) == []


def test_prompts_of_all_kinds_in_one_batch():
    """Equal ones, one that begins another, both styles, chat, and a text that is none of the
    task's."""
    loaded = tiny(BASE)
    plain = tiny_prompts(BASE, 2)
    asked = [
        plain[0],
        plain[0],
        plain[0].removesuffix(" Box 0 contains"),
        *tiny_prompts(BASE, 2, format="chat"),
    ]
    asked += [*tiny_prompts(BASE, 2, style="released"), "Hello", "Box 3 contains", plain[1]]
    completions = engine(max_new_tokens=80).decode(asked)
    assert completions[0] == completions[1]
    # The reference knows the whole head or none; the automaton goes on from any beginning of it.
    known = [index for index in range(len(asked)) if index != 2]
    texts = [asked[index] for index in known]
    expected = reference_decode(loaded.model, loaded.tokenizer, texts, max_new_tokens=80)
    assert [completions[index] for index in known] == expected
    assert re.fullmatch(STATEMENT_REGEX, completions[2].text)
    assert [engine(max_new_tokens=80).decode([prompt])[0] for prompt in asked] == completions


def test_a_generation_config_does_not_leak_in():
    """Stop ids, penalties, sampling and limits of a checkpoint's generation_config, in the engine
    and in the reference."""
    loaded, asked, expected = tiny(BASE), tiny_prompts(BASE, 4), tiny_reference(BASE)[:4]
    first = expected[0].tokens
    comma = next(token for token in first if token != first[0])
    before = loaded.model.generation_config
    settings = GenerationConfig(
        do_sample=True, temperature=9.0, top_k=3, repetition_penalty=8.0, no_repeat_ngram_size=2,
        max_length=12, eos_token_id=[2, comma], suppress_tokens=list(first[:3]), num_beams=2,
        pad_token_id=0,
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


def test_a_model_whose_layers_are_spread_decodes_the_same(tmp_path):
    """As over several GPUs: accelerate's hooks move what each layer needs to where the layer is;
    here some lie on disk."""
    spread = load(BASE, "cpu", "float32")
    layers = {f"model.layers.{number}": "disk" if number % 2 else "cpu" for number in range(4)}
    places = {
        "model.embed_tokens": "cpu",
        **layers,
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
        "lm_head": "cpu",
    }
    model = dispatch_model(spread.model, places, main_device="cpu", offload_dir=tmp_path)
    assert Decoder(model, spread.tokenizer).decode(tiny_prompts(BASE)) == tiny_reference(BASE)


def test_spread_over_all_devices_there_are():
    spread = load(BASE, "auto", "float32")
    completions = Decoder(spread.model, spread.tokenizer).decode(tiny_prompts(BASE, 4))
    assert completions == tiny_reference(BASE)[:4]

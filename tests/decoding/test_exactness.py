"""Every token that the engine writes about the evaluated subset is the one that plain greedy decoding
would write: about every fourth scenario by default, about all with -m slow.

A text is greedy if each of its tokens is the likeliest allowed one behind those before it. One
plain forward of the whole text (transformers' own attention, no cache, no batch, no engine) says so
for all of its tokens at once.
"""

from functools import cache
from pathlib import Path

import pytest
import torch

from boxes.completion import Completion, Status
from boxes.dataset import read_examples
from boxes.decoding.engine import Decoder
from boxes.models import load
from boxes.models.table import models_of
from boxes.prompting import PromptSettings, encode_prompt, prompt_maker

DATASET = Path(__file__).resolve().parents[2] / "data/boxes/test-subsample-states-t5.jsonl"
NAMES = [spec.name for spec in models_of("tiny")]
pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def loaded(name: str):
    return load(name, "cpu", "float32")


@cache
def prompts(name: str, of: int = 1) -> list[str]:
    """Those of the evaluated subset, in the format that the model's row names; of one scenario in `of`, all its states."""
    spec, tokenizer = loaded(name).spec, loaded(name).tokenizer
    settings = PromptSettings(spec.prompt_format, "table2", spec.system_role)
    make_prompt = prompt_maker(settings, tokenizer)
    chosen = [example for example in read_examples(DATASET) if example.sample_id % of == 0]
    return [make_prompt(example.description) for example in chosen]


def decoded(name: str, **options) -> list[Completion]:
    return Decoder(loaded(name).model, loaded(name).tokenizer, **options).decode(prompts(name))


@torch.inference_mode()
def greedy_choices(name: str, decoder: Decoder, prompt: str, tokens: tuple[int, ...]) -> list[int]:
    """What plain greedy decoding chooses behind the prompt and behind each of these tokens, but for
    the last."""
    automaton, model = decoder.automaton, loaded(name).model
    ids = encode_prompt(loaded(name).tokenizer, prompt)
    logits = model(torch.tensor([[*ids, *tokens[:-1]]]), use_cache=False).logits[0, len(ids) - 1 :]
    states = [automaton.start(prompt)[0]]
    for token in tokens[:-1]:
        states.append(int(automaton.next_state[states[-1], token]))
    return logits.masked_fill(~automaton.allowed[states], -torch.inf).argmax(dim=-1).tolist()


def check_greedy(name: str, of: int = 1) -> list[Completion]:
    """Decode statements about one scenario in `of`, and check all of them."""
    decoder = Decoder(loaded(name).model, loaded(name).tokenizer)
    completions = decoder.decode(prompts(name, of))
    assert {completion.status for completion in completions} == {Status.OK}
    for prompt, completion in zip(prompts(name, of), completions, strict=True):
        assert greedy_choices(name, decoder, prompt, completion.tokens) == list(completion.tokens)
    return completions


def test_statements_of_tiny_base_are_the_greedy_ones():
    completions, asked = check_greedy("tiny-base", of=4), prompts("tiny-base", of=4)
    assert len(completions) > 150
    altered = completions[0].tokens[:5] + completions[1].tokens[5:]
    decoder = Decoder(loaded("tiny-base").model, loaded("tiny-base").tokenizer)
    assert greedy_choices("tiny-base", decoder, asked[0], altered) != list(altered)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_statement_of_the_tiny_models_is_the_greedy_one(name):
    check_greedy(name)


@pytest.mark.slow
@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, None])
@pytest.mark.parametrize("name", NAMES)
def test_batches_and_drafts_change_no_statement(name, batch_size, draft):
    """Batch 1 without drafts is plain greedy decoding, one prompt at a time."""
    assert decoded(name, batch_size=batch_size, draft=draft) == everything_greedy(name)


@cache
def everything_greedy(name: str) -> list[Completion]:
    return check_greedy(name)

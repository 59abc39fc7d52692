"""States of a scenario share more than the prefix: the ids stay those of the reference, and fewer
tokens are run."""

import pytest
from architectures import build
from decoding_fixture import BASE, SHORT_REGEX, engine, tiny
from miniatures import byte_level_tokenizer
from scenarios_fixture import scenarios

from boxes.completion import Completion
from boxes.decoding import stems
from boxes.decoding.drafting import Draft
from boxes.decoding.engine import Decoder
from boxes.decoding.forward import common_prefix
from boxes.decoding.job import Prompt
from boxes.prompting import encode_prompts, statement_prompt
from boxes.reference import reference_decode
from boxes.world import describe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def asked() -> list[str]:
    """Three scenarios, of each the states after 0, 2, 5 and 7 operations, shuffled."""
    texts = []
    for scenario in scenarios(3, seed=5, operations=7):
        for count in (2, 7, 0, 5):
            texts.append(statement_prompt(describe(scenario.initial, scenario.operations[:count])))
    return texts[::2] + texts[1::2]


@pytest.fixture(scope="module")
def expected(asked) -> list[Completion]:
    """What the paper's way writes."""
    return reference_decode(tiny(BASE).model, tiny(BASE).tokenizer, asked)


@pytest.fixture
def run(monkeypatch) -> list[int]:
    """The tokens of every prefill."""
    counts: list[int] = []

    def counted(model, cache, first, tokens, lengths, width, packed):
        counts.append(tokens.numel() if packed is None else len(packed))
        return forward(model, cache, first, tokens, lengths, width, packed)

    forward = stems.forward
    monkeypatch.setattr(stems, "forward", counted)
    return counts


def prompt_of(index: int, ids: list[int]) -> Prompt:
    return Prompt(index, ids, 0, "", Draft())


def test_neighbours_begin_alike_and_the_longest_comes_first():
    stem, other = list(range(100, 140)), list(range(200, 240))
    texts = [[*stem, 1], [*other, 1, 2, 3], [*stem, 1, 2], [*stem[:31], 5, 6], [*other, 7]]
    prompts = [prompt_of(index, [9, 9, *ids]) for index, ids in enumerate(texts)]
    ordered = stems.by_stem(prompts, 2, "cpu")
    assert [prompt.index for prompt in ordered] == [1, 4, 2, 0, 3]  # 31 tokens alike are too few
    ordered, taken = stems.leads_first(ordered, 2, "cpu")
    assert [prompt.index for prompt in ordered] == [1, 2, 3, 4, 0]
    assert taken == [(0, 40), (1, 40)]  # a token of its own stays


def test_a_device_that_was_not_measured_is_left_as_it_is():
    prompts = [prompt_of(index, list(range(50 + index))) for index in range(3)]
    assert stems.by_stem(prompts, 0, "cuda") == prompts
    assert stems.leads_first(prompts, 0, "cuda") == (prompts, [])


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_states_of_a_scenario_decode_as_the_reference(asked, expected, run, draft, batch_size):
    assert engine(draft=draft, batch_size=batch_size).decode(asked) == expected
    encoded = encode_prompts(tiny(BASE).tokenizer, asked)
    skip = common_prefix(encoded)
    own = sum(len(ids) - skip for ids in encoded)
    if draft is False:
        assert sum(run) < (0.6 if batch_size is None else 0.9) * own


@pytest.mark.parametrize("window", [24, 256, 330, 420])
@pytest.mark.parametrize("name", ["gemma3-window", "gemma2"])
def test_windows_and_soft_caps(name, window, asked):
    """The window's edge in own tokens, in the prefix, where they meet, and among what is taken
    over."""
    model, tokenizer, asked = build(name, sliding_window=window), byte_level_tokenizer(), asked[:8]
    decoder = Decoder(model, tokenizer, SHORT_REGEX, 12)
    assert decoder.decode(asked) == reference_decode(model, tokenizer, asked, SHORT_REGEX, 12)
    assert decoder.work.way == "engine"


def test_a_token_too_many_taken_over_is_seen(asked, expected, monkeypatch):
    """The tests above can fail."""

    def wrong(*of):
        ordered, taken = stems.leads_first(*of)
        return ordered, [(lead, most + 2) for lead, most in taken]

    monkeypatch.setattr("boxes.decoding.loop.leads_first", wrong)
    assert engine(draft=False).decode(asked) != expected

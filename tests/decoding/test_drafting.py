"""Drafts: what they propose, and that no draft, however wrong, changes an answer."""

import random

import numpy as np
import pytest
import torch
from miniatures import SHAPES, TOKENIZERS, miniature
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from boxes.completion import Completion
from boxes.decoding import attention, engine, forward, loop, stems
from boxes.decoding.drafting import Draft, draft_text, drafts
from boxes.decoding.engine import Decoder
from boxes.generation import sample_operations, sample_state
from boxes.models import load
from boxes.prompting import (
    STATEMENT_HEAD,
    STATEMENT_REGEX,
    PromptSettings,
    prompt_maker,
    statement_head,
    statement_prompt,
    statement_regex,
)
from boxes.world import CONTAINERS, EMPTY, WORDINGS, describe, parse, replay, statement

pytestmark = pytest.mark.usefixtures("one_thread")
# As tiny-chat's:
MESSAGES = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
TEMPLATE = MESSAGES + "assistant:\n"


def scenarios(count: int):
    """(description, true statement) of `count` scenarios, 0 to 12 operations long."""
    for index in range(count):
        rng = np.random.default_rng([11, index])
        state = sample_state(rng)
        operations = sample_operations(rng, state, index % 13)
        yield describe(state, operations), statement(replay(state, operations)[0])


@pytest.fixture(scope="module")
def tiny():
    # One in five of its answers is wrong and leaves the draft.
    return load("tiny-math", "cpu", "float32")


@pytest.fixture(scope="module")
def prompts():
    return [statement_prompt(description) for description, _ in scenarios(10)]


@pytest.fixture(scope="module")
def truth(tiny, prompts):
    """What the model says without drafts."""
    return Decoder(tiny.model, tiny.tokenizer, draft=False).decode(prompts)


@pytest.mark.parametrize("style", ["table2", "released"])
def test_the_draft_is_the_true_statement_about_the_last_description(style):
    for description, answer in scenarios(26):
        assert draft_text(statement_prompt(description, style)) == answer


@pytest.mark.parametrize("wording", WORDINGS.values(), ids=WORDINGS)
@pytest.mark.parametrize("style", ["table2", "released"])
def test_the_draft_reads_every_form(style, wording):
    for text, true in scenarios(13):
        read = parse(text)
        prompt = statement_prompt(describe(*read, wording), style, wording)
        assert draft_text(prompt, wording) == wording.swap(true)


@pytest.mark.parametrize("wording", [EMPTY, CONTAINERS], ids=["empty", "containers"])
def test_drafts_change_no_answer_in_other_words(tiny, wording):
    """And the whole draft is legal under the form's expression and tokenized as the model writes it."""
    told = [statement_prompt(describe(*parse(text), wording), wording=wording) for text, _ in scenarios(4)]
    regex = statement_regex(wording)
    drafting = Decoder(tiny.model, tiny.tokenizer, regex, wording=wording)
    plain = Decoder(tiny.model, tiny.tokenizer, regex, wording=wording, draft=False)
    found = drafting.decode(told)
    assert found == plain.decode(told)
    for prompt in drafting.prompts(told):
        assert prompt.head == statement_head(wording)
        assert len(prompt.draft.clauses) == 7
        assert_allowed(drafting.automaton, prompt)


def assert_allowed(automaton, prompt):
    """The expression allows every token of a draft, from where the prompt ends, and is then done."""
    state = prompt.state
    for token in prompt.draft.tokens:
        assert automaton.allowed[state, token]
        state = int(automaton.next_state[state, token])
    assert automaton.done[state]


def test_the_draft_reads_chat_prompts(tiny):
    make_prompt = prompt_maker(PromptSettings("chat"), tiny.tokenizer)
    for description, answer in scenarios(13):
        assert draft_text(make_prompt(description)) == answer


@pytest.mark.parametrize(
    "prompt",
    ["", "Once upon a time", "Description: Box 0 contains the unicorn.", "Description: Box 0"],
)
def test_a_prompt_that_cannot_be_read_has_no_draft(prompt):
    assert draft_text(prompt) is None


@pytest.mark.parametrize("style", ["table2", "released"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_draft_tokens_spell_the_statement_and_clauses_begin_at_its_commas(kind, style):
    tokenizer = TOKENIZERS[kind]()
    decoder = Decoder(miniature("llama", len(tokenizer)), tokenizer)
    spelled = decoder.automaton.token_bytes
    for description, answer in scenarios(13):
        prompt = statement_prompt(description, style)
        head = decoder.automaton.start(prompt)[1]
        assert head == (STATEMENT_HEAD if style == "table2" else "")
        (draft,) = drafts(tokenizer, spelled, [prompt], [head], [answer])
        assert head + decoder.automaton.text(list(draft.tokens)) == answer
        assert len(draft.clauses) == 7
        assert all(set(spelled[draft.tokens[index]]) & set(b",.") for index in draft.clauses)


def test_a_statement_that_is_not_begun_is_drafted_whatever_the_prompt_ends_in():
    """Also where the vocabulary has ".Statement" in one piece: the prompt's period stays a token of
    its own."""
    vocabulary = dict(zip(["<unk>", "\n", ".", "Statement", ".Statement"], range(5), strict=True))
    model = WordPiece(vocab=vocabulary, unk_token="<unk>", continuing_subword_prefix="")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model), unk_token="<unk>")
    assert tokenizer(".Statement").input_ids == [4]
    spelled = [piece.encode() for piece in vocabulary]
    prompt = "Description: Box 0 contains nothing."
    (draft,) = drafts(tokenizer, spelled, [prompt], [""], ["Statement."])
    assert draft.tokens == (3, 2)


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize(
    "settings",
    [PromptSettings("plain"), PromptSettings("plain", "released"), PromptSettings("chat")],
)
def test_the_expression_allows_every_token_of_a_draft(kind, settings):
    """A seam tokenized in another way would cost every draft its beginning."""
    tokenizer = TOKENIZERS[kind]()
    tokenizer.chat_template = TEMPLATE
    decoder = Decoder(miniature("llama", len(tokenizer)), tokenizer)
    make_prompt = prompt_maker(settings, tokenizer)
    for prompt in decoder.prompts([make_prompt(description) for description, _ in scenarios(13)]):
        assert_allowed(decoder.automaton, prompt)


def proposing(decoder: Decoder, prompts: list[str], statements) -> list[Completion]:
    """What a decoder writes where these statements are drafted."""
    found = {}
    for indices, completions in decoder.batches(prompts, statements):
        found.update(zip(indices, completions, strict=True))
    return [found[index] for index in range(len(prompts))]


def shuffled(draft: Draft) -> Draft:
    return Draft(tuple(random.Random(0).sample(draft.tokens, len(draft.tokens))), draft.clauses)


def another(draft: Draft) -> Draft:
    """Every token is another than the one proposed."""
    return Draft(tuple(token + 1 if token < 900 else 300 for token in draft.tokens), draft.clauses)


def right_up_to(length: int):
    def mutate(draft: Draft) -> Draft:
        return Draft(draft.tokens[:length] + another(draft).tokens[length:], draft.clauses)

    return mutate


def cut(draft: Draft) -> Draft:
    return Draft(draft.tokens[:30], tuple(clause for clause in draft.clauses if clause < 30))


MUTATIONS = {
    "empty": lambda draft: Draft(),
    "all wrong": another,
    "shuffled": shuffled,
    "random": lambda draft: Draft(tuple(random.Random(1).choices(range(1000), k=90)), (3, 50, 80)),
    "cut in the middle": cut,
    "without clauses": lambda draft: Draft(draft.tokens, ()),
    "clauses anywhere": lambda draft: Draft(draft.tokens, tuple(range(0, len(draft.tokens), 3))),
    "ids beyond the vocabulary's pieces": lambda draft: Draft((0, 1, 2, 3) * 15, draft.clauses),
} | {f"right up to {length}": right_up_to(length) for length in (0, 1, 2, 5, 13, 34, 60)}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_no_draft_changes_an_answer(monkeypatch, tiny, prompts, truth, mutation):
    mutate = MUTATIONS[mutation]
    monkeypatch.setattr(engine, "drafts", lambda *arguments: list(map(mutate, drafts(*arguments))))
    assert Decoder(tiny.model, tiny.tokenizer).decode(prompts) == truth


def test_right_drafts_save_forwards(tiny, prompts, truth):
    fast = Decoder(tiny.model, tiny.tokenizer)
    slow = Decoder(tiny.model, tiny.tokenizer, draft=False)
    assert fast.decode(prompts) == slow.decode(prompts) == truth
    assert fast.work.forwards * 3 < slow.work.forwards


@pytest.mark.parametrize("regex", [STATEMENT_REGEX, None])
def test_what_the_model_writes_is_verified_while_the_prompt_is_read(tiny, prompts, truth, regex):
    statements = [completion.text for completion in truth]
    assert any(text != draft_text(prompt) for text, prompt in zip(statements, prompts, strict=True))
    decoder = Decoder(tiny.model, tiny.tokenizer, regex)
    assert proposing(decoder, prompts, statements) == truth
    assert decoder.work.forwards == 1


@pytest.mark.parametrize(
    "regex",
    [
        STATEMENT_REGEX,
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_no_proposed_statement_changes_an_answer(tiny, prompts, truth, regex):
    statements = [completion.text for completion in truth]
    for proposed in (
        [*statements[1:], statements[0]],
        [None] * len(prompts),
        ["", "Statement: Box 0 contains", "no statement"] * 3 + [statements[-1] * 3],
    ):
        assert proposing(Decoder(tiny.model, tiny.tokenizer, regex), prompts, proposed) == truth


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_changes_nothing(tiny, prompts, truth, batch_size):
    assert Decoder(tiny.model, tiny.tokenizer, batch_size=batch_size).decode(prompts) == truth


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fallback_gives_the_same(monkeypatch, shape, kind):
    tokenizer = TOKENIZERS[kind]()
    model = miniature(shape, len(tokenizer) + 5)
    texts = [statement_prompt(description) for description, _ in scenarios(4)]
    expected = Decoder(model, tokenizer, max_new_tokens=30).decode(texts)
    monkeypatch.setattr(attention, "why_not", lambda *_: "a test asks for it")
    assert Decoder(model, tokenizer, max_new_tokens=30).decode(texts) == expected


@pytest.mark.parametrize("shape", SHAPES)
def test_prefix_shared_attention_agrees_with_the_models_own(shape):
    model = miniature(shape, 400)
    prefix, own, width = 40, 20, 12
    ids = torch.randint(0, 400, (3, prefix + own), generator=torch.Generator().manual_seed(0))
    ids[:, :prefix] = ids[0, :prefix]
    with torch.inference_mode():
        expected = model.base_model(ids).last_hidden_state[:, prefix:]
        with attention.prefix_sharing(model):
            shared = attention.KVCache(1, prefix)
            forward.forward(model, shared, 0, ids[:1, :prefix])
            cache, lengths = attention.KVCache(3, own, shared), torch.full((3,), width)
            first = forward.forward(model, cache, 0, ids[:, prefix : prefix + width])
            second = forward.forward(model, cache, 0, ids[:, prefix + width :], lengths, own)
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected, atol=2e-5, rtol=2e-5)


def test_a_model_that_cannot_share_says_why(monkeypatch):
    model = miniature("mistral", 400)
    assert attention.why_not(model) is None
    monkeypatch.setattr(type(model), "_supports_attention_backend", False)
    assert attention.why_not(model) == "it does not take a custom attention function"


@pytest.mark.parametrize("regex", [STATEMENT_REGEX, None])
@pytest.mark.parametrize("limit", [1, 2, 30])
def test_nothing_is_run_behind_the_last_token_that_counts(monkeypatch, tiny, prompts, regex, limit):
    """A position there could be one that the model does not have, or one that changes its RoPE."""
    farthest, run = [], loop.forward

    def recorded(model, cache, *more, **options):
        hidden = run(model, cache, *more, **options)
        farthest.append(int(cache.positions.max()))
        return hidden

    for room in (loop, stems):
        monkeypatch.setattr(room, "forward", recorded)
    decoder = Decoder(tiny.model, tiny.tokenizer, regex, max_new_tokens=limit)
    longest = max(len(prompt.ids) for prompt in decoder.prompts(prompts))
    decoder.decode(prompts)
    assert max(farthest) <= longest + limit - 2

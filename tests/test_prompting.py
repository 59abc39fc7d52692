"""The prompts of Tables 2 and 5 byte for byte, through chat templates of every kind, with exactly
one BOS."""

import copy
import re
from itertools import product

import pytest
from miniatures import TOKENIZERS
from transformers import AutoTokenizer

from boxes.models.table import TINY_FOLDER
from boxes.prompting import (
    EXAMPLES,
    INSTRUCTION,
    STATEMENT_HEAD,
    STATEMENT_REGEX,
    PromptSettings,
    chat_messages,
    chat_prompt,
    encode_prompt,
    encode_prompts,
    examples_in,
    has_system_role,
    prompt_date,
    prompt_maker,
    statement_head,
    statement_prompt,
    statement_regex,
)
from boxes.records import UserError
from boxes.runs.agreement import plain_prompt_sha256
from boxes.world import BASE, CONTAINERS, CONTENTS, EMPTY, parse, replay, statement

DESCRIPTION = "Box 0 contains the tie, Box 1 contains nothing."
TABLE2 = """\
Given the description after "Description:", write a true statement about all boxes and their contents to the description after "Statement:".

Description: Box 0 contains the car, Box 1 contains the cross, Box 2 contains the bag and the machine, Box 3 contains the paper and the string, Box 4 contains the bill, Box 5 contains the apple and the cash and the glass, Box 6 contains the bottle and the map.
Statement: Box 0 contains the car, Box 1 contains the cross, Box 2 contains the bag and the machine, Box 3 contains the paper and the string, Box 4 contains the bill, Box 5 contains the apple and the cash and the glass, Box 6 contains the bottle and the map.

Description: Box 0 contains the car, Box 1 contains the cross, Box 2 contains the bag and the machine, Box 3 contains the paper and the string, Box 4 contains the bill, Box 5 contains the apple and the cash and the glass, Box 6 contains the bottle and the map. Remove the car from Box 0. Remove the paper and the string from Box 3. Put the plane into Box 0. Move the map from Box 6 to Box 2. Remove the bill from Box 4. Put the coat into Box 3.
Statement: Box 0 contains the plane, Box 1 contains the cross, Box 2 contains the bag and the machine and the map, Box 3 contains the coat, Box 4 contains nothing, Box 5 contains the apple and the cash and the glass, Box 6 contains the bottle.

Description: {description}
Statement: Box 0 contains"""  # noqa: E501 - as in the paper
INSTRUCTION_LINE, _, FIRST, FIRST_TRUE, _, SECOND, SECOND_TRUE, *_ = TABLE2.split("\n")
TURNS = [("user", FIRST), ("assistant", FIRST_TRUE), ("user", SECOND), ("assistant", SECOND_TRUE)]


# --- Table 2 ---


def test_the_plain_prompt_is_table_2_byte_for_byte():
    assert statement_prompt(DESCRIPTION).encode() == TABLE2.replace("{description}", DESCRIPTION).encode()
    assert statement_prompt("{0} \\n %s") == TABLE2.replace(
        "{description}", "{0} \\n %s"
    )  # a description is never a format


def test_the_released_style_stops_at_the_descriptions_period():
    assert f"{statement_prompt(DESCRIPTION, 'released')}\n{STATEMENT_HEAD}" == statement_prompt(DESCRIPTION, "table2")
    assert statement_prompt(DESCRIPTION, "released").endswith(f"\n\nDescription: {DESCRIPTION}")


@pytest.mark.parametrize(
    ("style", "checksum"),
    [
        ("table2", "97882a6d0e949bd5e2f0a3b36a508aae86125735e3662a8a191778e0563cf15b"),
        ("released", "1f4b602705f4afa4ddbafd898c0368f01b59eca9e75493fc31ea6464d0a4a17d"),
    ],
)
def test_the_prompts_are_held_by_their_checksums(style, checksum):
    """The prompt itself, byte for byte, with "{description}" in place of one: also what run.json
    records."""
    assert plain_prompt_sha256(style) == checksum


def test_the_examples_are_true():
    for description, true in EXAMPLES:
        assert statement(replay(*parse(description.removeprefix("Description: ")))[0]) == true


def test_the_expression_is_that_of_figure_4():
    """Statements of the examples fit it as a whole; what lacks a box, an ending or a letter does
    not."""
    boxes = ", ".join(f"Box {box} contains( [a-zA-Z]+)*" for box in range(7))
    assert f"Statement: {boxes}\\." == STATEMENT_REGEX
    for _, true in EXAMPLES:
        assert re.fullmatch(STATEMENT_REGEX, true)
        assert not re.fullmatch(STATEMENT_REGEX, true[:-1])
        assert not re.fullmatch(STATEMENT_REGEX, true + "\n")
        assert not re.fullmatch(STATEMENT_REGEX, true.replace("Box 3", "Box 4"))
    assert STATEMENT_REGEX.startswith(STATEMENT_HEAD)


# --- other forms ---

FORM_EXAMPLES = {  # the second of Table 2's, and its expression's first clause and its last
    EMPTY: (
        SECOND,
        SECOND_TRUE.replace("Box 4 contains nothing", "Box 4 is empty"),
        "Statement: Box 0( contains( [a-zA-Z]+)*| is empty), Box 1( ",
        ", Box 6( contains( [a-zA-Z]+)*| is empty)\\.",
    ),
    CONTAINERS: (
        "Description: The car is in Container A, the cross is in Container B, the bag and the machine are in Container C, "
        "the paper and the string are in Container D, the bill is in Container E, the apple and the cash and the glass "
        "are in Container F, the bottle and the map are in Container G. Take the car out of Container A. Take the paper "
        "and the string out of Container D. Place the plane inside Container A. Pick up the map in Container G and place "
        "it into Container C. Take the bill out of Container E. Place the coat inside Container D.",
        "Statement: Container A contains the plane, Container B contains the cross, Container C contains the bag and the "
        "machine and the map, Container D contains the coat, Container E is empty, Container F contains the apple and "
        "the cash and the glass, Container G contains the bottle.",
        "Statement: Container A( contains( [a-zA-Z]+)*| is empty), Container B( ",
        ", Container G( contains( [a-zA-Z]+)*| is empty)\\.",
    ),
}


@pytest.mark.parametrize("wording", FORM_EXAMPLES, ids=lambda wording: wording.name)
def test_prompt_and_expression_are_in_the_words_of_the_form(wording):
    description, true, first, last = FORM_EXAMPLES[wording]
    assert examples_in(wording)[1] == (description, true)
    regex = statement_regex(wording)
    assert regex.startswith(first)
    assert regex.endswith(last)
    prompt = statement_prompt("{description}", wording=wording)
    assert prompt.count(description) == 1
    assert prompt.endswith(f"{description}\n{true}\n\nDescription: {{description}}\n{statement_head(wording)}")
    assert (" contains nothing" in prompt, "Box" in prompt) == (False, wording is EMPTY)
    turns = chat_messages("{description}", wording=wording)
    assert [turn["content"] for turn in turns[1:5]] == [*examples_in(wording)[0], description, true]
    assert statement_prompt("{description}", "released", wording) == prompt.removesuffix(f"\n{statement_head(wording)}")


def test_the_words_of_table_2_are_those_of_two_forms():
    for wording in (BASE, CONTENTS):
        assert (statement_regex(wording), statement_head(wording)) == (STATEMENT_REGEX, STATEMENT_HEAD)
        assert examples_in(wording) == EXAMPLES
        assert chat_messages("{description}", wording=wording) == chat_messages("{description}")


def test_no_expression_takes_a_statement_of_another_form():
    """But for a box that "contains nothing", which Figure 4's words allow and which is wrong there."""
    state = replay(*parse(EXAMPLES[1][0].removeprefix("Description: ")))[0]
    for told, asked in product((BASE, EMPTY, CONTAINERS), repeat=2):
        fits = re.fullmatch(statement_regex(asked), statement(state, told))
        assert bool(fits) == (told is asked or (told, asked) == (BASE, EMPTY)), (told.name, asked.name)


# --- Table 5 ---


def as_pairs(messages: list[dict[str, str]]) -> list[tuple[str, str]]:
    assert all(list(message) == ["role", "content"] for message in messages)
    return [(message["role"], message["content"]) for message in messages]


def test_the_messages_are_table_5():
    last = ("user", f"Description: {DESCRIPTION}")
    assert as_pairs(chat_messages(DESCRIPTION)) == [("system", INSTRUCTION_LINE), *TURNS, last]
    opening = [("user", INSTRUCTION_LINE), ("assistant", "Okay.")]
    assert as_pairs(chat_messages(DESCRIPTION, system_role=False)) == [*opening, *TURNS, last]


# Templates of the kinds there are. Llama 2: the system message inside the first user turn, roles in
# turns.
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = '' %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% set text = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] if loop.first and system else m['content'] %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text + ' [/INST]' }}"
    "{% else %}{{ ' ' + text + ' ' + eos_token }}{% endif %}{% endfor %}"
)
TURN = (
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
WITH_BOS = "{{ bos_token }}" + TURN
REFUSES = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + TURN
)
DROPS = "{{ bos_token }}" + TURN.replace("for m in messages", "for m in messages if m['role'] != 'system'")
UNDEFINED = "{% if messages[0]['role'] == 'system' %}{{ none.such.name }}{% endif %}" + TURN


def tokenizer_with(kind: str, template: str | None, bos: str = "added"):
    """A miniature tokenizer with a chat template; `bos`: "added" to every text, "known" but never
    added, or "none"."""
    tokenizer = copy.deepcopy(TOKENIZERS[kind]())
    tokenizer.chat_template = template
    if bos != "added":
        tokenizer.backend_tokenizer.post_processor = None
    if bos == "none":
        tokenizer.bos_token = None
    assert (tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]) == (bos == "added")
    return tokenizer


@pytest.mark.parametrize(
    ("template", "takes_system"),
    [(LLAMA_2, True), (WITH_BOS, True), (TURN, True), (REFUSES, False), (DROPS, False), (UNDEFINED, False)],
    ids=["llama-2", "with-bos", "without-bos", "refuses", "drops", "fails"],
)
def test_the_instruction_reaches_the_model_through_every_template(template, takes_system):
    tokenizer = tokenizer_with("sentencepiece", template)
    assert has_system_role(tokenizer) is takes_system
    prompt = chat_prompt(DESCRIPTION, tokenizer)
    assert prompt.count(INSTRUCTION) == 1
    assert prompt.count("Okay.") == (0 if takes_system else 1)
    places = [prompt.index(text) for _, text in [("", INSTRUCTION), *TURNS, ("", f"Description: {DESCRIPTION}")]]
    assert places == sorted(places)
    assert prompt_maker(PromptSettings("chat"), tokenizer)(DESCRIPTION) == prompt


def test_a_row_can_do_without_the_system_role_where_there_is_one():
    """DeepSeek-Chat: its template takes a system message, and the authors used a user turn all the
    same."""
    tokenizer = tokenizer_with("byte-level", WITH_BOS)
    prompt = prompt_maker(PromptSettings("chat", system_role=False), tokenizer)(DESCRIPTION)
    assert prompt == "".join(
        ["<s>", f"<user>{INSTRUCTION_LINE}\n<assistant>Okay.\n"]
        + [f"<{role}>{text}\n" for role, text in TURNS]
        + [f"<user>Description: {DESCRIPTION}\n<assistant>"]
    )


def test_the_llama_2_chat_prompt_golden():
    prompt = chat_prompt(DESCRIPTION, tokenizer_with("sentencepiece", LLAMA_2))
    assert prompt == (
        f"<s>[INST] <<SYS>>\n{INSTRUCTION_LINE}\n<</SYS>>\n\n{FIRST} [/INST] {FIRST_TRUE} </s>"
        f"<s>[INST] {SECOND} [/INST] {SECOND_TRUE} </s><s>[INST] Description: {DESCRIPTION} [/INST]"
    )


def test_without_a_chat_template_the_plain_format_is_named():
    tokenizer = tokenizer_with("byte-level", None)
    message = "the tokenizer has no chat template; use the plain prompt format"
    for ask in (lambda: chat_prompt(DESCRIPTION, tokenizer), lambda: prompt_maker(PromptSettings("chat"), tokenizer)):
        with pytest.raises(UserError, match=message):
            ask()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (PromptSettings("free"), "unknown prompt format 'free'; choose one of plain, chat"),
        (PromptSettings("plain", "table5"), "unknown prompt style 'table5'; choose one of table2, released"),
    ],
)
def test_unknown_settings_bring_the_known_ones(settings, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        prompt_maker(settings, None)(DESCRIPTION)


# --- exactly one BOS ---


@pytest.mark.parametrize(
    "template", [WITH_BOS, TURN, REFUSES, DROPS], ids=["with-bos", "without-bos", "refuses", "drops"]
)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_one_bos_where_the_model_has_one(kind, template):
    tokenizer = tokenizer_with(kind, template)
    bos = tokenizer.bos_token_id
    for settings in (PromptSettings(), PromptSettings("plain", "released"), PromptSettings("chat")):
        prompt = prompt_maker(settings, tokenizer)(DESCRIPTION)
        ids = encode_prompt(tokenizer, prompt)
        assert ids[0] == bos
        assert ids.count(bos) == 1
        text = tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False)
        assert text.removeprefix(" ") == prompt.removeprefix("<s>")  # and nothing else was added or lost


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_no_bos_where_the_model_has_none(kind):
    for bos in ("known", "none"):
        tokenizer = tokenizer_with(kind, TURN, bos)
        for settings in (PromptSettings(), PromptSettings("chat")):
            ids = encode_prompt(tokenizer, prompt_maker(settings, tokenizer)(DESCRIPTION))
            assert ids == tokenizer(prompt_maker(settings, tokenizer)(DESCRIPTION)).input_ids
            assert tokenizer.bos_token_id not in ids


def test_a_bos_that_only_the_template_writes_stays_one():
    tokenizer = tokenizer_with("byte-level", WITH_BOS, "known")
    assert encode_prompt(tokenizer, chat_prompt(DESCRIPTION, tokenizer)).count(tokenizer.bos_token_id) == 1


def test_a_template_that_writes_a_bos_every_turn_gets_no_other():
    tokenizer = tokenizer_with("sentencepiece", LLAMA_2)
    ids = encode_prompt(tokenizer, chat_prompt(DESCRIPTION, tokenizer))
    bos = tokenizer.bos_token_id
    assert (ids[0], ids[1] == bos, ids.count(bos)) == (bos, False, 3)  # Table 5 shows three


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_prompts_encode_together_as_one_by_one(kind):
    tokenizer = tokenizer_with(kind, WITH_BOS)
    prompts = [statement_prompt(DESCRIPTION), statement_prompt("Box 1 contains the hat."), chat_prompt("é", tokenizer)]
    assert encode_prompts(tokenizer, prompts) == [encode_prompt(tokenizer, prompt) for prompt in prompts]
    assert encode_prompts(tokenizer, []) == []


def test_the_tiny_chat_model_takes_a_system_message():
    tokenizer = AutoTokenizer.from_pretrained(TINY_FOLDER / "tiny-chat")
    assert has_system_role(tokenizer)
    ids = encode_prompt(tokenizer, chat_prompt(DESCRIPTION, tokenizer))
    assert (ids[0], ids.count(ids[0])) == (tokenizer.bos_token_id, 1)


# --- a template that asks what day it is ---

GIVEN = "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
DATED = {
    "llama-3.2": (GIVEN + "Today Date: {{ date_string }}\n\n", "Today Date: 26 Jul 2024\n\n"),
    "gpt-oss": ("{{ 'Current date: ' + strftime_now('%Y-%m-%d') }}|", "Current date: 2024-07-26|"),
    "in-a-macro": ("{% macro day() %}{{ strftime_now(format='%A, %B %-d, %Y') }}{% endmacro %}{{ day() }}|",
                   "Friday, July 26, 2024|"),
    "the-time": ("{{ strftime_now('%H:%M:%S %p') }}|", "00:00:00 AM|"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATED)
def test_a_template_that_asks_what_day_it_is_hears_one_day(name):
    asks, hears = DATED[name]
    tokenizer = tokenizer_with("sentencepiece", "\n" + asks + TURN)
    said = chat_prompt(DESCRIPTION, tokenizer)
    assert said == "\n" + hears + chat_prompt(DESCRIPTION, tokenizer_with("sentencepiece", TURN))
    assert prompt_date(PromptSettings("chat"), tokenizer) == "2024-07-26"
    assert prompt_date(PromptSettings(), tokenizer) is None


@pytest.mark.parametrize("template", [TURN, "{% if false %}{{ strftime_now('%Y') }}{% endif %}" + TURN])
def test_no_date_where_no_prompt_has_one(template):
    assert prompt_date(PromptSettings("chat"), tokenizer_with("sentencepiece", template)) is None

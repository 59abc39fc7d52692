"""The prompts of Table 2 (plain) and Table 5 (chat), and the regular expression of Figure 4, as
constants and a few functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from boxes.records import UserError
from boxes.world import BASE, Wording, describe, parse

INSTRUCTION = (
    'Given the description after "Description:", write a true statement about all boxes and their '
    'contents to the description after "Statement:".'
)
_INITIAL = (
    "Box 0 contains the car, Box 1 contains the cross, Box 2 contains the bag and the machine, "
    "Box 3 contains the paper and the string, Box 4 contains the bill, "
    "Box 5 contains the apple and the cash and the glass, Box 6 contains the bottle and the map."
)
EXAMPLES = (  # (description, statement), Table 2
    (f"Description: {_INITIAL}", f"Statement: {_INITIAL}"),
    (
        f"Description: {_INITIAL} Remove the car from Box 0. "
        "Remove the paper and the string from Box 3. Put the plane into Box 0. "
        "Move the map from Box 6 to Box 2. Remove the bill from Box 4. Put the coat into Box 3.",
        "Statement: Box 0 contains the plane, Box 1 contains the cross, "
        "Box 2 contains the bag and the machine and the map, Box 3 contains the coat, "
        "Box 4 contains nothing, Box 5 contains the apple and the cash and the glass, "
        "Box 6 contains the bottle.",
    ),
)
STATEMENT_HEAD = "Statement: Box 0 contains"
# Figure 4, A.2. The whole statement, from "Statement:" to the final period.
STATEMENT_REGEX = (
    r"Statement: Box 0 contains( [a-zA-Z]+)*, Box 1 contains( [a-zA-Z]+)*, "
    r"Box 2 contains( [a-zA-Z]+)*, Box 3 contains( [a-zA-Z]+)*, Box 4 contains( [a-zA-Z]+)*, "
    r"Box 5 contains( [a-zA-Z]+)*, Box 6 contains( [a-zA-Z]+)*\."
)
# What follows the last description's period: Table 2 begins the statement on a line of its own; the
# authors' released script stops at the period and leaves all of the statement to the expression.
PROMPT_STYLES = ("table2", "released")
PROMPT_FORMATS = ("plain", "chat")
# What day it is in a chat template that asks. One for all runs, so that a run continued tomorrow,
# or repeated by others next year, has the same prompts. Llama 3's templates say this day where
# there is no clock.
PROMPT_DATE = datetime(2024, 7, 26)
_DATE_PARTS = [f"%{letter}" for letter in "aAbBcdDeFGHIjmMpSTuUVwWxXyYzZ"]
_DATE_PARTS += [f"%-{letter}" for letter in "dmjHIMS"]
_PLAIN = "use the plain prompt format (--prompt-format plain)"


class TemplateRefuses(UserError):
    """A chat template raised an error on the messages it was given."""


def statement_head(wording: Wording = BASE) -> str:
    """What a statement begins with: STATEMENT_HEAD, in the words of a form."""
    return f"Statement: {wording.asked(0)}"


def statement_regex(wording: Wording = BASE) -> str:
    """STATEMENT_REGEX, in the words of a form: where its queries ask for the verb, a clause says what
    a box contains or that it is empty."""
    answer = "( [a-zA-Z]+)*"
    if wording.asks_for_verb:
        answer = f"( contains{answer}| is empty)"
    clauses = [f"{wording.asked(box)}{answer}" for box in range(len(wording.boxes))]
    return rf"Statement: {', '.join(clauses)}\."


@cache
def examples_in(wording: Wording = BASE) -> tuple[tuple[str, str], ...]:
    """The two examples of Table 2, EXAMPLES, in the words of a form."""
    told = []
    for description, statement in EXAMPLES:
        read = parse(description.removeprefix("Description: "))
        told.append((f"Description: {describe(*read, wording)}", wording.swap(statement)))
    return tuple(told)


def statement_prompt(description: str, style: str = "table2", wording: Wording = BASE) -> str:
    """The two-shot prompt of Table 2 for a description. `style`: "table2" ends in the statement's
    head, "released" in the description's period. `wording`: that of the description."""
    if style not in PROMPT_STYLES:
        raise UserError(f"unknown prompt style {style!r}; choose one of {', '.join(PROMPT_STYLES)}")
    shots = "\n\n".join(["\n".join(example) for example in examples_in(wording)])
    end = f"\n{statement_head(wording)}" if style == "table2" else ""
    return f"{wording.swap(INSTRUCTION)}\n\n{shots}\n\nDescription: {description}{end}"


def chat_messages(description: str, system_role: bool = True, wording: Wording = BASE) -> list[dict[str, str]]:
    """The messages of Table 5. Without a system role the instruction is a user turn that the
    assistant answers "Okay."."""
    instruction = wording.swap(INSTRUCTION)
    turns = [("user", instruction), ("assistant", "Okay.")]
    if system_role:
        turns = [("system", instruction)]
    for question, answer in examples_in(wording):
        turns += [("user", question), ("assistant", answer)]
    turns.append(("user", f"Description: {description}"))
    return [{"role": role, "content": content} for role, content in turns]


def has_system_role(tokenizer) -> bool:
    """Whether the tokenizer's chat template takes a system message and keeps its text."""
    try:
        return INSTRUCTION in _render(tokenizer, chat_messages("Box 0 contains nothing."))
    except TemplateRefuses:
        return False


def _stopped_clock(today: datetime) -> str:
    """A Jinja macro in the place of transformers' `strftime_now`, which a function that is handed
    over cannot take."""
    said = "".join(f" | replace('{part}', '{today.strftime(part)}')" for part in _DATE_PARTS)
    return f"{{% macro strftime_now(format) %}}{{{{ format{said} }}}}{{% endmacro %}}\n"


def _render(tokenizer, messages: list[dict[str, str]], today: datetime = PROMPT_DATE) -> str:
    from jinja2 import TemplateError  # what a template raises, also by its raise_exception

    name = tokenizer.name_or_path
    if not tokenizer.chat_template:
        raise UserError(f"{name}: the tokenizer has no chat template; {_PLAIN}")
    template = tokenizer.get_chat_template()
    if "strftime_now" in template:  # a template's only clock
        template = _stopped_clock(today) + template
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        wrong = f"its chat template refuses the messages of Table 5 ({error})"
        raise TemplateRefuses(f"{name}: {wrong}; {_PLAIN}") from None


def chat_prompt(description: str, tokenizer, system_role: bool | None = None, wording: Wording = BASE) -> str:
    """The prompt of Table 5, rendered by the tokenizer's own template; None asks the template about
    the system role.

    A template that writes today's date writes PROMPT_DATE.
    """
    if system_role is None:
        system_role = has_system_role(tokenizer)
    return _render(tokenizer, chat_messages(description, system_role, wording))


@dataclass(frozen=True)
class PromptSettings:
    """How prompts are made: `format` plain | chat; `style` table2 | released; `system_role` None
    asks the template; `wording` that of the descriptions."""

    format: str = "plain"
    style: str = "table2"
    system_role: bool | None = None
    wording: Wording = BASE


def prompt_maker(settings: PromptSettings, tokenizer) -> Callable[[str], str]:
    """description -> prompt, under the settings."""
    if settings.format == "plain":
        return lambda description: statement_prompt(description, settings.style, settings.wording)
    if settings.format != "chat":
        known = ", ".join(PROMPT_FORMATS)
        raise UserError(f"unknown prompt format {settings.format!r}; choose one of {known}")
    system_role = _system_role(settings, tokenizer)
    return lambda description: chat_prompt(description, tokenizer, system_role, settings.wording)


def _system_role(settings: PromptSettings, tokenizer) -> bool:
    if settings.system_role is None:
        return has_system_role(tokenizer)
    return settings.system_role


def prompt_date(settings: PromptSettings, tokenizer) -> str | None:
    """PROMPT_DATE as year-month-day where prompts say what day it is; None where they do not."""
    if settings.format != "chat":
        return None
    messages = chat_messages("Box 0 contains nothing.", _system_role(settings, tokenizer))
    other = PROMPT_DATE + timedelta(days=400, hours=13, minutes=14, seconds=15)  # nothing in common
    if _render(tokenizer, messages) == _render(tokenizer, messages, other):
        return None
    return f"{PROMPT_DATE:%Y-%m-%d}"


def special_prefix(tokenizer) -> list[int]:
    """The ids that a tokenizer writes before every text: a BOS, `[gMASK]<sop>`, or nothing."""
    whole, text = tokenizer("a").input_ids, tokenizer("a", add_special_tokens=False).input_ids
    for place in range(len(whole) - len(text) + 1):
        if whole[place : place + len(text)] == text:
            return whole[:place]
    return []


def encode_prompts(tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids behind the tokenizer's special prefix. What of it a chat template has written
    already is not written again: exactly one BOS where the model has one."""
    if not prompts:
        return []
    prefix = special_prefix(tokenizer)
    encoded = tokenizer(list(prompts), add_special_tokens=False).input_ids
    whole = []
    for ids in encoded:
        lacking = len(prefix) - _begun(prefix, ids)
        whole.append([*prefix[:lacking], *ids])
    return whole


def _begun(prefix: list[int], ids: list[int]) -> int:
    """How many of the prefix's last ids are the first of `ids`."""
    for count in range(len(prefix), 0, -1):
        if prefix[-count:] == ids[:count]:
            return count
    return 0


def encode_prompt(tokenizer, prompt: str) -> list[int]:
    """encode_prompts for one prompt."""
    return encode_prompts(tokenizer, [prompt])[0]

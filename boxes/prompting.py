"""The prompts of Table 2 (plain) and Table 5 (chat), and the regular expression of Figure 4, as constants and a few functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from boxes.records import UserError

INSTRUCTION = (
    'Given the description after "Description:", write a true statement about all boxes and their contents '
    'to the description after "Statement:".'
)
_INITIAL = (
    "Box 0 contains the car, Box 1 contains the cross, Box 2 contains the bag and the machine, "
    "Box 3 contains the paper and the string, Box 4 contains the bill, "
    "Box 5 contains the apple and the cash and the glass, Box 6 contains the bottle and the map."
)
EXAMPLES = (  # (description, statement), Table 2
    (f"Description: {_INITIAL}", f"Statement: {_INITIAL}"),
    (
        f"Description: {_INITIAL} Remove the car from Box 0. Remove the paper and the string from Box 3. "
        "Put the plane into Box 0. Move the map from Box 6 to Box 2. Remove the bill from Box 4. Put the coat into Box 3.",
        "Statement: Box 0 contains the plane, Box 1 contains the cross, Box 2 contains the bag and the machine and the map, "
        "Box 3 contains the coat, Box 4 contains nothing, Box 5 contains the apple and the cash and the glass, "
        "Box 6 contains the bottle.",
    ),
)
STATEMENT_HEAD = "Statement: Box 0 contains"
# Figure 4, A.2. The whole statement, from "Statement:" to the final period.
STATEMENT_REGEX = (
    r"Statement: Box 0 contains( [a-zA-Z]+)*, Box 1 contains( [a-zA-Z]+)*, Box 2 contains( [a-zA-Z]+)*, "
    r"Box 3 contains( [a-zA-Z]+)*, Box 4 contains( [a-zA-Z]+)*, Box 5 contains( [a-zA-Z]+)*, Box 6 contains( [a-zA-Z]+)*\."
)
_SHOTS = "\n\n".join(["\n".join(example) for example in EXAMPLES])
# What follows the last description's period: Table 2 begins the statement on a line of its own; the
# authors' released script stops at the period and leaves all of the statement to the expression.
PROMPT_STYLES = {"table2": f"\n{STATEMENT_HEAD}", "released": ""}
PROMPT_FORMATS = ("plain", "chat")


def statement_prompt(description: str, style: str = "table2") -> str:
    """The two-shot prompt of Table 2 for a description. `style`: "table2" ends in STATEMENT_HEAD,
    "released" in the description's period."""
    if style not in PROMPT_STYLES:
        raise UserError(f"unknown prompt style {style!r}; choose one of {', '.join(PROMPT_STYLES)}")
    return f"{INSTRUCTION}\n\n{_SHOTS}\n\nDescription: {description}{PROMPT_STYLES[style]}"


def chat_messages(description: str, system_role: bool = True) -> list[dict[str, str]]:
    """The messages of Table 5. Without a system role the instruction is a user turn that the assistant answers "Okay."."""
    if system_role:
        messages = [{"role": "system", "content": INSTRUCTION}]
    else:
        messages = [{"role": "user", "content": INSTRUCTION}, {"role": "assistant", "content": "Okay."}]
    for question, answer in EXAMPLES:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": f"Description: {description}"}]


def has_system_role(tokenizer) -> bool:
    """Whether the tokenizer's chat template takes a system message and keeps its text."""
    from jinja2 import TemplateError  # what a template raises, also by its raise_exception

    try:
        return INSTRUCTION in _render(tokenizer, chat_messages("Box 0 contains nothing."))
    except TemplateError:
        return False


def _render(tokenizer, messages: list[dict[str, str]]) -> str:
    if not tokenizer.chat_template:
        wrong = "the tokenizer has no chat template; use the plain prompt format (--prompt-format plain)"
        raise UserError(f"{tokenizer.name_or_path}: {wrong}")
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def chat_prompt(description: str, tokenizer, system_role: bool | None = None) -> str:
    """The prompt of Table 5, rendered by the tokenizer's own template; None asks the template about the system role."""
    if system_role is None:
        system_role = has_system_role(tokenizer)
    return _render(tokenizer, chat_messages(description, system_role))


@dataclass(frozen=True)
class PromptSettings:
    """How prompts are made: `format` plain | chat; `style` table2 | released; `system_role` None asks the template."""

    format: str = "plain"
    style: str = "table2"
    system_role: bool | None = None


def prompt_maker(settings: PromptSettings, tokenizer) -> Callable[[str], str]:
    """description -> prompt, under the settings."""
    if settings.format == "plain":
        return lambda description: statement_prompt(description, settings.style)
    if settings.format != "chat":
        raise UserError(f"unknown prompt format {settings.format!r}; choose one of {', '.join(PROMPT_FORMATS)}")
    system_role = has_system_role(tokenizer) if settings.system_role is None else settings.system_role
    return lambda description: chat_prompt(description, tokenizer, system_role)


def encode_prompts(tokenizer, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids with exactly one BOS where the tokenizer's models have one: a chat template may have written it already."""
    if not prompts:
        return []
    bos = tokenizer.bos_token_id
    starts_with_bos = bos is not None and tokenizer("a").input_ids[0] == bos
    encoded = tokenizer(list(prompts), add_special_tokens=False).input_ids
    return [[bos, *ids] if starts_with_bos and ids[:1] != [bos] else ids for ids in encoded]


def encode_prompt(tokenizer, prompt: str) -> list[int]:
    """encode_prompts for one prompt."""
    return encode_prompts(tokenizer, [prompt])[0]

"""Write the prompts of a dataset for what decodes elsewhere; make score reads what it answers.

    python experiments/tools/prompts.py --data data/boxes/test-subsample-states-t5.jsonl --out prompts.jsonl
    python experiments/tools/prompts.py --data ... --out batch.jsonl --batch vllm --model org/name
    python experiments/tools/prompts.py --data ... --out batch.jsonl --batch openai --model gpt-...

Without --batch a line a description: its key, the description, the plain prompt in both styles, the
chat messages with and without a system role, and the regular expressions. With --batch it is a file
of requests, as vLLM's run-batch or OpenAI's Batch API take them, with the expression as structured
output (--free: without); what they answer is read as it is, by its custom_id. A prompt that ends in
"Statement: Box 0 contains" is answered with the rest: score it with --prompt table2.

What is written holds the text of the task: keep it out of repositories and training corpora.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout, whatever is installed

from boxes.commandline import argument_parser, command, out_file
from boxes.completion import MAX_NEW_TOKENS
from boxes.dataset import Example, read_examples
from boxes.prompting import PROMPT_STYLES, chat_messages, statement_head, statement_prompt, statement_regex
from boxes.records import UserError, write_bytes
from boxes.runs.elsewhere import custom_id
from boxes.world import Wording

CHAT = "chat"
WRAPPED = 16  # tokens of {"statement": "..."} around a statement


def expression(wording: Wording, prompt: str) -> str:
    """The expression of what is written behind a prompt: of Table 2 it has begun the statement."""
    whole = statement_regex(wording)
    return whole.removeprefix(statement_head(wording)) if prompt == "table2" else whole


def record(example: Example) -> dict:
    """All prompts of a description, with its key."""
    text, wording = example.description, example.wording
    return {
        "sample_id": example.sample_id,
        "num_operations": example.num_operations,
        "input": example.description,
        "prompts": {style: statement_prompt(text, style, wording) for style in PROMPT_STYLES},
        "messages": {
            "system_role": chat_messages(text, wording=wording),
            "no_system_role": chat_messages(text, system_role=False, wording=wording),
        },
        "regex": {prompt: expression(wording, prompt) for prompt in (*PROMPT_STYLES, CHAT)},
    }


def asked(example: Example, arguments: Namespace) -> tuple[str, dict]:
    """The endpoint and the prompt of a request."""
    text, wording = example.description, example.wording
    if arguments.prompt == CHAT:
        return "/v1/chat/completions", {"messages": chat_messages(text, not arguments.no_system_role, wording)}
    return "/v1/completions", {"prompt": statement_prompt(text, arguments.prompt, wording)}


def vllm_options(arguments: Namespace, wording: Wording) -> dict:
    """Of vLLM's OpenAI-compatible server and run-batch (structured_outputs: of version 0.11 on;
    guided_regex before)."""
    options = {"max_tokens": MAX_NEW_TOKENS, "temperature": 0}
    if not arguments.free:
        options["structured_outputs"] = {"regex": expression(wording, arguments.prompt)}
    return options


def openai_options(arguments: Namespace, wording: Wording) -> dict:
    """Of OpenAI's API, which takes an expression as the pattern of a text in a JSON schema."""
    options = {"max_completion_tokens": MAX_NEW_TOKENS + WRAPPED, "temperature": 0}
    if not arguments.free:
        schema = {
            "type": "object",
            "properties": {"statement": {"type": "string", "pattern": f"^{statement_regex(wording)}$"}},
            "required": ["statement"],
            "additionalProperties": False,
        }
        described = {"name": "statement", "strict": True, "schema": schema}
        options["response_format"] = {"type": "json_schema", "json_schema": described}
    return options


BATCHES: dict[str, Callable[[Namespace, Wording], dict]] = {"vllm": vllm_options, "openai": openai_options}


def request(example: Example, arguments: Namespace) -> dict:
    """A line of a batch file."""
    url, prompt = asked(example, arguments)
    body = {"model": arguments.model, **prompt, **BATCHES[arguments.batch](arguments, example.wording)}
    return {"custom_id": custom_id(example), "method": "POST", "url": url, "body": body}


def parse_arguments() -> Namespace:
    parser = argument_parser(__doc__)
    option = parser.add_argument
    option("--data", required=True, type=Path, help="the dataset, in the release's schema")
    option("--out", required=True, type=out_file, help="the JSONL to write")
    option("--batch", choices=tuple(BATCHES), help="a batch file of this kind (default: all prompts of a line)")
    option("--model", help="of --batch: the model's name there")
    option("--prompt", choices=(*PROMPT_STYLES, CHAT), help="of --batch (default: table2; for openai chat)")
    option("--no-system-role", action="store_true", help="of chat: the instruction as a user's turn")
    option("--free", action="store_true", help="of --batch: without the regular expression")
    arguments = parser.parse_args()
    said = [name for name in ("model", "prompt", "no_system_role", "free") if getattr(arguments, name)]
    if said and not arguments.batch:
        raise UserError(f"--{said[0].replace('_', '-')}: is for --batch; without, all prompts are written")
    if arguments.batch and not arguments.model:
        raise UserError("--batch needs --model, the name that the server knows the model by (MODEL=)")
    if arguments.batch == "openai":
        arguments.prompt = arguments.prompt or CHAT
        if arguments.prompt != CHAT:
            raise UserError(f"--prompt {arguments.prompt}: OpenAI's structured output is for chats alone")
    arguments.prompt = arguments.prompt or "table2"
    if arguments.no_system_role and arguments.prompt != CHAT:
        raise UserError(f"--no-system-role: is for chats, not for --prompt {arguments.prompt}")
    if arguments.out.resolve() == arguments.data.resolve():
        raise UserError(f"--out {arguments.out}: is the dataset itself; name another file (OUT=)")
    return arguments


def lines(examples: list[Example], arguments: Namespace) -> Iterator[bytes]:
    """What is written, line by line."""
    for example in examples:
        value = request(example, arguments) if arguments.batch else record(example)
        yield (json.dumps(value, ensure_ascii=False) + "\n").encode()


@command
def main() -> None:
    arguments = parse_arguments()
    examples = read_examples(arguments.data)
    write_bytes(arguments.out, lines(examples, arguments))
    kept = "it holds the text of the task: keep it out of repositories and training corpora"
    print(f"{arguments.out}: {len(examples)} descriptions; {kept}")


if __name__ == "__main__":
    main()

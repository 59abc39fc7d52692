"""The paper's tokenizers, rebuilt by fetch.py: what is sent for every evaluated prompt is what their files say.

prompt_ids.json holds checksums of the right ids, so that a new version of a library, or of ours, that reads them otherwise is
found out. `python tests/real/test_real_tokenizers.py FOLDER DATASET` writes it anew: from `tokenizers` and SentencePiece
and BOS, by hand, without a line of the project's code for tokens.
"""

import json
import os
import sys
import time
from functools import cache
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from boxes.dataset import read_examples
from boxes.decoding.constraint import compile_regex, token_bytes
from boxes.models.reading import read_tokenizer
from boxes.models.table import MODELS
from boxes.models.tokenizer import check_tokens
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, PromptSettings, encode_prompts, prompt_maker
from boxes.records import read_json, sha256_file, sha256_text, write_json
from experiments.tools.checkup import STATEMENT, accepts

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]
IDS = Path(__file__).with_name("prompt_ids.json")
DATASET = ROOT / "data" / "boxes" / "test-subsample-states-t5.jsonl"
BOS = {  # text and id
    "llama": ("<s>", 1),
    "llama-chat": ("<s>", 1),
    "codellama": ("<s>", 1),
    "deepseek": ("<｜begin▁of▁sentence｜>", 100000),
    "deepseek-chat": ("<｜begin▁of▁sentence｜>", 100000),
    "gemma": ("<bos>", 2),
    "mistral-sentencepiece": ("<s>", 1),
}
STYLES = {
    "table2": PromptSettings(),
    "chat": PromptSettings("chat"),
    "chat-without-system": PromptSettings("chat", system_role=False),  # how the authors asked DeepSeek-Chat
}
# (folder, text, whether it is a whole prompt, ids): of transformers 4.46, what the authors' time had.
VERSION_4 = [
    ("llama", "a", True, [1, 263]),
    ("llama-chat", "<s>[INST] hi", False, [1, 518, 25580, 29962, 7251]),
    ("deepseek", "a", True, [100000, 64]),
]


def folder_of(name: str) -> Path:
    return Path(os.environ["REAL"]) / "tokenizers" / name


@cache
def tokenizer_of(name: str):
    return read_tokenizer(folder_of(name))


def styles_of(name: str) -> list[str]:
    return list(STYLES) if name.endswith("-chat") else ["table2"]


CASES = [(name, style) for name in BOS for style in styles_of(name)]


def right_ids(folder: Path, prompts: list[str]) -> list[list[int]]:
    """The ids of prompts without the project's code for tokens."""
    text, index = BOS[folder.name]
    if (folder / "tokenizer.json").exists():
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        found = [encoding.ids for encoding in backend.encode_batch(prompts, add_special_tokens=False)]
    else:
        found = SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).encode(prompts)
    return [ids if prompt.startswith(text) else [index, *ids] for prompt, ids in zip(prompts, found, strict=True)]


def prompts_of(name: str, style: str, tokenizer, data: Path = DATASET) -> list[str]:
    make = prompt_maker(STYLES[style], tokenizer)
    return [make(example.description) for example in read_examples(data)]


@pytest.mark.parametrize(("name", "text", "whole", "ids"), VERSION_4)
def test_ids_are_those_of_transformers_4(name, text, whole, ids):
    tokenizer = tokenizer_of(name)
    assert (
        encode_prompts(tokenizer, [text])[0] if whole else tokenizer(text, add_special_tokens=False).input_ids
    ) == ids


def test_the_checksums_are_of_this_dataset():
    assert read_json(IDS)["dataset_sha256"] == sha256_file(DATASET)


@pytest.mark.parametrize(("name", "style"), CASES)
def test_every_prompt_is_sent_as_its_files_say(name, style):
    prompts = prompts_of(name, style, tokenizer_of(name))
    sent = encode_prompts(tokenizer_of(name), prompts)
    assert sent == right_ids(folder_of(name), prompts)
    assert sha256_text(json.dumps(sent)) == read_json(IDS)[name][style]
    assert all(ids[0] == BOS[name][1] and ids[1] != BOS[name][1] for ids in sent)


@pytest.mark.parametrize("name", BOS)
def test_doctors_self_test_passes(name):
    tokenizer = tokenizer_of(name)
    check_tokens(tokenizer, folder_of(name))
    spelled = token_bytes(tokenizer)
    automaton = compile_regex(STATEMENT_REGEX, tokenizer, max(len(tokenizer), max(spelled) + 1))
    assert accepts(automaton, spelled, tokenizer(STATEMENT, add_special_tokens=False).input_ids, STATEMENT_HEAD)


def test_a_wide_vocabulary_compiles_in_seconds():
    """Gemma's 256,000 tokens, cold, of which Figure 4's expression tells 97,417 groups apart: 1.7 s on a quiet AMD EPYC."""
    tokenizer = tokenizer_of("gemma")
    began = time.perf_counter()
    automaton = compile_regex(STATEMENT_REGEX, tokenizer, len(tokenizer))
    assert time.perf_counter() - began < 5  # other work may slow it
    assert automaton.allowed.nbytes + automaton.next_state.nbytes < 250e6


def test_deepseek_chat_is_asked_as_the_authors_asked():
    assert MODELS["deepseek-llm-7b-chat"].system_role is False
    [prompt, *_] = prompts_of("deepseek-chat", "chat-without-system", tokenizer_of("deepseek-chat"))
    assert prompt.count("Assistant: Okay.") == 1


def write_checksums(folder: Path, data: Path) -> None:
    """prompt_ids.json anew."""
    found: dict = {"dataset_sha256": sha256_file(data)}
    for name, style in CASES:
        place = folder / "tokenizers" / name
        prompts = prompts_of(name, style, read_tokenizer(place), data)
        found.setdefault(name, {})[style] = sha256_text(json.dumps(right_ids(place, prompts)))
    write_json(IDS, found)


if __name__ == "__main__":
    write_checksums(*map(Path, sys.argv[1:]))

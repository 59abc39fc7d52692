"""Folders with small tokenizers, written in the ways of the paper's models and of others.

The right tokens come from the `tokenizers.Tokenizer` that a folder's tokenizer.json was saved from,
and a prefix that is written down here for each kind: no code of the project takes part.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from miniatures import TOKENIZERS
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors

from boxes.records import write_json

# Table 5 in the words of three kinds of template; the last writes the BOS before every user turn.
PLAIN_CHAT = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
BOS_CHAT = "{{ '<s>' }}" + PLAIN_CHAT
LLAMA_CHAT = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<s>[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'system' %}{% else %}{{ ' ' + m.content + ' </s>' }}{% endif %}{% endfor %}"
)
SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "clean_up_tokenization_spaces": False}
LLAMA = SPECIALS | {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
DEEPSEEK = LLAMA | {"tokenizer_class": "LlamaTokenizerFast", "legacy": True}
BYTES_ALONE = processors.ByteLevel(trim_offsets=False)


def begin_with(*tokens: str) -> Callable[[Tokenizer], object]:
    """A post-processor that writes tokens before a text."""

    def make(tokenizer: Tokenizer):
        numbered = [(token, tokenizer.token_to_id(token)) for token in tokens]
        return processors.TemplateProcessing(f"{' '.join(tokens)} $A", "$A $B", numbered)

    return make


def with_an_end(tokenizer: Tokenizer):
    """A post-processor that writes tokens before and behind a text."""
    numbered = [("<s>", 1), ("</s>", 2)]
    return processors.TemplateProcessing("<s> $A </s>", "$A $B", numbered)


@dataclass(frozen=True)
class Kind:
    """A way to write a tokenizer; `prefix` is what plain prompts begin with, and `chat_prefix` those
    of its template."""

    pieces: str  # a tokenizer of miniatures.py
    settings: dict
    post_processor: Callable | object | None
    prefix: tuple[str, ...]
    template: str | None = None
    chat_prefix: tuple[str, ...] = ()  # what lacks where the template has written a part
    model_type: str = "llama"
    change: Callable[[Tokenizer], None] = lambda tokenizer: None
    config: dict | None = None


def infilling(tokenizer: Tokenizer) -> None:
    """Code Llama's tokens for filling in."""
    tokenizer.add_special_tokens(["▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"])


def spaces_alone(tokenizer: Tokenizer) -> None:
    """Gemma puts no space before a text."""
    tokenizer.normalizer = normalizers.Replace(" ", "▁")


def single_digits(tokenizer: Tokenizer) -> None:
    """SmolLM2 and DeepSeek split digits, and words their own way."""
    letters = pre_tokenizers.Split(Regex("\\s?[A-Za-z]+"), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([letters, digits, level])


def cut_and_filled(tokenizer: Tokenizer) -> None:
    """Some files were saved while texts were cut, and filled up to one length."""
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)


def a_class(name: str, **more: bool) -> dict:
    """The settings of a tokenizer of a class of transformers 4."""
    return SPECIALS | {"tokenizer_class": name} | more


BOS = begin_with("<s>")
NO_BOS = begin_with("<unk>", "<s>")  # a prefix that is none
END_ALONE = {"eos_token": "</s>"}
CODE_LLAMA = LLAMA | {"tokenizer_class": "CodeLlamaTokenizer", "prefix_token": "▁<PRE>"}
WITH_BOS = SPECIALS | {"add_bos_token": True}
WITHOUT_SETTING = {key: value for key, value in LLAMA.items() if key != "add_bos_token"}
KINDS = {
    # the paper's
    "llama": Kind("sentencepiece", LLAMA, BOS, ("<s>",)),
    "llama-chat": Kind("sentencepiece", LLAMA, BOS, ("<s>",), LLAMA_CHAT),
    "codellama": Kind("sentencepiece", CODE_LLAMA, BOS, ("<s>",), change=infilling),
    "deepseek": Kind("byte-level", DEEPSEEK, BYTES_ALONE, ("<s>",), change=single_digits),
    "deepseek-chat": Kind("byte-level", DEEPSEEK, BYTES_ALONE, ("<s>",), BOS_CHAT,
                          change=single_digits),
    "gemma": Kind("sentencepiece", a_class("GemmaTokenizer"), BOS, ("<s>",), BOS_CHAT,
                  model_type="gemma", change=spaces_alone),
    "mistral": Kind("sentencepiece", LLAMA | {"legacy": True}, BOS, ("<s>",), LLAMA_CHAT,
                    model_type="mistral"),
    # the BOS that a setting or a class asks for, or forbids
    "yi": Kind("sentencepiece", LLAMA | {"add_bos_token": False}, BOS, (), PLAIN_CHAT),
    "setting-without-a-value": Kind("sentencepiece", WITHOUT_SETTING, None, ("<s>",), PLAIN_CHAT,
                                    ("<s>",)),
    "class-in-config": Kind("sentencepiece", WITH_BOS, None, ("<s>",),
                            config={"tokenizer_class": "LlamaTokenizerFast"}),
    "class-of-the-model-type": Kind("sentencepiece", WITH_BOS, None, ("<s>",)),
    "cohere": Kind("byte-level", a_class("CohereTokenizerFast"), BYTES_ALONE, ("<s>",),
                   model_type="cohere"),
    "saved-by-transformers-5": Kind("sentencepiece", WITHOUT_SETTING | {"backend": "tokenizers"},
                                    None, ()),
    # classes that leave it to the post-processor
    "llama-3": Kind("byte-level", a_class("PreTrainedTokenizerFast"), BOS, ("<s>",), BOS_CHAT),
    "qwen2": Kind("byte-level", a_class("Qwen2Tokenizer", add_bos_token=False), BYTES_ALONE, (),
                  PLAIN_CHAT, model_type="qwen2", change=single_digits),
    "gpt2": Kind("byte-level", a_class("GPT2Tokenizer", add_bos_token=True), BYTES_ALONE, (),
                 model_type="gpt2"),
    "smollm2": Kind("byte-level", a_class("GPT2Tokenizer"), BYTES_ALONE, (), BOS_CHAT,
                    model_type="qwen2", change=single_digits),
    # a prefix that is no BOS
    "glm": Kind("sentencepiece", END_ALONE, NO_BOS, ("<unk>", "<s>")),
    "glm-chat": Kind("sentencepiece", END_ALONE, NO_BOS, ("<unk>", "<s>"),
                     "{{ '<unk><s>' }}" + PLAIN_CHAT),
    "glm-without-in-chat": Kind("sentencepiece", END_ALONE, NO_BOS, ("<unk>", "<s>"), PLAIN_CHAT,
                                ("<unk>", "<s>")),
    "half-in-chat": Kind("sentencepiece", END_ALONE, NO_BOS, ("<unk>", "<s>"), BOS_CHAT,
                         ("<unk>",)),
    # what must not leak into prompts
    "cut": Kind("sentencepiece", LLAMA, BOS, ("<s>",), LLAMA_CHAT, change=cut_and_filled),
    "with-an-end": Kind("sentencepiece", a_class("PreTrainedTokenizerFast"), with_an_end,
                        ("<s>",), BOS_CHAT),
}  # fmt: skip


def write_tokenizer(kind: Kind, folder: Path) -> Tokenizer:
    """tokenizer.json, tokenizer_config.json and config.json of a kind; the tokenizer that was saved,
    which cuts nothing."""
    made = Tokenizer.from_str(TOKENIZERS[kind.pieces]().backend_tokenizer.to_str())
    processor = kind.post_processor
    made.post_processor = processor(made) if callable(processor) else processor
    kind.change(made)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    if kind.post_processor is None:  # Tokenizer keeps the old one where it is given none
        whole = json.loads((folder / "tokenizer.json").read_text()) | {"post_processor": None}
        (folder / "tokenizer.json").write_text(json.dumps(whole))
    chat = {"chat_template": kind.template} if kind.template else {}
    write_json(folder / "tokenizer_config.json", kind.settings | chat)
    write_json(folder / "config.json", {"model_type": kind.model_type} | (kind.config or {}))
    made.no_truncation()
    made.no_padding()
    return made

"""Random-weight miniatures in the shapes of real models, and tokenizers of both kinds, made on the
spot."""

import json
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import (
    AutoTokenizer,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from boxes.models.table import TINY_FOLDER
from boxes.prompting import statement_prompt
from boxes.world import NOUNS

PIECE_DECODERS = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
_TEXTS = [statement_prompt(f"Box 0 contains the {noun} and the {noun}.") for noun in NOUNS]


@cache
def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE (GPT-2 and DeepSeek kind) with a BOS."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@cache
def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece-style pieces with byte fallback (Llama kind) and a BOS."""
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=specials, initial_alphabet=letters, show_progress=False
    )
    learner.train_from_iterator([line for text in _TEXTS for line in text.splitlines()], trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    pieces = BPE(learned["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(pieces)
    spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(spaces)
    tokenizer.decoder = decoders.Sequence(PIECE_DECODERS)
    tokenizer.add_special_tokens(specials[:3])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    return with_specials(tokenizer)


def with_specials(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    specials = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials)


TOKENIZERS = {"byte-level": byte_level_tokenizer, "sentencepiece": sentencepiece_tokenizer}
KINDS = (*TOKENIZERS, "tiny")


def tokenizer_of(kind: str):
    if kind in TOKENIZERS:
        return TOKENIZERS[kind]()
    return AutoTokenizer.from_pretrained(TINY_FOLDER / "tiny-base")


def small_tokenizer(pieces: list[str], added=(), byte_level: bool = False):
    """Exactly these pieces behind <unk>, <s>, </s> (ids 0, 1, 2), then the added tokens."""
    pieces = ["<unk>", "<s>", "</s>", *pieces]
    vocabulary = dict(zip(pieces, range(len(pieces)), strict=True))
    tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence(PIECE_DECODERS)
    if byte_level:
        tokenizer.decoder = decoders.ByteLevel()
    made = with_specials(tokenizer)
    made.add_tokens(list(added))
    return made


_COMMON = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 2048, "initializer_range": 0.3,
}  # fmt: skip
# Gemma: a head size unlike width / heads, scaled embeddings, tied to the output. Mistral: grouped
# KV heads.
SHAPES = {
    "llama": (LlamaForCausalLM, LlamaConfig, {"num_key_value_heads": 4}),
    "mistral": (
        MistralForCausalLM,
        MistralConfig,
        {"num_key_value_heads": 2, "sliding_window": None},
    ),
    "gemma": (GemmaForCausalLM, GemmaConfig, {"num_key_value_heads": 4, "head_dim": 32}),
}


@cache
def miniature(shape: str, width: int):
    """A float32 model of a shape with random weights, its logits `width` wide; large enough weights
    that argmaxes differ."""
    kind, config, more = SHAPES[shape]
    torch.manual_seed(0)
    return kind(config(vocab_size=width, **_COMMON, **more)).eval()

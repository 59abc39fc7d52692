"""The tokenizer of the tiny models: trained on their texts, with a chat template."""

import json
import string
from itertools import chain

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from experiments.tiny.text import Document

Row = tuple[list[int], np.ndarray]  # token ids, and the weight of each
VOCABULARY = 1024
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ 'Assistant:\\n' + message['content'] + eos_token + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of the Llama kind: pieces that begin in U+2581 for a space, byte fallback, single
    digits, a BOS."""
    learner = Tokenizer(BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", "▁")
    # Merges stay inside words.
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[A-Za-z]+|."), "isolated")
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=list(string.ascii_letters + string.digits + string.punctuation),
        show_progress=False,
    )
    # A line end is a byte, as in Llama.
    lines = (f" {line}" for line in chain.from_iterable(map(str.splitlines, texts)))
    learner.train_from_iterator(lines, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    bpe = BPE(learned["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
    pieces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*pieces, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(specials[:3])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> Row:
    """Token ids of a document behind a BOS, and the loss weight of each."""
    parts, weights = zip(*document, strict=True)
    encoding = tokenizer._tokenizer.encode("".join(parts))
    weight_of = np.repeat(weights, list(map(len, parts)))
    # A token is weighed as its last character is.
    last = np.array([end for _, end in encoding.offsets[1:]]) - 1
    return encoding.ids, np.concatenate([[0.0], weight_of[last]])

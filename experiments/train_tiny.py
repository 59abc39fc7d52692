"""Train the tiny checkpoints from random initialisation: tiny-base, and from it tiny-code, tiny-math and tiny-chat.

    python experiments/train_tiny.py --out data/models --seed 27

They prove the pipeline, not the hypothesis. Under 60 minutes on two CPU cores, minutes on a GPU. The three variants get equal
token budgets: half of each batch is new text (programs, arithmetic, the chat format), half the text of tiny-base.
"""

import argparse
import json
import math
import platform
import string
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from tiny_text import (
    Document,
    chat_document,
    code_document,
    math_document,
    plain_document,
    scenario_source,
)
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from boxes.generation import NUM_OPERATIONS, signature_splits
from boxes.prompting import INSTRUCTION
from boxes.records import command, write_json, write_text
from boxes.world import NOUNS

VOCABULARY = 1024
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}"
    "{% else %}{{ 'Assistant:\\n' + message['content'] + eos_token + '\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Phase:
    """A stretch of training: `batch` documents a step, `descriptions` a document, operations 0..`max_operations`."""

    steps: int
    batch: int
    descriptions: int
    max_operations: int
    shots: bool
    learning_rate: float


# Copying comes first and from short texts; the two examples of Table 2, which double the cost, only at the end.
BASE = (
    Phase(steps=700, batch=16, descriptions=2, max_operations=2, shots=False, learning_rate=3e-3),
    Phase(steps=1800, batch=16, descriptions=2, max_operations=8, shots=False, learning_rate=3e-3),
    Phase(steps=500, batch=8, descriptions=2, max_operations=12, shots=True, learning_rate=1e-3),
)
VARIANT = Phase(steps=250, batch=8, descriptions=2, max_operations=12, shots=True, learning_rate=1e-3)
VARIANTS = {"tiny-code": "programs that move items between lists", "tiny-math": "arithmetic", "tiny-chat": "the chat format"}


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of the Llama kind: pieces that begin in U+2581 for a space, byte fallback, single digits, a BOS."""
    learner = Tokenizer(BPE(unk_token="<unk>"))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[A-Za-z]+|."), "isolated")  # merges stay inside words
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=list(string.ascii_letters + string.digits + string.punctuation),
        show_progress=False,
    )
    lines = (f" {line}" for text in texts for line in text.splitlines())  # a line end is a byte, as in Llama
    learner.train_from_iterator(lines, trainer)
    learned = json.loads(learner.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = Tokenizer(BPE(learned["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
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


def new_model(seed: int) -> LlamaForCausalLM:
    """A Llama of 0.9 million parameters with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> tuple[list[int], np.ndarray]:
    """Token ids of a document behind a BOS, and the loss weight of each."""
    text = "".join(part for part, _ in document)
    encoding = tokenizer._tokenizer.encode(text)
    weight_of = np.repeat([weight for _, weight in document], [len(part) for part, _ in document])
    last = np.array([end for _, end in encoding.offsets[1:]]) - 1  # a token is weighed as its last character is
    return encoding.ids, np.concatenate([[0.0], weight_of[last]])


def collate(rows: list[tuple[list[int], np.ndarray]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and weights, both (rows, longest); padding weighs nothing."""
    width = max(len(ids) for ids, _ in rows)
    ids = np.zeros((len(rows), width), dtype=np.int64)
    weights = np.zeros((len(rows), width), dtype=np.float32)
    for row, (tokens, weight) in enumerate(rows):
        ids[row, : len(tokens)], weights[row, : len(tokens)] = tokens, weight
    return torch.from_numpy(ids).to(device), torch.from_numpy(weights).to(device)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy of the next token, in nats. Positions that weigh nothing skip the vocabulary projection."""
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    targets, weights = ids[:, 1:], weights[:, 1:]
    wanted = weights > 0
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[wanted]), targets[wanted], reduction="none")
    return (losses * weights[wanted]).sum() / weights.sum()


def optimizers_of(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embeddings, the head and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    return [
        torch.optim.Muon(matrices, lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(model, draw_rows, phases: tuple[Phase, ...], seed: int, device: str, log) -> int:
    """Train in place through the phases, a warm-up and a cosine to a tenth in each. Returns how many tokens were seen."""
    model.to(device).train()
    optimizers = optimizers_of(model)
    seen = 0
    for number, phase in enumerate(phases):
        bar = tqdm(range(phase.steps), desc=f"phase {number + 1} of {len(phases)}", mininterval=5)
        for step in bar:
            rows = [draw_rows(np.random.default_rng([seed, 3, number, step, row]), phase, row) for row in range(phase.batch)]
            ids, weights = collate(rows, device)
            rate = phase.learning_rate * min(1, (step + 1) / 50) * (0.55 + 0.45 * math.cos(math.pi * step / phase.steps))
            loss = loss_of(model, ids, weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            seen += sum(len(tokens) for tokens, _ in rows)
            if step % 50 == 49:
                bar.set_postfix(loss=f"{loss.item():.3f}")
                log(number, step, loss.item(), seen)
    return seen

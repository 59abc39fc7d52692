"""Train the tiny checkpoints from random initialisation: tiny-base, and from it tiny-more,
tiny-code, tiny-math and tiny-chat.

    python experiments/tiny/train.py --out data/models --seed 27

They prove the pipeline, not the hypothesis. Half an hour on two CPU cores, minutes on a GPU.
tiny-base stops early, where it errs in a good part of its answers, as the paper's models do. Its
variants get equal token budgets: half of each batch is new text (programs, arithmetic, the chat
format), half the text of tiny-base; tiny-more, the control, reads the text of tiny-base alone, so
that what added data do is told apart from what more training does.
"""

import copy
import math
import os
import platform
import sys
import time
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import transformers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).absolute().parents[2]))  # this checkout before others

from boxes.commandline import argument_parser, command, natural, out_folder, positive
from boxes.generation import NUM_OPERATIONS, signature_splits
from boxes.records import write_json, write_text
from boxes.world import NOUNS
from experiments.tiny.muon import Muon
from experiments.tiny.text import (
    ANSWER,
    Document,
    chat_document,
    code_document,
    math_document,
    plain_document,
    scenario_source,
)
from experiments.tiny.tokenizer import VOCABULARY, Row, encode, train_tokenizer


@dataclass(frozen=True)
class Phase:
    """A stretch of training: `batch` documents a step, `descriptions` a document, operations
    0..`max_operations`."""

    steps: int
    batch: int
    descriptions: int
    max_operations: int
    learning_rate: float  # reached after 50 steps
    decays: bool = False  # to a tenth, by a cosine


# Copying comes first and from short texts. The second phase ends where two thirds of the answers are
# right: after 1400 steps 97 % were, which left nothing to err in.
BASE = (
    Phase(steps=600, batch=16, descriptions=2, max_operations=2, learning_rate=3e-3),
    Phase(steps=200, batch=16, descriptions=2, max_operations=12, learning_rate=3e-3),
)
VARIANT = Phase(steps=200, batch=8, descriptions=2, max_operations=12, learning_rate=1e-3, decays=True)
ROW_TOKENS = 1024  # of the variants: every row is cut to it, so that their token budgets are equal
BASE_TEXT = "the text of tiny-base"
VARIANTS = {
    "tiny-more": BASE_TEXT,
    "tiny-code": "programs that move items between lists",
    "tiny-math": "arithmetic",
    "tiny-chat": "the chat format",
}


def new_model(seed: int) -> LlamaForCausalLM:
    """A Llama of 1.1 million parameters with random weights."""
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


def collate(rows: list[Row], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and weights, both (rows, longest); padding weighs nothing."""
    width = max(len(ids) for ids, _ in rows)
    ids = np.zeros((len(rows), width), dtype=np.int64)
    weights = np.zeros((len(rows), width), dtype=np.float32)
    for row, (tokens, weight) in enumerate(rows):
        ids[row, : len(tokens)], weights[row, : len(tokens)] = tokens, weight
    return torch.from_numpy(ids).to(device), torch.from_numpy(weights).to(device)


def losses_of(model, ids: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Weighted mean cross-entropy of the next token, and its plain mean over the answers, both in
    nats.

    Positions that weigh nothing skip the vocabulary projection.
    """
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
    targets, weights = ids[:, 1:], weights[:, 1:]
    wanted = weights > 0
    logits = model.lm_head(hidden[wanted])
    losses = torch.nn.functional.cross_entropy(logits, targets[wanted], reduction="none")
    weights = weights[wanted]
    answers = losses.detach()[weights == ANSWER].mean().item()
    return (losses * weights).sum() / weights.sum(), answers


def optimizers_of(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for the embeddings, the head and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    return [
        Muon(matrices, lr=1.0),
        torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(model, draw_row, phases: tuple[Phase, ...], seed: int, device: str) -> dict[str, float]:
    """Train in place through the phases. Returns tokens, seconds, last loss.

    `draw_row(rng, phase, row)` gives the ids and weights of a row; its generator derives from seed,
    phase, step and row.
    """
    model.to(device).train()
    optimizers = optimizers_of(model)
    seen, began, recent = 0, time.monotonic(), []
    for number, phase in enumerate(phases):
        bar = tqdm(range(phase.steps), desc=f"phase {number + 1} of {len(phases)}", mininterval=5)
        for step in bar:
            rows = []
            for row in range(phase.batch):
                rng = np.random.default_rng([seed, 3, number, step, row])
                rows.append(draw_row(rng, phase, row))
            seen += sum(len(tokens) for tokens, _ in rows)
            recent.append(_update(model, optimizers, collate(rows, device), _rate(phase, step)))
            bar.set_postfix(answers=f"{np.mean(recent[-50:]):.3f}", refresh=False)
    seconds = time.monotonic() - began
    loss = round(float(np.mean(recent[-50:])), 4)
    return {"tokens": seen, "seconds": round(seconds), "answer_loss_nats": loss}


def _rate(phase: Phase, step: int) -> float:
    rate = phase.learning_rate * min(1, (step + 1) / 50)
    if phase.decays:
        rate *= 0.55 + 0.45 * math.cos(math.pi * step / phase.steps)
    return rate


def _update(model, optimizers: list, batch: tuple[torch.Tensor, ...], rate: float) -> float:
    """One step; the loss of the answers in it, in nats a token."""
    loss, answer_loss = losses_of(model, *batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return answer_loss


class Texts:
    """What each model reads, as rows of token ids and weights, from the signatures of the train
    split alone."""

    def __init__(self, seed: int):
        self.signatures = {key for key, split in signature_splits(seed).items() if split == "train"}
        self.sources = {}
        for most in range(NUM_OPERATIONS + 1):
            evenly = np.full(most + 1, 1 / (most + 1))
            self.sources[most] = scenario_source(self.signatures, evenly)
        self.tokenizer = train_tokenizer(self._sample(np.random.default_rng([seed, 4])))

    def _sample(self, rng: np.random.Generator) -> list[str]:
        documents = [plain_document(rng, self.sources[12], 2) for _ in range(300)]
        documents += [code_document(rng, self.signatures) for _ in range(200)]
        documents += [math_document(rng) for _ in range(100)]
        texts = []
        for document in documents:
            texts.append("".join(part for part, _ in document))
        return [*texts, *20 * [" ".join(NOUNS), "User: Okay.", "Assistant:"]]

    def base(self, rng: np.random.Generator, phase: Phase, row: int) -> Row:
        """The boxes task in the plain format."""
        source = self.sources[phase.max_operations]
        return encode(self.tokenizer, plain_document(rng, source, phase.descriptions))

    def variant(self, name: str):
        """Rows of a variant: by turns its new text and that of tiny-base, each cut to
        ROW_TOKENS."""

        def draw(rng: np.random.Generator, phase: Phase, row: int) -> Row:
            ids, weights = [], []
            while len(ids) < ROW_TOKENS:
                if row % 2:
                    tokens, weight = self.base(rng, phase, row)
                else:
                    tokens, weight = encode(self.tokenizer, self._new(name, rng, phase))
                ids += tokens
                weights.append(weight)
            return ids[:ROW_TOKENS], np.concatenate(weights)[:ROW_TOKENS]

        return draw

    def _new(self, name: str, rng: np.random.Generator, phase: Phase) -> Document:
        source = self.sources[phase.max_operations]
        if name == "tiny-more":
            return plain_document(rng, source, phase.descriptions)
        if name == "tiny-code":
            return code_document(rng, self.signatures)
        if name == "tiny-math":
            return math_document(rng)
        return chat_document(rng, source, self.tokenizer, phase.descriptions)


def save(model, tokenizer, folder: Path, card: dict) -> None:
    """The checkpoint in bfloat16 (safetensors), its tokenizer and its card, README.md and
    training.json."""
    copy.deepcopy(model).to("cpu", torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "training.json", card)
    rows = []
    for key, value in card.items():
        if key != "phases":
            rows.append(f"| {key.replace('_', ' ')} | {value} |\n")
    text = (
        f"# {folder.name}\n\nA miniature Llama of {card['parameters']:,} parameters. It proves the "
        "pipeline of this repository, not the paper's hypothesis.\nTrained by `make train-tiny` on "
        "generated text alone; the stretches of training are in training.json.\n\n"
        f"| | |\n|---|---|\n{''.join(rows)}"
    )
    write_text(folder / "README.md", text)


def card_of(model, data: str, phases: tuple[Phase, ...], measured: dict, base: str, arguments: Namespace) -> dict:
    """What a reader must know of a checkpoint: data seen, steps, tokens, seconds, hardware, seed,
    versions."""
    hardware = f"{arguments.threads} CPU threads"
    if arguments.device == "cuda":
        hardware = torch.cuda.get_device_name()
    return {
        "trained from": base,
        "data": data,
        "steps": sum(phase.steps for phase in phases),
        **measured,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "hardware": f"{hardware}, {platform.machine()}",
        "seed": arguments.seed,
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "phases": [asdict(phase) for phase in phases],
    }


def shrunk(phase: Phase, divisor: int) -> Phase:
    """A phase of fewer steps."""
    return replace(phase, steps=max(1, phase.steps // divisor))


@command
def main() -> None:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--out", type=out_folder, required=True, help="folder of the checkpoints")
    kept_out = "the seed of the data: its test signatures are kept out (%(default)s)"
    add("--seed", type=natural, default=27, help=kept_out)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=device, help="default: %(default)s")
    add("--threads", type=positive, default=os.cpu_count(), help="CPU threads (%(default)s)")
    add("--shrink", type=positive, default=1, help="divide all steps by this, to try it out")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    texts = Texts(arguments.seed)
    phases = tuple(shrunk(phase, arguments.shrink) for phase in BASE)
    model = new_model(arguments.seed)
    measured = train(model, texts.base, phases, arguments.seed, arguments.device)
    data = "the boxes task in the format of Table 2"
    card = card_of(model, data, phases, measured, "random weights", arguments)
    save(model, texts.tokenizer, arguments.out / "tiny-base", card)
    phases = (shrunk(VARIANT, arguments.shrink),)
    for name, new_text in VARIANTS.items():
        variant = copy.deepcopy(model)
        measured = train(variant, texts.variant(name), phases, arguments.seed, arguments.device)
        data = BASE_TEXT if new_text == BASE_TEXT else f"half {new_text}, half {BASE_TEXT}"
        card = card_of(variant, data, phases, measured, "tiny-base", arguments)
        save(variant, texts.tokenizer, arguments.out / name, card)


if __name__ == "__main__":
    main()

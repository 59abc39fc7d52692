"""The engine: greedy decoding under an automaton, in batches. Prefill, one step, the loop.

Exact: in float32 the token ids equal those of reference.py, one prompt at a time (tests/test_decoding.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from boxes.completion import Completion, finish
from boxes.constraint import Automaton, compile_regex, free
from boxes.prompting import STATEMENT_HEAD, STATEMENT_REGEX, encode_prompt

MAX_NEW_TOKENS = 256  # twice the longest true statement of the task; the authors' script stops at 100
BATCH_SIZE = 64
Progress = Callable[[int], None]


@dataclass
class Batch:
    """Rows being decoded: caches and last logits, states of the automaton, what was generated. B rows, T steps so far."""

    cache: DynamicCache
    attention_mask: torch.Tensor  # (B, columns so far), zeros on the left where a prompt is shorter
    logits: torch.Tensor  # (B, V)
    states: torch.Tensor  # (B,)
    positions: torch.Tensor  # (B,) of the next token


class Decoder:
    """Decodes prompts greedily under a regular expression; `regex=None` decodes freely, to the first period."""

    def __init__(
        self,
        model,
        tokenizer,
        regex: str | None = STATEMENT_REGEX,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int = BATCH_SIZE,
    ):
        self.model, self.tokenizer = model.eval(), tokenizer
        self.regex, self.max_new_tokens, self.batch_size = regex, max_new_tokens, batch_size
        width = model.get_output_embeddings().weight.shape[0]
        automaton = compile_regex(regex, tokenizer, width) if regex else free(tokenizer, width, STATEMENT_HEAD)
        self.automaton = automaton.to(model.device)

    def decode(self, prompts: Sequence[str], progress: Progress | None = None) -> list[Completion]:
        """The completions of prompts, in their order. `progress` is told how many more are finished."""
        completions: list[Completion | None] = [None] * len(prompts)
        for indices, finished in self.batches(prompts):
            for index, completion in zip(indices, finished, strict=True):
                completions[index] = completion
            if progress:
                progress(len(indices))
        return completions

    @torch.inference_mode()
    def batches(self, prompts: Sequence[str]) -> Iterator[tuple[list[int], list[Completion]]]:
        """Finished batches as they come: which prompts, and their completions. Prompts of like length go together."""
        encoded = [encode_prompt(self.tokenizer, prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: -len(encoded[index]))
        for first in range(0, len(order), self.batch_size):
            indices = order[first : first + self.batch_size]
            yield indices, self._decode_batch([prompts[i] for i in indices], [encoded[i] for i in indices])

    def _decode_batch(self, prompts: list[str], encoded: list[list[int]]) -> list[Completion]:
        starts = [self.automaton.start(prompt) for prompt in prompts]
        batch = prefill(self.model, encoded, [state for state, _ in starts])
        rows, finished = self._loop(batch)
        ends = (-1, *self.automaton.end_ids)
        rows = [[token for token in row if token not in ends] for row in rows]
        return [
            finish(head + self._text(ids), ids, ended, self.regex or STATEMENT_REGEX)
            for (_, head), ids, ended in zip(starts, rows, finished, strict=True)
        ]

    def _text(self, ids: list[int]) -> str:
        text = self.automaton.text(ids)
        return text if self.regex or "." not in text else text[: text.index(".") + 1]

    def _loop(self, batch: Batch) -> tuple[list[list[int]], list[bool]]:
        """The token of each row and step, -1 behind a row's end, and which rows ended."""
        columns, finished = [], torch.zeros_like(batch.states, dtype=torch.bool)
        for _ in range(self.max_new_tokens):
            chosen = choose(self.automaton, batch)
            columns.append(chosen.masked_fill(finished, -1))
            finished |= self.automaton.done[batch.states] | torch.isin(chosen, self._ends)
            if finished.all():
                break
            step(self.model, batch, chosen)
        return torch.stack(columns, dim=1).tolist(), finished.tolist()

    @property
    def _ends(self) -> torch.Tensor:
        return torch.tensor(self.automaton.end_ids, device=self.model.device)


def prefill(model, encoded: list[list[int]], starts: list[int]) -> Batch:
    """Run the prompts once, padded on the left."""
    width = max(map(len, encoded))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in encoded], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded], device=model.device)
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.config)
    output = model(ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
    states = torch.tensor(starts, device=model.device)
    return Batch(cache, mask, output.logits[:, -1], states, positions[:, -1] + 1)


def choose(automaton: Automaton, batch: Batch) -> torch.Tensor:
    """The likeliest allowed token of each row, (B,); the automaton moves on. A finished row stays where it is."""
    logits = batch.logits.masked_fill(~automaton.allowed[batch.states], -torch.inf)
    chosen = logits.argmax(dim=-1)
    moved = automaton.next_state[batch.states, chosen].long()
    batch.states = torch.where(automaton.done[batch.states], batch.states, moved)
    return chosen


def step(model, batch: Batch, chosen: torch.Tensor) -> None:
    """Feed one token a row and keep the logits of the next."""
    batch.attention_mask = torch.nn.functional.pad(batch.attention_mask, (0, 1), value=1)
    output = model(
        chosen[:, None],
        attention_mask=batch.attention_mask,
        position_ids=batch.positions[:, None],
        past_key_values=batch.cache,
    )
    batch.logits, batch.positions = output.logits[:, -1], batch.positions + 1

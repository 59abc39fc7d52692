"""The engine: greedy decoding under an automaton, exact and near the floor.

A model is decoded in the first way (trial.py) that gives its own logits: with prefix sharing and
drafts (loop.py), or through its own forward (fallback.py). In float32 the token ids equal those of
reference.py, one prompt at a time.
"""

import sys
from collections.abc import Callable, Iterator, Sequence

import torch

from boxes.completion import MAX_NEW_TOKENS, Completion, finish
from boxes.decoding import attention, memory
from boxes.decoding.constraint import compile_regex, free_automaton
from boxes.decoding.drafting import Draft, draft_text, drafts, written
from boxes.decoding.fallback import return_objects
from boxes.decoding.forward import common_prefix
from boxes.decoding.job import Job, Prompt, Work
from boxes.decoding.loop import prefill_tokens
from boxes.decoding.price import Price
from boxes.decoding.proposals import Acceptance
from boxes.decoding.trial import WAYS, Way, check_length, choose_way, other_cache, trial_of
from boxes.decoding.widths import STEP_DRAFT
from boxes.models.table import AUTOMATA
from boxes.prompting import STATEMENT_REGEX, encode_prompts, statement_head, statement_regex
from boxes.world import BASE, Wording


class Decoder:
    """Decodes prompts greedily under a regular expression; None: freely, to the first period.

    `draft=False` gives the same text in more time. `batch_size`: prompts decoded at a time; None:
    as many as the device's memory holds, up to memory.MOST_ROWS. It is halved when memory runs out
    all the same. `wording`: that of drafts, and of statements in free decoding. A model of which the
    engine does not give the logits is decoded in another way (trial.py), or refused. What was done
    is counted in `work`.
    """

    def __init__(
        self,
        model,
        tokenizer,
        regex: str | None = STATEMENT_REGEX,
        max_new_tokens: int = MAX_NEW_TOKENS,
        batch_size: int | None = None,
        draft: bool = True,
        wording: Wording = BASE,
    ):
        self.model, self.tokenizer = model.eval(), tokenizer
        return_objects(model)
        self.regex, self.max_new_tokens = regex, max_new_tokens
        self.wording = wording
        self.statement = regex or statement_regex(wording)  # what a finished text is held against
        self.batch_size, self.draft = batch_size, draft
        head = model.get_output_embeddings().weight
        # Of everything but the layers of a model that is spread.
        width, self.device = len(head), head.device
        if regex:
            automaton = compile_regex(regex, tokenizer, width, AUTOMATA)
        else:
            automaton = free_automaton(tokenizer, width, statement_head(wording))
        self.automaton = automaton.to(self.device)
        # Work is cut up as is best on a device of this type: a test can have a GPU's way on a CPU.
        self.kind = self.device.type
        self.acceptance = Acceptance(self.device)
        self.price = Price(self.kind, model.dtype)
        self.work = Work()
        self.way: Way | None = None  # chosen before the first prompt
        self.longest_tried = 0  # tokens of the longest row for which it was

    @property
    def job(self) -> Job:
        """What a way of decoding needs of this decoder."""
        return Job(
            model=self.model,
            automaton=self.automaton,
            device=self.device,
            kind=self.kind,
            max_new_tokens=self.max_new_tokens,
            draft=self.draft,
            acceptance=self.acceptance,
            price=self.price,
            work=self.work,
        )

    def decode(
        self,
        prompts: Sequence[str],
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """The completions of prompts, in their order; `progress` is told how many more."""
        completions: list[Completion | None] = [None] * len(prompts)
        for indices, finished in self.batches(prompts):
            for index, completion in zip(indices, finished, strict=True):
                completions[index] = completion
            if progress:
                progress(len(indices))
        return completions

    @torch.inference_mode()
    def batches(
        self,
        texts: Sequence[str],
        proposed: Sequence[str | None] | None = None,
    ) -> Iterator[tuple[list[int], list[Completion]]]:
        """Indices and completions of finished prompts as they come, longer ones sooner. `proposed`:
        the statements to draft; by default those of a symbolic reading of the prompts."""
        # What is learnt is learnt anew: in bfloat16 an answer may depend on it, and no answer may
        # depend on what was decoded before.
        self.acceptance, self.price = Acceptance(self.device), Price(self.kind, self.model.dtype)
        waiting = self.prompts(texts, proposed)
        waiting.sort(key=lambda prompt: prompt.length, reverse=True)
        prompts = {prompt.index: prompt for prompt in waiting}
        self.work.rows = self.batch_size or self._rows_that_fit(waiting, alone=False)
        while waiting:
            memory.release()
            try:
                for finished in self._way_for(waiting).decode(self.job, waiting):
                    done, completions = [], []
                    for index, ids, ended in finished:
                        done.append(index)
                        completions.append(self.completion(prompts[index], ids, ended))
                    yield done, completions
                    waiting = [prompt for prompt in waiting if prompt.index not in done]
            except (torch.OutOfMemoryError, RuntimeError) as error:
                # What was under way begins again.
                self.work.rows = memory.halved(self.work.rows, error)
                self.work.halvings += 1

    def _way_for(self, waiting: list[Prompt]) -> Way:
        """How to decode prompts as long as these; it is said where that is not the engine's way."""
        encoded = [prompt.ids for prompt in waiting]
        longest = max(map(len, encoded)) + self.max_new_tokens
        if longest > self.longest_tried:
            check_length(self.model, longest)
            reason = other_cache(self.model) or attention.why_not(self.model)
            trial = trial_of(self.model, encoded, self.max_new_tokens)
            self.way, reason = choose_way(self.model, WAYS, trial, reason)
            self.longest_tried, self.work.way = longest, self.way.name
            if reason:
                print(f"decoding without a shared prefix or drafts: {reason}", file=sys.stderr)
        if self.way is not WAYS[0]:
            most = self.way.most or self.batch_size or self._rows_that_fit(waiting, alone=True)
            self.work.rows = min(self.work.rows, most)
        return self.way

    def _rows_that_fit(self, waiting: list[Prompt], alone: bool) -> int:
        """How many prompts memory holds at a time; `alone`: without prefix sharing and drafts."""
        if not waiting:
            return 1
        own, most = max(len(prompt.ids) for prompt in waiting), min(memory.most_rows(self.kind), len(waiting))
        if alone:  # all of its prompts in one forward
            return memory.rows_that_fit(self.model, own + self.max_new_tokens, 0, most, each=own)
        run, shared = prefill_tokens(self.kind), common_prefix([prompt.ids for prompt in waiting])
        longest_draft = max(len(prompt.draft.tokens) for prompt in waiting)
        behind = memory.row_capacity(self.max_new_tokens, STEP_DRAFT, longest_draft)
        return memory.rows_that_fit(self.model, own - shared + behind, run, most, shared)

    def prompts(
        self,
        texts: Sequence[str],
        proposed: Sequence[str | None] | None = None,
    ) -> list[Prompt]:
        """Prompts as tokens, with their drafts and where in the expression each begins."""
        encoded = encode_prompts(self.tokenizer, texts)
        starts = [self.automaton.start(text) for text in texts]
        drafted = [Draft()] * len(texts)
        if self.draft:
            heads = [head for _, head in starts]
            statements = proposed or [draft_text(text, self.wording) for text in texts]
            drafted = drafts(self.tokenizer, self.automaton.token_bytes, texts, heads, statements)
            if proposed:
                drafted = list(map(written, drafted))
        prompts = []
        for index, (state, head) in enumerate(starts):
            prompts.append(Prompt(index, encoded[index], state, head, drafted[index]))
        return prompts

    def completion(self, prompt: Prompt, ids: list[int], ended: bool) -> Completion:
        """What generated ids say. In free decoding what is behind the first period is dropped."""
        ids = [token for token in ids if token not in (-1, *self.automaton.end_ids)]
        text = self.automaton.text(ids)
        if not self.regex and "." in text:
            text = text[: text.index(".") + 1]
        self.work.tokens += len(ids)
        return finish(prompt.head + text, ids, ended, self.statement)

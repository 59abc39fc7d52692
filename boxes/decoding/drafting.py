"""Text drafts: a proposed statement as the tokens a model would write it in.

By default it is what a symbolic reading of the description says; for free decoding, what the model
wrote under the expression. The model's own masked argmax decides on every token: in float32 a wrong
draft costs time and never changes an answer.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from boxes.prompting import encode_prompts
from boxes.world import parse, replay, statement

_PROMPT_DESCRIPTION = re.compile(
    r"Description: (Box 0 contains [^.\n]*\.(?: (?:Move|Remove|Put) [^.\n]*\.)*)",
)
_CLAUSE_BEGINS = re.compile(r", Box [1-6] contains|\.$")


@dataclass(frozen=True)
class Draft:
    """Token ids of a proposed statement (behind the prompt), and where its clauses begin: the comma
    before "Box 1", ..., and the final period. After a divergence drafting starts again at the next
    of them."""

    tokens: tuple[int, ...] = ()
    clauses: tuple[int, ...] = ()

    @property
    def restarts(self) -> list[int]:
        """For each token, where the first clause at or behind it begins, or the draft ends."""
        begins = [*self.clauses, len(self.tokens)]
        return [begins[bisect_left(self.clauses, index)] for index in range(len(self.tokens))]


def draft_text(prompt: str) -> str | None:
    """The true statement about the last description of a prompt; None where none can be read."""
    descriptions = _PROMPT_DESCRIPTION.findall(prompt)
    if not descriptions:
        return None
    try:
        return statement(replay(*parse(descriptions[-1]))[0])
    except ValueError:
        return None


def drafts(
    tokenizer,
    spelled: list[bytes],
    prompts: list[str],
    heads: list[str],
    proposed: Sequence[str | None],
) -> list[Draft]:
    """A draft for each prompt: of its proposed statement, whose beginning the prompt ends in
    (`heads`); empty without one. `spelled` are the bytes each token id stands for."""
    tails, rests = [], []
    for prompt, head, text in zip(prompts, heads, proposed, strict=True):
        rests.append(text[len(head) :] if text and text.startswith(head) else "")
        # The last line says how a begun statement goes on; all of the prompt would say it too, in
        # many times the time. The line feed before it stays: at the beginning of a text,
        # SentencePiece would put a space before the statement. One that is not begun stands behind
        # a line feed whatever the prompt ends in: the model begins it with a token of its own, and
        # ".Statement" of the released style may be merged across the seam.
        tails.append(prompt[max(prompt.rfind("\n"), 0) :] if head else "\n")
    before = dict(zip(set(tails), encode_prompts(tokenizer, list(set(tails))), strict=True))
    whole = encode_prompts(tokenizer, list(map(str.__add__, tails, rests)))
    found = []
    for tail, rest, tokens in zip(tails, rests, whole, strict=True):
        seam = len(before[tail])
        if tokens[:seam] == before[tail]:
            found.append(_draft(rest, tokens[seam:], spelled))
        else:  # the seam is tokenized in another way: nothing is proposed
            found.append(Draft())
    return found


def _draft(rest: str, tokens: list[int], spelled: list[bytes]) -> Draft:
    ends = list(accumulate(len(spelled[token]) for token in tokens))
    starts = [match.start() for match in _CLAUSE_BEGINS.finditer(rest)]
    return Draft(tuple(tokens), tuple(bisect_right(ends, start) for start in starts))

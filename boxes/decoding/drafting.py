"""Text drafts: a proposed statement as the tokens a model would write it in.

By default it is what a symbolic reading of the description says; for free decoding, what the model
wrote under the expression. Its tokens are of kinds that a model confirms more or less often
(proposals.py). The model's own masked argmax decides on every token: in float32 a wrong draft costs
time and never changes an answer.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from boxes.prompting import encode_prompts
from boxes.world import BASE, Wording, parse, replay, statement

_PROMPT_DESCRIPTION = re.compile(
    # In the words of any form (boxes/world.py).
    r"Description: ((?:Box 0|The|There) [^.\n]*\.(?: (?:Move|Remove|Put|Pick up|Take|Place) [^.\n]*\.)*)",
)
_FIXED = re.compile(
    r"^Statement: (?:Box 0|Container A)(?: contains)?|, (?:Box [1-6]|Container [B-G])(?: contains)?|\.$"
)

# Kinds of drafted tokens.
FIXED = 0  # what every statement has: " Box 1 contains" once the comma before it is written
CLAUSE = 1  # a clause ends here: the comma or the period behind what a box contains
CONTENT = 2  # what a box contains
WRITTEN = 3  # of a statement that the model wrote itself, in another run
COPIED = 4  # what followed the last two tokens where they stood before
REPEATED = 5  # what followed the last three
WAITING = 6  # a clause ends here, of a draft that the model has left: it may still be in the clause
KIND_NAMES = ("fixed", "clause", "content", "written", "copied", "repeated", "waiting")
KINDS = len(KIND_NAMES)


@dataclass(frozen=True)
class Draft:
    """Token ids of a proposed statement (behind the prompt), their kinds (none: all CONTENT), and
    where its clauses begin: the comma before "Box 1", ..., and the final period. After a divergence
    drafting starts again at the next of them."""

    tokens: tuple[int, ...] = ()
    clauses: tuple[int, ...] = ()
    kinds: tuple[int, ...] = ()

    @property
    def restarts(self) -> list[int]:
        """For each token, where the first clause at or behind it begins, or the draft ends."""
        begins = [*self.clauses, len(self.tokens)]
        return [begins[bisect_left(self.clauses, index)] for index in range(len(self.tokens))]


def draft_text(prompt: str, wording: Wording = BASE) -> str | None:
    """The true statement about the last description of a prompt; None where none can be read."""
    descriptions = _PROMPT_DESCRIPTION.findall(prompt)
    if not descriptions:
        return None
    try:
        return statement(replay(*parse(descriptions[-1]))[0], wording)
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
    kinds, clauses = [CONTENT] * len(tokens), []
    for match in _FIXED.finditer(rest):
        first = bisect_right(ends, match.start())
        behind = bisect_right(ends, match.end() - 1) + 1
        kinds[first:behind] = [FIXED] * (behind - first)
        if match[0][0] in ",.":
            kinds[first] = CLAUSE
            clauses.append(first)
    return Draft(tuple(tokens), tuple(clauses), tuple(kinds[: len(tokens)]))


def written(draft: Draft) -> Draft:
    """The same draft as one that the model wrote itself."""
    return replace(draft, kinds=(WRITTEN,) * len(draft.tokens))

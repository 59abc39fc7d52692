"""What decoding returns: a whole statement, its token ids, and whether it is one."""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_NEW_TOKENS = 256  # twice the longest true statement of the task; the authors' script stops at 100


class Status(StrEnum):
    """ok: a whole statement; truncated: the token limit came first; invalid: it ended without being a statement."""

    OK = "ok"
    TRUNCATED = "truncated"
    INVALID = "invalid"


@dataclass(frozen=True)
class Completion:
    """A whole statement, from "Statement: Box 0 contains" to the period; the generated ids (no end token); its status."""

    text: str
    tokens: tuple[int, ...]
    status: Status


def finish(text: str, tokens: list[int], ended: bool, regex: str) -> Completion:
    """A completion with its status: every finished output must match the whole expression, whatever produced it."""
    whole = Status.OK if re.fullmatch(regex, text) else Status.INVALID
    return Completion(text, tuple(tokens), whole if ended else Status.TRUNCATED)

"""What decoding returns: a whole statement, its token ids, and whether it is one."""

import re
from dataclasses import dataclass
from enum import StrEnum

# Twice the longest true statement of the task; the authors' script stops at 100.
MAX_NEW_TOKENS = 256


class Status(StrEnum):
    """ok: a whole statement; truncated: the token limit came first; invalid: it ended as none."""

    OK = "ok"
    TRUNCATED = "truncated"
    INVALID = "invalid"


@dataclass(frozen=True)
class Completion:
    """A whole statement, "Statement:" to the period; the generated ids (no end); its status."""

    text: str
    tokens: tuple[int, ...]
    status: Status


def finish(text: str, tokens: list[int], ended: bool, regex: str) -> Completion:
    """A completion with its status: every finished output must match the whole expression."""
    if not ended:
        status = Status.TRUNCATED
    elif re.fullmatch(regex, text):
        status = Status.OK
    else:
        status = Status.INVALID
    return Completion(text, tuple(tokens), status)

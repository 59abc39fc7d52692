"""What other libraries say, made short: no warnings beside our own line, an error on one line."""

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 200  # characters of another library's error


@contextmanager
def quiet() -> Iterator[None]:
    """No tables and warnings of transformers beside our own line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def reason(error: BaseException) -> str:
    """An error of another library on one line of bearable length."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    if len(text) > _LONGEST:
        return f"{text[:_LONGEST]}…"
    return text


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return str(error).strip().split("\n")[0]

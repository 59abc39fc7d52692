"""Signals that ask a process to end: what is under way is finished whole, and then it ends."""

import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PARENT_DEATH = 1  # PR_SET_PDEATHSIG of Linux
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask a process to end


class Ended(KeyboardInterrupt):
    """A signal of ENDING, its number the argument."""


def end(number: int, _frame) -> None:
    """The handler that ends what runs."""
    raise Ended(number)


@contextmanager
def handlers(handler: Callable) -> Iterator[None]:
    """Another handler of the signals of ENDING, as far as they are not ignored (nohup); nothing
    beside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    handled = [number for number in ENDING if before[number] not in (signal.SIG_IGN, None)]
    try:
        for number in handled:
            signal.signal(number, handler)
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is done in here is done whole: a signal of ENDING counts afterwards."""
    came: list[int] = []
    try:
        with handlers(lambda number, _frame: came.append(number)):
            yield
    finally:
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def deferred() -> Iterator[None]:
    """uninterrupted, and the programs that are called in here are not interrupted either."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        with uninterrupted():  # of several threads one may not block the signals
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Have this process told to end (SIGTERM) when the one that has started it has ended, however that was."""
    ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGTERM)

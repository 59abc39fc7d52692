"""How far a model is, over all its runs: a whole line now and then, with the time left.

Whole lines, because several models are decoded at once and write to one terminal or log. They come
more and more seldom, so that a log of hours stays short.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

FIRST = 10.0  # seconds before the first line; each then comes when twice as long has passed,
LONGEST = 600.0  # or this long


class Progress:
    """Counts the statements of a model's runs, of which there are `total`, and says so on
    stderr."""

    def __init__(self, name: str, total: int, clock: Callable[[], float] = time.monotonic):
        self.name, self.total, self.clock = name, total, clock
        self.done: dict[Path, int] = {}  # by run; what an earlier process decoded counts, too
        self.decoded = 0  # by this process
        self.began: float | None = None
        self.next_line = FIRST

    def begin(self, run: Path, done: int) -> None:
        """A run has so many statements already."""
        self.done[run] = done
        self.began = self.clock() if self.began is None else self.began

    def add(self, run: Path, count: int) -> None:
        """So many more are decoded."""
        self.done[run] += count
        self.decoded += count
        seconds = self.clock() - self.began
        done = sum(self.done.values())
        if seconds >= self.next_line and done < self.total:
            self.next_line = seconds + min(seconds, LONGEST)
            left = span(seconds / self.decoded * (self.total - done))
            print(f"{self.name}: {done:,} of {self.total:,} statements, {left} left", file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    """About how long: "40 s", "12 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"

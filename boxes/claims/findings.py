"""What a verdict is made of: a predicate, the number that decides it, what is asked of it."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from boxes.claims.evidence import Evidence
from boxes.score_tables import Score
from boxes.statistics import Difference

PairNames = tuple[str, str]  # base, treated


class Number(NamedTuple):
    """The number that decides a claim, with its 95 % interval (NaN where it has none)."""

    point: float
    low: float = math.nan
    high: float = math.nan


class Finding(NamedTuple):
    """Whether a claim holds, the numbers behind that in words, and the one that decides it."""

    holds: bool
    detail: str
    number: Number


@dataclass(frozen=True)
class Predicate:
    """`measure`: what the deciding number is and its unit; `holds_if`: what is asked of it; `why`:
    the reason for that. `turns`: where the number, or with `by_low` the lower end of its interval,
    turns the verdict."""

    models: tuple[str, ...]
    measure: str
    holds_if: str
    why: str
    decide: Callable[[Evidence], Finding]
    turns: tuple[float, ...] = ()
    by_low: bool = False

    def __call__(self, evidence: Evidence) -> Finding:
        """NotRun where one of the models was not run."""
        return self.decide(evidence)

    def is_close_call(self, number: Number) -> bool:
        """Whether what decides lies within one interval of a threshold: moved by half its width, it
        would lie beyond."""
        decides = number.low if self.by_low else number.point
        # Without an interval these are NaN, and nothing is near.
        down, up = number.point - number.low, number.high - number.point
        return any(decides - down <= turn <= decides + up for turn in self.turns)


# --- how numbers read ---


def in_points(gain: Difference) -> str:
    """A gain with its interval."""
    return f"{gain.points:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] {gain.interval}"


def marked(text: str, holds: bool, mark: str = " (no)") -> str:
    """The text, and a mark behind it where it does not hold."""
    if holds:
        return text
    return text + mark


def in_words(evidence: Evidence, base: str, treated: str, bucket: str) -> str:
    """A cell of treated against base, with its gain."""
    first, second = evidence.score(base, bucket), evidence.score(treated, bucket)
    gain = evidence.gain(base, treated, bucket)
    return f"at {bucket}: {second.accuracy:.2f} against {first.accuracy:.2f}, {in_points(gain)}"


def listed(items: Sequence[str], nothing: str = "none") -> str:
    """Items in a row, or that there are none."""
    return "; ".join(items) or nothing


def at(buckets: Sequence[str]) -> str:
    """The buckets of a measure."""
    first, *more = buckets
    if more:
        return f"at {first} to {more[-1]}"
    return f"at {first}"


def number_of(gain: Difference) -> Number:
    """A gain as the number that decides."""
    return Number(gain.points, gain.low, gain.high)


def turned(gain: Difference) -> Difference:
    """The same, seen from the other side."""
    return Difference(-gain.points, -gain.high, -gain.low, gain.interval)


def least(gains: Iterable[Difference]) -> Number:
    """The smallest gain, by its point estimate."""
    return number_of(min(gains, key=lambda gain: gain.points))


def models_in(wanted: Iterable[PairNames]) -> tuple[str, ...]:
    """The models of pairs, each once."""
    return tuple(dict.fromkeys(chain(*wanted)))


def above_chance(score: Score, chance: float) -> Number:
    """How far a score lies above the expectation of the random baseline."""
    return Number(score.accuracy - chance, score.low - chance, score.high - chance)


def minus(first: Difference, second: Difference) -> Number:
    """The difference of two gains, with the interval that follows from theirs (Zou and Donner
    2008), as if independent."""
    point = first.points - second.points
    low = point - math.hypot(first.points - first.low, second.high - second.points)
    high = point + math.hypot(first.high - first.points, second.points - second.low)
    return Number(point, low, high)

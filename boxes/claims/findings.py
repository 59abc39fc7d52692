"""What a verdict is made of: a predicate, the number that decides it, what is asked of that number, and why.

The constants fix what the adjectives of the paper's sentences mean; beside them stands why, in words for people.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from boxes.claims.evidence import Evidence, Score
from boxes.statistics import Difference

# At 1+, of 3709 queries, where the paper's own words for gains lie between: see SMALL and LITTLE.
MARGINAL = 5.0  # points
MINOR = 10.0  # points
CLOSE = 5.0  # points, in one bucket
SATURATED = 95.0  # per cent, at 0 operations
MOST = 0.5  # a share

# Why a predicate decides as it does, for people.
AHEAD = "the sentence says who is ahead, so point estimates decide"
CLEAR = "the sentence claims an effect, so the 95 % interval must leave out zero"
CONSISTENT = (
    "consistently, in either direction and in every sentence that has the word: at 1+ the 95 % "
    "interval of each pair leaves out zero, and in no single bucket does it lie on the other "
    "side; one answer of the 29 with 7 operations decides nothing"
)
CHANCE = (
    "better than random: the lower end of a model's 95 % interval lies above the expectation of the random baseline"
)
SMALL = (
    f"marginal, narrow: {MARGINAL:g} points at 1+, where the paper calls 1.51 (FLoat) and 2.40 "
    "(Llemma 34B) so, and 5.47 (Code Llama 7B) minor; an interval there spans some 2 points to "
    "either side"
)
LITTLE = (
    f"minor: {MINOR:g} points at 1+, where the paper calls 5.47 (Code Llama 7B) and 6.20 "
    "(CodeGemma) so, and 10.19 (Code Llama 70B) clear evidence"
)
UNTOLD = (
    "marginal in a single bucket: the 95 % interval includes zero, for a number of points is one "
    "thing in a bucket of 1410 queries and another in that of 29, where an answer is 3.45 points"
)
NEAR = (
    f"close: {CLOSE:g} points in a bucket, what the 95 % interval of a difference spans to either "
    "side where 3 operations change the box (651 queries); in the smaller buckets, where it spans"
    " more, point estimates alone decide"
)
FULL = (
    f"saturated: from {SATURATED:g} % on at 0 operations, where the paper calls 99.00 (Llama 2 "
    "70B) so, and what Llama 2 13B gains on 77.05 a boost; less is left than a marginal gain"
)
PRINTED = (
    "the sentence gives a number: the 95 % interval of the distance from it, both taken as measured, must include zero"
)
MAJORITY = "most, tend to: more than half"
CLOSE_CALL = "a close call: the threshold lies within an interval of the number that decides"

ALL_BUCKETS = tuple("01234567")
NONTRIVIAL = ALL_BUCKETS[1:]

Pair = tuple[str, str]  # base, treated


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
    return f"at {buckets[0]}" + (f" to {buckets[-1]}" if len(buckets) > 1 else "")


def number_of(gain: Difference) -> Number:
    """A gain as the number that decides."""
    return Number(gain.points, gain.low, gain.high)


def turned(gain: Difference) -> Difference:
    """The same, seen from the other side."""
    return Difference(-gain.points, -gain.high, -gain.low, gain.interval)


def least(gains: Iterable[Difference]) -> Number:
    """The smallest gain, by its point estimate."""
    return number_of(min(gains, key=lambda gain: gain.points))


def models_in(wanted: Iterable[Pair]) -> tuple[str, ...]:
    """The models of pairs, each once."""
    return tuple(dict.fromkeys(model for pair in wanted for model in pair))


def above_chance(score: Score, chance: float) -> Number:
    """How far a score lies above the expectation of the random baseline."""
    return Number(score.accuracy - chance, score.low - chance, score.high - chance)


def minus(first: Difference, second: Difference) -> Number:
    """The difference of two gains, with the interval that follows from theirs (Zou and Donner 2008), as if independent."""
    point = first.points - second.points
    low = point - math.hypot(first.points - first.low, second.high - second.points)
    high = point + math.hypot(first.high - first.points, second.points - second.low)
    return Number(point, low, high)

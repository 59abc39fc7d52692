"""A claim, and its verdict on the evidence."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from boxes.claims.evidence import Evidence, NotRun
from boxes.claims.findings import Number, Predicate
from boxes.claims.thresholds import CLOSE_CALL

HOLDS, FAILS, NOT_RUN = "holds", "does not hold", "not run"


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper, in its own words where they stand in quotation marks, and what of
    it is judged; the buckets that decide it, and its test."""

    id: str
    section: str
    text: str
    buckets: str
    test: Predicate


class Judgement(NamedTuple):
    """The verdict (holds | does not hold | not run), the numbers behind it in words, and the one
    that decides it; whether that lies so near its threshold that it might as well lie beyond."""

    verdict: str
    detail: str
    number: Number
    close_call: bool = False


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """A claim on the evidence; what was not run is said in the detail."""
    try:
        holds, detail, number = claim.test(evidence)
    except NotRun as missing:
        return Judgement(NOT_RUN, f"not run: {missing}", Number(math.nan))
    near = claim.test.is_close_call(number)
    said = f"{detail}; {CLOSE_CALL}" if near else detail
    verdict = HOLDS if holds else FAILS
    return Judgement(verdict, said, number, near)


_COUNTED = {HOLDS: ("holds", "hold"), FAILS: ("does not hold", "do not hold"), NOT_RUN: ("not judged", "not judged")}


def counted(verdicts: Iterable[str]) -> str:
    """How many of each verdict, in words."""
    counts = Counter(verdicts)
    said = []
    for kind, (one, many) in _COUNTED.items():
        if counts[kind] == 1:
            said.append(f"1 {one}")
        elif counts[kind]:
            said.append(f"{counts[kind]} {many}")
    return ", ".join(said)

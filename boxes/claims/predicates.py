"""What the sentences of the paper assert about gains in minimal pairs, as predicates over scores;
the claims made of them are in boxes/claims/sentences.py.

Verdicts go by point estimates where the paper's sentence does (who is ahead), and by 95 % intervals
where it asks for a distinction (better than random, a boost, an improvement) or says
"consistently", which has one meaning throughout.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from boxes.claims.evidence import Evidence
from boxes.claims.findings import (
    Finding,
    Number,
    PairNames,
    Predicate,
    at,
    in_points,
    in_words,
    least,
    listed,
    marked,
    minus,
    models_in,
    number_of,
    turned,
)
from boxes.claims.thresholds import (
    AHEAD,
    CLEAR,
    CLOSE,
    CONSISTENT,
    LITTLE,
    MAJORITY,
    MARGINAL,
    MINOR,
    MOST,
    NEAR,
    SMALL,
    UNTOLD,
)
from boxes.score_tables import BUCKETS, NONTRIVIAL
from boxes.statistics import Difference


def consistently(wanted: Sequence[PairNames], buckets: Sequence[str] = NONTRIVIAL, reverse: bool = False) -> Predicate:
    """The one meaning of "consistently": each treated model (with `reverse`, each base model) is
    clearly ahead on non-trivial queries, and clearly behind in none of the buckets."""

    def lead(evidence: Evidence, pair: PairNames, bucket: str) -> Difference:
        gain = evidence.gain(*pair, bucket)
        if reverse:
            return turned(gain)
        return gain

    def decide(evidence: Evidence) -> Finding:
        overall = {pair: lead(evidence, pair, "1+") for pair in wanted}
        details, contrary = [], False
        for pair, first in overall.items():
            leads = {bucket: lead(evidence, pair, bucket) for bucket in buckets}
            details.append(f"{pair[not reverse]} {marked(in_points(first), first.low > 0)}")
            details[-1] += f", {_where_ahead(leads)}"
            contrary |= any(here.high < 0 for here in leads.values())
        worst = min(overall.values(), key=lambda gain: gain.low)
        return Finding(worst.low > 0 and not contrary, listed(details), number_of(worst))

    what = "gain"
    if reverse:
        what = "lead of the base model"
    measure = f"smallest {what} at 1+, by its lower end (points)"
    asked = f"interval above 0, and none {at(buckets)} below"
    models = models_in(wanted)
    return Predicate(models, measure, asked, CONSISTENT, decide, turns=(0.0,), by_low=True)


def _where_ahead(leads: dict[str, Difference]) -> str:
    """In how many buckets a model is ahead, and where it is not."""
    lost = [bucket for bucket, lead in leads.items() if lead.high < 0]
    behind = [b for b, lead in leads.items() if lead.points <= 0 and b not in lost]
    words = [f"ahead in {len(leads) - len(lost) - len(behind)} of {len(leads)} buckets"]
    if lost:
        words.append(f"clearly behind at {', '.join(lost)}")
    if behind:
        words.append(f"not ahead, but not told apart, at {', '.join(behind)}")
    return ", ".join(words)


def gain_within(base: str, treated: str, bucket: str, most: float = math.inf, clear: bool = False) -> Predicate:
    """The gain in a bucket is above zero (with `clear`, its interval, too), at most `most` points."""

    def decide(evidence: Evidence) -> Finding:
        gain = evidence.gain(base, treated, bucket)
        detail = in_words(evidence, base, treated, bucket)
        if most < math.inf:
            detail += f"; at most {most:g} asked for"
        return Finding(_positive(gain, clear) and gain.points <= most, detail, number_of(gain))

    measure, turns = f"gain at {bucket} (points)", (0.0,)
    asked, why = _ASKED[clear]
    if most < math.inf:
        asked, why, turns = f"{asked}, at most {most:g}", _AT_MOST[most], (0.0, most)
    return Predicate((base, treated), measure, asked, why, decide, turns, by_low=clear)


_ASKED = {False: ("above 0", AHEAD), True: ("interval above 0", CLEAR)}  # by whether it is clear
_AT_MOST = {MARGINAL: SMALL, MINOR: LITTLE}


def _positive(gain: Difference, clear: bool) -> bool:
    """Whether a gain is above zero, or with `clear` its interval."""
    if clear:
        return gain.low > 0
    return gain.points > 0


def gains_mostly_at(base: str, treated: str, buckets: Sequence[str]) -> Predicate:
    """More than half of the answers won, over the buckets that gain, come from these buckets."""

    def decide(evidence: Evidence) -> Finding:
        counts, elsewhere = {}, []
        for bucket in BUCKETS:
            ours, theirs = evidence.score(treated, bucket), evidence.score(base, bucket)
            counts[bucket] = ours.correct - theirs.correct
            if bucket not in buckets and evidence.gain(base, treated, bucket).low > 0:
                elsewhere.append(bucket)
        won = sum(max(count, 0) for count in counts.values())
        here = [counts[bucket] for bucket in buckets]
        share = sum(max(count, 0) for count in here) / max(won, 1)
        answers = ", ".join(f"{bucket}: {count:+.0f}" for bucket, count in counts.items())
        detail = f"{100 * share:.0f} % of the answers won"
        detail += f"; correct answers gained by bucket {answers}"
        if elsewhere:
            detail += f"; clear gains also at {', '.join(elsewhere)}"
        return Finding(share > MOST and min(here) > 0, detail, Number(100 * share))

    measure = f"share of the answers won that lie at {' and '.join(buckets)} (per cent)"
    asked = f"above {100 * MOST:g}, and a gain at each"
    return Predicate((base, treated), measure, asked, MAJORITY, decide)


def close(base: str, treated: str, buckets: Sequence[str]) -> Predicate:
    """In most buckets the two lie at most CLOSE points apart."""

    def decide(evidence: Evidence) -> Finding:
        far = []
        for bucket in buckets:
            if abs(evidence.gain(base, treated, bucket).points) > CLOSE:
                far.append(in_words(evidence, base, treated, bucket))
        near = len(buckets) - len(far)
        detail = f"within {CLOSE:g} points in {near} of {len(buckets)} buckets"
        detail += f"; further apart: {listed(far)}"
        return Finding(near > MOST * len(buckets), detail, Number(near))

    measure = f"buckets within {CLOSE:g} points {at(buckets)} (of {len(buckets)})"
    asked = f"above {MOST * len(buckets):g}"
    return Predicate((base, treated), measure, asked, NEAR, decide)


def marginal_gain_only_at(base: str, treated: str, bucket: str) -> Predicate:
    """The treated model is ahead in this bucket and in no other, and there by what one bucket
    cannot tell from nothing."""

    def decide(evidence: Evidence) -> Finding:
        ahead = [other for other in BUCKETS if evidence.gain(base, treated, other).points > 0]
        gain = evidence.gain(base, treated, bucket)
        detail = f"{treated} ahead at {listed(ahead)}; {in_words(evidence, base, treated, bucket)}"
        return Finding(ahead == [bucket] and not gain.clear, detail, number_of(gain))

    measure = f"gain at {bucket} (points)"
    asked = "above 0, with an interval that includes 0, and no gain elsewhere"
    return Predicate((base, treated), measure, asked, UNTOLD, decide, turns=(0.0,))


def smaller_gains(smaller: Sequence[PairNames], larger: Sequence[PairNames]) -> Predicate:
    """Pair by pair, the first gains less than the second at 1+; one `larger` may serve all."""
    if len(larger) == 1:
        larger = list(larger) * len(smaller)

    def decide(evidence: Evidence) -> Finding:
        details, margins = [], []
        for less, more in zip(smaller, larger, strict=True):
            small, large = evidence.gain(*less, "1+"), evidence.gain(*more, "1+")
            margin = minus(small, large)
            margins.append(margin)
            second = marked(in_points(large), margin.point < 0, " (not less)")
            details.append(f"{less[1]} {in_points(small)}, {more[1]} {second}")
        widest = max(margins)
        return Finding(widest.point < 0, listed(details), widest)

    models = models_in([*smaller, *larger])
    measure = "difference of the two gains at 1+, largest (points)"
    return Predicate(models, measure, "below 0", AHEAD, decide, turns=(0.0,))


def every_gain(
    wanted: Sequence[PairNames], most: float | None = None, clear: bool = False, positive: bool = False
) -> Predicate:
    """Every pair's gain on non-trivial queries is above zero (with `clear`, so is its interval),
    or, where `most` is given, at most that many points (with `positive`, above zero, too)."""

    def accept(gain: Difference) -> bool:
        if most is not None:
            return gain.points <= most and (gain.points > 0 or not positive)
        return _positive(gain, clear)

    def decide(evidence: Evidence) -> Finding:
        gains, details = [], []
        for pair in wanted:
            gain = evidence.gain(*pair, "1+")
            gains.append(gain)
            details.append(f"{pair[1]} {marked(in_points(gain), accept(gain))}")
        if most is not None:
            worst = max(gains, key=lambda gain: gain.points)
        elif clear:
            worst = min(gains, key=lambda gain: gain.low)
        else:
            worst = min(gains, key=lambda gain: gain.points)
        return Finding(all(map(accept, gains)), f"{asked}: {listed(details)}", number_of(worst))

    (asked, why), turn = _ASKED[clear], 0.0
    measure = "smallest gain at 1+ (points)"
    if most is not None:
        asked, why, turn = f"at most {most:g} points", _AT_MOST[most], most
        measure = "largest gain at 1+ (points)"
        if positive:
            asked += ", and every gain above 0"
    elif clear:
        measure = "smallest gain at 1+, by its lower end (points)"
    by_low = clear and most is None
    return Predicate(models_in(wanted), measure, asked, why, decide, (turn,), by_low)


def negated(predicate: Predicate) -> Predicate:
    """The opposite verdict on the same numbers."""

    def decide(evidence: Evidence) -> Finding:
        finding = predicate(evidence)
        return finding._replace(holds=not finding.holds)

    return replace(predicate, holds_if=f"not: {predicate.holds_if}", decide=decide)


def some_loss(wanted: Sequence[PairNames], buckets: Sequence[str]) -> Predicate:
    """Some pair falls behind in some bucket (point estimates)."""

    def decide(evidence: Evidence) -> Finding:
        losses, gains = [], []
        for base, treated in wanted:
            behind, sure = [], []
            for bucket in buckets:
                gain = evidence.gain(base, treated, bucket)
                gains.append(gain)
                if gain.points < 0:
                    behind.append(bucket)
                if gain.points < 0 and gain.clear:
                    sure.append(bucket)
            if behind:
                clearly = ", ".join(sure) or "none"
                losses.append(f"{treated} at {', '.join(behind)} (clearly at {clearly})")
        return Finding(bool(losses), f"behind: {listed(losses)}", least(gains))

    measure = f"smallest gain {at(buckets)} (points)"
    return Predicate(models_in(wanted), measure, "below 0", AHEAD, decide, turns=(0.0,))


def both_signs(wanted: Sequence[PairNames]) -> Predicate:
    """On non-trivial queries some pair clearly gains and some pair does not gain at all."""

    def decide(evidence: Evidence) -> Finding:
        gains, details = [], []
        for pair in wanted:
            gain = evidence.gain(*pair, "1+")
            gains.append(gain)
            details.append(f"{pair[1]} {in_points(gain)}")
        smallest = least(gains)
        clear = any(gain.low > 0 for gain in gains)
        return Finding(clear and smallest.point <= 0, listed(details), smallest)

    measure = "smallest gain at 1+ (points)"
    asked = "at most 0, and the interval of another pair above 0"
    return Predicate(models_in(wanted), measure, asked, CLEAR, decide, turns=(0.0,))


def base_gains_tend_greater(wanted: Sequence[tuple[PairNames, PairNames]]) -> Predicate:
    """For most, the pair of base models gains more at 1+ than the pair of code models beside it."""

    def decide(evidence: Evidence) -> Finding:
        greater, details = 0, []
        for base, code in wanted:
            first, second = evidence.gain(*base, "1+").points, evidence.gain(*code, "1+").points
            greater += first > second
            details.append(f"{base[1]} {first:+.2f}, {code[1]} {second:+.2f}")
        detail = f"greater for the base model in {greater} of {len(wanted)}: {listed(details)}"
        return Finding(greater > MOST * len(wanted), detail, Number(greater))

    measure = f"base models with the greater gain at 1+ (of {len(wanted)})"
    asked = f"above {MOST * len(wanted):g}"
    return Predicate(models_in(chain(*wanted)), measure, asked, MAJORITY, decide)

"""What the sentences of the paper assert about gains in minimal pairs, as predicates over scores;
the claims made of them are in boxes/claims/sentences.py.

Verdicts go by point estimates where the paper's sentence does (who is ahead), and by 95 % intervals
where it asks for a distinction (better than random, a boost, an improvement) or says
"consistently", which has one meaning throughout.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

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
        return turned(gain) if reverse else gain

    def decide(evidence: Evidence) -> Finding:
        overall = {pair: lead(evidence, pair, "1+") for pair in wanted}
        contrary, details = False, []
        for pair, first in overall.items():
            leads = {bucket: lead(evidence, pair, bucket) for bucket in buckets}
            lost = [bucket for bucket in buckets if leads[bucket].high < 0]
            behind = [b for b in buckets if leads[b].points <= 0 and b not in lost]
            ahead = len(buckets) - len(lost) - len(behind)
            words = [f"{pair[not reverse]} {in_points(first)}{'' if first.low > 0 else ' (no)'}"]
            words += [f"ahead in {ahead} of {len(buckets)} buckets"]
            words += [f"clearly behind at {', '.join(lost)}"] if lost else []
            words += [f"not ahead, but not told apart, at {', '.join(behind)}"] if behind else []
            details.append(", ".join(words))
            contrary |= bool(lost)
        worst = min(overall.values(), key=lambda gain: gain.low)
        return Finding(worst.low > 0 and not contrary, listed(details), number_of(worst))

    what = "lead of the base model" if reverse else "gain"
    measure = f"smallest {what} at 1+, by its lower end (points)"
    asked = f"interval above 0, and none {at(buckets)} below"
    models = models_in(wanted)
    return Predicate(models, measure, asked, CONSISTENT, decide, turns=(0.0,), by_low=True)


def gain_within(base: str, treated: str, bucket: str, most: float = math.inf, clear: bool = False) -> Predicate:
    """The gain in a bucket is above zero (with `clear`, so is its interval) and at most `most`
    points."""

    def decide(evidence: Evidence) -> Finding:
        gain = evidence.gain(base, treated, bucket)
        holds = (gain.low if clear else gain.points) > 0 and gain.points <= most
        limit = f"; at most {most:g} asked for" if most < math.inf else ""
        return Finding(holds, in_words(evidence, base, treated, bucket) + limit, number_of(gain))

    asked = ("interval above 0" if clear else "above 0") + (f", at most {most:g}" if most < math.inf else "")
    why = {MARGINAL: SMALL, MINOR: LITTLE}.get(most, CLEAR if clear else AHEAD)
    turns = (0.0, most) if most < math.inf else (0.0,)
    return Predicate((base, treated), f"gain at {bucket} (points)", asked, why, decide, turns, by_low=clear)


def gains_mostly_at(base: str, treated: str, buckets: Sequence[str]) -> Predicate:
    """More than half of the additional correct answers, over the buckets that gain, come from these
    buckets."""

    def decide(evidence: Evidence) -> Finding:
        counts = {b: evidence.score(treated, b).correct - evidence.score(base, b).correct for b in BUCKETS}
        won = sum(count for count in counts.values() if count > 0)
        share = sum(counts[bucket] for bucket in buckets if counts[bucket] > 0) / won if won else 0.0
        elsewhere = [b for b in BUCKETS if b not in buckets and evidence.gain(base, treated, b).low > 0]
        answers = ", ".join(f"{bucket}: {counts[bucket]:+.0f}" for bucket in BUCKETS)
        holds = share > MOST and all(counts[bucket] > 0 for bucket in buckets)
        more = f"; clear gains also at {', '.join(elsewhere)}" if elsewhere else ""
        detail = f"{100 * share:.0f} % of the answers won; correct answers gained by bucket {answers}{more}"
        return Finding(holds, detail, Number(100 * share))

    measure = f"share of the answers won that lie at {' and '.join(buckets)} (per cent)"
    return Predicate((base, treated), measure, f"above {100 * MOST:g}, and a gain at each", MAJORITY, decide)


def close(base: str, treated: str, buckets: Sequence[str]) -> Predicate:
    """In most buckets the two lie at most CLOSE points apart."""

    def decide(evidence: Evidence) -> Finding:
        near = [bucket for bucket in buckets if abs(evidence.gain(base, treated, bucket).points) <= CLOSE]
        far = [in_words(evidence, base, treated, bucket) for bucket in buckets if bucket not in near]
        detail = f"within {CLOSE:g} points in {len(near)} of {len(buckets)} buckets; further apart: {listed(far)}"
        return Finding(len(near) > MOST * len(buckets), detail, Number(len(near)))

    measure = f"buckets within {CLOSE:g} points {at(buckets)} (of {len(buckets)})"
    return Predicate((base, treated), measure, f"above {MOST * len(buckets):g}", NEAR, decide)


def marginal_gain_only_at(base: str, treated: str, bucket: str) -> Predicate:
    """The treated model is ahead in this bucket and in no other, and there by what one bucket
    cannot tell from nothing."""

    def decide(evidence: Evidence) -> Finding:
        ahead = [other for other in BUCKETS if evidence.gain(base, treated, other).points > 0]
        gain = evidence.gain(base, treated, bucket)
        detail = f"{treated} ahead at {listed(ahead)}; {in_words(evidence, base, treated, bucket)}"
        return Finding(ahead == [bucket] and not gain.clear, detail, number_of(gain))

    asked = "above 0, with an interval that includes 0, and no gain elsewhere"
    return Predicate((base, treated), f"gain at {bucket} (points)", asked, UNTOLD, decide, turns=(0.0,))


def smaller_gains(smaller: Sequence[PairNames], larger: Sequence[PairNames]) -> Predicate:
    """Pair by pair, the first gains less than the second on non-trivial queries; one `larger`
    may serve all."""
    larger = list(larger) * (len(smaller) if len(larger) == 1 else 1)

    def decide(evidence: Evidence) -> Finding:
        found, details, margins = [], [], []
        for less, more in zip(smaller, larger, strict=True):
            small, large = evidence.gain(*less, "1+"), evidence.gain(*more, "1+")
            found.append(small.points < large.points)
            margins.append(minus(small, large))
            details.append(
                f"{less[1]} {in_points(small)}, {more[1]} {in_points(large)}{'' if found[-1] else ' (not less)'}"
            )
        return Finding(all(found), listed(details), max(margins))

    measure = "difference of the two gains at 1+, largest (points)"
    return Predicate(models_in([*smaller, *larger]), measure, "below 0", AHEAD, decide, turns=(0.0,))


def every_gain(
    wanted: Sequence[PairNames], most: float | None = None, clear: bool = False, positive: bool = False
) -> Predicate:
    """Every pair's gain on non-trivial queries is above zero (with `clear`, so is its interval),
    or, where `most` is given, at most that many points (with `positive`, above zero, too)."""

    def accept(gain: Difference) -> bool:
        if most is not None:
            return gain.points <= most and (gain.points > 0 or not positive)
        return (gain.low if clear else gain.points) > 0

    def decide(evidence: Evidence) -> Finding:
        gains = {pair: evidence.gain(*pair, "1+") for pair in wanted}
        details = [f"{pair[1]} {in_points(gain)}{'' if accept(gain) else ' (no)'}" for pair, gain in gains.items()]
        if most is not None:
            worst = max(gains.values(), key=lambda gain: gain.points)
        else:
            worst = min(gains.values(), key=lambda gain: gain.low if clear else gain.points)
        return Finding(all(map(accept, gains.values())), f"{asked}: {listed(details)}", number_of(worst))

    if most is not None:
        asked = f"at most {most:g} points" + (", and every gain above 0" if positive else "")
        measure, why, turn = "largest gain at 1+ (points)", {MARGINAL: SMALL, MINOR: LITTLE}[most], most
    elif clear:
        asked, measure, why, turn = "interval above 0", "smallest gain at 1+, by its lower end (points)", CLEAR, 0.0
    else:
        asked, measure, why, turn = "above 0", "smallest gain at 1+ (points)", AHEAD, 0.0
    by_low = clear and most is None
    return Predicate(models_in(wanted), measure, asked, why, decide, turns=(turn,), by_low=by_low)


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
            by_bucket = {bucket: evidence.gain(base, treated, bucket) for bucket in buckets}
            gains += by_bucket.values()
            behind = [bucket for bucket, gain in by_bucket.items() if gain.points < 0]
            sure = [bucket for bucket in behind if by_bucket[bucket].clear]
            if behind:
                losses.append(f"{treated} at {', '.join(behind)} (clearly at {', '.join(sure) or 'none'})")
        return Finding(bool(losses), f"behind: {listed(losses)}", least(gains))

    return Predicate(models_in(wanted), f"smallest gain {at(buckets)} (points)", "below 0", AHEAD, decide, turns=(0.0,))


def both_signs(wanted: Sequence[PairNames]) -> Predicate:
    """On non-trivial queries some pair clearly gains and some pair does not gain at all."""

    def decide(evidence: Evidence) -> Finding:
        gains = [evidence.gain(*pair, "1+") for pair in wanted]
        details = [f"{pair[1]} {in_points(gain)}" for pair, gain in zip(wanted, gains, strict=True)]
        holds = any(gain.low > 0 for gain in gains) and any(gain.points <= 0 for gain in gains)
        return Finding(holds, listed(details), least(gains))

    asked = "at most 0, and the interval of another pair above 0"
    return Predicate(models_in(wanted), "smallest gain at 1+ (points)", asked, CLEAR, decide, turns=(0.0,))


def base_gains_tend_greater(wanted: Sequence[tuple[PairNames, PairNames]]) -> Predicate:
    """For most, the pair of base models gains more on non-trivial queries than the pair of code
    models beside it."""

    def decide(evidence: Evidence) -> Finding:
        gains = [(evidence.gain(*base, "1+"), evidence.gain(*code, "1+")) for base, code in wanted]
        greater = sum(base.points > code.points for base, code in gains)
        details = [
            f"{pair[0][1]} {base.points:+.2f}, {pair[1][1]} {code.points:+.2f}"
            for pair, (base, code) in zip(wanted, gains, strict=True)
        ]
        detail = f"greater for the base model in {greater} of {len(wanted)}: {listed(details)}"
        return Finding(greater > MOST * len(wanted), detail, Number(greater))

    models = models_in(pair for both in wanted for pair in both)
    measure = f"base models with the greater gain at 1+ (of {len(wanted)})"
    return Predicate(models, measure, f"above {MOST * len(wanted):g}", MAJORITY, decide)

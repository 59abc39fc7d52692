"""What the sentences of the paper assert, as predicates over scores; the claims made of them are in boxes/claims.py.

Verdicts go by point estimates where the paper's sentence does (who is ahead), and by 95 % intervals where it asks for a
distinction (better than random, a boost, an improvement). The constants below fix what its adjectives mean.
"""

from collections.abc import Callable, Sequence

from boxes.evidence import Evidence, NotRun
from boxes.models import MODELS, models_of
from boxes.statistics import Difference

# "Close" and "marginal": about the half width of the 95 % interval of a bucket of 300 queries (that of 4 operations has
# 288), so a difference that one bucket of the figures cannot tell from nothing.
CLOSE = MARGINAL = 5.0  # points
# "Minor": twice that. The code gains the paper calls clear (13B, 70B, DeepSeek) are larger.
MINOR = 10.0  # points
# "Saturated": what is left to gain is less than a marginal gain.
SATURATED = 100.0 - MARGINAL  # per cent
# "Most", "tend to": more than half.
MOST = 0.5

ALL_BUCKETS = tuple("01234567")
NONTRIVIAL = ALL_BUCKETS[1:]

Finding = tuple[bool, str]  # whether it holds, and the numbers that decide it
Test = Callable[[Evidence], Finding]


# --- how numbers read ---


def _points(gain: Difference) -> str:
    return f"{gain.points:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] {gain.interval}"


def _cell(evidence: Evidence, base: str, treated: str, bucket: str) -> str:
    first, second = evidence.score(base, bucket), evidence.score(treated, bucket)
    gain = evidence.gain(base, treated, bucket)
    return f"at {bucket}: {second.accuracy:.2f} against {first.accuracy:.2f}, {_points(gain)}"


def _listed(items: Sequence[str], nothing: str = "none") -> str:
    return "; ".join(items) or nothing


# --- predicates ---


def ahead_in(base: str, treated: str, buckets: Sequence[str]) -> Test:
    """The treated model is ahead in every bucket (point estimates)."""

    def test(evidence: Evidence) -> Finding:
        gains = {bucket: evidence.gain(base, treated, bucket) for bucket in buckets}
        behind = [bucket for bucket in buckets if gains[bucket].points <= 0]
        unclear = [bucket for bucket in buckets if gains[bucket].points > 0 and not gains[bucket].clear]
        exceptions = [
            _cell(evidence, base, treated, bucket)
            + (" (clearly behind)" if gains[bucket].clear else " (not told apart by the interval)")
            for bucket in behind
        ]
        ahead = f"{treated} ahead in {len(buckets) - len(behind)} of {len(buckets)} buckets"
        noted = f"; ahead, but the interval includes 0, at {', '.join(unclear)}" if unclear else ""
        return not behind, f"{ahead}; exceptions: {_listed(exceptions)}{noted}"

    return test


def gain_within(base: str, treated: str, bucket: str, most: float, clear: bool = False) -> Test:
    """The gain in a bucket is above zero (with `clear`, so is its interval) and at most `most` points."""

    def test(evidence: Evidence) -> Finding:
        gain = evidence.gain(base, treated, bucket)
        holds = (gain.low if clear else gain.points) > 0 and gain.points <= most
        limit = f"; at most {most:g} asked for" if most < 100 else ""
        return holds, _cell(evidence, base, treated, bucket) + limit

    return test


def gains_mostly_at(base: str, treated: str, buckets: Sequence[str]) -> Test:
    """More than half of the additional correct answers, over the buckets that gain, come from these buckets."""

    def test(evidence: Evidence) -> Finding:
        counts = {b: evidence.score(treated, b).correct - evidence.score(base, b).correct for b in ALL_BUCKETS}
        won = sum(count for count in counts.values() if count > 0)
        share = sum(counts[bucket] for bucket in buckets if counts[bucket] > 0) / won if won else 0.0
        elsewhere = [b for b in ALL_BUCKETS if b not in buckets and evidence.gain(base, treated, b).low > 0]
        answers = ", ".join(f"{bucket}: {counts[bucket]:+.0f}" for bucket in ALL_BUCKETS)
        holds = share > MOST and all(counts[bucket] > 0 for bucket in buckets)
        more = f"; clear gains also at {', '.join(elsewhere)}" if elsewhere else ""
        return holds, f"{100 * share:.0f} % of the answers won; correct answers gained by bucket {answers}{more}"

    return test


def not_better_than_random(models: Sequence[str], buckets: Sequence[str]) -> Test:
    """In no bucket does the lower end of a model's interval lie above the expectation of the random baseline."""

    def test(evidence: Evidence) -> Finding:
        better, above = _against_random(evidence, models, buckets)
        noted = f"; above it by point estimate only: {_listed(above)}" if above else ""
        return not better, f"better than random: {_listed(better)}{noted}"

    return test


def better_than_random(model: str, buckets: Sequence[str]) -> Test:
    """In every bucket the lower end of the model's interval lies above the expectation of the random baseline."""

    def test(evidence: Evidence) -> Finding:
        better, above = _against_random(evidence, [model], buckets)
        noted = f"; above it by point estimate only: {_listed(above)}" if above else ""
        return len(better) == len(buckets), f"better than random: {_listed(better)}{noted}"

    return test


def _against_random(evidence: Evidence, models: Sequence[str], buckets: Sequence[str]) -> tuple[list[str], list[str]]:
    better, above = [], []
    for model in models:
        for bucket in buckets:
            score, chance = evidence.score(model, bucket), evidence.random(bucket)
            if score.accuracy > chance:
                cell = (
                    f"{model} at {bucket}: {score.accuracy:.2f} [{score.low:.2f}, {score.high:.2f}] over {chance:.2f}"
                )
                (better if score.low > chance else above).append(cell)
    return better, above


def saturated(model: str, bucket: str) -> Test:
    """The accuracy leaves less than a marginal gain."""

    def test(evidence: Evidence) -> Finding:
        score = evidence.score(model, bucket)
        return score.accuracy >= SATURATED, f"{model} at {bucket}: {score.accuracy:.2f}; saturated from {SATURATED:g}"

    return test


def close(base: str, treated: str, buckets: Sequence[str]) -> Test:
    """In most buckets the two lie at most CLOSE points apart."""

    def test(evidence: Evidence) -> Finding:
        near = [bucket for bucket in buckets if abs(evidence.gain(base, treated, bucket).points) <= CLOSE]
        far = [_cell(evidence, base, treated, bucket) for bucket in buckets if bucket not in near]
        return len(near) > MOST * len(buckets), (
            f"within {CLOSE:g} points in {len(near)} of {len(buckets)} buckets; further apart: {_listed(far)}"
        )

    return test


def gains_only_at(base: str, treated: str, bucket: str) -> Test:
    """The treated model is ahead in this bucket and in no other."""

    def test(evidence: Evidence) -> Finding:
        ahead = [other for other in ALL_BUCKETS if evidence.gain(base, treated, other).points > 0]
        return ahead == [bucket], f"{treated} ahead at {_listed(ahead)}; {_cell(evidence, base, treated, bucket)}"

    return test


def mostly_behind(base: str, treated: str, buckets: Sequence[str]) -> Test:
    """In most of these buckets the treated model is behind (point estimates)."""

    def test(evidence: Evidence) -> Finding:
        gains = {bucket: evidence.gain(base, treated, bucket) for bucket in buckets}
        behind = [bucket for bucket in buckets if gains[bucket].points < 0]
        sure = [bucket for bucket in behind if gains[bucket].clear]
        return len(behind) > MOST * len(buckets), (
            f"{treated} behind at {', '.join(behind) or 'none'}, clearly at {', '.join(sure) or 'none'}"
        )

    return test


def smaller_gains(smaller: Sequence[tuple[str, str]], larger: Sequence[tuple[str, str]]) -> Test:
    """Pair by pair, the first gains less than the second on non-trivial queries; one `larger` may serve all."""
    larger = list(larger) * (len(smaller) if len(larger) == 1 else 1)

    def test(evidence: Evidence) -> Finding:
        found, details = [], []
        for less, more in zip(smaller, larger, strict=True):
            small, large = evidence.gain(*less, "1+"), evidence.gain(*more, "1+")
            found.append(small.points < large.points)
            details.append(
                f"{less[1]} {_points(small)}, {more[1]} {_points(large)}{'' if found[-1] else ' (not less)'}"
            )
        return all(found), _listed(details)

    return test


def every_gain(wanted: Sequence[tuple[str, str]], accept: Callable[[Difference], bool], why: str) -> Test:
    """Every pair's gain on non-trivial queries satisfies `accept`."""

    def test(evidence: Evidence) -> Finding:
        gains = {pair: evidence.gain(*pair, "1+") for pair in wanted}
        details = [f"{pair[1]} {_points(gain)}{'' if accept(gain) else ' (no)'}" for pair, gain in gains.items()]
        return all(map(accept, gains.values())), f"{why}: {_listed(details)}"

    return test


def negated(test: Test) -> Test:
    """The opposite verdict on the same numbers."""

    def opposite(evidence: Evidence) -> Finding:
        holds, detail = test(evidence)
        return not holds, detail

    return opposite


def some_loss(wanted: Sequence[tuple[str, str]], buckets: Sequence[str]) -> Test:
    """Some pair falls behind in some bucket (point estimates)."""

    def test(evidence: Evidence) -> Finding:
        losses = []
        for base, treated in wanted:
            behind = [b for b in buckets if evidence.gain(base, treated, b).points < 0]
            sure = [b for b in behind if evidence.gain(base, treated, b).clear]
            if behind:
                losses.append(f"{treated} at {', '.join(behind)} (clearly at {', '.join(sure) or 'none'})")
        return bool(losses), f"behind: {_listed(losses)}"

    return test


def both_signs(wanted: Sequence[tuple[str, str]]) -> Test:
    """On non-trivial queries some pair clearly gains and some pair does not gain at all."""

    def test(evidence: Evidence) -> Finding:
        gains = [evidence.gain(*pair, "1+") for pair in wanted]
        details = [f"{pair[1]} {_points(gain)}" for pair, gain in zip(wanted, gains, strict=True)]
        return any(gain.low > 0 for gain in gains) and any(gain.points <= 0 for gain in gains), _listed(details)

    return test


def base_gains_tend_greater(wanted: Sequence[tuple[tuple[str, str], tuple[str, str]]]) -> Test:
    """For most, the pair of base models gains more on non-trivial queries than the pair of code models beside it."""

    def test(evidence: Evidence) -> Finding:
        gains = [(evidence.gain(*base, "1+"), evidence.gain(*code, "1+")) for base, code in wanted]
        greater = sum(base.points > code.points for base, code in gains)
        details = [
            f"{pair[0][1]} {base.points:+.2f}, {pair[1][1]} {code.points:+.2f}"
            for pair, (base, code) in zip(wanted, gains, strict=True)
        ]
        return greater > MOST * len(
            wanted
        ), f"greater for the base model in {greater} of {len(wanted)}: {_listed(details)}"

    return test


def best(model: str, bucket: str) -> Test:
    """The model has the highest accuracy of all models of the paper."""

    def test(evidence: Evidence) -> Finding:
        missing = [spec.name for spec in models_of("paper", extra=False) if (spec.name, bucket) not in evidence.scores]
        if missing:
            raise NotRun(f"{len(missing)} of the models to compare, {missing[0]} among them")
        ranking = sorted(models_of("paper", extra=False), key=lambda spec: -evidence.score(spec.name, bucket).accuracy)
        shown = [f"{spec.name} {evidence.score(spec.name, bucket).accuracy:.2f}" for spec in ranking[:2]]
        return ranking[0].name == model, f"first two at {bucket}: {', '.join(shown)}"

    return test


def constraint_helps(models: Sequence[str]) -> Test:
    """Constrained decoding is clearly above free decoding over all queries, for every model."""

    def test(evidence: Evidence) -> Finding:
        found, details = [], []
        for model in models:
            free, constrained, gain = evidence.constraint_gain(model)
            found.append(gain.low > 0)
            details.append(f"{model}: from {free.accuracy:.2f} to {constrained.accuracy:.2f}, {_points(gain)}")
        return all(found), _listed(details)

    return test


def formats_as_used(models: Sequence[str]) -> Test:
    """The format that does best on the development set is the one Table 6 used, for every model."""

    def test(evidence: Evidence) -> Finding:
        missing = [model for model in models if model not in evidence.formats]
        if missing:
            raise NotRun(f"no development set accuracies of {len(missing)} models ({missing[0]}, ...)")
        differ = [
            f"{model} does best in {evidence.formats[model]}, used was {MODELS[model].prompt_format}"
            for model in models
            if evidence.formats[model] != MODELS[model].prompt_format
        ]
        return not differ, f"{len(models) - len(differ)} of {len(models)} as used; others: {_listed(differ)}"

    return test

"""What the sentences of the paper assert about single models, as predicates over scores; the claims
made of them are in boxes/claims/sentences.py. Which numbers decide is as in
boxes/claims/predicates.py.
"""

from collections.abc import Sequence

from boxes.claims.evidence import Evidence, NotRun
from boxes.claims.findings import Finding, Number, Predicate, above_chance, at, in_points, listed, number_of
from boxes.claims.thresholds import AHEAD, CHANCE, CLEAR, FULL, PRINTED, SATURATED
from boxes.models.table import models_of, spec_of
from boxes.score_tables import Score
from boxes.statistics import unpaired_difference, wilson


def not_better_than_random(models: Sequence[str], buckets: Sequence[str]) -> Predicate:
    """In no bucket does the lower end of a model's interval lie above the random baseline."""

    def decide(evidence: Evidence) -> Finding:
        better, detail, leads = _against_random(evidence, models, buckets)
        return Finding(not better, detail, max(leads, key=lambda lead: lead.low))

    measure = f"largest lead over random {at(buckets)}, by its lower end (points)"
    asked = "lower end at most 0"
    return Predicate(tuple(models), measure, asked, CHANCE, decide, turns=(0.0,), by_low=True)


def better_than_random(model: str, buckets: Sequence[str]) -> Predicate:
    """In every bucket the lower end of the model's interval lies above the random baseline."""

    def decide(evidence: Evidence) -> Finding:
        better, detail, leads = _against_random(evidence, [model], buckets)
        return Finding(len(better) == len(buckets), detail, min(leads, key=lambda lead: lead.low))

    measure = f"smallest lead over random {at(buckets)}, by its lower end (points)"
    asked = "lower end above 0"
    return Predicate((model,), measure, asked, CHANCE, decide, turns=(0.0,), by_low=True)


def _against_random(
    evidence: Evidence, models: Sequence[str], buckets: Sequence[str]
) -> tuple[list[str], str, list[Number]]:
    """The cells that are better than random, all of it in words, and the leads of all cells."""
    better, above, leads = [], [], []
    for model in models:
        for bucket in buckets:
            score, chance = evidence.score(model, bucket), evidence.random(bucket)
            leads.append(above_chance(score, chance))
            cell = f"{model} at {bucket}: {_with_interval(score)} over {chance:.2f}"
            if score.low > chance:
                better.append(cell)
            elif score.accuracy > chance:
                above.append(cell)
    detail = f"better than random: {listed(better)}"
    if above:
        detail += f"; above it by point estimate only: {listed(above)}"
    return better, detail, leads


def _with_interval(score: Score) -> str:
    return f"{score.accuracy:.2f} [{score.low:.2f}, {score.high:.2f}]"


def saturated(model: str, bucket: str) -> Predicate:
    """The accuracy leaves less than a marginal gain."""

    def decide(evidence: Evidence) -> Finding:
        score = evidence.score(model, bucket)
        detail = f"{model} at {bucket}: {score.accuracy:.2f}; saturated from {SATURATED:g}"
        number = Number(score.accuracy, score.low, score.high)
        return Finding(score.accuracy >= SATURATED, detail, number)

    measure, asked = f"accuracy at {bucket} (per cent)", f"at least {SATURATED:g}"
    return Predicate((model,), measure, asked, FULL, decide, turns=(SATURATED,))


def as_printed(model: str, bucket: str, printed: float) -> Predicate:
    """The accuracy is the one that the paper prints, as far as two samples of so many queries can
    be told apart."""

    def decide(evidence: Evidence) -> Finding:
        score = evidence.score(model, bucket)
        low, high = wilson(printed * score.n / 100, score.n)
        ours = (score.accuracy, score.low, score.high)
        gap = unpaired_difference((printed, float(low), float(high)), ours)
        detail = f"{model} at {bucket}: {_with_interval(score)}, printed {printed:g}"
        return Finding(not gap.clear, detail, number_of(gap))

    measure = f"accuracy at {bucket} less the printed {printed:g} (points)"
    return Predicate((model,), measure, "interval includes 0", PRINTED, decide)


def best(model: str, bucket: str) -> Predicate:
    """The model has a higher accuracy than any other model of the paper."""
    names = tuple(spec.name for spec in models_of("paper", extra=False))

    def decide(evidence: Evidence) -> Finding:
        missing = [name for name in names if (name, bucket) not in evidence.scores]
        if missing:
            raise NotRun(f"{len(missing)} of the models to compare, {missing[0]} among them")
        ranking = sorted(names, key=lambda name: -evidence.score(name, bucket).accuracy)
        rival = next(name for name in ranking if name != model)
        lead = evidence.gain(rival, model, bucket)
        shown = [f"{name} {evidence.score(name, bucket).accuracy:.2f}" for name in ranking[:2]]
        detail = f"first two at {bucket}: {', '.join(shown)}"
        return Finding(lead.points > 0, detail, number_of(lead))

    measure = f"lead over the next best at {bucket} (points)"
    return Predicate(names, measure, "above 0", AHEAD, decide, turns=(0.0,))


def constraint_helps(models: Sequence[str]) -> Predicate:
    """Constrained decoding is clearly above free decoding over all queries, for every model."""

    def decide(evidence: Evidence) -> Finding:
        gains, details = [], []
        for model in models:
            free, constrained, gain = evidence.constraint_gain(model)
            gains.append(gain)
            step = f"from {free.accuracy:.2f} to {constrained.accuracy:.2f}"
            details.append(f"{model}: {step}, {in_points(gain)}")
        worst = min(gains, key=lambda gain: gain.low)
        return Finding(worst.low > 0, listed(details), number_of(worst))

    measure = "smallest gain by the expression over all, by its lower end (points)"
    asked = "interval above 0"
    return Predicate(tuple(models), measure, asked, CLEAR, decide, turns=(0.0,), by_low=True)


def formats_as_used(models: Sequence[str]) -> Predicate:
    """The format that does best on the development set is the one Table 6 used, for every model."""

    def decide(evidence: Evidence) -> Finding:
        missing = [model for model in models if model not in evidence.formats]
        if missing:
            some = f"{len(missing)} models ({missing[0]}, ...)"
            raise NotRun(f"no development set accuracies of {some}")
        differ = []
        for model in models:
            best_format, used = evidence.formats[model], spec_of(model).prompt_format
            if best_format != used:
                differ.append(f"{model} does best in {best_format}, used was {used}")
        same = len(models) - len(differ)
        detail = f"{same} of {len(models)} as used; others: {listed(differ)}"
        return Finding(not differ, detail, Number(same))

    measure = f"models that do best in the format used (of {len(models)})"
    return Predicate(tuple(models), measure, f"{len(models)}", AHEAD, decide)

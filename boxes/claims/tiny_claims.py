"""The same questions asked of the tiny models: they prove the pipeline, not the paper."""

from boxes.claims.accuracies import better_than_random, constraint_helps, formats_as_used
from boxes.claims.judging import Claim
from boxes.claims.predicates import consistently, every_gain, gain_within
from boxes.claims.thresholds import MARGINAL
from boxes.models.pairs import MinimalPair, pairs
from boxes.models.table import models_of
from boxes.score_tables import BUCKETS


def tiny_claims() -> list[Claim]:
    """Those about each pair of Experiment 1, 2 and 3, then those about single models."""
    claims = []
    for pair in pairs(1, "tiny", extra=False):
        ahead = f"{pair.treated.name} consistently outperforms {pair.base.name}"
        text = f"{ahead} where at least one operation affects the box."
        test = consistently([_names(pair)])
        claims.append(Claim(f"tiny-code{_control(pair)}", "3.3", text, "1+, 1-7", test))
    for pair in pairs(2, "tiny", extra=False):
        text = f"The gain of {pair.treated.name} over {pair.base.name} is at best marginal."
        test = every_gain([_names(pair)], most=MARGINAL)
        claims.append(Claim(f"tiny-math{_control(pair)}", "3.4", text, "1+", test))
    for pair in pairs(3, "tiny", extra=False):
        text = f"{pair.treated.name}, which is aligned, does better than {pair.base.name}."
        test = gain_within(*_names(pair), "1+")
        claims.append(Claim(f"tiny-alignment{_control(pair)}", "3.5", text, "1+", test))
    return claims + _claims_about_models()


def _control(pair: MinimalPair) -> str:
    """What the name of a claim ends in where the base is the control."""
    return "-control" if pair.controlled else ""


def _names(pair: MinimalPair) -> tuple[str, str]:
    return pair.base.name, pair.treated.name


def _claims_about_models() -> list[Claim]:
    specs = models_of("tiny", extra=False)
    claims = []
    for spec in specs:
        name = f"tiny-random-{spec.name.removeprefix('tiny-')}"
        text = f"{spec.name} performs better than the random baseline in every bucket."
        claims.append(Claim(name, "3.3", text, "0-7", better_than_random(spec.name, BUCKETS)))
    chat = [spec.name for spec in specs if spec.added == "alignment"]
    text = f"{', '.join(chat)} does best on the development set in the chat format."
    test = formats_as_used(chat)
    claims.append(Claim("tiny-prompt-format", "A.1", text, "development set", test))
    text = "Constrained decoding improves every tiny model."
    test = constraint_helps([spec.name for spec in specs])
    claims.append(Claim("tiny-constrained", "A.2", text, "all", test))
    return claims

"""The edges of the definitions that claims are judged by."""

import dataclasses

import pytest
from claims_fixture import one

from boxes.claims.accuracies import not_better_than_random, saturated
from boxes.claims.evidence import Evidence
from boxes.claims.findings import Number
from boxes.claims.judging import judge
from boxes.claims.predicates import close, consistently, gain_within, gains_mostly_at, marginal_gain_only_at, negated
from boxes.claims.sentences import CLEAR_CODE_PAIRS, CODE_PAIRS, LLAMA_70B, MATH_PAIRS, claims_of
from boxes.claims.thresholds import CLOSE, CLOSE_CALL, CONSISTENT, MARGINAL, MINOR, SATURATED
from boxes.score_tables import BUCKETS, RANDOM, Score


def test_better_than_random_goes_by_the_lower_end_of_the_interval():
    chance = one(RANDOM, k1=10.0)
    test = not_better_than_random(["a"], ["1"])
    assert test(Evidence(chance | one("a", k1=12.1)))[0] is False  # 10.1 and more
    holds, detail, _ = test(Evidence(chance | one("a", k1=12.0)))  # 10.0 and more
    assert holds
    assert "above it by point estimate only: a at 1" in detail
    assert test(Evidence(chance | one("a", k1=9.0))) == (True, "better than random: none", Number(-1.0, -3.0, 1.0))


def test_edges_of_saturated_close_and_marginal():
    assert saturated("a", "0")(Evidence(one("a", k0=SATURATED)))[0]
    assert not saturated("a", "0")(Evidence(one("a", k0=SATURATED - 0.1)))[0]
    base = one("a", k1=20.0, k2=20.0)
    for points, near in ((CLOSE - 0.1, True), (0.1 - CLOSE, True), (CLOSE + 0.1, False), (-CLOSE - 0.1, False)):
        pair = Evidence(base | one("b", k1=20 + points, k2=20 + points))
        assert close("a", "b", ["1", "2"])(pair)[0] is near
    half = Evidence(base | one("b", k1=20.0, k2=40.0))
    assert not close("a", "b", ["1", "2"])(half)[0]  # half is not most
    for points, within in ((0.0, False), (0.1, True), (MARGINAL - 0.1, True), (MARGINAL + 0.1, False)):
        assert gain_within("a", "b", "1", MARGINAL)(Evidence(base | one("b", k1=20 + points)))[0] is within


def test_consistently_has_one_meaning_in_both_directions():
    """Clearly ahead at 1+, nowhere clearly behind: 20 against what is given, intervals of 2 points
    to either side."""
    buckets, flat = ["1", "2"], {"k1": 20.0, "k2": 20.0}

    def scores(overall: float, first: float, second: float) -> dict:
        return {("b", "1+"): Score(1000, 0, overall, overall - 2, overall + 2)} | one("b", k1=first, k2=second)

    base = {("a", "1+"): Score(1000, 200, 20.0, 18.0, 22.0)} | one("a", **flat)
    for overall, first, second, up in (
        (40.0, 40.0, 20.1, True),
        (40.0, 40.0, 19.0, True),  # behind by what the interval cannot tell from nothing
        (40.0, 40.0, 15.0, False),  # clearly behind somewhere
        (22.0, 22.0, 22.0, False),  # not clearly ahead
    ):
        ahead = Evidence(base | scores(overall, first, second))
        assert consistently([("a", "b")], buckets)(ahead).holds is up
        assert negated(consistently([("a", "b")], buckets))(ahead).holds is not up
        assert not consistently([("a", "b")], buckets, reverse=True)(ahead).holds
        mirrored = Evidence(base | scores(40 - overall, 40 - first, 40 - second))
        assert consistently([("a", "b")], buckets, reverse=True)(mirrored).holds is up
        assert not consistently([("a", "b")], buckets)(mirrored).holds
    detail = consistently([("a", "b")], buckets)(Evidence(base | scores(40.0, 15.0, 19.0))).detail
    assert "ahead in 0 of 2 buckets, clearly behind at 1, not ahead, but not told apart, at 2" in detail


def test_every_sentence_with_the_word_is_held_to_that_meaning():
    said = [claim for claim in claims_of("tiny") if "consistent" in claim.text]
    assert len(said) == 11
    assert {claim.test.why for claim in said} == {CONSISTENT}
    assert {claim.id for claim in claims_of("tiny") if claim.test.why == CONSISTENT} == {claim.id for claim in said}


def test_thresholds_lie_where_the_papers_words_change(printed):
    """At 1+, in a single bucket and at 0: the cells that each of them is used on."""
    gains = {pair: printed.gain(*pair, "1+").points for pair in [*CODE_PAIRS, *MATH_PAIRS]}
    marginal = [gains["llama-7b", "float-7b"], gains["CodeLlama-34b-hf", "llemma_34b"]]
    minor = [gains["Llama-2-7b-hf", "CodeLlama-7b-hf"], gains["gemma-7b", "codegemma-7b"]]
    clear = min(gains[pair] for pair in CLEAR_CODE_PAIRS)
    assert [round(gain, 2) for gain in (*marginal, *minor, clear)] == [
        1.51,
        2.4,
        5.47,
        6.2,
        10.19,
    ]  # as SMALL, LITTLE say
    assert max(marginal) < MARGINAL < min(minor)
    assert max(minor) < MINOR < clear
    close = printed.gain("deepseek-coder-7b-base-v1.5", "deepseek-math-7b-base", "3")
    assert (close.high - close.low) / 2 == pytest.approx(CLOSE, abs=0.5)
    trivial = [printed.score(f"Llama-2-{size}-hf", "0").accuracy for size in ("13b", "70b")]
    assert trivial[0] < SATURATED < trivial[1]
    assert round(100 / printed.score(LLAMA_70B, "7").n, 2) == 3.45  # UNTOLD: one answer there


@pytest.mark.parametrize(
    ("number", "turns", "by_low", "near"),
    [
        (Number(5.1, 3.6, 6.7), (5.0,), False, True),
        (Number(6.7, 5.2, 8.3), (5.0,), False, False),
        (Number(3.0, 1.0, 5.0), (0.0,), True, True),  # its lower end is 1 above 0, half the interval 2
        (Number(6.0, 4.0, 8.0), (0.0,), True, False),
        (Number(0.5, -1.5, 2.5), (0.0,), True, True),
        (Number(-1.0, -3.0, 1.0), (0.0,), True, False),  # half its width higher it would still reach below 0
        (Number(9.5, 8.0, 11.0), (0.0, 10.0), False, True),
        (Number(5.0), (5.0,), False, False),  # a count has no interval
        (Number(5.0, 4.0, 6.0), (), False, False),
    ],
)
def test_a_close_call_is_within_one_interval_of_a_threshold(number, turns, by_low, near):
    predicate = dataclasses.replace(saturated("a", "0"), turns=turns, by_low=by_low)
    assert predicate.is_close_call(number) is near


CLOSE_CALLS = {
    "random-gemma", "openmath-only-7", "random-mistral", "math-non-instruct-marginal", "llemma-more-limited", "math-marginal",
    "alignment-code-llama-not-consistent", "alignment-code-llama-worse", "alignment-gemma-smaller", "alignment-scale",
    "alignment-base-consistent",
}  # fmt: skip


def test_close_calls_of_the_printed_table_say_so(printed):
    judged = {claim.id: judge(claim, printed) for claim in claims_of("paper")}
    assert {name for name, found in judged.items() if found.close_call} == CLOSE_CALLS
    assert all((CLOSE_CALL in found.detail) is found.close_call for found in judged.values())


def test_openmath_gains_at_7_alone_and_marginally():
    test = marginal_gain_only_at("a", "b", "7")
    base = one("a", **{f"k{bucket}": 20.0 for bucket in BUCKETS})
    behind = one("b", **{f"k{bucket}": 19.0 for bucket in BUCKETS})
    for gained, elsewhere, holds in ((22.0, 19.0, True), (30.0, 19.0, False), (19.0, 19.0, False), (22.0, 20.5, False)):
        assert test(Evidence(base | behind | one("b", k7=gained, k6=elsewhere))).holds is holds


def test_gains_mostly_at_counts_answers():
    base = dict.fromkeys(BUCKETS, 20.0)
    for gained, holds in (({"0": 10, "1": 10, "2": 19}, True), ({"0": 10, "1": 10, "2": 20}, False),
                          ({"0": 30, "1": 0}, False), ({"0": 10, "1": 10, "2": -50}, True), ({}, False)):  # fmt: skip
        treated = {bucket: max(0, base[bucket] + gained.get(bucket, 0)) for bucket in BUCKETS}
        scores = [one(name, **{f"k{k}": v for k, v in row.items()}) for name, row in (("a", base), ("b", treated))]
        assert gains_mostly_at("a", "b", ["0", "1"])(Evidence(scores[0] | scores[1]))[0] is holds, gained

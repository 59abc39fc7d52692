# ruff: noqa: E501 - a claim reads best with its sentence on one line
"""The claims of the paper, in the order of its text, each with the buckets that decide it; what its adjectives mean is
fixed in boxes/predicates.py. The tiny models have claims of their own: they prove the pipeline, not the paper."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from boxes.evidence import Evidence, NotRun
from boxes.findings import ALL_BUCKETS, MARGINAL, MINOR, NONTRIVIAL, Number, Predicate
from boxes.models import models_of, pairs
from boxes.predicates import (
    ahead_in,
    base_gains_tend_greater,
    best,
    better_than_random,
    both_signs,
    close,
    constraint_helps,
    every_gain,
    formats_as_used,
    gain_within,
    gains_mostly_at,
    gains_only_at,
    mostly_behind,
    negated,
    not_better_than_random,
    saturated,
    smaller_gains,
    some_loss,
)

HOLDS, FAILS, NOT_RUN = "holds", "does not hold", "not run"

LLAMA_7B, LLAMA_13B, LLAMA_70B = "Llama-2-7b-hf", "Llama-2-13b-hf", "Llama-2-70b-hf"
CODE_7B, CODE_13B, CODE_34B, CODE_70B = (f"CodeLlama-{size}-hf" for size in ("7b", "13b", "34b", "70b"))
DEEPSEEK, CODER, MATH = "deepseek-llm-7b-base", "deepseek-coder-7b-base-v1.5", "deepseek-math-7b-base"
MISTRAL, OPENMATH = "Mistral-7B-v0.1", "OpenMath-Mistral-7B-v0.1-hf"
# (base, treated) of Experiment 1, 2 and 3; in 3 with the models without and with additional code training apart.
CODE_PAIRS = [(pair.base.name, pair.treated.name) for pair in pairs(1, "paper", extra=False)]
MATH_PAIRS = [(pair.base.name, pair.treated.name) for pair in pairs(2, "paper", extra=False)]
_CODE_MODELS = {"Code Llama", "DeepSeek-Coder", "CodeGemma"}
ALIGNED = {pair.base.name: (pair.base.name, pair.treated.name) for pair in pairs(3, "paper", extra=False)}
ALIGNED_CODE = [ALIGNED[pair.base.name] for pair in pairs(3, "paper", extra=False) if pair.base.family in _CODE_MODELS]
ALIGNED_BASE = [pair for pair in ALIGNED.values() if pair not in ALIGNED_CODE]
ALIGNED_LLAMA = [ALIGNED[name] for name in (LLAMA_7B, LLAMA_13B, LLAMA_70B)]
ALIGNED_CODE_LLAMA = [ALIGNED[name] for name in (CODE_7B, CODE_13B, CODE_34B, CODE_70B)]


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper, the buckets that decide it, and its test."""

    id: str
    section: str
    text: str
    buckets: str
    test: Predicate


class Judgement(NamedTuple):
    """The verdict (holds | does not hold | not run), the numbers behind it in words, and the one that decides it."""

    verdict: str
    detail: str
    number: Number


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """A claim on the evidence; what was not run is said in the detail."""
    try:
        holds, detail, number = claim.test(evidence)
    except NotRun as missing:
        return Judgement(NOT_RUN, f"not run: {missing}", Number(math.nan))
    return Judgement(HOLDS if holds else FAILS, detail, number)


_COUNTED = {HOLDS: ("holds", "hold"), FAILS: ("does not hold", "do not hold"), NOT_RUN: ("not judged", "not judged")}


def counted(verdicts: Iterable[str]) -> str:
    """How many of each verdict, in words."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[kind]} {words[counts[kind] > 1]}" for kind, words in _COUNTED.items() if counts[kind])


# fmt: off
CODE_CLAIMS = (
    Claim("code-nontrivial-13b", "3.3", "Code Llama 13B consistently outperforms Llama 2 13B where at least one operation affects the box.",
          "1-7", ahead_in(LLAMA_13B, CODE_13B, NONTRIVIAL)),
    Claim("code-nontrivial-70b", "3.3", "Code Llama 70B consistently outperforms Llama 2 70B where at least one operation affects the box.",
          "1-7", ahead_in(LLAMA_70B, CODE_70B, NONTRIVIAL)),
    Claim("code-nontrivial-deepseek", "3.3", "DeepSeek-Coder consistently outperforms DeepSeek where at least one operation affects the box.",
          "1-7", ahead_in(DEEPSEEK, CODER, NONTRIVIAL)),
    Claim("code-trivial-13b", "3.3", "In the case of 13B models, a boost in trivial cases is also observed (no operations).",
          "0", gain_within(LLAMA_13B, CODE_13B, "0", clear=True)),
    Claim("code-trivial-70b", "3.3", "In 70B models, performance on the trivial cases is already saturated in the base model.",
          "0", saturated(LLAMA_70B, "0")),
    Claim("code-7b-minor", "3.3", "In Llama 2 7B models, the gains through additional code training are relatively minor.",
          "1+", gain_within(LLAMA_7B, CODE_7B, "1+", MINOR)),
    Claim("code-7b-where", "3.3", "In Llama 2 7B models, most of the gains derive from examples with 0 or 1 operations.",
          "0-7", gains_mostly_at(LLAMA_7B, CODE_7B, ("0", "1"))),
    Claim("codegemma-minor", "3.3", "Similarly minor gains are observed in CodeGemma 8B.",
          "1+", gain_within("gemma-7b", "codegemma-7b", "1+", MINOR)),
    Claim("codegemma-where", "3.3", "In CodeGemma 8B, the gains are observed in examples with 1 and 2 operations.",
          "0-7", gains_mostly_at("gemma-7b", "codegemma-7b", ("1", "2"))),
    Claim("random-llama2-7b", "3.3", "For more than 0 operations, neither Llama 2 7B nor Code Llama 7B performs better than the random baseline.",
          "1-7", not_better_than_random((LLAMA_7B, CODE_7B), NONTRIVIAL)),
    Claim("random-gemma", "3.3", "For more than 2 operations, neither Gemma 8B nor CodeGemma 8B performs better than the random baseline.",
          "3-7", not_better_than_random(("gemma-7b", "codegemma-7b"), ALL_BUCKETS[3:])),
    Claim("code-scale", "3.3", "There is a possible effect of scale in the effectiveness of code training in the Llama 2 series: 7B gains less than 13B and 70B.",
          "1+", smaller_gains([(LLAMA_7B, CODE_7B)] * 2, [(LLAMA_13B, CODE_13B), (LLAMA_70B, CODE_70B)])),
    Claim("code-amount", "3.3", "There is an effect of the amount of additional code training: Code Llama 7B (500B tokens) gains less than DeepSeek-Coder 7B (2T).",
          "1+", smaller_gains([(LLAMA_7B, CODE_7B)], [(DEEPSEEK, CODER)])),
    Claim("code-consistent", "4", "Additional code training leads to consistent improvements across model families and sizes.",
          "1+", every_gain(CODE_PAIRS, clear=True)),
)
MATH_CLAIMS = (
    Claim("float-marginal", "3.4", "FLoat shows slightly higher accuracy on non-trivial cases than Llama (5.85 against 4.34), but the gain is marginal.",
          "1+", gain_within("llama-7b", "float-7b", "1+", MARGINAL)),
    Claim("random-float", "3.4", "Neither Llama nor FLoat performs better than the random baseline on non-trivial examples.",
          "1-7", not_better_than_random(("llama-7b", "float-7b"), NONTRIVIAL)),
    Claim("openmath-only-7", "3.4", "OpenMathMistral only achieves gains over Mistral where 7 operations affect the box.",
          "0-7", gains_only_at(MISTRAL, OPENMATH, "7")),
    Claim("openmath-behind", "3.4", "In most other cases, Mistral consistently outperforms the math-finetuned model.",
          "0-6", mostly_behind(MISTRAL, OPENMATH, ALL_BUCKETS[:7])),
    Claim("random-mistral", "3.4", "Neither Mistral nor OpenMathMistral outperforms the random baseline with more than 2 operations.",
          "3-7", not_better_than_random((MISTRAL, OPENMATH), ALL_BUCKETS[3:])),
    Claim("deepseek-math-close", "3.4", "DeepSeek-Math performs close to DeepSeek-Coder in most cases.",
          "0-7", close(CODER, MATH, ALL_BUCKETS)),
    Claim("llemma-more-limited", "3.4", "The gains of Llemma over Code Llama are even more limited than those of DeepSeek-Math over DeepSeek-Coder.",
          "1+", smaller_gains([(CODE_7B, "llemma_7b"), (CODE_34B, "llemma_34b")], [(CODER, MATH)])),
    Claim("llemma-34b-narrow", "3.4", "Llemma 34B outperforms Code Llama 34B by a narrow margin on non-trivial cases (47.86 against 45.46).",
          "1+", gain_within(CODE_34B, "llemma_34b", "1+", MARGINAL)),
    Claim("math-not-consistent", "4", "Additional math training does not yield consistent improvements.",
          "1+", negated(every_gain(MATH_PAIRS, clear=True))),
    Claim("math-marginal", "4", "The performance gains of additional math training are at best marginal.",
          "1+", every_gain(MATH_PAIRS, most=MARGINAL)),
)
ALIGNMENT_CLAIMS = (
    Claim("alignment-llama2", "3.5", "In the Llama 2 family, alignment tuning the base models leads to gains.",
          "1+", every_gain(ALIGNED_LLAMA)),
    Claim("alignment-llama2-minor", "3.5", "In the Llama 2 family, the gains from alignment tuning the base models are minor.",
          "1+", every_gain(ALIGNED_LLAMA, most=MINOR)),
    Claim("alignment-code-llama", "3.5", "Alignment-tuned Code Llama models do not consistently gain and sometimes perform worse than their counterparts.",
          "0-7", some_loss(ALIGNED_CODE_LLAMA, ALL_BUCKETS)),
    Claim("best-model", "3.5", "The best-performing model is CodeLlama 70B-instruct (64.9 accuracy on 1+ operations).",
          "1+", best("CodeLlama-70b-Instruct-hf", "1+")),
    Claim("alignment-deepseek-base", "3.5", "Alignment tuning of the DeepSeek base model leads to gains.",
          "1+", gain_within(*ALIGNED[DEEPSEEK], "1+")),
    Claim("alignment-deepseek-coder", "3.5", "Alignment tuning of the DeepSeek code model does not lead to gains.",
          "1+", negated(gain_within(*ALIGNED[CODER], "1+"))),
    Claim("alignment-gemma", "3.5", "Gemma 8B and CodeGemma 8B benefit from alignment tuning.",
          "1+", every_gain([ALIGNED["gemma-7b"], ALIGNED["codegemma-7b"]])),
    Claim("alignment-gemma-smaller", "3.5", "The gains of Gemma 8B and CodeGemma 8B are smaller than those of Llama 2 7B and Code Llama 7B.",
          "1+", smaller_gains([ALIGNED["gemma-7b"], ALIGNED["codegemma-7b"]], [ALIGNED[LLAMA_7B], ALIGNED[CODE_7B]])),
    Claim("alignment-base-greater", "3.5", "The gains of alignment tuning tend to be greater for base models than for code models.",
          "1+", base_gains_tend_greater([(ALIGNED[base], ALIGNED[code]) for base, code in CODE_PAIRS])),
    Claim("alignment-scale", "3.5", "Smaller base models benefit more from alignment tuning.",
          "1+", smaller_gains([ALIGNED[LLAMA_13B], ALIGNED[LLAMA_70B]], [ALIGNED[LLAMA_7B], ALIGNED[LLAMA_13B]])),
    Claim("alignment-base-consistent", "4", "Base models consistently benefit from alignment tuning.",
          "1+", every_gain(ALIGNED_BASE, clear=True)),
    Claim("alignment-code-mixed", "4", "The benefit of alignment tuning for code models is more mixed.",
          "1+", both_signs(ALIGNED_CODE)),
)
APPENDIX_CLAIMS = (
    Claim("prompt-format", "A.1", "Except for Llama 2-Chat and DeepSeek-Chat, all alignment-tuned models perform better with the non-chat format.",
          "development set", formats_as_used([treated for _, treated in ALIGNED.values()])),
    Claim("constrained-decoding", "A.2", "Constrained decoding significantly improves Llama 2 70B (from 54.95 to 62.13).",
          "all", constraint_helps([LLAMA_70B])),
)
# fmt: on


def _tiny_claims() -> list[Claim]:
    """The same questions asked of the tiny pairs."""
    claims = []
    for pair in pairs(1, "tiny", extra=False):
        text = f"{pair.treated.name} outperforms {pair.base.name} where at least one operation affects the box."
        claims.append(Claim("tiny-code", "3.3", text, "1-7", ahead_in(pair.base.name, pair.treated.name, NONTRIVIAL)))
    for pair in pairs(2, "tiny", extra=False):
        test = every_gain([(pair.base.name, pair.treated.name)], most=MARGINAL)
        text = f"The gain of {pair.treated.name} over {pair.base.name} is at best marginal."
        claims.append(Claim("tiny-math", "3.4", text, "1+", test))
    for pair in pairs(3, "tiny", extra=False):
        test = gain_within(pair.base.name, pair.treated.name, "1+")
        claims.append(Claim("tiny-alignment", "3.5", f"{pair.base.name} benefits from alignment tuning.", "1+", test))
    for spec in models_of("tiny", extra=False):
        text = f"{spec.name} performs better than the random baseline in every bucket."
        test = better_than_random(spec.name, ALL_BUCKETS)
        claims.append(Claim(f"tiny-random-{spec.name.removeprefix('tiny-')}", "3.3", text, "0-7", test))
    chat = [spec.name for spec in models_of("tiny", extra=False) if spec.added == "alignment"]
    text = f"{', '.join(chat)} does best on the development set in the chat format."
    claims.append(Claim("tiny-prompt-format", "A.1", text, "development set", formats_as_used(chat)))
    test = constraint_helps([spec.name for spec in models_of("tiny", extra=False)])
    claims.append(Claim("tiny-constrained", "A.2", "Constrained decoding improves every tiny model.", "all", test))
    return claims


def claims_of(profile: str) -> list[Claim]:
    """The claims of the paper, and for `tiny` those about the tiny models before them."""
    paper = [*CODE_CLAIMS, *MATH_CLAIMS, *ALIGNMENT_CLAIMS, *APPENDIX_CLAIMS]
    return [*_tiny_claims(), *paper] if profile == "tiny" else paper

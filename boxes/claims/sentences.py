"""The claims of the paper, in the order of its text, each with the buckets that decide it; what its
adjectives mean is fixed in boxes/claims/thresholds.py."""

from collections.abc import Iterable

from boxes.claims.accuracies import (
    as_printed,
    best,
    constraint_helps,
    formats_as_used,
    not_better_than_random,
    saturated,
)
from boxes.claims.findings import PairNames
from boxes.claims.judging import Claim
from boxes.claims.predicates import (
    base_gains_tend_greater,
    both_signs,
    close,
    consistently,
    every_gain,
    gain_within,
    gains_mostly_at,
    marginal_gain_only_at,
    negated,
    smaller_gains,
    some_loss,
)
from boxes.claims.thresholds import MARGINAL, MINOR
from boxes.claims.tiny_claims import tiny_claims
from boxes.models.pairs import MinimalPair, pairs
from boxes.score_tables import BUCKETS, NONTRIVIAL


def named(found: Iterable[MinimalPair]) -> list[PairNames]:
    """Pairs of rows as pairs of names."""
    return [(pair.base.name, pair.treated.name) for pair in found]


# A minimal pair is (base, treated), by name.
LLAMA_7B, LLAMA_13B, LLAMA_70B = "Llama-2-7b-hf", "Llama-2-13b-hf", "Llama-2-70b-hf"
CODE_7B, CODE_13B = "CodeLlama-7b-hf", "CodeLlama-13b-hf"
CODE_34B, CODE_70B = "CodeLlama-34b-hf", "CodeLlama-70b-hf"
DEEPSEEK, CODER = "deepseek-llm-7b-base", "deepseek-coder-7b-base-v1.5"
MATH = "deepseek-math-7b-base"
MISTRAL, OPENMATH = "Mistral-7B-v0.1", "OpenMath-Mistral-7B-v0.1-hf"
_MATH, _ALIGNMENT = pairs(2, "paper", extra=False), pairs(3, "paper", extra=False)
CODE_PAIRS = named(pairs(1, "paper", extra=False))
MATH_PAIRS = named(_MATH)
NON_INSTRUCT_MATH = named(pair for pair in _MATH if not pair.treated.instruct_data)
ALIGNED = {pair[0]: pair for pair in named(_ALIGNMENT)}  # of Experiment 3, by their base
# Those without and with additional code training.
_CODE_MODELS = {"Code Llama", "DeepSeek-Coder", "CodeGemma"}
ALIGNED_CODE = named(pair for pair in _ALIGNMENT if pair.base.family in _CODE_MODELS)
ALIGNED_BASE = [pair for pair in ALIGNED.values() if pair not in ALIGNED_CODE]
ALIGNED_LLAMA = [ALIGNED[name] for name in (LLAMA_7B, LLAMA_13B, LLAMA_70B)]
ALIGNED_CODE_LLAMA = [ALIGNED[name] for name in (CODE_7B, CODE_13B, CODE_34B, CODE_70B)]
CLEAR_CODE_PAIRS = [(LLAMA_13B, CODE_13B), (LLAMA_70B, CODE_70B), (DEEPSEEK, CODER)]

# fmt: off
ABSTRACT_CLAIMS = (
    Claim("alignment-not-consistent", "abstract",
          '"we find no consistent benefit of additional math training or alignment tuning across '
          'various model families": of alignment tuning.',
          "1+, 1-7", negated(consistently(list(ALIGNED.values())))),
)
CODE_CLAIMS = (
    Claim("code-clear-evidence", "3.3",
          '"In general, we find clear evidence that continued training on large amounts of code '
          'improves entity tracking abilities, as can be seen for the Llama 2 13B and 70B models '
          'as well as for the DeepSeek models."',
          "1+", every_gain(CLEAR_CODE_PAIRS, clear=True)),
    Claim("code-nontrivial-13b", "3.3",
          '"the models trained on code consistently outperformed the base models on the nontrivial'
          ' cases of entity tracking": Code Llama 13B.',
          "1+, 1-7", consistently([(LLAMA_13B, CODE_13B)])),
    Claim("code-nontrivial-70b", "3.3",
          '"the models trained on code consistently outperformed the base models on the nontrivial'
          ' cases of entity tracking": Code Llama 70B.',
          "1+, 1-7", consistently([(LLAMA_70B, CODE_70B)])),
    Claim("code-nontrivial-deepseek", "3.3",
          '"the models trained on code consistently outperformed the base models on the nontrivial'
          ' cases of entity tracking": DeepSeek-Coder.',
          "1+, 1-7", consistently([(DEEPSEEK, CODER)])),
    Claim("code-trivial-13b", "3.3",
          '"In the case of 13B models, a boost in trivial cases is also observed (number of '
          'operations = 0)"',
          "0", gain_within(LLAMA_13B, CODE_13B, "0", clear=True)),
    Claim("code-trivial-70b", "3.3",
          '"in 70B models, performance on the trivial cases is already saturated in the base '
          'model."',
          "0", saturated(LLAMA_70B, "0")),
    Claim("code-7b-minor", "3.3",
          '"In Llama 2 7B models, the gains through additional code training are relatively minor"',
          "1+", gain_within(LLAMA_7B, CODE_7B, "1+", MINOR)),
    Claim("code-7b-where", "3.3",
          '"with most of the gains deriving from boosts in examples where the number of operations'
          ' is either 0 or 1": Llama 2 7B.',
          "0-7", gains_mostly_at(LLAMA_7B, CODE_7B, ("0", "1"))),
    Claim("codegemma-minor", "3.3",
          '"Similarly minor gains were observed in CodeGemma 8B"',
          "1+", gain_within("gemma-7b", "codegemma-7b", "1+", MINOR)),
    Claim("codegemma-where", "3.3",
          '"the gains were observed in examples with 1 and 2 operations": CodeGemma 8B.',
          "0-7", gains_mostly_at("gemma-7b", "codegemma-7b", ("1", "2"))),
    Claim("random-llama2-7b", "3.3",
          '"for number of operations greater than 0 (Llama 2 7B) and 2 (Gemma 8B), neither the '
          'base nor the code variants perform better than our random baseline": Llama 2 7B.',
          "1-7", not_better_than_random((LLAMA_7B, CODE_7B), NONTRIVIAL)),
    Claim("random-gemma", "3.3",
          '"for number of operations greater than 0 (Llama 2 7B) and 2 (Gemma 8B), neither the '
          'base nor the code variants perform better than our random baseline": Gemma 8B.',
          "3-7", not_better_than_random(("gemma-7b", "codegemma-7b"), BUCKETS[3:])),
    Claim("code-scale", "3.3",
          '"a possible effect of scale in the effectiveness of code training as observed in the '
          'Llama 2 series": 7B gains less than 13B and 70B.',
          "1+", smaller_gains([(LLAMA_7B, CODE_7B)] * 2, [(LLAMA_13B, CODE_13B), (LLAMA_70B,
                CODE_70B)])),
    Claim("code-scale-13b-70b", "3.3",
          '"a possible effect of scale in the effectiveness of code training as observed in the '
          'Llama 2 series": yet 13B gains more than 70B, which the numbers say and the text does '
          'not.',
          "1+", smaller_gains([(LLAMA_70B, CODE_70B)], [(LLAMA_13B, CODE_13B)])),
    Claim("code-amount", "3.3",
          '"an effect of the amount of additional code training (DeepSeek-Coder: 2T tokens, Code '
          'Llama: 500B tokens)": Code Llama 7B gains less than DeepSeek-Coder 7B.',
          "1+", smaller_gains([(LLAMA_7B, CODE_7B)], [(DEEPSEEK, CODER)])),
    Claim("code-consistent", "4",
          '"Additional code training leads to consistent improvements across model families and '
          'sizes."',
          "1+, 1-7", consistently(CODE_PAIRS)),
)
MATH_CLAIMS = (
    Claim("float-marginal", "3.4",
          '"FLoat did show slightly higher accuracy on the non-trivial tracking cases" than Llama '
          '7B (5.85, 4.34), "but the gain was marginal".',
          "1+", gain_within("llama-7b", "float-7b", "1+", MARGINAL)),
    Claim("random-float", "3.4",
          '"neither the base Llama model nor the FLoat model performed better than our random '
          'baseline on non-trivial entity tracking examples"',
          "1-7", not_better_than_random(("llama-7b", "float-7b"), NONTRIVIAL)),
    Claim("openmath-only-7", "3.4",
          '"OpenMathMistral only achieved marginal gains over the base Mistral model when there '
          'are 7 operations affecting the target box"',
          "0-7", marginal_gain_only_at(MISTRAL, OPENMATH, "7")),
    Claim("openmath-behind", "3.4",
          '"in most other cases, the base model consistently outperforms the math-finetuned '
          'model": Mistral.',
          "1+, 0-6", consistently([(MISTRAL, OPENMATH)], BUCKETS[:7], reverse=True)),
    Claim("random-mistral", "3.4",
          '"neither model outperformed the random baseline for examples with more than 2 '
          'operations affecting the box of interest": Mistral and OpenMathMistral.',
          "3-7", not_better_than_random((MISTRAL, OPENMATH), BUCKETS[3:])),
    Claim("math-non-instruct-marginal", "3.4",
          '"marginal gains in models trained on math data that are not in “instruct” format": '
          'DeepSeek-Math and Llemma.',
          "1+", every_gain(NON_INSTRUCT_MATH, most=MARGINAL, positive=True)),
    Claim("deepseek-math-close", "3.4",
          '"DeepSeek-Math (Shao et al., 2024) performed close to the DeepSeek-Coder model for most'
          ' cases."',
          "0-7", close(CODER, MATH, BUCKETS)),
    Claim("llemma-more-limited", "3.4",
          '"The gains are even more limited in the comparison between Code Llama vs Llemma" than '
          'between DeepSeek-Coder and DeepSeek-Math.',
          "1+", smaller_gains([(CODE_7B, "llemma_7b"), (CODE_34B, "llemma_34b")], [(CODER, MATH)])),
    Claim("llemma-34b-narrow", "3.4",
          '"Llemma 34B outperformed Code Llama 34B by a narrow margin for the non-trivial tracking'
          ' cases (Llemma: 47.86, Code Llama: 45.46 for examples where the number of operations )"',
          "1+", gain_within(CODE_34B, "llemma_34b", "1+", MARGINAL)),
    Claim("math-not-consistent", "4",
          '"Additional math training does not yield consistent improvements"',
          "1+, 1-7", negated(consistently(MATH_PAIRS))),
    Claim("math-marginal", "4",
          '"the performance gains are at best marginal": of additional math training.',
          "1+", every_gain(MATH_PAIRS, most=MARGINAL)),
)
ALIGNMENT_CLAIMS = (
    Claim("alignment-llama2", "3.5",
          '"For models in the Llama 2 family, alignment tuning the base models led to minor '
          'gains": gains.',
          "1+", every_gain(ALIGNED_LLAMA)),
    Claim("alignment-llama2-minor", "3.5",
          '"For models in the Llama 2 family, alignment tuning the base models led to minor '
          'gains": minor ones.',
          "1+", every_gain(ALIGNED_LLAMA, most=MINOR)),
    Claim("alignment-code-llama-not-consistent", "3.5",
          '"alignment-tuned code models did not consistently lead to gains": Code Llama.',
          "1+, 1-7", negated(consistently(ALIGNED_CODE_LLAMA))),
    Claim("alignment-code-llama-worse", "3.5",
          '"and sometimes performed worse than the non-alignment-tuned counterparts": Code Llama.',
          "0-7", some_loss(ALIGNED_CODE_LLAMA, BUCKETS)),
    Claim("best-model", "3.5",
          '"the best-performing model was CodeLlama 70B-instruct (64.9 accuracy on 1+ '
          'operations)": the best.',
          "1+", best("CodeLlama-70b-Instruct-hf", "1+")),
    Claim("best-accuracy", "3.5",
          '"the best-performing model was CodeLlama 70B-instruct (64.9 accuracy on 1+ '
          'operations)": 64.9.',
          "1+", as_printed("CodeLlama-70b-Instruct-hf", "1+", 64.9)),
    Claim("alignment-deepseek-base", "3.5",
          '"alignment tuning of the base model led to gains": DeepSeek.',
          "1+", gain_within(*ALIGNED[DEEPSEEK], "1+")),
    Claim("alignment-deepseek-coder", "3.5",
          '"whereas alignment tuning of the code model did not": DeepSeek-Coder.',
          "1+", negated(gain_within(*ALIGNED[CODER], "1+"))),
    Claim("alignment-gemma", "3.5",
          '"Gemma 8B and CodeGemma 8B models did benefit from alignment tuning"',
          "1+", every_gain([ALIGNED["gemma-7b"], ALIGNED["codegemma-7b"]])),
    Claim("alignment-gemma-smaller", "3.5",
          '"similarly to Llama 2 7B and CodeLlama 7B models, although the gains were smaller": '
          'those of Gemma 8B and CodeGemma 8B.',
          "1+", smaller_gains([ALIGNED["gemma-7b"], ALIGNED["codegemma-7b"]],
                              [ALIGNED[LLAMA_7B], ALIGNED[CODE_7B]])),
    Claim("alignment-base-greater", "3.5",
          '"alignment tuning affects base and code models differently, where the gains for base '
          'models tend to be greater"',
          "1+", base_gains_tend_greater([(ALIGNED[base], ALIGNED[code]) for base,
                code in CODE_PAIRS])),
    Claim("alignment-scale", "3.5",
          '"smaller base models benefit more from alignment tuning": Llama 2.',
          "1+", smaller_gains([ALIGNED[LLAMA_13B], ALIGNED[LLAMA_70B]],
                              [ALIGNED[LLAMA_7B], ALIGNED[LLAMA_13B]])),
    Claim("alignment-base-consistent", "4",
          '"Base models consistently benefit from alignment tuning"',
          "1+, 1-7", consistently(ALIGNED_BASE)),
    Claim("alignment-code-mixed", "4",
          '"The benefit for code models is more mixed"',
          "1+", both_signs(ALIGNED_CODE)),
)
APPENDIX_CLAIMS = (
    Claim("prompt-format", "A.1",
          '"except for Llama 2-Chat models and DeepSeek-Chat, all other alignment-tuned models '
          'performed better with the non-chat format"',
          "development set", formats_as_used([treated for _, treated in ALIGNED.values()])),
    Claim("constrained-decoding", "A.2",
          '"the performance of the Llama 2 70B model went up from 54.95 to 62.13 with constrained '
          'decoding"',
          "all", constraint_helps([LLAMA_70B])),
)
# fmt: on


def claims_of(profile: str) -> list[Claim]:
    """The claims of the paper, and for `tiny` those about the tiny models before them."""
    paper = [*ABSTRACT_CLAIMS, *CODE_CLAIMS, *MATH_CLAIMS, *ALIGNMENT_CLAIMS, *APPENDIX_CLAIMS]
    if profile == "tiny":
        return [*tiny_claims(), *paper]
    return paper

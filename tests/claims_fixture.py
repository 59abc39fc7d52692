"""Invented scores to judge claims on, and what the paper's own do not bear out."""

import numpy as np
import pandas as pd

from boxes.claims.evidence import Evidence
from boxes.models.table import models_of
from boxes.score_tables import BUCKETS, NUM_OPS, Score, with_accuracy

SIZES = dict(zip(BUCKETS, (1303, 1410, 1083, 651, 288, 142, 106, 29), strict=True))
ALIGNED = [spec for spec in models_of("paper") if spec.added == "alignment"]


def table(models: list[str], shares: np.ndarray) -> pd.DataFrame:
    """Scores of models from their share of correct answers: shares is (models, 8)."""
    rows = []
    for model, row in zip(models, shares, strict=True):
        counts = {k: (SIZES[k], round(SIZES[k] * share)) for k, share in zip(BUCKETS, row, strict=True)}
        for total, members in (("all", BUCKETS), ("1+", BUCKETS[1:])):
            counts[total] = tuple(sum(counts[k][place] for k in members) for place in (0, 1))
        rows += [(model, k, *counts[k]) for k in NUM_OPS]
    return with_accuracy(pd.DataFrame(rows, columns=["model", "num_ops", "n", "correct"]))


def evidence_of(models: list[str], shares: np.ndarray, formats: dict[str, str]) -> Evidence:
    frame = table(models, shares)
    scores = {(r.model, r.num_ops): Score(r.n, r.correct, r.accuracy, r.ci_low, r.ci_high) for r in frame.itertuples()}
    decoding = {
        (model, kind): scores[other, "all"]
        for model, other in zip(models, models[::-1], strict=True)
        for kind, other in (("free", other), ("constrained", model))
    }
    return Evidence(scores, decoding=decoding, formats=formats)


def one(model: str, **accuracies: float) -> dict[tuple[str, str], Score]:
    """Scores of a model by bucket (k0=.., k1=..), with an interval of +-2 points."""
    return {(model, key[1:]): Score(1000, round(10 * a), a, a - 2, a + 2) for key, a in accuracies.items()}


NOT_BORNE_OUT = {
    "math-non-instruct-marginal": "llemma_7b +5.12 [+3.56, +6.69] newcombe (no)",
    "llemma-more-limited": "llemma_7b +5.12 [+3.56, +6.69] newcombe, deepseek-math-7b-base +3.07",
    "math-marginal": "llemma_7b +5.12 [+3.56, +6.69] newcombe (no)",
    "alignment-llama2-minor": "Llama-2-7b-chat-hf +19.12 [+17.53, +20.70] newcombe (no)",
    "alignment-code-llama-not-consistent": "CodeLlama-13b-Instruct-hf +3.80 [+1.55, +6.04] newcombe, ahead in 3 of 7 buckets",
}

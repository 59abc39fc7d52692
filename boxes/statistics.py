"""Intervals and tests: Wilson, Newcombe, the bootstrap over descriptions, exact McNemar, Holm. In per cent.

scipy and statsmodels are imported by the functions that use them: they take a second, which every script that reads a score
would wait for.
"""

import warnings
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05  # every interval is a 95 % interval
RESAMPLES = 10_000
_CHUNK = 1_000  # resamples at a time: 1,000 x 716 weights are 6 MB


@dataclass(frozen=True)
class Difference:
    """Treated minus base in percentage points, its 95 % interval and the interval's kind (bootstrap | newcombe)."""

    points: float
    low: float
    high: float
    interval: str

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def wilson(correct, n) -> tuple[np.ndarray, np.ndarray]:
    """Wilson 95 % interval of counts, element by element, in per cent; NaN where n is 0."""
    from statsmodels.stats.proportion import proportion_confint

    correct, n = np.asarray(correct, dtype=float), np.asarray(n, dtype=float)
    low, high = proportion_confint(correct, np.where(n > 0, n, np.nan), alpha=ALPHA, method="wilson")
    return 100 * np.clip(low, 0, 1), 100 * np.clip(high, 0, 1)  # rounding leaves a hair beyond


def newcombe(base_correct: int, base_n: int, treated_correct: int, treated_n: int) -> Difference:
    """Difference of two unpaired shares with Newcombe's hybrid score interval.

    The two models answered the same queries, but from counts alone their pairing is unknown; where their answers agree
    more often than chance the interval is wider than a paired one.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    if not base_n or not treated_n:
        return Difference(np.nan, np.nan, np.nan, "newcombe")
    low, high = confint_proportions_2indep(
        treated_correct, treated_n, base_correct, base_n, method="newcomb", compare="diff", alpha=ALPHA
    )
    points = treated_correct / treated_n - base_correct / base_n
    return Difference(100 * points, 100 * float(low), 100 * float(high), "newcombe")


def paired_difference(
    base: np.ndarray, treated: np.ndarray, members: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES
) -> list[Difference]:
    """Paired differences with a percentile bootstrap over descriptions, one for each group of queries (bucket).

    base, treated: (descriptions, 7) of 0/1; members: (groups, descriptions, 7) of bool, the queries of each group.
    The seven boxes of one statement are resampled together: they come from one generation and are not independent.
    NaN for a group without queries; resamples that miss a group altogether are left out of its interval.
    """
    gain = np.where(members, treated.astype(float) - base, 0.0).sum(axis=2).T  # (descriptions, groups)
    size = members.sum(axis=2).T.astype(float)
    count = len(base)
    with np.errstate(invalid="ignore", divide="ignore"):
        points = 100 * gain.sum(axis=0) / size.sum(axis=0)
        draws = [
            (weights @ gain) / (weights @ size)
            for start in range(0, resamples, _CHUNK)
            for weights in [_weights(rng, min(_CHUNK, resamples - start), count)]
        ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # a group without queries
        low, high = 100 * np.nanquantile(np.concatenate(draws), [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return [Difference(*map(float, values), "bootstrap") for values in zip(points, low, high, strict=True)]


def _weights(rng: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """How often each of `count` descriptions is drawn in each resample: (resamples, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


def discordant(base: np.ndarray, treated: np.ndarray) -> tuple[int, int]:
    """b and c of McNemar's table: queries only the base model gets right, and queries only the treated one does."""
    base, treated = np.asarray(base, dtype=bool), np.asarray(treated, dtype=bool)
    return int((base & ~treated).sum()), int((~base & treated).sum())


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of McNemar's test; 1 where the models never disagree. It takes queries as independent, which
    the seven of one statement are not: read it beside the bootstrap interval, which does not."""
    from scipy.stats import binomtest

    return float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0


def holm(p_values) -> np.ndarray:
    """Holm-adjusted p values within one experiment; NaN stays NaN and does not count as a test."""
    from statsmodels.stats.multitest import multipletests

    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, np.nan)
    tested = ~np.isnan(p_values)
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], alpha=ALPHA, method="holm")[1]
    return adjusted

"""Intervals and tests: Wilson, Newcombe, the bootstrap over scenarios, exact McNemar, Holm. In per
cent.

The states of a scenario share its beginning and its operations, and the seven boxes of a statement
come from one generation: where single answers are known, scenarios (`sample_id`) are what is taken
as independent, and never answers. Of printed counts nothing but the count is known; their intervals
are binomial, and too narrow by as much.

scipy and statsmodels are imported by the functions that use them: they take a second, which every
script that reads a score would wait for.
"""

import warnings
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05  # every interval is a 95 % interval
RESAMPLES = 10_000
_CHUNK = 1_000  # resamples at a time: 1,000 x 493 weights are 4 MB
# Said wherever McNemar's p is shown.
MCNEMAR_CAVEAT = (
    "McNemar's test takes answers as independent, which those of one scenario are not: its p is "
    "somewhat too small, while the interval draws whole scenarios; where the two disagree, go by "
    "the interval"
)


@dataclass(frozen=True)
class Difference:
    """Treated minus base in percentage points, its 95 % interval and the interval's kind (bootstrap
    | newcombe)."""

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
    known = np.where(n > 0, n, np.nan)
    low, high = proportion_confint(correct, known, alpha=ALPHA, method="wilson")
    return 100 * np.clip(low, 0, 1), 100 * np.clip(high, 0, 1)  # rounding leaves a hair beyond


def design_effect(correct: np.ndarray, scenarios: np.ndarray) -> float:
    """By how much the variance of an accuracy exceeds the binomial one, for answers in one scenario
    hang together.

    correct: (queries,) of 0/1; scenarios: (queries,), the sample_id of each. With n_i queries and
    y_i right answers in each of m scenarios, n and p over all: (m / (m - 1) sum_i (y_i - p n_i)^2 /
    n^2) / (p (1 - p) / n), the linearised variance of a ratio over the binomial one (Rao and Scott
    1992, "A simple method for the analysis of clustered binary data"). An estimate below 1 is taken
    for noise; 1, too, where there is nothing to estimate it from: all answers alike, or one
    scenario.
    """
    _, where = np.unique(scenarios, return_inverse=True)
    sizes = np.bincount(where)
    count, n = len(sizes), len(correct)
    share = float(np.mean(correct)) if n else 0.0
    if count < 2 or share in (0.0, 1.0):
        return 1.0
    residuals = np.bincount(where, weights=correct) - share * sizes
    variance = count / (count - 1) * (residuals**2).sum() / n**2
    return max(1.0, float(variance / (share * (1 - share) / n)))


def clustered_wilson(correct: np.ndarray, scenarios: np.ndarray) -> tuple[float, float]:
    """Wilson 95 % interval of an accuracy, in per cent, with the effective sample size n /
    design_effect in the place of n (Rao and Scott 1992; Dean and Pagano 2015, "Evaluating
    confidence interval methods for binomial proportions in clustered surveys"). Arguments as for
    design_effect; NaN where there is no query."""
    n = len(correct)
    effective = n / design_effect(correct, scenarios)
    low, high = wilson(np.mean(correct) * effective if n else 0, effective)
    return float(low), float(high)


def newcombe(base_correct: int, base_n: int, treated_correct: int, treated_n: int) -> Difference:
    """Difference of two unpaired shares with Newcombe's hybrid score interval, from counts
    (binomial).

    The two models answered the same queries, but from counts alone their pairing is unknown; where
    their answers agree more often than chance the interval is wider than a paired one.
    """
    shares = []
    for correct, n in ((base_correct, base_n), (treated_correct, treated_n)):
        low, high = wilson(correct, n)
        shares.append((100 * correct / n if n else np.nan, float(low), float(high)))
    return unpaired_difference(*shares)


Share = tuple[float, float, float]  # an accuracy and the ends of its interval


def unpaired_difference(base: Share, treated: Share) -> Difference:
    """Treated minus base of two accuracies, each with the ends of its interval: Newcombe (1998),
    method 10, for Wilson intervals; with those of clustered answers the interval of the difference
    accounts for scenarios, too."""
    points = treated[0] - base[0]
    low = points - np.hypot(treated[0] - treated[1], base[2] - base[0])
    high = points + np.hypot(treated[2] - treated[0], base[0] - base[1])
    return Difference(float(points), float(low), float(high), "newcombe")


def paired_difference(
    base: np.ndarray,
    treated: np.ndarray,
    members: np.ndarray,
    scenarios: np.ndarray,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Paired differences with a percentile bootstrap over scenarios, one for each group of queries
    (bucket).

    base, treated: (descriptions, 7) of 0/1; members: (groups, descriptions, 7) of bool, the queries
    of each group; scenarios: (descriptions,), the sample_id of each. All answers in a scenario are
    drawn together. NaN for a group without queries, and for the interval of one whose queries lie
    in a single scenario; resamples that miss a group altogether are left out of its interval.
    """
    _, where = np.unique(scenarios, return_inverse=True)
    gain = _sums(np.where(members, treated.astype(float) - base, 0.0), where)
    size = _sums(members.astype(float), where)
    count = len(size)
    with np.errstate(invalid="ignore", divide="ignore"):
        points = 100 * gain.sum(axis=0) / size.sum(axis=0)
        draws = []
        for start in range(0, resamples, _CHUNK):
            weights = _weights(rng, min(_CHUNK, resamples - start), count)
            draws.append((weights @ gain) / (weights @ size))
    with warnings.catch_warnings():
        # A group without queries.
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        ends = 100 * np.nanquantile(np.concatenate(draws), [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    # One scenario says nothing about how scenarios differ.
    ends[:, (size > 0).sum(axis=0) < 2] = np.nan
    found = zip(points, *ends, strict=True)
    return [Difference(*map(float, values), "bootstrap") for values in found]


def _sums(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(groups, descriptions, 7) summed over the queries of each scenario: (scenarios, groups)."""
    by_description = values.sum(axis=2).T
    sums = np.zeros((where.max(initial=-1) + 1, by_description.shape[1]))
    np.add.at(sums, where, by_description)
    return sums


def _weights(rng: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """How often each of `count` scenarios is drawn in each resample: (resamples, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


def discordant(base: np.ndarray, treated: np.ndarray) -> tuple[int, int]:
    """b and c of McNemar's table: queries that only the base, only the treated model gets right."""
    base, treated = np.asarray(base, dtype=bool), np.asarray(treated, dtype=bool)
    return int((base & ~treated).sum()), int((~base & treated).sum())


def mcnemar(b: int, c: int) -> float:
    """Exact two-sided p of McNemar's test (MCNEMAR_CAVEAT); 1 where the models never disagree."""
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

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from boxes.statistics import (
    Difference,
    clustered_wilson,
    design_effect,
    discordant,
    holm,
    mcnemar,
    newcombe,
    paired_difference,
    wilson,
)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 25.53, 36.62),  # Newcombe (1998), "Two-sided confidence intervals for the single proportion", Table I
        (15, 148, 6.24, 16.05),
        (0, 20, 0.00, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_wilson_golden_values(correct, n, low, high):
    assert np.array(wilson(correct, n)).round(2).tolist() == [low, high]


def test_wilson_takes_arrays_and_empty_buckets():
    low, high = wilson([0, 0, 5, 29], [0, 10, 10, 29])
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] == 0
    assert high[3] == 100
    assert (low[1:] < high[1:]).all()


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_closed_form(counts):
    correct, n = counts
    z, p = 1.959963984540054, correct / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    bounds = 100 * np.array([centre - half, centre + half]) / (1 + z * z / n)
    assert np.array(wilson(correct, n)) == pytest.approx(bounds, abs=1e-9)


@pytest.mark.parametrize(
    ("treated", "base", "points", "low", "high"),
    [  # Newcombe (1998), "Interval estimation for the difference between independent proportions", Table II, method 10
        ((56, 70), (48, 80), 20.00, 5.24, 33.39),
        ((9, 10), (3, 10), 60.00, 17.05, 80.90),
        ((5, 56), (0, 29), 8.93, -3.81, 19.26),
        ((0, 10), (0, 20), 0.00, -16.11, 27.75),
        ((10, 10), (0, 10), 100.00, 60.75, 100.00),
    ],
)
def test_newcombe_golden_values(treated, base, points, low, high):
    found = newcombe(*base, *treated)
    assert (found.points, found.low, found.high) == pytest.approx((points, low, high), abs=0.006)
    assert found.interval == "newcombe"


def test_newcombe_of_an_empty_bucket():
    assert np.isnan(newcombe(0, 0, 0, 0).points)
    assert not newcombe(0, 0, 0, 0).clear


# --- accuracies whose answers hang together within a scenario ---


def scenario_answers(rng, count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers and scenarios of `count` scenarios with 1 to 20 queries, right with a probability of
    their own (mean 0.3); `spread` 0: one and the same for all."""
    scenarios = np.repeat(np.arange(count), rng.integers(1, 21, count))
    share = rng.beta(0.3 / spread, 0.7 / spread, count) if spread else np.full(count, 0.3)
    return (rng.random(len(scenarios)) < share[scenarios]).astype(int), scenarios


def test_the_design_effect_by_hand():
    """Two scenarios of 2 and 1 queries: p = 2/3; residuals 2/3 and -2/3; 2 * (8/9) / 9 over (2/9) /
    3."""
    assert design_effect(np.array([1, 1, 0]), np.array([4, 4, 9])) == pytest.approx((2 * 8 / 81) / (2 / 27))
    assert design_effect(np.array([1, 0, 1, 0]), np.array([1, 1, 2, 2])) == 1  # below 1 is noise
    for answers, scenarios in (([1, 1, 1], [1, 2, 3]), ([0, 0], [1, 2]), ([0, 1, 1], [7, 7, 7]), ([], [])):
        assert design_effect(np.array(answers, dtype=int), np.array(scenarios, dtype=int)) == 1


def test_answers_copied_within_scenarios_are_worth_one_each():
    rng = np.random.default_rng(2)
    one = (rng.random(200) < 0.4).astype(int)
    copied, scenarios = np.repeat(one, 5), np.repeat(np.arange(200), 5)
    assert design_effect(copied, scenarios) == pytest.approx(5 * 200 / 199)
    assert clustered_wilson(copied, scenarios) == pytest.approx(wilson(one.sum() * 199 / 200, 199), abs=1e-9)
    alone = clustered_wilson(one, np.arange(200))  # 200 / 199: with every query for itself next to nothing changes
    assert alone == pytest.approx(tuple(map(float, wilson(one.sum(), 200))), abs=0.05)
    assert np.isnan(clustered_wilson(np.array([], dtype=int), np.array([], dtype=int))).all()


@pytest.mark.parametrize(("count", "spread"), [(30, 0.2), (150, 0.1), (150, 0.0)])
def test_clustered_intervals_cover_the_truth_as_often_as_they_say(count, spread):
    """And the binomial ones do not, where answers hang together: the test can tell."""
    rng = np.random.default_rng([21, count])
    covered = np.zeros(2)
    for _ in range(600):
        correct, scenarios = scenario_answers(rng, count, spread)
        for kind, (low, high) in enumerate((clustered_wilson(correct, scenarios), wilson(correct.sum(), len(correct)))):
            covered[kind] += low <= 30 <= high
    clustered, binomial = covered / 600
    assert 0.93 <= clustered <= 0.975
    assert binomial < 0.9 if spread else binomial <= clustered


def everything(shape):
    return np.ones((1, *shape), dtype=bool)


def difference(base, treated, members, rng, resamples=10_000, scenarios=None):
    """paired_difference, each description a scenario of its own unless told otherwise."""
    scenarios = np.arange(len(base)) if scenarios is None else scenarios
    return paired_difference(base, treated, members, scenarios, rng, resamples)


def test_bootstrap_of_independent_queries_is_the_normal_interval():
    """Each scenario has the same number of queries in the group: the bootstrap s.e. is that of a
    mean of means."""
    rng = np.random.default_rng(7)
    base, treated = rng.random((400, 7)) < 0.4, rng.random((400, 7)) < 0.5
    found = difference(base, treated, everything(base.shape), np.random.default_rng(0))[0]
    means = 100 * (treated.astype(float) - base).mean(axis=1)
    half = 1.96 * means.std() / np.sqrt(len(means))
    assert found.points == pytest.approx(means.mean())
    assert (found.low, found.high) == pytest.approx((means.mean() - half, means.mean() + half), abs=0.06 * half)


def test_bootstrap_of_whole_statements_is_wider_than_one_of_queries():
    """Seven equal answers a statement are one observation: the interval is sqrt(7) times that of
    independent ones."""
    rng = np.random.default_rng(7)
    one = rng.random(300) < 0.5
    clustered, spread = np.repeat(one[:, None], 7, axis=1), rng.permuted(np.repeat(one, 7)).reshape(-1, 7)
    wide, narrow = (
        difference(np.zeros((300, 7)), answers, everything((300, 7)), np.random.default_rng(1))[0]
        for answers in (clustered, spread)
    )
    assert wide.points == pytest.approx(narrow.points)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(np.sqrt(7), rel=0.1)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """Paired answers whose gain hangs together within a scenario of four descriptions: one that
    drew descriptions would not."""
    rng = np.random.default_rng(11)
    scenarios = np.repeat(np.arange(60), 4)
    hits = np.zeros(2)
    for _ in range(200):
        members = rng.random((1, 240, 7)) < 0.5
        gain = np.repeat(rng.choice([-0.2, 0.4], 60), 4)[:, None]  # 10 points more on average
        base = rng.random((240, 7)) < 0.4
        treated = rng.random((240, 7)) < 0.4 + gain
        for kind, drawn in enumerate((scenarios, np.arange(240))):
            found = difference(base, treated, members, rng, 300, drawn)[0]
            hits[kind] += found.low <= 10 <= found.high
    by_scenario, by_description = map(int, hits)
    assert binomtest(by_scenario, 200, 0.95).pvalue > 0.001
    assert binomtest(by_description, 200, 0.95).pvalue < 1e-6


def test_bootstrap_of_equal_and_of_opposite_models():
    answers = np.random.default_rng(0).random((50, 7)) < 0.5
    same = difference(answers, answers, everything(answers.shape), np.random.default_rng(0))[0]
    assert (same.points, same.low, same.high) == (0, 0, 0)
    best = difference(answers * 0, answers * 0 + 1, everything(answers.shape), np.random.default_rng(0))[0]
    assert (best.points, best.low, best.high) == pytest.approx((100, 100, 100))


def test_bootstrap_is_seeded_and_handles_groups_apart():
    rng = np.random.default_rng(3)
    base, treated, num_ops = rng.integers(0, 2, (60, 7)), rng.integers(0, 2, (60, 7)), rng.integers(0, 3, (60, 7))
    members = np.stack([num_ops == 0, num_ops == 1, num_ops == 8])
    first, again = (difference(base, treated, members, np.random.default_rng(9), 2500) for _ in range(2))
    assert first[:2] == again[:2]
    alone = difference(base, treated, members[:1], np.random.default_rng(9), 2500)[0]
    assert alone == first[0]
    assert first[1].points == pytest.approx(100 * (treated - base)[num_ops == 1].mean())
    assert np.isnan([first[2].points, first[2].low, first[2].high]).all()


def test_queries_in_two_scenarios():
    """A group that many resamples miss: they are left out, no warning and no NaN."""
    members = np.zeros((1, 10, 7), dtype=bool)
    members[0, [4, 6], 2] = True
    answers = np.zeros((10, 7))
    found = difference(answers, answers + 1, members, np.random.default_rng(0))[0]
    assert (found.points, found.low, found.high) == pytest.approx((100, 100, 100))


def test_one_scenario_tells_a_difference_and_no_interval():
    members = np.zeros((1, 10, 7), dtype=bool)
    members[0, 4:6, 2] = True
    answers = np.zeros((10, 7))
    scenarios = np.repeat(np.arange(5), 2)
    found = difference(answers, answers + 1, members, np.random.default_rng(0), scenarios=scenarios)[0]
    assert found.points == 100
    assert np.isnan([found.low, found.high]).all()
    assert not found.clear


def test_discordant_queries():
    assert discordant(np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 0])) == (2, 1)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sign_test(b, c):
    assert mcnemar(b, c) == pytest.approx(binomtest(min(b, c), b + c).pvalue if b + c else 1.0)
    assert mcnemar(b, c) == pytest.approx(mcnemar(c, b))


def test_mcnemar_golden_values():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(1, 9) == pytest.approx(2 * 11 / 1024)


def test_holm_golden_values():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    with_gap = holm([0.01, np.nan, 0.04])
    assert with_gap[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_gap[1])
    assert np.isnan(holm([np.nan])).all()
    assert len(holm([])) == 0


def test_clear_means_that_zero_is_outside():
    assert Difference(3, 1, 5, "bootstrap").clear
    assert Difference(-3, -5, -1, "bootstrap").clear
    assert not Difference(3, 0, 6, "bootstrap").clear
    assert not Difference(-1, -3, 1, "newcombe").clear

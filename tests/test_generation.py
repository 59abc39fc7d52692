"""The generator: the distribution of the release, splits that share nothing, and the same bytes
everywhere."""

from collections import Counter
from itertools import combinations, product
from math import exp, factorial

import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency, chisquare

from boxes import generation
from boxes.generation import (
    NUM_OPERATIONS,
    generate,
    sample_operation,
    sample_state,
    signature,
    signature_splits,
    stratified_states,
)
from boxes.world import BUCKETS, MAX_OBJECTS, NOUNS, NUM_BOXES, Move, Put, Remove, replay

SEED = 27  # of the fixture `splits`
# The release: its 90,090 test queries by number of operations that changed the box, 0..8; and how
# many queries of each bucket 0..7, and how many states, its way of drawing the evaluated subset
# keeps (mean and s.d. over 20,000 seeds).
RELEASE = np.array([35533, 26265, 16290, 8081, 2901, 786, 202, 29, 3])
SUBSET_MEAN = np.array([1322, 1408, 1052, 622, 281, 141, 105, 29])
SUBSET_SD = np.array([34, 29, 27, 20, 12, 6, 2, 0])
SUBSET_STATES = (708.7, 4.2)


def changes(scenarios) -> np.ndarray:
    """How many operations changed each box: (scenarios, 13 states, 7 boxes)."""
    counts = [[[sum(kinds) for kinds in boxes] for _, _, boxes in scenario.states()] for scenario in scenarios]
    return np.array(counts)


def buckets(num_ops: np.ndarray) -> np.ndarray:
    """Queries a scenario in the buckets 0..6 and 7 or more: (scenarios, 8)."""
    return np.stack([(np.minimum(num_ops, 7) == int(bucket)).sum(axis=(1, 2)) for bucket in BUCKETS], axis=1)


def plain_p(per_scenario: np.ndarray) -> float:
    """Whether two samples of queries, ours and the release's, are of one distribution; as if
    queries were independent.

    They are not (91 share a scenario), which makes this test reject too often, never too seldom."""
    release = np.append(RELEASE[:7], RELEASE[7:].sum())
    return chi2_contingency([per_scenario.sum(axis=0), release]).pvalue


def clustered_p(per_scenario: np.ndarray) -> float:
    """The same by scenarios: a Wald test of the eight shares, their covariance estimated between
    our scenarios.

    The release has as many scenarios, and only its totals are known: its covariance is taken to be
    ours."""
    release = np.append(RELEASE[:7], RELEASE[7:].sum()) / RELEASE.sum()
    shares = per_scenario / per_scenario.sum(axis=1, keepdims=True)
    gap = (shares.mean(axis=0) - release)[:-1]  # the eighth share follows from the others
    covariance = 2 * np.cov(shares[:, :-1].T) / len(shares)
    return chi2.sf(gap @ np.linalg.solve(covariance, gap), len(gap))


# --- the distribution ---


def test_number_of_operations_is_distributed_as_in_the_release(splits):
    per_scenario = buckets(changes(splits["test"]))
    assert per_scenario.sum() == RELEASE.sum() == 90_090
    assert plain_p(per_scenario) > 0.001
    assert clustered_p(per_scenario) > 0.001


@pytest.mark.parametrize(
    "objects_to_put",
    [
        lambda rng, room: max(1, rng.poisson(1)),  # none counts as one
        lambda rng, room: next(
            count for count in iter(lambda: rng.poisson(1), -1) if 1 <= count <= room
        ),  # drawn again
    ],
    ids=["none-is-one", "drawn-again"],
)
def test_other_readings_of_put_are_not_distributed_so(objects_to_put, monkeypatch):
    """The tests above can tell: each other reading of "Poisson(1) objects, at least 1, not beyond
    3" fails both."""

    def another(rng, state):
        while True:
            kind, box, target = rng.choice([Move, Remove, Put]), int(rng.integers(7)), int(rng.integers(7))
            room = MAX_OBJECTS - len(state[box])
            if kind is Put and room and 1 <= (count := objects_to_put(rng, room)) <= room:
                void = sorted(set(NOUNS).difference(*state))
                return Put(tuple(sorted(rng.choice(void, count, replace=False).tolist())), box)
            objects = tuple(noun for noun in state[box] if rng.integers(2))
            while state[box] and not objects:
                objects = tuple(noun for noun in state[box] if rng.integers(2))
            if objects and kind is Remove:
                return Remove(objects, box)
            while target == box:
                target = int(rng.integers(7))
            if objects and kind is Move and len(state[target]) + len(objects) <= MAX_OBJECTS:
                return Move(objects, box, target)

    monkeypatch.setattr(generation, "sample_operation", another)
    per_scenario = buckets(changes(generate(SEED)["test"]))
    assert plain_p(per_scenario) < 1e-6
    assert clustered_p(per_scenario) < 1e-4


def test_initial_states_are_poisson_cut_at_three():
    rng = np.random.default_rng(0)
    drawn = [sample_state(rng) for _ in range(3000)]
    sizes = np.bincount(np.array([signature(state) for state in drawn]).ravel(), minlength=4)
    poisson = [exp(-2) * 2**k / factorial(k) for k in range(3)]
    assert chisquare(sizes, np.array([*poisson, 1 - sum(poisson)]) * sizes.sum()).pvalue > 0.001
    nouns = Counter(noun for state in drawn for objects in state for noun in objects)
    assert chisquare([nouns[noun] for noun in NOUNS]).pvalue > 0.001  # every object as likely as any other
    for state in drawn:
        held = [noun for objects in state for noun in objects]
        assert len(held) == len(set(held))
        assert all(list(objects) == sorted(objects) for objects in state)


def operation_probabilities(state) -> dict:
    """The exact distribution of operations on a state by the rules of the task, a Put by its box
    and its number of objects."""
    weights = {}
    for box, held in enumerate(state):
        subsets = [set_ for size in range(1, len(held) + 1) for set_ in combinations(held, size)]
        for objects in subsets:
            weights[Remove(objects, box)] = 1 / len(subsets)
            for target in set(range(NUM_BOXES)) - {box}:
                if len(state[target]) + len(objects) <= MAX_OBJECTS:
                    weights[Move(objects, box, target)] = 1 / len(subsets) / (NUM_BOXES - 1)
        for count in range(1, MAX_OBJECTS - len(held) + 1):
            weights["Put", box, count] = exp(-1) / factorial(count)
    return {key: weight / sum(weights.values()) for key, weight in weights.items()}


def test_operations_are_drawn_with_the_probabilities_of_the_task():
    state = (
        ("car", "cash", "clock"),
        (),
        ("bag", "map"),
        ("tie",),
        ("apple", "bell", "disk"),
        (),
        ("dish", "hat", "key"),
    )
    expected = operation_probabilities(state)
    rng = np.random.default_rng(1)
    seen = Counter()
    for _ in range(20_000):
        operation = sample_operation(rng, state)
        is_put = isinstance(operation, Put)
        seen[("Put", operation.box, len(operation.objects)) if is_put else operation] += 1
    assert set(seen) <= set(expected)
    often = [key for key, share in expected.items() if 20_000 * share >= 5]
    seldom = [key for key in expected if key not in often]
    groups = [*([key] for key in often), *([seldom] if seldom else [])]
    observed = np.array([sum(seen[key] for key in group) for group in groups])
    shares = np.array([sum(expected[key] for key in group) for group in groups])
    assert shares.sum() == pytest.approx(1)
    assert chisquare(observed, 20_000 * shares / shares.sum()).pvalue > 0.001


# --- the splits ---


def test_splits_have_the_sizes_of_the_release_and_share_no_signature(splits):
    assert {name: len(scenarios) for name, scenarios in splits.items()} == {"train": 990, "dev": 220, "test": 990}
    signatures = {name: {signature(scenario.initial) for scenario in splits[name]} for name in splits}
    for one, other in combinations(splits, 2):
        assert not signatures[one] & signatures[other]
    for scenarios in splits.values():
        assert [scenario.sample_id for scenario in scenarios] == list(range(len(scenarios)))


def test_every_signature_is_dealt_in_the_shares_of_the_splits():
    split_of = signature_splits(SEED)
    assert set(split_of) == set(product(range(4), repeat=7))
    dealt = Counter(split_of.values())
    assert dealt == pytest.approx({"train": 0.45 * 4**7, "dev": 0.1 * 4**7, "test": 0.45 * 4**7}, abs=1)


def test_no_initial_state_occurs_twice(splits):
    initial = [scenario.initial for scenarios in splits.values() for scenario in scenarios]
    assert len(set(initial)) == len(initial) == 2200


def test_every_scenario_has_twelve_legal_operations(splits):
    for scenarios in splits.values():
        for scenario in scenarios:
            assert len(scenario.operations) == NUM_OPERATIONS
            states = list(scenario.states())
            assert len(states) == 13
            number, last, counts = states[-1]
            replayed = replay(scenario.initial, scenario.operations)  # raises where one is not legal
            assert (number, (last, tuple(map(sum, counts)))) == (12, replayed)


# --- the evaluated subset ---


def test_the_subset_has_the_bucket_sizes_of_the_release(splits):
    num_ops = changes(splits["test"]).reshape(-1, NUM_BOXES)
    kept = stratified_states(num_ops, np.random.default_rng([SEED, 2]))
    sizes = np.array([(num_ops[kept] == int(bucket)).sum() for bucket in BUCKETS])
    assert (abs(sizes - SUBSET_MEAN) <= 3 * SUBSET_SD).all(), sizes
    assert abs(len(kept) - SUBSET_STATES[0]) <= 3 * SUBSET_STATES[1]


def test_the_subset_is_the_union_of_states_of_a_hundred_queries_a_bucket(splits):
    num_ops = changes(splits["test"]).reshape(-1, NUM_BOXES)
    for seed in range(20):
        kept = stratified_states(num_ops, np.random.default_rng(seed))
        assert kept.tolist() == sorted(set(kept.tolist()))
        assert len(kept) <= 729  # seven hundreds and the 29 queries with seven operations
        for bucket in map(int, BUCKETS):
            assert (num_ops[kept] == bucket).sum() >= min(100, (num_ops == bucket).sum())
    assert stratified_states(num_ops[:20], np.random.default_rng(0), 10**6).tolist() == list(range(20))
    assert stratified_states(np.full((5, 7), 8), np.random.default_rng(0)).tolist() == []

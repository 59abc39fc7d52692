"""Sampling the boxes task: scenarios, the splits by signature, the stratified subset (Kim &
Schuster 2023, few-shot set).

Every scenario has a generator of its own, derived from the seed and its index, so order and number
change nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, islice, product

import numpy as np

from boxes.world import (
    BUCKETS,
    MAX_OBJECTS,
    NOUNS,
    NUM_BOXES,
    Move,
    Operation,
    Put,
    Remove,
    State,
    apply,
    changed_boxes,
)

NUM_OPERATIONS = 12
SPLITS = {"train": 990, "dev": 220, "test": 990}  # scenarios; 45 %, 10 %, 45 % of 2200
QUERIES_PER_BUCKET = 100  # of the stratified subset

Signature = tuple[int, ...]  # how many objects each box holds at first


@dataclass(frozen=True)
class Scenario:
    """An initial state and the operations on it; `sample_id` counts within a split, from 0."""

    sample_id: int
    initial: State
    operations: tuple[Operation, ...]

    def states(self) -> Iterator[tuple[int, State, tuple[tuple[int, int, int], ...]]]:
        """After 0, 1, ... operations: how many, the state, and for each box how many (moves,
        removes, puts) changed it."""
        state = self.initial
        counts = np.zeros((NUM_BOXES, 3), dtype=int)
        yield 0, state, tuple(map(tuple, counts.tolist()))
        for number, operation in enumerate(self.operations, 1):
            state = apply(state, operation)
            counts[list(changed_boxes(operation)), (Move, Remove, Put).index(type(operation))] += 1
            yield number, state, tuple(map(tuple, counts.tolist()))


def sample_state(rng: np.random.Generator) -> State:
    """An initial state: Poisson(2) objects a box cut at three, drawn from NOUNS, each once."""
    while True:
        sizes = rng.poisson(2, NUM_BOXES)
        if sizes.sum() <= len(NOUNS):
            break
    sizes = np.minimum(sizes, MAX_OBJECTS)
    nouns = iter(rng.permutation(len(NOUNS)))
    state = []
    for size in sizes:
        objects = [NOUNS[index] for index in islice(nouns, size)]
        state.append(tuple(sorted(objects)))
    return tuple(state)


def _subset(rng: np.random.Generator, objects: Sequence[str]) -> tuple[str, ...]:
    """A non-empty subset: a fair coin an object, again while none is chosen."""
    while True:
        coins = rng.integers(0, 2, len(objects))
        chosen = tuple(compress(objects, coins))
        if chosen:
            return chosen


def sample_operation(rng: np.random.Generator, state: State) -> Operation:
    """A legal operation: kind uniform over Move, Remove, Put and box uniform over the seven, again
    until it is legal.

    A Put of Poisson(1) = 0 objects, or of more than fit, is illegal: of the readings of "at least
    1, not beyond 3" this is the one under which the release's distribution of numops comes out
    (tests/test_generation.py).
    """
    while True:
        kind, box = int(rng.integers(3)), int(rng.integers(NUM_BOXES))
        held = state[box]
        if kind == 2:
            count = int(rng.poisson(1))
            if 1 <= count <= MAX_OBJECTS - len(held):
                inside = set(chain(*state))
                void = [noun for noun in NOUNS if noun not in inside]
                chosen = rng.choice(len(void), count, replace=False)
                return Put(tuple(sorted(void[index] for index in chosen)), box)
        elif held:
            objects = _subset(rng, held)
            if kind == 1:
                return Remove(objects, box)
            target = (box + 1 + int(rng.integers(NUM_BOXES - 1))) % NUM_BOXES
            if len(state[target]) + len(objects) <= MAX_OBJECTS:
                return Move(objects, box, target)


def sample_operations(rng: np.random.Generator, state: State, count: int) -> tuple[Operation, ...]:
    """A sequence of legal operations on a state."""
    operations = []
    for _ in range(count):
        operations.append(sample_operation(rng, state))
        state = apply(state, operations[-1])
    return tuple(operations)


def signature(state: State) -> Signature:
    """How many objects each box holds."""
    return tuple(map(len, state))


def signature_splits(seed: int) -> dict[Signature, str]:
    """The split of each of the 4^7 signatures: shuffled, then dealt in the shares of SPLITS."""
    signatures = list(product(range(MAX_OBJECTS + 1), repeat=NUM_BOXES))
    order = np.random.default_rng([seed, 0]).permutation(len(signatures))
    bounds = np.cumsum(list(SPLITS.values())) / sum(SPLITS.values()) * len(signatures)
    split = np.searchsorted(bounds, np.arange(len(signatures)), side="right")
    names = np.array(list(SPLITS))[split]
    return {signatures[index]: str(name) for index, name in zip(order, names, strict=True)}


def generate(seed: int, num_operations: int = NUM_OPERATIONS) -> dict[str, list[Scenario]]:
    """The scenarios of each split. Signatures never cross splits, no initial state comes twice. With
    more operations they are the same scenarios, carried on."""
    split_of = signature_splits(seed)
    splits: dict[str, list[Scenario]] = {name: [] for name in SPLITS}
    seen: set[State] = set()
    for index in range(2 * sum(SPLITS.values())):
        rng = np.random.default_rng([seed, 1, index])
        state = sample_state(rng)
        name = split_of[signature(state)]
        if state in seen or len(splits[name]) == SPLITS[name]:
            continue
        seen.add(state)
        operations = sample_operations(rng, state, num_operations)
        splits[name].append(Scenario(len(splits[name]), state, operations))
    short = [name for name in SPLITS if len(splits[name]) < SPLITS[name]]
    if short:
        raise ValueError(f"too few scenarios for {', '.join(short)}; choose another seed")
    return splits


def stratified_states(
    num_ops: np.ndarray,
    rng: np.random.Generator,
    per_bucket: int = QUERIES_PER_BUCKET,
    buckets: Sequence[int] = tuple(map(int, BUCKETS)),
) -> np.ndarray:
    """Which states the evaluated subset keeps (sorted indices): for each of `buckets` draw
    `per_bucket` queries (all where there are fewer), and take the union of the states they lie in.
    `num_ops`: (states, 7), changes of each box."""
    kept: set[int] = set()
    for bucket in buckets:
        states = np.nonzero(num_ops == bucket)[0]  # one entry a query
        kept.update(rng.choice(states, min(per_bucket, len(states)), replace=False).tolist())
    return np.array(sorted(kept), dtype=int)

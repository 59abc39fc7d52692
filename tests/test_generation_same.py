"""The same dataset everywhere, from whatever order, number or interpreter."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from boxes import generation
from boxes.generation import (
    NUM_OPERATIONS,
    SPLITS,
    generate,
    sample_operations,
    sample_state,
    signature,
)
from boxes.world import NUM_BOXES, describe

ROOT = Path(__file__).resolve().parent.parent
SEED = 27  # of the fixture `splits`


def test_a_scenario_depends_on_the_seed_and_its_index_alone(splits):
    """Drawn backwards, one by one, the 4400 candidates are the same: the dev split is among them,
    in this order."""
    dev = [(scenario.initial, scenario.operations) for scenario in splits["dev"]]
    initial = {state for state, _ in dev}
    drawn = {}
    for index in reversed(range(4400)):
        rng = np.random.default_rng([SEED, 1, index])
        state = sample_state(rng)
        if state in initial:
            drawn[state] = sample_operations(rng, state, NUM_OPERATIONS)
    assert list(drawn.items())[::-1] == dev


def test_fewer_scenarios_are_the_first_of_more(splits, monkeypatch):
    monkeypatch.setattr(generation, "SPLITS", {name: count // 10 for name, count in SPLITS.items()})
    fewer = generate(SEED)
    assert {name: len(scenarios) for name, scenarios in fewer.items()} == {"train": 99, "dev": 22, "test": 99}
    for name, scenarios in fewer.items():
        assert scenarios == splits[name][: len(scenarios)]


def test_another_seed_is_another_dataset(splits):
    other = generate(SEED + 1)
    ours = {scenario.initial for scenarios in splits.values() for scenario in scenarios}
    assert not any(scenario.initial in ours for scenario in other["test"] if sum(signature(scenario.initial)) > 3)


def test_a_split_that_stays_short_is_an_error(monkeypatch):
    monkeypatch.setattr(generation, "sample_state", lambda rng: ((),) * NUM_BOXES)
    with pytest.raises(ValueError, match="too few scenarios for train, dev, test; choose another seed"):
        generate(5)


DIGEST = """
import hashlib
from boxes.generation import generate
from boxes.world import describe
texts = "\\n".join(describe(s.initial, s.operations) for s in generate(27)["dev"])
print(hashlib.sha256(texts.encode()).hexdigest())
"""


def digest(python: str, hash_seed: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed}
    ran = subprocess.run([python, "-c", DIGEST], env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def dev_digest(splits) -> str:
    texts = "\n".join(describe(scenario.initial, scenario.operations) for scenario in splits["dev"])
    return hashlib.sha256(texts.encode()).hexdigest()


def test_the_hash_seed_of_the_interpreter_changes_nothing(dev_digest):
    another = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    assert digest(sys.executable, another) == dev_digest


def test_another_python_changes_nothing(dev_digest):
    version = "print(__import__('sys').version_info[:2], __import__('numpy').__version__.split('.')[0])"
    here = subprocess.run([sys.executable, "-c", version], capture_output=True, text=True).stdout
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        there = subprocess.run([found, "-c", version], capture_output=True, text=True).stdout if found else ""
        if there and there != here:
            assert digest(found, "0") == dev_digest
            return
    pytest.skip("no other Python version with numpy on this machine")

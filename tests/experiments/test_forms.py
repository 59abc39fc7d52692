"""Other forms of the task: files of their own, none of whose states is one of the base set, labelled."""

import re

import pytest
from checkout_fixture import make
from scripts_fixture import ROOT, refusal, run_script

from boxes import generation
from boxes.dataset import SUBSET, read_examples
from boxes.generation import NUM_OPERATIONS, generate
from boxes.runs.task import dataset_note
from boxes.world import describe

FORM = f"long-{SUBSET}"


@pytest.fixture
def few(monkeypatch):
    """A dozen scenarios in the place of 2200."""
    monkeypatch.setattr(generation, "SPLITS", {"train": 4, "dev": 2, "test": 6})


def form(out, *more):
    assert run_script("tools/forms.py", "--form", "long", "--seed", 3, "--out", out, *more) == 0
    return out / FORM


def test_longer_sequences_are_the_scenarios_carried_on(few, tmp_path):
    path = form(tmp_path)
    base, longer = generate(3)["test"], generate(3, 2 * NUM_OPERATIONS)["test"]
    for one, other in zip(base, longer, strict=True):
        assert (one.initial, one.operations) == (other.initial, other.operations[:NUM_OPERATIONS])
        assert len(other.operations) == 2 * NUM_OPERATIONS
    examples = read_examples(path)
    known = {describe(one.initial, one.operations[:count]) for one in base for count in range(NUM_OPERATIONS + 1)}
    assert not known & {example.description for example in examples}
    assert {example.num_operations for example in examples} <= set(range(NUM_OPERATIONS + 1, 2 * NUM_OPERATIONS + 1))
    assert max(max(example.num_ops) for example in examples) > 7
    assert path.read_bytes() == form(tmp_path / "again").read_bytes()


def test_it_is_labelled_and_held_to_its_checksum(few, tmp_path, capsys):
    assert dataset_note(FORM) == f"Not the test set: {FORM}."
    (digest, name), *more = (line.split() for line in (ROOT / "data/forms.sha256").read_text().splitlines())
    assert (name, more) == (FORM, [])
    assert re.fullmatch("[0-9a-f]{64}", digest)
    words = ("--form", "long", "--seed", 3, "--out", tmp_path, "--checksums", ROOT / "data/forms.sha256")
    assert "forms.sha256; make it with SEED=27 and the numpy" in refusal(capsys, "tools/forms.py", *words)


def test_make_data_writes_it_beside_the_base_set(checkout):
    shown = make(checkout, "-n", "data", "FORM=long").stdout
    assert re.search(r"forms\.py --form long --seed 27 --out data/boxes --checksums data/forms\.sha256", shown)
    assert "01_generate_data" in shown
    assert "forms.py" not in make(checkout, "-n", "data", FORM="long").stdout
    assert "FORM= is for make data, not for all" in make(checkout, "all", "FORM=long").stderr


@pytest.mark.slow
def test_the_committed_checksum_is_that_of_the_generated_file(tmp_path):
    out, sums = ("--out", tmp_path), ("--checksums", ROOT / "data/forms.sha256")
    assert run_script("tools/forms.py", "--form", "long", *out, *sums) == 0
